"""What `leyden tune` says: as text, and as one document for a program."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from leyden.deliver.destination import Destination
from leyden.tune.history import History
from leyden.tune.machine import Found
from leyden.tune.model import Advice, Situation

REMEDIES = {
    "receiver": "more receivers",
    "planner": "fewer or simpler rules; there is one planner",
    "sender": "nothing by configuration: there is one sender",
    "codec": "more workers, as long as there are cores; more cores; or a syntax that is quicker to make (above)",
    "disk": "a disk that syncs faster",
    "cores": "more cores, or less other work on this machine",
    "line": "a faster line, or a syntax that makes objects smaller",
    "round trip": "more associations (MaxAssociations)",
}

_YEAR_S = 365 * 86400

Age = Callable[[float], str]
"""Seconds in words."""


class Told(msgspec.Struct, frozen=True):
    """All there is to say. `echoes`: by AE title the round trip in seconds, or why there is none. `now`: the keys of
    config.yml as they are set."""

    found: Found
    took_s: float
    history: History
    echoes: Mapping[str, float | str]
    destinations: Sequence[Destination]
    here: Situation
    advice: Advice
    now: Mapping[str, int]


def lines(told: Told, age: Age) -> Iterator[str]:
    """For people."""
    yield from _measured(told)
    yield from _past(told, age)
    yield from _advised(told)
    yield from _expected(told, age)


def _measured(told: Told) -> Iterator[str]:
    found, here = told.found, told.here
    machine = found.machine
    yield f"Measured in {told.took_s:.0f} s: {machine.counted} cores, of which codecs got {machine.cores:.1f}"
    yield f"  {'codec':<22} {'one core':>12} {'all cores':>12}   bytes made of one"
    for name, each in found.codecs.items():
        one, every, ratio = each.one.mb_per_s, each.all.mb_per_s, each.codec.ratio
        yield f"  {name:<22} {one:>7.1f} MB/s {every:>7.1f} MB/s   {ratio:.2f}"
    rates = ", ".join(f"{per_s:.0f} of {size_in_words(size)}" for size, per_s in sorted(found.disk.items()))
    yield f"  disk: durable objects/s: {rates}"
    lone = 1 / machine.lone.of(here.object_bytes)
    size = size_in_words(here.object_bytes)
    yield f"  one association of a modality: at most {lone:.0f} objects/s of {size}"
    spent = ", ".join(f"{role} {1e3 * cost.of(here.object_bytes):.2f}" for role, cost in machine.roles.items())
    yield f"  processor time, ms, of an object of {size}: {spent} (worker: besides the codec)"


def _past(told: Told, age: Age) -> Iterator[str]:
    history, echoes = told.history, told.echoes
    yield ""
    flow, arrivals = history.received, history.arrivals
    if arrivals is None:
        yield "Arrivals: the journal knows of none; --arrival N/s says how many to reckon with"
    else:
        yield f"Arrivals: {flow.objects} objects, {size_in_words(flow.bytes)}, in {age(history.span_s)} of the journal"
        per_minute = f"{arrivals.peak_per_s:.2f} objects/s, {flow.peak_bytes_per_s / 1e6:.2f} MB/s"
        yield f"  busiest minute: {per_minute}; average: {size_in_words(arrivals.average_bytes_per_s * 86400)} a day"
        yield "  sizes: " + ", ".join(f"{count} {name}" for name, count in history.sizes.items())
    for each in told.destinations:
        echo, delivered = echoes.get(each.ae_title), history.deliveries.get(each.ae_title)
        words = []
        if echo is not None:
            words.append(f"C-ECHO: {1e3 * echo:.1f} ms" if isinstance(echo, float) else f"C-ECHO: {echo}")
        if delivered is not None:
            words.append(f"{delivered.flow.objects} delivered")
            words.append(f"{delivered.flow.peak_bytes_per_s / 1e6:.2f} MB/s in its busiest minute")
            if (speed := delivered.line.one_mb_per_s) is not None:
                words.append(f"one association carried {speed:.2f} MB/s")
            if (wait_s := delivered.line.wait_s) is not None:
                words.append(f"and waited {1e3 * wait_s:.1f} ms for each answer")
        unknown = f"nothing is known; --probe {each.ae_title} sends a C-ECHO"
        yield f"{each.ae_title}: {'; '.join(words) or unknown}"


def _advised(told: Told) -> Iterator[str]:
    advice, now = told.advice, told.now
    yield ""
    yield "Advice"
    for key, value in advice.config.items():
        yield f"  {key}: {value}" + (f"   (now {now[key]})" if now[key] != value else "")
    for each in told.destinations:
        value = advice.associations[each.ae_title]
        was = f"   (now {each.max_associations})" if each.max_associations != value else ""
        yield f"  MaxAssociations of {each.ae_title}: {value}{was}"


def _expected(told: Told, age: Age) -> Iterator[str]:
    advice, here = told.advice, told.here
    yield ""
    yield f"Expect, of objects of {size_in_words(here.object_bytes)}"
    yield f"  {'made into':<22} {'objects/s':>10} {'MB/s':>8}   bottleneck"
    for name, each in advice.by_syntax.items():
        yield f"  {name or 'as it came':<22} {each.per_s:>10.1f} {each.mb_per_s:>8.1f}   {each.bottleneck}"
    main = advice.main
    syntax = advice.main_syntax or "as it came"
    yield f"Bottleneck ({syntax}): {main.bottleneck}. More with: {REMEDIES[main.bottleneck]}"
    if advice.peak_per_s is not None:
        times = main.per_s / advice.peak_per_s
        passes = (
            f"passes at once; {times:.1f} times as much would" if advice.enough else f"waits: {times:.2f} of it passes"
        )
        yield f"The busiest minute, {advice.peak_per_s:.2f} objects/s, {passes}"
    for title, lasts_s in advice.lasts_s.items():
        yield f"If {title} is down, the disk lasts {age(lasts_s) if lasts_s < _YEAR_S else 'more than a year'}"


def size_in_words(size_bytes: float) -> str:
    for unit, one in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if size_bytes >= one:
            return f"{size_bytes / one:.3g} {unit}"
    return f"{size_bytes:.0f} bytes"


def document(told: Told) -> dict[str, Any]:
    """For programs: the same, and what it was worked out of."""

    def predicted(each: Any) -> dict[str, Any]:
        return {
            **msgspec.to_builtins(each),
            "objects_per_s": each.per_s,
            "mb_per_s": each.mb_per_s,
            "bottleneck": each.bottleneck,
        }

    arrivals, advice = told.history.arrivals, told.advice
    return {
        "machine": msgspec.to_builtins(told.found.machine),
        "codecs": {
            name: {"one_core_mb_per_s": each.one.mb_per_s, "all_cores_mb_per_s": each.all.mb_per_s}
            for name, each in told.found.codecs.items()
        },
        "disk_objects_per_s": {str(size): per_s for size, per_s in told.found.disk.items()},
        "arrivals": msgspec.to_builtins(arrivals) | {"sizes": told.history.sizes, "span_s": told.history.span_s}
        if arrivals
        else None,
        "round_trips_s": {title: echo for title, echo in told.echoes.items() if isinstance(echo, float)},
        "nodes": [msgspec.to_builtins(node) for node in told.here.nodes],
        "advice": {**advice.config, "maxAssociations": advice.associations},
        "expected": predicted(advice.main) | {"syntax": advice.main_syntax},
        "by_syntax": {name or "as it came": predicted(each) for name, each in advice.by_syntax.items()},
        "by_workers": {str(workers): each.per_s for workers, each in advice.by_workers.items()},
        "peak_per_s": advice.peak_per_s,
        "disk_lasts_s": advice.lasts_s,
    }
