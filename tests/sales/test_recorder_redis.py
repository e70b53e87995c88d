"""The recorder over the log in Redis: what it meets on its way, and that it goes on all the same."""

from __future__ import annotations

import asyncio
import time

import pytest

from teahouse.problems import DatabaseUnavailable, RedisUnavailable
from teahouse.sales import backlog_redis, recorder
from teahouse.sales import keys_redis as keys
from teahouse.sales.archive import Entry
from teahouse.sales.model import Tally
from tests.sales.shop import ANN, BOB, CAT

DEADLINE_SECONDS = 15


@pytest.fixture
def keeper():
    return "redis"


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    monkeypatch.setattr(backlog_redis, "LEASE_MS", 300)
    monkeypatch.setattr(recorder, "_STANDBY_SECONDS", 0.05)
    monkeypatch.setattr(recorder, "_LONGEST_PAUSE", 0.1)


@pytest.fixture
async def two(shop):
    """Two more nodes, whose recorders run."""
    nodes = [shop.another_node(name) for name in ("two", "three")]
    for node in nodes:
        await node.open(recording=True)
    yield nodes
    for node in nodes:
        await node.aclose()


async def until(is_so):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not await is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def all_recorded(shop, *orders):
    async def is_so():
        return set(await shop.archive.orders([each.id for each in orders])) == {each.id for each in orders}

    return is_so


async def buy_many(shop, sale, count, first=0):
    return await asyncio.gather(*(shop.buy(sale, f"{number:032x}") for number in range(first, first + count)))


def log_of(sale):
    return keys.log_key(keys.shard_of(sale.sale.id))


async def aside(shop, shard):
    found = await shop.redis.ask("HGETALL", keys.set_aside_key(shard))
    return dict(zip(found[::2], found[1::2], strict=True))


# --- poison ---


async def test_a_row_that_sql_refuses_is_set_aside_reported_and_counted_and_stops_no_other(shop, caplog):
    sale = await shop.sale(stock=10)
    first = await shop.buy(sale, ANN)
    await shop.record()
    # As where Redis had lost a purchase that SQL has, and the buyer asked again.
    await shop.redis.ask("HDEL", keys.slots_key(sale.sale.id), f"{ANN} k")
    await shop.redis.ask("HDEL", keys.bought_key(sale.sale.id), ANN)
    again, other = await shop.buy(sale, ANN), await shop.buy(sale, BOB)
    assert again.id != first.id
    await shop.record()
    assert set(await shop.archive.orders([first.id, again.id, other.id])) == {first.id, other.id}
    [(name, kept)] = (await aside(shop, keys.shard_of(sale.sale.id))).items()
    assert (name.decode(), again.id in kept.decode(), kept.partition(b"\n")[0] != b"") == (again.id, True, True)
    assert shop.ledger.recorder.set_aside == 1
    assert again.id in caplog.text
    assert await shop.ledger.backlog.count() == 0


async def test_what_is_set_aside_stays_with_its_own_shard(shop):
    sales = [await shop.sale() for _ in range(6)]
    made = []
    for sale in sales:
        await shop.buy(sale, ANN)
    await shop.record()
    for sale in sales:
        await shop.redis.ask("DEL", keys.slots_key(sale.sale.id), keys.bought_key(sale.sale.id))
        made.append(await shop.buy(sale, ANN))
    await shop.record()
    for order in made:
        assert order.id.encode() in await aside(shop, keys.shard_of(order.id))


BAD_ENTRIES = {
    "no fields that are known": ["a", "b"],
    "no JSON": ["sale", "s", "seq", "1", "at", "1", "tally", "1,1,0,0", "count", "1", "orders", "[", "payments", ""],
    "no numbers": ["sale", "s", "seq", "x", "at", "1", "tally", "1,1,0,0", "count", "1", "orders", "", "payments", ""],
    "no whole tally": ["sale", "s", "seq", "1", "at", "1", "tally", "1", "count", "1", "orders", "", "payments", ""],
    "no UTF-8": ["sale", "s", "seq", "1", "at", "1", "tally", "", "count", "1", "orders", b"\xff", "payments", ""],
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
async def test_an_entry_that_cannot_be_read_is_set_aside_and_stops_no_other(shop, name):
    sale = await shop.sale()
    entry_id = (await shop.redis.ask("XADD", log_of(sale), "*", *BAD_ENTRIES[name])).decode()
    made = await shop.buy(sale, ANN)
    await shop.record()
    assert await all_recorded(shop, made)()
    assert [each.decode() for each in await aside(shop, keys.shard_of(sale.sale.id))] == [entry_id]
    assert await shop.redis.ask("XLEN", log_of(sale)) == 0
    assert shop.ledger.recorder.set_aside == 1


# --- figures ---


async def test_what_waits_and_for_how_long_is_told_and_ends_with_the_recording(shop):
    sale = await shop.sale()
    await shop.buy(sale, ANN)
    shop.clock.advance(7)
    await shop.buy(sale, BOB)
    backlog = shop.ledger.backlog
    assert await backlog.lead()
    taken = await backlog.take()
    assert (len(taken), backlog.waiting, backlog.oldest_seconds) == (2, 2, 7.0)
    await shop.record()
    assert (backlog.waiting, backlog.oldest_seconds) == (0, 0.0)
    assert (shop.ledger.recorder.recorded, shop.ledger.recorder.transactions) == (2, 1)


async def test_many_orders_are_few_transactions(shop):
    sale = await shop.sale(stock=5000)
    for start in range(0, 3000, 1000):
        await buy_many(shop, sale, 1000, start)
    await shop.record()
    assert shop.ledger.recorder.recorded == 3000
    assert shop.ledger.recorder.transactions <= 3


def entries(*counts):
    return [
        ("0", Entry(f"{place}-0", "", 0, 0, Tally(0, 0, 0, 0), count, "", "")) for place, count in enumerate(counts)
    ]


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([], []),
        ([1, 2, 3], [[1, 2, 3]]),
        ([5, 5, 1], [[5, 5], [1]]),
        ([50, 1], [[50], [1]]),
        ([1, 50], [[1], [50]]),
        ([0, 10, 0, 1], [[0, 10, 0], [1]]),
    ],
)
def test_portions_are_bounded_keep_their_order_and_are_never_empty(counts, sizes):
    parts = recorder.portions(entries(*counts), 10)
    assert [[entry.count for _, entry in part] for part in parts] == sizes
    assert [entry for part in parts for entry in part] == entries(*counts)


async def test_the_recorder_keeps_to_its_pace(shop):
    node = shop.another_node("slow", recorded_per_second=100)
    await node.open()
    sale = await shop.sale(stock=200)
    made = await buy_many(shop, sale, 30)
    begun = time.monotonic()
    node.ledger.recorder.start()
    await until(all_recorded(shop, *made))
    more = await buy_many(shop, sale, 1, 30)
    await until(all_recorded(shop, *more))
    assert time.monotonic() - begun >= 0.3
    await node.aclose()


# --- who records ---


async def test_one_worker_records_and_another_takes_over_what_a_dead_one_had_begun(shop, two):
    sale = await shop.sale(stock=100)
    made = await buy_many(shop, sale, 10)
    await until(all_recorded(shop, *made))
    leader = next(node for node in two if node.ledger.recorder.leading)
    other = next(node for node in two if node is not leader)
    assert not other.ledger.recorder.leading
    taken = asyncio.Event()

    async def never(entries):
        taken.set()
        await asyncio.Event().wait()

    leader.ledger.recorder._archive = type("Stuck", (), {"record": staticmethod(never)})()
    more = await buy_many(shop, sale, 10, 10)
    await taken.wait()
    # Neither finished nor resigned: as if its process were gone.
    leader.ledger.recorder._task.cancel()
    await until(all_recorded(shop, *more))
    assert other.ledger.recorder.leading
    assert (await shop.ledger.audit(sale.sale.id)).difference == 0
    for task in asyncio.all_tasks():
        if "_record_whole" in repr(task):
            task.cancel()


async def test_a_recorder_that_stops_hands_over_at_once(shop, two, monkeypatch):
    monkeypatch.setattr(backlog_redis, "LEASE_MS", 60_000)
    sale = await shop.sale(stock=100)

    async def one_leads():
        return any(node.ledger.recorder.leading for node in two)

    await until(one_leads)
    leader = next(node for node in two if node.ledger.recorder.leading)
    await leader.ledger.recorder.aclose()
    made = await buy_many(shop, sale, 3)
    await until(all_recorded(shop, *made))


async def test_a_command_records_nothing_while_a_server_does(shop, two):
    async def one_leads():
        return any(node.ledger.recorder.leading for node in two)

    await until(one_leads)
    assert await shop.ledger.recorder.drain() == 0


# --- engines away ---


async def test_a_log_that_redis_lost_with_everything_does_not_stop_the_recorder_for_ever(shop, two):
    sale = await shop.sale()
    await until(all_recorded(shop, await shop.buy(sale, ANN)))
    await shop.redis.ask("FLUSHALL")
    later = await shop.sale()
    await until(all_recorded(shop, await shop.buy(later, BOB)))


async def test_scripts_that_redis_forgot_do_not_stop_the_recorder(shop, two):
    sale = await shop.sale()
    await shop.redis.ask("SCRIPT", "FLUSH")
    await until(all_recorded(shop, await shop.buy(sale, ANN)))


async def test_a_database_that_is_away_stops_no_purchase_and_gets_everything_afterwards(shop, two, monkeypatch):
    sale = await shop.sale(stock=100)
    made = [await shop.buy(sale, ANN)]
    await until(all_recorded(shop, *made))
    failures = []

    async def away(*_):
        failures.append(1)
        raise DatabaseUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(shop.database, "write", away)
        made += [*await buy_many(shop, sale, 20), await shop.buy(sale, BOB)]

        async def tried():
            return len(failures) >= 3

        await until(tried)
        assert [order.reservation.id for order in await shop.service.orders(BOB, before=None, limit=9)] == [made[-1].id]
        waiting = max(node.ledger.backlog.waiting for node in two)
        assert waiting == 21
    await until(all_recorded(shop, *made))
    assert (await shop.ledger.audit(sale.sale.id)).difference == 0


@pytest.mark.parametrize("fault", ["before-commit", "after-commit"])
async def test_a_commit_that_failed_or_lost_its_answer_is_recorded_once(shop, fault):
    sale = await shop.sale(limit=3)
    made, paid = await shop.buy(sale, ANN), await shop.buy(sale, CAT)
    await shop.pay(paid.id)
    shop.database.fault = fault
    with pytest.raises(DatabaseUnavailable):
        await shop.record()
    await shop.service.cancel(ANN, made.id)
    assert (await shop.tally(sale)).sold == 1
    assert (await shop.archive.orders([made.id]))[made.id].version == 2
    assert shop.ledger.recorder.set_aside == 0


async def test_a_redis_that_goes_away_between_sql_and_the_acknowledgement_costs_nothing(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    finish = shop.ledger.backlog.finish

    async def unavailable(taken):
        raise RedisUnavailable("gone")

    shop.ledger.backlog.finish = unavailable
    with pytest.raises(RedisUnavailable):
        await shop.record()
    shop.ledger.backlog.finish = finish
    await shop.pay(made.id)
    assert (await shop.tally(sale)).sold == 1
    assert await shop.ledger.backlog.count() == 0
