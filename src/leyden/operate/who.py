"""Who works at the command line, for the journal."""

import os

from leyden.spool.guarded import user_name

_LONGEST_CHARS = 64  # of a login name; Linux allows 32


def who() -> str:
    """The user of this process; under sudo the one who called it as well, as `alice as root`.

    SUDO_USER is taken from the environment, which a user may set: so the user that the kernel knows is always named.
    """
    user = user_name(os.getuid())
    caller = "".join(each for each in os.environ.get("SUDO_USER", "") if each.isprintable())[:_LONGEST_CHARS]
    return f"{caller} as {user}" if caller and caller != user else user
