"""The state table against pynetdicom's independent transcription of PS3.8 table 9-10."""

import pytest
from pynetdicom import fsm

from leyden.dicom.machine import TABLE, AssociationState, MachineEvent, step
from leyden.errors import LocalProtocolError

ALL_CELLS = [(state, event) for state in AssociationState for event in MachineEvent]


@pytest.mark.parametrize("event", list(MachineEvent), ids=lambda event: event.name)
def test_each_row_is_the_one_of_the_standard(event: MachineEvent) -> None:
    ours = {state: TABLE[state, event].action for state in AssociationState if (state, event) in TABLE}
    theirs = {state: fsm.TRANSITION_TABLE.get((f"Evt{event.value}", f"Sta{state.value}")) for state in AssociationState}
    assert ours == {state: action for state, action in theirs.items() if action}


@pytest.mark.parametrize("action", sorted(fsm.ACTIONS))
def test_an_action_leads_where_the_standard_says(action: str) -> None:
    described = fsm.ACTIONS[action][2]
    places = {described} if isinstance(described, str) else set(described)
    found = [transition.next for transition in TABLE.values() if transition.action == action]
    assert found
    assert all({f"Sta{state.value}" for state in states} == places for states in found)


def test_an_empty_cell_is_our_own_mistake() -> None:
    for state, event in ALL_CELLS:
        if (state, event) not in TABLE:
            with pytest.raises(LocalProtocolError):
                step(state, event)


def test_whatever_the_peer_sends_has_an_answer_while_it_may_send() -> None:
    from_the_peer = [event for event in MachineEvent if event.name.endswith("_PDU")] + [MachineEvent.CLOSED]
    for state in set(AssociationState) - {AssociationState.IDLE, AssociationState.CONNECTING}:
        assert all((state, event) in TABLE for event in from_the_peer)
