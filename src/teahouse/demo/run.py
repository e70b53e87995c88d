"""The day against one server: clients, the operator's login, the day itself."""

from __future__ import annotations

from teahouse.demo.api import Api, Surprise
from teahouse.demo.day import play
from teahouse.demo.ledger import Ledger
from teahouse.demo.operator import Credentials, Operator
from teahouse.demo.plan import Plan
from teahouse.demo.stage import Stage
from teahouse.web.client import Client


async def play_day(plan: Plan, url: str, admin: Credentials, stage: Stage, ledger: Ledger) -> None:
    """Plays the day and writes down what is seen.

    Raises ``DemoFailed`` where it cannot be played there, ``ValueError`` where ``url`` is none.
    """
    # The operator does not queue behind the crowd: the books are to be seen in the middle of the rush.
    async with Client(url, connections=2) as desk, Client(url, connections=plan.connections) as crowd:
        operator = Operator(Api(desk, ledger), url)
        await operator.log_in(admin)
        try:
            await play(plan, crowd, operator, stage, ledger)
            await operator.log_out()
        except Surprise as surprise:
            ledger.surprises.add(str(surprise))
