"""The state machine of the upper layer, PS3.8 section 9.2 (tables 9-1 to 9-10), as data, and a function to look it up.

The text below is table 9-10: a row for each event, a column for each state, and in each cell `action:next state`.
association.py carries out the actions; the transport connection and the timers (AE-1, AE-5, ARTIM) are the link's.
"""

from enum import IntEnum

import msgspec

from leyden.errors import LocalProtocolError


class AssociationState(IntEnum):
    """The states of PS3.8 tables 9-1 to 9-5, with their Sta numbers."""

    IDLE = 1
    AWAITING_REQUEST = 2
    AWAITING_OUR_ANSWER = 3
    CONNECTING = 4
    AWAITING_ANSWER = 5
    ESTABLISHED = 6
    AWAITING_RELEASE = 7
    AWAITING_OUR_RELEASE = 8
    COLLISION_REQUESTOR_AWAITING_OURS = 9
    COLLISION_ACCEPTOR_AWAITING_THEIRS = 10
    COLLISION_REQUESTOR_AWAITING_THEIRS = 11
    COLLISION_ACCEPTOR_AWAITING_OURS = 12
    AWAITING_CLOSE = 13


class MachineEvent(IntEnum):
    """The events of PS3.8 table 9-10, with their Evt numbers. `_PDU`: received from the peer."""

    ASSOCIATE_REQUEST = 1
    CONNECTED = 2
    ACCEPT_PDU = 3
    REJECT_PDU = 4
    CONNECTION_IN = 5
    REQUEST_PDU = 6
    ACCEPT = 7
    REJECT = 8
    DATA = 9
    DATA_PDU = 10
    RELEASE = 11
    RELEASE_PDU = 12
    RELEASE_REPLY_PDU = 13
    RELEASE_REPLY = 14
    ABORT = 15
    ABORT_PDU = 16
    CLOSED = 17
    TIMER_EXPIRED = 18
    INVALID_PDU = 19


class Transition(msgspec.Struct, frozen=True):
    """An action (tables 9-6 to 9-9) and the next state; two states if the action decides which."""

    action: str
    next: tuple[AssociationState, ...]


_TABLE_9_10 = """
Evt  Sta1   Sta2      Sta3    Sta4    Sta5    Sta6    Sta7    Sta8     Sta9    Sta10    Sta11   Sta12   Sta13
1    AE-1:4 -         -       -       -       -       -       -        -       -        -       -       -
2    -      -         -       AE-2:5  -       -       -       -        -       -        -       -       -
3    -      AA-1:13   AA-8:13 -       AE-3:6  AA-8:13 AA-8:13 AA-8:13  AA-8:13 AA-8:13  AA-8:13 AA-8:13 AA-6:13
4    -      AA-1:13   AA-8:13 -       AE-4:1  AA-8:13 AA-8:13 AA-8:13  AA-8:13 AA-8:13  AA-8:13 AA-8:13 AA-6:13
5    AE-5:2 -         -       -       -       -       -       -        -       -        -       -       -
6    -      AE-6:3|13 AA-8:13 -       AA-8:13 AA-8:13 AA-8:13 AA-8:13  AA-8:13 AA-8:13  AA-8:13 AA-8:13 AA-7:13
7    -      -         AE-7:6  -       -       -       -       -        -       -        -       -       -
8    -      -         AE-8:13 -       -       -       -       -        -       -        -       -       -
9    -      -         -       -       -       DT-1:6  -       AR-7:8   -       -        -       -       -
10   -      AA-1:13   AA-8:13 -       AA-8:13 DT-2:6  AR-6:7  AA-8:13  AA-8:13 AA-8:13  AA-8:13 AA-8:13 AA-6:13
11   -      -         -       -       -       AR-1:7  -       -        -       -        -       -       -
12   -      AA-1:13   AA-8:13 -       AA-8:13 AR-2:8  AR-8:9|10 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-8:13 AA-6:13
13   -      AA-1:13   AA-8:13 -       AA-8:13 AA-8:13 AR-3:1  AA-8:13  AA-8:13 AR-10:12 AR-3:1  AA-8:13 AA-6:13
14   -      -         -       -       -       -       -       AR-4:13  AR-9:11 -        -       AR-4:13 -
15   -      -         AA-1:13 AA-2:1  AA-1:13 AA-1:13 AA-1:13 AA-1:13  AA-1:13 AA-1:13  AA-1:13 AA-1:13 -
16   -      AA-2:1    AA-3:1  -       AA-3:1  AA-3:1  AA-3:1  AA-3:1   AA-3:1  AA-3:1   AA-3:1  AA-3:1  AA-2:1
17   -      AA-5:1    AA-4:1  AA-4:1  AA-4:1  AA-4:1  AA-4:1  AA-4:1   AA-4:1  AA-4:1   AA-4:1  AA-4:1  AR-5:1
18   -      AA-2:1    -       -       -       -       -       -        -       -        -       -       AA-2:1
19   -      AA-1:13   AA-8:13 -       AA-8:13 AA-8:13 AA-8:13 AA-8:13  AA-8:13 AA-8:13  AA-8:13 AA-8:13 AA-7:13
"""


def _read(text: str) -> dict[tuple[AssociationState, MachineEvent], Transition]:
    table = {}
    for row in text.strip().splitlines()[1:]:
        number, *cells = row.split()
        for column, cell in enumerate(cells, start=1):
            if cell != "-":
                action, _, places = cell.partition(":")
                states = tuple(AssociationState(int(place)) for place in places.split("|"))
                table[AssociationState(column), MachineEvent(int(number))] = Transition(action, states)
    return table


TABLE = _read(_TABLE_9_10)


def step(state: AssociationState, event: MachineEvent) -> Transition:
    """The cell of table 9-10. An empty one is our own mistake, not the peer's: LocalProtocolError."""
    try:
        return TABLE[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event.name} is not possible in state {state.name}") from None
