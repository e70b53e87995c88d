"""A Redis that restarts, forgets its last moments or everything, and a sale that was opened half-way."""

from __future__ import annotations

import asyncio
import shutil
import time

import pytest

from teahouse.problems import NotFound, Overloaded, Problem, RedisUnavailable, SoldOut, StockLost
from teahouse.sales import keys_redis as keys
from teahouse.sales.rejoining_redis import REJOIN_SECONDS
from tests.sales.shop import ANN, BOB, CAT
from tests.sales.shop_redis import opened_redis_shop

DEADLINE_SECONDS = 20


@pytest.fixture
def keeper():
    return "redis"


@pytest.fixture
async def alone(redis_alone, tmp_path):
    """A shop on a Redis of its own, with a second node."""
    async with opened_redis_shop(redis_alone.url, tmp_path) as shop:
        other = shop.another_node("two")
        await other.open()
        yield shop, other, redis_alone
        await other.aclose()


async def answer(work):
    try:
        return await work
    except Problem as problem:
        return problem


async def back(shop, other):
    """Both nodes are connected again."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    for node in (shop, other):
        while isinstance(await answer(node.redis.ask("PING")), Problem):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)


async def all_agree(shop, other):
    for node in (shop, other):
        await answer(node.ledger._rejoining.check())
    shop.clock.advance(REJOIN_SECONDS)


async def buy(node, sale, buyer, key="k"):
    return await answer(node.service.purchase(buyer, sale.sale.id, key, 1))


async def test_a_redis_that_restarts_with_all_it_knew_sells_on_after_everybody_has_looked(alone):
    shop, other, server = alone
    sale = await shop.sale(stock=3)
    made = await shop.buy(sale, ANN)
    server.kill()
    server.start()
    await back(shop, other)
    for node in (shop, other):
        told = await buy(node, sale, BOB)
        assert isinstance(told, RedisUnavailable)
    assert isinstance(await answer(shop.service.cancel(ANN, made.id)), RedisUnavailable)
    assert isinstance(await answer(shop.ledger.expire_due()), RedisUnavailable)
    shop.clock.advance(REJOIN_SECONDS)
    assert (await buy(other, sale, BOB)).buyer_id == BOB
    assert await buy(shop, sale, ANN) == made
    assert (await shop.tally(sale)).reserved == 2


@pytest.mark.parametrize("knowing", ["the node that sold", "a node that had only been told less"])
async def test_a_redis_that_lost_its_last_moments_sells_nothing_of_that_sale_until_it_is_repaired(alone, knowing):
    shop, other, server = alone
    lost, kept = await shop.sale(stock=3), await shop.sale(stock=3)
    await shop.buy(lost, ANN)
    await other.service.purchase(CAT, lost.sale.id, "k", 1)
    await shop.buy(kept, ANN)
    server.stop()
    shutil.copytree(server.folder / "appendonlydir", server.folder / "older")
    server.start()
    await back(shop, other)
    await all_agree(shop, other)
    await shop.buy(lost, BOB)
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    shutil.move(server.folder / "older", server.folder / "appendonlydir")
    server.start()
    await back(shop, other)
    # Whoever was told less waits until those who were told more have had time to say so.
    assert isinstance(await buy(other, lost, "e" * 32), RedisUnavailable)
    await all_agree(shop, other)
    seller = shop if knowing == "the node that sold" else other
    for buyer in ("e" * 32, BOB):
        assert isinstance(await buy(seller, lost, buyer), StockLost)
    assert (await buy(seller, kept, ANN)).buyer_id == ANN
    assert (await buy(seller, kept, BOB)).buyer_id == BOB
    audit = await shop.ledger.audit(lost.sale.id)
    assert {each.kind for each in audit.differences} == {"redis-lost"}


async def test_a_redis_that_lost_everything_sells_nothing_and_says_never_sold_out(alone):
    shop, other, server = alone
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB)
    await shop.record()
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()
    await back(shop, other)
    shop.clock.advance(1)
    for node in (shop, other):
        assert isinstance(await buy(node, sale, CAT), RedisUnavailable)
    await all_agree(shop, other)
    for node in (shop, other):
        for buyer in (ANN, BOB, CAT):
            assert isinstance(await buy(node, sale, buyer), StockLost)
    assert await shop.status(ANN, made.id) == "reserved"
    assert isinstance(await answer(shop.ledger.restock(sale.sale.id, 9)), StockLost)


async def test_a_sale_whose_opening_was_never_confirmed_is_not_opened_again_over_what_it_sold(alone, monkeypatch):
    shop, other, server = alone

    async def crashes(sale_id):
        raise asyncio.CancelledError

    monkeypatch.setattr(shop.archive, "opened", crashes)
    with pytest.raises(asyncio.CancelledError):
        await shop.sale(stock=2)
    monkeypatch.undo()
    [archived] = await shop.archive.newest(before=None, limit=1)
    assert archived.seq == -1
    sale = await shop.service.sale(archived.sale.id)
    await shop.buy(sale, ANN)
    server.kill()
    shutil.rmtree(server.folder / "appendonlydir")
    server.start()
    await back(shop, other)
    await all_agree(shop, other)
    for node in (other, shop):
        assert isinstance(await buy(node, sale, CAT), StockLost)


@pytest.mark.parametrize("step", ["scripts.open", "archive.opened"])
async def test_a_sale_that_was_opened_half_way_is_opened_by_its_first_buyer(shop, monkeypatch, step):
    async def fails(*_):
        raise RedisUnavailable("gone")

    owner, name = step.split(".")
    monkeypatch.setattr(shop.ledger.scripts if owner == "scripts" else shop.archive, name, fails)
    with pytest.raises(RedisUnavailable):
        await shop.sale(stock=2)
    monkeypatch.undo()
    [listed] = await shop.service.sales(before=None, limit=9)
    assert listed.remaining == 2
    assert (await shop.ledger.audit(listed.sale.id)).difference == 0
    told = await asyncio.gather(*(answer(shop.buy(listed, f"{number:032x}")) for number in range(4)))
    assert [type(each).__name__ for each in told] == ["Reservation", "Reservation", "SoldOut", "SoldOut"]
    assert (await shop.tally(listed)).reserved == 2
    assert (await shop.archive.sales([listed.sale.id]))[listed.sale.id].seq > 0


async def test_a_sale_that_never_came_into_the_archive_does_not_exist(shop):
    with pytest.raises(NotFound):
        await shop.ledger.restock("f" * 32, 3)
    with pytest.raises(NotFound):
        await shop.service.sale("f" * 32)
    assert shop.service.shown("e" * 32) is None


async def test_a_sale_that_redis_lost_alone_is_not_sold_and_the_others_are(shop):
    lost, kept = await shop.sale(), await shop.sale()
    made = await shop.buy(lost, ANN)
    await shop.redis.ask("DEL", keys.sale_key(lost.sale.id))
    for node in (shop, shop):
        told = await asyncio.gather(answer(shop.buy(lost, BOB)), answer(shop.buy(kept, BOB)))
        assert [type(each).__name__ for each in told] == ["StockLost", "Reservation"]
        await node.restart()
    assert isinstance(await answer(shop.service.cancel(ANN, made.id)), StockLost)
    assert isinstance(await answer(shop.pay(made.id)), StockLost)


async def test_too_much_that_waits_for_the_database_is_an_honest_503(redis_shared, tmp_path):
    async with opened_redis_shop(redis_shared.url, tmp_path, max_unrecorded=2) as shop:
        sale = await shop.sale(stock=9)
        await shop.buy(sale, ANN)
        await shop.buy(sale, BOB)
        with pytest.raises(Overloaded):
            await shop.buy(sale, CAT)
        await shop.record()
        assert (await shop.buy(sale, CAT)).buyer_id == CAT
