"""callers.yml against DCMTK's storescu and pynetdicom, plain and over TLS, with user identities."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pynetdicom
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydicom.data import get_testdata_file
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from support.authority import HOST, Authority, Signed
from support.peers import run_dcmtk
from support.service import Service, free_port, node, wait_for

CT = str(get_testdata_file("CT_small.dcm"))
PASSCODE = "open sesame 4711"
ISSUER = "https://login.example.org"

CALLERS = """\
- AeTitle: HERE
  Addresses: [127.0.0.0/8, '::1']
  CalledAeTitles: PACS
- AeTitle: AWAY
  Addresses: 192.0.2.0/24
- AeTitle: BOUND
  Certificates: [scanner.example.org, 'sha256:{fingerprint}']
- AeTitle: MR_ONLY
  SopClasses: MRImageStorage
- AeTitle: USER
  Identity: required
  Users:
    dr.who: {passcode}
  Jwt: {{KeyFiles: login.pem, Issuer: '{issuer}', Audience: leyden, Algorithms: ES256}}
"""


class Site:
    """A service that listens with and without TLS, and what its callers need."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "tls")
        own = self.authority.signed("own")
        self.scanner = self.authority.signed("scanner", "scanner.example.org")
        self.known = self.authority.signed("known", "known.example.org")
        self.stranger = self.authority.signed("stranger", "stranger.example.org")
        self.tls_port = free_port()
        self.key = ec.generate_private_key(ec.SECP256R1())
        keys = f"certificate: {own.certificate}, key: {own.key}, authorities: {self.authority.path}"
        self.service = Service(
            folder / "leyden",
            node("PACS", free_port()) + node("OTHER", free_port()),
            tls=f"{{port: {self.tls_port}, {keys}, clientAuth: optional}}",
            audit="{enabled: true}",
            workers=1,
        )
        public = self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.service.folder / "login.pem").write_bytes(public)
        passcode = subprocess.run(
            [sys.executable, "-m", "leyden", "passcode"], input=PASSCODE, capture_output=True, text=True, timeout=60
        ).stdout.strip()
        fingerprint = subprocess.run(
            ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(self.known.certificate)],
            capture_output=True, text=True, check=True,
        ).stdout.strip().partition("=")[2]  # fmt: skip
        callers = CALLERS.format(fingerprint=fingerprint, passcode=passcode, issuer=ISSUER)
        (self.service.folder / "callers.yml").write_text(callers)

    def sends(self, calling: str, *words: str, called: str = "PACS", signed: Signed | None = None) -> str:
        """What DCMTK's storescu says of a try; "" = it was received. `signed`: over TLS, with this certificate."""
        port = self.service.port
        if signed is not None:
            words = ("+tls", str(signed.key), str(signed.certificate), "+cf", str(self.authority.path), *words)
            port = self.tls_port
        done = run_dcmtk("storescu", *words, "-aet", calling, "-aec", called, HOST, str(port), CT)
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def token(self, **claims: object) -> str:
        now_s = int(time.time())
        said = {"iss": ISSUER, "aud": "leyden", "sub": "nurse.joy", "exp": now_s + 600, **claims}
        return jwt.encode(said, self.key, "ES256")

    def audited(self) -> list[dict[str, object]]:
        """The records of the audit log."""
        text = (self.service.folder / "log" / "leyden_audit.log").read_text()
        return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("callers"))
    site.service.start()
    yield site
    site.service.stop()


UNKNOWN = "Calling AE Title Not Recognized"


def test_a_title_counts_from_its_own_addresses(site: Site) -> None:
    """Unknown = 1,1,3, and "the right title at a wrong address" is answered alike (docs/configure.md)."""
    assert site.sends("HERE") == ""
    assert UNKNOWN in site.sends("AWAY")
    assert UNKNOWN in site.sends("NOBODY")
    assert UNKNOWN in site.sends("here")
    assert "Called AE Title Not Recognized" in site.sends("HERE", called="OTHER")
    assert "Called AE Title Not Recognized" in site.sends("HERE", called="NOWHERE")
    assert "callers.yml:4" in site.service.log


def test_a_title_counts_with_its_own_certificate(site: Site) -> None:
    """A certificate is known by a name in it or by its hash, and nothing but TLS shows one."""
    assert site.sends("BOUND", signed=site.scanner) == ""
    assert site.sends("BOUND", signed=site.known) == ""
    assert UNKNOWN in site.sends("BOUND", signed=site.stranger)
    assert UNKNOWN in site.sends("BOUND")
    assert site.sends("HERE", signed=site.stranger) == "", "who is bound to no certificate may have any"


def test_other_sop_classes_are_refused_as_not_supported(site: Site) -> None:
    """`SopClasses`: "others are refused in negotiation: abstract syntax not supported" (docs/configure.md)."""
    entity = pynetdicom.AE("MR_ONLY")
    for abstract in ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.1"):
        entity.add_requested_context(abstract)
    association = entity.associate(HOST, site.service.port, ae_title="PACS")
    assert {str(context.abstract_syntax): context.result for context in association.rejected_contexts} == {
        "1.2.840.10008.5.1.4.1.1.2": 3
    }
    assert association.send_c_echo().Status == 0
    association.release()
    assert "No presentation context for: (CT)" in site.sends("MR_ONLY")


def test_a_user_of_dcmtk_is_checked(site: Site, tmp_path: Path) -> None:
    """User name and passcode, and JWT, under TLS; Kerberos, SAML and a name alone are no proof (PS3.7 D.3.3.7)."""
    token = tmp_path / "token"

    def user(*words: str, signed: Signed | None = site.stranger) -> str:
        return site.sends("USER", *words, signed=signed)

    assert user("-usr", "dr.who", "-pwd", PASSCODE) == ""
    assert user("-usr", "dr.who", "-pwd", PASSCODE, "-rsp") == "", "a positive response is given"
    assert "No Reason" in user("-usr", "dr.who", "-pwd", "wrong")
    assert "No Reason" in user("-usr", "nobody", "-pwd", PASSCODE)
    assert "No Reason" in user("-usr", "dr.who")
    assert "No Reason" in user()
    assert "No Reason" in user("-usr", "dr.who", "-pwd", PASSCODE, signed=None), "without TLS it does not count"
    token.write_text(site.token())
    assert user("--jwt", str(token), "-rsp") == ""
    for wrong in ({"aud": "other"}, {"exp": int(time.time()) - 600}):
        token.write_text(site.token(**wrong))
        assert "No Reason" in user("--jwt", str(token))
    assert "No Reason" in user("--kerberos", str(token))
    assert "No Reason" in user("--saml", str(token))


def test_a_user_of_pynetdicom_gets_the_answer_that_it_asks_for(site: Site) -> None:
    """The server response to a user name and passcode is there, and empty (PS3.7 D.3.3.7.2)."""
    context = site.authority.trusted(site.stranger)
    import ssl

    tls = ssl.create_default_context(cafile=context.authorities)
    tls.load_cert_chain(context.certificate, context.key)
    for asks in (True, False):
        entity = pynetdicom.AE("USER")
        entity.add_requested_context("1.2.840.10008.1.1")
        identity = UserIdentityNegotiation()
        identity.user_identity_type, identity.positive_response_requested = 2, asks
        identity.primary_field, identity.secondary_field = b"dr.who", PASSCODE.encode()
        association = entity.associate(HOST, site.tls_port, ae_title="PACS", ext_neg=[identity], tls_args=(tls, HOST))
        assert association.is_established
        answered = association.acceptor.user_identity
        assert (answered is not None) is asks
        assert not asks or answered.server_response in (b"", None)
        assert association.send_c_echo().Status == 0
        association.release()


def test_what_is_refused_is_audited_and_no_secret_is_written(site: Site, tmp_path: Path) -> None:
    """The audit log says who was turned away and which user sent what; neither a passcode nor a token is anywhere."""
    site.sends("AWAY")
    secret = site.token()
    (tmp_path / "token").write_text(secret)
    assert site.sends("USER", "--jwt", str(tmp_path / "token"), signed=site.stranger) == ""
    assert site.sends("USER", "-usr", "dr.who", "-pwd", PASSCODE, signed=site.stranger) == ""

    def records(event: str, **holds: object) -> list[dict[str, object]]:
        return [each for each in site.audited() if each["event"] == event and holds.items() <= each.items()]

    wait_for(lambda: records("turnedaway", calling="AWAY", why="address", peer=HOST))
    wait_for(lambda: records("received", user="nurse.joy") and records("received", user="dr.who"))
    written = b"".join(path.read_bytes() for path in site.service.folder.rglob("*") if path.is_file())
    assert PASSCODE.encode() not in written
    assert secret.encode() not in written


def test_the_start_says_who_may_call_and_a_reload_changes_it(site: Site) -> None:
    """A reload "changes who comes in next" (docs/configure.md); an empty file does not open the door."""
    assert "open to 5 AE titles as callers.yml says" in site.service.log
    path = site.service.folder / "callers.yml"
    before = path.read_text()

    def reload(said: str) -> None:
        assert site.service.process is not None
        site.service.process.send_signal(signal.SIGHUP)
        site.service.wait_line(said)
        site.service.wait_line("in force")

    path.write_text(before + "- AeTitle: NEWCOMER\n")
    reload("callers.yml: 1 caller added")
    assert site.sends("NEWCOMER") == ""
    path.write_text("")
    reload("callers.yml: is empty; name who may call")
    assert UNKNOWN in site.sends("NOBODY")
    path.write_text("[]\n")
    reload("callers.yml: everybody may call now")
    assert site.sends("NOBODY") == ""
    path.write_text(before)
    reload("only those in it may call now")
    assert UNKNOWN in site.sends("NOBODY")


def test_a_flood_is_told_once_with_its_count(site: Site) -> None:
    """ "The same again is told once a minute, with how often it came" (docs/configure.md)."""
    for _ in range(5):
        assert UNKNOWN in site.sends("FLOOD")
    assert len(re.findall(r"FLOOD -> PACS \(127\.0\.0\.1\)", site.service.log)) == 1
