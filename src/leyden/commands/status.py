"""`leyden status`: one screen of how the service does: its processes, its destinations, what waits, and why."""

import argparse
import contextlib
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leyden.commands.options import Commands, add_command, age_in_words, spool_root
from leyden.commands.ordering import in_words

if TYPE_CHECKING:
    from leyden.operate.rates import Flow
    from leyden.operate.reading import Reading
    from leyden.operate.service import Node, Status
    from leyden.spool.control import Order

_EACH_S = 2.0
_NEAR = 0.8  # of its share of the disk: worth a line
_AGAIN = "\x1b[H\x1b[J"  # ECMA-48: to the upper left corner, and erase what is below
_SYNTAXES = 6  # named of those that a destination takes


def add_to(commands: Commands) -> None:
    text = "say on one screen how the service does, how much waits where, since when and why; works without it, too"
    command = add_command(commands, "status", call, text)
    command.add_argument("--json", action="store_true", help="one JSON document instead of text")
    command.add_argument(
        "--watch",
        nargs="?",
        type=float,
        const=_EACH_S,
        metavar="SECONDS",
        help=f"show it again and again, until Ctrl-C (default: each {_EACH_S:.0f} s)",
    )


def call(options: argparse.Namespace) -> int:
    from leyden.operate.service import status
    from leyden.outbound.capability_file import read

    root = spool_root(options)
    on_screen = options.watch is not None and sys.stdout.isatty() and not options.json
    with contextlib.suppress(KeyboardInterrupt) if options.watch is not None else contextlib.nullcontext():
        while True:
            found = status(root, seen=lambda title: read(root, title))
            text = _as_json(found, root) if options.json else "\n".join(_lines(found, root))
            print(_AGAIN + _fitted(text) if on_screen else text, flush=True)
            if options.watch is None:
                break
            time.sleep(max(0.1, options.watch))
    return 0


def _fitted(text: str) -> str:
    """What fits on the terminal. Long lines are wrapped: what matters, such as a process that is down, may end one."""
    columns, rows = shutil.get_terminal_size()
    wrapper = textwrap.TextWrapper(columns, subsequent_indent=" " * 6, break_on_hyphens=False)
    lines = [part for line in text.split("\n") for part in wrapper.wrap(line) or [""]]
    if len(lines) >= rows:
        lines = [*lines[: rows - 2], f"... and {len(lines) - rows + 2} lines more"]
    return "\n".join(lines)


# -- for people


def _lines(found: "Status", root: Path) -> Iterator[str]:
    from leyden.log import escaped

    for line in (*_of_service(found, root), *_of_nodes(found), *_of_the_rest(found)):
        yield escaped(line)  # of texts that peers and operators have given


def _of_service(found: "Status", root: Path) -> Iterator[str]:
    from leyden.operate.waiting import ordered_by

    running = f"running, process {found.pid}" if found.pid else "not running"
    yield f"service: {running}; spool {root}"
    if found.reading is not None:
        yield from _of_reading(found.reading)
    for problem in found.problems:
        yield f"warning: {problem}"
    by_order: dict[Order, list[str]] = {}
    for flag, order in found.flags.items():
        by_order.setdefault(order, []).append(flag)
    for order, flags in by_order.items():
        if words := in_words(flags):
            yield f"paused: {words}, {ordered_by(order)}"
    if found.roles:
        yield "processes: " + ", ".join(
            f"{role.name} {f'({role.pid}, {age_in_words(found.at_s - role.since_s)})' if role.pid else 'DOWN'}"
            + (f" {role.restarts} restart{'' if role.restarts == 1 else 's'}" if role.restarts else "")
            for role in found.roles
        )
    if found.pid:
        yield f"in:  {_flow(found.rates.received)}{_count(found.inbound)}"
        yield f"out: {_flow(found.rates.delivered)}{_count(found.outbound)}"
    if found.disk is not None:
        free, total = found.disk.free_bytes, found.disk.total_bytes
        yield f"disk: {free / 1e9:.1f} GB of {total / 1e9:.1f} GB free ({100 * free / max(1, total):.0f} %)"
    for share in found.shares:
        if share.used >= _NEAR:
            what = "takes" if share.key else "has waiting"
            yield (
                f"{share.title} {what} {share.bytes / 1e9:.1f} GB of the disk, {100 * share.used:.0f} % of its share"
                + (": refused" if share.used >= 1 else "")
            )


def _of_reading(reading: "Reading") -> Iterator[str]:
    from leyden.operate.waiting import moment

    yield f"configuration: generation {reading.generation}, in force since {moment(reading.since_s)}"
    for warning in reading.warnings:
        yield f"warning: {warning}"
    if reading.errors:
        yield f"the reload of {moment(reading.read_s)} was refused:"
    for error in reading.errors:
        yield f"  {error}"


def _flow(flow: "Flow") -> str:
    return f"{_rate_of(flow)} in the last minute"


def _rate_of(flow: "Flow") -> str:
    return f"{flow.objects_per_s:.1f} objects/s, {flow.bytes_per_s / 1e6:.1f} MB/s"


def _count(associations: int | None) -> str:
    return "" if associations is None else f", {_of_associations(associations)} now"


def _of_associations(count: int) -> str:
    return f"{count} association{'' if count == 1 else 's'}"


# the columns and their widths: with the title and the age, they fit on a console of 80 characters
_TITLES = {"waiting": 8, "under way": 10, "deferred": 9, "rejected": 9, "failed": 9, "expired": 9}


def _of_nodes(found: "Status") -> Iterator[str]:
    if not found.nodes:
        return
    yield ""
    yield f"{'destination':<16}" + "".join(f"{title:>{width}}" for title, width in _TITLES.items()) + "  oldest"
    for node in found.nodes:
        numbers = (node.waiting, node.under_way, node.deferred, node.rejected, node.failed, node.expired)
        age = "-" if node.oldest_s is None else age_in_words(max(0.0, found.at_s - node.oldest_s))
        columns = (f"{number:>{width}}" for number, width in zip(numbers, _TITLES.values(), strict=True))
        yield f"{node.title:<16}{''.join(columns)}  {age}"
        yield from (f"    {line}" for line in _more(node, found.at_s))


def _more(node: "Node", now_s: float) -> Iterator[str]:
    from leyden.dicom.uids import syntax_name
    from leyden.operate.waiting import moment, ordered_by

    if not node.served:
        yield "is not a node: what stands here stays"
    if node.why:
        yield node.why
    if node.control.override is not None:
        yield f"ProcessSchedule is overridden {ordered_by(node.control.override)}"
    if node.next_due_s:
        yield f"the first of what is deferred goes at {moment(node.next_due_s)}"
    live = node.live
    if live.last_error and live.last_error not in node.why:
        yield f"last error {age_in_words(max(0.0, now_s - live.last_error_s))} ago: {live.last_error}"
    line = [_of_associations(live.associations)] if live.associations else []
    line += [f"{live.opening} opening"] if live.opening else []
    line += [_rate_of(node.delivered)] if node.delivered.objects_per_s else []
    line += [f"the line carries {live.line_kb_per_s / 1000:.1f} MB/s"] if live.line_kb_per_s else []
    if live.last_delivered_s:
        line.append(f"last delivery {age_in_words(max(0.0, now_s - live.last_delivered_s))} ago")
    if line:
        yield ", ".join(line)
    accepted = Counter(syntax for seen in node.seen for syntax in seen.accepted)
    if accepted:
        syntaxes = [syntax_name(uid) for uid, _ in accepted.most_common()]
        more = f" and {len(syntaxes) - _SYNTAXES} more" if len(syntaxes) > _SYNTAXES else ""
        yield f"takes {', '.join(syntaxes[:_SYNTAXES])}{more}"


def _of_the_rest(found: "Status") -> Iterator[str]:
    """What stands in the spool and is for no destination yet."""
    from leyden.operate.waiting import why_not_planned

    rest = [count for count in found.counts if not count.destination]
    yield ""
    if not found.counts:
        yield "nothing waits"
    for count in rest:
        age = "" if count.oldest_received_s is None else f", the oldest {_age(count.oldest_received_s, found.at_s)}"
        yield f"{count.files} in {count.stage}/{age}"
    if why := why_not_planned(found.flags):
        yield why


def _age(received_s: float, now_s: float) -> str:
    return age_in_words(max(0.0, now_s - received_s))


# -- for programs


def _as_json(found: "Status", root: Path) -> str:
    import msgspec

    return msgspec.json.encode(document(found, root)).decode()


def document(found: "Status", root: Path) -> dict[str, Any]:
    """The status as docs/operate.md describes it. Ages are in seconds, moments in seconds since 1970."""
    served = {node.title: node.served for node in found.nodes}
    return {
        "at_s": found.at_s,
        "pid": found.pid,
        "spool": str(root),
        "configuration": found.reading,
        "folders": [
            {
                "folder": count.stage,
                "destination": count.destination,
                "files": count.files,
                "oldest_s": _age_s(count.oldest_received_s, found.at_s),
                "served": served.get(count.destination, True),
            }
            for count in found.counts
        ],
        "nodes": [_node(node, found.at_s) for node in found.nodes],
        "processes": found.roles,
        "associations": {"inbound": found.inbound, "outbound": found.outbound},
        "received": _rate(found.rates.received),
        "delivered": _rate(found.rates.delivered),
        "paused": found.flags,
        "disk": found.disk,
        "shares": [
            {
                "of": "caller" if share.key else "destination",
                "title": share.title,
                "bytes": round(share.bytes),
                "share_bytes": round(share.share_bytes),
            }
            for share in found.shares
        ],
        "problems": found.problems,
    }


def _node(node: "Node", now_s: float) -> dict[str, Any]:
    return {
        "title": node.title,
        "served": node.served,
        "waiting": node.waiting,
        "under_way": node.under_way,
        "deferred": node.deferred,
        "rejected": node.rejected,
        "failed": node.failed,
        "expired": node.expired,
        "oldest_s": _age_s(node.oldest_s, now_s),
        "why": node.why,
        "pause": node.control.pause,
        "override": node.control.override,
        "next_due_s": node.next_due_s,
        "delivered": _rate(node.delivered),
        "live": node.live,
        "seen": node.seen,
    }


def _rate(flow: "Flow") -> dict[str, float]:
    return {"objects_per_s": round(flow.objects_per_s, 3), "bytes_per_s": round(flow.bytes_per_s, 1)}


def _age_s(received_s: float | None, now_s: float) -> float | None:
    return None if received_s is None else max(0.0, round(now_s - received_s, 1))
