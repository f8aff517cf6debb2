"""One association, without I/O: bytes in, typed events out, bytes to send (PS3.8 section 9, PS3.7 sections 9 and 10).

`feed` parses bytes from the peer and yields events. A RemoteProtocolError ends the association; the A-ABORT for the
peer is in `output` by then. The view of a Payload points into the fed buffer and is valid until the next feed. The
owner answers with the methods named at each event, and sends `output`. Sockets, time-outs and files are the owner's;
nothing larger than a command set is held here. Deliberately absent: the asynchronous operations window, and DIMSE
services other than C-STORE and C-ECHO (the answer is "unrecognized operation"; a C-CANCEL is ignored).
"""

from collections.abc import Iterator

import msgspec

from leyden.dicom import associate, dimse, pdu
from leyden.dicom.dimse import Command
from leyden.dicom.machine import AssociationState, MachineEvent, step
from leyden.dicom.negotiate import ACCEPTED, AssociateAccept, AssociateReject, AssociateRequest, outgoing_pdu_bytes
from leyden.dicom.uids import VERIFICATION
from leyden.errors import LocalProtocolError, RemoteProtocolError


class AssociationRequested(msgspec.Struct, frozen=True):
    """Acceptor: answer with accept() or reject()."""

    request: AssociateRequest


class StoreStarted(msgspec.Struct, frozen=True):
    """Acceptor: a C-STORE-RQ whose data set follows, in the transfer syntax `syntax`.

    `sop_class` is the abstract syntax of the presentation context; the command may name another one.
    """

    context_id: int
    syntax: str
    command: Command
    sop_class: str = ""


class Payload(msgspec.Struct):
    """Acceptor: bytes of the data set, valid until the next feed."""

    data: memoryview


class StoreEnded(msgspec.Struct, frozen=True):
    """Acceptor: the data set is complete. Answer with store_answer(), now or later."""

    store: StoreStarted


class EchoAnswered(msgspec.Struct, frozen=True):
    """Acceptor: a C-ECHO-RQ came, and Success is in the output."""


class RequestRefused(msgspec.Struct, frozen=True):
    """A request that is not served came with its data set; the answer is in the output. For the log."""

    status: int
    why: str


class Accepted(msgspec.Struct, frozen=True):
    """Requestor: the association is established."""

    accept: AssociateAccept


class Rejected(msgspec.Struct, frozen=True):
    """Requestor: no association; close the connection."""

    reject: AssociateReject


class Responded(msgspec.Struct, frozen=True):
    """Requestor: the response to store_request() or echo_request()."""

    command: Command


class ReleaseRequested(msgspec.Struct, frozen=True):
    """The peer wants to end the association: answer with release_answer() when nothing is pending."""


class Released(msgspec.Struct, frozen=True):
    """The peer confirmed our release; close the connection."""


class Aborted(msgspec.Struct, frozen=True):
    """The peer aborted (PS3.8 section 9.3.8); close the connection."""

    source: int
    reason: int

    def __str__(self) -> str:
        return f"aborted by the peer's {'service user' if self.source == 0 else 'provider'}, reason {self.reason}"


Event = (
    AssociationRequested | StoreStarted | Payload | StoreEnded | EchoAnswered | RequestRefused
    | Accepted | Rejected | Responded | ReleaseRequested | Released | Aborted
)  # fmt: skip

_PDU_EVENTS = {
    pdu.REQUEST: MachineEvent.REQUEST_PDU,
    pdu.ACCEPT: MachineEvent.ACCEPT_PDU,
    pdu.REJECT: MachineEvent.REJECT_PDU,
    pdu.RELEASE: MachineEvent.RELEASE_PDU,
    pdu.RELEASE_REPLY: MachineEvent.RELEASE_REPLY_PDU,
    pdu.ABORT: MachineEvent.ABORT_PDU,
}


class Connection:
    """One end of an association over an open transport connection. Made by acceptor() or requestor()."""

    def __init__(self, state: AssociationState, max_pdu_bytes: int) -> None:
        self.state = state
        self.max_outgoing_pdu_bytes = 0  # set by negotiation
        self._reader = pdu.Reader(max_pdu_bytes)
        self._output: list[bytes | memoryview] = []
        self._request: AssociateRequest | None = None
        self._syntaxes: dict[int, str] = {}  # accepted context id -> transfer syntax
        self._classes: dict[int, str] = {}  # proposed context id -> abstract syntax
        self._command = bytearray()
        self._command_context_id = 0
        # Of the message whose data set is arriving: a C-STORE that is served, or the refusal to send at its end.
        self._store: StoreStarted | None = None
        self._refusal: tuple[Command, int, str] | None = None

    @classmethod
    def acceptor(cls, max_pdu_bytes: int) -> "Connection":
        """Waits for an A-ASSOCIATE-RQ. A P-DATA PDU longer than `max_pdu_bytes` is a protocol error."""
        return cls(AssociationState.AWAITING_REQUEST, max_pdu_bytes)

    @classmethod
    def requestor(cls, request: AssociateRequest) -> "Connection":
        """Has the A-ASSOCIATE-RQ in its output already."""
        connection = cls(AssociationState.AWAITING_ANSWER, request.max_pdu_bytes)
        connection._request = request
        connection._output.append(associate.encode_request(request))
        return connection

    @property
    def is_acceptor(self) -> bool:
        return self._request is None

    @property
    def is_over(self) -> bool:
        """Whether nothing more can be sent or received: only the transport connection has to be closed."""
        return self.state in (AssociationState.AWAITING_CLOSE, AssociationState.IDLE)

    def __repr__(self) -> str:
        return f"<Connection {self.state.name.lower()} {len(self._syntaxes)} contexts>"

    # What comes in

    def feed(self, data: memoryview) -> Iterator[Event]:
        """Parse bytes from the peer and yield events. Consume them all before the buffer is reused.

        Raises RemoteProtocolError; the A-ABORT is in the output then, and later bytes are ignored.
        """
        try:
            for part in () if self.is_over else self._reader.feed(data):
                established = self.state is AssociationState.ESTABLISHED
                if not established and self.is_over:
                    return
                if isinstance(part, pdu.Whole):
                    self._received(_PDU_EVENTS[part.type])
                    event = self._whole(part)
                    if event is not None:
                        yield event
                    continue
                if not established:  # if it is, DT-2 does not change the state
                    self._received(MachineEvent.DATA_PDU)
                if self._store is None or part.command or part.context_id != self._command_context_id:
                    yield from self._fragment(part)
                    continue
                if part.data:
                    yield Payload(part.data)
                if part.ends:
                    store, self._store = self._store, None
                    yield StoreEnded(store)
        except RemoteProtocolError as error:
            if self.is_over:
                return  # what follows an abort, a rejection or a release does not count, and may be garbage
            self.state = step(self.state, MachineEvent.INVALID_PDU).next[0]
            self._output.append(pdu.abort_pdu(2, error.reason))
            raise

    def _received(self, event: MachineEvent) -> None:
        transition = step(self.state, event)
        if transition.action in ("AA-1", "AA-8"):
            raise RemoteProtocolError(f"{event.name} in state {self.state.name}", pdu.UNEXPECTED_PDU)
        collided_acceptor = transition.action == "AR-8" and self.is_acceptor
        self.state = transition.next[1 if collided_acceptor else 0]

    def _whole(self, part: pdu.Whole) -> Event | None:
        match part.type:
            case pdu.REQUEST:
                request = associate.decode_request(part.data)
                self.max_outgoing_pdu_bytes = outgoing_pdu_bytes(request.max_pdu_bytes)
                self._classes = {context_id: context.abstract for context_id, context in request.by_id().items()}
                return AssociationRequested(request)
            case pdu.ACCEPT:
                accept = associate.decode_accept(part.data)
                self.max_outgoing_pdu_bytes = outgoing_pdu_bytes(accept.max_pdu_bytes)
                self._established(accept)
                return Accepted(accept)
            case pdu.REJECT:
                return Rejected(pdu.decode_reject(part.data))
            case pdu.RELEASE:
                return ReleaseRequested()
            case pdu.RELEASE_REPLY:
                return (
                    Released() if self.state is AssociationState.IDLE else None
                )  # AR-10: ours is still to be answered
            case _:
                return Aborted(*pdu.decode_abort(part.data))

    def _established(self, accept: AssociateAccept) -> None:
        self._syntaxes = {context.id: context.syntax for context in accept.contexts if context.result == ACCEPTED}

    def _fragment(self, part: pdu.Fragment) -> Iterator[Event]:
        in_data_set = self._store is not None or self._refusal is not None
        if in_data_set or self._command:
            if part.context_id != self._command_context_id or part.command is in_data_set:
                raise RemoteProtocolError("fragments of two messages are mixed", pdu.INVALID_PARAMETER)
        elif not part.command:
            if not self.is_acceptor:
                return  # the data set of a response; no request of ours has one
            raise RemoteProtocolError("a data set without a command", pdu.INVALID_PARAMETER)
        elif part.context_id not in self._syntaxes:
            raise RemoteProtocolError(
                f"data on context {part.context_id}, which is not accepted", pdu.INVALID_PARAMETER
            )
        if part.command:
            yield from self._command_fragment(part)
            return
        if part.ends and self._refusal is not None:
            (command, status, why), self._refusal = self._refusal, None
            yield from self._refuse(command, status, why)

    def _command_fragment(self, part: pdu.Fragment) -> Iterator[Event]:
        self._command_context_id = part.context_id
        self._command += part.data
        if len(self._command) > dimse.COMMAND_LIMIT_BYTES:
            raise RemoteProtocolError("a command set that is too long", pdu.INVALID_PARAMETER)
        if part.ends:
            command = dimse.decode(bytes(self._command))
            self._command.clear()
            yield from self._message(command)

    def _message(self, command: Command) -> Iterator[Event]:
        """Act on a whole command set."""
        if command.is_response and not self.is_acceptor:
            yield Responded(command)
        elif command.is_response:
            raise RemoteProtocolError(f"a response 0x{command.field:04X} without a request", pdu.UNEXPECTED_PARAMETER)
        elif command.field == dimse.CANCEL:
            return
        elif command.field == dimse.ECHO_REQUEST and self.is_acceptor:
            self._respond(self._command_context_id, command, dimse.SUCCESS)
            yield EchoAnswered()
        else:
            store = command.field == dimse.STORE_REQUEST and self.is_acceptor
            unserved = dimse.UNRECOGNIZED_OPERATION, f"DIMSE command 0x{command.field:04X}"
            fault = dimse.fault(command) if store else unserved
            if fault is None:
                context_id = self._command_context_id
                self._store = StoreStarted(
                    context_id, self._syntaxes[context_id], command, self._classes.get(context_id, "")
                )
                yield self._store
            elif command.has_data_set:
                self._refusal = (command, *fault)
            else:
                yield from self._refuse(command, *fault)

    def _refuse(self, command: Command, status: int, why: str) -> Iterator[Event]:
        self._respond(self._command_context_id, command, status, why)
        yield RequestRefused(status, why)

    # What goes out

    def output(self) -> bytes:
        """The bytes to send; each is given once."""
        data = b"".join(self._output)
        self._output.clear()
        return data

    def accept(self, accept: AssociateAccept) -> None:
        """Answer an AssociationRequested."""
        self._sends(MachineEvent.ACCEPT)
        self._established(accept)
        self._output.append(associate.encode_accept(accept))

    def reject(self, reject: AssociateReject) -> None:
        """Answer an AssociationRequested; wait for the peer to close, then close."""
        self._sends(MachineEvent.REJECT)
        self._output.append(pdu.encode_reject(reject))

    def store_answer(self, store: StoreStarted, status: int, comment: str = "") -> None:
        """C-STORE-RSP."""
        self._respond(store.context_id, store.command, status, comment)

    def _respond(self, context_id: int, request: Command, status: int, comment: str = "") -> None:
        self._send_command(context_id, dimse.encode_response(request, status, comment))

    def store_request(self, context_id: int, message_id: int, sop_class: str, sop_instance: str, priority: int) -> None:
        """C-STORE-RQ; its data set goes by data_pdus()."""
        self._send_command(context_id, dimse.encode_store_request(message_id, sop_class, sop_instance, priority))

    def echo_request(self, context_id: int, message_id: int) -> None:
        """C-ECHO-RQ."""
        self._send_command(context_id, dimse.encode_echo_request(message_id, VERIFICATION))

    def _send_command(self, context_id: int, command_set: bytes) -> None:
        self._output += self._pdus(context_id, memoryview(command_set), command=True, ends=True)

    @property
    def fragment_bytes(self) -> int:
        """How many bytes of a message fit into one PDU to the peer, after negotiation."""
        return pdu.fragment_bytes(self.max_outgoing_pdu_bytes)

    def data_pdus(self, context_id: int, payload: memoryview, *, ends: bool) -> list[bytes | memoryview]:
        """A part of a data set as PDU headers and views of `payload`; send them in this order, after output()."""
        return self._pdus(context_id, payload, command=False, ends=ends)

    def _pdus(self, context_id: int, payload: memoryview, *, command: bool, ends: bool) -> list[bytes | memoryview]:
        if context_id not in self._syntaxes:
            raise LocalProtocolError(f"presentation context {context_id} was not accepted")
        self._sends(MachineEvent.DATA)
        return pdu.data_pdus(context_id, payload, self.max_outgoing_pdu_bytes, command=command, ends=ends)

    def release(self) -> None:
        """Ask the peer to end the association; wait for Released."""
        self._sends(MachineEvent.RELEASE)
        self._output.append(pdu.RELEASE_PDU)

    def release_answer(self) -> None:
        """Answer a ReleaseRequested; wait for the peer to close, then close."""
        self._sends(MachineEvent.RELEASE_REPLY)
        self._output.append(pdu.RELEASE_REPLY_PDU)

    def abort(self) -> None:
        """A-ABORT by the service user, if there is an association to abort."""
        if self.state not in (
            AssociationState.IDLE,
            AssociationState.AWAITING_REQUEST,
            AssociationState.AWAITING_CLOSE,
        ):
            self._sends(MachineEvent.ABORT)
            self._output.append(pdu.abort_pdu(0, 0))

    def _sends(self, event: MachineEvent) -> None:
        self.state = step(self.state, event).next[0]
