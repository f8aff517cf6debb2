"""The demo: the example of the README on this machine, with a real service, two PACS and four modalities.

The service is `leyden run` as a child process; the PACS are pynetdicom's storage SCPs; the images and reports are the
real ones that the pydicom wheel carries. What arrives is decoded by pydicom, independently of our own codec path, and
held against what was sent. Nothing is sent beyond the loopback interface.
"""

import asyncio
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pydicom
import pynetdicom
from pydicom.uid import UID
from pynetdicom import evt

from leyden.dicom import part10
from leyden.dicom.identity import as_named
from leyden.dicom.uids import JPEG2000_LOSSLESS, SYNTAXES, syntax_name
from leyden.net.scu import Association

START_LIMIT_S = 20.0
ARRIVAL_LIMIT_S = 30.0
LOOP = "loop.dcm"  # the only sample that is made here
_AS_IT_CAME = ""
_FRAMES_OF_THE_LOOP = 24

NODES = """\
- AeTitle: IMAGEPACS
  Aliases: [ARCHIVE]
  HostName: 127.0.0.1
  Port: {image_port}
  NodeRole: Storage
  Impersonate: true
  TransferSyntax: JPEG2000Lossless
  MinimumLineSpeed: 500
- AeTitle: REPORTPACS
  HostName: 127.0.0.1
  Port: {report_port}
  NodeRole: Storage
  Impersonate: true
  MinimumLineSpeed: 500
"""
ROUTINGS = """\
- Description: Structured reports go to the report archive instead
  AeTitles:
    - IMAGEPACS
  Conditions:
    - Tag: 0008,0016
      MatchExpression: ^1\\.2\\.840\\.10008\\.5\\.1\\.4\\.1\\.1\\.88\\.[\\d]{1,2}$
  Actions:
    - Description: Re-route to REPORTPACS
      Type: add_destination
      Target: REPORTPACS
      RemoveOriginal: true
"""


class Sample(msgspec.Struct, frozen=True):
    """One object to send, and what the example's rules must make of it."""

    name: str
    calling: str
    called: str
    destination: str
    syntax_out: str


SAMPLES = (
    Sample("CT_small.dcm", "CT01", "IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("MR_small.dcm", "MR02", "DCP_IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("examples_overlay.dcm", "MR02", "DCP_IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample(LOOP, "MR02", "DCP_IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("examples_rgb_color.dcm", "US03", "ARCHIVE", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("examples_palette.dcm", "US03", "ARCHIVE", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("ExplVR_BigEnd.dcm", "US03", "ARCHIVE", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("SC_rgb_jpeg_dcmd.dcm", "SC04", "IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("SC_rgb_small_odd.dcm", "SC04", "IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("image_dfl.dcm", "SC04", "IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("SC_rgb_rle_2frame.dcm", "SC04", "IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("JPEGLSNearLossless_16.dcm", "MR02", "DCP_IMAGEPACS", "IMAGEPACS", JPEG2000_LOSSLESS),
    Sample("examples_jpeg2k.dcm", "US03", "ARCHIVE", "IMAGEPACS", _AS_IT_CAME),
    Sample("liver_1frame.dcm", "SC04", "IMAGEPACS", "IMAGEPACS", _AS_IT_CAME),
    Sample("waveform_ecg.dcm", "SC04", "IMAGEPACS", "IMAGEPACS", _AS_IT_CAME),
    Sample("rtplan.dcm", "CT01", "IMAGEPACS", "IMAGEPACS", _AS_IT_CAME),
    Sample("test-SR.dcm", "CT01", "IMAGEPACS", "REPORTPACS", _AS_IT_CAME),
    Sample("reportsi.dcm", "MR02", "DCP_IMAGEPACS", "REPORTPACS", _AS_IT_CAME),
)


class Arrival(msgspec.Struct, frozen=True):
    """What a PACS saw of one C-STORE. `data` is the dataset as it was encoded on the wire."""

    destination: str
    calling: str
    sop_class_uid: str
    sop_instance_uid: str
    syntax: str
    data: bytes
    at_s: float


class _Trip(msgspec.Struct):
    """One sample on its way."""

    sample: Sample
    path: Path
    meta: part10.FileMeta
    data: bytes
    answered_s: float = 0.0
    status: int = -1
    arrivals: list[Arrival] = msgspec.field(default_factory=list)


def run() -> int:
    """Play the example; the exit code: 0 if each object arrived once, at the right PACS and in the right form."""
    folder = Path(tempfile.mkdtemp(prefix="leyden-demo-"))
    arrived: queue.Queue[Arrival] = queue.Queue()
    servers = [_pacs(title, arrived) for title in ("IMAGEPACS", "REPORTPACS")]
    port = _free_port()
    image_port, report_port = (server.server_address[1] for server in servers)
    (folder / "config.yml").write_text(f"scpPort: {port}\nfilters: route\nminFreeSpace: 1\n")
    (folder / "nodes.yml").write_text(NODES.format(image_port=image_port, report_port=report_port))
    (folder / "routings.yml").write_text(ROUTINGS)
    print(f"Leyden's demo in {folder}: two PACS, four modalities, one router on port {port}", flush=True)
    service = subprocess.Popen(
        [sys.executable, "-P", "-m", "leyden", "run", "--as-root", "--path", str(folder)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        if not _ready(service):
            print(f"the service did not start; see {folder}/log/leyden.log", file=sys.stderr)
            return 1
        trips = _samples(folder)
        asyncio.run(_send_all(trips, port))
        _collect(trips, arrived)
        good = _report(trips)
        service.send_signal(signal.SIGTERM)
        code = service.wait(15)
    finally:
        if service.poll() is None:
            service.kill()
            service.wait()
        for server in servers:
            server.shutdown()
    print(f"\nthe service stopped with exit code {code}")
    print(f"spool: {folder}/cache   log: {folder}/log/leyden.log   configuration: {folder}/*.yml")
    print("next: put your own nodes into a copy of that folder, then")
    print("  leyden check --path DIR   leyden run --path DIR   leyden status --path DIR")
    return 0 if good and code == 0 else 1


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _pacs(title: str, arrived: "queue.Queue[Arrival]") -> Any:
    """A storage SCP that takes every SOP class in every transfer syntax, and puts what arrives into the queue."""

    def on_store(event: evt.Event) -> int:
        request: Any = event.request
        arrived.put(
            Arrival(
                title,
                event.assoc.requestor.ae_title,
                str(request.AffectedSOPClassUID),
                str(request.AffectedSOPInstanceUID),
                str(event.context.transfer_syntax),
                request.DataSet.getvalue(),
                time.monotonic(),
            )
        )
        return 0x0000

    entity = pynetdicom.AE(ae_title=title)
    syntaxes = [UID(uid) for uid in SYNTAXES]
    for context in pynetdicom.AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), syntaxes)
    return entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, on_store)])


def _ready(service: "subprocess.Popen[str]") -> bool:
    """Wait until the service logs `ready`, and go on reading its log, or a full pipe would stop it."""
    said: queue.Queue[str | None] = queue.Queue()

    def drain() -> None:
        assert service.stderr is not None
        for line in service.stderr:
            said.put(line)
        said.put(None)

    threading.Thread(target=drain, daemon=True).start()
    deadline_s = time.monotonic() + START_LIMIT_S
    while True:
        try:
            line = said.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            return False
        if line is None:
            return False
        if "destination " in line or " ready: " in line:
            print("  " + line.split(": ", 1)[1].rstrip(), flush=True)
        if " ready: " in line:
            return True


def _samples(folder: Path) -> list[_Trip]:
    source = Path(pydicom.__file__).parent / "data" / "test_files"
    trips = []
    for sample in SAMPLES:
        path = _make_loop(source / "MR_small.dcm", folder / LOOP) if sample.name == LOOP else source / sample.name
        content = path.read_bytes()
        head = part10.decode_head(content)
        assert head is not None
        meta, offset = head
        trips.append(_Trip(sample, path, as_named(meta, content[offset:]), content[offset:]))
    return trips


def _make_loop(source: Path, path: Path) -> Path:
    """A multi-frame object from a real image: each frame is the one before it, moved up by two rows."""
    image = pydicom.dcmread(source)
    pixels = image.PixelData
    step_bytes = 2 * image.Columns * image.BitsAllocated // 8
    image.PixelData = b"".join(pixels[n * step_bytes :] + pixels[: n * step_bytes] for n in range(_FRAMES_OF_THE_LOOP))
    image.NumberOfFrames = _FRAMES_OF_THE_LOOP
    image.SOPInstanceUID = UID(f"{image.SOPInstanceUID}.{_FRAMES_OF_THE_LOOP}")
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path)
    return path


async def _send_all(trips: list[_Trip], port: int) -> None:
    """Send all objects: each modality over an association of its own, all at once."""
    by_titles: dict[tuple[str, str], list[_Trip]] = {}
    for trip in trips:
        by_titles.setdefault((trip.sample.calling, trip.sample.called), []).append(trip)
    await asyncio.gather(*(_send(calling, called, own, port) for (calling, called), own in by_titles.items()))


async def _send(calling: str, called: str, trips: list[_Trip], port: int) -> None:
    association = await Association.open(
        "127.0.0.1",
        port,
        calling=calling,
        called=called,
        contexts=list(dict.fromkeys((t.meta.sop_class_uid, t.meta.transfer_syntax_uid) for t in trips)),
        connect_timeout_s=10,
        answer_timeout_s=10,
    )
    for trip in trips:
        meta = trip.meta
        fd = os.open(trip.path, os.O_RDONLY)
        try:
            answer = await association.store(
                association.accepted[meta.sop_class_uid, meta.transfer_syntax_uid],
                meta.sop_class_uid,
                meta.sop_instance_uid,
                fd,
                os.fstat(fd).st_size - len(trip.data),
                len(trip.data),
                stall_s=20,
            )
        finally:
            os.close(fd)
        trip.answered_s, trip.status = time.monotonic(), answer.status
    await association.release()


def _collect(trips: list[_Trip], arrived: "queue.Queue[Arrival]") -> None:
    """Wait until every object has arrived, and a moment longer: nothing should arrive twice."""
    by_uid = {trip.meta.sop_instance_uid: trip for trip in trips}
    deadline_s = time.monotonic() + ARRIVAL_LIMIT_S
    missing = set(by_uid)
    while True:
        wait_s = deadline_s - time.monotonic() if missing else 0.5
        try:
            arrival = arrived.get(timeout=max(0.0, wait_s))
        except queue.Empty:
            return
        by_uid[arrival.sop_instance_uid].arrivals.append(arrival)
        missing.discard(arrival.sop_instance_uid)
        name = by_uid[arrival.sop_instance_uid].sample.name
        print(f"  {len(by_uid) - len(missing):>2} of {len(by_uid)}: {name} is at {arrival.destination}", flush=True)


_COLUMNS = "{:<25} {:<9} {:<29} {:<7} {:<38} {:<18} {:<17} {:>5}  {}"
_TITLES = (
    "object", "modality", "from -> to", "caller", "syntax in -> out", "bytes in -> out", "pixels identical", "ms", "",
)  # fmt: skip
_SHORT = {
    "ImplicitVRLittleEndian": "implicit LE",
    "ExplicitVRLittleEndian": "explicit LE",
    "ExplicitVRBigEndian": "explicit BE",
    "DeflatedExplicitVRLittleEndian": "deflated",
}


def _report(trips: list[_Trip]) -> bool:
    """Print a line for each object; whether all of them are as they should be."""
    print()
    print(_COLUMNS.format(*_TITLES))
    good = True
    for trip in trips:
        faults = _faults(trip)
        arrival = trip.arrivals[0] if trip.arrivals else None
        pixels = _compare_pixels(trip, arrival) if arrival else "no"
        good = good and not faults and pixels != "no"
        print(_COLUMNS.format(*_row(trip, arrival), pixels, _delay(trip, arrival), "; ".join(faults) or "ok"))
    print(f"\n{'all' if good else 'NOT all'} of {len(trips)} objects are as they should be")
    print("(ms: from our answer to the modality until the object was at the PACS)")
    return good


def _row(trip: _Trip, arrival: Arrival | None) -> tuple[str, ...]:
    """The columns that say what was sent and what arrived of it."""
    destination, calling, syntax, size = (
        (arrival.destination, arrival.calling, _short(arrival.syntax), str(len(arrival.data)))
        if arrival
        else ("nowhere", "-", "-", "-")
    )
    return (
        trip.sample.name,
        trip.sample.calling,
        f"{trip.sample.called} -> {destination}",
        calling,
        f"{_short(trip.meta.transfer_syntax_uid)} -> {syntax}",
        f"{len(trip.data)} -> {size}",
    )


def _delay(trip: _Trip, arrival: Arrival | None) -> str:
    """In milliseconds, or `-`. An object may arrive before its modality has seen the answer."""
    return f"{1000 * max(0.0, arrival.at_s - trip.answered_s):.0f}" if arrival else "-"


def _short(syntax: str) -> str:
    name = syntax_name(syntax)
    return _SHORT.get(name, name)


def _faults(trip: _Trip) -> list[str]:
    """What is wrong with an object's trip, by the rules of the example."""
    sample = trip.sample
    if trip.status != 0x0000:
        return [f"answered 0x{trip.status:04X}"]
    if len(trip.arrivals) != 1:
        return [f"arrived {len(trip.arrivals)} times"]
    arrival = trip.arrivals[0]
    faults = []
    if arrival.destination != sample.destination:
        faults.append(f"belongs to {sample.destination}")
    if arrival.calling != sample.calling:
        faults.append(f"should call as {sample.calling}")
    if arrival.syntax != (sample.syntax_out or trip.meta.transfer_syntax_uid):
        faults.append("wrong syntax")
    if sample.syntax_out == _AS_IT_CAME and arrival.data != trip.data:
        faults.append("bytes changed")
    return faults


def _compare_pixels(trip: _Trip, arrival: Arrival) -> str:
    """Whether the pixels are identical: yes, no, or - if there are none. In the same syntax the bytes must be equal."""
    before = _dataset(trip.meta.transfer_syntax_uid, trip.data)
    if "PixelData" not in before:
        return "-"
    if arrival.syntax == trip.meta.transfer_syntax_uid:
        return "yes" if arrival.data == trip.data else "no"
    after = _dataset(arrival.syntax, arrival.data)
    return "yes" if (before.pixel_array == after.pixel_array).all() else "no"


def _dataset(syntax: str, data: bytes) -> pydicom.Dataset:
    meta = part10.FileMeta("1.2.840.10008.5.1.4.1.1.7", "2.25.1", syntax)
    return pydicom.dcmread(BytesIO(part10.encode_head(meta) + data))
