"""Who may call: entries against visitors, limits, and which user identity has to be checked."""

import pytest

from leyden.admission.callers import (
    ANYBODY,
    Caller,
    Callers,
    Refused,
    TokenRules,
    Visitor,
    Why,
    room,
    span,
    to_check,
    who_may_call,
)
from leyden.dicom.negotiate import CALLED_UNKNOWN, CALLING_UNKNOWN, TOO_MANY, UserIdentity

CT = Caller("CT01", "callers.yml:1", addresses=("10.1.20.7/32", "2001:db8::/32"))
MR_HERE = Caller("MR", "callers.yml:4", addresses=("10.1.0.0/16",), max_associations=2)
MR_ELSEWHERE = Caller("MR", "callers.yml:7", certificates=("mr.example.org", "sha256:" + "ab" * 32))
LIMITED = Caller("US", "callers.yml:9", called=("RESEARCH",))
OTHERS = Caller("*", "callers.yml:12", addresses=("192.168.0.0/16",))
LIST = (CT, MR_HERE, MR_ELSEWHERE, LIMITED)
NAMES = ("MR.example.org", "sha256:" + "cd" * 32)


def visitor(calling: str, address: str = "10.1.20.7", called: str = "PACS", **more: object) -> Visitor:
    return Visitor(calling, called, address, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("callers", "who", "found"),
    [
        ((), visitor("WHOEVER"), ANYBODY),
        (LIST, visitor("CT01"), CT),
        (LIST, visitor("CT01", "::ffff:10.1.20.7"), CT),
        (LIST, visitor("CT01", "2001:db8:5::1"), CT),
        (LIST, visitor("CT01", "10.1.20.8"), (CALLING_UNKNOWN, Why.ADDRESS)),
        (LIST, visitor("CT01", "2001:db9::1"), (CALLING_UNKNOWN, Why.ADDRESS)),
        (LIST, visitor("CT01", "fe80::1%eth0"), (CALLING_UNKNOWN, Why.ADDRESS)),
        (LIST, visitor("CT01", "?"), (CALLING_UNKNOWN, Why.ADDRESS)),
        (LIST, visitor("ct01"), (CALLING_UNKNOWN, Why.CALLING)),
        (LIST, visitor("CT02"), (CALLING_UNKNOWN, Why.CALLING)),
        (LIST, visitor(""), (CALLING_UNKNOWN, Why.CALLING)),
        (LIST, visitor("*"), (CALLING_UNKNOWN, Why.CALLING)),
        ((*LIST, OTHERS), visitor("CT02", "192.168.3.4"), OTHERS),
        ((*LIST, OTHERS), visitor("CT02", "10.1.20.7"), (CALLING_UNKNOWN, Why.ADDRESS)),
        ((*LIST, OTHERS), visitor("CT01", "192.168.3.4"), (CALLING_UNKNOWN, Why.ADDRESS)),
        (LIST, visitor("MR", "10.1.99.1"), MR_HERE),
        (LIST, visitor("MR", "172.16.0.1", secure=True, certificate=NAMES), MR_ELSEWHERE),
        (LIST, visitor("MR", "172.16.0.1", secure=True, certificate=("x", "sha256:" + "AB" * 32)), MR_ELSEWHERE),
        (LIST, visitor("MR", "172.16.0.1", secure=True, certificate=("x", "y")), (CALLING_UNKNOWN, Why.CERTIFICATE)),
        (LIST, visitor("MR", "172.16.0.1", secure=True), (CALLING_UNKNOWN, Why.CERTIFICATE)),
        (LIST, visitor("MR", "172.16.0.1"), (CALLING_UNKNOWN, Why.CERTIFICATE)),
        (LIST, visitor("US", called="RESEARCH"), LIMITED),
        (LIST, visitor("US"), (CALLED_UNKNOWN, Why.CALLED)),
    ],
)
def test_a_visitor_comes_by_its_entry_or_is_refused(
    callers: tuple[Caller, ...], who: Visitor, found: Caller | tuple[object, Why]
) -> None:
    said = Callers(callers).admit(who)
    assert ((said.reject, said.why) if isinstance(said, Refused) else said) == found


def test_the_detail_names_the_entries_that_do_not_fit() -> None:
    said = Callers(LIST).admit(visitor("CT01", "10.9.9.9"))
    assert isinstance(said, Refused)
    assert said.detail == "not from this address (callers.yml:1)"
    many = [Caller("X", f"callers.yml:{n}", certificates=("a",)) for n in range(5)]
    said = Callers(many).admit(visitor("X"))
    assert isinstance(said, Refused)
    assert said.detail == "not without a certificate (callers.yml:0, callers.yml:1, callers.yml:2, ...)"


def test_only_ascii_letters_are_compared_in_any_case() -> None:
    """What Unicode takes for the same letters, an authority may have signed to somebody else."""
    callers = Callers([Caller("X", certificates=(name,)) for name in ("Kiosk.example.org", "Müller", "straße")])
    for name in ("kiosk.EXAMPLE.org", "mülleR", "STRAßE"):
        assert isinstance(callers.admit(visitor("X", certificate=(name,))), Caller)
    for name in ("\u212aiosk.example.org", "MÜLLER", "strasse", "kio\u017fk.example.org"):
        assert isinstance(callers.admit(visitor("X", certificate=(name,))), Refused)


def test_a_certificate_that_does_not_fit_is_told_in_bounds() -> None:
    own = "sha256:" + "cd" * 32
    callers = Callers([Caller("X", "callers.yml:1", certificates=("ws7.example.org",))])
    said = callers.admit(visitor("X", certificate=("ws8.example.org", "ws8.example.org", "10.1.2.3", own)))
    assert isinstance(said, Refused)
    assert said.words == f"not with this certificate (callers.yml:1), it has ws8.example.org, 10.1.2.3, {own}"
    other = callers.admit(visitor("X", certificate=("a\nb\x1b[2J", "x" * 65, "c", "d", "e", own)))
    assert isinstance(other, Refused)
    assert other.more == f"it has a?b?[2J, {'x' * 64}..., c, ..., {own}"
    assert other.detail == said.detail, "whatever it is called, that is the same kind of refusal"


def test_an_ipv4_network_is_the_same_in_ipv6() -> None:
    assert span("10.0.0.0/8") == span("::ffff:10.0.0.0/104")
    assert span("0.0.0.0/0") == span("::ffff:0:0/96")
    assert span("::/0") == (0, 2**128 - 1)


# The user identity

PASSCODE = UserIdentity(2, b"u", b"p")
TOKEN = UserIdentity(5, b"x.y.z")
RULES = TokenRules(("{}",), "i", "a", ("RS256",))
BY_NAME = (("u", "$scrypt$"),)


@pytest.mark.parametrize(
    ("identity", "users", "tokens", "secure", "given", "found"),
    [
        ("off", (), None, True, PASSCODE, None),
        ("off", (), None, False, None, None),
        ("optional", BY_NAME, None, True, None, None),
        ("optional", BY_NAME, None, True, PASSCODE, PASSCODE),
        ("optional", BY_NAME, None, False, PASSCODE, None),
        ("required", BY_NAME, None, True, PASSCODE, PASSCODE),
        ("required", (), RULES, True, TOKEN, TOKEN),
        ("required", BY_NAME, None, False, PASSCODE, "a user identity is required, and counts under TLS only"),
        ("required", BY_NAME, None, True, None, "a user identity is required"),
        ("optional", BY_NAME, None, True, TOKEN, "no Jwt is set up (callers.yml:3)"),
        ("optional", (), RULES, True, PASSCODE, "no Users are named (callers.yml:3)"),
        ("optional", BY_NAME, None, True, UserIdentity(1, b"u"), "a user name without a passcode proves nothing"),
        ("optional", BY_NAME, None, True, UserIdentity(3, b"u"), "Kerberos tickets are not checked here"),
        ("required", BY_NAME, None, True, UserIdentity(4, b"u"), "SAML assertions are not checked here"),
        ("required", BY_NAME, None, True, UserIdentity(0, b""), "a user identity of an unknown kind can't be checked"),
    ],
)
def test_which_user_identity_has_to_be_checked(
    identity: str,
    users: tuple[tuple[str, str], ...],
    tokens: TokenRules | None,
    secure: bool,
    given: UserIdentity | None,
    found: UserIdentity | str | None,
) -> None:
    caller = Caller("WS", "callers.yml:3", identity=identity, users=users, tokens=tokens)
    said = to_check(caller, visitor("WS", secure=secure, identity=given))
    if isinstance(said, Refused):
        assert said.why is Why.IDENTITY
        assert said.detail == found
        assert str(said.reject).endswith("(1,1,1)")
    else:
        assert said == found


# Room


@pytest.mark.parametrize(
    ("has", "open_now", "most", "why"),
    [
        (0, 0, 1, None),
        (0, 1, 1, Why.FULL),
        (1, 1, 2, None),
        (2, 2, 4, None),
        (3, 3, 4, Why.SHARE),
        (0, 3, 4, None),
        (749, 749, 1000, None),
        (750, 750, 1000, Why.SHARE),
        (2, 999, 1000, None),
        (3, 999, 1000, Why.SHARE),
        (0, 1000, 1000, Why.FULL),
    ],
)
def test_room_for_one_more(has: int, open_now: int, most: int, why: Why | None) -> None:
    said = room(ANYBODY, has, open_now, most)
    assert (said.why if said else None) is why
    assert said is None or said.reject == TOO_MANY


def test_an_entry_may_allow_fewer() -> None:
    said = room(MR_HERE, 2, 2, 1000)
    assert said is not None
    words = "MaxAssociations allows no more (callers.yml:4), it has 2"
    assert (said.why, said.reject, said.words) == (Why.LIMIT, TOO_MANY, words)
    assert room(MR_HERE, 1, 900, 1000) is None


def test_who_invents_titles_leaves_room_for_others() -> None:
    """Each association of an address under another title; a title with an entry of its own is not invented."""
    open_now = 0
    while room(ANYBODY, 0, open_now, 1000, open_now) is None:
        open_now += 1
    assert open_now == 900
    assert room(MR_HERE, 0, 900, 1000, 900) is None
    assert room(ANYBODY, 0, 900, 1000, 0) is None


@pytest.mark.parametrize("most", [4, 5, 10, 64, 200, 1000])
@pytest.mark.parametrize("floods", [1, 2, 3])
def test_however_many_flood_the_next_one_comes_in(most: int, floods: int) -> None:
    has = [0] * floods
    for turn in range(3 * most):
        n = turn % floods
        has[n] += room(ANYBODY, has[n], sum(has), most) is None
    if sum(has) < most:
        assert room(ANYBODY, 0, sum(has), most) is None
    assert sum(has) < most or floods * 3 >= most, has


@pytest.mark.parametrize(
    ("callers", "allowed", "line"),
    [
        ((), (), "open to all: any AE title may call from any address; callers.yml says who may"),
        ((), ("A", "B"), "open to 2 AE titles from any address (allowedCallingAeTitles)"),
        (LIST, (), "open to 3 AE titles as callers.yml says"),
        ((OTHERS,), ("A",), "open to any AE title as callers.yml says, and only to the 1 in allowedCallingAeTitles"),
    ],
)
def test_who_may_call_in_a_line(callers: tuple[Caller, ...], allowed: tuple[str, ...], line: str) -> None:
    assert who_may_call(callers, allowed) == line
