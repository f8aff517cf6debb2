"""A collector of audit messages: a real TLS server that takes the frames of RFC 5425 apart, and checks each document.

The certificates are made by openssl. The checks are the schema of PS3.15 A.5.1.1 and the tables of A.5.3, by hand:
which elements and attributes there may be, in which order, which there have to be, and which values they may have.
"""

import base64
import contextlib
import re
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from support.service import free_port, wait_for

_HEAD = re.compile(
    rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [!-~]{1,255} leyden \d+ DICOM\+RFC3881 - \xef\xbb\xbf(<\?xml.*)",
    re.DOTALL,
)
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_CODED = {"csd-code", "codeSystemName", "originalText"}


class Rule(NamedTuple):
    """An element of the schema: its children in their order (? at most one, + at least one, * any, else one), and
    the attributes that it must and may have, with a pattern for the value."""

    children: tuple[str, ...] = ()
    must: dict[str, str] = {}  # noqa: RUF012
    may: dict[str, str] = {}  # noqa: RUF012


_CODE = Rule(must=dict.fromkeys(_CODED, ".+"), may={"displayName": ".+"})
SCHEMA = {
    "AuditMessage": Rule((
        "EventIdentification", "ActiveParticipant+", "AuditSourceIdentification", "ParticipantObjectIdentification*",
    )),
    "EventIdentification": Rule(
        ("EventID", "EventTypeCode*", "EventOutcomeDescription?"),
        {
            "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
            "EventOutcomeIndicator": "0|4|8|12",
        },
        {"EventActionCode": "[CRUDE]"},
    ),
    "EventID": _CODE, "EventTypeCode": _CODE, "RoleIDCode": _CODE, "ParticipantObjectIDTypeCode": _CODE,
    "ActiveParticipant": Rule(
        ("RoleIDCode*", "MediaIdentifier?"),
        {"UserID": ".+", "UserIsRequestor": "true|false"},
        {
            "AlternativeUserID": "AETITLES=.{1,16}", "UserName": ".+", "NetworkAccessPointID": ".+",
            "NetworkAccessPointTypeCode": "[1-5]",
        },
    ),
    "AuditSourceIdentification": Rule(
        ("AuditSourceTypeCode*",), {"AuditSourceID": ".+"}, {"AuditEnterpriseSiteID": ".+"}
    ),
    "AuditSourceTypeCode": Rule(must={"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": Rule(
        (
            "ParticipantObjectIDTypeCode", "ParticipantObjectName", "ParticipantObjectDetail*",
            "ParticipantObjectDescription*",
        ),
        {"ParticipantObjectID": ".+"},
        {
            "ParticipantObjectTypeCode": "[1-4]", "ParticipantObjectTypeCodeRole": r"1?\d|2[0-6]",
            "ParticipantObjectDataLifeCycle": r"\d|1[0-5]", "ParticipantObjectSensitivity": ".+",
        },
    ),
    "ParticipantObjectName": Rule(),
    "ParticipantObjectDetail": Rule(must={"type": ".+", "value": "[A-Za-z0-9+/]+=*"}),
    "ParticipantObjectDescription": Rule(("MPPS*", "Accession*", "SOPClass*", "Encrypted?", "Anonymized?")),
    "SOPClass": Rule(("Instance*",), {"NumberOfInstances": r"\d+"}, {"UID": ".+"}),
    "Instance": Rule(must={"UID": ".+"}),
}  # fmt: skip
EVENTS = {
    "110100": "E",
    "110103": "CRUD",
    "110104": "CRU",
    "110113": "E",
    "110114": "E",
}  # the actions of A.5.3


def check(document: bytes) -> Element:
    """The document, if it is as the standard has it; AssertionError says what is not."""
    root = ElementTree.fromstring(document)
    assert root.tag == "AuditMessage"
    _check(root)
    code = coded(root, "EventIdentification/EventID")
    event = root.find("EventIdentification")
    assert event is not None
    assert event.get("EventActionCode", "-") in EVENTS[code]
    roles = sorted(role.get("csd-code", "") for role in root.iterfind("ActiveParticipant/RoleIDCode"))
    objects = sorted(
        (each.get("ParticipantObjectTypeCode"), each.get("ParticipantObjectTypeCodeRole"))
        for each in root.iterfind("ParticipantObjectIdentification")
    )
    kind = coded(root, "EventIdentification/EventTypeCode")
    if code == "110100":  # A.5.3.1: the application, and who started it
        assert roles == ["110150", "110151"]
        assert kind in ("110120", "110121")
        assert not objects
    elif code in ("110113", "110114"):  # A.5.3.11; A.5.3.12, which needs no object and does not forbid one
        assert kind in (("110126", "110131", "110132") if code == "110113" else ("110122", "110123"))
        assert objects == [("2", "13")]
        assert detail(root, "Alert Description")
    else:  # A.5.3.6, A.5.3.7: a study and a patient
        assert objects == [("1", "1"), ("2", "3")]
        assert (roles == ["110152", "110153"]) == (code == "110104")
    return root


def _check(element: Element) -> None:
    rule = SCHEMA[element.tag]
    assert rule.must.keys() <= element.attrib.keys() <= rule.must.keys() | rule.may.keys(), element.attrib
    for name, value in element.attrib.items():
        assert re.fullmatch((rule.must | rule.may)[name], value), (name, value)
    pattern = "".join(f"(?:{name.rstrip('?+*')},){name[-1] if name[-1] in '?+*' else ''}" for name in rule.children)
    assert re.fullmatch(pattern, "".join(f"{child.tag}," for child in element)), [child.tag for child in element]
    for child in element:
        _check(child)


def coded(root: Element, path: str) -> str:
    """The code of a coded value; "" = there is none."""
    element = root.find(path)
    return element.get("csd-code", "") if element is not None else ""


def detail(root: Element, kind: str) -> str:
    """The value of a ParticipantObjectDetail."""
    for element in root.iter("ParticipantObjectDetail"):
        if element.get("type") == kind:
            return base64.b64decode(element.get("value", "")).decode()
    return ""


def counts(root: Element) -> dict[str, int]:
    """How many instances a message tells of, by SOP class."""
    return {each.get("UID", ""): int(each.get("NumberOfInstances", "")) for each in root.iter("SOPClass")}


def titles(root: Element) -> tuple[str, str]:
    """The AE titles of source and destination."""
    found = {
        role.get("csd-code"): who.get("AlternativeUserID", "").removeprefix("AETITLES=")
        for who in root.iter("ActiveParticipant")
        for role in who.iter("RoleIDCode")
    }
    return found.get("110153", ""), found.get("110152", "")


class Certificates:
    """A CA, certificates of it for localhost and for a client, and another CA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for authority in ("ca", "other"):
            self._openssl("req", "-x509", *_NEW_KEY, "-days", "2", "-subj", f"/CN={authority}",
                          "-keyout", f"{authority}.key", "-out", f"{authority}.pem")  # fmt: skip
        self._certificate("server", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self._certificate("client", "ca", "extendedKeyUsage=clientAuth")

    def _certificate(self, name: str, authority: str, extension: str) -> None:
        (self.folder / f"{name}.ext").write_text(extension)
        self._openssl("req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key",
                      "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip

    def _openssl(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True, timeout=60)

    def path(self, name: str) -> str:
        return str(self.folder / name)


class CollectorServer:
    """It listens from start() until stop(), on the same port each time. `documents`: what has come, checked."""

    def __init__(self, certificates: Certificates, *, wants_certificate: bool = False) -> None:
        self.port = free_port()
        self.documents: list[Element] = []
        self.faults: list[str] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
        if wants_certificate:
            self._context.load_verify_locations(certificates.path("ca.pem"))
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._sockets: list[socket.socket] = []

    def start(self) -> "CollectorServer":
        listener = socket.create_server(("127.0.0.1", self.port))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """End the listener and all connections, at once."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def wait(self, count: int) -> list[Element]:
        wait_for(lambda: len(self.documents) >= count or self.faults, why=f"{count} audit messages")
        assert not self.faults
        return self.documents

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
                connection = self._context.wrap_socket(plain, server_side=True)
            except ssl.SSLError:
                continue
            except OSError:
                return
            self._sockets.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            while chunk := connection.recv(65536):
                data = self._taken(data + chunk)

    def _taken(self, data: bytes) -> bytes:
        while found := re.match(rb"([1-9]\d*) ", data):
            end = found.end() + int(found[1])
            if len(data) < end:
                return data
            message, data = data[found.end() : end], data[end:]
            try:
                head = _HEAD.fullmatch(message)
                assert head, message
                self.documents.append(check(head[1]))
            except Exception as error:
                self.faults.append(repr(error))
        return data
