"""Which lossless syntax should an archive ask for? Bytes and milliseconds an image, each codec alone on one thread.

    python perf/syntaxes.py [--quick] [--rounds 5] [--images FOLDER] [--efforts 1,2,3,4,5,7]

The images are the uncompressed ones of a folder, .dcm or .dcm.xz, a few of each kind; if there is no such folder, those
of objects.py. In a round every way has its turn on each image, from planes in memory to a codestream in memory and
back; a ratio is that of the sums of one round. The decoded image is compared with the original.
  grey, colour   every lossless syntax that the service encodes, beside JPEG 2000
  efforts        JPEG XL at each effort of libjxl; the one that the service uses for such images is marked
  JPEG           a JPEG (quality 90) of each 8-bit image recompressed as JPEG XL: the size, and the time there and back
Deliberately absent: the service around the codecs (compress.py), lossy compression.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

import objects
import peers
import rig
from leyden.dicom import uids
from leyden.transcode import libjxl
from leyden.transcode.codecs import CODECS, encoder, room_bytes
from leyden.tune import codec
from leyden.tune.images import Image, of_files

IMAGES = Path(__file__).resolve().parents[2] / "shared" / "data" / "wg04"
FIRST = uids.JPEG2000_LOSSLESS  # which the others are divided by
LOSSLESS = (
    FIRST, uids.HTJ2K_LOSSLESS, uids.JPEGXL_LOSSLESS, uids.JPEGLS_LOSSLESS, uids.JPEG_LOSSLESS_SV1, uids.RLE_LOSSLESS,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trip:
    """One image through one codec: seconds to encode and to decode, and the results."""

    encode_s: float
    decode_s: float
    codestream: bytes


Way = Callable[[Image], Trip]


def images(folder: Path | None, scratch: Path) -> list[Image]:
    """The uncompressed images of the folder; if it is missing, one CT and one CR of ours."""
    files = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
    return of_files(files or [objects.write_files(scratch / kind, kind, 1)[0] for kind in ("ct", "cr")])


def through(uid: str, setting: float = 0.0) -> Way:
    """Encode and decode with the codec of a syntax."""
    number = encoder(uid)
    assert number is not None
    decode = CODECS[number].decode

    def trip(image: Image) -> Trip:
        made = codec.frame(uid, image)
        if made is None:
            raise peers.Failed(f"{image.name} can't be {uids.syntax_name(uid)}")
        back = memoryview(bytearray(made.planes.size_bytes))
        before_s = time.perf_counter()
        length = codec.encode(uid, made, setting)
        between_s = time.perf_counter()
        decode(made.room[:length], made.planes, back, 0)
        after_s = time.perf_counter()
        if not setting and not np.array_equal(made.planes.view(back), made.planes.view(made.packed)):
            raise peers.Failed(f"{image.name} is another image after {uids.syntax_name(uid)}")
        return Trip(between_s - before_s, after_s - between_s, bytes(made.room[:length]))

    return trip


def at_effort(effort: int) -> Way:
    way = through(uids.JPEGXL_LOSSLESS)

    def trip(image: Image) -> Trip:
        with mock.patch.dict(libjxl.EFFORT, dict.fromkeys(libjxl.EFFORT, effort)):
            return way(image)

    return trip


def measure(run: rig.Run, title: str, chosen: Sequence[Image], ways: Mapping[str, Way]) -> None:
    """All ways over all images, in turn; one row for each way, divided by the first."""
    rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(run.rounds):
        sums = {name: [0.0, 0.0, 0.0] for name in ways}
        for image in chosen:
            for name, way in ways.items():
                trip = way(image)
                for n, figure in enumerate((len(trip.codestream), trip.encode_s, trip.decode_s)):
                    sums[name][n] += figure
        for name, figures in sums.items():
            rounds[name].append((figures[0], figures[1], figures[2]))
    first = next(iter(ways))
    rows = [[title, "KB an image", f"÷ {first}", "encode, ms", f"÷ {first}", "decode, ms", f"÷ {first}"]]
    for name, figures in rounds.items():
        row = [name]
        for n, scale in enumerate((1e-3, 1e3, 1e3)):
            ratios = [ours[n] / theirs[n] for ours, theirs in zip(figures, rounds[first], strict=True)]
            spread = f" ({min(ratios):.2f}-{max(ratios):.2f})" if n else ""
            row += [
                rig.number(statistics.median(each[n] for each in figures) / len(chosen) * scale),
                f"{statistics.median(ratios):.3f}" if not n else f"{statistics.median(ratios):.2f}{spread}",
            ]
        rows.append(row)
    run.table(title, rows)


def recompressed(run: rig.Run, chosen: Sequence[Image]) -> None:
    """JPEG -> JPEG XL -> JPEG, by bytes."""
    rows = [["JPEG of quality 90", "KB an image", "as JPEG XL, ÷", "there, ms", "back, ms"]]
    make = through(uids.JPEG_BASELINE, 90.0)
    number = encoder(uids.JPEG_BASELINE)
    assert number is not None
    for image in chosen:
        source, planes = make(image).codestream, CODECS[number].planes(image.described)
        there_s, back_s, room = [], [], memoryview(bytearray(room_bytes(planes) + len(source)))
        for _ in range(run.rounds):
            before_s = time.perf_counter()
            made = bytes(room[: libjxl.recompress(memoryview(source), planes, room)])
            between_s = time.perf_counter()
            again = room[: libjxl.reconstruct(memoryview(made), planes, room, baseline=True)]
            back_s.append(time.perf_counter() - between_s)
            there_s.append(between_s - before_s)
            if again != source:
                raise peers.Failed(f"{image.name}: another JPEG came back")
        figures = len(source) / 1e3, *(statistics.median(each) * 1e3 for each in (there_s, back_s))
        rows.append([
            image.name, rig.number(figures[0]), f"{len(made) / len(source):.2f}", *map(rig.number, figures[1:]),
        ])  # fmt: skip
    run.table("recompressed", rows)


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--images", type=Path, default=IMAGES, help="a folder of DICOM files")
    parser.add_argument("--efforts", default="1,2,3,4,5,7", help="of libjxl; default %(default)s")
    with rig.Run(parser.parse_args()) as run:
        found = images(run.asked.images, run.folder)
        run.note(", ".join(f"{each.name} {each.described.columns}x{each.described.rows}" for each in found))
        efforts = {} if run.quick else {int(effort): at_effort(int(effort)) for effort in run.asked.efforts.split(",")}
        for samples, kind in ((1, "grey"), (3, "colour")):
            chosen = [each for each in found if each.described.samples == samples]
            if not chosen:
                continue
            measure(run, kind, chosen, {uids.syntax_name(uid): through(uid) for uid in LOSSLESS})
            if efforts:
                taken = libjxl.EFFORT[samples]
                names = {effort: f"effort {effort}{', ours' * (effort == taken)}" for effort in efforts}
                ways = {uids.syntax_name(FIRST): through(FIRST)} | {names[n]: way for n, way in efforts.items()}
                measure(run, f"JPEG XL, {kind}", chosen, ways)
        if eight := [each for each in found if each.described.bits_stored == each.described.bits_allocated == 8]:
            recompressed(run, eight)


if __name__ == "__main__":
    main()
