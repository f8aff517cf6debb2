"""The application over real connections: its envelope, headers, limits, sessions, and what other sites can't do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from msgspec import Meta

from leyden.admission.callers import Why
from leyden.console import access
from leyden.console.app import BODY_MAX_BYTES
from leyden.console.call import Asked, Call, Given, Needs, Nothing
from leyden.console.console import Console
from leyden.console.table import TABLE
from leyden.journal.events import TurnedAway
from leyden.operate import tokens
from support.console import PASSWORD, TOKEN, Web, bearer, serving, sha256


class Number(Given, frozen=True):
    number: Annotated[int, Meta(ge=0, le=1000)] = 1


async def _same(_console: Console, asked: Asked[Number, Number]) -> dict[str, object]:
    body = asked.body.number if isinstance(asked.body, Number) else None
    return {"query": asked.query.number, "body": body, "who": asked.who, **asked.path}


async def _fault(_console: Console, _asked: Asked[Nothing, Nothing]) -> None:
    raise RuntimeError("secret")


MORE = (
    Call("GET", "/api/read/{name}", Needs.READ, _same, "", query=Number),
    Call("PUT", "/api/change/{name}", Needs.OPERATE, _same, "", query=Number, body=Number),
    Call("GET", "/api/open", Needs.NO_PATIENT_DATA, _same, "", query=Number),
    Call("GET", "/api/fault", Needs.NOTHING, _fault, ""),
)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    keys = {"token": sha256(TOKEN), "service_password": sha256(PASSWORD), "requests_per_second": 1000}
    with serving(tmp_path_factory.mktemp("console"), (*TABLE, *MORE), **keys) as found:
        yield found


def test_a_wrong_token_is_told_where_it_is_refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[TurnedAway] = []
    monkeypatch.setattr(access, "tell", told.append)
    with web.client(headers=bearer("wrong")) as client:
        assert client.get("/api/open").status_code == 200
        assert not told
        assert client.get("/api/read/x").status_code == 403
    assert [event.why for event in told] == [Why.SECRET]


def test_an_answer_has_its_envelope_and_headers(web: Web) -> None:
    with web.client() as client:
        answer = client.get("/api/open?number=7")
    assert answer.status_code == 200
    found = answer.json()
    assert found.keys() == {"ok", "data", "error", "timestamp"}
    assert (found["ok"], found["data"]["query"], found["error"]) == (True, 7, None)
    assert answer.headers["content-type"] == "application/json"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
    assert "server" not in answer.headers
    assert not [name for name in answer.headers if name.startswith("access-control")], "no other site may read"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("POST", "/api/open", 405, "no_such_call"),
        ("OPTIONS", "/api/open", 405, "no_such_call"),
        ("GET", "/api/open?number=x", 400, "bad_request"),
        ("GET", "/api/open?number=1&number=2", 400, "bad_request"),
        ("GET", "/api/open?other=1", 400, "bad_request"),
        ("GET", "/api/open?number=99999999999999999999999", 400, "bad_request"),
        ("GET", "/api/read/a", 403, "forbidden"),
        ("PUT", "/api/change/a", 403, "forbidden"),
        ("GET", "/api/fault", 500, "fault"),
        ("GET", "/api/open/", 404, "not_found"),
    ],
)
def test_a_refusal_has_the_same_form(web: Web, method: str, path: str, status: int, code: str) -> None:
    with web.client() as client:
        answer = client.request(method, path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert (answer.json()["ok"], answer.json()["data"]) == (False, None)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"number": 5}', "application/json", 200),
        (b"", "", 200),
        (b'{"number": "5"}', "application/json", 400),
        (b'{"other": 5}', "application/json", 400),
        (b'{"number": 5', "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[" * 30_000, "application/json", 400),
        (b"number=5", "application/x-www-form-urlencoded", 415),
        (b'{"number": 5}', "text/plain", 415),
        (b" " * (BODY_MAX_BYTES + 1), "application/json", 413),
    ],
)
def test_a_body_is_checked(web: Web, content: bytes, kind: str, status: int) -> None:
    with web.client(headers={**bearer(TOKEN), "content-type": kind}) as client:
        assert client.put("/api/change/a", content=content).status_code == status
        if status == 413:
            chunks = (content[at : at + 4096] for at in range(0, len(content), 4096))
            assert client.put("/api/change/a", content=chunks).status_code == 413, "without a length, too"


def test_who_calls_is_known_by_the_name_of_the_token(web: Web) -> None:
    reads = tokens.new(web.console.root, "Prometheus", "read", who="root")
    with web.client() as client:
        assert client.get("/api/read/a", headers=bearer(reads)).json()["data"]["who"] == "Prometheus"
        refused = client.put("/api/change/a", headers=bearer(reads))
        assert (refused.status_code, refused.json()["error"]["message"]) == (403, "Prometheus may only read")
        assert client.put("/api/change/a", headers=bearer(TOKEN)).json()["data"]["who"] == "config.yml"


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_can_use(web: Web) -> None:
    ours = {"origin": web.url}
    with web.client() as client:
        assert client.post("/api/login", json={"secret": "wrong"}, headers=ours).status_code == 403
        answer = client.post("/api/login", json={"secret": PASSWORD}, headers=ours)
        assert (answer.status_code, answer.json()["data"]["may"]) == (200, "operate")
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith("capacitor_session=")
        assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
        assert client.get("/api/read/a").status_code == 200
        assert client.put("/api/change/a", headers=ours).status_code == 200
        for origin in (
            {},
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": web.url + ".evil.example"},
        ):
            assert client.put("/api/change/a", headers=origin).status_code == 403, origin
        assert client.post("/api/logout", headers=ours).status_code == 200
        client.cookies.set("capacitor_session", cookie.partition(";")[0].partition("=")[2])
        assert client.get("/api/read/a").status_code == 403, "the session has ended, not only its cookie"


def test_a_page_of_another_site_can_not_sign_in(web: Web) -> None:
    with web.client() as client:
        answer = client.post("/api/login", json={"secret": PASSWORD}, headers={"origin": "https://evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:1080", ""])
def test_a_request_for_another_name_is_refused(web: Web, host: str) -> None:
    with web.client() as client:
        assert client.get("/health/live", headers={"host": host}).status_code == 421


def test_too_many_requests_have_to_wait(tmp_path: Path) -> None:
    with serving(tmp_path, requests_per_second=1) as web, web.client() as client:
        codes = [client.get("/health/live").status_code for _ in range(30)]
        assert codes[:10] == [200] * 10
        assert 429 in codes
        web.console.settings = web.console.settings.__class__.from_json(
            web.console.settings.to_json().replace(b'"requests_per_second":1', b'"requests_per_second":500')
        )
        assert client.get("/health/live").status_code == 200, "the limit is that of the settings in force"


def test_a_name_with_a_slash_or_a_line_feed_is_no_other_path(web: Web) -> None:
    with web.client(headers=bearer(TOKEN)) as client:
        assert client.get("/api/read/a%2Fb").status_code == 404
        assert client.get("/api/read/a%0Ab").status_code == 404
        assert client.get("/api/read/..%2F..%2Fetc").status_code == 404
        assert client.get("/api/read/" + "a" * 600).status_code == 404


def test_where_a_token_is_required_nothing_but_health_is_open(tmp_path: Path) -> None:
    """As on an address that others can reach (requireToken)."""
    reads = [call.path for call in TABLE if call.method == "GET" and "{" not in call.path]
    with serving(tmp_path, require_token=True, requests_per_second=1000) as web, web.client() as client:
        opened = {path for path in reads if client.get(path).status_code != 403}
    assert opened == {"/health", "/health/live", "/api/session", "/api/openapi.json"}


def test_over_ipv6_it_answers_to_its_address(tmp_path: Path) -> None:
    with serving(tmp_path, bind="::1") as web, httpx.Client() as client:
        assert web.console.url == f"http://[::1]:{web.port}"
        assert client.get(f"{web.console.url}/health/live").status_code == 200


def test_a_proxy_with_tls_may_stand_before_it(web: Web) -> None:
    """The browser's origin is https then, though we are asked in plain HTTP."""
    with web.client() as client:
        origin = {"origin": f"https://127.0.0.1:{web.port}"}
        assert client.post("/api/login", json={"secret": PASSWORD}, headers=origin).status_code == 200
