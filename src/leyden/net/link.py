"""A TCP connection that drives one association: bytes to the sans-I/O Connection, its output to the peer.

The kernel reads into one buffer that all links of a process share: all events of a feed are handled before the next
read, and get_buffer has no side effects (TLS calls it more often than buffer_updated). Writing waits until the
transport has taken everything, so that send buffers can be reused. One timer for each link watches for silence, and for
an association request that takes too long; it is set again only when it has run out, so a read costs no timer. After
its last PDU a link waits for the peer to close (ARTIM): closing with unread bytes would send a reset, which could
overtake that PDU. Where no timer of ours runs, the kernel's do: keepalive and TCP_USER_TIMEOUT end connections to a
host that is gone. Deliberately absent: SO_RCVBUF and SO_SNDBUF (the kernel adapts them better).

Under TLS the same socket carries the ciphertext of a Session, and all counts are of ciphertext: what moves on the wire.
What was read is copied into the session, so that the plaintext can be put where it stood. Reading pauses while a thread
works on the handshake.
"""

import asyncio
import fcntl
import socket
import struct
import termios
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import Protocol, cast
from weakref import WeakKeyDictionary

from leyden.dicom.association import Connection, Event
from leyden.dicom.machine import AssociationState
from leyden.errors import LeydenError, RemoteProtocolError
from leyden.net.tls import Closed, PeerCertificate, Session
from leyden.net.tls import ConnectionLost as ConnectionLost

READ_BUFFER_BYTES = 256 * 1024
# 256 KiB of C-ECHO requests are 2,900, which take 0.1 s. Of a peer whose reads are full of small messages little is
# read at a time, and between two reads every other one has its turn.
CROWDED_BYTES = 4096
CROWDED_EVENTS = 16
EVENT_BYTES = 512
LINGER_S = 3.0
HANDSHAKE_THREADS = 2
CUT_OFF = "the peer closed the connection without a release"
# Together they detect a host that is gone after 3 minutes.
KEEPALIVE_IDLE_S = 60
KEEPALIVE_EVERY_S = 15
KEEPALIVE_TIMES = 8
BACKSTOP_S = 10.0  # the kernel gives up so much later than our own timer, so that ours acts first
_USER_TIMEOUT_MAX_MS = 2**31 - 1


class TimedOut(ConnectionLost):
    """The peer was silent for too long, or took too long to request an association."""


class Owner(Protocol):
    """Handles what happens on a link."""

    def handle(self, event: Event) -> None:
        """One event; the view of a Payload is valid until fed() has returned."""

    def fed(self) -> None:
        """All events of one read are handled; the buffer will be reused."""

    def ended(self, why: LeydenError | None) -> None:
        """The association is over; called once. `why` None = in good order (rejected, released, aborted by us)."""

    def gone(self) -> None:
        """The connection is closed, after ended()."""


class _Hands:
    """Threads that work on handshakes; not those of the loop, in which the disk is waited for.

    Of those that wait, the newest is next: so a crowd that came before keeps nobody waiting.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(HANDSHAKE_THREADS, thread_name_prefix="handshake")
        self._waiting: list[tuple[Future[None], Callable[[], None]]] = []

    def work(self, step: Callable[[], None]) -> "Future[None]":
        job: Future[None] = Future()
        self._waiting.append((job, step))
        self._threads.submit(self._newest)  # as often as there are steps: each takes one
        return job

    def _newest(self) -> None:
        job, step = self._waiting.pop()
        if not job.set_running_or_notify_cancel():
            return
        try:
            step()
        except BaseException as error:
            job.set_exception(error)
        else:
            job.set_result(None)


@cache
def _hands() -> _Hands:
    return _Hands()


_crowds = WeakKeyDictionary[asyncio.AbstractEventLoop, "deque[Link]"]()
"""Of each loop the links whose peers send many small messages: one of them reads in each turn of the loop."""


def _next_of(crowd: "deque[Link]") -> None:
    crowd.popleft().rested()
    if crowd:
        asyncio.get_running_loop().call_soon(_next_of, crowd)


class Link(asyncio.BufferedProtocol):
    """One connection. `received_bytes` and `sent_bytes` count the bytes from and to the transport.

    `tls`: what encrypts it; the association begins when its handshake is done. None = nothing does.
    """

    def __init__(
        self,
        connection: Connection,
        owner: Owner,
        buffer: memoryview,
        request_within_s: float = 0.0,
        tls: Session | None = None,
    ) -> None:
        self.connection = connection
        self.tls = tls
        self.received_bytes = 0
        self.sent_bytes = 0
        self._owner = owner
        self._buffer = buffer
        self._loop = asyncio.get_running_loop()
        self._patience_s = request_within_s  # 0 = for ever
        self._renewed = False  # whether it starts again with each byte
        self._since_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._drained: asyncio.Future[None] | None = None  # set while the transport holds bytes of ours
        self._backstop_s = 0.0
        self._held = False
        self._shaking: asyncio.Future[None] | None = None  # a thread works on the handshake
        self._secured: asyncio.Future[None] | None = None  # set while somebody waits for its end
        self._ended = False
        self._events = 0  # of the latest read
        self._crowded = False
        self._resting = False  # while the others have their turn

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)
        self._socket = self._transport.get_extra_info("socket")
        assert self._socket is not None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_EVERY_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_TIMES)
        self._expect(self._patience_s, renewed=False)
        if self.tls is not None and not self.connection.is_acceptor:
            self._shake_hands()
        self.flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer[:CROWDED_BYTES] if self._crowded else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._events = 0
        self._read(nbytes)
        self._crowded = self._events > CROWDED_EVENTS and nbytes < self._events * EVENT_BYTES
        if self._crowded and not self._resting:
            self._resting = True
            self._read_or_not()
            crowd = _crowds.setdefault(self._loop, deque())
            crowd.append(self)
            if len(crowd) == 1:
                self._loop.call_soon(_next_of, crowd)

    def rested(self) -> None:
        """Go on reading from a peer that sends many small messages."""
        self._resting = False
        self._read_or_not()

    def _read(self, nbytes: int) -> None:
        if self.tls is not None:
            self.received_bytes += nbytes
            if self._ended and not self.tls.ready:
                return  # nobody would ever take it out of the session
            self.tls.take(self._buffer[:nbytes])
            if self.tls.ready:
                self._decrypt(self.tls)
            elif self._shaking is None:
                self._shake_hands()
        elif not self._ended:
            self.received_bytes += nbytes
            self._feed(nbytes)

    def _feed(self, nbytes: int) -> None:
        """Handle what the buffer holds."""
        if self._renewed:
            self._since_s = self._loop.time()
        try:
            for event in self.connection.feed(self._buffer[:nbytes]):
                self._events += 1
                self._owner.handle(event)
        except RemoteProtocolError as error:
            self._end(error)
            self._last_word()
        else:
            self._owner.fed()
            self.flush()

    def _shake_hands(self) -> None:
        """Let a thread go on with the handshake; meanwhile nothing is read."""
        assert self.tls is not None
        self._shaking = asyncio.wrap_future(_hands().work(self.tls.advance), loop=self._loop)
        self._shaking.add_done_callback(self._shaken)
        self._read_or_not()

    def _shaken(self, step: "asyncio.Future[None]") -> None:
        self._shaking = None
        if step.cancelled():
            return
        error = step.exception()
        if self.tls is None or self._transport is None or self._transport.is_closing():
            return
        self._give(self.tls.output())
        if error is not None:
            if not isinstance(error, LeydenError):
                raise error
            self._end(error)
            self._transport.write_eof()  # behind the alert, which tells the peer what is wrong
        elif self.tls.ready:
            self._wake_secured()
            self.flush()
            self._decrypt(self.tls)
        self._read_or_not()

    def _decrypt(self, tls: Session) -> None:
        """Handle what has come; after our end, only look for that of the peer. What TLS has to answer is sent."""
        try:
            while nbytes := tls.read(self._buffer):
                if not self._ended:
                    self._feed(nbytes)
        except Closed:
            self._end(None if self.connection.is_over else ConnectionLost(CUT_OFF))
            self._close()
        except ConnectionLost as error:
            self._end(error)
            self._give(tls.output())
            self._close()
        else:
            self._give(tls.output())

    def eof_received(self) -> None:
        if self.tls is not None and self._shaking is None:
            self._farewell(self.tls)
        # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._shaking is not None:
            self._shaking.cancel()  # its turn may come late, if many knock
        self._wake_writer()
        words = f"connection lost: {exc}" if exc else CUT_OFF
        self._end(None if self.connection.is_over else ConnectionLost(words))
        self._owner.gone()

    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()
        self._read_or_not()

    def resume_writing(self) -> None:
        self._wake_writer()
        self._read_or_not()

    def _wake_writer(self) -> None:
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        self._drained = None

    def _wake_secured(self) -> None:
        if self._secured is not None and not self._secured.done():
            self._secured.set_result(None)

    # The owner's side

    @property
    def peer(self) -> str:
        """The peer's address, for the log; that of an IPv4 peer as it is, though our socket takes both kinds."""
        name = self._transport.get_extra_info("peername") if self._transport else None
        return str(name[0]).removeprefix("::ffff:") if name else "?"

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return self.tls is not None and self.tls.ready

    @property
    def certificate(self) -> PeerCertificate | None:
        """The certificate that the peer has proved to hold, if it was asked for one; known before the first event."""
        return self.tls.certificate if self.tls is not None else None

    @property
    def closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._ended or self._transport is None or self._transport.is_closing()

    @property
    def acknowledged_bytes(self) -> int:
        """How many of the sent bytes the peer's TCP has acknowledged (SIOCOUTQ gives those that it has not)."""
        if self._transport is None or self._socket is None or self._transport.is_closing():
            return 0
        queued = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        return self.sent_bytes - self._transport.get_write_buffer_size() - int(struct.unpack("=i", queued)[0])

    def expect(self, silence_s: float) -> None:
        """From now on, abort the association if the peer is silent for so long; 0 = never."""
        self._expect(silence_s, renewed=True)
        self.backstop(silence_s)

    def backstop(self, silence_s: float) -> None:
        """Let the kernel end the connection too, if the peer's host acknowledges nothing for a little longer than that
        (TCP_USER_TIMEOUT); this works even after we have closed it. 0 = the kernel's own limit.
        """
        if silence_s == self._backstop_s or self._socket is None or self.closing:
            return
        self._backstop_s = silence_s
        timeout_ms = min(int((silence_s + BACKSTOP_S) * 1000), _USER_TIMEOUT_MAX_MS) if silence_s else 0
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)

    def _expect(self, patience_s: float, *, renewed: bool) -> None:
        self._patience_s, self._renewed = patience_s, renewed
        self._since_s = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(patience_s, self._look) if patience_s else None

    def _look(self) -> None:
        if self._held and self._renewed:  # we do not listen, so the peer can't be heard
            self._since_s = self._loop.time()
        left_s = self._since_s + self._patience_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        elif self._ended:
            self.drop()
        else:
            early = "no TLS handshake" if self.tls is not None and not self.tls.ready else "no association request"
            what = "silent" if self._renewed else early
            self.abort(TimedOut(f"{what} for {self._patience_s:g} s"))

    def hold_reading(self, held: bool) -> None:
        """Stop reading from the peer, or go on; it does not count as silent meanwhile. An acceptor also stops while the
        peer does not take its answers.
        """
        if self._held and self._renewed:
            self._since_s = self._loop.time()
        self._held = held
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        full = self._drained is not None and self.connection.is_acceptor
        if self._held or self._resting or full or self._shaking is not None:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def flush(self) -> None:
        """Send the output of the connection; after its last PDU, wait for the peer to close, or close."""
        if self.tls is not None and not self.tls.ready:
            return
        data = self.connection.output()
        if data:
            self.write((data,))
        if self.connection.state is AssociationState.IDLE:
            self._end(None)
            self._close()
        elif self.connection.state is AssociationState.AWAITING_CLOSE and not self._ended:
            self._end(None)

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Give `pieces` to the transport; do not change their memory until drained() has returned."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._renewed:
            self._since_s = self._loop.time()
        if self.tls is not None:
            for sealed in self.tls.seal(pieces):  # each is on its way, and decrypted there, while we encrypt the next
                self.sent_bytes += len(sealed)
                self._transport.write(sealed)
            return
        self.sent_bytes += sum(map(len, pieces))
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def _give(self, ciphertext: bytes) -> None:
        """Send what TLS itself has to say."""
        if ciphertext and self._transport is not None and not self._transport.is_closing():
            self.sent_bytes += len(ciphertext)
            self._transport.write(ciphertext)

    async def secured(self) -> None:
        """Wait until the TLS handshake is done, or the association has ended before; without TLS there is no wait."""
        if self.tls is not None and not self.tls.ready and not self._ended:
            self._secured = self._loop.create_future()
            await self._secured

    async def drained(self) -> None:
        """Wait until the transport has given all bytes to the kernel, or the connection is gone."""
        while self._drained is not None:
            await self._drained

    def abort(self, why: LeydenError | None = None) -> None:
        """Send A-ABORT if there is an association, and end it; `why` is passed on to ended()."""
        self.connection.abort()
        self._end(why)
        unheard = self.tls is not None and not self.tls.ready
        if self.connection.state is AssociationState.AWAITING_CLOSE and not unheard:
            self._last_word()
        else:
            self.drop()

    def _last_word(self) -> None:
        """Send the A-ABORT and close our direction, so that a peer that does not speak DICOM sees the end too."""
        self.flush()
        if self.tls is not None:
            self._farewell(self.tls)
        if self._transport is not None and not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()

    def _farewell(self, tls: Session) -> None:
        """The end of what we send, as TLS says it (RFC 8446 section 6.1): so nobody can cut off what comes before."""
        tls.close()
        self._give(tls.output())

    def _close(self) -> None:
        """Close the connection; the peer waits for nothing more than a TLS farewell."""
        if self.tls is None or self._transport is None:
            self.drop()
        else:
            self._farewell(self.tls)
            self._transport.close()

    def drop(self) -> None:
        """Close the connection at once; bytes that the transport still holds are lost."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, why: LeydenError | None) -> None:
        if not self._ended:
            self._ended = True
            self._wake_writer()
            self._wake_secured()
            self._owner.ended(why)
            if self._transport is not None and not self._transport.is_closing():
                self.hold_reading(False)
                self._expect(LINGER_S, renewed=False)
