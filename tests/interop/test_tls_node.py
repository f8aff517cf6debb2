"""A node that is reached over TLS, with the whole service: certificates that change, what is shown, what is not."""

import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from leyden.deliver.destination import Credentials
from support.authority import Authority, Signed
from support.objects import make_ct
from support.peers import Pacs
from support.sender import Sender, destination
from support.service import LIMIT_S, Service, node, wait_for

PASSCODE = "sesam-oeffne-dich"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def listener(authority: Authority) -> ssl.SSLContext:
    return authority.server(authority.signed("theirs"))


def exchange(used: Signed, new: Signed) -> None:
    os.replace(new.key, used.key)
    os.replace(new.certificate, used.certificate)


def test_certificates_are_exchanged_under_load(
    authority: Authority, listener: ssl.SSLContext, pacs: Callable[..., Pacs], sender: Callable[..., Sender]
) -> None:
    """A new certificate takes effect with the next association and ends none; one that can't be used is an error in
    the log, and the one before stays in use (docs/configure.md)."""
    begun, go_on = threading.Event(), threading.Event()

    def held(_: object) -> int:
        begun.set()
        assert go_on.wait(LIMIT_S)
        return 0x0000

    peer = pacs("PACS", tls=listener, answer=held)
    used = authority.signed("used", "first")
    one = sender(destination(peer.port, tls=authority.trusted(used), max_associations=1, batch_size=1))
    one.put(1)
    one.start()
    assert begun.wait(LIMIT_S)
    exchange(used, authority.signed("later", "second"))
    one.put(2)
    one.ring()
    go_on.set()
    peer.wait(2)
    assert peer.callers == ["first", "second"]
    assert " WARNING " not in one.log
    used.certificate.write_text("half a certifi")
    one.put(3)
    one.ring()
    peer.wait(3)
    assert peer.callers == ["first", "second", "second"]
    one.wait_line("PACS: the changed files for TLS are not used, and those from before stay: ")
    assert one.log.count(" ERROR ") == 1


def test_a_passcode_file_is_read_for_each_association_and_stands_in_no_log(
    authority: Authority, listener: ssl.SSLContext, pacs: Callable[..., Pacs], sender: Callable[..., Sender],
    tmp_path: Path,
) -> None:  # fmt: skip
    """ "Never logged" (docs/configure.md); an object waits while there is no passcode, and goes by itself then."""
    peer = pacs("PACS", tls=listener)
    secret = tmp_path / "passcode"
    tls = authority.trusted(authority.signed("mine"))
    one = sender(destination(peer.port, tls=tls, credentials=Credentials("leyden", str(secret)), retry_delays_s=(0.2,)))
    one.put(1)
    one.start()
    one.wait_line(f"{secret}: No such file or directory; put the file there, or mend its path; next try in")
    secret.touch(0o600)
    secret.write_text(PASSCODE)
    peer.wait(1)
    assert PASSCODE not in one.log


def test_what_the_service_shows_of_a_node_over_tls(
    authority: Authority, pacs: Callable[..., Pacs], service: Callable[..., Service], tmp_path: Path
) -> None:
    """Why it waits, in status and echo, as for any other reason; the passcode nowhere, though nodes.yml has it."""
    old = pacs("OLD", tls=authority.server(authority.signed("old", end=-0.1, begin=-3)))
    good = pacs("GOOD", tls=authority.server(authority.signed("good")))
    own = authority.signed("ours")
    tls = f"{{Authorities: {authority.path}, Certificate: {own.certificate}, Key: {own.key}}}"
    leyden = service(
        node("OLD", old.port, Tls=tls)
        + node("GOOD", good.port, Tls=tls, Credentials=f"{{Username: leyden, Passcode: {PASSCODE}}}")
    ).start()
    file = str(make_ct(tmp_path / "ct.dcm", 1, rows=16, columns=16))
    for title in ("OLD", "GOOD"):
        assert leyden.leyden("send", f"127.0.0.1:{leyden.port}", "--called", title, file).returncode == 0
    good.wait(1)
    why = "no TLS connection: its certificate expired on 20"
    wait_for(lambda: why in leyden.leyden("status").stdout, why="the reason in leyden status")
    assert f"127.0.0.1:{good.port} over TLS" in leyden.leyden("check").stdout
    echoed = leyden.leyden("echo", "OLD")
    assert (echoed.returncode, why in echoed.stderr) == (1, True)
    assert leyden.leyden("echo", "GOOD").returncode == 0
    assert leyden.leyden("send", "GOOD", file).returncode == 0
    options = ("--ca", str(authority.path), "--cert", str(own.certificate), "--key", str(own.key))
    assert leyden.leyden("echo", f"127.0.0.1:{good.port}", "--called", "GOOD", *options).returncode == 0
    assert "before it answered" in leyden.leyden("echo", f"127.0.0.1:{good.port}").stderr
    assert PASSCODE not in leyden.log + leyden.leyden("check").stderr + leyden.leyden("status", "--json").stdout
