"""The readers of single values: each gives the value, or raises ValueError with what is wrong and what to write.

A reader never guesses: `0104` is not taken for an octal number, nor `13:30` for a sexagesimal one. It does not know for
which key it reads; the schema puts the two together.
"""

import ipaddress
import re
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from leyden.config.report import did_you_mean, nearest
from leyden.config.yaml_text import Entries, Items, Node, Text
from leyden.deliver.schedule import network
from leyden.dicom.dictionary import keywords, sop_classes
from leyden.dicom.elements import LONG_FORM, SHORT_FORM
from leyden.dicom.uids import MADE, SYNTAXES, is_storage, is_well_formed, syntax_by_name
from leyden.plan.placeholders import split
from leyden.plan.rules import PSEUDO_TAGS, Place, Step

LOG_SUFFIX = (0x00020003,)  # the SOP Instance UID
AE_TITLE_MAX_CHARS = 16  # PS3.5 table 6.2-1

_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_TIME = re.compile(r"(\d{1,2}):(\d{2})")
_TAG = re.compile(r"\(?\s*([0-9A-Fa-f]{1,4})\s*,\s*([0-9A-Fa-f]{1,4})\s*\)?")
_STEP = re.compile(r"([^\[\]]+?)\s*\[\s*(\d{1,5}|\*)\s*\]\s*\.")
_HOST = re.compile(r"[A-Za-z0-9._:%-]{1,253}")


def text(value: Node) -> Text:
    """One text, without the line end that a block (|) adds. What YAML took for a list ([0-9]+) is given as written."""
    if isinstance(value, Text):
        return Text(value.rstrip("\n"), value.at, value.quoted)
    if value.source:
        return Text(value.source, value.at, quoted=True)
    raise ValueError("must be one text; if it holds [ or { or a colon, put it in single quotes")


def whole(low: int, high: int) -> Callable[[Node], int]:
    def read(value: Node) -> int:
        written = text(value).strip()
        if not re.fullmatch(r"[+-]?\d{1,18}", written, re.ASCII) or not low <= int(written) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}, not {written!r}")
        return int(written)

    return read


def number(low: float, high: float) -> Callable[[Node], float]:
    def read(value: Node) -> float:
        written = text(value).strip()
        if not re.fullmatch(r"[+-]?\d{1,18}(\.\d{1,9})?", written, re.ASCII) or not low <= float(written) <= high:
            raise ValueError(f"must be a number from {low:.15g} to {high:.15g}, not {written!r}")
        return float(written)

    return read


def boolean(value: Node) -> bool:
    written = text(value).strip().lower()
    if written not in _YES + _NO:
        raise ValueError(f"must be true or false, not {str(text(value))!r}")
    return written in _YES


def choice(*names: str) -> Callable[[Node], str]:
    """One of the names, in any case; gives it as it is spelled here."""

    def read(value: Node) -> str:
        written = text(value).strip()
        for name in names:
            if name.casefold() == written.casefold():
                return name
        raise ValueError(f"must be one of {', '.join(names)}, not {written!r}{did_you_mean(written, names)}")

    return read


def word(*names: str) -> Callable[[Node], str]:
    """One of the names, as it is spelled here: in lower case."""

    def read(value: Node) -> str:
        written = text(value).strip()
        if written not in names:
            raise ValueError(f"must be {' or '.join(names)}, in lower case, not {written!r}")
        return written

    return read


def log_suffix(value: Node) -> tuple[str | int, ...]:
    """A text with `#{g,e}` in it, as texts and tags."""
    given = text(value)
    return LOG_SUFFIX if given.blank else split(str(given).strip())


def listed(value: Node) -> Sequence[Node]:
    """The items of a list, or of a text with commas."""
    if isinstance(value, Items):
        return value
    if isinstance(value, Entries):
        raise ValueError("must be a list, each item with a dash; not keys and values")
    parts = [Text(part.strip(), value.at, quoted=True) for part in value.split(",")]
    return [part for part in parts if part]


def entries(value: Node) -> Items:
    """A list of entries with keys; a single entry without its dash is no list."""
    if not isinstance(value, Items):
        raise ValueError("must be a list: each entry begins with a dash")
    return value


def some_entries(value: Node) -> Items:
    if not entries(value):
        raise ValueError("needs at least one entry")
    return entries(value)


def mapping(value: Node) -> Entries:
    """Keys with values, whatever keys they are."""
    if not isinstance(value, Entries):
        raise ValueError("must hold keys and values, such as Tag: 0010,0020")
    return value


def form(value: Node) -> str:
    """The UID of a transfer syntax of the standard, by its name or UID; "" = as it came."""
    written = text(value).strip()
    syntax = syntax_by_name(written)
    if syntax is None and written.lower() not in ("as it came", "as received"):
        known = did_you_mean(written, (each.name for each in SYNTAXES.values()))
        raise ValueError(f"there is no transfer syntax {written}{known}; or write: as it came")
    return syntax.uid if syntax else ""


def ae_title(value: Node) -> Text:
    """An AE title: 1 to 16 characters of ASCII, no backslash, no control character (PS3.5 section 6.2)."""
    given = text(value)
    title = given.strip(" \0")
    if not 1 <= len(title) <= AE_TITLE_MAX_CHARS:
        raise ValueError(f"an AE title has 1 to {AE_TITLE_MAX_CHARS} characters, {title!r} has {len(title)}")
    if not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError(f"an AE title is plain ASCII without a backslash, not {title!r}")
    return Text(title, given.at, given.quoted)


def ae_title_prefix(value: Node) -> str:
    given = text(value)
    return "DCP_" if given.blank else ("" if not given.strip() else str(ae_title(given)))


def folder(value: Node) -> Text:
    """A folder of this system. A Windows path is an error: here it would be one odd file name."""
    written = text(value)
    if written.startswith("~"):
        raise ValueError("~ does not stand for a home folder here; write the whole path")
    if "\\" in written or re.match(r"[A-Za-z]:", written) or not written.isprintable():
        raise ValueError(f"{str(written)!r} is no folder of this system; write it with /, as in /var/spool/leyden")
    return written


def uid(value: Node) -> str:
    written = text(value).strip()
    if not is_well_formed(written):
        raise ValueError(f"{written!r} is not a UID (numbers with dots between them, at most 64 characters)")
    return written


def uid_or_default(value: Node) -> str:
    return "default" if text(value).strip().lower() == "default" else uid(value)


def host(value: Node) -> str:
    written = text(value).strip()
    if not _HOST.fullmatch(written):
        raise ValueError(f"{written!r} is not a host name or an IP address")
    if written.count(":") == 1:  # an IPv6 address has more
        raise ValueError(f"{written!r} is not a host name or an IP address; a port has a key of its own, Port")
    return written


def address(value: Node) -> str:
    """An IP address of this machine to listen on; localhost is the one of IPv4."""
    written = text(value).strip()
    if written.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(written.strip("[]")))
    except ValueError:
        raise ValueError(f"{written!r} is not an IP address; 0.0.0.0 means all of IPv4, :: all of both") from None


def web_address(value: Node) -> str:
    """A URL of http or https, without a user in it: secrets stand in files."""
    written = text(value).strip()
    try:
        parts = urlsplit(written)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and written.isascii()
    except ValueError:
        good = False
    if not good or any(character <= " " for character in written):
        raise ValueError(f"{written!r} is no URL such as https://chat.example.org/hooks/leyden")
    if parts.username or parts.password:
        raise ValueError("a URL must hold no user and no password; use secretFile")
    return written


def mail_address(value: Node) -> str:
    """An e-mail address, without a name beside it."""
    written = text(value).strip()
    if not re.fullmatch(r"[^\s@<>,;\"]+@[^\s@<>,;\"]+", written, re.ASCII):
        raise ValueError(f"{written!r} is no e-mail address such as it@example.org")
    return written


def secret(value: Node) -> str:
    """A token or a password. It is never repeated in a message."""
    written = str(text(value)).strip()
    if not written.isascii() or not written.isprintable() or " " in written:
        raise ValueError("must hold printable ASCII characters without blanks")
    return written


def makeable_syntax(value: Node) -> str:
    """The UID of a transfer syntax that we can make, by its name or UID."""
    written = text(value).strip()
    syntax = syntax_by_name(written)
    names = ", ".join(syntax.name for uid, syntax in SYNTAXES.items() if uid in MADE)
    if syntax is None:
        known = did_you_mean(written, (SYNTAXES[uid].name for uid in SYNTAXES))
        raise ValueError(f"there is no transfer syntax {written}{known}; this version makes {names}")
    if syntax.uid not in MADE:
        raise ValueError(f"this version can't make {syntax.name}; it makes {names}; empty = as received")
    return syntax.uid


def lossless_syntax(value: Node) -> str:
    """The UID of a lossless syntax that we can make; a lossy one must be named by the node that is to get it."""
    uid = makeable_syntax(value)
    if SYNTAXES[uid].lossy:
        name = SYNTAXES[uid].name
        raise ValueError(f"{name} is lossy: name it in each node that is to get it (TransferSyntax in nodes.yml)")
    return uid


def window(value: Node) -> tuple[int, int]:
    """`HH:MM - HH:MM` as minutes after midnight; an end of 24:00 means the last minute of the day."""
    written = text(value).strip()
    ends = [_TIME.fullmatch(part.strip()) for part in written.split("-")]
    minutes = [int(end[1]) * 60 + int(end[2]) for end in ends if end and int(end[1]) <= 24 and int(end[2]) < 60]
    if len(minutes) != 2 or len(ends) != 2 or minutes[0] >= 1440 or minutes[1] > 1440:
        raise ValueError(f"must be HH:MM - HH:MM, such as 13:30 - 23:59, not {written!r}")
    return minutes[0], min(minutes[1], 1439)


def local_network(value: Node) -> str:
    written = text(value).strip()
    try:
        network(written)
    except ValueError:
        raise ValueError(f"{written!r} is not an address, a network (10.1.0.0/16) or address / mask") from None
    return written


def switch_or_keys(value: Node) -> Entries | None:
    """Keys and values; true = without any, each with its default; false = None."""
    if isinstance(value, Entries):
        return value
    if not isinstance(value, Text) or value.strip().lower() not in (*_YES, *_NO, "none"):
        raise ValueError("must be true, false, or keys and values")
    return Entries(value.at) if value.strip().lower() in _YES else None


def one_line(value: Node) -> str:
    """A text without control characters."""
    written = str(text(value)).strip()
    if not written.isprintable():
        raise ValueError("must be one line without control characters")
    return written


def credential_name(value: Node) -> str:
    """The name of a credential of systemd: that of a file, without a folder."""
    written = text(value).strip()
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}", written):
        raise ValueError(f"{str(written)!r} is no name of a credential (letters, digits, dots, - and _)")
    return str(written)


def caller_network(value: Node) -> str:
    """An address, or a network whose address has no bits of a host, as a.b.c.d/n. An IPv4 address in IPv6 is IPv4."""
    written = text(value).strip()
    address, slash, mask = (part.strip() for part in written.partition("/"))
    try:
        found = ipaddress.ip_network(f"{address}/{mask}" if slash else address.strip("[]"))
    except ValueError:
        try:
            meant = ipaddress.ip_network(f"{address}/{mask}", strict=False)
        except ValueError:
            raise ValueError(f"{written!r} is neither an address nor a network such as 10.1.0.0/16; no names") from None
        raise ValueError(f"{written!r} is an address in a network; write {meant} for that, or the address") from None
    mapped = found.network_address.ipv4_mapped if isinstance(found.network_address, ipaddress.IPv6Address) else None
    if mapped is not None and found.prefixlen >= 96:
        found = ipaddress.ip_network(f"{mapped}/{found.prefixlen - 96}")
    if found.num_addresses == 1 and (found.network_address.is_unspecified or found.network_address.is_multicast):
        raise ValueError(f"nobody calls from {written}")
    return str(found)


def certificate_name(value: Node) -> str:
    """A name that a certificate carries, or `sha256:` and its hash in hex, with or without colons."""
    written = text(value).strip()
    kind, colon, digits = written.partition(":")
    if colon and kind.lower() == "sha256":
        plain = digits.replace(":", "").strip().lower()
        if not re.fullmatch(r"[0-9a-f]{64}", plain):
            raise ValueError(f"{written!r} is no hash: sha256: and 64 hex digits")
        return f"sha256:{plain}"
    if not 0 < len(written) <= 253 or not written.isprintable():
        raise ValueError(f"{written!r} is no name of a certificate")
    return written


def sop_class(value: Node) -> str:
    """The UID of a SOP class whose objects can be sent, by UID or by keyword (PS3.6 annex A)."""
    written = text(value).strip()
    if not is_well_formed(written):
        known = sop_classes()
        name = nearest(written, known)
        if name.casefold() != written.casefold():
            meant = did_you_mean(written, known)
            raise ValueError(f"there is no SOP class {written!r}; one is CTImageStorage{meant}")
        written = known[name]
    if not is_storage(written):
        raise ValueError(f"{written} is not for C-STORE; C-ECHO is always allowed")
    return written


def tag(value: Node) -> str:
    """A tag as eight lower-case hex digits, from gggg,eeee, 8,60, 00080060 or a keyword; or a pseudo-tag."""
    written = text(value).strip()
    for name in PSEUDO_TAGS:
        if name.lower() == written.lower():
            return name
    numbers = _TAG.fullmatch(written)
    if numbers:
        return numbers[1].zfill(4).lower() + numbers[2].zfill(4).lower()
    if re.fullmatch(r"[0-9A-Fa-f]{8}", written):
        return written.lower()
    known = keywords()
    number = known.get(written)
    if number is None:
        raise ValueError(f"{written!r} is no tag (8,60, 0008,0060 or a keyword){did_you_mean(written, known)}")
    return f"{number:08x}"


def element(value: Node) -> Place:
    """An element, perhaps in a sequence: 0010,0020, 0040,0275[1].0040,0009 or, in each item, 0040,0275[*].0040,0009."""
    given = text(value)
    steps: list[Step] = []
    at = 0
    while step := _STEP.match(given, at):
        number = 0 if step[2] == "*" else int(step[2])
        if step[2] != "*" and not number:
            raise ValueError(f"{given!r}: items count from 1")
        steps.append(Step(_number(Text(step[1], given.at)), number))
        at = step.end()
    if "[" in given[at:]:
        raise ValueError(
            f"{str(given)!r} is no place; an element in an item is 0040,0275[1].0040,0009, in each item [*]"
        )
    return Place(_number(Text(given[at:], given.at)), tuple(steps))


def _number(written: Text) -> int:
    found = tag(written)
    if found in PSEUDO_TAGS:
        raise ValueError(f"{found} is no element")
    return int(found, 16)


def group(value: Node) -> str:
    """The group of private elements as four hex digits."""
    written = text(value).strip()
    if not re.fullmatch(r"[0-9A-Fa-f]{1,4}", written) or not int(written, 16) & 1:
        raise ValueError(f"must be an odd group such as 0019, not {written!r}")
    return written.lower().zfill(4)


def rectangles(value: Node) -> tuple[tuple[int, int, int, int], ...]:
    """One or several rectangles of four whole numbers: left, top, width, height."""
    given = listed(value)
    nested = [each if isinstance(each, Items) else None for each in given]
    found = []
    for each in given if all(each is not None for each in nested) else [value]:
        numbers = [whole(0, 1_000_000)(number) for number in listed(each)]
        if len(numbers) != 4 or not (numbers[2] and numbers[3]):
            raise ValueError("must be left, top, width and height in pixels, such as [0, 0, 1024, 60]")
        found.append((numbers[0], numbers[1], numbers[2], numbers[3]))
    return tuple(found)


def vr(value: Node) -> str:
    """A VR that has a text."""
    written = text(value).strip().upper()
    textual = sorted((SHORT_FORM | LONG_FORM) - {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UN"})
    if written not in textual:
        raise ValueError(f"must be one of {', '.join(textual)}, not {written!r}")
    return written


def log_info(value: Node) -> bool:
    """Whether a rule's log line has level INFO; only the word debug makes it DEBUG."""
    return text(value).strip().lower() != "debug"
