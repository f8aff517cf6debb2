"""The errors of Leyden. The type decides what happens next; the text is what an operator reads.

Transient: try again later, nothing is wrong with the object. Corrupt: the bytes at hand do not parse.
RemoteProtocolError: the peer broke the protocol. LocalProtocolError: we would.
"""


class LeydenError(Exception):
    """Whatever Leyden raises on purpose."""


class Transient(LeydenError):
    """Worth another try later: a refused connection, a time-out, a peer out of resources."""


class Corrupt(LeydenError):
    """Bytes that are not what they claim to be; the message says where."""


class RemoteProtocolError(LeydenError):
    """The peer broke PS3.8 or PS3.7. `reason` is the A-ABORT reason/diag. to answer with (PS3.8 section 9.3.8)."""

    def __init__(self, message: str, reason: int = 0) -> None:
        super().__init__(message)
        self.reason = reason


class LocalProtocolError(LeydenError):
    """Our own code asked for something that the protocol does not allow in this state."""


class ConfigError(LeydenError):
    """The errors and warnings of a configuration, each a line `file:line: key: what is wrong (remedy)`."""

    def __init__(self, problems: tuple[str, ...], warnings: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems, self.warnings = problems, warnings
