"""What a destination takes: what answers add to negotiations, and how it is written down."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from leyden.dicom.uids import EXPLICIT_LE, IMPLICIT_LE
from leyden.form.ladder import KNOWN_FOR_S
from leyden.outbound import taken

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT, IMPLICIT = (CT, EXPLICIT_LE), (CT, IMPLICIT_LE)


def test_what_an_answer_refused_no_negotiation_makes_good_until_somebody_asks(tmp_path):
    with ThreadPoolExecutor(1) as threads:
        memory = taken.Memory(tmp_path, "PACS", threads)
    assert memory.negotiated([EXPLICIT, IMPLICIT], [EXPLICIT, IMPLICIT], 100.0) == {EXPLICIT, IMPLICIT}
    memory.unsupported(EXPLICIT, 101.0)
    assert memory.known(CT, 102.0).refused == (EXPLICIT_LE,)
    assert memory.negotiated([EXPLICIT, IMPLICIT], [EXPLICIT, IMPLICIT], 102.0) == {IMPLICIT}
    memory.ask_again(EXPLICIT, 100.0)  # before the answer
    assert memory.negotiated([EXPLICIT], [EXPLICIT], 103.0) == set()
    memory.ask_again(EXPLICIT, 104.0)
    assert memory.negotiated([EXPLICIT], [EXPLICIT], 105.0) == {EXPLICIT}
    assert memory.known(CT, 105.0).refused == ()
    memory.unsupported(EXPLICIT, 106.0)
    assert memory.negotiated([EXPLICIT], [EXPLICIT], 106.0 + KNOWN_FOR_S) == {EXPLICIT}


def test_one_writes_at_a_time_and_the_newest_is_what_stays(tmp_path, monkeypatch):
    writing, most = 0, 0
    go = threading.Event()
    real = taken.remember

    def remember(*what):
        nonlocal writing, most
        writing += 1
        most = max(most, writing)
        assert go.wait(10)
        real(*what)
        writing -= 1

    monkeypatch.setattr(taken, "remember", remember)

    async def run(threads):
        memory = taken.Memory(tmp_path, "PACS", threads)
        writers = []
        for number in range(20):
            memory.negotiated([(f"1.2.{number}", EXPLICIT_LE)], [], 100.0)
            writers.append(asyncio.create_task(memory.note()))
            await asyncio.sleep(0)
        go.set()
        await asyncio.gather(*writers)
        return memory.knowledge

    with ThreadPoolExecutor(4) as threads:
        knowledge = asyncio.run(run(threads))
    assert most == 1
    assert taken.recall(tmp_path, "PACS") == knowledge
    assert len(knowledge) == 20
