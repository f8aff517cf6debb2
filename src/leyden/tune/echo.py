"""How long a destination takes to answer a C-ECHO, over one association that stands already."""

import time

from leyden.deliver.destination import Destination
from leyden.dicom.uids import IMPLICIT_LE, VERIFICATION
from leyden.reaching import associate

ECHOES = 3


async def round_trip_s(to: Destination, *, calling: str, timeout_s: float = 10.0) -> float:
    """The least of a few: a round trip on the line, and the time for the answer. Raises Transient."""
    link = await associate(
        to.host, to.port, calling=calling, called=to.ae_title, contexts=[(VERIFICATION, IMPLICIT_LE)],
        tls=to.tls, credentials=to.credentials, connect_timeout_s=timeout_s, answer_timeout_s=timeout_s,
    )  # fmt: skip
    times_s = []
    for _ in range(ECHOES):
        begin_s = time.monotonic()
        await link.echo(timeout_s=timeout_s)
        times_s.append(time.monotonic() - begin_s)
    await link.release()
    return min(times_s)
