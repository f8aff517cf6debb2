"""Decodes damaged JPEG 2000 with an OpenJPEG that watches its memory (AddressSanitizer) and its arithmetic (UBSan).

    python perf/asan.py SOURCE [--inputs 20000] [--minutes N] [--seed N] [--reports FOLDER]

SOURCE is a source tree of OpenJPEG, of the version that our wheel carries (`leyden version --libraries`); Debian has
it: `apt-get source openjpeg2`. It is built once, below --reports; needs gcc, libasan and cmake. Two kinds of inputs,
half and half: codestreams as our decoder gets them (tests/fuzz/codestreams.py), and whole images through job.make
(images.py). A process that ends by a report of ASan is a fault, and is told with the input; what UBSan says is
counted by its place.
"""

import argparse
import ctypes.util
import importlib.util
import os
import random
import re
import subprocess
import sys
import time
import zlib
from collections import Counter
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

FLAGS = "-fsanitize=address,undefined -fno-omit-frame-pointer -g -O1"
ASAN = "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=1024:abort_on_error=1:log_path="
UBSAN = "print_stacktrace=0:log_path="
MAX_FRAME_BYTES = 8 << 20


def built(source: Path, folder: Path) -> Path:
    """The library, built with the sanitizers."""
    folder.mkdir(parents=True, exist_ok=True)
    made = folder / "bin" / "libopenjp2.so"
    if not made.exists():
        options = ("-DCMAKE_BUILD_TYPE=RelWithDebInfo", f"-DCMAKE_C_FLAGS={FLAGS}", "-DBUILD_CODEC=OFF")
        subprocess.run(["cmake", str(source.absolute()), *options], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["make", "openjp2"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return made


def beside_gcc(name: str) -> str:
    said = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def bind(library: str) -> None:
    """Have our decoder take this library: it takes that of the system where it finds no imagecodecs."""
    spec_of, library_of = importlib.util.find_spec, ctypes.util.find_library
    with (
        mock.patch(
            "importlib.util.find_spec", lambda name, *rest: None if name == "imagecodecs" else spec_of(name, *rest)
        ),
        mock.patch("ctypes.util.find_library", lambda name: library if name == "openjp2" else library_of(name)),
    ):
        from leyden.transcode import openjpeg
    with open("/proc/self/maps", encoding="utf-8") as maps:
        assert library in maps.read(), openjpeg.version()


def child(library: str, seed: int, begin: int, end: int, current: Path) -> None:
    """Try inputs one after the other; the number of the one at work stands in a file."""
    bind(library)
    from fuzz import codestreams, images
    from fuzz.damage import mutant
    from leyden.errors import Corrupt
    from leyden.transcode import jpeg2000, openjpeg, pixels
    from leyden.transcode.pixels import CodecError, Description, Unfit

    seeds = [each for each in codestreams._codestreams() if each.data[:4] == b"\xff\x4f\xff\x51"]
    counts: Counter[str] = Counter()

    def decoded(data: bytes) -> str:
        chance = random.Random(zlib.crc32(data))
        try:
            planes, _ = jpeg2000.inspect(memoryview(data), chance.choice(codestreams.DESCRIPTIONS))
        except (Corrupt, Unfit):
            return "refused by our checks"
        described = Description(
            planes.rows, planes.columns, planes.samples, 8 * planes.sample_bytes, planes.precision,
            planes.precision - 1, planes.signed, "MONOCHROME2" if planes.samples == 1 else "RGB",
        )  # fmt: skip
        if pixels.undecodable(described, planes, MAX_FRAME_BYTES) is not None:
            return "refused by our checks"
        room = memoryview(bytearray(planes.size_bytes))
        try:
            openjpeg.decode(memoryview(data), planes, room, chance.choice((0, 0, 2)))
        except (Corrupt, CodecError):
            return "refused by OpenJPEG"
        return "decoded"

    for number in range(begin, end):
        current.write_text(str(number))
        chance = random.Random(f"{seed} {number}")
        if number % 2:
            counts["image: " + images.images(images.image(chance)).partition(" ")[0]] += 1
        else:
            counts["codestream: " + decoded(mutant(chance, seeds))] += 1
        if number % 50 == 0 or number + 1 == end:
            current.with_suffix(".counts").write_text(repr(dict(counts)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--reports", type=Path, default=Path("asan"))
    parser.add_argument("--child", nargs=2, type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    folder = given.reports.absolute()
    current = folder / "current"
    if given.child:
        child(str(given.source), given.seed, *given.child, current)
        return 0
    library = built(given.source, folder / "build")
    first = " ".join(map(beside_gcc, ("libasan.so", "libstdc++.so.6")))  # ASan has to find what throws, for CharLS
    environment = {
        **os.environ,
        "LD_PRELOAD": first,
        "ASAN_OPTIONS": f"{ASAN}{folder}/asan",
        "UBSAN_OPTIONS": f"{UBSAN}{folder}/ubsan",
        "PYTHONMALLOC": "malloc",
    }
    for old in folder.glob("*san.*"):
        old.unlink()
    counts: Counter[str] = Counter()
    deaths: list[str] = []
    begin, until_s = 0, time.monotonic() + 60 * given.minutes if given.minutes else float("inf")
    while begin < given.inputs and time.monotonic() < until_s:
        end = min(begin + 500, given.inputs)
        command = [sys.executable, __file__, str(library), "--seed", str(given.seed), "--reports", str(folder)]
        current.with_suffix(".counts").write_text("{}")
        done = subprocess.run(
            [*command, "--child", str(begin), str(end)], env=environment, capture_output=True, text=True
        )
        counts += Counter(eval(current.with_suffix(".counts").read_text()))
        if done.returncode:
            number = int(current.read_text())
            deaths.append(f"input {number} of seed {given.seed}: exit code {done.returncode} {done.stderr[-500:]}")
            end = number + 1
        begin = end
    print(f"{begin} inputs of seed {given.seed}: {dict(counts)}")
    said = Counter(
        re.sub(r"0x[0-9a-f]+|-?\d{5,}", "N", line)
        for path in folder.glob("*san.*")
        for line in path.read_text(errors="replace").splitlines()
        if "runtime error" in line or "ERROR: AddressSanitizer" in line
    )
    for line, count in said.most_common():
        print(f"{count:>8}  {line}")
    print("\n".join(deaths) or "no process died")
    return 1 if deaths else 0


if __name__ == "__main__":
    sys.exit(main())
