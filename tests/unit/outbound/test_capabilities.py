"""What a destination was seen to accept: what answers add to negotiations, and how it is written down."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from leyden.form.ladder import KNOWN_FOR_S
from leyden.outbound import capabilities, capability_file

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = (CT, EXPLICIT_LE), (CT, IMPLICIT_LE)


def test_what_an_answer_refused_no_negotiation_makes_good_until_somebody_asks(tmp_path):
    with ThreadPoolExecutor(1) as threads:
        known = capabilities.Capabilities(tmp_path, "PACS", threads)
    assert known.negotiated([EXPLICIT, IMPLICIT], [EXPLICIT, IMPLICIT], 100.0) == {EXPLICIT, IMPLICIT}
    known.unsupported(EXPLICIT, 101.0)
    assert known.known(CT, 102.0).refused == (EXPLICIT_LE,)
    assert known.negotiated([EXPLICIT, IMPLICIT], [EXPLICIT, IMPLICIT], 102.0) == {IMPLICIT}
    known.ask_again(EXPLICIT, 100.0)  # before the answer
    assert known.negotiated([EXPLICIT], [EXPLICIT], 103.0) == set()
    known.ask_again(EXPLICIT, 104.0)
    assert known.negotiated([EXPLICIT], [EXPLICIT], 105.0) == {EXPLICIT}
    assert known.known(CT, 105.0).refused == ()
    known.unsupported(EXPLICIT, 106.0)
    assert known.negotiated([EXPLICIT], [EXPLICIT], 106.0 + KNOWN_FOR_S) == {EXPLICIT}


def test_one_writes_at_a_time_and_the_newest_is_what_stays(tmp_path, monkeypatch):
    writing, most = 0, 0
    go = threading.Event()
    real = capabilities.write

    def write(*what):
        nonlocal writing, most
        writing += 1
        most = max(most, writing)
        assert go.wait(10)
        real(*what)
        writing -= 1

    monkeypatch.setattr(capabilities, "write", write)

    async def run(threads):
        known = capabilities.Capabilities(tmp_path, "PACS", threads)
        writers = []
        for number in range(20):
            known.negotiated([(f"1.2.{number}", EXPLICIT_LE)], [], 100.0)
            writers.append(asyncio.create_task(known.save()))
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*writers)
        return known.knowledge

    with ThreadPoolExecutor(4) as threads:
        knowledge = asyncio.run(run(threads))
    assert most == 1
    assert capability_file.read(tmp_path, "PACS") == knowledge
    assert len(knowledge) == 20


def test_who_only_reads_sees_what_was_written_last(tmp_path):
    seen = capability_file.SeenCapabilities(tmp_path, "PACS")
    assert seen.knowledge() == {}

    async def learn(*accepted):
        known = capabilities.Capabilities(tmp_path, "PACS", threads)
        known.negotiated([EXPLICIT, IMPLICIT], accepted, 100.0)
        await known.save()

    with ThreadPoolExecutor(1) as threads:
        asyncio.run(learn(EXPLICIT))
        assert seen.knowledge()[CT].accepted == (EXPLICIT_LE,)
        asyncio.run(learn(EXPLICIT, IMPLICIT))
    assert set(seen.knowledge()[CT].accepted) == {EXPLICIT_LE, IMPLICIT_LE}
    (tmp_path / "state" / "PACS.json").write_bytes(b"no JSON")
    assert seen.knowledge() == {}
