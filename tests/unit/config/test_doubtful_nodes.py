"""Nodes that are legal and most probably wrong are warned of with their line; their innocent twins are not."""

import socket
from pathlib import Path

import pytest

from leyden.config.doubtful_nodes import longest_closed_minutes
from leyden.config.load import load
from leyden.errors import ConfigError

A, B = "- AeTitle: A\n", "- AeTitle: B\n"
HERE = socket.gethostname()


def warnings(folder: Path, nodes: str, config: str = "") -> tuple[str, ...]:
    (folder / "config.yml").write_text(config)
    (folder / "nodes.yml").write_text(nodes)
    return load(folder, {}, {})[1]


@pytest.mark.parametrize(
    ("nodes", "config", "told"),
    [
        (A + "  Aliases: [X, A]\n", "", "2: Aliases: A is not needed: it is the AeTitle"),
        (A + "  Aliases: [X, X]\n", "", "2: Aliases: X is given twice"),
        (A + "  Aliases: DCP_A\n", "", "2: Aliases: DCP_A is not needed: it is A with the aeTitlePrefix (config.yml)"),
        (
            A + "- AeTitle: a\n",
            "",
            "2: AeTitle: a differs only in case from A of the node A; each is",
        ),
        (A + "  Aliases: Pacs\n" + B + "  Aliases: PACS\n", "", "4: Aliases: PACS differs only in case from Pacs of"),
        (
            A + "  HostName: pacs\n" + B + "  HostName: PACS\n",
            "",
            "4: HostName: PACS:104 is also the address of A (",
        ),
        (A + f"  HostName: {HERE}\n  Port: 1040\n", "", f"2: HostName: {HERE}:1040 seems to be Leyden itself"),
        (A + "  ProcessSchedule: 08:00 - 08:00\n", "", "2: ProcessSchedule: 08:00 - 08:00 is the whole day"),
        (
            A + "  ProcessSchedule: 19:00 - 20:00\n",
            "expiryThreshold: 3600\n",
            "2: ProcessSchedule: is closed for 23 h at a time: what waits so long has expired (expiryThreshold,",
        ),
        (A, "processSchedule: 19:00 - 20:00\nexpiryThreshold: 3600\n", "1: ProcessSchedule: is closed for 23 h at a"),
        (A + "  ProcessDelay: 10000\n", "expiryThreshold: 10\n", "2: ProcessDelay: never ends: what waits so long has"),
        (A + "  ProcessNetworks: 203.0.113.0\n", "", "2: ProcessNetworks: this machine has no address in any of them"),
        (A + "- AeTitle: NO_ROOM_LEFT_\n", "", "2: aeTitlePrefix: DCP_NO_ROOM_LEFT_ has more than 16"),
    ],
)
def test_a_node_that_does_not_do_what_it_seems_to(tmp_path: Path, nodes: str, config: str, told: str) -> None:
    (warning,) = warnings(tmp_path, nodes, config)
    assert warning.startswith(f"nodes.yml:{told}")


@pytest.mark.parametrize(
    ("nodes", "config"),
    [
        (A + "  Aliases: [X, Y, DCP_B]\n", ""),
        (A + "  Aliases: DCP_A\n", "aeTitlePrefix: ''\n"),
        (A + "  HostName: pacs\n" + B + "  HostName: pacs\n  Port: 105\n", ""),
        (A + "  HostName: pacs\n" + B + "  HostName: pacs2\n", ""),
        (A + f"  HostName: {HERE}\n  Port: 1041\n", ""),
        (A + f"  HostName: {HERE}\n  Port: 1040\n", "scpPort: 1041\n"),
        (A + "  ProcessSchedule: [19:00 - 06:30, 12:00 - 13:00]\n", ""),
        (A + "  ProcessSchedule: 19:00 - 20:00\n", "expiryThreshold: 86400\n"),
        (A + "  ProcessSchedule: 19:00 - 20:00\n", "expiryThreshold: 0\n"),
        (A + "  ProcessDelay: 10000\n", "expiryThreshold: 0\n"),
        (A + "  ProcessDelay: 10000\n", "expiryThreshold: 11\n"),
        (A + "  ProcessNetworks: [203.0.113.0, 127.0.0.0/8]\n", ""),
    ],
)
def test_its_innocent_twin(tmp_path: Path, nodes: str, config: str) -> None:
    assert warnings(tmp_path, nodes, config) == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "0.0.0.0", "::1", "LocalHost"])
def test_a_node_that_is_certainly_ourselves_is_an_error(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="is Leyden itself"):
        warnings(tmp_path, A + f"  HostName: {host}\n  Port: 1040\n")


def test_an_ae_title_of_more_than_16_characters_is_an_error(tmp_path: Path) -> None:
    assert warnings(tmp_path, "- AeTitle: EXACTLY_SIXTEEN_\n", "aeTitlePrefix: ''\n") == ()
    with pytest.raises(ConfigError, match="AeTitle: an AE title has 1 to 16 characters"):
        warnings(tmp_path, "- AeTitle: MORE_THAN_SIXTEEN\n")


@pytest.mark.parametrize(
    ("windows", "minutes"),
    [
        ([], 0),
        ([(0, 1439)], 0),
        ([(480, 480)], 0),
        ([(480, 1079)], 840),
        ([(1320, 360)], 959),
        ([(0, 59), (720, 779)], 660),
    ],
)
def test_the_longest_time_in_which_no_window_is_open(windows: list[tuple[int, int]], minutes: int) -> None:
    assert longest_closed_minutes(windows) == minutes
