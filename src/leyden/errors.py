"""The errors of Leyden. The type decides what happens next; the text is for the operator."""


class LeydenError(Exception):
    """The base of all errors that Leyden raises on purpose."""


class Transient(LeydenError):
    """Worth another try later, as nothing is wrong with the object: a refused connection, a time-out, a full disk."""


class Corrupt(LeydenError):
    """Bytes that cannot be parsed as what they should be; the message says where."""


class RemoteProtocolError(LeydenError):
    """The peer broke PS3.8 or PS3.7. `reason` is the A-ABORT reason/diag. to answer with (PS3.8 section 9.3.8)."""

    def __init__(self, message: str, reason: int = 0) -> None:
        super().__init__(message)
        self.reason = reason


class LocalProtocolError(LeydenError):
    """Leyden's own code has asked for something that the protocol does not allow in this state."""


class ConfigError(LeydenError):
    """A configuration with errors. Each error or warning is a line `file:line: key: what is wrong (remedy)`."""

    def __init__(self, problems: tuple[str, ...], warnings: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.warnings = warnings


class WrongFormat(LeydenError):
    """The spool is of a newer version, or its format can't be told. The message says what to do."""


class Unconfigured(LeydenError):
    """There is no configuration at all yet; the text says what to write."""


class UnknownNode(LeydenError):
    """No node has this title or alias."""


class Unsafe(LeydenError):
    """The service would run as root, or on what others can read or change. The message says what to do."""


class Unreadable(LeydenError):
    """The user as whom something is to be done can't read the program. The message says what to do."""
