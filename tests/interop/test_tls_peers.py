"""Calling peers over TLS that others wrote: DCMTK's storescp, pynetdicom's SCP, openssl s_server."""

import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pynetdicom
import pytest
import uvloop
from pynetdicom import evt

from leyden import reaching
from leyden.deliver.destination import Credentials, TlsSettings
from leyden.dicom import uids
from leyden.errors import Transient
from leyden.net.scu import Association, ConnectionFailed
from leyden.reaching import associate
from support.authority import HOST, Authority, Signed
from support.objects import make_ct, split
from support.peers import Pacs, Storescp, listens
from support.service import free_port, wait_for

CT = "1.2.840.10008.5.1.4.1.1.2"
PAIRS = [(CT, uids.EXPLICIT_LE), (uids.VERIFICATION, uids.IMPLICIT_LE)]
CLEARTEXT = "TLS handshake, as one does that does not speak TLS|the peer does not speak TLS"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def own(authority: Authority) -> Signed:
    return authority.signed("own")


def call(
    port: int,
    tls: TlsSettings | None,
    path: Path | None = None,
    credentials: Credentials | None = None,
    connect_timeout_s: float = 20,
) -> tuple[str, str]:
    """C-ECHO, and C-STORE of a file, if there is one; the TLS version and cipher suite. Raises Transient."""

    async def main() -> tuple[str, str]:
        association = await associate(
            HOST, port, calling="LEYDEN", called="PACS", contexts=PAIRS, tls=tls, credentials=credentials,
            connect_timeout_s=connect_timeout_s, answer_timeout_s=20,
        )  # fmt: skip
        assert await association.echo() == 0
        if path is not None:
            await stored(association, path)
        await association.release()
        session = association._link.tls
        return ("", "") if session is None else (session.version, session.suite)

    return uvloop.run(main())


async def stored(association: Association, path: Path) -> None:
    meta, data = split(path.read_bytes())
    with path.open("rb") as file:
        size = path.stat().st_size
        answer = await association.store(
            association.accepted[meta.sop_class_uid, meta.transfer_syntax_uid],
            meta.sop_class_uid, meta.sop_instance_uid, file.fileno(), size - len(data), len(data),
        )  # fmt: skip
    assert answer.status == 0


def why(port: int, tls: TlsSettings | None) -> str:
    with pytest.raises(ConnectionFailed) as raised:
        call(port, tls)
    return str(raised.value)


@pytest.mark.parametrize(
    ("profile", "suite"),
    [
        ("--profile-bcp195-nd", ("TLSv1.3", "TLS_")),
        ("--profile-bcp195-ex", ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM")),  # no TLS 1.3 in DCMTK 3.6.7
    ],
)
def test_storescp_of_each_profile_of_today(
    storescp: Callable[..., Storescp], authority: Authority, tmp_path: Path, profile: str, suite: tuple[str, str]
) -> None:
    """PS3.15 B.12 and B.13, with certificates of P-256 as `leyden certificate new` makes them."""
    theirs = authority.signed(tmp_path.name)
    peer = storescp("+tls", str(theirs.key), str(theirs.certificate), "--ignore-peer-cert", profile)
    path = make_ct(tmp_path / "ct.dcm", 1)
    version, name = call(peer.port, authority.trusted(), path)
    assert (version, name.startswith(suite[1])) == (suite[0], True)
    (got,) = peer.folder.iterdir()
    assert split(got.read_bytes())[1] == split(path.read_bytes())[1]


def test_storescp_that_wants_our_certificate(
    storescp: Callable[..., Storescp], authority: Authority, own: Signed, tmp_path: Path
) -> None:
    """Over TLS 1.3 the peer looks at our certificate after our side of the handshake is done: the reason is told
    all the same."""
    peer = storescp("+tls", str(own.key), str(own.certificate), "--require-peer-cert", "+cf", str(authority.path))
    call(peer.port, authority.trusted(own))
    assert re.search("wants (a certificate from us|one)", why(peer.port, authority.trusted()))
    other = Authority(tmp_path, "other").signed("stranger")
    assert "our certificate" in why(peer.port, authority.trusted(other))


@pytest.mark.parametrize(
    ("names", "days", "said"),
    [
        ((), (-30, -2), "its certificate expired on 20"),
        ((), (2, 30), "its certificate is not valid before 20"),
        (("pacs.example.org", "10.0.0.5"), (-1, 30), "its certificate is for pacs.example.org, 10.0.0.5, not for 127."),
    ],
)
def test_a_certificate_that_is_not_good(
    storescp: Callable[..., Storescp],
    authority: Authority,
    tmp_path: Path,
    names: tuple[str, ...],
    days: tuple[float, float],
    said: str,
) -> None:
    """What is wrong with the peer's certificate is told in words that say what to look at."""
    theirs = authority.signed(tmp_path.name, *names, begin=days[0], end=days[1])
    peer = storescp("+tls", str(theirs.key), str(theirs.certificate), "--ignore-peer-cert")
    assert f"no TLS connection: {said}" in why(peer.port, authority.trusted())
    if names:
        call(peer.port, authority.trusted(name=names[0]))
        call(peer.port, authority.trusted(name=f"{names[0]}."))
        for name in (".pacs", "pacs..org", f"{'p' * 64}.org"):
            assert "is no name that a certificate can have" in why(peer.port, authority.trusted(name=name))


def test_a_certificate_of_another_authority_and_one_that_is_revoked(
    storescp: Callable[..., Storescp], authority: Authority, own: Signed, tmp_path: Path
) -> None:
    """RevocationLists, and Authorities that have not signed the peer's certificate."""
    peer = storescp("+tls", str(own.key), str(own.certificate), "--ignore-peer-cert")
    other = Authority(tmp_path, "other")
    assert f"not signed by an authority in {other.path}" in why(peer.port, other.trusted())
    assert "not signed by an authority in the system's certificate store" in why(peer.port, TlsSettings(HOST))
    call(peer.port, authority.trusted(revocation_lists=str(authority.revokes())))
    assert "its certificate is revoked" in why(
        peer.port, authority.trusted(revocation_lists=str(authority.revokes(own)))
    )
    foreign = why(peer.port, authority.trusted(revocation_lists=str(other.revokes())))
    assert "can't be checked for revocation: there is no CRL of its authority" in foreign


def test_a_plain_peer_behind_a_tls_node_and_the_other_way_round(
    storescp: Callable[..., Storescp], pacs: Callable[..., Pacs], authority: Authority, own: Signed
) -> None:
    """Never a fall-back to plain; the error says what it looks like."""
    for port in (storescp().port, pacs("PACS").port):
        said = why(port, authority.trusted())
        assert any(words in said for words in CLEARTEXT.split("|")), said
    peer = storescp("+tls", str(own.key), str(own.certificate), "--ignore-peer-cert")
    said = why(peer.port, None)
    assert "before it answered, as one does that speaks TLS only" in said or "as TLS has it" in said


@pytest.fixture
def s_server(own: Signed) -> Iterator[Callable[..., int]]:
    """`openssl s_server` with these options; its port."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> int:
        port = free_port()
        words = ["openssl", "s_server", "-accept", f"{HOST}:{port}", "-cert", own.certificate, "-key", own.key]
        quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen([*words, *options], **quiet))
        wait_for(lambda: listens(port), why="s_server")
        return port

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_s_server_of_an_older_tls_is_refused(authority: Authority, s_server: Callable[..., int]) -> None:
    """TLS 1.2 at least (RFC 9325)."""
    said = why(s_server("-tls1_1", "-cipher", "ALL:@SECLEVEL=0"), authority.trusted())
    assert "no TLS connection: " in said


# -- user identity


class Asking:
    """A storage SCP of pynetdicom over TLS that knows one user."""

    def __init__(self, authority: Authority, own: Signed, version: ssl.TLSVersion) -> None:
        context = authority.server(own)
        context.maximum_version = version
        self.asked: list[tuple[int, bytes, bytes]] = []
        entity = pynetdicom.AE("PACS")
        entity.add_supported_context(uids.VERIFICATION)
        self.server = entity.start_server(
            (HOST, 0), block=False, ssl_context=context, evt_handlers=[(evt.EVT_USER_ID, self._check)]
        )
        self.port = self.server.socket.getsockname()[1]

    def _check(self, event: evt.Event) -> tuple[bool, bytes | None]:
        self.asked.append((event.user_id_type, event.primary_field, event.secondary_field or b""))
        return event.primary_field in (b"leyden", b"a.b.c") and event.secondary_field in (None, b"", b"geheim"), None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_pynetdicom_is_told_who_calls(
    authority: Authority, own: Signed, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    """User identity (PS3.7 D.3.3.7): a user, a user with passcode, a JWT; each file is read when it is needed."""
    peer = Asking(authority, own, version)
    secret = tmp_path / "secret"
    secret.touch(0o600)
    try:
        for content, credentials in (
            ("geheim\n", Credentials("leyden", str(secret))),
            ("a.b.c", Credentials("", str(secret))),
            ("", Credentials("leyden")),
        ):
            secret.write_text(content)
            assert call(peer.port, authority.trusted(own), None, credentials)[0].replace(".", "_") == version.name
        secret.write_text("wrong")
        with pytest.raises(Transient, match="rejected") as raised:
            call(peer.port, authority.trusted(own), None, Credentials("leyden", str(secret)))
        assert "wrong" not in str(raised.value)
        with pytest.raises(ConnectionFailed, match="never go over a connection without TLS"):
            call(peer.port, None, None, Credentials("leyden", str(secret)))
        with pytest.raises(ConnectionFailed, match="only the sender has a passcode"):
            call(peer.port, authority.trusted(own), None, Credentials("leyden", withheld=True))
        kinds = [(2, b"leyden", b"geheim"), (5, b"a.b.c", b""), (1, b"leyden", b""), (2, b"leyden", b"wrong")]
        assert peer.asked == kinds
    finally:
        peer.server.shutdown()


def test_a_silent_peer_is_given_up_after_the_time_for_connecting(authority: Authority) -> None:
    """The handshake is part of connecting (connectTimeoutSeconds)."""

    with socket.create_server((HOST, 0)) as silent, pytest.raises(ConnectionFailed, match="no TLS handshake within"):
        call(silent.getsockname()[1], authority.trusted(), connect_timeout_s=0.5)


def test_files_on_a_disk_that_hangs_are_a_failed_connection(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is waited for without a limit. The disk is the only part that is not real."""
    released = threading.Event()
    monkeypatch.setattr(reaching, "_means", lambda *_: released.wait(30))
    try:
        with pytest.raises(ConnectionFailed, match="the files for TLS are not read within"):
            call(1, authority.trusted(), connect_timeout_s=0.3)
    finally:
        released.set()
