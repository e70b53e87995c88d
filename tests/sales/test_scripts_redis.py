"""Each script through ``Scripts``: limits, edges, hostile keys and exact sums."""

from __future__ import annotations

import msgspec
import pytest

from teahouse.engines.redis import Redis
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import OrderRow, PaymentRow
from teahouse.sales.backlog_redis import entry_of
from teahouse.sales.model import MAX_PRICE, MAX_STOCK, Sale, Tally
from teahouse.sales.scripts_redis import Scripts
from tests.sales.shop import ANN, BOB

NOW = 1_767_225_600_000
SALE_ID = "0" * 31 + "7"
SHARD = "7"
MINUTE = 60_000
VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F))
KEYS = [VISIBLE[:64], VISIBLE[30:], '"' * 64, "\\" * 64, '","paid",1,1,1,1]', "\\u0000", "%d%1", "k", "{7}"]
PLENTY = 10**6


def sale(*, stock=10, price=300, limit=5, starts=NOW, ends=NOW + 1000, pay=60):
    return Sale(SALE_ID, "0" * 32, stock, price, starts, ends, limit, pay, NOW)


def order_id(number, shard=SHARD):
    return f"{number:031x}{shard}"


def ask(number, buyer=ANN, key="k", quantity=1, price=300):
    head = msgspec.json.encode([order_id(number), SALE_ID, buyer, key, quantity, quantity * price]).decode()
    return f"{buyer} {key}", quantity, head[:-1] + ","


class Desk:
    """The scripts of one shard, and what they left behind."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.scripts = Scripts(redis, "news")

    async def buy(self, *asks, now=NOW, seq=0, most=PLENTY):
        return await self.scripts.reserve(SALE_ID, now, seq, most, [value for each in asks for value in each])

    async def change(self, *commands, now=NOW):
        return await self.scripts.change(SHARD, now, [value for each in commands for value in each])

    async def counters(self):
        found = await self.redis.ask("HMGET", keys.sale_key(SALE_ID), *Tally.__struct_fields__)
        return tuple(int(each) for each in found)

    async def row(self, number):
        found = await self.redis.ask("HGET", keys.orders_key(SHARD), order_id(number))
        return found and msgspec.json.decode(found, type=OrderRow)

    async def log(self):
        return [
            entry_of(name, fields) for name, fields in await self.redis.ask("XRANGE", keys.log_key(SHARD), "-", "+")
        ]

    async def record_all(self):
        await self.redis.ask("XGROUP", "CREATE", keys.log_key(SHARD), keys.GROUP, "0", "MKSTREAM")
        return await self.scripts.recorded(SHARD, [(entry.id, entry.count) for entry in await self.log()])


@pytest.fixture
async def desk(redis_shared):
    redis = Redis(redis_shared.url)
    await redis.connect()
    yield Desk(redis)
    await redis.aclose()


def cancel(number, buyer=ANN, row=b""):
    return "cancel", order_id(number), buyer, "", row


def settle(number, amount=300, transaction="t", row=b""):
    return "settle", number if isinstance(number, str) else order_id(number), amount, transaction, row


def expire(most=500):
    return "expire", "", most, "", ""


# --- reserve ---


async def test_a_reservation_its_counters_its_due_time_and_its_log_entry_are_one_step(desk):
    await desk.scripts.open(sale())
    assert await desk.buy(ask(1, quantity=2), ask(2, BOB)) == [b"ok", NOW, 1, 7, 2, 0, 0]
    assert await desk.row(1) == OrderRow(order_id(1), SALE_ID, ANN, "k", 2, 600, "reserved", NOW, NOW + 60_000, NOW, 1)
    due = await desk.redis.ask("ZRANGE", keys.due_key(SHARD), 0, -1, "WITHSCORES")
    assert due == [f"{order_id(1)}{order_id(2)}".encode(), str(NOW + 60_000).encode()]
    assert await desk.redis.ask("GET", keys.live_key(SHARD)) == b"2"
    [entry] = await desk.log()
    assert (entry.sale_id, entry.seq, entry.at, entry.tally, entry.count) == (SALE_ID, 1, NOW, Tally(10, 7, 3, 0), 2)
    rows = msgspec.json.decode(f"[{entry.orders}]", type=list[OrderRow])
    assert rows == [await desk.row(1), await desk.row(2)]
    assert await desk.redis.ask("GET", keys.unrecorded_key(SHARD)) == b"2"


@pytest.mark.parametrize(
    ("now", "told"), [(NOW - 1, 3), (NOW, 0), (NOW + 999, 0), (NOW + 1000, 4)], ids=["before", "start", "last", "end"]
)
async def test_the_window_is_from_its_start_up_to_and_not_with_its_end(desk, now, told):
    await desk.scripts.open(sale())
    assert (await desk.buy(ask(1), now=now))[5:] == [told]


async def test_a_refused_batch_leaves_no_trace(desk):
    await desk.scripts.open(sale(stock=1))
    await desk.buy(ask(1))
    before = await desk.redis.ask("DBSIZE"), await desk.log(), await desk.counters()
    assert (await desk.buy(ask(2, BOB), ask(3, ANN, "l", 6)))[5:] == [1, 2]
    assert (await desk.redis.ask("DBSIZE"), await desk.log(), await desk.counters()) == before


async def test_the_limit_goes_before_the_stock_and_counts_what_the_same_batch_took(desk):
    await desk.scripts.open(sale(stock=4, limit=3))
    told = await desk.buy(*(ask(number, ANN, str(number)) for number in range(5)), ask(9, BOB, quantity=2))
    assert told[5:] == [0, 0, 0, 2, 2, 1]
    assert (await desk.buy(ask(10, BOB, "x", 4)))[5:] == [2]
    assert await desk.redis.ask("HGET", keys.bought_key(SALE_ID), ANN) == b"3 2"


async def test_the_same_slot_twice_in_a_batch_is_one_order(desk):
    await desk.scripts.open(sale())
    reply = await desk.buy(ask(1), ask(2), ask(3, quantity=2), ask(4, BOB))
    assert (reply[5], reply[8]) == (0, 0)
    assert {msgspec.json.decode(row)[0] for row in reply[6:8]} == {order_id(1)}
    assert await desk.counters() == (10, 8, 2, 0)
    assert len(msgspec.json.decode(f"[{(await desk.log())[0].orders}]")) == 2


@pytest.mark.parametrize("key", KEYS)
async def test_any_visible_key_comes_through_every_script_as_it_was(desk, key):
    await desk.scripts.open(sale())
    await desk.buy(ask(1, key=key), now=NOW)
    assert (await desk.row(1)).key == key
    assert msgspec.json.decode((await desk.buy(ask(2, key=key)))[5], type=OrderRow).id == order_id(1)
    [[_, row]] = await desk.change(cancel(1))
    changed = msgspec.json.decode(row, type=OrderRow)
    assert (changed.key, changed.status, changed.version, changed.quantity) == (key, "cancelled", 2, 1)
    assert [msgspec.json.decode(entry.orders, type=OrderRow).key for entry in await desk.log()] == [key, key]


@pytest.mark.parametrize("quantity", [1, 999_999_999, MAX_STOCK])
async def test_the_largest_amounts_and_stocks_are_exact_to_the_last_fen(desk, quantity):
    price = MAX_PRICE - 1
    await desk.scripts.open(sale(stock=MAX_STOCK, price=price, limit=MAX_STOCK))
    assert (await desk.buy(ask(1, quantity=quantity, price=price)))[3] == MAX_STOCK - quantity
    assert (await desk.row(1)).amount == quantity * price
    [[_, paid, row, late]] = await desk.change(settle(1, quantity * price))
    payment, order = msgspec.json.decode(paid, type=PaymentRow), msgspec.json.decode(row, type=OrderRow)
    assert (payment.amount, payment.state, order.amount, order.status) == (
        quantity * price, "settled", quantity * price, "paid",
    )  # fmt: skip
    assert late == b""
    assert await desk.counters() == (MAX_STOCK, MAX_STOCK - quantity, 0, quantity)


async def test_an_amount_that_is_wrong_by_one_fen_of_a_trillion_trillion_does_not_settle(desk):
    await desk.scripts.open(sale(stock=MAX_STOCK, price=MAX_PRICE, limit=MAX_STOCK))
    await desk.buy(ask(1, quantity=MAX_STOCK, price=MAX_PRICE))
    [[_, paid, *_]] = await desk.change(settle(1, MAX_STOCK * MAX_PRICE - 1))
    assert msgspec.json.decode(paid, type=PaymentRow).reason == "wrong-amount"


async def test_more_than_a_thousand_purchases_fit_one_call(desk):
    await desk.scripts.open(sale(stock=1024))
    reply = await desk.buy(*(ask(number, f"{number % 600:032x}", str(number)) for number in range(1100)))
    assert (reply[3], reply[4], reply[5:].count(0), reply[5:].count(1)) == (0, 1024, 1024, 76)
    assert (await desk.log())[0].count == 1024


async def test_too_much_that_waits_to_be_recorded_stops_the_selling_and_nothing_else(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1), ask(2, BOB), most=2)
    assert await desk.buy(ask(3, BOB, "l"), most=2) == [b"full"]
    assert (await desk.change(cancel(1)))[0][0] == b"ok"
    await desk.record_all()
    assert (await desk.buy(ask(3, BOB, "l"), most=2))[0] == b"ok"


async def test_a_sale_that_redis_does_not_know_is_missing_and_one_that_lags_behind_is_lost_for_good(desk):
    assert await desk.buy(ask(1)) == [b"missing"]
    await desk.scripts.open(sale())
    await desk.buy(ask(1))
    assert (await desk.buy(ask(2, BOB), seq=1))[0] == b"ok"
    assert await desk.buy(ask(3, BOB, "l"), seq=9) == [b"lost"]
    assert await desk.buy(ask(3, BOB, "l")) == [b"lost"]
    assert await desk.change(cancel(1), settle(1)) == [[b"lost"], [b"lost"]]
    assert await desk.scripts.restock(SALE_ID, NOW, 50) == [b"lost"]
    assert (await desk.change(expire(), now=NOW + MINUTE))[0] == [b"ok", b""]


async def test_opening_a_sale_again_changes_nothing(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1))
    await desk.scripts.open(sale(stock=99))
    assert await desk.counters() == (10, 9, 1, 0)


# --- change ---


async def test_what_is_given_back_frees_the_limit_and_is_told_to_every_node(desk, redis_shared):
    await desk.scripts.open(sale(limit=2))
    await desk.buy(ask(1, quantity=1), ask(2, key="l"))
    await desk.change(cancel(1))
    assert await desk.redis.ask("HGET", keys.bought_key(SALE_ID), ANN) == b"1 l"
    await desk.change(cancel(2))
    assert await desk.redis.ask("EXISTS", keys.bought_key(SALE_ID)) == 0
    assert await desk.redis.ask("GET", keys.live_key(SHARD)) == b"0"
    assert await desk.counters() == (10, 10, 0, 0)


async def test_many_changes_of_one_call_are_one_entry_of_the_log_and_each_has_its_answer(desk):
    await desk.scripts.open(sale())
    await desk.buy(*(ask(number, key=str(number)) for number in range(5)))
    told = await desk.change(
        cancel(0), cancel(0), cancel(1, BOB), settle(1), settle(1), settle(1, 299), settle(2, 299, "u"), cancel(7)
    )
    assert [each[0] for each in told] == [b"ok", b"ok", b"unknown", b"ok", b"ok", b"reused", b"ok", b"unknown"]
    assert told[3][1] == told[4][1]
    entries = await desk.log()
    assert [(entry.seq, entry.count) for entry in entries] == [(1, 5), (2, 4)]
    assert entries[1].tally == Tally(10, 6, 3, 1)
    assert len(msgspec.json.decode(f"[{entries[1].payments}]")) == 2


async def test_an_order_that_only_sql_has_is_changed_from_the_row_that_it_has(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1))
    await desk.change(expire(), now=NOW + MINUTE)
    row = await desk.redis.ask("HGET", keys.orders_key(SHARD), order_id(1))
    await desk.redis.ask("HDEL", keys.orders_key(SHARD), order_id(1))
    assert await desk.change(cancel(1)) == [[b"unknown"]]
    [[_, paid, changed, late]] = await desk.change(settle(1, row=row), now=NOW + 2 * MINUTE)
    assert (msgspec.json.decode(paid)[3], msgspec.json.decode(changed)[-1], late) == ("settled", 3, b"late")
    assert await desk.counters() == (10, 9, 0, 1)


async def test_money_for_an_order_that_nobody_knows_has_an_entry_of_its_own(desk):
    strange = 'no "such" order\\'
    [[_, paid, row, _]] = await desk.change(settle(strange, 10**18, 'a "b" \\ c'))
    payment = msgspec.json.decode(paid, type=PaymentRow)
    assert (payment.transaction_id, payment.order_id, payment.amount) == ('a "b" \\ c', strange, 10**18)
    assert (payment.state, payment.reason, row) == ("refund-due", "unknown-order", b"")
    [entry] = await desk.log()
    assert (entry.sale_id, entry.count, msgspec.json.decode(entry.payments, type=PaymentRow)) == ("", 1, payment)


async def test_no_more_expire_at_once_than_asked_for_and_the_oldest_first(desk):
    await desk.scripts.open(sale(ends=NOW + MINUTE))
    for number in range(4):
        await desk.buy(ask(number, key=str(number)), now=NOW + number)
    [[_, more, *rows]] = await desk.change(expire(3), now=NOW + 60_002)
    assert [msgspec.json.decode(row)[0] for row in rows] == [order_id(number) for number in range(3)]
    assert more == b"more"
    assert await desk.change(expire(3), now=NOW + 60_002) == [[b"ok", b""]]
    assert len((await desk.change(expire(3), now=NOW + 60_003))[0]) == 3


async def test_what_was_reserved_together_expires_together_but_for_what_was_settled(desk):
    await desk.scripts.open(sale(limit=5))
    await desk.buy(*(ask(number, key=str(number)) for number in range(5)))
    await desk.change(cancel(1), settle(3))
    [[_, more, *rows]] = await desk.change(expire(2), now=NOW + MINUTE)
    assert [msgspec.json.decode(row)[0] for row in rows] == [order_id(number) for number in (0, 2, 4)]
    assert more == b"more"
    assert await desk.change(expire(2), now=NOW + MINUTE) == [[b"ok", b""]]
    assert await desk.redis.ask("GET", keys.live_key(SHARD)) == b"0"


async def test_an_order_of_a_lost_sale_that_is_due_holds_up_no_other(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1))
    await desk.redis.ask("HSET", keys.sale_key(SALE_ID), "lost", "1")
    other = SALE_ID.replace("0", "5")
    await desk.scripts.open(msgspec.structs.replace(sale(), id=other))
    slot, quantity, head = ask(2)
    await desk.scripts.reserve(other, NOW, 0, PLENTY, (slot, quantity, head.replace(SALE_ID, other)))
    told = await desk.change(expire(1), expire(1), now=NOW + MINUTE)
    assert [msgspec.json.decode(row)[0] for _, _, *rows in told for row in rows] == [order_id(2)]


async def test_stock_is_changed_down_to_what_is_promised_and_no_further(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1, quantity=2), ask(2, BOB))
    await desk.change(settle(2))
    assert await desk.scripts.restock(SALE_ID, NOW, 2) == [b"refused", 3]
    assert await desk.scripts.restock(SALE_ID, NOW, 3) == [b"ok"]
    assert await desk.counters() == (3, 0, 2, 1)
    assert (await desk.log())[-1].tally == Tally(3, 0, 2, 1)
    assert await desk.scripts.restock("f" * 31 + "7", NOW, 3) == [b"missing"]


async def test_without_a_time_of_the_callers_own_it_is_the_clock_of_redis(desk):
    seconds, micros = (int(each) for each in await desk.redis.ask("TIME"))
    now = seconds * 1000 + micros // 1000
    await desk.scripts.open(sale(starts=now, ends=now + 3_600_000))
    _, told, *_ = await desk.buy(ask(1), now=0)
    assert now <= told < now + 60_000
    made = await desk.row(1)
    assert (made.created_at, made.pay_before, made.changed_at) == (told, told + 60_000, told)
    [[_, row]] = await desk.change(cancel(1), now=0)
    assert told <= msgspec.json.decode(row, type=OrderRow).changed_at < now + 60_000
    assert await desk.scripts.restock(SALE_ID, 0, 11) == [b"ok"]
    assert all(told <= entry.at < now + 60_000 for entry in await desk.log())
    await desk.record_all()
    assert (await desk.scripts.sweep(SHARD, 0), await desk.scripts.close(SALE_ID, 0, 3, 60_000)) == (0, False)


async def test_recording_the_same_entries_again_counts_nothing_twice(desk):
    await desk.scripts.open(sale())
    await desk.buy(ask(1), ask(2, BOB))
    await desk.buy(ask(3, BOB, "l"))
    names = [(entry.id, entry.count) for entry in await desk.log()]
    assert await desk.record_all() == 2
    assert await desk.scripts.recorded(SHARD, names) == 0
    assert await desk.redis.ask("GET", keys.unrecorded_key(SHARD)) == b"0"
    assert await desk.redis.ask("XLEN", keys.log_key(SHARD)) == 0


async def test_a_witness_of_more_than_redis_knows_stops_the_sale_and_one_of_less_does_not(desk):
    assert await desk.scripts.witness(SALE_ID, 0) is False
    await desk.scripts.open(sale())
    await desk.buy(ask(1))
    assert await desk.scripts.witness(SALE_ID, 1) is True
    assert await desk.scripts.witness(SALE_ID, 0) is True
    assert await desk.scripts.witness(SALE_ID, 2) is False
    assert await desk.scripts.witness(SALE_ID, 1) is False
    assert await desk.buy(ask(2, BOB)) == [b"lost"]
