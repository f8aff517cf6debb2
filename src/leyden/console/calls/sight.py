"""What others watch the service by: health, for a load balancer, and numbers, for Prometheus."""

from leyden.console.call import Asked, Needs, Nothing, Plain, Refused, Shape
from leyden.console.console import Console
from leyden.console.envelope import encoded
from leyden.console.metrics import CONTENT_TYPE


class Healthy(Shape, frozen=True):
    """`status`: ok or unable. `reasons`: why it can't receive."""

    status: str
    reasons: tuple[str, ...] = ()


async def health(console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    reasons = await console.health.reasons()
    content = encoded(Healthy(status="unable" if reasons else "ok", reasons=reasons))
    return Plain(content, status=503 if reasons else 200)


async def alive(_console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    return Plain(b"alive\n", "text/plain; charset=utf-8")


async def metrics(console: Console, _asked: Asked[Nothing, Nothing]) -> Plain:
    if console.numbers is None:
        raise Refused(404, "not_found", "there are no numbers")
    return Plain(await console.walks.do(console.numbers.text), CONTENT_TYPE)


async def live(console: Console, asked: Asked[Nothing, Nothing]) -> object:
    """It goes on as long as the caller may see as much as at its begin."""

    def whole() -> bool | None:
        caller = console.access.again(asked.caller, asked.cookie)
        try:
            console.access.check(caller, Needs.NO_PATIENT_DATA)
        except Refused:
            return None
        return caller is not None

    return console.stream.watch(whole)
