"""Random schedules of buying, paying, cancelling, expiring, failing and restarting, against a model of one page."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from teahouse.problems import DatabaseUnavailable
from teahouse.sales.stock import CLOSE_AFTER_MS
from tests.sales.shop import PAUSE_SECONDS, Shop

STOCK, LIMIT, PRICE, LASTS, PAY = 6, 3, 100, 300, 20
BUYERS = [letter * 32 for letter in "abc"]


@dataclass
class ModelOrder:
    buyer: str
    quantity: int
    pay_before: float
    status: str = "reserved"


@dataclass
class Model:
    """What should happen, without batches, memory or SQL. Each verb returns what the caller is told."""

    now: float
    ends: float
    orders: dict[int, ModelOrder] = field(default_factory=dict)
    bought: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    payments: dict[str, tuple[int, str]] = field(default_factory=dict)
    closed: bool = False

    def units(self, *statuses: str, buyer: str | None = None) -> int:
        return sum(
            order.quantity
            for order in self.orders.values()
            if order.status in statuses and buyer in (None, order.buyer)
        )

    @property
    def remaining(self) -> int:
        return STOCK - self.units("reserved", "paid")

    def buy(self, buyer: str, key: str, quantity: int) -> object:
        slot = (buyer, key)
        if slot in self.bought:
            number = self.bought[slot]
            return number if self.orders[number].quantity == quantity else "IdempotencyMismatch"
        if slot in self.refused:
            return self.refused[slot][1] if self.refused[slot][0] == quantity else "IdempotencyMismatch"
        refusal = self._refusal(buyer, quantity)
        if refusal:
            if not self.closed:
                self.refused[slot] = (quantity, refusal)
            return refusal
        number = len(self.orders)
        self.orders[number] = ModelOrder(buyer, quantity, self.now + PAY)
        self.bought[slot] = number
        return number

    def _refusal(self, buyer: str, quantity: int) -> str:
        if self.now >= self.ends:
            return "SaleEnded"
        if self.units("reserved", "paid", buyer=buyer) + quantity > LIMIT:
            return "LimitReached"
        return "SoldOut" if quantity > self.remaining else ""

    def cancel(self, number: int) -> object:
        order = self.orders[number]
        if order.status in ("paid", "expired"):
            return "OrderNotCancellable"
        order.status = "cancelled"
        return "cancelled"

    def pay(self, number: int, transaction: str) -> object:
        if transaction in self.payments:
            known, state = self.payments[transaction]
            return state if known == number else "TransactionReused"
        order = self.orders[number]
        held = self.units("reserved", "paid", buyer=order.buyer)
        late = order.status in ("cancelled", "expired") and self.remaining >= order.quantity
        taken = order.status == "reserved" or (late and held + order.quantity <= LIMIT)
        self.payments[transaction] = (number, "settled" if taken else "refund-due")
        if taken:
            order.status = "paid"
        return self.payments[transaction][1]

    def expire(self) -> int:
        due = [order for order in self.orders.values() if order.status == "reserved" and order.pay_before <= self.now]
        for order in due:
            order.status = "expired"
        self.tidy()
        return len(due)

    def tidy(self) -> None:
        if self.now >= self.ends + CLOSE_AFTER_MS / 1000 and not self.units("reserved"):
            self.closed = True
            self.refused.clear()

    def restart(self) -> None:
        self.refused.clear()
        self.tidy()


class ShopAgainstModel(RuleBasedStateMachine):
    """Orders are numbered as they are made; ``ids`` leads from a number to the shop's id."""

    # Any integer stands for an order once there are some: it is taken modulo their number.
    numbers = st.integers(0, 11)
    buyers = st.sampled_from(BUYERS)
    keys = st.sampled_from("vwxyz")
    quantities = st.integers(1, LIMIT + 1)
    transactions = st.sampled_from([f"t{number}" for number in range(8)])
    faults = st.sampled_from([None, None, "before-commit", "after-commit"])

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="shop-")
        self.shop = Shop(f"sqlite:///{self.folder.name}/shop.db")
        self.ids: dict[int, str] = {}

    @initialize()
    def open_the_shop(self) -> None:
        async def opened():
            await self.shop.open()
            return await self.shop.sale(stock=STOCK, limit=LIMIT, price=PRICE, lasts=LASTS, pay=PAY)

        self.sale = self.runner.run(opened())
        now = self.shop.clock.now()
        self.model = Model(now, now + LASTS)

    def teardown(self) -> None:
        self.runner.run(self.shop.aclose())
        self.runner.close()
        self.folder.cleanup()

    @rule(
        asks=st.lists(st.tuples(buyers, keys, quantities), min_size=1, max_size=5),
        cancelled=st.lists(numbers, max_size=2),
        paid=st.lists(st.tuples(numbers, transactions), max_size=2),
        fault=faults,
    )
    def one_batch(self, asks, cancelled, paid, fault):
        shop, model = self.shop, self.model
        cancelled = [number % len(model.orders) for number in cancelled if model.orders]
        paid = [(number % len(model.orders), name) for number, name in paid if model.orders]

        async def all_at_once():
            shop.database.fault = fault
            calls = [
                *(shop.buy(self.sale, *ask) for ask in asks),
                *(shop.service.cancel(model.orders[number].buyer, self.ids[number]) for number in cancelled),
                *(shop.pay(self.ids[number], amount=self.amount(number), transaction=name) for number, name in paid),
            ]
            answers = await asyncio.gather(*calls, return_exceptions=True)
            shop.database.fault, fault_left = None, shop.database.fault
            shop.clock.advance(PAUSE_SECONDS)
            return answers, fault is not None and fault_left is None

        told, failed = self.runner.run(all_at_once())
        if failed and fault == "before-commit":
            self.expect_nothing_happened(told, asks)
        else:
            expected = [
                *(model.buy(*ask) for ask in asks),
                *(model.cancel(number) for number in cancelled),
                *(model.pay(number, name) for number, name in paid),
            ]
            self.compare(told, expected)
        model.now += PAUSE_SECONDS

    def expect_nothing_happened(self, told, asks):
        recalled = asks if self.model.closed else []
        for answer, ask in zip(told, recalled, strict=False):
            # A closed sale answers from SQL, beside the batch that failed.
            self.compare([answer], [self.model.buy(*ask)])
        assert {type(answer) for answer in told[len(recalled) :]} == {DatabaseUnavailable}

    def compare(self, told, expected):
        for answer, wanted in zip(told, expected, strict=True):
            if isinstance(answer, BaseException):
                assert type(answer).__name__ == wanted
            elif hasattr(answer, "pay_before"):
                assert isinstance(wanted, int)
                assert answer.id == self.ids.setdefault(wanted, answer.id)
            else:
                assert getattr(answer, "state", None) == wanted or getattr(answer, "status", None) == wanted

    def amount(self, number: int) -> int:
        return self.model.orders[number].quantity * PRICE

    @rule(seconds=st.sampled_from([1, 1, PAY / 2, PAY, LASTS / 3]))
    def time_passes(self, seconds):
        self.shop.clock.advance(seconds)
        self.model.now += seconds

    @rule(fails=st.booleans())
    def unpaid_stock_returns(self, fails):
        async def expire():
            if fails:
                self.shop.database.fault = "before-commit"
                await asyncio.gather(self.shop.ledger.expire_due(), return_exceptions=True)
                self.shop.database.fault = None
                self.shop.clock.advance(PAUSE_SECONDS)
            return await self.shop.ledger.expire_due()

        expired = self.runner.run(expire())
        if fails:
            self.model.now += PAUSE_SECONDS
        assert expired == self.model.expire()

    @rule()
    def the_server_restarts(self):
        self.runner.run(self.shop.restart())
        self.model.restart()

    @invariant()
    def everything_adds_up(self):
        tally = self.runner.run(self.shop.tally(self.sale))
        model = self.model
        assert (tally.remaining, tally.reserved, tally.sold) == (
            model.remaining,
            model.units("reserved"),
            model.units("paid"),
        )
        assert self.shop.ledger.live == sum(order.status == "reserved" for order in model.orders.values())

    @invariant()
    def every_order_is_in_sql_as_it_should_be(self):
        async def statuses():
            found = {}
            for buyer in BUYERS:
                for order in await self.shop.service.orders(buyer, before=None, limit=1000):
                    found[order.reservation.id] = order.status
            return found

        wanted = {self.ids[number]: order.status for number, order in self.model.orders.items()}
        assert self.runner.run(statuses()) == wanted


ShopAgainstModel.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestTheShopAgainstTheModel = ShopAgainstModel.TestCase
