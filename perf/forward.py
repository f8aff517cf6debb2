"""How fast do objects pass through, from the first byte sent to a router until the last object is at its destination?

    python perf/forward.py [--quick] [--clients dcmsend,source] [--rounds 5]

0.5 MB CT pass as they came through a durable Leyden to storescp --ignore. Beside it: Orthanc with the Lua rule of a
router (send on, then delete; its storage syncs too), and the client straight to storescp --fork --ignore, which stores
nothing and shows what the machine can move at all. The client has 1 or 4 associations; dcmsend is one process for each,
and its start is included. With 4, one row has a destination with --fork, to which Leyden sends over 4 associations too;
another row has one without, which takes one association at a time. When the last object arrived is read from storescp's
own log, for all routers alike. The native limit receives files durably, and sends nothing on.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import objects
import peers
import rig
import source

KIND = "ct"
DIRECT, LIMIT = "direct to storescp --fork", "native, durable receive"

Client = Callable[[int], None]
"""Sends the load to a port, and returns when every object was answered Success."""


def passed(count: int, far: peers.CountingStorescp, client: Client, port: int) -> float:
    """Objects a second from the start of the client to the arrival of the last object."""
    begin_s = time.monotonic()
    client(port)
    return count / (far.wait(count)[-1] - begin_s)


def by_leyden(count: int, client: Client, options: tuple[str, ...], folder: Path) -> float:
    far = peers.CountingStorescp(*options)
    with peers.running(far), peers.leyden(folder, {"DEST": far.port}) as service:
        return passed(count, far, client, service.port)


def by_orthanc(count: int, client: Client, folder: Path) -> float:
    far = peers.CountingStorescp()
    router = peers.orthanc(folder, lua=peers.LUA_FORWARD.format(title="DEST"), modalities={"DEST": far.port})
    with peers.running(far), peers.running(router):
        return passed(count, far, client, router.port)


def direct(count: int, client: Client, folder: Path) -> float:
    far = peers.CountingStorescp("--fork")
    with peers.running(far):
        return passed(count, far, client, far.port)


def with_dcmsend(files: list[Path], associations: int, port: int) -> None:
    peers.dcmsend(port, "DEST", files, associations=associations)


def with_source(count: int, associations: int, port: int) -> None:
    load = source.Load(port, [objects.made(KIND)], called="DEST", associations=associations, objects=count)
    peers.must_be_whole(source.run(load).objects, count)


def main() -> None:
    parser = rig.parser(__doc__)
    parser.add_argument("--clients", default="dcmsend,source")
    parser.add_argument("--associations", default="1,4")
    with rig.Run(parser.parse_args()) as run:
        count = 150 if run.quick else 400
        files = objects.write_files(run.folder / "files", KIND, count)
        for client in run.asked.clients.split(",")[: 1 if run.quick else None]:
            for associations in map(int, run.asked.associations.split(",")):
                send = partial(with_dcmsend, files, associations)
                if client == "source":
                    send = partial(with_source, count, associations)
                compare(run, count, client, send, associations)


def compare(run: rig.Run, count: int, client: str, send: Client, associations: int) -> None:
    plain, fork = "Leyden durable", "Leyden durable, to --fork"
    ways: dict[str, Callable[[Path], float]] = {plain: partial(by_leyden, count, send, ())}
    if associations > 1:
        ways[fork] = partial(by_leyden, count, send, ("--fork",))
    run.compare(
        f"forward {count} {KIND}, {associations} associations of {client}",
        "objects/s",
        {
            **ways,
            "Orthanc, Lua rule": partial(by_orthanc, count, send),
            DIRECT: partial(direct, count, send),
            LIMIT: partial(
                peers.native, "receive_files", "durable_objects_per_s",
                objects=count, size_bytes=objects.made(KIND).size_bytes, connections=associations,
            ),
        },
        ours=tuple(ways),
        limits=dict.fromkeys(ways, LIMIT),
    )  # fmt: skip


if __name__ == "__main__":
    main()
