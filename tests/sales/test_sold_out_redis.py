"""The flag that spares Redis once a sale is sold out: it saves calls, and it is never wrong."""

from __future__ import annotations

import asyncio
import time

import pytest

from teahouse.problems import IdempotencyMismatch, LimitReached, SaleEnded, SoldOut
from teahouse.sales import keys_redis as keys
from teahouse.sales import purchases_redis
from teahouse.sales.shelf import SOLD_OUT_SECONDS
from tests.sales.shop import ANN, BOB, CAT, DAN

DEADLINE_SECONDS = 10


@pytest.fixture
def keeper():
    return "redis"


@pytest.fixture
async def other(shop):
    """A second node of the shop."""
    node = shop.another_node("two")
    await node.open()
    yield node
    await node.aclose()


async def until(is_so):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


async def asked(shop):
    """How many scripts Redis has run."""
    text = (await shop.redis.ask("INFO", "commandstats")).decode()
    return sum(
        int(line.partition("calls=")[2].partition(",")[0])
        for line in text.splitlines()
        if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))
    )


async def flagged(shop, sale, buyer=DAN):
    """Asks until this node knows that the sale is sold out, and who has bought."""
    shelf = shop.ledger.purchases.shelves.get(sale.sale.id)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not shelf.surely_sold_out(buyer, shop.clock.monotonic()):
        assert time.monotonic() < deadline
        with pytest.raises((SoldOut, LimitReached)):
            await shop.buy(sale, buyer, "in vain")
        await asyncio.sleep(0.001)


async def refused(kind, *calls):
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [kind] * len(answers)


async def test_a_sold_out_sale_asks_redis_no_more_but_now_and_then(shop):
    sale = await shop.sale(stock=1)
    await shop.buy(sale, ANN)
    await flagged(shop, sale)
    before = await asked(shop)
    await refused(SoldOut, *(shop.buy(sale, f"{number:032x}") for number in range(100)))
    assert await asked(shop) == before
    shop.clock.advance(SOLD_OUT_SECONDS)
    await refused(SoldOut, *(shop.buy(sale, f"{number:032x}") for number in range(100)))
    # A hundred at once leave as two batches.
    assert await asked(shop) == before + 2


async def test_who_has_bought_still_gets_the_same_order_while_it_is_sold_out(shop, other):
    sale = await shop.sale(stock=2, limit=2)
    mine = await shop.buy(sale, ANN, "mine")
    theirs = await other.service.purchase(BOB, sale.sale.id, "theirs", 1)
    await flagged(shop, sale)
    assert await shop.buy(sale, ANN, "mine") == mine
    assert await shop.buy(sale, BOB, "theirs") == theirs
    with pytest.raises(IdempotencyMismatch):
        await shop.buy(sale, BOB, "theirs", 2)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB, "another")


async def test_the_limit_still_goes_before_the_stock_while_it_is_sold_out(shop):
    sale = await shop.sale(stock=2, limit=2)
    await shop.buy(sale, ANN, quantity=2)
    await flagged(shop, sale)
    await refused(LimitReached, shop.buy(sale, BOB, "k", 3), shop.buy(sale, ANN, "more"))
    await refused(SoldOut, shop.buy(sale, BOB, "k", 2), shop.buy(sale, CAT))


async def test_a_sale_that_has_something_left_is_not_taken_for_sold_out(shop):
    sale = await shop.sale(stock=2, limit=2)
    await shop.buy(sale, ANN)
    await refused(SoldOut, shop.buy(sale, BOB, "two", 2))
    shelf = shop.ledger.purchases.shelves.get(sale.sale.id)
    assert not shelf.surely_sold_out(CAT, shop.clock.monotonic())
    await shop.buy(sale, CAT)


@pytest.mark.parametrize("way", ["cancel", "expire", "restock"])
async def test_stock_that_returns_on_another_node_is_sold_here_as_soon_as_that_is_heard(shop, other, way):
    sale = await shop.sale(stock=1, pay=60)
    made = await shop.buy(sale, ANN)
    if way == "expire":
        shop.clock.advance(60)
    await flagged(shop, sale)
    heard = shop.feed.heard
    if way == "cancel":
        await other.service.cancel(ANN, made.id)
    elif way == "expire":
        assert await other.ledger.expire_due() == 1
    else:
        await other.ledger.restock(sale.sale.id, 2)
    begun = time.monotonic()
    await until(lambda: shop.feed.heard > heard)
    assert time.monotonic() - begun < 1
    assert (await shop.buy(sale, BOB)).buyer_id == BOB


async def test_stock_that_returned_while_the_refusal_was_on_its_way_is_not_hidden(shop, other):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    await flagged(shop, sale)
    shop.clock.advance(SOLD_OUT_SECONDS)
    reserve, heard = shop.ledger.scripts.reserve, shop.feed.heard

    async def slow(*arguments):
        reply = await reserve(*arguments)
        await other.service.cancel(ANN, made.id)
        await until(lambda: shop.feed.heard > heard)
        return reply

    shop.ledger.scripts.reserve = slow
    await refused(SoldOut, shop.buy(sale, BOB))
    shop.ledger.scripts.reserve = reserve
    assert (await shop.buy(sale, CAT)).buyer_id == CAT


async def test_stock_that_returned_during_a_refusal_is_not_hidden_by_the_next_question(shop, other):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    await flagged(shop, sale)
    shop.clock.advance(SOLD_OUT_SECONDS)
    reserve, heard, left = shop.ledger.scripts.reserve, shop.feed.heard, []

    async def slow(*arguments):
        reply = await reserve(*arguments)
        left.append(asyncio.Event())
        await left[-1].wait()
        return reply

    shop.ledger.scripts.reserve = slow
    refusal = asyncio.create_task(refused(SoldOut, shop.buy(sale, BOB)))
    await until(lambda: len(left) == 1)
    await other.service.cancel(ANN, made.id)
    await until(lambda: shop.feed.heard > heard)
    # Two, for a batch leaves beside another when it is larger.
    overlapping = asyncio.gather(*(refused(LimitReached, shop.buy(sale, DAN, key, 2)) for key in ("k", "l")))
    await until(lambda: len(left) == 2)
    left[0].set()
    await refusal
    # Old news: what the first question was told is from before the return.
    hidden = shop.ledger.purchases.shelves.get(sale.sale.id).surely_sold_out(CAT, shop.clock.monotonic())
    left[1].set()
    await overlapping
    assert not hidden


async def test_the_flag_is_not_believed_while_the_feed_does_not_hear(shop, other):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    await flagged(shop, sale)
    await shop.feed.aclose()
    await other.service.cancel(ANN, made.id)
    assert (await shop.buy(sale, BOB)).buyer_id == BOB


async def test_a_buyer_who_came_between_is_known_before_the_flag_counts_again(shop, other):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    await flagged(shop, sale)
    heard = shop.feed.heard
    await other.service.cancel(ANN, made.id)
    theirs = await other.service.purchase(BOB, sale.sale.id, "k", 1)
    await until(lambda: shop.feed.heard > heard)
    await flagged(shop, sale)
    assert await shop.buy(sale, BOB) == theirs
    before = await asked(shop)
    await refused(SoldOut, shop.buy(sale, CAT))
    assert await asked(shop) == before


async def test_the_end_of_the_sale_is_told_though_it_was_sold_out(shop):
    sale = await shop.sale(stock=1, lasts=10)
    await shop.buy(sale, ANN)
    await flagged(shop, sale)
    shop.clock.advance(10)
    await refused(SaleEnded, shop.buy(sale, BOB))


async def test_a_sale_that_redis_lost_is_not_told_to_be_sold_out_for_longer_than_a_second(shop):
    sale = await shop.sale(stock=1)
    await shop.buy(sale, ANN)
    await flagged(shop, sale)
    await shop.redis.ask("DEL", keys.sale_key(sale.sale.id))
    shop.clock.advance(SOLD_OUT_SECONDS)
    with pytest.raises(Exception, match="has lost a part of this sale"):
        await shop.buy(sale, BOB)


async def test_where_too_many_have_bought_to_remember_them_redis_is_asked_each_time(shop, monkeypatch):
    monkeypatch.setattr(purchases_redis, "MOST_SLOTS", 1)
    sale = await shop.sale(stock=2)
    mine = await shop.buy(sale, ANN)
    await shop.buy(sale, BOB)
    before = await asked(shop)
    for _ in range(5):
        await refused(SoldOut, shop.buy(sale, CAT))
        await asyncio.gather(*shop.ledger.purchases._learning)
    assert await asked(shop) == before + 5
    assert await shop.buy(sale, ANN) == mine
