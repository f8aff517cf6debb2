"""Objects, archives and a count: what the recorded spools of older versions hold (recorded_spool.py), to the end.

Sources and archives are DCMTK's programs, one process an association, so that the count is of what another maker's code
saw. Each object has pixels of its own, so that a swap is seen. There are three kinds of objects: for a destination that
gets JPEG 2000, for one that gets everything as it came, and for both (a rule adds the second). Those for both are
mutated, for each of the two in another way; none may arrive without its mutation, or with the other one's. The fault
matrix (tests/chaos) has the same kinds, with processes that are faster.
"""

import os
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

import orjson
import pydicom

from chaos.objects import AS_IS, COMPRESSED, KINDS, MUTATIONS, ROUTINGS
from leyden.dicom.uids import SYNTAXES
from support.objects import make_ct
from support.peers import DCMTK_ENVIRONMENT, dcmtk, listens
from support.service import Service, files_below, free_port, node, wait_for

UNCHANGED = "Test^Image"  # the patient's name in the template
SIDE = 64
AGAIN_S = 0.2  # after an association without a success
_UID = b"2.25.1001.1000000"  # of the template; the last seven digits are the object's number


@dataclass(frozen=True, slots=True)
class Object:
    """One object of the load and what must become of it."""

    path: Path
    uid: str
    called: str
    destinations: frozenset[str]
    pixels: str


@cache
def _template(folder: Path) -> bytes:
    path = make_ct(folder / "template.dcm", 1_000_000, rows=SIDE, columns=SIDE)
    content = path.read_bytes()
    path.unlink()
    return content


def make_objects(folder: Path, count: int, first: int = 0) -> list[Object]:
    """Objects number first, first + 1 … of the three kinds in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    template = _template(folder)
    pixel_bytes = 2 * SIDE * SIDE
    pixels = template[-pixel_bytes:]
    made = []
    for number in range(first, first + count):
        called, modality, destinations = KINDS[number % len(KINDS)]
        uid = b"2.25.1001.%d" % (1_000_000 + number)
        own = b"%07d\0" % number + pixels[8:]
        content = template[:-pixel_bytes].replace(_UID, uid).replace(b"CS\x02\x00CT", b"CS\x02\x00" + modality) + own
        path = folder / f"{number:07}.dcm"
        path.write_bytes(content)
        made.append(Object(path, uid.decode(), called, destinations, sha256(own).hexdigest()))
    return made


class Archive:
    """A destination: DCMTK's storescp, a process an association, which keeps every object that it gets as a file."""

    def __init__(self, title: str, folder: Path) -> None:
        self.title, self.folder, self.port = title, folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Archive":
        self.folder.mkdir(parents=True, exist_ok=True)
        options = [
            "--fork",
            "--accept-all",
            "--bit-preserving",
            "--unique-filenames",
            "-od",
            str(self.folder),
            "-pdu",
            "131072",
        ]
        self._process = subprocess.Popen(
            [dcmtk("storescp"), *options, str(self.port)],
            env=DCMTK_ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: listens(self.port), why=f"storescp on port {self.port}")
        return self

    def die(self) -> None:
        """SIGKILL, with every association that it serves."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def node(self, **keys: object) -> str:
        return node(self.title, self.port, RetryDelays="0.5, 1, 2", **keys)


class Load:
    """Objects on their way to the service: how often each was sent, and which were promised (answered Success)."""

    def __init__(self, port: int, objects: Iterable[Object]) -> None:
        self.objects = list(objects)
        self.sends: Counter[str] = Counter()
        self.promised: set[str] = set()
        self.stop = threading.Event()
        self._port = port
        self._threads: list[threading.Thread] = []

    def start(self, associations: int) -> "Load":
        """Send over so many associations at once. Objects not promised are sent again, until all are, or `stop`."""
        half = max(1, associations // 2)
        for called in (COMPRESSED, AS_IS):
            those = [each for each in self.objects if each.called == called]
            for number in range(half):
                thread = threading.Thread(target=self._send, args=(called, those[number::half]), daemon=True)
                self._threads.append(thread)
                thread.start()
        return self

    def _send(self, called: str, objects: Sequence[Object]) -> None:
        left = {str(each.path): each.uid for each in objects}
        while left and not self.stop.is_set():
            before = len(left)
            self._associate(called, left)
            if len(left) == before:
                self.stop.wait(AGAIN_S)

    def _associate(self, called: str, left: dict[str, str]) -> None:
        """Send over one association; removes what was promised from `left`."""
        limits = ["-to", "30", "-ta", "60", "-td", "60"]
        words = ["-v", "-R", *limits, "-aet", "CT01", "-aec", called, "127.0.0.1", str(self._port), *left]
        with subprocess.Popen(
            [dcmtk("storescu"), *words],
            env=DCMTK_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        ) as source:  # fmt: skip
            assert source.stdout is not None
            current = ""
            for line in source.stdout:
                if "Sending file: " in line:
                    current = line.split("Sending file: ")[1].strip()
                    self.sends[left[current]] += 1
                elif "Received Store Response (Success)" in line:
                    self.promised.add(left.pop(current))

    def join(self, limit_s: float = 120.0) -> "Load":
        """Wait until everything is promised, or the sources have stopped because of `stop`."""
        for thread in self._threads:
            thread.join(limit_s)
            assert not thread.is_alive(), f"a source does not end: {len(self.promised)} of {len(self.objects)}"
        return self


@dataclass(slots=True)
class Count:
    """What arrived where, and what is wrong with it."""

    arrivals: dict[str, Counter[str]] = field(default_factory=dict)
    receipts: dict[str, Counter[str]] = field(default_factory=dict)
    syntaxes: dict[str, Counter[str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def again(self) -> int:
        """Arrivals beyond those that a receipt proves: the destination's answer was not received, or not written."""
        return sum((arrived - self.receipts[title]).total() for title, arrived in self.arrivals.items())


def count(spool: Path, archives: Iterable[Archive], objects: Sequence[Object], sends: Counter[str]) -> Count:
    """Check everything when the spool is empty. These are faults, whatever was killed:

    an object with other pixels; an object at a destination that it was not planned for; a delivery with two receipts
    (it was repeated although its receipt was there); more receipts than times the object was sent; a file left in the
    spool.
    """
    found = Count()
    wanted = {each.uid: each for each in objects}
    for archive in archives:
        title = archive.title
        arrived: Counter[str] = Counter()
        syntaxes: Counter[str] = Counter()
        paths = sorted(path for path in archive.folder.iterdir() if path.is_file())
        with ThreadPoolExecutor(2) as threads:
            seen = list(threads.map(_look_at, paths))
        for path, (uid, syntax, pixels, name) in zip(paths, seen, strict=True):
            if uid not in wanted:
                found.faults.append(f"{title}: {uid} was never sent")
            elif pixels != wanted[uid].pixels:
                found.faults.append(f"{title}: {uid} has other pixels ({path})")
            elif title not in wanted[uid].destinations:
                found.faults.append(f"{title}: {uid} was not planned for it")
            elif name != (title if len(wanted[uid].destinations) > 1 else UNCHANGED):
                found.faults.append(f"{title}: {uid} has the mutation of {name or 'nobody'}")
            else:
                arrived[uid] += 1
                syntaxes[syntax] += 1
        found.arrivals[title], found.syntaxes[title] = arrived, syntaxes
        found.receipts[title] = Counter()
    proofs = Counter((line["receipt"], line["destination"]) for line in receipts(spool))
    found.faults += [f"delivered again though its receipt was there: {pair}" for pair, n in proofs.items() if n > 1]
    for line in receipts(spool):
        if line["sop_instance_uid"] in wanted:
            found.receipts[line["destination"]][line["sop_instance_uid"]] += 1
    for title, proved in found.receipts.items():
        found.faults += [f"{title}: {n} receipts of {uid}" for uid, n in proved.items() if n > sends[uid]]
    found.faults += [f"left behind: {path}" for path in left_behind(spool)]
    return found


def missing(found: Count, objects: Iterable[Object], promised: set[str]) -> list[str]:
    """The objects that were promised, but did not arrive at each of their destinations."""
    return [
        f"{each.uid} for {title}"
        for each in objects if each.uid in promised
        for title in each.destinations if not found.arrivals[title][each.uid]
    ]  # fmt: skip


def _look_at(path: Path) -> tuple[str, str, str, str]:
    """(UID, transfer syntax, hash of the pixels, patient's name) of a received file; no hash if it is incomplete."""
    try:
        image = pydicom.dcmread(path)
        pixels = image.pixel_array.astype("<i2").tobytes()
        uid, syntax = str(image.SOPInstanceUID), str(image.file_meta.TransferSyntaxUID)
    except Exception:  # whatever a half-written file makes pydicom say
        return "", "", "", ""
    assert syntax in SYNTAXES
    return uid, syntax, sha256(pixels).hexdigest(), str(image.PatientName)


def receipts(spool: Path) -> list[dict[str, str]]:
    """The complete lines of all receipt files."""
    lines = []
    for path in sorted((spool / "receipts").glob("*.log")):
        for line in path.read_bytes().splitlines():
            try:
                lines.append(orjson.loads(line))
            except orjson.JSONDecodeError:
                continue  # torn by a crash
    return lines


def left_behind(spool: Path) -> list[Path]:
    """Files that an empty spool does not have."""
    kept = {"receipts", "journal", "logs", "recent", "state", "lost+found"}
    files = (path for path in files_below(spool) if path.is_file())  # no doorbells
    found = (path for path in files if path.name not in ("lock", "format"))
    return [path for path in found if path.relative_to(spool).parts[0] not in kept]


class Rig:
    """A service with the two archives and the objects that were sent to it so far."""

    def __init__(self, folder: Path, **config: object) -> None:
        self.folder = folder
        self.compressed = Archive(COMPRESSED, folder / COMPRESSED)
        self.as_is = Archive(AS_IS, folder / AS_IS)
        nodes = self.compressed.node(TransferSyntax="JPEG2000Lossless") + self.as_is.node()
        keys = {"workers": 1, "arenaMib": 32, **config}
        self.service = Service(folder / "leyden", nodes, ROUTINGS, MUTATIONS, **keys)
        self.objects: list[Object] = []
        self.loads: list[Load] = []
        self._made = 0

    @property
    def archives(self) -> tuple[Archive, Archive]:
        return self.compressed, self.as_is

    def start_archives(self) -> None:
        for archive in self.archives:
            archive.start()

    def load(self, objects: int, associations: int) -> Load:
        """Make this many new objects and begin to send them."""
        made = make_objects(self.folder / "objects", objects, self._made)
        self._made += objects
        self.objects += made
        self.loads.append(Load(self.service.port, made))
        return self.loads[-1].start(associations)

    def end(self) -> None:
        for load in self.loads:
            load.stop.set()
        self.service.end()
        for load in self.loads:
            load.join()
        for archive in self.archives:
            archive.die()
