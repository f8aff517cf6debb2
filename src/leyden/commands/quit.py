"""`leyden --quit`."""

import argparse

from leyden.commands.ordering import asked, begin_anyway

_LIMIT_S = 15.0


def call(options: argparse.Namespace) -> int:
    from leyden.operate.service import stop

    stopped = stop(begin_anyway(options), _LIMIT_S, asked(options))
    if stopped.pid is None:
        print("leyden: no service runs on this spool")
        return 1
    if not stopped.ended:
        print(f"leyden: process {stopped.pid} has not stopped within {_LIMIT_S:.0f} s")
        return 1
    print("leyden: stopped")
    return 0
