"""How long a destination takes to answer a C-ECHO, over one association that stands already."""

import time

from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION
from leyden.net.scu import Association

ECHOES = 3


async def round_trip_s(host: str, port: int, *, calling: str, called: str, timeout_s: float = 10.0) -> float:
    """The least of a few: a round trip on the line, and the time for the answer. Raises Transient."""
    link = await Association.open(
        host, port, calling=calling, called=called, contexts=[(VERIFICATION, IMPLICIT_LE)],
        connect_timeout_s=timeout_s, answer_timeout_s=timeout_s,
    )  # fmt: skip
    times_s = []
    for _ in range(ECHOES):
        begin_s = time.monotonic()
        await link.echo(timeout_s=timeout_s)
        times_s.append(time.monotonic() - begin_s)
    await link.release()
    return min(times_s)
