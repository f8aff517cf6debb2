"""pynetdicom as a peer in a process of its own, as fast as its options make it.

    python perf/pynetdicom_peer.py scp PORT FOLDER                       keeps each object as it came, until SIGTERM
    python perf/pynetdicom_peer.py scu PORT CALLED FOLDER ASSOCIATIONS   sends the files of FOLDER, prints the seconds

128 KiB PDUs both ways; data sets go from and to the files in chunks, without being decoded.
"""

import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import pydicom
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from leyden.dicom.uids import SYNTAXES

PDU_BYTES = 131072


def serve(port: int, folder: Path) -> None:
    """The SCP; it ends at SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    _config.STORE_RECV_CHUNKED_DATASET = True
    tempfile.tempdir = str(folder)  # it receives into temporary files, and a rename must not leave the disk
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())

    def keep(event: evt.Event) -> int:
        uid = getattr(event.request, "AffectedSOPInstanceUID", "")
        event.dataset_path.rename(folder / f"{uid}.dcm")
        return 0x0000

    entity = AE(ae_title="PYNETDICOM")
    entity.maximum_pdu_size = PDU_BYTES
    entity.maximum_associations = 1000
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), list(SYNTAXES))
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    over.wait()
    if server is not None:
        server.shutdown()


def send(port: int, called: str, folder: Path, associations: int) -> float:
    """Seconds from the first request to the last release; SystemExit if anything was not answered Success."""
    _config.STORE_SEND_CHUNKED_DATASET = True
    files = sorted(folder.iterdir())
    meta = pydicom.filereader.read_file_meta_info(files[0])
    failures: list[str] = []

    def one(share: list[Path]) -> None:
        entity = AE(ae_title="CT01")
        entity.maximum_pdu_size = PDU_BYTES
        entity.requested_contexts = [build_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)]
        link = entity.associate("127.0.0.1", port, ae_title=called, max_pdu=PDU_BYTES)
        for path in share:
            answer = link.send_c_store(path)
            if answer.get("Status") != 0x0000:
                failures.append(f"{path.name}: {answer}")
        link.release()

    threads = [threading.Thread(target=one, args=(files[n::associations],)) for n in range(associations)]
    begin_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"{len(failures)} failed, such as {failures[0]}")
    return time.monotonic() - begin_s


def main() -> None:
    match sys.argv[1:]:
        case ["scp", port, folder]:
            serve(int(port), Path(folder))
        case ["scu", port, called, folder, associations]:
            print(send(int(port), called, Path(folder), int(associations)))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
