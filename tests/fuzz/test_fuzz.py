"""Each target of fuzz/targets.py: what was ever found, then inputs by chance.

LEYDEN_FUZZ_INPUTS sets how many (10,000; 400 images, as each is made by a codec), LEYDEN_CRASH_SEED which. Millions of
them on all cores: perf/fuzz.py.
"""

import multiprocessing
import os
import random
from pathlib import Path

import pytest

from fuzz import run as runner
from fuzz.run import CORPUS, MEMORY_BYTES, Outcomes, Target, apart, bounded, input_of, run, shrunk, tried
from fuzz.targets import TARGETS
from leyden.dicom import uids
from leyden.transcode import job

SEED = int(os.environ.get("LEYDEN_CRASH_SEED", "20261129"))
GIVEN = os.environ.get("LEYDEN_FUZZ_INPUTS", "")
INPUTS = int(GIVEN or "10000")
IMAGES = int(GIVEN or "400")
GROWTH_BYTES = 32 << 20  # of a whole run, after the first fifth: a tenth of that is one leaked frame in 100 images
PURE = [name for name, target in TARGETS.items() if not target.native]


def _told(target: Target, done: Outcomes) -> str:
    """The faults of a run, each with the shortest input that shows it; an input belongs into the corpus."""
    lines = []
    for number, what, data in done.faults[:3]:
        shortest = data if target.native else shrunk(target, data, what)
        lines.append(f"{target.name}, seed {SEED}, input {number}: {what}\n{shortest.hex()}")
    return "\n".join([f"{len(done.faults)} faults", *lines])


@pytest.mark.timeout(36000 if GIVEN else 300)
@pytest.mark.parametrize("name", PURE)
def test_bytes_of_strangers_are_read_or_refused(name: str) -> None:
    """Every length is bounded before allocation, and nothing raises but the errors that it names (ARCHITECTURE.md)."""
    target = TARGETS[name]
    target.check(input_of(target, SEED, 0))  # whatever is made once is made now, before memory is bounded
    with bounded():
        for path in target.corpus():
            _, fault = tried(target, path.read_bytes(), measured=True)
            assert not fault, f"{path}: {fault}"
        done = run(target, SEED, range(INPUTS))
        assert not done.faults, _told(target, done)
    print(f"{done.inputs} inputs of seed {SEED}: {dict(done.counts)}; the slowest {done.slowest[0]:.3f} s")
    assert done.of("read") > INPUTS // 20, "damage that lets nothing through tests nothing"


@pytest.mark.timeout(36000 if GIVEN else 300)
def test_damaged_images_end_in_an_image_or_a_reason(tmp_path: Path) -> None:
    """Every length is bounded before allocation (ARCHITECTURE.md): a damaged image causes no crash, hang or leak."""
    target = TARGETS["images"]
    done = apart(target, SEED, range(IMAGES), tmp_path / "stderr")
    print(f"{IMAGES} inputs of seed {SEED}; the slowest {done.slowest[0]:.3f} s;")
    print(f"resident {done.early_bytes >> 10} KiB after a fifth, {done.late_bytes >> 10} KiB at the end;")
    print("\n".join(f"  {outcome}: {count}" for outcome, count in sorted(done.counts.items())))
    assert not done.faults, f"{_told(target, done)[:2000]}; stderr: {(tmp_path / 'stderr').read_text()[-2000:]}"
    assert done.late_bytes - done.early_bytes < GROWTH_BYTES
    assert done.left == ""
    assert (tmp_path / "stderr").read_text() == ""
    read = {uid for codec in job.CODECS for uid in codec.decodes} | {uids.DEFLATED_LE}
    tried_ones = {outcome.partition(" ")[2] for outcome in done.counts}
    assert {uids.syntax_name(uid) for uid in read} <= tried_ones, "one was not tried"
    assert done.of("read") > IMAGES // 20, "damage that lets nothing through tests nothing"


def test_the_corpus_is_that_of_the_targets() -> None:
    """A file of the corpus is small, and belongs to a target, which tries it."""
    for folder in CORPUS.iterdir():
        assert folder.name in TARGETS
        for path in folder.iterdir():
            assert path.stat().st_size <= 8192, path
    assert not [name for name in PURE if not TARGETS[name].corpus()], "a target without a corpus"


# -- the runner finds what it should


def _made(chance: random.Random) -> bytes:
    return bytes([chance.randrange(256)]) * 40


def _loops(data: bytes) -> str:
    while True:
        data = data[::-1]


def _hoards(data: bytes) -> str:
    return str(len([data * 1000 for _ in range(1 + MEMORY_BYTES // 40000)]))[:0] + "read"


def _claims(data: bytes) -> str:
    return str(bytearray(1 << 40))


def _raises(data: bytes) -> str:
    if b"\7" in data:
        raise KeyError("7")
    return "read"


def _dies(data: bytes) -> str:
    if data[0] % 16 == 7:
        os.abort()
    return "read"


@pytest.mark.parametrize(
    ("check", "what"), [(_loops, "TooLong"), (_hoards, "MiB"), (_claims, "MemoryError"), (_raises, "KeyError")]
)
def test_what_is_not_expected_is_a_fault(check: object, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless loop, memory as a stranger wants it, and any exception of its own are faults."""
    monkeypatch.setattr(runner, "LIMIT_S", 0.2)
    target = Target("faulty", _made, check)  # type: ignore[arg-type]
    with bounded():
        outcome, fault = tried(target, b"\6\7" * 20, measured=True)
        assert (outcome, what in fault) == ("fault", True), fault
        if check is _raises:
            assert shrunk(target, b"\6\7" * 20, fault) == b"\7"


def test_inputs_are_the_same_on_every_machine() -> None:
    """Input N of a seed is the same whoever makes it, so that a fault can be seen again."""
    for name in ("acceptor", "edit", "configuration", "records"):
        assert input_of(TARGETS[name], 5, 7) == input_of(TARGETS[name], 5, 7)
        assert len({input_of(TARGETS[name], 5, number) for number in range(40)}) > 30


def test_a_process_that_dies_is_a_fault_and_the_next_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash in native code costs one input of a run, and is told."""
    context = multiprocessing.get_context("fork")  # so that the child knows the target of this test
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
    target = Target("dying", _made, _dies, native=True)
    monkeypatch.setitem(TARGETS, "dying", target)
    done = apart(target, 1, range(40), tmp_path / "log")
    deadly = [number for number in range(40) if input_of(target, 1, number)[0] % 16 == 7]
    assert [number for number, _, _ in done.faults] == deadly
    assert all("exit code -6" in what for _, what, _ in done.faults)
    assert done.inputs == 40
