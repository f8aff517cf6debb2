"""The settings of the console, from the key api of config.yml: what makes it safe is checked here.

A secret leaves this module only as its SHA-256. It is short of nothing that a token of 256 random bits needs, and one
who can read the hash of a password in memory can read config.yml, too.
"""

import hashlib
import ipaddress
import os
import stat
from pathlib import Path

from leyden.config.report import Report
from leyden.config.schema import Api
from leyden.config.settings import ConsoleSettings
from leyden.net.certificates import unread

SHORT_CHARS = 16  # of a token: fewer can be guessed
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def console(api: Api | None, folder: Path, report: Report) -> ConsoleSettings:
    """What the console goes by; what is wrong or doubtful is reported. `folder`: that of config.yml."""
    if api is None:
        return ConsoleSettings()
    if not api.enabled:
        report = Report()  # nothing is wrong with what does not run
    certificate, key = (_file(api, name, folder, report) for name in ("certificate", "key"))
    if bool(certificate) != bool(key):
        report.error(api.at, "api", "certificate and key belong together; one of them is missing")
    loopback = ipaddress.ip_address(api.bind).is_loopback
    if not loopback and not certificate and not api.allow_plain_http:
        report.error(
            api.places.get("bind", api.at),
            "api.bind",
            f"{api.bind} can be reached by others, and without certificate and key they can read tokens and data on "
            "the way; allowPlainHttp: true says that this is meant",
        )
    _secrets(api, folder, report)
    return ConsoleSettings(
        enabled=api.enabled,
        port=api.port,
        bind=api.bind,
        token=_hashed(api.token),
        service_password=_hashed(api.service_password),
        certificate=certificate,
        key=key,
        host_names=tuple(name.lower() for name in api.host_names),
        require_token=not loopback if api.require_token is None else api.require_token,
        max_connections=api.max_connections,
        requests_per_second=api.requests_per_second,
    )


def _hashed(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest() if secret else ""


def _file(api: Api, name: str, folder: Path, report: Report) -> str:
    """The path of a PEM file, "" if none is named."""
    given = getattr(api, name)
    if given is None:
        return ""
    path, at, place = os.path.normpath(folder / str(given)), api.places[name], f"api.{name}"
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        report.error(at, place, str(unread(name, path, error)))
        return path
    if not stat.S_ISREG(mode):
        report.error(at, place, f"{path} is not a file")
    elif name == "key" and mode & _OTHERS:
        report.error(at, place, f"others than its owner have rights to {path}; chmod 600 takes them away")
    return path


def _secrets(api: Api, folder: Path, report: Report) -> None:
    """Warn of a secret that others can read, and of a token that can be guessed."""
    for name, secret in (("token", api.token), ("servicePassword", api.service_password)):
        at = api.places.get(name)
        if not secret or at is None:
            continue
        if at.line and _readable(folder / at.file):
            report.warn(at, f"api.{name}", f"others than its owner can read {at.file}; chmod 600 takes that away")
        if name == "token" and len(secret) < SHORT_CHARS:
            report.warn(
                at, "api.token", f"has fewer than {SHORT_CHARS} characters; `leyden token new` makes a better one"
            )


def _readable(path: Path) -> bool:
    try:
        return bool(os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False
