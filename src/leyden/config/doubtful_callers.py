"""What is legal in callers.yml and most probably wrong: callers that can never come in, and entries that nobody uses.

Pure. These are warnings, so what could be meant as it is written is not told.
"""

import ipaddress
from collections.abc import Iterator, Sequence

from leyden.admission.callers import ANY_TITLE, Caller, span
from leyden.config.schema import Config
from leyden.config.yaml_text import At
from leyden.net.certificates import Listener

Doubt = tuple[At, str, str]
"""Where, the key, and what is doubtful there."""


def doubts(callers: Sequence[Caller], config: Config, tls: Listener) -> Iterator[Doubt]:
    """Everything doubtful. `tls`: the listener for it, if there is one."""
    allowed = config.allowed_calling_ae_titles
    if not allowed and (at := config.places.get("allowedCallingAeTitles")):
        yield at, "allowedCallingAeTitles", "names nobody, so it keeps nobody out"
    if not callers:
        return
    titles = {caller.title for caller in callers}
    for title in allowed:
        if str(title) not in titles and ANY_TITLE not in titles:
            yield title.at, "allowedCallingAeTitles", f"{title} can't come in: callers.yml does not name it"
    for n, caller in enumerate(callers):
        for key, message in (
            *_shut_out(caller, [str(title) for title in allowed], tls),
            *_unused(caller, callers[:n]),
            *_alike(caller, callers[:n]),
            *_networks(caller),
            *_nothing_left(caller, config),
        ):
            yield _at(caller), key, message


def _at(caller: Caller) -> At:
    file, _, line = caller.where.rpartition(":")
    return At(file, int(line))


def _shut_out(caller: Caller, allowed: Sequence[str], tls: Listener) -> Iterator[tuple[str, str]]:
    if allowed and caller.title not in (*allowed, ANY_TITLE):
        yield "AeTitle", f"{caller.title} can't come in: allowedCallingAeTitles (config.yml) does not name it"
    if caller.certificates and (not tls.port or tls.client_auth == "off"):
        why = "tls.clientAuth (config.yml) is off" if tls.port else "there is no TLS listener (tls in config.yml)"
        yield "Certificates", f"{caller.title} can't come in: {why}"
    if caller.identity != "off" and not tls.port:
        what = "can't come in" if caller.identity == "required" else "is never asked for one"
        yield "Identity", f"{caller.title} {what}: there is no TLS listener (tls in config.yml)"


def _unused(caller: Caller, earlier: Sequence[Caller]) -> Iterator[tuple[str, str]]:
    """An entry all of whose visitors come by one before it."""
    for other in earlier:
        if other.title != caller.title:
            continue
        wider = not other.certificates or (caller.certificates and set(caller.certificates) <= set(other.certificates))
        if wider and _covers(other, caller):
            yield "AeTitle", f"nobody comes by this entry: {other.where} is for the same addresses, and comes first"
            return


def _covers(other: Caller, caller: Caller) -> bool:
    """Whether each address of `caller` is one of `other`."""
    if not other.addresses:
        return True
    spans = [span(text) for text in other.addresses]
    return bool(caller.addresses) and all(
        any(first <= begin and end <= last for first, last in spans) for begin, end in map(span, caller.addresses)
    )


def _alike(caller: Caller, earlier: Sequence[Caller]) -> Iterator[tuple[str, str]]:
    for other in earlier:
        if other.title != caller.title and other.title.lower() == caller.title.lower():
            yield "AeTitle", f"{caller.title} differs only in case from {other.title} ({other.where}); each is its own"
            return


def _networks(caller: Caller) -> Iterator[tuple[str, str]]:
    spans = [(span(text), text) for text in caller.addresses]
    for n, ((begin, end), text) in enumerate(spans):
        for m, ((first, last), outer) in enumerate(spans):
            same = (first, last) == (begin, end)
            if first <= begin and end <= last and (m < n or not same):
                yield "Addresses", f"{text} is not needed: it lies in {outer}"
                break
        if ipaddress.ip_network(text).prefixlen == 0:
            yield "Addresses", f"{text} is every address; leave the key out if that is meant"


def _nothing_left(caller: Caller, config: Config) -> Iterator[tuple[str, str]]:
    if caller.classes and set(caller.classes) <= set(config.reject_abstract_syntaxes):
        yield "SopClasses", "it can send nothing: rejectAbstractSyntaxes (config.yml) refuses all of them"
