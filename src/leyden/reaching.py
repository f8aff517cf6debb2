"""How a peer is called: the one way to an association for the sender, the commands and the console.

Plain, or over TLS as its settings say, and then perhaps with a user identity. Over TLS there is no way back: what is
wrong with it is a connection that failed, like any other. Files are read in a thread.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from leyden.deliver.destination import Credentials, TlsSettings
from leyden.dicom.negotiate import UserIdentity
from leyden.net.certificates import BadFile
from leyden.net.identity import user_identity
from leyden.net.scu import Association, ConnectionFailed
from leyden.net.tls import Session
from leyden.net.trust import Contexts, Files

_CONTEXTS = Contexts()  # of this process


async def associate(
    host: str,
    port: int,
    *,
    calling: str,
    called: str,
    contexts: Sequence[tuple[str, str]],
    tls: TlsSettings | None = None,
    credentials: Credentials | None = None,
    connect_timeout_s: float = 30.0,
    answer_timeout_s: float = 30.0,
) -> Association:
    """As Association.open(), over TLS and with credentials where they are given.

    Credentials only go over TLS. Raises ConnectionFailed, also for files that can't be used, or AssociationRejected.
    """
    sessions, identity = None, None
    if tls is not None or credentials is not None:
        means = asyncio.get_running_loop().run_in_executor(None, _means, called, tls, credentials)
        try:
            async with asyncio.timeout(connect_timeout_s or None):
                sessions, identity = await means
        except TimeoutError:  # a file system that hangs
            raise ConnectionFailed(f"the files for TLS are not read within {connect_timeout_s:g} s") from None
    return await Association.open(
        host,
        port,
        calling=calling,
        called=called,
        contexts=contexts,
        sessions=sessions,
        identity=identity,
        connect_timeout_s=connect_timeout_s,
        answer_timeout_s=answer_timeout_s,
    )


def _means(
    called: str, tls: TlsSettings | None, credentials: Credentials | None
) -> tuple[Callable[[], Session], UserIdentity | None]:
    """What makes the TLS sessions of a call, and who we say that we are. Raises ConnectionFailed."""
    if tls is None:
        raise ConnectionFailed("a user's name and passcode never go over a connection without TLS")
    if credentials is not None and credentials.withheld:
        raise ConnectionFailed("only the sender has a passcode that nodes.yml holds in clear; PasscodeFile is for all")
    try:
        files = Files(tls.authorities, tls.certificate, tls.key, tls.revocation_lists)
        context = _CONTEXTS.current(files, called)
        who = None
        if credentials is not None:
            who = user_identity(credentials.username, credentials.secret_file, credentials.passcode)
    except BadFile as error:
        raise ConnectionFailed(str(error)) from error
    trusted = tls.authorities or "the system's certificate store"
    name = tls.name.partition("%")[0].rstrip(".")  # no certificate holds the zone of an address, nor the root's dot
    sessions = partial(Session, context, server_side=False, server_name=name, trusted=trusted)
    try:
        sessions()
    except ValueError as error:  # a label is empty, or too long
        raise ConnectionFailed(f"{tls.name} is no name that a certificate can have") from error
    return sessions, who
