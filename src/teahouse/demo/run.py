"""The day against one server: clients, the operator's login, the day itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from teahouse.demo.api import Api, Surprise
from teahouse.demo.day import play
from teahouse.demo.ledger import Ledger
from teahouse.demo.operator import Credentials, DemoFailed, Operator
from teahouse.demo.plan import Plan
from teahouse.demo.stage import Stage
from teahouse.web.client import Client

# The wait for one of the shared connections counts.
_PATIENCE_SECONDS = 30.0


async def play_day(
    plan: Plan, url: str, hire: Callable[[], Awaitable[Credentials]], stage: Stage, ledger: Ledger
) -> None:
    """Plays the day and writes down what is seen; ``hire`` gives the admin, once the server has been found.

    Raises ``DemoFailed`` where the day cannot be played there, and what ``hire`` raises.
    """
    try:
        # The operator does not queue behind the crowd: the books are to be seen in the middle of the rush.
        desk = Client(url, connections=2)
        crowd = Client(url, connections=plan.connections, max_waiting=plan.most_waiting, timeout=_PATIENCE_SECONDS)
    except ValueError as error:
        raise DemoFailed(str(error)) from error
    async with desk, crowd:
        operator = Operator(Api(desk, ledger), url)
        await operator.find_the_server()
        await operator.log_in(await hire())
        try:
            await play(plan, crowd, operator, stage, ledger)
            await operator.log_out()
        except Surprise as surprise:
            ledger.surprises.add(str(surprise))
