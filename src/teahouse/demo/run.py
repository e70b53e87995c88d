"""The day against one server: clients, where its sockets are, the operator's login, the day itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from teahouse.client import Address, NotAnAddress, read_address
from teahouse.demo.api import Api, Surprise
from teahouse.demo.day import Doors, play
from teahouse.demo.ledger import Ledger
from teahouse.demo.operator import Credentials, DemoFailed, Operator
from teahouse.demo.plan import Plan
from teahouse.demo.stage import Stage
from teahouse.web.client import Client

# The wait for one of the shared connections counts.
_PATIENCE_SECONDS = 30.0
_LAST_PORT = 65535


async def play_day(
    plan: Plan,
    url: str,
    hire: Callable[[], Awaitable[Credentials]],
    stage: Stage,
    ledger: Ledger,
    *,
    realtime_url: str = "",
) -> None:
    """Plays the day and writes down what is seen; ``hire`` gives the admin, once the server has been found.

    Without a ``realtime_url`` sockets are looked for where ``url`` is and at the port after it; where there are none
    either, the buyers ask instead of being told.

    Raises ``DemoFailed`` where the day cannot be played there, and what ``hire`` raises.
    """
    try:
        # The operator does not queue behind the crowd: the books are to be seen in the middle of the rush.
        desk = Client(url, connections=2)
        crowd = Client(url, connections=plan.connections, max_waiting=plan.most_waiting, timeout=_PATIENCE_SECONDS)
    except ValueError as error:
        raise DemoFailed(str(error)) from error
    doors = Doors(crowd, _realtime(url, realtime_url), named=bool(realtime_url))
    async with desk, crowd:
        operator = Operator(Api(desk, ledger), url)
        await operator.find_the_server()
        await operator.log_in(await hire())
        try:
            await play(plan, doors, operator, stage, ledger)
            await operator.log_out()
        except Surprise as surprise:
            ledger.surprises.add(str(surprise))


def _realtime(url: str, named: str) -> list[Address]:
    """Where sockets may be: a balancer takes both at one address, a node has the next port, unless it is told."""
    if named:
        try:
            return [read_address(named)]
        except NotAnAddress as error:
            raise DemoFailed(f"--realtime-url: {error}") from error
    try:
        same = read_address(f"ws{url.removeprefix('http')}")
    except NotAnAddress as error:
        raise DemoFailed(f"--url: {url} is not an address such as http://127.0.0.1:8000") from error
    next_port = same.port + 1
    if same.secure or next_port > _LAST_PORT:
        return [same]
    return [same, same._replace(port=next_port, url=f"ws://{same.host}:{next_port}")]
