import queue
import threading
import time

import pytest

from leyden.alerts import post as post_module
from leyden.alerts.causes import Message
from leyden.alerts.channels import Channel, Refused, Unreachable
from leyden.alerts.post import GIVE_UP_S, WAITING_MAX, Post
from support.service import wait_for


def message(text: str, at_s: float = 0.0) -> Message:
    return Message("disk", "spool", "begins", text, 1.0, at_s or time.time())


class Way:
    """A channel that takes each message as `answers` say: an error, or None; what it took is in `taken`."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.taken: queue.Queue[str] = queue.Queue()
        self.gate = threading.Event()
        self.gate.set()

    def send(self, message: Message) -> None:
        self.gate.wait(30)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken.put(message.text)

    def post(self, *waiting: Message) -> Post:
        return Post([Channel("webhook", self.send)], {"webhook": waiting})


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_module, "FIRST_PAUSE_S", 0.01)


def test_what_is_not_taken_is_tried_again_and_keeps_its_place() -> None:
    way = Way(Unreachable("down"), Unreachable("down"))
    post = way.post()
    post.send(message("first"))
    post.send(message("second"))
    assert [way.taken.get(timeout=30) for _ in range(2)] == ["first", "second"]
    wait_for(lambda: not post.waiting())


def test_what_is_refused_is_dropped_and_the_next_goes() -> None:
    way = Way(Refused("no"), ValueError("a fault"))
    post = way.post()
    for text in ("refused", "fault", "good"):
        post.send(message(text))
    assert way.taken.get(timeout=30) == "good"


def test_what_could_not_be_sent_for_a_day_is_dropped() -> None:
    way = Way(Unreachable("down"))
    way.post(message("old", time.time() - GIVE_UP_S - 1), message("new"))
    assert way.taken.get(timeout=30) == "new"


def test_what_waits_is_known_for_the_next_start_and_is_bounded() -> None:
    way = Way()
    way.gate.clear()
    post = way.post(message("from before"))
    for number in range(WAITING_MAX):
        post.send(message(str(number)))
    texts = [each.text for each in post.waiting()["webhook"]]
    assert texts == [str(number) for number in range(WAITING_MAX)]
    way.gate.set()
    assert [way.taken.get(timeout=30) for _ in range(3)] == ["from before", "0", "1"], "what is under way goes alone"


def test_a_way_that_hangs_holds_up_no_other() -> None:
    hanging, other = Way(), Way()
    hanging.gate.clear()
    post = Post([Channel("webhook", hanging.send), Channel("mail", other.send)], {})
    post.send(message("to both"))
    assert other.taken.get(timeout=30) == "to both"
    assert list(post.waiting()) == ["webhook"]
    hanging.gate.set()
    assert hanging.taken.get(timeout=30) == "to both"


def test_after_the_stop_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_module, "FIRST_PAUSE_S", 600.0)
    way, before = Way(Unreachable("down")), set(threading.enumerate())
    post = way.post(message("one"))
    wait_for(lambda: not way.answers)
    post.stop()
    (mine,) = set(threading.enumerate()) - before
    mine.join(30)
    assert not mine.is_alive()
    assert [each.text for each in post.waiting()["webhook"]] == ["one"]
