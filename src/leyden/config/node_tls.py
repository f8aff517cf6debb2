"""How a node is reached over TLS, and with which user identity: the keys Tls and Credentials of nodes.yml.

Every file is read here, so that what is wrong with it is told before the service goes by it.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from leyden.config.report import Report
from leyden.config.schema import CredentialsEntry, NodeEntry
from leyden.config.yaml_text import Text
from leyden.deliver.destination import Credentials, TlsSettings
from leyden.net.certificates import BadFile, NotOurs
from leyden.net.identity import NOT_GIVEN, read_secret
from leyden.net.trust import Files, client_context

CREDENTIALS_DIRECTORY = "CREDENTIALS_DIRECTORY"  # systemd.exec(5)


class Way(NamedTuple):
    """How a node is reached; None = plain, and without a user identity."""

    tls: TlsSettings | None = None
    credentials: Credentials | None = None


def ways(nodes: Iterable[NodeEntry], folder: Path, environ: Mapping[str, str], report: Report) -> dict[str, Way]:
    """By AE title. `folder`: that of nodes.yml. What is wrong or doubtful is reported."""
    return {
        str(node.ae_title): Way(_tls(node, folder, report), _credentials(node, folder, environ, report))
        for node in nodes
    }


def _tls(node: NodeEntry, folder: Path, report: Report) -> TlsSettings | None:
    given = node.tls
    if given is None:
        return None
    if bool(given.certificate) != bool(given.key):
        there, missing = ("Certificate", "Key") if given.certificate else ("Key", "Certificate")
        report.error(given.places[there], f"Tls.{there}", f"{missing} is missing: certificate and key belong together")
        return None
    files = Files(*(_path(each, folder) for each in (
        given.authorities, given.certificate, given.key, given.revocation_lists
    )))  # fmt: skip
    try:
        client_context(files)
    except NotOurs as error:
        report.unreadable(given.places[_spelled(error.key)], f"Tls.{_spelled(error.key)}", str(error))
    except BadFile as error:
        report.error(given.places[_spelled(error.key)], f"Tls.{_spelled(error.key)}", str(error))
    return TlsSettings(
        given.name or node.host_name, files.authorities, files.certificate, files.key, files.revocation_lists
    )


def _spelled(key: str) -> str:
    """A key of config.yml as nodes.yml has it."""
    return key[0].upper() + key[1:]


def _credentials(node: NodeEntry, folder: Path, environ: Mapping[str, str], report: Report) -> Credentials | None:
    given = node.credentials
    if given is None:
        return None
    at = node.places["Credentials"]
    if node.tls is None and "Tls" not in node.places:
        why = "a user's name and passcode never go over a connection that others can read; add Tls to the node"
        report.error(at, "Credentials", why)
    secrets = [key for key in ("PasscodeFile", "Credential", "JwtFile", "Passcode") if key in given.places]
    wrong = _contradiction(given, secrets)
    if wrong:
        report.error(at, "Credentials", wrong)
        return None
    if given.passcode:
        clear = "stands here in clear, for everybody who reads this file or a copy of it; PasscodeFile keeps it apart"
        report.warn(given.places["Passcode"], "Credentials.Passcode", clear)
    secret_file = _path(given.passcode_file or given.jwt_file, folder)
    if given.credential:
        held = environ.get(CREDENTIALS_DIRECTORY, "")
        secret_file = f"{held}/{given.credential}" if held else f"{NOT_GIVEN}{given.credential}"
        if not held:
            unknown = "is not looked at here: systemd gives it to the service alone (LoadCredential=)"
            report.warn(given.places["Credential"], "Credentials.Credential", unknown)
            return Credentials(given.username, secret_file)
    if secret_file:
        where = f"Credentials.{secrets[0]}"
        try:
            read_secret(secret_file)
        except NotOurs as error:
            report.unreadable(given.places[secrets[0]], where, str(error))
        except BadFile as error:
            report.error(given.places[secrets[0]], where, str(error))
    return Credentials(given.username, secret_file, given.passcode)


def _contradiction(given: CredentialsEntry, secrets: Sequence[str]) -> str:
    """What makes no user identity of these keys; "" = nothing."""
    if len(secrets) > 1:
        return f"{' and '.join(secrets)}: one of them is enough"
    if given.username and given.jwt_file:
        return "a JWT says by itself who calls; leave out Username or JwtFile"
    if not given.username and not given.jwt_file and not given.credential:
        return "Username is missing (or JwtFile, for a JSON Web Token)"
    return ""


def _path(written: Text | None, folder: Path) -> str:
    return os.path.normpath(folder / str(written)) if written else ""
