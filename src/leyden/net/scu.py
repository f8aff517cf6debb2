"""One outbound association, for the sender, `leyden send` and `leyden echo`.

One operation at a time. Data sets stream from a file descriptor through two reused buffers: one is filled while the
transport empties the other. Any failure, time-out, abort or cancellation ends the association: it is not used again,
and `closed` is true at once, idle or not. Deliberately absent: retries, pooling, the choice of a transfer syntax
(deliver/ decides, the sender acts).
"""

import asyncio
import mmap
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import msgspec

from leyden import crash
from leyden.dicom.association import Aborted, Accepted, Connection, Event, Rejected, ReleaseRequested, Responded
from leyden.dicom.dimse import ECHO_REQUEST, RESPONSE, STORE_REQUEST, SUCCESS, Command
from leyden.dicom.negotiate import AssociateReject, AssociateRequest, UserIdentity, accepted_pairs, contexts_for
from leyden.dicom.uids import VERIFICATION
from leyden.errors import Corrupt, LeydenError, LocalProtocolError, Transient
from leyden.net import dial
from leyden.net.dial import ConnectionFailed as ConnectionFailed
from leyden.net.link import ConnectionLost as ConnectionLost
from leyden.net.link import Link
from leyden.net.tls import Session, TlsFailed

SEND_BUFFER_BYTES = 1024 * 1024
PIECE_PDUS = 4096  # PDUs a write at most: for tiny PDUs, headers and views take far more memory than the data
THROTTLED_PIECE_BYTES = 64 * 1024  # small, so that a slow line gets a steady flow and no bursts
RECEIVE_BUFFER_BYTES = 32 * 1024
RELEASE_TIMEOUT_S = 2.0
HANDSHAKE, ANSWER = "TLS handshake", "answer to the association request"
SPEED_WINDOW_S = 10.0
TICK_S = 0.25
_WARNINGS = range(0xB000, 0xC000)


def _is_success(status: int) -> bool:
    return status == SUCCESS or status in _WARNINGS


class AssociationRejected(Transient):
    """The peer rejected the association: `result`, `source`, `reason` as in PS3.8 table 9-21."""

    def __init__(self, reject: AssociateReject) -> None:
        super().__init__(f"association {reject}")
        self.result, self.source, self.reason = reject.result, reject.source, reject.reason


class Stalled(Transient):
    """No byte moved in either direction for stall_s, or the operation took longer than deadline_s."""


class TooSlow(Transient):
    """The average speed over at least 10 s was below minimum_bytes_per_s."""


class StoreAnswer(msgspec.Struct, frozen=True):
    """The C-STORE-RSP: status (PS3.4 table B.2-1) and error comment."""

    status: int
    comment: str = ""


class RateLimit(Protocol):
    """Limits the rate of sent bytes (deliver/throttle.py)."""

    def permit(self, size_bytes: int, now_s: float) -> float:
        """How many seconds to wait before so many bytes may be sent; `now_s` is CLOCK_MONOTONIC."""
        ...


class Pace:
    """Judges the speed of a transfer by the bytes that the peer's TCP acknowledged and the peer sent. 0 = no limit.

    `sent_bytes`: how many bytes were sent before the transfer began.
    """

    def __init__(
        self, now_s: float, sent_bytes: int, *, stall_s: float, minimum_bytes_per_s: float, deadline_s: float
    ) -> None:
        self._stall_s, self._minimum_bytes_per_s, self._deadline_s = stall_s, minimum_bytes_per_s, deadline_s
        self._start_s = self._moved_s = now_s
        self._first_bytes = sent_bytes
        self._moved_bytes = -1
        self._paused_s = 0.0

    def pause(self, for_s: float, now_s: float) -> None:
        """From now on we send nothing for so long: this time does not count against the peer."""
        self._paused_s += for_s
        self._moved_s = now_s + for_s

    def judge(self, now_s: float, acknowledged_bytes: int, received_bytes: int, sent_bytes: int) -> Transient | None:
        """What is wrong, if anything. While everything is acknowledged we wait for the answer: speed does not count."""
        if acknowledged_bytes + received_bytes != self._moved_bytes:
            self._moved_bytes = acknowledged_bytes + received_bytes
            self._moved_s = max(self._moved_s, now_s)
        elapsed_s = now_s - self._start_s
        if self._deadline_s and elapsed_s >= self._deadline_s:
            return Stalled(f"not done within {self._deadline_s:g} s")
        if self._stall_s and now_s - self._moved_s >= self._stall_s:
            return Stalled(f"not one byte moved for {self._stall_s:g} s")
        elapsed_s -= self._paused_s
        if acknowledged_bytes < sent_bytes and self._minimum_bytes_per_s and elapsed_s >= SPEED_WINDOW_S:
            bytes_per_s = (acknowledged_bytes - self._first_bytes) / elapsed_s
            if bytes_per_s < self._minimum_bytes_per_s:
                return TooSlow(
                    f"{bytes_per_s / 1000:.0f} KB/s, below the minimum of {self._minimum_bytes_per_s / 1000:.0f} KB/s"
                )
        return None


def _unanswered(error: ConnectionLost, link: Link) -> str:
    """Why there is no answer to an association request. One who goes without a word may expect TLS, or not."""
    if isinstance(error, TlsFailed) or (link.tls is None and link.received_bytes):
        return str(error)
    if link.tls is None:
        return f"{error} before it answered, as one does that speaks TLS only"
    if not link.secure:
        return f"{error} in the TLS handshake, as one does that does not speak TLS"
    return f"{error} right after the TLS handshake, as one does that does not take our certificate, or wants one"


class Association:
    """One outbound association, made by open().

    `proposed` and the keys of `accepted` are (abstract syntax, transfer syntax); a value of `accepted` is a context ID.
    """

    def __init__(self, request: AssociateRequest, session: Session | None = None) -> None:
        self._request = request
        self._connection = Connection.requestor(request)
        self._link = Link(self._connection, self, memoryview(bytearray(RECEIVE_BUFFER_BYTES)), tls=session)
        self.proposed = frozenset((context.abstract, context.syntaxes[0]) for context in request.contexts)
        self.accepted: dict[tuple[str, str], int] = {}
        self._gone = asyncio.get_running_loop().create_future()
        self._waiter: asyncio.Future[None] | None = None
        self._failure: LeydenError | None = None
        self._established = False
        self._message_id = 0
        self._request_field = 0  # of the operation
        self._response: Command | None = None
        self._busy = False
        self._sending = False  # a data set, of which the peer cannot have the end
        self._grace_s = 0.0  # of the operation, once everything is sent
        self._timer: asyncio.TimerHandle | None = None
        self._buffers = [
            memoryview(mmap.mmap(-1, SEND_BUFFER_BYTES)) for _ in range(2)
        ]  # a page takes memory from its first use on

    @classmethod
    async def open(
        cls,
        host: str,
        port: int,
        *,
        calling: str,
        called: str,
        contexts: Sequence[tuple[str, str]],
        sessions: Callable[[], Session] | None = None,
        identity: UserIdentity | None = None,
        connect_timeout_s: float = 30.0,
        answer_timeout_s: float = 30.0,
    ) -> "Association":
        """Connect and negotiate. `contexts` beyond 128 are left out (see `proposed`). A time-out of 0 = no limit.

        `sessions` makes the TLS session of each connection (None = plain), whose handshake is part of connecting; only
        then may there be an `identity`. The first address of the host that answers the request counts, even if it
        rejects. Raises ConnectionFailed with the reason for each address, or AssociationRejected, both Transient.
        """
        if identity is not None and sessions is None:
            raise LocalProtocolError("a user identity goes over TLS only")
        request = AssociateRequest(called, calling, contexts_for(contexts), identity=identity)
        begin_s = time.monotonic()
        addresses = await dial.look_up(host, port, connect_timeout_s)
        left_s = max(connect_timeout_s - (time.monotonic() - begin_s), 0.001) if connect_timeout_s else 0.0
        unanswered: list[str] = []
        while True:
            association = cls(request, sessions() if sessions else None)
            begin_s = time.monotonic()
            try:
                transport, address = await dial.connect(addresses, left_s)
            except ConnectionFailed as error:
                raise ConnectionFailed(", ".join([*unanswered, str(error)])) from error
            if left_s:
                left_s = max(left_s - (time.monotonic() - begin_s), 0.001)
            try:
                await association._negotiate(transport, left_s, answer_timeout_s)
            except ConnectionFailed as error:
                unanswered.append(f"{address[1]}: {error}")
                addresses.remove(address)
                left_s = connect_timeout_s
                if not addresses:
                    raise ConnectionFailed(", ".join(unanswered)) from error
            else:
                return association

    async def _negotiate(
        self, transport: asyncio.Transport, handshake_timeout_s: float, answer_timeout_s: float
    ) -> None:
        if transport.is_closing():
            raise ConnectionFailed("the peer closed the connection at once")
        transport.set_protocol(self._link)
        self._link.connection_made(transport)
        phase, within_s = HANDSHAKE, handshake_timeout_s
        try:
            async with asyncio.timeout(within_s or None):
                await self._link.secured()
            phase, within_s = ANSWER, answer_timeout_s
            async with asyncio.timeout(within_s or None):
                while not self._established:
                    await self._something()
        except BaseException as error:
            self.abort()
            if isinstance(error, TimeoutError):
                raise ConnectionFailed(f"no {phase} within {round(within_s, 1):g} s") from None
            if isinstance(error, ConnectionLost):
                raise ConnectionFailed(_unanswered(error, self._link)) from error
            raise

    def __repr__(self) -> str:
        return f"<Association {self._request.calling} -> {self._request.called} {'closed' if self.closed else 'open'}>"

    @property
    def address(self) -> str:
        """The numeric address of the peer."""
        return self._link.peer

    @property
    def closed(self) -> bool:
        """Whether nothing more can be sent: released, aborted, lost or failed."""
        return self._link.closing

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._gone)

    async def store(
        self,
        context_id: int,
        sop_class: str,
        sop_instance: str,
        fd: int,
        offset: int,
        size: int,
        *,
        priority: int = 0,
        stall_s: float = 90.0,
        minimum_bytes_per_s: float = 0.0,
        deadline_s: float = 0.0,
        grace_s: float = 0.0,
        throttle: RateLimit | None = None,
        ahead_bytes: int = 0,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> StoreAnswer:
        """Send the data set, `size` bytes at `offset` of `fd`, and wait for the answer. A limit of 0 is off.

        If a limit is passed when the peer has all of it, the answer may be on its way: we wait `grace_s` longer.
        `ahead_bytes` of it were read by read_ahead(); `meanwhile` is called when everything is sent, before the answer.
        Raises Stalled, TooSlow or ConnectionLost, all Transient, and Corrupt if the file ends early; the association is
        closed then. If the peer refuses before the end and then stops reading, the refusal is returned.
        """
        pace = Pace(
            time.monotonic(),
            self._link.sent_bytes,
            stall_s=stall_s,
            minimum_bytes_per_s=minimum_bytes_per_s,
            deadline_s=deadline_s,
        )
        message_id = self._begin(STORE_REQUEST)
        self._link.backstop(stall_s)
        try:
            self._connection.store_request(context_id, message_id, sop_class, sop_instance, priority)
            self._watch(pace)
            self._sending = True
            await self._send(context_id, fd, offset, size, pace, throttle, ahead_bytes)
            self._sending = False
            self._grace_s = grace_s
            crash.soon("sent")
            meanwhile()
            response = await self._answer()
        except Transient:
            if self._response is None or _is_success(self._response.status):
                raise
            response = self._response
        except BaseException:
            self.abort()
            raise
        finally:
            self._finish()
        return StoreAnswer(response.status, response.comment)

    def read_ahead(self, fd: int, offset: int, size: int) -> int:
        """Read the first piece for the next store(); returns its length in bytes. Raises OSError."""
        return os.preadv(fd, [self._buffers[0][:size]], offset) if self._buffers else 0

    async def _send(
        self, context_id: int, fd: int, at: int, size: int, pace: Pace, throttle: RateLimit | None, ahead_bytes: int
    ) -> None:
        """Send the data set in pieces, from both buffers in turn: before one is filled again, it is drained."""
        end = at + size
        piece_bytes = min(
            SEND_BUFFER_BYTES if throttle is None else THROTTLED_PIECE_BYTES,
            PIECE_PDUS * self._connection.fragment_bytes,
        )
        while True:
            piece = self._buffers[0][: min(end - at, piece_bytes)]
            length = min(ahead_bytes, len(piece)) or (os.preadv(fd, [piece], at) if at < end else 0)
            ahead_bytes = 0
            if at < end and not length:
                raise Corrupt(f"the file ends {end - at} bytes early")
            if throttle is not None:
                wait_s = throttle.permit(length, time.monotonic())
                if wait_s > 0:
                    pace.pause(wait_s, time.monotonic())
                    await self._pause(wait_s)
            await self._link.drained()
            self._raise_if_over()
            at += length
            pdus = self._connection.data_pdus(context_id, piece[:length], ends=at >= end)
            self._link.write([self._connection.output(), *pdus])
            self._buffers.reverse()
            if at >= end:
                return

    async def echo(self, *, timeout_s: float = 30.0) -> int:
        """C-ECHO (PS3.4 annex A); returns the status.

        Raises Stalled or ConnectionLost, and Transient if Verification is not accepted.
        """
        context_ids = [n for (abstract, _), n in self.accepted.items() if abstract == VERIFICATION]
        if not context_ids:
            raise Transient("the peer did not accept the Verification SOP class")
        message_id = self._begin(ECHO_REQUEST)
        try:
            self._connection.echo_request(context_ids[0], message_id)
            self._link.flush()
            sent_bytes = self._link.sent_bytes
            self._watch(Pace(time.monotonic(), sent_bytes, stall_s=0, minimum_bytes_per_s=0, deadline_s=timeout_s))
            return (await self._answer()).status
        except BaseException:
            self.abort()
            raise
        finally:
            self._finish()

    async def release(self) -> None:
        """Release the association, or drop it if the peer does not answer in time. Errors of the peer raise nothing."""
        if self.closed:
            return
        self._begin()
        self._connection.release()
        self._link.flush()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.wait_closed(), RELEASE_TIMEOUT_S)
        finally:
            self._link.drop()

    def abort(self) -> None:
        """End the association at once."""
        self._link.abort()

    # One operation

    def _begin(self, request_field: int = 0) -> int:
        """The message ID of a new operation; `request_field`: the command field of its request."""
        self._raise_if_over()
        if self._busy:
            raise LocalProtocolError("one operation at a time")
        self._busy = True
        self._request_field = request_field
        self._response = None
        self._grace_s = 0.0
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def _finish(self) -> None:
        self._busy = self._sending = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self, pace: Pace) -> None:
        """Check the pace every TICK_S, until the operation is over or has to be aborted."""
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._look, pace)

    def _look(self, pace: Pace) -> None:
        link = self._link
        why = pace.judge(time.monotonic(), link.acknowledged_bytes, link.received_bytes, link.sent_bytes)
        if why is None:
            self._watch(pace)
        elif self._grace_s and link.acknowledged_bytes == link.sent_bytes:
            self._timer = asyncio.get_running_loop().call_later(self._grace_s, link.abort, why)
        else:
            link.abort(why)

    async def _answer(self) -> Command:
        while self._response is None:
            await self._something()
        return self._response

    async def _something(self) -> None:
        """Wait until something happens on the link; raises the reason if it has ended before."""
        self._raise_if_over()
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    async def _pause(self, for_s: float) -> None:
        """Sleep; raises if the association ends."""
        try:
            async with asyncio.timeout(for_s):
                while True:
                    await self._something()
        except TimeoutError:
            return

    def _raise_if_over(self) -> None:
        if self.closed:
            raise self._failure or ConnectionLost("the peer closed the connection")

    # What the link tells

    def handle(self, event: Event) -> None:
        match event:
            case Accepted(accept):
                self.accepted = accepted_pairs(self._request.contexts, accept)
                self._established = True
            case Rejected(reject):
                self._failure = AssociationRejected(reject)
            case Responded(command) if not self._busy or command.message_id != self._message_id:
                self._link.abort(
                    ConnectionLost(f"the peer answered message {command.message_id}, which is not pending")
                )
            case Responded(command) if command.field != self._request_field | RESPONSE:
                self._link.abort(ConnectionLost(f"the peer answered another command (0x{command.field:04X})"))
            case Responded(command) if self._sending and _is_success(command.status):
                self._link.abort(ConnectionLost("the peer answered Success before it had the whole data set"))
            case Responded(command) if command.status < 0:
                self._link.abort(ConnectionLost("the peer answered without a valid status"))
            case Responded(command):
                self._response = command
            case Aborted():
                self._failure = ConnectionLost(str(event))
            case ReleaseRequested():
                self._failure = ConnectionLost("the peer released the association")
                self._connection.release_answer()
            case _:
                pass
        self._wake()

    def fed(self) -> None:
        pass

    def ended(self, why: LeydenError | None) -> None:
        if self._failure is None and why is not None:
            self._failure = why if isinstance(why, Transient) else ConnectionLost(str(why))
        self._wake()

    def gone(self) -> None:
        self._buffers.clear()  # at once, not at the next garbage collection
        self._gone.set_result(None)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
