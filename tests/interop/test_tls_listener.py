"""The TLS port of a service: peers of other makers, callers that are refused, files that are exchanged, silent callers.

One service for all: each test leaves its files as they were.
"""

import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pydicom.data
import pynetdicom
import pytest

from leyden.dicom.uids import VERIFICATION
from leyden.net.tls import Session
from leyden.net.trust import Files, client_context
from leyden.operate import reading
from support.authority import HOST, Authority, Signed
from support.peers import run_dcmtk
from support.service import Service, free_port, node, wait_for

CT = str(pydicom.data.get_testdata_file("CT_small.dcm"))
SILENT = 500


class Listening:
    """A service with a TLS port, its authority, and the certificates of good and bad callers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority, self.stranger = Authority(folder / "ca"), Authority(folder / "other", "stranger")
        self.ours = self.authority.signed("ours", HOST, "localhost")
        self.caller = self.authority.signed("ct1")
        self.callers = {
            "nobody": None,
            "stranger": self.stranger.signed("ct2"),
            "expired": self.authority.signed("ct3", begin=-9, end=-1),
            "early": self.authority.signed("ct4", begin=1),
            "revoked": self.authority.signed("ct5"),
        }
        revoked = self.callers["revoked"]
        assert revoked is not None
        self.lists = self.authority.revokes(revoked)
        self.port = free_port()
        keys = {
            "port": self.port, "certificate": self.ours.certificate, "key": self.ours.key,
            "authorities": self.authority.path, "revocationLists": self.lists,
        }  # fmt: skip
        words = ", ".join(f"{key}: {value}" for key, value in keys.items())
        self.service = Service(folder / "leyden", node("DEST", free_port()), workers=1, tls=f"{{{words}}}").start()

    def dcmtk(self, tool: str, own: Signed | None, *words: str) -> "subprocess.CompletedProcess[str]":
        """Call over TLS as DCMTK does, with a certificate of our own or without."""
        way = ["+tls", str(own.key), str(own.certificate)] if own else ["+tla"]
        trusted = ["+cf", str(self.authority.path)]
        return run_dcmtk(tool, "-aec", "DEST", *way, *trusted, "--require-peer-cert", HOST, str(self.port), *words)

    def echo(self, own: Signed | None = None) -> int:
        return self.dcmtk("echoscu", own or self.caller).returncode

    def context(self) -> ssl.SSLContext:
        return client_context(Files(str(self.authority.path), str(self.caller.certificate), str(self.caller.key)))

    def shown(self) -> bytes | None:
        """The certificate that a caller is shown (DER)."""
        plain = socket.create_connection((HOST, self.port), 30)
        with self.context().wrap_socket(plain, server_hostname=HOST) as peer:
            return peer.getpeercert(binary_form=True)

    def exchange(self, new: Path, place: Path) -> None:
        """Put another file in the place of one, as a program that renews certificates does."""
        shutil.copy(new, f"{place}.new")
        Path(f"{place}.new").rename(place)


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listening]:
    made = Listening(tmp_path_factory.mktemp("listening"))
    yield made
    made.service.end()


def test_dcmtk_sends_over_tls_and_the_log_says_how(there: Listening) -> None:
    """storescu +tls of DCMTK; the object is kept as from any other caller."""
    sent = there.dcmtk("storescu", there.caller, CT)
    assert sent.returncode == 0, sent.stderr
    assert "TLSv1.3 TLS_" in there.service.wait_line("1 objects, ")
    assert there.service.left()


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_has_associations_over_tls(there: Listening, newest: ssl.TLSVersion) -> None:
    """C-ECHO of pynetdicom under each version; the plain port serves beside it."""
    context = there.context()
    context.maximum_version = newest
    entity = pynetdicom.AE()
    entity.add_requested_context(VERIFICATION)
    for port, way in ((there.port, (context, HOST)), (there.service.port, None)):
        association = entity.associate(HOST, port, ae_title="DEST", tls_args=way)
        assert association.is_established
        assert association.send_c_echo().Status == 0
        association.release()


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("nobody", "the peer has shown no certificate"),
        ("stranger", "not signed by an authority"),
        ("expired", "has expired"),
        ("early", "is not valid yet"),
        ("revoked", "is revoked"),
    ],
)
def test_a_caller_without_a_good_certificate_is_refused_and_told_why(there: Listening, who: str, why: str) -> None:
    """echoscu +tls with no certificate, or one that is of others, expired, not valid yet or revoked."""
    assert there.dcmtk("echoscu", there.callers[who]).returncode != 0
    assert "127.0.0.1" in there.service.wait_line(why)
    assert there.echo() == 0


def test_openssl_sees_tls_13_alone_and_no_ticket(there: Listening) -> None:
    """openssl s_client is asked for nothing that it could resume with."""
    words = ["openssl", "s_client", "-connect", f"{HOST}:{there.port}", "-CAfile", str(there.authority.path)]
    words += ["-cert", str(there.caller.certificate), "-key", str(there.caller.key), "-verify_return_error"]
    found = subprocess.run(words, input="", capture_output=True, text=True, timeout=60, check=False)
    assert "Protocol  : TLSv1.3" in found.stdout or "TLSv1.3, Cipher is" in found.stdout
    assert "session ticket" not in found.stdout.lower()
    assert "Compression: NONE" in found.stdout


def test_files_are_exchanged_while_an_association_goes_on(there: Listening) -> None:
    """Certificate and key are renewed, then are wrong, then revoke the caller: associations that are there go on."""
    before = there.shown()
    old = [(path, Path(f"{path}.kept")) for path in (there.ours.certificate, there.ours.key, there.lists)]
    for path, kept in old:
        shutil.copy(path, kept)
    entity = pynetdicom.AE()
    entity.add_requested_context(VERIFICATION)
    association = entity.associate(HOST, there.port, ae_title="DEST", tls_args=(there.context(), HOST))
    assert association.is_established
    renewed = there.authority.signed("renewed", HOST)
    there.exchange(renewed.certificate, there.ours.certificate)
    there.exchange(renewed.key, there.ours.key)
    there.service.wait_line("the files of tls were read again")
    assert there.shown() not in (None, before)
    there.exchange(there.caller.key, there.ours.key)
    line = there.service.wait_line("the files of tls can't be taken, the old ones stay in force")
    assert "is not the key of" in line
    assert there.echo() == 0
    there.exchange(renewed.key, there.ours.key)
    there.service.wait_line("the files of tls were read again")
    there.authority.revokes(there.caller)
    there.service.wait_line("the files of tls were read again")
    assert there.echo() != 0
    assert association.send_c_echo().Status == 0
    for path, kept in old:
        there.exchange(kept, path)
    there.service.wait_line("the files of tls were read again")
    assert there.echo() == 0
    association.release()


def test_500_silent_and_500_half_open_callers_keep_nobody_out(there: Listening) -> None:
    """While 500 say nothing on the TLS port, and 500 more have only begun to shake hands, others are answered."""
    with ExitStack() as held:
        for number in range(2 * SILENT):
            peer = held.enter_context(socket.create_connection((HOST, there.port), 30))
            if number % 2:
                caller = Session(there.context(), server_side=False, server_name=HOST)
                caller.advance()
                peer.sendall(caller.output())
        assert there.echo() == 0
        assert run_dcmtk("echoscu", "-aec", "DEST", HOST, str(there.service.port)).returncode == 0


def test_a_reload_asks_for_no_certificate_any_more_and_leaves_the_port(there: Listening) -> None:
    """clientAuth is taken by a reload; another port takes a restart, and the open one stays."""
    config = there.service.folder / "config.yml"
    before = config.read_text()
    new = before.replace("{port: ", "{clientAuth: optional, port: ").replace(str(there.port), str(free_port()))
    config.write_text(new)
    told = there.service.leyden("reload")
    assert "tls.clientAuth required -> optional" in told.stdout
    assert "takes a restart" in told.stdout + told.stderr
    wait_for(lambda: there.dcmtk("echoscu", None).returncode == 0)
    assert there.dcmtk("echoscu", there.callers["stranger"]).returncode != 0
    config.write_text(before)
    assert there.service.leyden("reload").returncode == 0
    wait_for(lambda: there.dcmtk("echoscu", None).returncode != 0)


def test_status_names_what_ends_soon(there: Listening) -> None:
    """`leyden status` tells of the certificates that end within 30 days, and of the revocation list later."""
    found = there.service.leyden("status").stdout
    assert "warning: the certificate for tls, CN=127.0.0.1, ends at" in found
    assert "revocation list" not in found
    said = reading.read(there.service.spool)
    assert said is not None
    assert set(said.certificates) == {"tls", "tls authorities", "tls revocation lists"}


def test_scp_port_0_leaves_the_tls_port_alone(tmp_path: Path, there: Listening) -> None:
    """With `scpPort: 0` nothing comes in that is not encrypted. /health looks there, too, and is told to nobody."""

    def health() -> int:
        try:
            return int(urllib.request.urlopen(f"http://127.0.0.1:{api}/health", timeout=30).status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    api = free_port()
    port = free_port()
    files = f"certificate: {there.ours.certificate}, key: {there.ours.key}, authorities: {there.authority.path}"
    keys = {"scpPort": 0, "tls": f"{{port: {port}, {files}}}", "api": f"{{enabled: true, port: {api}}}"}
    alone = Service(tmp_path, node("DEST", free_port()), workers=1, minFreeSpace=0, **keys)
    try:
        alone.start()
        wait_for(lambda: health() == 200, why="a healthy service")
        receiver = alone.role("receiver-0")
        receiver.suspend()
        wait_for(lambda: health() == 503, why="a receiver that does not answer")
        receiver.resume()
        wait_for(lambda: health() == 200, why="a healthy service again")
        assert not [line for line in alone.lines if "127.0.0.2" in line]
        own = ["+tls", str(there.caller.key), str(there.caller.certificate), "+cf", str(there.authority.path)]
        assert run_dcmtk("echoscu", "-aec", "DEST", *own, HOST, str(port)).returncode == 0
        with suppress(OSError), socket.create_connection((HOST, alone.port), 1):
            pytest.fail("the plain port is open")
    finally:
        alone.end()
