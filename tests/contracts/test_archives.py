"""The shop's long memory on every engine: recording may come twice and in any order, and refuses single rows."""

from __future__ import annotations

import asyncio
import itertools
import random

import msgspec
import pytest
from sqlalchemy import select

from teahouse.sales.archive import Archived, Entry, OrderRow, PaymentRow
from teahouse.sales.archive_sql import SqlArchive
from teahouse.sales.catalogue_sql import SqlCatalogue
from teahouse.sales.model import Product, Reserve, Sale, Tally
from teahouse.sales.payments_sql import payments

ANN, BOB = "a" * 32, "b" * 32
PRODUCT = Product("0" * 32, "Tea", "", (), 500, 0, 0)
SALE = Sale("5" * 32, PRODUCT.id, 10, 300, 0, 10**13, 5, 60, 1)
NOW = 1_767_225_600_000
HOSTILE = ["k", '"\\' * 32, "'; DROP TABLE orders; --", "%s:x{}$[0]", "~!@#$%^&*()_+|", "K"]
_numbers = itertools.count(1)


@pytest.fixture
async def archive(database):
    await SqlCatalogue(database).add(PRODUCT)
    archive = SqlArchive(database)
    await archive.add(SALE)
    await archive.opened(SALE.id)
    return archive


def order(number, *, key=None, buyer=ANN, status="reserved", version=1, quantity=1, amount=300, sale=SALE.id):
    name = f"{number:031x}5"
    return OrderRow(
        name, sale, buyer, key or str(number), quantity, amount, status, NOW, NOW + 1, NOW + version, version
    )


def payment(transaction, paid, *, amount=300, state="settled", reason=""):
    return PaymentRow(transaction, paid, amount, state, reason, NOW)


def texts(rows):
    return ",".join(row if isinstance(row, str) else msgspec.json.encode(row).decode() for row in rows)


def entry(*rows, seq=1, tally=(10, 10, 0, 0), paid=(), sale=SALE.id):
    return Entry(f"{next(_numbers)}-0", sale, seq, NOW, Tally(*tally), len(rows) + len(paid), texts(rows), texts(paid))


async def test_an_order_its_payment_and_the_counters_are_there_as_they_were_logged(archive):
    made, paid = order(1), payment("t", order(1).id)
    assert await archive.record([entry(made, tally=(10, 9, 1, 0), paid=[paid])]) == []
    assert await archive.orders([made.id, "f" * 32]) == {made.id: made}
    assert (await archive.order(made.id, ANN), await archive.order(made.id, BOB)) == (made, None)
    assert await archive.payments(["t", "u"]) == {"t": paid.payment}
    assert await archive.sales([SALE.id, "f" * 32]) == {SALE.id: Archived(SALE, Tally(10, 9, 1, 0), 1)}


@pytest.mark.parametrize("key", HOSTILE)
async def test_any_key_comes_back_as_it_was(archive, key):
    await archive.record([entry(order(1, key=key))])
    assert (await archive.orders([order(1).id]))[order(1).id].key == key
    found = await archive.recall([Reserve(SALE.id, ANN, each, 1) for each in (key, key.swapcase() + "!", key + " ")])
    assert found == [order(1, key=key), None, None]


async def test_the_largest_amount_is_exact(archive):
    made = order(1, amount=10**18 - 1, quantity=10**9)
    await archive.record([entry(made, paid=[payment("t", made.id, amount=10**18 - 1)])])
    assert (await archive.orders([made.id]))[made.id].amount == 10**18 - 1
    assert (await archive.payments(["t"]))["t"].amount == 10**18 - 1


@pytest.mark.parametrize("seed", range(3))
async def test_entries_may_come_twice_late_and_from_two_recorders_at_once(archive, seed):
    chance = random.Random(seed)
    lives = [("reserved", 1), ("expired", 2), ("paid", 3)]
    entries = [
        entry(
            *(order(number, status=status, version=version) for number in range(20)),
            seq=version,
            tally=(30, 30 - version, version, 0),
            paid=[payment(f"t{number}", order(number).id) for number in range(20)] if version == 3 else [],
        )
        for status, version in lives
    ]
    parts = [chance.sample(entries * 2, 6) for _ in range(2)]
    assert await asyncio.gather(*(archive.record(part) for part in parts)) == [[], []]
    for each in chance.sample(entries * 2, 6):
        assert await archive.record([each]) == []
    found = await archive.orders([order(number).id for number in range(20)])
    assert {(each.status, each.version, each.changed_at) for each in found.values()} == {("paid", 3, NOW + 3)}
    assert len(found) == 20
    assert (await archive.sales([SALE.id]))[SALE.id].tally == Tally(30, 27, 3, 0)
    assert len(await archive.payments([f"t{number}" for number in range(20)])) == 20


REFUSED = {
    "another order under the same key": order(9, key="1"),
    "an id that is too long": texts([order(9)]).replace(order(9).id, "9" * 33),
    "no JSON": '["unfinished',
    "a row of another shape": '{"id":1}',
    "too few values": '["a","b"]',
    "a number too large": texts([order(9)]).replace("300", "9" * 20),
    "a key that is too long": order(9, key="k" * 65),
    "a buyer that is too long": order(9, buyer="b" * 33),
    "no status": texts([order(9)]).replace("reserved", "lost"),
    "null": texts([order(9)]).replace('"9"', "null"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_row_that_sql_will_never_take_is_named_and_stops_no_other(archive, name):
    await archive.record([entry(order(1))])
    poison = REFUSED[name]
    good = [entry(order(2), seq=2), entry(order(3), seq=4, tally=(10, 7, 3, 0))]
    refused = await archive.record([good[0], entry(poison, seq=3), good[1]])
    assert len(refused) == 1
    assert refused[0].reason
    assert refused[0].row == texts([poison])
    found = await archive.orders([order(number).id for number in (1, 2, 3, 9)])
    assert set(found) == {order(number).id for number in (1, 2, 3)}
    assert (await archive.sales([SALE.id]))[SALE.id] == Archived(SALE, Tally(10, 7, 3, 0), 4)


async def test_good_rows_in_the_very_entry_of_a_bad_one_are_kept(archive):
    await archive.record([entry(order(1))])
    mixed = entry(order(2), order(9, key="1"), order(3), seq=2, tally=(10, 8, 2, 0), paid=[payment("t", order(2).id)])
    [refused] = await archive.record([mixed])
    assert refused.id == order(9).id
    assert set(await archive.orders([order(number).id for number in (1, 2, 3, 9)])) == {
        order(number).id for number in (1, 2, 3)
    }
    assert set(await archive.payments(["t"])) == {"t"}
    assert (await archive.sales([SALE.id]))[SALE.id].seq == 2


BAD_PAYMENTS = {
    "a transaction that paid something else": payment("t", order(2).id),
    "a transaction of another amount": payment("t", order(1).id, amount=299),
    "a transaction id that is too long": payment("t" * 65, order(2).id),
    "an order id that is too long": payment("v", "o" * 65),
    "no JSON": '["t"',
}


@pytest.mark.parametrize("name", BAD_PAYMENTS)
async def test_a_payment_that_sql_will_never_take_is_named_and_stops_no_other(archive, name):
    await archive.record([entry(order(1), paid=[payment("t", order(1).id)])])
    poison = BAD_PAYMENTS[name]
    [refused] = await archive.record([entry(paid=[poison], seq=2), entry(order(2), seq=3, paid=[payment("u", "x")])])
    assert refused.row == texts([poison])
    assert (await archive.payments(["t", "u"])) == {
        "t": payment("t", order(1).id).payment,
        "u": payment("u", "x").payment,
    }
    async with archive._database.reading() as connection:
        assert len((await connection.execute(select(payments))).all()) == 2


async def test_a_text_that_not_every_database_can_hold_stops_no_other(archive):
    strange = ["t\0", "\U0001f375", "龙井"]
    paid = [payment(name, name) for name in strange]
    refused = await archive.record([entry(paid=paid), entry(order(1), seq=2)])
    assert {each.row for each in refused} <= {texts(paid[:1])}
    found = await archive.payments(strange[1:])
    assert {name: each.order_id for name, each in found.items()} == {name: name for name in strange[1:]}
    assert set(await archive.orders([order(1).id])) == {order(1).id}


async def test_counters_that_cannot_be_are_refused_and_the_rows_are_kept(archive):
    refused = await archive.record([entry(order(1), seq=1, tally=(10, 1, 1, 1)), entry(order(2), seq=2)])
    assert len(refused) <= 1
    assert set(await archive.orders([order(1).id, order(2).id])) == {order(1).id, order(2).id}
    assert (await archive.sales([SALE.id]))[SALE.id].seq == 2
    [refused] = await archive.record([entry(order(3), seq=3, tally=(10, 1, 1, 1))])
    assert refused.reason
    assert (await archive.sales([SALE.id]))[SALE.id].seq == 2


async def test_a_sale_is_opened_once_and_never_set_back(archive):
    fresh = msgspec.structs.replace(SALE, id="6" * 32)
    await archive.add(fresh)
    assert (await archive.sales([fresh.id]))[fresh.id].seq == -1
    await archive.record([entry(seq=3, sale=fresh.id, tally=(10, 9, 1, 0))])
    await archive.opened(fresh.id)
    assert (await archive.sales([fresh.id]))[fresh.id] == Archived(fresh, Tally(10, 9, 1, 0), 3)


async def test_thousands_of_rows_are_recorded_and_read_in_chunks(archive):
    rows = [order(number, buyer=f"{number % 7:032x}") for number in range(4500)]
    for start in range(0, len(rows), 1500):
        await archive.record([entry(*rows[start : start + 1500], seq=start + 1)])
    assert [row async for part in archive.orders_of(SALE.id) for row in part] == rows
    assert len(await archive.orders([row.id for row in rows])) == 4500
    assert await archive.recall([Reserve(SALE.id, row.buyer_id, row.key, 1) for row in rows[:1200]]) == rows[:1200]
    mine = [row for row in reversed(rows) if row.buyer_id == f"{3:032x}"]
    first = await archive.page(f"{3:032x}", before=None, limit=10)
    assert [*first, *await archive.page(f"{3:032x}", before=first[-1].id, limit=10)] == mine[:20]


async def test_who_keeps_the_stock_is_written_down(archive):
    assert await archive.keeper() == "sql"
    for keeper in ("redis", "redis", "sql"):
        await archive.hand_over(keeper)
        assert await archive.keeper() == keeper


async def test_an_audit_compares_counters_and_orders_of_one_moment(archive):
    assert await archive.audit("f" * 32) is None
    await archive.record([entry(order(1), tally=(10, 9, 1, 0))])
    found = await archive.audit(SALE.id)
    assert (found.audit.difference, found.audit.ordered, found.seq) == (0, 1, 1)
    await archive.record([entry(seq=2, tally=(10, 8, 2, 0))])
    assert (await archive.audit(SALE.id)).audit.difference == 1


async def test_sales_are_listed_newest_first(archive):
    others = [msgspec.structs.replace(SALE, id=f"6{number:031x}") for number in range(5)]
    for each in others:
        await archive.add(each)
    listed = await archive.newest(before=None, limit=4)
    listed += await archive.newest(before=listed[-1].sale.id, limit=4)
    assert [each.sale.id for each in listed] == [each.id for each in [*reversed(others), SALE]]
