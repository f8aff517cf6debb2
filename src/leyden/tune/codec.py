"""How fast each codec encodes on this machine: on one core, and on all of them at once.

The parent puts the frames into files and starts a child for each core (exec; what they say to each other is JSON
lines). A child encodes the frames over and over with the codecs of the workers and at their priority, for a time that
the parent says. Children that work at once begin at the word of the parent. Costs are in processor time, so other
programs on the machine do not change them; what these take away shows in `cores`.

    python -m leyden.tune.codec FOLDER      the child
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict

from leyden.dicom import uids
from leyden.errors import LeydenError
from leyden.transcode import pixels
from leyden.transcode.codecs import CODECS, encoder, room_bytes
from leyden.transcode.pixels import Description
from leyden.tune.images import Image
from leyden.tune.model import MB, Codec

LOSSLESS = (
    uids.JPEG2000_LOSSLESS, uids.HTJ2K_LOSSLESS, uids.JPEGLS_LOSSLESS, uids.JPEG_LOSSLESS_SV1, uids.JPEGXL_LOSSLESS,
    uids.RLE_LOSSLESS,
)  # fmt: skip
NICE = 5  # as workers
_DESCRIPTIONS = "images.json"


class Encoded(msgspec.Struct, frozen=True):
    """What children did at once: bytes of pixels and of codestreams, processor time in all, and time by the clock."""

    pixel_bytes: int
    made_bytes: int
    processor_s: float
    clock_s: float

    @property
    def mb_s(self) -> float:
        """Seconds of a core for a MB of pixels."""
        return self.processor_s / (self.pixel_bytes / MB)

    @property
    def mb_per_s(self) -> float:
        """All cores together, by the clock."""
        return self.pixel_bytes / MB / self.clock_s


class Measured(msgspec.Struct, frozen=True):
    """`one`: on one core; `all`: on all at once. `cores`: how many of them there were for us."""

    one: Encoded
    all: Encoded

    @property
    def cores(self) -> float:
        return self.all.processor_s / self.all.clock_s

    @property
    def codec(self) -> Codec:
        return Codec(self.one.mb_s, self.all.mb_s, self.one.made_bytes / self.one.pixel_bytes)


def measure(
    images: Sequence[Image], wanted: Mapping[str, float], cores: int, seconds: float
) -> dict[str, Measured | None]:
    """By the UID of the syntax: what `wanted` asks for, as UID -> the encoder's number for loss (0 = lossless).

    None: no image fits. Takes `seconds` for each syntax twice. Raises OSError, LeydenError.
    """
    found: dict[str, Measured | None] = {}
    with _children(images, cores) as children:
        for uid, setting in wanted.items():
            one = _encode(children[:1], uid, setting, seconds)
            every = _encode(children, uid, setting, seconds)
            found[uid] = Measured(one, every) if one and every else None
    return found


@contextmanager
def _children(images: Sequence[Image], count: int) -> Iterator[list["subprocess.Popen[str]"]]:
    with tempfile.TemporaryDirectory(prefix="leyden-tune-") as folder:
        for n, image in enumerate(images):
            (Path(folder) / f"{n}.raw").write_bytes(image.native)
        (Path(folder) / _DESCRIPTIONS).write_text(json.dumps([asdict(image.described) for image in images]))
        command = [sys.executable, "-m", "leyden.tune.codec", folder]
        children = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        try:
            yield children
        finally:
            for child in children:
                child.kill()
                child.communicate()


def _encode(children: Sequence["subprocess.Popen[str]"], uid: str, setting: float, seconds: float) -> Encoded | None:
    """All these children at once; None: no image fits."""
    for child in children:  # what each does first: reading, packing and one pass, so that they begin together
        _say(child, uid, setting, 0.0)
    said = [_hear(child) for child in children]
    if not said[0]["pixel_bytes"]:
        return None
    for child in children:
        _say(child, uid, setting, seconds)
    said = [_hear(child) for child in children]
    sums = {name: sum(each[name] for each in said) for name in ("pixel_bytes", "made_bytes", "processor_s")}
    clock_s = sum(each["clock_s"] for each in said) / len(said)
    return Encoded(int(sums["pixel_bytes"]), int(sums["made_bytes"]), sums["processor_s"], clock_s)


def _say(child: "subprocess.Popen[str]", *words: object) -> None:
    assert child.stdin is not None
    child.stdin.write(json.dumps(words) + "\n")
    child.stdin.flush()


def _hear(child: "subprocess.Popen[str]") -> dict[str, Any]:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise LeydenError("the measurement of the codecs has ended by itself")
    said: dict[str, Any] = json.loads(line)
    return said


# -- one image through one codec


class Frame(msgspec.Struct, frozen=True):
    """A frame as a codec takes it, and room for what it makes."""

    planes: pixels.Planes
    packed: memoryview
    room: memoryview


def frame(uid: str, image: Image) -> Frame | None:
    """Memory for one image and the codec of a syntax; None: the codec cannot encode such pixels."""
    number = encoder(uid)
    assert number is not None
    codec, described = CODECS[number], image.described
    if pixels.unfit(described, len(image.native), len(image.native)) or codec.obstacle(described):
        return None
    planes = codec.planes(described)
    packed, room = (memoryview(bytearray(length)) for length in (planes.size_bytes, room_bytes(planes)))
    pixels.pack(memoryview(bytearray(image.native)), described, planes, packed)
    return Frame(planes, packed, room)


def encode(uid: str, made: Frame, setting: float = 0.0) -> int:
    """The length of the codestream, which is in `made.room` then."""
    number = encoder(uid)
    assert number is not None
    return CODECS[number].encode(made.planes, made.packed, made.room, setting, 0)


# -- the child


def main(folder: Path) -> None:
    """Answer each line of [UID, setting, seconds] with what was encoded, until the parent is gone."""
    os.nice(NICE)
    described = [Description(**each) for each in json.loads((folder / _DESCRIPTIONS).read_text())]
    images = [Image(str(n), each, (folder / f"{n}.raw").read_bytes()) for n, each in enumerate(described)]
    frames: dict[str, list[Frame]] = {}
    for line in sys.stdin:
        uid, setting, seconds = json.loads(line)
        if uid not in frames:
            frames = {uid: [made for image in images if (made := frame(uid, image)) is not None]}
        print(json.dumps(_pass_for(uid, frames[uid], setting, seconds)), flush=True)


def _pass_for(uid: str, frames: Sequence[Frame], setting: float, seconds: float) -> dict[str, float]:
    """Encode all frames, again and again until the time is over."""
    pixel_bytes = made_bytes = 0
    begin_s, processor_s = time.monotonic(), time.process_time()
    while frames:
        for each in frames:
            made_bytes += encode(uid, each, setting)
            pixel_bytes += each.planes.size_bytes
        if time.monotonic() - begin_s >= seconds:
            break
    return {
        "pixel_bytes": pixel_bytes,
        "made_bytes": made_bytes,
        "processor_s": time.process_time() - processor_s,
        "clock_s": time.monotonic() - begin_s,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
