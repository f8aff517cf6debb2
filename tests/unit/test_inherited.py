"""What a role inherits comes by name, and what is missing or unknown is said."""

import subprocess
import sys

import pytest

from leyden.inherited import DESCRIPTORS, descriptors_as_text, descriptors_from


@pytest.mark.parametrize("role", DESCRIPTORS)
def test_a_role_gets_the_descriptors_that_it_was_given(role: str) -> None:
    given = {name: number for number, name in enumerate(DESCRIPTORS[role], 3)}
    assert descriptors_from(role, descriptors_as_text(given)) == given


@pytest.mark.parametrize(
    ("role", "text", "what"),
    [
        ("receiver", "settings=3,lifeline=4,listen=6", "a receiver needs more descriptors: heartbeats, board"),
        ("worker", "arena=3", "a worker needs more descriptors: settings, lifeline, heartbeats, board"),
        ("sender", "settings=3,lifeline=4,heartbeats=5,listen=6", "a sender has no descriptor 'listen'"),
        ("planner", "", "a planner has no descriptor ''"),
        ("planner", "settings=3,settings=4", "settings is given twice"),
        ("planner", "settings=-1", "settings is not a number: '-1'"),
        ("planner", "settings", "settings is not a number: ''"),
    ],
)
def test_what_is_wrong_with_the_descriptors_is_said(role: str, text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        descriptors_from(role, text)


def test_a_role_without_its_descriptors_does_not_start() -> None:
    command = [sys.executable, "-m", "leyden", "role", "sender", "0", "--row", "0", "--descriptors", "settings=0"]
    role = subprocess.run(command, capture_output=True, text=True, check=False)
    assert role.returncode == 2
    assert "a sender needs more descriptors: lifeline, heartbeats" in role.stderr
