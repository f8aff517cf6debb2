"""Several addresses of one host, over real sockets: some silent, some closed, one that answers."""

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, suppress

import pytest
import uvloop

from leyden.net import dial
from leyden.net.dial import Address, ConnectionFailed, connect, look_up
from support.namespaces import silent
from support.service import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture(params=[asyncio.run, uvloop.run])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Coroutine[object, object, None]], None]]:
    """Either loop, and afterwards no socket is open that was not open before."""
    request.param(asyncio.sleep(0))  # what a loop opens with its first use
    before = open_sockets()
    yield request.param
    assert open_sockets() <= before


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short head start, where its length does not matter."""
    monkeypatch.setattr(dial, "HEAD_START_S", 0.05)


def open_sockets() -> set[str]:
    found = set()
    for entry in os.scandir("/proc/self/fd"):
        with suppress(OSError):
            found.add(os.readlink(entry.path))
    return {name for name in found if name.startswith("socket:")}


def address(number: int, port: int) -> Address:
    return socket.AF_INET, f"127.0.0.{number}", port


@pytest.mark.usefixtures("impatient")
def test_each_address_gets_a_turn(run: Callable[..., None], port: int) -> None:
    async def main() -> None:
        with silent("127.0.0.2", port), silent("127.0.0.3", port), socket.create_server(("127.0.0.5", port)):
            addresses = [address(number, port) for number in (2, 3, 4, 5)]
            transport, where = await connect(addresses, 2.0)
            assert where == address(5, port)
            assert transport.get_extra_info("peername") == ("127.0.0.5", port)
            transport.abort()

    run(main())


def test_the_turns_fit_into_the_time(run: Callable[..., None], port: int) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            for number in range(2, 22):  # with the usual head start the last one's turn would come after 5 s
                stack.enter_context(silent(f"127.0.0.{number}", port))
            stack.enter_context(socket.create_server(("127.0.0.22", port)))
            transport, where = await connect([address(number, port) for number in range(2, 23)], 2.0)
            assert where == address(22, port)
            transport.abort()

    run(main())


def test_a_failure_names_each_address(run: Callable[..., None], port: int) -> None:
    async def main() -> None:
        with silent("127.0.0.2", port), pytest.raises(ConnectionFailed) as raised:
            await connect([address(3, port), address(2, port)], 0.4)
        assert str(raised.value).startswith("127.0.0.2: no connection within 0.4 s, 127.0.0.3: ")
        assert "refused" in str(raised.value)

    run(main())


@pytest.mark.usefixtures("impatient")
def test_a_cancelled_one_leaves_nothing_open(run: Callable[..., None], port: int) -> None:
    async def main() -> None:
        with silent("127.0.0.2", port), silent("127.0.0.3", port):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.25):
                    await connect([address(2, port), address(3, port)], 0)
            await asyncio.sleep(0)

    run(main())


def test_an_address_is_looked_up_as_it_is_and_an_unknown_name_is_a_failed_connection(run: Callable[..., None]) -> None:
    async def main() -> None:
        assert await look_up("192.0.2.7", 104, 1.0) == [(socket.AF_INET, "192.0.2.7", 104)]
        assert await look_up("::1", 104, 0) == [(socket.AF_INET6, "::1", 104)]
        for name in ("no.such.host.invalid", "x" * 300, ""):
            with pytest.raises(ConnectionFailed, match="no address of"):
                await look_up(name, 104, 20.0)

    run(main())
