"""Who may what: tokens, the service password, sessions, and guesses."""

import contextlib
import os
from pathlib import Path

import pytest

from leyden.admission.callers import Why
from leyden.admission.flood import AGAIN_S
from leyden.config.settings import ConsoleSettings
from leyden.console import access as access_module
from leyden.console.access import GUESSES, SESSIONS_MAX, Access
from leyden.console.call import Needs, Refused
from leyden.journal.events import TurnedAway
from leyden.operate import tokens
from support.console import PASSWORD, TOKEN, sha256

ALL = (Needs.NO_PATIENT_DATA, Needs.READ, Needs.OPERATE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[TurnedAway]:
    """What the journal gets."""
    events: list[TurnedAway] = []
    monkeypatch.setattr(access_module, "tell", events.append)
    return events


def access(root: Path, **keys: object) -> Access:
    return Access(ConsoleSettings(enabled=True, **keys), root)  # type: ignore[arg-type]


def may(found: Access, authorization: str = "", cookie: str = "") -> set[Needs]:
    """What one may do with these headers."""
    allowed = set()
    for needs in ALL:
        with contextlib.suppress(Refused):
            found.check(found.caller(authorization, cookie, "10.0.0.1"), needs)
            allowed.add(needs)
    return allowed


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer x", "Basic eDp5", "Bearer"])
def test_without_any_secret_nothing_is_open(root: Path, authorization: str) -> None:
    assert may(access(root), authorization) == {Needs.NO_PATIENT_DATA}
    assert may(access(root, require_token=True), authorization) == set()


def test_an_empty_secret_is_none(root: Path) -> None:
    found = access(root)
    for secret in ("", " "):
        with pytest.raises(Refused):
            found.sign_in(secret, "10.0.0.1")
    assert not found.has_secrets


def test_the_token_of_the_configuration_may_everything(root: Path) -> None:
    found = access(root, token=sha256(TOKEN), require_token=True)
    assert may(found, f"Bearer {TOKEN}") == set(ALL)
    assert may(found, f"bearer  {TOKEN} ") == set(ALL)
    assert may(found, f"Bearer {TOKEN}x") == set()
    assert may(found, f"Bearer {sha256(TOKEN)}") == set(), "the hash is no token"


def test_a_token_has_a_name_and_a_role(root: Path) -> None:
    found = access(root)
    reads, operates = (tokens.new(root, name, role, who="root") for name, role in (("a", "read"), ("b", "operate")))
    assert may(found, f"Bearer {reads}") == {Needs.NO_PATIENT_DATA, Needs.READ}
    assert may(found, f"Bearer {operates}") == set(ALL)
    caller = found.caller(f"Bearer {operates}", "", "")
    assert caller is not None
    assert caller.name == "b"


def test_a_revoked_token_is_worth_nothing_at_once(root: Path) -> None:
    found, token = access(root), tokens.new(root, "a", "operate", who="root")
    cookie, _ = found.sign_in(token, "10.0.0.1")
    assert may(found, f"Bearer {token}") == may(found, cookie=cookie) == set(ALL)
    by_token, by_cookie = found.caller(f"Bearer {token}", "", ""), found.caller("", cookie, "")
    assert (found.again(by_token, ""), found.again(by_cookie, cookie)) == (by_token, by_cookie)
    tokens.revoke(root, "a", who="root")
    assert (found.again(by_token, ""), found.again(by_cookie, cookie)) == (None, None)
    assert may(found, f"Bearer {token}") == {Needs.NO_PATIENT_DATA}
    assert may(found, cookie=cookie) == {Needs.NO_PATIENT_DATA}, "nor the session that it began"


def test_the_password_begins_a_session_and_is_no_token(root: Path) -> None:
    found = access(root, service_password=sha256(PASSWORD))
    assert may(found, f"Bearer {PASSWORD}") == {Needs.NO_PATIENT_DATA}
    cookie, caller = found.sign_in(PASSWORD, "10.0.0.1")
    assert caller.by_cookie
    assert may(found, cookie=cookie) == set(ALL)
    found.sign_out(cookie)
    assert may(found, cookie=cookie) == {Needs.NO_PATIENT_DATA}


def test_a_session_ends_with_its_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(access_module.time, "monotonic", lambda: now_s)
    found = access(root, service_password=sha256(PASSWORD))
    idle, used = (found.sign_in(PASSWORD, "10.0.0.1")[0] for _ in range(2))
    for _ in range(7):
        now_s += access_module.IDLE_S - 1
        assert found.caller("", used, "") is not None
    assert found.caller("", idle, "") is None
    now_s = 1000.0 + access_module.SESSION_S + 1
    assert found.caller("", used, "") is None, "however much it is used"


def test_a_session_ends_with_its_password(root: Path) -> None:
    found = access(root, service_password=sha256(PASSWORD))
    cookie, _ = found.sign_in(PASSWORD, "10.0.0.1")
    found.go_by(ConsoleSettings(enabled=True, service_password=sha256("another")))
    assert found.caller("", cookie, "") is None


def test_sessions_are_bounded(root: Path) -> None:
    found = access(root, service_password=sha256(PASSWORD))
    first, *_, last = (found.sign_in(PASSWORD, "10.0.0.1")[0] for _ in range(SESSIONS_MAX + 1))
    assert found.caller("", first, "") is None
    assert found.caller("", last, "") is not None


def test_who_guesses_has_to_wait_and_nobody_else(root: Path) -> None:
    found = access(root, token=sha256(TOKEN), service_password=sha256(PASSWORD))
    ours = tokens.new(root, "a", "read", who="root")
    for number in range(GUESSES):
        with pytest.raises(Refused) as wrong:
            found.sign_in(f"guess {number}", "10.0.0.1")
        assert wrong.value.status == 403
    for guess in ("another", PASSWORD):
        with pytest.raises(Refused) as late:
            found.sign_in(guess, "10.0.0.1")
        assert (late.value.status, late.value.wait_s > 0) == (429, True), "right or wrong is not told any more"
    with pytest.raises(Refused) as late:
        found.caller(f"Bearer {TOKEN}", "", "10.0.0.1")
    assert late.value.status == 429
    assert found.caller(f"Bearer {ours}", "", "10.0.0.1") is not None, "it can't be guessed, so it is always heard"
    assert found.caller(f"Bearer {TOKEN}", "", "10.0.0.2") is not None


def test_wrong_secrets_are_told_at_once_and_then_together(
    root: Path, told: list[TurnedAway], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = 1000.0
    monkeypatch.setattr(access_module.time, "monotonic", lambda: now_s)
    found = access(root, token=sha256(TOKEN))
    for secret in ("wrong", "x" * (access_module.SECRET_MAX_CHARS + 1), *["worse"] * GUESSES):
        with pytest.raises(Refused):
            found.sign_in(secret, "10.0.0.1")
    found.sign_in(TOKEN, "10.0.0.2")
    found.tell_due()
    now_s += AGAIN_S
    found.tell_due()
    assert [(event.peer, event.why, event.count) for event in told] == [
        ("10.0.0.1", Why.SECRET, 1),
        ("10.0.0.1", Why.SECRET, GUESSES + 1),
    ]
    assert "wors" not in str(told)


def test_a_revoked_token_locks_nobody_out_of_the_password(root: Path) -> None:
    found = access(root, service_password=sha256(PASSWORD))
    for _ in range(2 * GUESSES):
        assert found.caller("Bearer revoked", "", "10.0.0.1") is None
    found.sign_in(PASSWORD, "10.0.0.1")


def test_tokens_that_cant_be_read_are_no_tokens(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = tokens.new(root, "a", "operate", who="root")
    (root / "state" / "service.tokens.json").write_text("[{]")
    assert may(access(root), f"Bearer {token}") == {Needs.NO_PATIENT_DATA}
    assert "the tokens can't be read" in caplog.text


def test_what_is_kept_of_a_token_is_its_owners_alone(root: Path) -> None:
    token = tokens.new(root, "Prometheus", "read", who="root")
    path = root / "state" / "service.tokens.json"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert token not in path.read_text()
    assert len(token) >= 43
    with pytest.raises(tokens.WrongName, match="has a token already"):
        tokens.new(root, "Prometheus", "read", who="root")
    with pytest.raises(tokens.WrongName, match="there are: Prometheus"):
        tokens.revoke(root, "Grafana", who="root")
    with pytest.raises(tokens.WrongName):
        tokens.new(root, "a\nb", "read", who="root")
