"""Who may call: which entry of callers.yml a visitor comes by, or why it is refused.

Titles are compared as they are written, without the blanks around them (PS3.5 section 6.2): `CT01` is not `ct01`. The
title, the address and the certificate are answered alike if they are wrong, as an unknown title is (1,1,3): whoever
tries learns nothing. Two limits are for each caller, which is a title at an address: what its entry allows, and a fair
share of all associations; of these there is a larger one for an address, too.
"""

import ipaddress
from collections.abc import Sequence
from enum import StrEnum
from functools import lru_cache
from string import ascii_lowercase, ascii_uppercase

import msgspec

from leyden.dicom.negotiate import (
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    JWT,
    KERBEROS,
    SAML,
    TOO_MANY,
    USERNAME,
    USERNAME_AND_PASSCODE,
    AssociateReject,
    UserIdentity,
)

ANY_TITLE = "*"  # an entry for each title that has none of its own
SHARE = 3  # a caller has at most so many times what is left for others
ADDRESS_SHARE = 9  # so have all titles at an address together that have no entry of their own: titles can be invented
IDENTITY_REFUSED = AssociateReject(1, 1, 1)
KNOCKS = "127.0.0.2"  # from there console/health.py shakes hands over TLS, and asks for no association
HASH = "sha256:"  # before the hash of a certificate, among its names
NAMES_TOLD, NAME_MAX_CHARS = 3, 64  # of a certificate that does not fit

_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)

_MAPPED_BEGIN = 0xFFFF << 32  # of ::ffff:0:0/96, IPv4 addresses as IPv6 ones (RFC 4291 section 2.5.5.2)
_KINDS = {
    USERNAME: "a user name without a passcode proves nothing",
    KERBEROS: "Kerberos tickets are not checked here",
    SAML: "SAML assertions are not checked here",
}


class Why(StrEnum):
    """Why an association, or a request to the console, is refused, for the journal and for metrics."""

    CALLING = "calling title"
    ADDRESS = "address"
    CERTIFICATE = "certificate"
    CALLED = "called title"
    IDENTITY = "user identity"
    SECRET = "token or password"  # of the console
    LIMIT = "limit of the caller"
    SHARE = "share of the caller"
    FULL = "all associations"
    DISK = "disk"
    TLS = "tls"
    PROTOCOL = "protocol"
    VARIOUS = "various"


class TokenRules(msgspec.Struct, frozen=True):
    """Which JSON Web Tokens count: signed with one of `keys` (public, as JWK), from `issuer`, for `audience`."""

    keys: tuple[str, ...]
    issuer: str
    audience: str
    algorithms: tuple[str, ...]


class Caller(msgspec.Struct, frozen=True):
    """One entry of callers.yml; what is empty or 0 restricts nothing.

    `where`: its place in the file. `addresses`: networks, as a.b.c.d/n. `certificates`: names, or `sha256:` and the
    hash of a certificate, of which the caller's has one. `called`: the titles that it may call. `classes`: the SOP
    classes that it may send. `disk_share_percent`: None = as callerShare says. `identity`: off, optional or required;
    `users`: names with their scrypt hashes.
    """

    title: str
    where: str = ""
    addresses: tuple[str, ...] = ()
    certificates: tuple[str, ...] = ()
    called: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    max_associations: int = 0
    maximum_line_speed_kb_per_s: int = 0
    disk_share_percent: float | None = None
    identity: str = "off"
    users: tuple[tuple[str, str], ...] = ()
    tokens: TokenRules | None = None
    description: str = ""


ANYBODY = Caller(ANY_TITLE)


class Visitor(msgspec.Struct, frozen=True):
    """Who asks for an association. `certificate`: its names and `sha256:` hash, None = it has shown none."""

    calling: str
    called: str
    address: str
    secure: bool = False
    certificate: tuple[str, ...] | None = None
    identity: UserIdentity | None = None

    @property
    def who(self) -> tuple[str, str]:
        """What a caller is that limits are for: a title at an address."""
        return self.calling, self.address


class Refused(msgspec.Struct, frozen=True):
    """The answer, and why: for the log and the journal, not for the caller.

    `detail`: one of a few texts. `more`: what differs each time, as numbers and names of peers; it makes no new kind.
    """

    reject: AssociateReject
    why: Why
    detail: str
    more: str = ""

    @property
    def words(self) -> str:
        return ", ".join(filter(None, (self.detail, self.more)))


class Callers:
    """All entries, for look-ups: one takes some microseconds. No entry at all: everybody may call."""

    def __init__(self, callers: Sequence[Caller]) -> None:
        self._by_title: dict[str, list[_Entry]] = {}
        for caller in callers:
            self._by_title.setdefault(caller.title, []).append(_Entry(caller))

    def admit(self, visitor: Visitor) -> Caller | Refused:
        """The entry that a visitor comes by: the first of its title that its address and its certificate fit.

        Only a title without an entry of its own may come by one for all titles.
        """
        if not self._by_title:
            return ANYBODY
        entries = self._by_title.get(visitor.calling) or self._by_title.get(ANY_TITLE)
        if entries is None:
            return Refused(CALLING_UNKNOWN, Why.CALLING, "callers.yml does not name it")
        address = _number(visitor.address) if any(entry.networks for entry in entries) else 0
        here = [entry for entry in entries if not entry.networks or entry.holds(address)]
        if not here:
            return Refused(CALLING_UNKNOWN, Why.ADDRESS, f"not from this address ({_places(entries)})")
        shown = frozenset(map(folded, visitor.certificate or ()))
        fitting = [entry for entry in here if not entry.certificates or entry.certificates & shown]
        if not fitting and visitor.certificate is None:
            return Refused(CALLING_UNKNOWN, Why.CERTIFICATE, f"not without a certificate ({_places(here)})")
        if not fitting:
            detail = f"not with this certificate ({_places(here)})"
            return Refused(CALLING_UNKNOWN, Why.CERTIFICATE, detail, f"it has {_told(visitor.certificate or ())}")
        caller = fitting[0].caller
        if caller.called and visitor.called not in caller.called:
            return Refused(CALLED_UNKNOWN, Why.CALLED, f"not one of its CalledAeTitles ({caller.where})")
        return caller


class _Entry:
    """A caller as it is looked up."""

    __slots__ = ("caller", "certificates", "networks")

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.certificates = frozenset(map(folded, caller.certificates))
        self.networks = [span(text) for text in caller.addresses]

    def holds(self, address: int) -> bool:
        return any(first <= address <= last for first, last in self.networks)


def folded(name: str) -> str:
    """A name of a certificate as it is compared: A to Z as a to z (RFC 4343), all else as it is. Unicode takes more
    letters for the same, and an authority may sign each of them to another owner.
    """
    return name.translate(_LOWER)


def _told(certificate: Sequence[str]) -> str:
    """What could stand in Certificates for it; its names are a peer's text."""
    names = list(dict.fromkeys(name for name in certificate if not name.startswith(HASH)))
    told = [
        "".join(each if each.isprintable() else "?" for each in name[:NAME_MAX_CHARS])
        + ("..." if len(name) > NAME_MAX_CHARS else "")
        for name in names[:NAMES_TOLD]
    ]
    more = ["..."] if len(names) > NAMES_TOLD else []
    return ", ".join((*told, *more, *(name for name in certificate if name.startswith(HASH))))


def _places(entries: Sequence[_Entry]) -> str:
    return ", ".join(entry.caller.where for entry in entries[:3]) + (", ..." if len(entries) > 3 else "")


def span(network: str) -> tuple[int, int]:
    """The first and the last address of a network as IPv6 numbers; one of IPv4 lies in ::ffff:0:0/96. ValueError."""
    found = ipaddress.ip_network(network)
    begin = _MAPPED_BEGIN if found.version == 4 else 0
    return begin + int(found.network_address), begin + int(found.broadcast_address)


@lru_cache(maxsize=1024)  # a device that opens an association for each image is the usual one
def _number(address: str) -> int:
    """An address as span() counts; -1 if it is none."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return -1
    return int(found) + (_MAPPED_BEGIN if found.version == 4 else 0)


def to_check(caller: Caller, visitor: Visitor) -> UserIdentity | Refused | None:
    """The user identity that has to be checked before this visitor may come in (PS3.7 annex D.3.3.7); None = none.

    It counts under TLS alone: anybody on the way could have read it. One that is sent where it counts has to be right,
    whether one is required or not.
    """
    if caller.identity == "off":
        return None
    required = caller.identity == "required"
    given = visitor.identity
    if not visitor.secure:
        return _no_user("a user identity is required, and counts under TLS only") if required else None
    if given is None:
        return _no_user("a user identity is required") if required else None
    if given.kind == USERNAME_AND_PASSCODE and caller.users:
        return given
    if given.kind == JWT and caller.tokens:
        return given
    if given.kind == USERNAME_AND_PASSCODE:
        return _no_user(f"no Users are named ({caller.where})")
    if given.kind == JWT:
        return _no_user(f"no Jwt is set up ({caller.where})")
    if given.kind in _KINDS:
        return _no_user(_KINDS[given.kind])
    return _no_user("a user identity of an unknown kind can't be checked", f"it says {given.kind}")


def _no_user(detail: str, more: str = "") -> Refused:
    return Refused(IDENTITY_REFUSED, Why.IDENTITY, detail, more)


def room(caller: Caller, has: int, open_now: int, most: int, at_address: int = 0) -> Refused | None:
    """Whether there is room for one more association of a caller that `has` so many of the `open_now` that are open.

    `most` may be open at once. `at_address`: how many all callers at its address have together. A caller may have three
    times what is then left for others: so one alone gets three quarters, two get three sevenths each, and there is
    always something left for the next one. (In switches this is known as a dynamic threshold: Choudhury and Hahne,
    1998.)
    """
    if open_now >= most:
        return Refused(TOO_MANY, Why.FULL, f"all {most} are in use (maxClientsPerServer)")
    if caller.max_associations and has >= caller.max_associations:
        return Refused(TOO_MANY, Why.LIMIT, f"MaxAssociations allows no more ({caller.where})", f"it has {has}")
    left = f"and only {most - open_now} are left for others"
    if has >= SHARE * (most - open_now):
        return Refused(TOO_MANY, Why.SHARE, "it has its fair share", f"{has} are open, {left}")
    if caller.title == ANY_TITLE and at_address >= ADDRESS_SHARE * (most - open_now):
        return Refused(TOO_MANY, Why.SHARE, "its address has its fair share", f"{at_address} are open, {left}")
    return None


def titles_of(callers: Sequence[Caller], allowed: Sequence[str]) -> tuple[str, ...]:
    """The only titles that may call, as both lists say; empty = all. `allowed`: allowedCallingAeTitles."""
    titles = dict.fromkeys(caller.title for caller in callers)
    if not titles or ANY_TITLE in titles:
        return tuple(allowed)
    return tuple(title for title in titles if not allowed or title in allowed) or tuple(titles)


def who_may_call(callers: Sequence[Caller], allowed: Sequence[str]) -> str:
    """In a line, who may call. `allowed`: allowedCallingAeTitles, empty = all."""
    titles = {caller.title for caller in callers}
    if not titles and not allowed:
        return "open to all: any AE title may call from any address; callers.yml says who may"
    if not titles:
        return f"open to {len(allowed)} AE titles from any address (allowedCallingAeTitles)"
    who = "any AE title" if ANY_TITLE in titles else f"{len(titles)} AE titles"
    both = f", and only to the {len(allowed)} in allowedCallingAeTitles" if allowed else ""
    return f"open to {who} as callers.yml says{both}"
