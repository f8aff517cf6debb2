"""The listener for TLS, from the key tls of config.yml. Each file is read here: what is wrong with it is told at once.

The key is looked at and forgotten: only a receiver keeps it. A certificate that has ended is a warning only: callers
refuse it, but a service that does not start receives nothing at all.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from leyden.config.report import Report
from leyden.config.schema import Config, ListenerEntry
from leyden.config.yaml_text import Text
from leyden.net.certificates import NO_LISTENER, BadFile, Listener, NotOurs, Term, server_context, terms

DATE = "%Y-%m-%d %H:%M"
_KEYS = ("certificate", "authorities", "revocationLists")


def listener(config: Config, folder: Path, report: Report) -> Listener:
    """What the receivers go by; what is wrong or doubtful is reported. `folder`: that of config.yml."""
    given = config.tls
    if given is None:
        return NO_LISTENER
    found = Listener(
        port=given.port,
        certificate=_path(given.certificate, folder),
        key=_path(given.key, folder),
        authorities=_path(given.authorities, folder),
        revocation_lists=_path(given.revocation_lists, folder),
        client_auth=given.client_auth,
        profile=given.profile,
    )
    _contradictions(given, config, report)
    if not (found.certificate and found.key and (found.authorities or found.client_auth == "off")):
        return found  # what is missing was reported
    try:
        server_context(found)
    except NotOurs as error:
        report.unreadable(given.places[error.key], f"tls.{error.key}", str(error))
    except BadFile as error:
        report.error(given.places[error.key], f"tls.{error.key}", str(error))
    else:
        _warn_of_terms(given, found, report)
    return found


def _contradictions(given: ListenerEntry, config: Config, report: Report) -> None:
    for key in given.required:
        if key not in given.places:
            report.error(given.at, f"tls.{key}", "is missing")
    if config.scp_port == given.port:
        at = given.places.get("port", given.at)
        report.error(at, "tls.port", f"{given.port} is scpPort too; what is encrypted needs a port of its own")
    if given.client_auth != "off" and "authorities" not in given.places:
        why = f"is missing: with clientAuth {given.client_auth} a caller's certificate is checked by it"
        report.error(given.at, "tls.authorities", f"{why}; name the authorities, or write clientAuth: off")
    unused = [key for key in ("authorities", "revocationLists") if key in given.places]
    if given.client_auth == "off" and unused:
        does = "does nothing: with clientAuth off nobody is asked for a certificate"
        report.warn(given.places[unused[0]], f"tls.{unused[0]}", does)


def _warn_of_terms(given: ListenerEntry, found: Listener, report: Report) -> None:
    """Warn of what holds no more or not yet, and of an authority without a revocation list."""
    now_s = time.time()
    checked = found.client_auth != "off"
    paths = (found.certificate, found.authorities if checked else "", found.revocation_lists if checked else "")
    effects = ("callers refuse us", "its callers are refused", "callers of this authority are refused")
    read: dict[str, Sequence[Term]] = {}
    for key, path, effect in zip(_KEYS, paths, effects, strict=True):
        try:
            read[key] = terms(path) if path else ()
        except (OSError, ValueError) as error:
            report.warn(given.places[key], f"tls.{key}", f"{path}: when it ends can't be told ({error})")
            continue
        for term in read[key]:
            if not term.begins_s <= now_s <= term.ends_s:
                at_s, what = (term.ends_s, "ended") if now_s > term.ends_s else (term.begins_s, "does not begin before")
                when = time.strftime(DATE, time.localtime(at_s))
                report.warn(given.places[key], f"tls.{key}", f"{path}: {term.subject} {what} {when}: {effect}")
    issuers = {term.subject for term in read.get("revocationLists", ())}
    for authority in read.get("authorities", ()) if found.revocation_lists and checked else ():
        if authority.subject not in issuers and authority.is_authority:
            what = f"there is no list of {authority.subject}: whoever it vouches for is refused"
            report.warn(given.places["revocationLists"], "tls.revocationLists", what)


def _path(written: Text | None, folder: Path) -> str:
    return os.path.normpath(folder / str(written)) if written else ""
