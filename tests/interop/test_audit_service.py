"""The audit log of a whole service: what an auditor asks, by the command and by a collector."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest

from support.collector import Certificates, CollectorServer, coded, counts, titles
from support.objects import make_ct
from support.peers import Pacs, run_dcmtk
from support.service import Service, node, wait_for

RULES = """\
- AeTitles: [ARCHIVE]
  Conditions:
    - Tag: 0008,0060
      MatchExpression: CT
  Actions:
    - Type: add_or_update
      Destination:
        Tag: 0008,1030
        Value: CHANGED
"""
CANARY = "CANARY^PATIENT"


def test_the_audit_log_tells_who_did_what_and_nothing_of_the_patient(
    service: Callable[..., Service], pacs: Callable[..., Pacs], tmp_path: Path
) -> None:
    """Received, planned, changed, delivered; start, reload and stop; and each in the words of the standard for the
    collector, which gets the last of it after the next start."""
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificates")
    certificates = Certificates(tmp_path / "tls")
    there = CollectorServer(certificates).start()
    archive = pacs("ARCHIVE")
    to = f"{{host: localhost, port: {there.port}, caFile: {certificates.path('ca.pem')}}}"
    leyden = service(
        node("ARCHIVE", archive.port), mutations=RULES, audit=f"{{keyFile: ../elsewhere/audit.key, collector: {to}}}"
    ).start()
    paths = [str(make_ct(tmp_path / f"{n}.dcm", n, rows=8, columns=8)) for n in range(5)]
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = CANARY, CANARY
        dataset.save_as(path)
    words = ("-aet", "CT01", "-aec", "ARCHIVE", "127.0.0.1", str(leyden.port))
    assert run_dcmtk("dcmsend", *words, *paths).returncode == 0
    archive.wait(5)
    config = leyden.folder / "config.yml"
    config.write_text(config.read_text() + "clientTimeout: 333\n")
    assert leyden.leyden("reload").returncode == 0
    leyden.wait_empty()
    assert leyden.stop() == 0
    verified = json.loads(leyden.leyden("audit", "verify", "--json").stdout)
    assert (verified["fault"], verified["to_the_end"]) == (None, True)
    assert (leyden.folder.parent / "elsewhere" / "audit.key").exists()
    shown = leyden.leyden("audit", "show", "--json").stdout
    records = [json.loads(line) for line in shown.splitlines()]
    events = [record["event"] for record in records]
    for event, count in {"received": 5, "planned": 5, "transformed": 5, "delivered": 5}.items():
        assert events.count(event) == count, event
    operated = [record for record in records if record["event"] == "operated"]
    (start,), (reload,), (stop,) = (
        [record for record in operated if (record["through"], record["did"]) == what]
        for what in (("service", "start"), ("signal", "reload"), ("service", "stop"))
    )
    assert "clientTimeout 600 -> 333" in reload["detail"]
    assert start["detail"].split()[-1] != stop["detail"].split()[-1]  # another configuration
    assert "mutations.yml:6" in records[events.index("transformed")]["changed_by"]
    assert "CANARY" not in shown
    assert "2.25.1001.3" in leyden.leyden("audit", "show", "--event", "delivered", "--holding", "2.25.1001.3").stdout
    misspelt = leyden.leyden("audit", "show", "--event", "deliverd")
    assert (misspelt.stdout, misspelt.stderr.startswith("no record is deliverd; there are delivered, ")) == ("", True)
    leyden.start()
    wait_for(lambda: sum(coded(each, "EventIdentification/EventID") == "110104" for each in there.documents) >= 2)
    assert leyden.stop() == 0
    transferred = [each for each in there.documents if coded(each, "EventIdentification/EventID") == "110104"]
    assert {titles(each) for each in transferred} >= {("CT01", "ARCHIVE"), ("LEYDEN", "ARCHIVE")}
    assert {"1.2.840.10008.5.1.4.1.1.2": 5} in map(counts, transferred)
    assert not there.faults
    there.stop()
    log = leyden.folder / "log" / "leyden_audit.log"
    log.write_bytes(log.read_bytes().replace(b"clientTimeout 600", b"clientTimeout 900"))
    done = leyden.leyden("audit", "verify")
    assert (done.returncode, ": changed: " in done.stdout) == (1, True)
