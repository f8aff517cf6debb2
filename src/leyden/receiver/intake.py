"""One connection of the receiver: its association, and the objects that come over it.

A release waits for the answers; reading pauses while several commits are pending. An object that cannot be kept is read
to its last fragment and answered 0xA700; one that is cut off leaves no file.
"""

import asyncio
import logging
import os
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from leyden import board, crash
from leyden.admission.callers import HASH, KNOCKS, Caller, Refused, Visitor, Why, folded, to_check
from leyden.board import Cell
from leyden.deliver.throttle import Throttle
from leyden.dicom.association import (
    Aborted,
    AssociationRequested,
    Connection,
    Event,
    Payload,
    ReleaseRequested,
    RequestRefused,
    StoreEnded,
    StoreStarted,
)
from leyden.dicom.dimse import DOES_NOT_MATCH, DUPLICATE_INSTANCE, OUT_OF_RESOURCES, SUCCESS
from leyden.dicom.identity import LOOK_BYTES, identify
from leyden.dicom.negotiate import (
    ACCEPTED,
    CALLED_UNKNOWN,
    CALLING_UNKNOWN,
    CONGESTED,
    AssociateReject,
    AssociateRequest,
    answer,
    asks_to_store,
    misnumbered,
)
from leyden.dicom.part10 import FileMeta, encode_head
from leyden.errors import LeydenError, RemoteProtocolError
from leyden.journal.events import Duplicate, Received, TurnedAway
from leyden.journal.lines import tell
from leyden.net.link import ConnectionLost, Link
from leyden.net.tls import Session
from leyden.spool.batch import begin_writing
from leyden.spool.entry import NO_UID, key
from leyden.spool.recent import Begun, key_of

if TYPE_CHECKING:
    from leyden.receiver.door import Who
    from leyden.receiver.receiver import Receiver

logger = logging.getLogger("leyden.receiver")

REQUEST_WITHIN_S = 10.0  # from the connection to the end of the A-ASSOCIATE-RQ
MAX_PENDING_COMMITS = 4  # of one association; then reading pauses
WRITE_OUT_BYTES = 128 * 1024  # the disk writes this much while the rest still comes: the sync at the end waits for less
MAX_VIEWS = 512  # in one writev
BUSY_LOOK_S = 0.005  # how often to look whether a commit of the same instance has ended
BUSY_S = 10.0  # longer than that, and it is committed beside the other
CLASSES_TOLD = 3  # abstract syntaxes of an association of which none is accepted
WHY = {CALLED_UNKNOWN: Why.CALLED, CALLING_UNKNOWN: Why.CALLING}
CONTRADICTS = "stored, but context, command and data set contradict"


class _Embryo(msgspec.Struct):
    """An object that is being received."""

    store: StoreStarted
    fd: int
    path: Path
    receipt: str
    name: str = ""  # in new/, without its ending
    size_bytes: int = 0  # of the data set, as far as it is written to the file
    meta: FileMeta | None = None  # known, and written, with the first bytes of the data set: they name the object
    written_out_bytes: int = 0  # of size_bytes: what the disk was asked to write
    recent_key: str = ""  # set while only this one of its instance may be committed
    ended_ns: int = 0  # of the monotonic clock: when its last fragment had come

    def remove(self) -> None:
        with suppress(OSError):
            os.close(self.fd)
        with suppress(OSError):  # if the disk fails here too, recovery removes the file
            self.path.unlink()


class Intake:
    """One connection: turns its events into files and answers. The owner of its Link."""

    def __init__(self, receiver: "Receiver", tls: Session | None = None) -> None:
        self._receiver = receiver
        self._settings = receiver.settings  # to its end, whatever a reload changes
        self._connection = Connection.acceptor(self._settings.acceptor.max_pdu_bytes)
        self.link = Link(self._connection, self, receiver.buffer, REQUEST_WITHIN_S, tls)
        self._begin_s = time.monotonic()
        self._request: AssociateRequest | None = None
        self._source_key = ""  # of the calling AE title
        self._node = ""  # that the called AE title stands for; "" = ours
        self._accepted = False
        self._quiet = False
        self._embryo: _Embryo | None = None
        self._views: list[bytes | memoryview] = []  # payload of this read that is not written yet
        self._refusal = ""  # why the object that is being received will not be kept
        self._pending = 0  # commits, to the answer
        self._releasing = False
        self._objects = 0
        self._object_bytes = 0
        self._abort_text = ""  # what the peer's A-ABORT says
        self._flagged = False  # an object that contradicts itself was logged: the others are DEBUG
        self._checking: asyncio.Task[None] | None = None  # of the user identity
        self._user = ""  # whose identity was checked
        self._who: Who | None = None  # once it has come in
        self._line: Throttle | None = None  # if the caller may send only so fast
        self._slowed = False  # it has sent faster than that
        self._line_bytes = 0  # that were counted on the line

    def __str__(self) -> str:
        request = self._request
        return f"{request.calling} -> {request.called} ({self.link.peer})" if request else self.link.peer

    @property
    def busy(self) -> bool:
        """Whether an object is being received or waits for its answer."""
        return self._embryo is not None or bool(self._refusal) or self._pending > 0

    def came_so_far(self) -> int:
        """How far it is on its way to an association: silent, began to speak, or has shaken hands over TLS."""
        return (self.link.received_bytes > 0) + self.link.secure

    # Called by the link

    def handle(self, event: Event) -> None:
        match event:
            case Payload():
                if self._embryo is not None:
                    self._views.append(event.data)
                    if len(self._views) >= MAX_VIEWS:
                        self._write()
            case StoreStarted():
                self._start(event)
            case StoreEnded(store):
                self._end(store)
            case AssociationRequested(request):
                self._associate(request)
            case ReleaseRequested():
                self._releasing = True
                self._receiver.holding.release(self)
                self._release_if_done()
            case RequestRefused(status, why):
                self._log(logging.WARNING, f"request answered 0x{status:04X}: {why}")
            case Aborted():
                self._abort_text = str(event)
            case _:
                pass

    def fed(self) -> None:
        if self._views:
            self._write()
        if self._line is not None:
            self._keep_pace(self._line)

    def ended(self, why: LeydenError | None) -> None:
        how = self._ending(why)
        if self._embryo is not None:
            lost = self._embryo
            came_bytes = lost.size_bytes + sum(map(len, self._views))
            self._discard()
            board.add(Cell.CUT_OFF)
            what = f"{lost.store.command.sop_instance} was cut off after {came_bytes} bytes and discarded: {how}"
            self._log(logging.WARNING, what)
        self._refusal = ""
        self._receiver.holding.release(self)
        if self._accepted:
            if self._abort_text or why is not None:
                board.add(Cell.BROKEN)
            took_s = time.monotonic() - self._begin_s
            sizes = f"{self._objects} objects, {self._object_bytes} bytes in {took_s:.3f} s"
            if self.link.tls is not None:
                sizes += f", {self.link.tls.version} {self.link.tls.suite}"
            level = logging.WARNING if isinstance(why, RemoteProtocolError) else logging.INFO
            self._log(level, f"{sizes}, {how}")
        elif why is not None:
            if self._only_looked(why):
                self._log(logging.DEBUG, f"no association: {how}")
            else:
                self._tell_of_none(how)
        self._receiver.established.discard(self)
        self._receiver.drained()

    def _only_looked(self, why: LeydenError) -> bool:
        """Whether it was the health check of a load balancer, or our own over TLS (console/health.py)."""
        knocked = self.link.tls is not None and self.link.peer == KNOCKS and self._request is None
        return knocked or (type(why) is ConnectionLost and not self.link.received_bytes)

    def _tell_of_none(self, how: str) -> None:
        """The connection has ended before there was an association."""
        unheard = self.link.tls is not None and not self.link.secure
        board.add(Cell.TLS_FAILED, unheard)
        calling, called = (self._request.calling, self._request.called) if self._request else ("", "")
        why = Why.TLS if unheard else Why.PROTOCOL
        detail = f"no association: {how}"
        self._receiver.door.turned_away(
            TurnedAway("", calling=calling, called=called, peer=self.link.peer, why=why, detail=detail), detail
        )

    def gone(self) -> None:
        if self._who is not None:
            self._receiver.door.leave(self._who)
        self._receiver.gone(self)

    def _ending(self, why: LeydenError | None) -> str:
        """How the association ended, for the log."""
        if self._abort_text or why is not None:
            return self._abort_text or str(why)
        return "aborted: the service stops" if self._receiver.draining else "released"

    def _log(self, level: int, message: str) -> None:
        if not self._quiet:
            logger.log(level, "%s: %s", self, message)

    # The association

    def _associate(self, request: AssociateRequest) -> None:
        """Answer the request, now or once the user identity in it was checked."""
        # A passcode must not outlive its check.
        self._request = request if request.identity is None else replace(request, identity=None)
        self._source_key = key(request.calling)
        self._node = self._settings.nodes.get(request.called, "")
        self._quiet = request.calling in self._settings.quiet_ae_titles
        door, visitor = self._receiver.door, self._visitor_of(request)
        caller = door.admit(visitor)
        if isinstance(caller, Refused):
            self._turn_away(caller)
            return
        identity = to_check(caller, visitor)
        if isinstance(identity, Refused):
            self._turn_away(identity)
        elif identity is None:
            self._answer_request(self._request, caller, visitor.who)
        else:
            check = self._check(
                door.check(caller, identity, visitor.address), caller, visitor.who, respond=identity.respond
            )
            self._checking = asyncio.get_running_loop().create_task(check)

    def _visitor_of(self, request: AssociateRequest) -> Visitor:
        found = self.link.certificate
        if found is None:
            names = None
        else:  # a name that looks like a hash is none: who gets a name signed must not be taken for another one by it
            named = (name for name in found.names if not folded(name).startswith(HASH))
            names = (*named, f"{HASH}{found.sha256}")
        return Visitor(request.calling, request.called, self.link.peer, self.link.secure, names, request.identity)

    async def _check(
        self, checking: Coroutine[None, None, str | Refused], caller: Caller, who: "Who", *, respond: bool
    ) -> None:
        user = await checking
        if self.link.closing or self._request is None:
            return  # the caller has not waited
        if isinstance(user, Refused):
            self._turn_away(user)
        else:
            self._user = user
            self._log(logging.INFO, f"the user is {user}")
            self._answer_request(self._request, caller, who, respond=respond)
        self.link.flush()

    def _answer_request(self, request: AssociateRequest, caller: Caller, who: "Who", *, respond: bool = False) -> None:
        """Answer a request of a caller that may come in, if there is room. `respond`: say that the user is right."""
        receiver, settings = self._receiver, self._settings
        reply = answer(settings.acceptor, request, caller.classes or None)
        if isinstance(reply, AssociateReject):
            self._turn_away(Refused(reply, WHY.get(reply, Why.PROTOCOL), ""))
            return
        too_much = receiver.shares.low(self._source_key, self._node)
        if asks_to_store(request) and (receiver.low or too_much):
            self._turn_away(Refused(CONGESTED, Why.DISK, "", too_much))
            return
        if refused := receiver.door.room(caller, who, len(receiver.associations)):
            self._turn_away(refused)
            return
        if wrong := misnumbered(request):
            ids = ", ".join(map(str, wrong))
            what = f"presentation context IDs {ids}: even ones are refused, of equal ones the first counts"
            self._log(logging.WARNING, what)
        if all(context.result != ACCEPTED for context in reply.contexts):
            asked = sorted({context.abstract for context in request.contexts})[:CLASSES_TOLD]
            self._log(logging.INFO, f"no presentation context is accepted: {', '.join(asked)}")
        self._connection.accept(replace(reply, identity_response=b"") if respond else reply)
        self._accepted = True
        self._line = receiver.door.enter(caller, who)
        self._who = who
        receiver.unassociated.pop(self, None)
        receiver.associations.add(self)
        board.add(Cell.ACCEPTED)
        board.add(Cell.TLS_ACCEPTED, self.link.secure)
        board.put(Cell.ASSOCIATIONS, len(receiver.associations))
        receiver.established.add(self)
        self.link.expect(settings.client_timeout_s)

    def _turn_away(self, refused: Refused) -> None:
        request = self._request
        assert request is not None
        self._connection.reject(refused.reject)
        board.add(Cell.TURNED_AWAY)
        self._receiver.door.turned_away(
            TurnedAway(
                "",
                calling=request.calling,
                called=request.called,
                peer=self.link.peer,
                why=refused.why,
                answer=str(refused.reject),
                detail=refused.words,
            ),
            refused.detail,
        )

    def _release_if_done(self) -> None:
        if self._releasing and not self._pending:
            self._connection.release_answer()

    def _keep_pace(self, line: Throttle) -> None:
        """Read no further for as long as the line of the caller needs for what has come."""
        came_bytes = self.link.received_bytes - self._line_bytes
        self._line_bytes = self.link.received_bytes
        wait_s = line.permit(came_bytes, time.monotonic())
        if wait_s > 0 and not self._slowed:
            self._slowed = True
            self._read_or_not()
            asyncio.get_running_loop().call_later(wait_s, self._read_on)

    def _read_on(self) -> None:
        self._slowed = False
        self._read_or_not()

    def _read_or_not(self) -> None:
        self.link.hold_reading(self._slowed or self._pending >= MAX_PENDING_COMMITS)

    def drain(self) -> None:
        """The service stops: abort the association unless it is busy."""
        self._receiver.holding.release(self)
        if not self.busy:
            self.link.abort()

    # Objects

    def _start(self, store: StoreStarted) -> None:
        receiver = self._receiver
        if receiver.full or not receiver.commits.healthy:
            self._refusal = "the spool accepts no objects at the moment"
            return
        if why := receiver.shares.full(self._source_key, self._node):
            self._refusal = why
            return
        receipt = receiver.receipt_ids.next(time.time_ns() // 1000)
        try:
            fd, path = receiver.spool.embryo(receipt)
        except OSError as error:
            self._refuse(error)
            return
        self._embryo = _Embryo(store, fd, path, receipt)

    def _head(self, embryo: _Embryo, beginning: bytes, *, whole: bool) -> bytes | None:
        """The head of the file: who sent which object. None = the first bytes of the data set do not name it yet.

        `whole`: there are no more of them.
        """
        request, store, command = self._request, embryo.store, embryo.store.command
        assert request is not None
        who = identify(store.sop_class, command.sop_class, command.sop_instance, store.syntax, beginning, whole=whole)
        if who is None:
            return None
        if who.flag:
            level = logging.DEBUG if self._flagged else logging.WARNING
            self._log(level, f"{who.sop_instance} is kept, and answered 0x{DOES_NOT_MATCH:04X}: {who.flag}")
            self._flagged = True
        embryo.meta = FileMeta(
            sop_class_uid=who.sop_class,
            sop_instance_uid=who.sop_instance,
            transfer_syntax_uid=store.syntax,
            source=request.calling,
            sending=request.calling,
            receiving=request.called,
            flag=who.flag,
        )
        embryo.name = f"{embryo.receipt}.{key(who.sop_instance)}.{NO_UID}.{self._source_key}"
        return encode_head(embryo.meta)

    def _write(self, *, whole: bool = False) -> None:
        """Write to the file what has come. `whole`: the data set ends with it."""
        views, self._views = self._views, []
        embryo = self._embryo
        if embryo is None:
            return
        data_bytes = size_bytes = sum(map(len, views))
        if embryo.meta is None:
            beginning = b"".join([view[:LOOK_BYTES] for view in views])[:LOOK_BYTES]
            head = self._head(embryo, beginning, whole=whole)
            if head is None:
                self._views = [beginning]  # all that has come, copied: the read buffer is about to be reused
                return
            views.insert(0, head)
            size_bytes += len(head)
        try:
            written = os.writev(embryo.fd, views)
            rest = b"".join(views)[written:] if written < size_bytes else b""  # a signal, or a full disk's last block
            while rest:
                rest = rest[os.write(embryo.fd, rest) :]
        except OSError as error:
            self._discard()
            self._refuse(error)
        else:
            embryo.size_bytes += data_bytes
            if self._receiver.spool.sync and embryo.size_bytes - embryo.written_out_bytes >= WRITE_OUT_BYTES:
                embryo.written_out_bytes = embryo.size_bytes
                begin_writing(embryo.fd)

    def _refuse(self, error: OSError) -> None:
        self._refusal = f"the spool cannot take it: {error.strerror}"
        self._receiver.look_at_disk()

    def _discard(self) -> None:
        embryo, self._embryo = self._embryo, None
        self._views.clear()
        if embryo is not None:
            embryo.remove()

    def _end(self, store: StoreStarted) -> None:
        if self._views or (self._embryo is not None and self._embryo.meta is None):
            self._write(whole=True)
        embryo, self._embryo = self._embryo, None
        if embryo is None:
            why, self._refusal = self._refusal, ""
            board.add(Cell.REFUSED)
            self._log(logging.WARNING, f"{store.command.sop_instance} answered 0xA700: {why}")
            self._answer(store, OUT_OF_RESOURCES, why)
            return
        embryo.ended_ns = time.monotonic_ns()
        crash.point("embryo-written")
        self._pending += 1
        if self._pending == MAX_PENDING_COMMITS:
            self._read_or_not()
        if embryo.meta is not None and self._receiver.settings.duplicates != "accept":
            self._commit_once(embryo, embryo.meta)
        else:
            self._commit(embryo)

    def _commit_once(self, embryo: _Embryo, meta: FileMeta, waited_s: float = 0.0) -> None:
        """Commit it, unless its instance was kept for the same node lately (duplicateBehavior).

        While another one of the same instance is being committed it waits: that one may fail.
        """
        receiver = self._receiver
        node = receiver.settings.nodes.get(meta.receiving) or meta.receiving
        key = key_of(node, meta.sop_instance_uid)
        begun = receiver.recent.begin(key, time.time())
        if begun is Begun.KEPT:
            self._drop_duplicate(embryo, meta)
        elif begun is Begun.BUSY and waited_s < BUSY_S:
            again = partial(self._commit_once, embryo, meta, waited_s + BUSY_LOOK_S)
            asyncio.get_running_loop().call_later(BUSY_LOOK_S, again)
        else:
            embryo.recent_key = key if begun is Begun.FIRST else ""
            self._commit(embryo)

    def _drop_duplicate(self, embryo: _Embryo, meta: FileMeta) -> None:
        """Answer it as duplicateBehavior says. Success is no lie: the one that came before it is durable."""
        embryo.remove()
        reject = self._receiver.settings.duplicates == "reject"
        status, comment = (DUPLICATE_INSTANCE, "it was kept before") if reject else (SUCCESS, "")
        self._end_commit(embryo, status, comment)
        if not self._quiet:
            tell(
                Duplicate(
                    embryo.receipt,
                    sop_class_uid=meta.sop_class_uid,
                    sop_instance_uid=meta.sop_instance_uid,
                    calling=meta.sending,
                    called=meta.receiving,
                    flag=meta.flag,
                    status=status,
                )
            )

    def _commit(self, embryo: _Embryo) -> None:
        alone = len(self._receiver.established) == 1
        commit = self._receiver.commits.commit(embryo.fd, embryo.path, embryo.name, alone)
        if commit.done():
            self._committed(embryo, commit)
        else:
            commit.add_done_callback(partial(self._committed, embryo))

    def _committed(self, embryo: _Embryo, commit: "asyncio.Future[None]") -> None:
        error = commit.exception()
        if embryo.recent_key:
            if error is None:
                self._receiver.recent.keep(embryo.recent_key, time.time())
            else:
                self._receiver.recent.forget(embryo.recent_key)
        if error is None and embryo.meta is not None:
            self._objects += 1
            self._object_bytes += embryo.size_bytes
            self._receiver.objects += 1
            self._receiver.object_bytes += embryo.size_bytes
            self._receiver.shares.took(self._source_key, self._node, embryo.size_bytes)
            board.add(Cell.RECEIVED)
            board.add(Cell.RECEIVED_BYTES, embryo.size_bytes)
            status, comment = (DOES_NOT_MATCH, CONTRADICTS) if embryo.meta.flag else (SUCCESS, "")
            holding = self._receiver.holding
            if holding.holds(self._source_key) and not self._releasing and not self._receiver.draining:
                holding.hold(self, partial(self._end_commit, embryo, status, comment))
            else:
                self._end_commit(embryo, status, comment)
                crash.soon("answered")
            self._tell_received(embryo, embryo.meta)
        else:
            self._log(logging.ERROR, f"{embryo.store.command.sop_instance} answered 0xA700: {error}")
            board.add(Cell.REFUSED)
            self._end_commit(embryo, OUT_OF_RESOURCES, str(error))

    def _end_commit(self, embryo: _Embryo, status: int, comment: str = "") -> None:
        self._pending -= 1
        if self._pending == MAX_PENDING_COMMITS - 1:
            self._read_or_not()
        self._answer(embryo.store, status, comment)
        board.answered(time.monotonic_ns() - embryo.ended_ns)

    def _tell_received(self, embryo: _Embryo, meta: FileMeta) -> None:
        tell(
            Received(
                embryo.receipt,
                sop_class_uid=meta.sop_class_uid,
                sop_instance_uid=meta.sop_instance_uid,
                calling=meta.sending,
                called=meta.receiving,
                flag=meta.flag,
                syntax=meta.transfer_syntax_uid,
                bytes=embryo.size_bytes,
                peer=self.link.peer,
                user=self._user,
            ),
            logged=not self._quiet,
        )

    def _answer(self, store: StoreStarted, status: int, comment: str = "") -> None:
        if not self.link.closing:
            self._connection.store_answer(store, status, comment)
            self._release_if_done()
            self.link.flush()
        if self._receiver.draining:
            self.drain()
            self._receiver.drained()
