"""Peers of other makers: DCMTK's tools as child processes, pynetdicom's SCP in threads of the test."""

import os
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import pynetdicom
import pytest
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_STORE

from leyden.dicom.uids import SYNTAXES
from support.service import LIMIT_S, free_port, wait_for

DCMTK_ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1"}


@cache
def dcmtk(name: str) -> str:
    """The path of one of DCMTK's tools; without it the test is skipped by name, and fails where CI=true.

    pynetdicom installs scripts of the same names: those are skipped.
    """
    for folder in os.get_exec_path():
        path = Path(folder) / name
        if os.access(path, os.X_OK) and path.read_bytes()[:4] == b"\x7fELF":
            return str(path)
    reason = f"{name} is missing: apt-get install dcmtk"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run_dcmtk(name: str, *words: str, limit_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [dcmtk(name), *words], capture_output=True, text=True, errors="replace", env=DCMTK_ENVIRONMENT, timeout=limit_s
    )


@dataclass(frozen=True, slots=True)
class Arrival:
    """One C-STORE as a PACS saw it. `data` is the dataset as encoded on the wire."""

    called: str
    calling: str
    sop_class_uid: str
    sop_instance_uid: str
    syntax: str
    data: bytes
    at_s: float


class Pacs:
    """A storage SCP of pynetdicom. It remembers what arrived; `answer` may give another status than Success.

    `syntaxes`: what it takes (None = everything); `refuse`: SOP classes that it does not take. `tls`: how it speaks it;
    `callers` are the common names of the certificates that it was shown, one an association.
    """

    def __init__(
        self,
        title: str,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        syntaxes: Sequence[str] | None = None,
        refuse: Iterable[str] = (),
        answer: Callable[[Arrival], int] = lambda arrival: 0x0000,
        associations: int | None = None,
        max_pdu_bytes: int = 131072,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.callers: list[str] = []
        self.title = title
        self.host = host
        self.port = port or free_port()
        self.syntaxes = [UID(uid) for uid in (syntaxes or SYNTAXES)]
        self.refuse = set(refuse)
        self.answer = answer
        self.arrivals: list[Arrival] = []
        self.associations_seen: list[str] = []
        self._associations = associations
        self._max_pdu_bytes = max_pdu_bytes
        self._news = threading.Condition()
        self._server: Any = None

    def start(self) -> "Pacs":
        entity = pynetdicom.AE(ae_title=self.title)
        entity.maximum_pdu_size = self._max_pdu_bytes
        if self._associations is not None:
            entity.maximum_associations = self._associations
        else:
            entity.maximum_associations = 100
        for context in pynetdicom.AllStoragePresentationContexts:
            if context.abstract_syntax not in self.refuse:
                entity.add_supported_context(context.abstract_syntax, self.syntaxes)
        entity.add_supported_context("1.2.840.10008.1.1")
        handlers = [(evt.EVT_C_STORE, self._on_store), (evt.EVT_ACCEPTED, self._on_accepted)]
        self._server = entity.start_server(
            (self.host, self.port), block=False, evt_handlers=handlers, ssl_context=self.tls
        )
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server = None

    def _on_accepted(self, event: evt.Event) -> None:
        self.associations_seen.append(event.assoc.requestor.ae_title)
        if self.tls is not None:
            shown = event.assoc.dul.socket.socket.getpeercert() or {}
            self.callers += [value for name in shown.get("subject", ()) for kind, value in name if kind == "commonName"]

    def _on_store(self, event: evt.Event) -> int:
        request = event.request
        arrival = Arrival(
            event.assoc.acceptor.ae_title,
            event.assoc.requestor.ae_title,
            str(request.AffectedSOPClassUID),
            str(request.AffectedSOPInstanceUID),
            str(event.context.transfer_syntax),
            request.DataSet.getvalue(),
            time.monotonic(),
        )
        status = self.answer(arrival)
        if status == 0x0000:
            with self._news:
                self.arrivals.append(arrival)
                self._news.notify_all()
        return status

    def uids(self) -> list[str]:
        return [arrival.sop_instance_uid for arrival in self.arrivals]

    def wait(self, count: int, limit_s: float = LIMIT_S) -> list[Arrival]:
        """Wait until at least `count` objects were stored. Returns all arrivals so far."""
        self.wait_until(lambda arrivals: len(arrivals) >= count, limit_s, f"{count} objects at {self.title}")
        return list(self.arrivals)

    def wait_until(self, holds: Callable[[list[Arrival]], bool], limit_s: float = LIMIT_S, why: str = "") -> None:
        with self._news:
            if not self._news.wait_for(lambda: holds(self.arrivals), limit_s):
                raise AssertionError(f"not within {limit_s} s: {why}; {len(self.arrivals)} arrived at {self.title}")


class Storescp:
    """DCMTK's storescp as a child process that writes what it gets into a folder.

    It writes the bytes as they came or, with `parses`, parses them first, as is its default: then it aborts on an odd
    last PDV.
    """

    def __init__(self, folder: Path, *options: str, port: int | None = None, parses: bool = False) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.options = options if parses else ("--bit-preserving", *options)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Storescp":
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [dcmtk("storescp"), "-od", str(self.folder), *self.options, str(self.port)],
            env=DCMTK_ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: listens(self.port), why=f"storescp on port {self.port}")
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def store(
    port: int, data: bytes, *, called: str, calling: str, syntax: str, context: str, sop_class: str, sop_instance: str
) -> int:
    """C-STORE `data` by pynetdicom, unchanged, whatever it holds; the status. `context`: the abstract syntax."""
    entity = pynetdicom.AE(ae_title=calling)
    entity.add_requested_context(context, syntax)
    association = entity.associate("127.0.0.1", port, ae_title=called)
    assert association.is_established
    try:
        request = C_STORE()
        request.MessageID = 1
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
        request.Priority = 0
        request.DataSet = BytesIO(data)
        association._reactor_checkpoint.clear()  # so that we get the answer, as in its own send_c_store()
        association.dimse.send_msg(request, association.accepted_contexts[0].context_id)
        _, response = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert isinstance(response, C_STORE)
        return int(response.Status)
    finally:
        association.release()


def listens(port: int) -> bool:
    """Whether somebody on this machine listens on a TCP port, without connecting to it."""
    wanted = f":{port:04X}"
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table) as rows:
            for row in rows:
                words = row.split()
                if words[1].endswith(wanted) and words[3] == "0A":
                    return True
    return False
