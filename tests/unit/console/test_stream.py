"""Server-sent events: two versions of a document, for a bounded number of watchers of whom no one holds up another."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from leyden.console.stream import ANYBODY_MAX, WATCHERS_MAX
from leyden.operate import tokens
from support.console import PASSWORD, TOKEN, bearer, serving, sha256
from support.service import wait_for

HEAVY = "x" * 200_000  # more than the buffers of a connection take of some documents


def documents(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_the_whole_is_for_those_who_may_see_it(tmp_path: Path) -> None:
    with (
        serving(tmp_path, document=lambda whole: {"whole": whole}, token=sha256(TOKEN)) as web,
        web.client() as client,
        client.stream("GET", "/api/live") as anybody,
        client.stream("GET", "/api/live", headers=bearer(TOKEN)) as holder,
    ):
        assert anybody.headers["content-type"].startswith("text/event-stream")
        for answer, whole in ((anybody, False), (holder, True)):
            seen = documents(answer)
            assert [next(seen), next(seen)] == [{"whole": whole}] * 2


def test_a_stream_ends_with_the_session_that_it_began_with(tmp_path: Path) -> None:
    with (
        serving(tmp_path, document=lambda whole: {"whole": whole}, service_password=sha256(PASSWORD)) as web,
        web.client(headers={"origin": web.url}) as client,
    ):
        assert client.post("/api/login", json={"secret": PASSWORD}).status_code == 200
        with client.stream("GET", "/api/live") as answer:
            seen = documents(answer)
            assert next(seen) == {"whole": True}
            assert client.post("/api/logout").status_code == 200
            assert list(seen) in ([], [{"whole": True}]), "at most what was under way"


def test_a_stream_ends_with_the_token_that_it_began_with(tmp_path: Path) -> None:
    with serving(tmp_path, document=lambda whole: {"whole": whole}) as web, web.client() as client:
        root = web.console.root
        token, other = (tokens.new(root, name, "read", who="root") for name in ("a", "b"))
        with (
            client.stream("GET", "/api/live", headers=bearer(token)) as revoked,
            client.stream("GET", "/api/live", headers=bearer(other)) as stays,
        ):
            seen = documents(revoked)
            assert next(seen) == {"whole": True}
            tokens.revoke(root, "a", who="root")
            assert list(seen) in ([], [{"whole": True}]), "at most what was under way"
            seen = documents(stays)
            assert [next(seen), next(seen)] == [{"whole": True}] * 2


def test_one_who_takes_nothing_holds_up_nobody(tmp_path: Path) -> None:
    numbers = iter(range(1_000_000))
    with (
        serving(tmp_path, document=lambda whole: {"n": next(numbers), "heavy": HEAVY}) as web,
        web.raw() as slow,
        web.client() as client,
    ):
        slow.sendall(b"GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_for(lambda: web.console.stream.watchers == 1)
        with client.stream("GET", "/api/live") as answer:
            seen = [document["n"] for document, _ in zip(documents(answer), range(4), strict=False)]
        assert seen == sorted(set(seen))
        assert len(seen) == 4


def test_so_many_may_watch_and_strangers_leave_places_to_those_who_log_in(tmp_path: Path) -> None:
    with serving(tmp_path, token=sha256(TOKEN)) as web, contextlib.ExitStack() as open_ones:
        client = open_ones.enter_context(web.client())

        def watch(stack: contextlib.ExitStack, **headers: str) -> None:
            stack.enter_context(client.stream("GET", "/api/live", headers=headers))

        first = contextlib.ExitStack()
        watch(first)
        for _ in range(ANYBODY_MAX - 1):
            watch(open_ones)
        wait_for(lambda: web.console.stream.watchers == ANYBODY_MAX)
        refused = client.get("/api/live")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many")
        for _ in range(WATCHERS_MAX - ANYBODY_MAX):
            watch(open_ones, **bearer(TOKEN))
        wait_for(lambda: web.console.stream.watchers == WATCHERS_MAX)
        assert client.get("/api/live", headers=bearer(TOKEN)).status_code == 503
        first.close()
        wait_for(lambda: web.console.stream.watchers < WATCHERS_MAX)
        watch(open_ones)
