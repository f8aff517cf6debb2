"""How much a machine can take, from what was measured on it: rates, the bottleneck by name, and the keys to set. Pure.

Each part of the trip is a bound: a stage that takes d seconds for an object passes at most 1 / d of them, or n / d if n
processes or associations share the work. The lowest bound is the rate, and its name is the bottleneck. The cores have
to do the work of all roles. But what passes as it came can't use all of them, because it waits for the disk in between
(`passing_cores`); a codec fills these gaps. Where the cores are the bound, it has the name of what takes most of them.
Deliberately absent: queues. A rate that arrives evenly below the bound passes; a burst waits in the spool.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import msgspec
from msgspec.structs import replace

RECEIVERS_MAX, WORKERS_MAX, ASSOCIATIONS_MAX = 32, 512, 64  # what config.yml and nodes.yml take
NEAR = 0.97  # of the best rate: as good as it, for fewer processes
ARENA_LEAST_MIB, ARENA_STEP_MIB, FRAMES_A_WORKER = 256, 64, 4
MB, MIB = 1e6, 1 << 20
AS_IT_CAME = ""


class Cost(msgspec.Struct, frozen=True):
    """Seconds that an object takes: `object_s` whatever its size, and `mb_s` more for each MB (a million bytes)."""

    object_s: float = 0.0
    mb_s: float = 0.0

    def of(self, size_bytes: float) -> float:
        return self.object_s + self.mb_s * size_bytes / MB

    @classmethod
    def through(cls, small: tuple[float, float], large: tuple[float, float]) -> "Cost":
        """The line through two (bytes, seconds) of different sizes; neither part is below 0."""
        (small_bytes, small_s), (large_bytes, large_s) = small, large
        mb_s = max(0.0, (large_s - small_s) / (large_bytes - small_bytes) * MB)
        return cls(max(0.0, small_s - mb_s * small_bytes / MB), mb_s)


NOTHING = Cost()


class Codec(msgspec.Struct, frozen=True):
    """Seconds of a core for a MB of pixels: while the other cores rest, and while all encode. `ratio`: bytes made of
    one byte."""

    alone_mb_s: float
    crowd_mb_s: float
    ratio: float

    def mb_s(self, workers: int, cores: float) -> float:
        """Cores that share a cache, or are threads of one core, are slower together."""
        crowd = min(1.0, (workers - 1) / (cores - 1)) if cores > 1 else 1.0
        return self.alone_mb_s + crowd * (self.crowd_mb_s - self.alone_mb_s)


class Machine(msgspec.Struct, frozen=True):
    """What was measured. `cores`: how many codecs could use, of the `counted` ones; `passing_cores`: how many objects
    used that passed as they came, as fast as they could. `roles`: processor time of an object in receiver, planner,
    sender and, besides the codec, worker. `disk`: a durable object, many at once. `beside`: what other programs on this
    machine spend for an object: its sender, its destination. `lone`: how long an object takes over one association
    until the next one may begin, by the clock.
    """

    counted: int
    cores: float
    passing_cores: float
    disk: Cost
    roles: Mapping[str, Cost]
    codecs: Mapping[str, Codec] = msgspec.field(default_factory=dict)  # by the name of the transfer syntax
    beside: Cost = NOTHING
    lone: Cost = NOTHING

    def with_cores(self, count: float) -> "Machine":
        """The same with another number of cores, of which as great a share is free for us."""
        factor = count / self.counted
        cores, passing_cores = self.cores * factor, self.passing_cores * factor
        return replace(self, counted=ceil(count), cores=cores, passing_cores=passing_cores)


class Line(msgspec.Struct, frozen=True):
    """The way to a destination: a round trip with the time for the answer, what the line carries in all, and what one
    association was seen to carry. None = not known, no bound."""

    wait_s: float | None = None
    mb_per_s: float | None = None
    one_mb_per_s: float | None = None

    @property
    def speed_mb_per_s(self) -> float | None:
        """Of one association that has the line for itself."""
        return min((speed for speed in (self.mb_per_s, self.one_mb_per_s) if speed), default=None)

    def answered_s(self, size_bytes: float) -> float:
        """From the first byte of an object to its answer."""
        sent_s = size_bytes / MB / self.speed_mb_per_s if self.speed_mb_per_s else 0.0
        return max(1e-6, (self.wait_s or 0.0) + sent_s)


class Load(msgspec.Struct, frozen=True):
    """What is to pass: objects of one size, made into `syntax` (AS_IT_CAME: not), over `associations` of a `line`.

    `sources`: over how many associations they come at once; None = over enough.
    """

    object_bytes: float
    syntax: str = AS_IT_CAME
    receivers: int = 1
    workers: int = 1
    associations: int = 4
    line: Line = Line()
    sources: int | None = None


class Prediction(msgspec.Struct, frozen=True):
    """`bounds`: objects a second that each part passes at most; `role_ms`: processor time of an object, by role."""

    object_bytes: float
    bounds: Mapping[str, float]
    role_ms: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        return min(self.bounds, key=lambda name: self.bounds[name])

    @property
    def per_s(self) -> float:
        return self.bounds[self.bottleneck]

    @property
    def mb_per_s(self) -> float:
        """Of what comes in."""
        return self.per_s * self.object_bytes / MB


def predict(machine: Machine, load: Load) -> Prediction:
    """The rate that this load can reach, and what bounds it. KeyError: a syntax that was not measured."""
    codec = machine.codecs[load.syntax] if load.syntax != AS_IT_CAME else None
    made_bytes = load.object_bytes * (codec.ratio if codec else 1.0)
    receiver, planner = (machine.roles[role].of(load.object_bytes) for role in ("receiver", "planner"))
    sender = machine.roles["sender"].of(made_bytes)
    role_s = {"receiver": receiver, "planner": planner, "sender": sender}
    disk = machine.disk.of(load.object_bytes)
    bounds = {"receiver": load.receivers / receiver, "planner": 1 / planner, "sender": 1 / sender}
    passing = receiver + planner + sender + machine.beside.of(load.object_bytes)
    made = 0.0
    if codec is not None:
        disk += machine.disk.of(made_bytes)
        encode = codec.mb_s(load.workers, machine.cores) * load.object_bytes / MB
        made = role_s["worker"] = encode + machine.roles["worker"].of(load.object_bytes)
        bounds["codec"] = min(load.workers, machine.cores) / made
    bounds["disk"], bounds["cores"] = 1 / disk, machine.cores / passing
    if codec is not None:
        takes_most = "codec" if made > passing else "cores"
        bounds[takes_most] = min(bounds[takes_most], machine.cores / (passing + made))
    waits_for = "disk" if 1 / disk < machine.cores / passing else "cores"
    bounds[waits_for] = min(bounds[waits_for], machine.passing_cores / passing)
    if load.sources is not None and machine.lone != NOTHING:
        bounds["source"] = load.sources / machine.lone.of(load.object_bytes)
    if load.line.mb_per_s is not None:
        bounds["line"] = load.line.mb_per_s * MB / made_bytes
    if load.line.wait_s is not None or load.line.one_mb_per_s is not None:
        bounds["round trip"] = load.associations / load.line.answered_s(made_bytes)
    return Prediction(load.object_bytes, bounds, {role: 1e3 * spent for role, spent in role_s.items()})


# -- advice


class Node(msgspec.Struct, frozen=True):
    """A destination. `share`: how many of the objects that arrive go there. `associations`: as it is set now."""

    title: str
    syntax: str = AS_IT_CAME
    share: float = 1.0
    associations: int = 4
    line: Line = Line()


class Arrivals(msgspec.Struct, frozen=True):
    """How much comes: objects a second in the busiest minute, and bytes a second on average, day and night."""

    peak_per_s: float
    average_bytes_per_s: float


class Wishes(msgspec.Struct, frozen=True):
    """What if: None = as it is."""

    cores: float | None = None
    line_mb_per_s: float | None = None
    rtt_s: float | None = None
    arrival_per_s: float | None = None
    syntax: str | None = None


NO_WISHES = Wishes()


class Situation(msgspec.Struct, frozen=True):
    """What the advice is for. `object_bytes`: an object of usual size; `frame_bytes`: the largest usual frame.

    `free_bytes`: what may be filled before the spool refuses objects. `arrivals` None: not known.
    """

    object_bytes: float
    frame_bytes: float
    free_bytes: float
    nodes: Sequence[Node] = ()
    arrivals: Arrivals | None = None


class Advice(msgspec.Struct, frozen=True):
    """What to set, and what to expect of it.

    `main`: for the main destination, with what is advised; `main_syntax`: what it wants. `by_syntax`: the same of each
    measured syntax, with a worker for each core. `by_workers`: the same with other numbers of workers. `lasts_s`: how
    long the disk takes what comes, by the destination that is down.
    """

    receivers: int
    workers: int
    arena_mib: int
    associations: Mapping[str, int]
    main_syntax: str
    main: Prediction
    by_syntax: Mapping[str, Prediction]
    by_workers: Mapping[int, Prediction]
    peak_per_s: float | None
    lasts_s: Mapping[str, float]

    @property
    def config(self) -> dict[str, int]:
        """The keys of config.yml."""
        return {"receivers": self.receivers, "workers": self.workers, "arenaMib": self.arena_mib}

    @property
    def enough(self) -> bool | None:
        """Whether the busiest minute passes at once; None = how much comes is not known."""
        return None if self.peak_per_s is None else self.main.per_s >= self.peak_per_s


def advise(machine: Machine, here: Situation, wishes: Wishes = NO_WISHES) -> Advice:
    """The fewest processes and associations with which nothing else would be quicker."""
    machine = machine.with_cores(wishes.cores) if wishes.cores is not None else machine
    nodes = [_wished(node, wishes) for node in here.nodes]
    main = _main(nodes) or _wished(Node(""), wishes)
    most = min(machine.counted, WORKERS_MAX)
    load = Load(here.object_bytes, main.syntax, RECEIVERS_MAX, most, line=Line(mb_per_s=main.line.mb_per_s))
    best = predict(machine, load).per_s
    receivers = _fewest(machine, best, {n: replace(load, receivers=n) for n in range(1, min(RECEIVERS_MAX, most) + 1)})
    load = replace(load, receivers=receivers)
    workers = _fewest(machine, best, {n: replace(load, workers=n) for n in range(1, most + 1)})
    associations = {node.title: _associations(machine, here, node, best) for node in nodes}
    load = replace(load, workers=workers, line=main.line, associations=associations.get(main.title, ASSOCIATIONS_MAX))
    by_syntax = {name: replace(load, syntax=name, workers=most) for name in (AS_IT_CAME, *machine.codecs)}
    frames_mib = FRAMES_A_WORKER * workers * here.frame_bytes / MIB
    arrivals = _wished_arrivals(here, wishes)
    return Advice(
        receivers,
        workers,
        max(ARENA_LEAST_MIB, ARENA_STEP_MIB * ceil(frames_mib / ARENA_STEP_MIB)),
        associations,
        main.syntax,
        predict(machine, load),
        {name: predict(machine, each) for name, each in by_syntax.items()},
        {n: predict(machine, replace(load, workers=n)) for n in range(1, most + 1)},
        arrivals.peak_per_s if arrivals else None,
        _lasts_s(machine, here.free_bytes, nodes, arrivals),
    )


def _wished(node: Node, wishes: Wishes) -> Node:
    line = node.line
    if wishes.line_mb_per_s is not None:
        line = replace(line, mb_per_s=wishes.line_mb_per_s)
    if wishes.rtt_s is not None:
        line = replace(line, wait_s=wishes.rtt_s)
    return replace(node, line=line, syntax=node.syntax if wishes.syntax is None else wishes.syntax)


def _wished_arrivals(here: Situation, wishes: Wishes) -> Arrivals | None:
    """A wished rate comes all the time."""
    if wishes.arrival_per_s is None:
        return here.arrivals
    return Arrivals(wishes.arrival_per_s, wishes.arrival_per_s * here.object_bytes)


def _main(nodes: Sequence[Node]) -> Node | None:
    """The destination that the rate is told of: where most is made into another syntax, else where most goes."""
    return max(nodes, key=lambda node: (node.syntax != AS_IT_CAME, node.share), default=None)


def _fewest(machine: Machine, best: float, loads: Mapping[int, Load]) -> int:
    """The first of the numbers, in their order, with which the rate is near the best; else the last."""
    return next((n for n, load in loads.items() if predict(machine, load).per_s >= NEAR * best), max(loads))


def _associations(machine: Machine, here: Situation, node: Node, best: float) -> int:
    """Enough that others send while one waits for its answer, and never fewer than are set."""
    line, ratio = node.line, machine.codecs[node.syntax].ratio if node.syntax in machine.codecs else 1.0
    if line.wait_s is None:
        return node.associations
    made_bytes = here.object_bytes * ratio
    enough = NEAR * best * line.answered_s(made_bytes)
    if line.speed_mb_per_s:
        enough = min(enough, 1 + line.wait_s / (made_bytes / MB / line.speed_mb_per_s))
    return min(ASSOCIATIONS_MAX, max(node.associations, ceil(enough)))


def _lasts_s(machine: Machine, free_bytes: float, nodes: Sequence[Node], arrivals: Arrivals | None) -> dict[str, float]:
    """Seconds until the disk is full with what waits for a destination, in the form in which it waits."""
    if arrivals is None:
        return {}
    found = {}
    for node in nodes:
        ratio = machine.codecs[node.syntax].ratio if node.syntax in machine.codecs else 1.0
        bytes_per_s = arrivals.average_bytes_per_s * node.share * ratio
        found[node.title] = free_bytes / bytes_per_s if bytes_per_s else float("inf")
    return found
