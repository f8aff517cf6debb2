"""What is said follows from what was found: nothing is promised that was not measured."""

import orjson
import pytest
from msgspec.structs import replace

from leyden.deliver.destination import Destination
from leyden.dicom import uids
from leyden.tune.codec import Encoded, Measured
from leyden.tune.history import History
from leyden.tune.machine import Found
from leyden.tune.model import Arrivals, Codec, Cost, Line, Machine, Node, Situation, Wishes, advise
from leyden.tune.trip import Costs
from leyden.tune.words import REMEDIES, Told, document, lines, size_in_words

ROLES = {"receiver": Cost(0.001), "planner": Cost(0.0005), "sender": Cost(0.001), "worker": Cost(0.002)}
MACHINE = Machine(4, 4.0, 3.0, Cost(0.001), ROLES, {"HTJ2KLossless": Codec(0.01, 0.01, 0.5)}, lone=Cost(0.002))
ENCODED = Measured(Encoded(1_000_000, 500_000, 0.01, 0.01), Encoded(4_000_000, 2_000_000, 0.04, 0.01))
FOUND = Found(MACHINE, {"HTJ2KLossless": ENCODED}, {1000: 500.0}, Costs(ROLES, Cost(), 3.0, Cost(0.002)))
PACS = Destination("PACS", "10.0.0.1", 104, syntax=uids.HTJ2K_LOSSLESS)
HERE = Situation(1e6, 1e6, 1e12, [Node("PACS", "HTJ2KLossless", line=Line(0.5))], Arrivals(10.0, 1e6))


def told(here: Situation = HERE, echoes: dict[str, float | str] | None = None) -> Told:
    now = {"receivers": 1, "workers": 9, "arenaMib": 256}
    return Told(FOUND, 20.0, History(), echoes or {}, [PACS], here, advise(MACHINE, here, Wishes()), now)


def text(which: Told) -> str:
    return "\n".join(lines(which, lambda seconds: f"{seconds / 86400:.1f} d"))


def test_the_bottleneck_is_named_with_what_helps() -> None:
    said = text(told())
    assert "Bottleneck (HTJ2KLossless): round trip. More with: more associations (MaxAssociations)" in said
    assert "workers: 4   (now 9)" in said
    assert "arenaMib: 256\n" in said
    assert "MaxAssociations of PACS: 64   (now 4)" in said
    assert "one association of a modality: at most 500 objects/s of 1 MB" in said
    assert "If PACS is down, the disk lasts 23.1 d" in said


@pytest.mark.parametrize(
    ("peak_per_s", "words"),
    [(12.8, "passes at once; 10.0 times as much would"), (1280.0, "waits: 0.10 of it passes")],
)
def test_whether_the_busiest_minute_passes(peak_per_s: float, words: str) -> None:
    assert words in text(told(replace(HERE, arrivals=Arrivals(peak_per_s, 1e6))))


def test_what_is_not_known_is_said() -> None:
    said = text(told(replace(HERE, arrivals=None)))
    assert "the journal knows of none" in said
    assert "busiest minute" not in said
    assert "the disk lasts" not in said
    assert "PACS: nothing is known; --probe PACS sends a C-ECHO" in said
    assert "PACS: C-ECHO: refused" in text(told(echoes={"PACS": "refused"}))
    assert "PACS: C-ECHO: 1.5 ms" in text(told(echoes={"PACS": 0.0015}))


def test_the_document_is_json() -> None:
    said = orjson.loads(orjson.dumps(document(told(echoes={"PACS": 0.5, "OTHER": "refused"}))))
    assert said["expected"]["bottleneck"] == "round trip"
    assert said["expected"]["objects_per_s"] == pytest.approx(128)
    assert said["round_trips_s"] == {"PACS": 0.5}
    assert said["advice"] == {"receivers": 1, "workers": 4, "arenaMib": 256, "maxAssociations": {"PACS": 64}}


def test_every_bottleneck_has_a_remedy() -> None:
    assert set(told().advice.main.bounds) | {"line"} == set(REMEDIES)


@pytest.mark.parametrize(
    ("size", "words"), [(999, "999 bytes"), (524288, "524 KB"), (2e6, "2 MB"), (3.26e10, "32.6 GB")]
)
def test_sizes(size: float, words: str) -> None:
    assert size_in_words(size) == words
