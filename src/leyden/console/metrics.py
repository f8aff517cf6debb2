"""What Prometheus is told: counts from the journal, live numbers from the board, and what stands in the spool.

Every set of labels is bounded. AE titles that call us come from outside: the first SOURCES_MAX are known by name, the
rest is "other", as is a destination that no configuration names and a transfer syntax that is not in the standard.
Deliberately absent: patient data, UIDs of instances, receipt ids, and texts of peers.
"""

import os
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from leyden import __version__, board, shares
from leyden.board import Cell
from leyden.config.settings import Settings
from leyden.console.forecast import Forecast
from leyden.dicom.uids import SYNTAXES, syntax_name
from leyden.journal.events import (
    Attempt,
    Deferred,
    Delivered,
    Dropped,
    Duplicate,
    Expired,
    Failed,
    Planned,
    Received,
    Rejected,
    Remade,
    Retried,
    Transformed,
    TurnedAway,
)
from leyden.journal.tail import Told
from leyden.net.certificates import ending
from leyden.operate import reading
from leyden.operate.counted import Counted
from leyden.operate.reading import Result
from leyden.operate.vital import Vital, vital
from leyden.spool.stage import BY_DESTINATION, Stage

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_PLAIN_0_0_4
SOURCES_MAX = 100
OTHER = "other"
LATENCY_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
KINDS = ("lost", "refused for now", "syntax refused", "rejected", "given up", "failed", "expired")
_NS = 1e9
_Values = Iterable[tuple[tuple[str, ...], float]]
_SYNTAX_NAMES = frozenset(syntax.name for syntax in SYNTAXES.values())

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The metrics of the service on the spool under `root`. Any thread may call any method."""

    def __init__(self, root: Path, settings: Settings, counted: Counted | None = None) -> None:
        self._destinations = {each.ae_title for each in settings.destinations}  # ever since this process began
        self._registry = CollectorRegistry()
        self._told = _Told(self._registry, self._destinations)
        self._seen = _Seen(root, settings, self._destinations, counted or Counted(root))
        self._registry.register(self._seen)

    def go_by(self, settings: Settings) -> None:
        """These are the settings from now on."""
        self._destinations.update(each.ae_title for each in settings.destinations)
        self._seen.settings = settings

    def take(self, told: Sequence[Told]) -> None:
        """Count what was told. About 4 us an event."""
        for _, event in told:
            self._told.count(event)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it (CONTENT_TYPE). It may take as long as a walk over the spool."""
        return prometheus_client.generate_latest(self._registry)


class _Told:
    """What is counted from the journal, since this process began to read it."""

    def __init__(self, registry: CollectorRegistry, destinations: Set[str]) -> None:
        self._destinations = destinations
        self._sources: set[str] = set()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"leyden_{name}", text, labels, registry=registry)

        self._received = counter("received_objects", "Objects kept and answered.", "source", "syntax")
        self._received_bytes = counter("received_bytes", "Bytes of their data sets.", "source", "syntax")
        self._duplicates = counter(
            "duplicate_objects", "Objects not kept, as their instance was kept before.", "source"
        )
        self._planned = counter("planned_deliveries", "Deliveries that the rules asked for.", "destination")
        self._dropped = counter("dropped_objects", "Objects whose trip was ended by a rule.")
        self._made = counter("made_objects", "Objects that workers have made.", "syntax")
        self._came_bytes = counter("made_from_bytes", "Bytes of the files that workers have made others of.", "syntax")
        self._made_bytes = counter("made_bytes", "Bytes of the files that workers have made.", "syntax")
        self._delivered = counter("delivered_objects", "Objects delivered.", "destination", "syntax")
        self._delivered_bytes = counter("delivered_bytes", "Bytes of the data sets delivered.", "destination", "syntax")
        self._warnings = counter("delivery_warnings", "Deliveries answered with a warning.", "destination")
        refused = "Associations, TLS sessions and requests to the console that were refused, by reason."
        self._turned_away = counter("turned_away", refused, "why")
        self._errors = counter("delivery_errors", "What went wrong with objects, by kind.", "destination", "kind")
        self._retries = counter("retries", "Objects put back, to be sent again.", "destination")
        self._latency = Histogram(
            "leyden_delivery_latency_seconds", "From the first fragment received to the delivery.", ["destination"],
            buckets=LATENCY_S, registry=registry,
        )  # fmt: skip

    def count(self, event: object) -> None:
        match event:
            case Received():
                labels = self._source(event.calling), _syntax(syntax_name(event.syntax))
                self._received.labels(*labels).inc()
                self._received_bytes.labels(*labels).inc(event.bytes)
            case Planned():
                for delivery in event.deliveries:
                    self._planned.labels(self._destination(delivery.destination)).inc()
            case Transformed():
                syntax = _syntax(event.made)
                self._made.labels(syntax).inc()
                self._came_bytes.labels(syntax).inc(event.came_bytes)
                self._made_bytes.labels(syntax).inc(event.made_bytes)
            case Delivered():
                destination, syntax = self._destination(event.destination), _syntax(syntax_name(event.syntax))
                self._delivered.labels(destination, syntax).inc()
                self._delivered_bytes.labels(destination, syntax).inc(event.bytes)
                if event.status:
                    self._warnings.labels(destination).inc()
                if event.receipt[:16].isdecimal():
                    self._latency.labels(destination).observe(max(0.0, event.at_s - int(event.receipt[:16]) / 1e6))
            case TurnedAway():
                self._turned_away.labels(event.why).inc(event.count)
            case Duplicate():
                self._duplicates.labels(self._source(event.calling)).inc()
            case Dropped():
                self._dropped.inc()
            case Attempt():
                self._error(event.destination, "lost")
                self._retries.labels(self._destination(event.destination)).inc()
            case Deferred():
                if not event.lost:  # else the attempt was told before it
                    self._error(event.destination, "refused for now")
                    self._retries.labels(self._destination(event.destination)).inc()
            case Remade():
                self._error(event.destination, "syntax refused")
            case Rejected():
                self._error(event.destination, "given up" if event.last_words else "rejected")
            case Failed():
                self._error(event.destination, "failed")
            case Expired():
                self._error(event.destination, "expired")
            case Retried():
                self._retries.labels(self._destination(event.destination)).inc()
            case _:
                pass

    def _error(self, destination: str, kind: str) -> None:
        self._errors.labels(self._destination(destination), kind).inc()

    def _destination(self, title: str) -> str:
        return title if title in self._destinations or not title else OTHER

    def _source(self, title: str) -> str:
        if title not in self._sources:
            if len(self._sources) >= SOURCES_MAX:
                return OTHER
            self._sources.add(title)
        return title


def _syntax(name: str) -> str:
    return name if name in _SYNTAX_NAMES else OTHER


class _Seen(Collector):
    """What is looked at when Prometheus asks: the board, the spool and its volume, the configuration's state."""

    def __init__(self, root: Path, settings: Settings, destinations: Set[str], counted: Counted) -> None:
        self.settings = settings
        self._destinations = destinations
        self._root = root
        self._counted = counted
        self._forecast = Forecast()

    def describe(self) -> Iterator[Metric]:
        """Nothing: so that nothing is looked at when this is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        yield _gauge("build_info", "1, with the version.", [((__version__,), 1.0)], "version")
        yield from _of_board(vital(self._root))
        yield _gauge("arena_size_bytes", "Size of the arena.", [((), self.settings.arena_mib << 20)])
        yield from self._of_spool()
        yield from self._of_volume()
        yield from self._of_configuration()

    def _of_spool(self) -> Iterator[Metric]:
        try:
            counts, at_s = self._counted.now()
        except OSError:
            return
        known = {*self._destinations, ""}
        objects = {("", str(stage)): 0 for stage in (Stage.EMBRYO, Stage.NEW, Stage.FAILED, Stage.EXPIRED)}
        objects |= {(title, str(stage)): 0 for title in self._destinations for stage in BY_DESTINATION}
        oldest: dict[tuple[str, str], float] = {}
        for count in counts:
            labels = count.destination if count.destination in known else OTHER, str(count.stage)
            objects[labels] = objects.get(labels, 0) + count.files
            if count.oldest_received_s is not None:
                age_s = max(0.0, time.time() - count.oldest_received_s)
                oldest[labels] = max(age_s, oldest.get(labels, 0.0))
        text = "Objects that stand in a stage of the spool."
        yield _gauge("queue_objects", text, objects.items(), "destination", "stage")
        text = "Time since the oldest of them was received."
        yield _gauge("queue_oldest_age_seconds", text, oldest.items(), "destination", "stage")
        yield _gauge("queue_counted_timestamp_seconds", "When the objects in the spool were counted.", [((), at_s)])

    def _of_volume(self) -> Iterator[Metric]:
        try:
            volume = os.statvfs(self._root)
        except OSError:
            return
        size, free = volume.f_blocks * volume.f_frsize, volume.f_bavail * volume.f_frsize
        refused_below = size * self.settings.receiver.min_free_percent / 100
        self._forecast.see(time.monotonic(), free)
        yield _gauge("spool_size_bytes", "Size of the spool's volume.", [((), size)])
        yield _gauge("spool_free_bytes", "What is free on it for the service.", [((), free)])
        yield _gauge(
            "spool_refused_below_bytes", "With less than that free, objects are refused.", [((), refused_below)]
        )
        yield from self._of_shares()
        lasts_s = self._forecast.lasts_s(free - refused_below)
        yield _gauge(
            "spool_full_in_seconds",
            "Until objects are refused, as the volume fills now; +Inf = it does not.",
            [((), lasts_s)],
        )

    def _of_shares(self) -> Iterator[Metric]:
        """What callers and destinations take of the disk, while anybody has a share of it."""
        walk = shares.read(self._root)
        if walk is None or not self.settings.receiver.shares.enabled or time.monotonic() > walk.due_s + shares.LATE_S:
            return
        found = [("caller", share) for share in walk.callers[:SOURCES_MAX]]
        found += [("destination", share) for share in walk.destinations if share.title in self._destinations]
        text = "What the spool's disk holds for a caller or a destination."
        yield _gauge("spool_taken_bytes", text, [((of, each.title), each.bytes) for of, each in found], "of", "title")
        text = "What it may take; objects are refused beyond."
        limits = [((of, each.title), each.share_bytes) for of, each in found if each.share_bytes]
        yield _gauge("spool_share_bytes", text, limits, "of", "title")

    def _of_configuration(self) -> Iterator[Metric]:
        try:
            said = reading.read(self._root)
        except OSError:
            said = None
        if said is not None:
            good = said.result not in (Result.WRONG, Result.FAILED)
            yield _gauge("config_generation", "Generation of the configuration in force.", [((), said.generation)])
            yield _gauge(
                "config_last_reload_successful",
                "0 = it was refused, and the generation before is in force.",
                [((), good)],
            )
            yield _gauge(
                "config_last_reload_timestamp_seconds", "When the configuration was last read.", [((), said.read_s)]
            )
        if files := self.settings.certificates:
            yield _gauge(
                "certificate_expiry_timestamp_seconds",
                "When the certificate ends; 0 = it can't be read.",
                [((of,), ending(of, path, 0).ends_s) for of, path in files.items()],
                "of",
            )


def _of_board(now: Vital | None) -> Iterator[Metric]:
    """The service's live numbers; only that it is down, if it is."""
    yield _gauge("up", "Whether the service runs.", [((), now is not None)])
    if now is None:
        return
    roles = [((row.name,), row) for row in now.rows]
    yield _gauge(
        "role_up", "Whether the process of this role runs.", [(at, row[Cell.PID] != 0) for at, row in roles], "role"
    )
    text = "When that process was started."
    yield _gauge("role_start_time_seconds", text, [(at, row.since_s) for at, row in roles], "role")
    text = "How often that process ended and was started again."
    yield _counter("role_restarts", text, [(at, row[Cell.RESTARTS]) for at, row in roles], "role")
    looks = [(at, row) for at, row in roles if row[Cell.LOOPS]]
    yield _counter(
        "event_loop_lag_seconds", "By how much the event loop was late, in all.",
        [(at, row[Cell.LOOP_LAG_NS] / _NS) for at, row in looks], "role",
    )  # fmt: skip
    yield _counter(
        "event_loop_looks", "How often it was looked at.", [(at, row[Cell.LOOPS]) for at, row in looks], "role"
    )

    yield _gauge(
        "associations", "Open associations.",
        [(("inbound",), now[Cell.ASSOCIATIONS]), (("outbound",), now[Cell.OUTBOUND])], "direction",
    )  # fmt: skip
    yield _counter(
        "association_attempts", "Associations that were asked for.",
        [
            (("inbound", "accepted"), now[Cell.ACCEPTED]), (("inbound", "rejected"), now[Cell.TURNED_AWAY]),
            (("outbound", "accepted"), now[Cell.OPENED]), (("outbound", "failed"), now[Cell.NOT_OPENED]),
        ],
        "direction", "result",
    )  # fmt: skip
    yield _counter("tls_associations", "Of the inbound associations: over TLS.", [((), now[Cell.TLS_ACCEPTED])])
    yield _counter("tls_failures", "Callers with whom there was no TLS connection.", [((), now[Cell.TLS_FAILED])])
    text = "1 = certificate, key, authorities or revocation lists of tls can't be taken as they are now."
    yield _gauge("tls_files_stale", text, [((), now[Cell.TLS_STALE] > 0)])
    text = "Inbound associations that did not end with a release."
    yield _counter("associations_broken", text, [((), now[Cell.BROKEN])])
    yield _counter(
        "reception_errors", "Objects that were not kept.",
        [(("refused",), now[Cell.REFUSED]), (("cut off",), now[Cell.CUT_OFF])], "kind",
    )  # fmt: skip
    yield _gauge("answers_held", "Answers held back while much waits to be planned.", [((), now[Cell.HELD])])
    yield _responses(now)

    workers = now.of("worker")
    busy = [((row.name,), row[Cell.BUSY_NS] / _NS) for row in workers]
    yield _counter("worker_busy_seconds", "Time in which workers had an object or a frame in hand.", busy, "role")
    yield _gauge("arena_leased_bytes", "Bytes of the arena that workers use.", [((), now[Cell.ARENA_BYTES])])
    sums = {
        (name,): [sum(words) for words in zip(*(row.codecs[at] for row in workers), strict=True)]
        for at, name in enumerate(board.CODECS if workers else ())
    }
    used = {at: words for at, words in sums.items() if words[2]}
    pixels = [(at, words[0]) for at, words in used.items()]
    yield _counter("codec_pixel_bytes", "Bytes of the pixels that were encoded.", pixels, "syntax")
    made = [(at, words[1]) for at, words in used.items()]
    yield _counter("codec_encoded_bytes", "Bytes of the codestreams made of them.", made, "syntax")
    took = [(at, words[2] / _NS) for at, words in used.items()]
    yield _counter("codec_seconds", "How long that took, of all workers together.", took, "syntax")


def _responses(now: Vital) -> HistogramMetricFamily:
    receivers = now.of("receiver")
    bounds = [*map(str, board.RESPONSE_S), "+Inf"]
    buckets, below = [], 0
    for at, bound in enumerate(bounds):
        below += sum(row.responses[at] for row in receivers)
        buckets.append((bound, below))
    family = HistogramMetricFamily("leyden_response_seconds", "From the last fragment of an object to its answer.")
    family.add_metric([], buckets, sum(row[Cell.RESPONSE_NS] for row in receivers) / _NS)
    return family


def _gauge(name: str, text: str, values: _Values, *labels: str) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"leyden_{name}", text, labels=labels)
    for at, value in values:
        family.add_metric(at, float(value))
    return family


def _counter(name: str, text: str, values: _Values, *labels: str) -> CounterMetricFamily:
    family = CounterMetricFamily(f"leyden_{name}", text, labels=labels)
    for at, value in values:
        family.add_metric(at, float(value))
    return family
