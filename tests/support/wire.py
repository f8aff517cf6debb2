"""DICOM on the wire, written and read by hand: for peers that must not share the code under test, and odd ones.

PDUs are those of PS3.8 9.3, commands those of PS3.7 9.3.1 and 6.3.1; data sets are in explicit little endian.
"""

import socket
import struct

Context = tuple[int, str, str]  # id, abstract syntax, transfer syntax
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2  # bits of a PDV's control header
STORE_RQ, ECHO_RQ, RESPONSE = 0x0001, 0x0030, 0x8000
_LONG = ("OB", "OW", "OF", "OL", "OD", "OV", "SQ", "UN", "UT", "UC", "UR", "SV", "UV")


def el(tag: int, vr: str, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    """An element; without a VR it is implicit, an item or a delimiter."""
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if not vr:
        return head + struct.pack(order + "L", size) + value
    if vr in _LONG:
        return head + vr.encode() + struct.pack(order + "HL", 0, size) + value
    return head + vr.encode() + struct.pack(order + "H", size) + value


def item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(body)) + body


def pdu(kind: int, body: bytes = bytes(4)) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def rq(*contexts: Context, called: bytes = b"IMAGEPACS", calling: bytes = b"CT01", max_pdu_bytes: int = 16384) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 section 9.3.2), whatever the contexts are numbered."""
    items = item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, abstract, syntax in contexts:
        body = bytes([number, 0, 0, 0]) + item(0x30, abstract.encode()) + item(0x40, syntax.encode())
        items += item(0x20, body)
    return pdu(ASSOCIATE_RQ, _titles(called, calling) + items + _user(max_pdu_bytes))


def _titles(called: bytes, calling: bytes) -> bytes:
    return struct.pack(">Hxx16s16s32x", 1, called.ljust(16), calling.ljust(16))


def _user(max_pdu_bytes: int) -> bytes:
    return item(0x50, item(0x51, struct.pack(">I", max_pdu_bytes)) + item(0x52, b"2.25.9"))


def items(body: bytes) -> list[tuple[int, bytes]]:
    """(kind, value) of each item."""
    found = []
    while len(body) >= 4:
        kind, length = struct.unpack(">BxH", body[:4])
        found.append((kind, body[4 : 4 + length]))
        body = body[4 + length :]
    return found


def proposed(body: bytes) -> tuple[str, str, list[tuple[int, str, list[str]]], int]:
    """What an A-ASSOCIATE-RQ asks for: called and calling title, contexts (id, abstract, syntaxes), PDU limit."""
    called, calling = (body[at : at + 16].decode("latin-1").strip() for at in (4, 20))
    contexts, limit = [], 0
    for kind, value in items(body[68:]):
        if kind == 0x20:
            parts = items(value[4:])
            syntaxes = [text.decode() for part, text in parts if part == 0x40]
            contexts.append((value[0], next(text.decode() for part, text in parts if part == 0x30), syntaxes))
        elif kind == 0x50:
            limit = next((struct.unpack(">I", text)[0] for part, text in items(value) if part == 0x51), 0)
    return called, calling, contexts, limit


def ac(called: str, calling: str, contexts: list[tuple[int, int, str]], max_pdu_bytes: int = 131072) -> bytes:
    """An A-ASSOCIATE-AC; contexts: id, result (0 = accepted), transfer syntax."""
    body = _titles(called.encode(), calling.encode()) + item(0x10, b"1.2.840.10008.3.1.1.1")
    for number, result, syntax in contexts:
        body += item(0x21, bytes([number, 0, result, 0]) + item(0x40, syntax.encode()))
    return pdu(ASSOCIATE_AC, body + _user(max_pdu_bytes))


def accepted(body: bytes) -> list[int]:
    """The ids of the contexts that an A-ASSOCIATE-AC accepts."""
    return [value[0] for kind, value in items(body[68:]) if kind == 0x21 and value[2] == 0]


def pdv(body: bytes, *, command: bool, last: bool, context: int = 1) -> bytes:
    """One P-DATA-TF PDU with one PDV (PS3.8 section 9.3.5)."""
    header = (COMMAND if command else 0) | (LAST if last else 0)
    return struct.pack(">BxIIBB", P_DATA, len(body) + 6, len(body) + 2, context, header) + body


def pdvs(body: bytes) -> list[tuple[int, int, bytes]]:
    """(context, control header, fragment) of each PDV of a P-DATA-TF."""
    found = []
    while body:
        length, context, header = struct.unpack(">IBB", body[:6])
        found.append((context, header, body[6 : 4 + length]))
        body = body[4 + length :]
    return found


def command(*elements: tuple[int, bytes]) -> bytes:
    """A command set of these elements (number, value); an empty value leaves its element out."""
    body = b""
    for number, value in elements:
        value += b"\0" * (len(value) % 2)
        if value:
            body += struct.pack("<HHI", 0, number, len(value)) + value
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def us(value: int) -> bytes:
    return struct.pack("<H", value)


def store_rq(instance: str, sop_class: str = CT, message: int = 7) -> bytes:
    """The command set of a C-STORE-RQ (PS3.7 section 9.3.1); an empty text leaves the element out."""
    return command(
        (0x0002, sop_class.encode()), (0x0100, us(STORE_RQ)), (0x0110, us(message)), (0x0700, us(0)), (0x0800, us(1)),
        (0x1000, instance.encode()),
    )  # fmt: skip


def response(asked: dict[int, bytes], status: int) -> bytes:
    """The command set that answers another one."""
    return command(
        (0x0002, asked.get(0x0002, b"")), (0x0100, us(number(asked, 0x0100) | RESPONSE)), (0x0120, asked[0x0110]),
        (0x0800, us(0x0101)), (0x0900, us(status)), (0x1000, asked.get(0x1000, b"")),
    )  # fmt: skip


def elements(data: bytes) -> dict[int, bytes]:
    """The elements of a command set, by number."""
    found = {}
    while data:
        _, element, length = struct.unpack("<HHI", data[:8])
        found[element] = data[8 : 8 + length]
        data = data[8 + length :]
    return found


def number(command: dict[int, bytes], element: int) -> int:
    return int(struct.unpack("<H", command.get(element, b"\xff\xff"))[0])


def text(command: dict[int, bytes], element: int) -> str:
    return command.get(element, b"").rstrip(b"\0 ").decode("latin-1")


def read_pdu(link: socket.socket) -> tuple[int, bytes]:
    """The next PDU: type and body; (0, b"") at the end of the connection."""
    head = _read(link, 6)
    if len(head) < 6:
        return 0, b""
    return head[0], _read(link, struct.unpack(">I", head[2:])[0])


def _read(link: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        try:
            part = link.recv(size - len(got))
        except ConnectionResetError:
            break
        if not part:
            break
        got += part
    return bytes(got)


def read_command(link: socket.socket) -> dict[int, bytes]:
    """The next command set, from fragments of whatever size; {} when there comes another PDU, or none."""
    data, last = b"", False
    while not last:
        kind, body = read_pdu(link)
        if kind != P_DATA:
            return {}
        for _, header, fragment in pdvs(body):
            data, last = data + fragment, bool(header & LAST)
    return elements(data)
