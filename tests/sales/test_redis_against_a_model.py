"""Random schedules on two nodes over one Redis and one archive, against a model of one page.

A thousand of them with ``CI=true``; each may buy, cancel, pay, expire, restock, record, deliver twice, crash and more.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from teahouse.engines import sql_sqlite
from tests.sales.schedules import STOCK, World
from tests.sales.stock_model import LASTS, LIMIT, PAY, PRICE, Model, ModelOrder

SCHEDULES = 1000 if os.environ.get("CI") == "true" else 60
STEPS = 20
BUYERS = [letter * 32 for letter in "abcde"]

nodes = st.sampled_from([0, 1])
sales = st.sampled_from([0, 0, 0, 1])
# Any integer stands for an order once there are some: it is taken modulo their number, and one more that is unknown.
numbers = st.integers(0, 11)
buyers = st.sampled_from(BUYERS)
asks = st.tuples(sales, buyers, st.sampled_from("vwxyz"), st.integers(1, LIMIT + 1))
transactions = st.sampled_from([f"t{number}" for number in range(6)])


class Schedule(RuleBasedStateMachine):
    world: World

    @initialize()
    def a_new_shop_opens(self):
        self.run(self.world.begin())
        now = self.world.clock.now()
        self.model = Model(now, now, now + LASTS, [STOCK, STOCK])
        self.paused: list[tuple[int, list]] = []

    def run(self, work):
        return self.world.runner.run(work)

    def teardown(self):
        # A rule that failed says more than what it left behind.
        if hasattr(self, "model") and sys.exc_info()[0] is None:
            self.run(self._everything_is_recorded())

    # --- what buyers do ---

    @rule(node=nodes, wanted=st.lists(asks, min_size=1, max_size=6))
    def buyers_ask_one_node(self, node, wanted):
        told = self.run(self.world.buy(node, wanted))
        for answer, ask in zip(told, wanted, strict=True):
            self.compare(answer, self.model.buy(*ask))
        self.everybody_sees(1 - node, [answer for answer in told if not isinstance(answer, str)])

    @rule(wanted=st.lists(st.tuples(nodes, asks), min_size=2, max_size=8))
    def buyers_ask_both_nodes_at_once(self, wanted):
        told = self.run(self.world.buy_everywhere(wanted))
        pairs = list(zip(told, [ask for _, ask in wanted], strict=True))
        # While nobody gives anything back, whoever was served could have been served first.
        for answer, ask in [pair for pair in pairs if not isinstance(pair[0], str)]:
            self.compare(answer, self.model.buy(*ask))
        for answer, ask in [pair for pair in pairs if isinstance(pair[0], str)]:
            wanted_answer = self.model.buy(*ask)
            assert isinstance(wanted_answer, str)
            # Which of the hindrances came first depends on the order that the two nodes took.
            assert answer in ("SoldOut", "LimitReached", wanted_answer)

    def compare(self, answer, expected):
        if isinstance(answer, str):
            assert answer == expected
            return
        assert isinstance(expected, ModelOrder)
        expected.id = expected.id or answer.id
        told = (answer.id, answer.buyer_id, answer.quantity, answer.amount)
        assert told == (expected.id, expected.buyer, expected.quantity, expected.quantity * PRICE)
        assert answer.pay_before == round(expected.pay_before * 1000)

    @rule(node=nodes, number=numbers, stranger=st.booleans())
    def an_order_is_cancelled(self, node, number, stranger):
        order_id, buyer = self.order(number)
        buyer = "f" * 32 if stranger else buyer
        assert self.run(self.world.cancel(node, order_id, buyer)) == self.model.cancel(order_id, buyer)
        self.everybody_sees(1 - node, [])

    @rule(node=nodes, paid=st.lists(st.tuples(numbers, transactions, st.booleans()), min_size=1, max_size=3))
    def money_arrives(self, node, paid):
        for number, transaction, wrong in paid:
            order_id, _ = self.order(number)
            order = self.model.find(order_id)
            amount = (order.quantity * PRICE if order else PRICE) + wrong
            told = self.run(self.world.pay(node, order_id, amount, transaction))
            assert told == self.model.pay(order_id, amount, transaction)
        self.everybody_sees(1 - node, [])

    @rule(node=nodes, number=numbers, sold_out=st.booleans())
    def money_arrives_for_an_order_that_lapsed(self, node, number, sold_out):
        lapsed = [order for order in self.model.orders if not order.counts]
        if lapsed:
            order = lapsed[number % len(lapsed)]
            if sold_out:
                self.buyers_ask_one_node(node, [(order.sale, letter * 32, "rush", LIMIT) for letter in "0123"])
                self.buyers_ask_one_node(node, [(order.sale, letter * 32, "rush", 1) for letter in "456"])
            wanted = order.id, order.quantity * PRICE, f"late {len(self.model.payments)}"
            assert self.run(self.world.pay(node, *wanted)) == self.model.pay(*wanted)
            self.everybody_sees(1 - node, [order])

    def order(self, number):
        number %= len(self.model.orders) + 1
        if number == len(self.model.orders):
            return "e" * 31 + "0", BUYERS[0]
        order = self.model.orders[number]
        return order.id, order.buyer

    def everybody_sees(self, node, answers):
        """Each order just answered, and the latest ones, are what they should be on the other node."""
        wanted = {answer.id for answer in answers} | {order.id for order in self.model.orders[-3:]}
        orders = [order for order in self.model.orders if order.id in wanted]
        told = self.run(self.world.statuses(node, orders))
        assert told == [order.status for order in orders]

    @rule(node=nodes, buyer=buyers, limit=st.integers(1, 4))
    def a_buyer_looks_through_the_list(self, node, buyer, limit):
        seen = self.run(self.world.pages(node, buyer, limit))
        mine = sorted((order for order in self.model.orders if order.buyer == buyer), key=lambda order: order.id)
        assert seen == [(order.id, order.status) for order in reversed(mine)]

    # --- what the shop does ---

    @rule(node=nodes)
    def unpaid_stock_returns(self, node):
        assert self.run(self.world.expire(node)) == self.model.expire()
        live = sum(order.status == "reserved" for order in self.model.orders)
        assert self.world.nodes[node].ledger.live == live

    @rule(node=nodes, sale=sales, stock=st.integers(0, STOCK + 3))
    def the_stock_is_changed(self, node, sale, stock):
        assert self.run(self.world.restock(node, sale, stock)) == self.model.restock(sale, stock)

    @rule(seconds=st.sampled_from([1, 1, PAY / 2, PAY, 70, LASTS / 2]))
    def time_passes(self, seconds):
        self.world.clock.advance(seconds)
        self.model.now += seconds

    @rule(seconds=st.sampled_from([-600, -70, 90]))
    def redis_clock_is_set(self, seconds):
        # Time itself goes on: what is known of a sold-out sale is a second old at most.
        self.world.clock.advance(1)
        self.world.clock.step_wall_clock(seconds - 1)
        self.model.now += seconds

    @rule(node=nodes)
    def everything_is_recorded(self, node):
        self.run(self.world.nodes[node].record())
        self.run(self._everything_is_recorded(node))

    @rule(node=nodes, seconds=st.sampled_from([0, 130]))
    def what_is_settled_is_let_go(self, node, seconds):
        self.world.clock.advance(seconds)
        self.model.now += seconds
        self.run(self.world.tidy(node))
        self.everybody_sees(1 - node, [])

    # --- what goes wrong ---

    @rule(node=nodes)
    def a_recorder_takes_entries_and_pauses(self, node):
        self.paused.append((node, self.run(self.world.take(node))))

    @precondition(lambda self: self.paused)
    @rule(which=st.integers(0, 5), finishes=st.booleans())
    def a_paused_recorder_goes_on(self, which, finishes):
        node, taken = self.paused.pop(which % len(self.paused))
        self.run(self.world.record_late(node, taken, finishes=finishes))

    @rule(seed=st.integers(0, 1000))
    def old_entries_are_delivered_again(self, seed):
        self.run(self.world.deliver_again(random.Random(seed)))

    @rule(node=nodes)
    def a_worker_dies(self, node):
        self.world.crash(node)

    @rule()
    def redis_forgets_its_scripts(self):
        self.run(self.world.redis.ask("SCRIPT", "FLUSH"))

    # --- what always holds ---

    @invariant()
    def every_unit_is_somewhere(self):
        if not hasattr(self, "model"):
            return
        for sale, tally in enumerate(self.run(self.world.tallies())):
            assert tally == self.model.tally(sale)
            assert tally[0] == sum(tally[1:])

    async def _everything_is_recorded(self, node=0):
        await self.world.nodes[node].record()
        rows, payments, tallies = await self.world.archived()
        wanted = {
            order.id: (order.sale, order.buyer, order.key, order.quantity, order.status, order.version)
            for order in self.model.orders
        }
        assert rows == wanted, (rows, wanted)
        assert payments == self.model.payments
        wanted_tallies = [self.model.tally(sale) for sale in range(len(self.model.stocks))]
        assert tallies == wanted_tallies, (tallies, wanted_tallies)
        for sale in self.world.sales:
            assert (await self.world.nodes[node].ledger.audit(sale.sale.id)).difference == 0
        assert await self.world.left_over() == 0


def test_any_schedule_on_two_nodes_ends_as_the_model_says(redis_shared, tmp_path, monkeypatch):
    # What is tried is not whether SQLite's disk keeps its promises, and a thousand schedules commit often.
    quick = tuple(each.replace("synchronous = FULL", "synchronous = OFF") for each in sql_sqlite._PRAGMAS)
    monkeypatch.setattr(sql_sqlite, "_PRAGMAS", quick)
    with asyncio.Runner() as runner:
        Schedule.world = World(runner, redis_shared.url, f"sqlite:///{tmp_path}/shop.db")
        runner.run(Schedule.world.open())
        try:
            run_state_machine_as_test(
                Schedule,
                settings=settings(
                    max_examples=SCHEDULES,
                    stateful_step_count=STEPS,
                    deadline=None,
                    suppress_health_check=[HealthCheck.too_slow],
                ),
            )
        finally:
            runner.run(Schedule.world.aclose())
