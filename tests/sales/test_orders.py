"""What becomes of a reservation: paid, cancelled, expired, and money that comes late or twice."""

from __future__ import annotations

import asyncio

import pytest

from teahouse.problems import LimitReached, NotFound, OrderNotCancellable, SoldOut, TransactionReused
from teahouse.sales import Tally
from teahouse.sales.stock import CLOSE_AFTER_MS
from tests.sales.shop import ANN, BOB


async def test_a_cancelled_order_returns_its_stock_once(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    answers = await asyncio.gather(*(shop.service.cancel(ANN, made.id) for _ in range(10)))
    assert {answer.status for answer in answers} == {"cancelled"}
    assert (await shop.service.cancel(ANN, made.id)).status == "cancelled"
    assert await shop.tally(sale) == Tally(initial=1, remaining=1, reserved=0, sold=0)


async def test_stock_that_returned_is_there_for_the_next_purchase(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB, "too early")
    await shop.service.cancel(ANN, made.id)
    assert (await shop.buy(sale, BOB)).buyer_id == BOB
    assert (await shop.tally(sale)).reserved == 1


async def test_a_cancelled_order_gives_the_buyers_limit_back(shop):
    sale = await shop.sale(limit=1)
    made = await shop.buy(sale, ANN, "1")
    with pytest.raises(LimitReached):
        await shop.buy(sale, ANN, "2")
    await shop.service.cancel(ANN, made.id)
    await shop.buy(sale, ANN, "3")


async def test_somebody_elses_order_cannot_be_seen_or_cancelled(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    with pytest.raises(NotFound):
        await shop.service.order(BOB, made.id)
    with pytest.raises(NotFound):
        await shop.service.cancel(BOB, made.id)
    with pytest.raises(NotFound):
        await shop.service.cancel(ANN, "f" * 32)
    assert (await shop.tally(sale)).reserved == 1


async def test_a_paid_or_expired_order_cannot_be_cancelled(shop):
    sale = await shop.sale(limit=2, pay=60)
    paid, unpaid = await shop.buy(sale, ANN, "1"), await shop.buy(sale, ANN, "2")
    await shop.pay(paid.id)
    shop.clock.advance(60)
    await shop.ledger.expire_due()
    for order in (paid, unpaid):
        with pytest.raises(OrderNotCancellable):
            await shop.service.cancel(ANN, order.id)
    assert await shop.tally(sale) == Tally(initial=10, remaining=9, reserved=0, sold=1)


async def test_an_unpaid_order_expires_on_time_once_and_not_before(shop):
    sale = await shop.sale(pay=60)
    made = await shop.buy(sale, ANN, "1")
    shop.clock.advance(59.999)
    assert await shop.ledger.expire_due() == 0
    shop.clock.advance(0.001)
    assert await asyncio.gather(shop.ledger.expire_due(), shop.ledger.expire_due()) in ([1, 0], [0, 1])
    assert await shop.status(ANN, made.id) == "expired"
    assert await shop.tally(sale) == Tally(initial=10, remaining=10, reserved=0, sold=0)
    await shop.buy(sale, ANN, "2")


async def test_what_fell_due_while_the_server_was_away_expires_after_the_restart(shop):
    sale = await shop.sale(stock=3, pay=60)
    made = await shop.buy(sale, ANN)
    await shop.restart()
    assert await shop.ledger.expire_due() == 0
    assert shop.ledger.live == 1
    shop.clock.advance(3600)
    assert await shop.ledger.expire_due() == 1
    assert await shop.status(ANN, made.id) == "expired"


async def test_a_thousand_and_one_due_orders_expire_in_bounded_batches(shop):
    sale = await shop.sale(stock=2000, pay=1)
    await asyncio.gather(*(shop.buy(sale, f"{n:032x}") for n in range(1001)))
    shop.clock.advance(1)
    assert await shop.ledger.expire_due() == 1001
    assert (await shop.tally(sale)).remaining == 2000


async def test_paid_orders_do_not_expire(shop):
    sale = await shop.sale(pay=60)
    made = await shop.buy(sale, ANN)
    assert (await shop.pay(made.id)).state == "settled"
    shop.clock.advance(61)
    assert await shop.ledger.expire_due() == 0
    assert await shop.status(ANN, made.id) == "paid"
    assert await shop.tally(sale) == Tally(initial=10, remaining=9, reserved=0, sold=1)


async def test_the_same_transaction_twice_is_one_payment(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    at_once = await asyncio.gather(*(shop.pay(made.id, transaction="t") for _ in range(5)))
    again = await shop.pay(made.id, transaction="t")
    assert {*at_once, again} == {again}
    assert (await shop.tally(sale)).sold == 1


async def test_a_transaction_of_another_order_or_amount_is_refused(shop):
    sale = await shop.sale(limit=2)
    first, second = await shop.buy(sale, ANN, "1"), await shop.buy(sale, ANN, "2")
    await shop.pay(first.id, transaction="t")
    with pytest.raises(TransactionReused):
        await shop.pay(second.id, transaction="t")
    with pytest.raises(TransactionReused):
        await shop.pay(first.id, transaction="t", amount=299)
    assert await shop.status(ANN, second.id) == "reserved"


async def test_a_late_payment_gets_its_order_back_while_stock_lasts(shop):
    sale = await shop.sale(stock=1, pay=60)
    made = await shop.buy(sale, ANN)
    shop.clock.advance(60)
    await shop.ledger.expire_due()
    assert (await shop.pay(made.id)).state == "settled"
    assert await shop.status(ANN, made.id) == "paid"
    assert await shop.tally(sale) == Tally(initial=1, remaining=0, reserved=0, sold=1)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB)


async def test_a_late_payment_without_stock_is_kept_for_a_refund(shop):
    sale = await shop.sale(stock=1, pay=60)
    made = await shop.buy(sale, ANN)
    shop.clock.advance(60)
    await shop.ledger.expire_due()
    await shop.buy(sale, BOB)
    payment = await shop.pay(made.id)
    assert (payment.state, payment.reason) == ("refund-due", "sold-out-meanwhile")
    assert await shop.status(ANN, made.id) == "expired"
    assert await shop.tally(sale) == Tally(initial=1, remaining=0, reserved=1, sold=0)
    await shop.restart()
    assert await shop.pay(made.id) == payment


async def test_a_payment_after_the_buyer_cancelled_is_not_dropped(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    await shop.service.cancel(ANN, made.id)
    assert (await shop.pay(made.id)).state == "settled"
    assert (await shop.tally(sale)).sold == 1


@pytest.mark.parametrize("minutes", [1, 120])
async def test_a_late_payment_is_taken_after_the_sale_has_ended_too(shop, minutes):
    sale = await shop.sale(stock=2, lasts=30, pay=10)
    made = await shop.buy(sale, ANN)
    shop.clock.advance(60 * minutes)
    await shop.ledger.expire_due()
    await shop.restart()
    assert (await shop.pay(made.id)).state == "settled"
    assert await shop.tally(sale) == Tally(initial=2, remaining=1, reserved=0, sold=1)


async def test_money_that_fits_no_order_is_kept_for_a_refund(shop):
    sale = await shop.sale(limit=2)
    made, paid = await shop.buy(sale, ANN, "1"), await shop.buy(sale, ANN, "2")
    await shop.pay(paid.id)
    reasons = [
        (await shop.pay("f" * 32)).reason,
        (await shop.pay(made.id, amount=299, transaction="wrong")).reason,
        (await shop.pay(paid.id, transaction="twice")).reason,
    ]
    assert reasons == ["unknown-order", "wrong-amount", "already-paid"]
    assert await shop.status(ANN, made.id) == "reserved"
    assert await shop.tally(sale) == Tally(initial=10, remaining=8, reserved=1, sold=1)


async def test_the_sandbox_pays_the_buyers_own_order_and_nobody_elses(shop):
    sale = await shop.sale()
    made = await shop.buy(sale, ANN)
    with pytest.raises(NotFound):
        await shop.service.pay_in_sandbox(BOB, made.id, amount=None, transaction_id=None)
    for _ in range(2):
        payment = await shop.service.pay_in_sandbox(ANN, made.id, amount=None, transaction_id=None)
        assert (payment.state, payment.amount) == ("settled", 300)


async def test_listeners_hear_of_an_order_once_it_has_changed_and_cannot_hurt(shop):
    heard = []

    def broken(event):
        raise RuntimeError("a listener's own mistake")

    shop.ledger.listeners.extend([broken, heard.append])
    sale = await shop.sale(limit=3, pay=60)
    paid, cancelled, expired = [await shop.buy(sale, ANN, key) for key in "123"]
    await shop.pay(paid.id)
    await shop.service.cancel(ANN, cancelled.id)
    shop.clock.advance(60)
    await shop.ledger.expire_due()
    assert [(event.reservation.id, event.status) for event in heard] == [
        (paid.id, "paid"),
        (cancelled.id, "cancelled"),
        (expired.id, "expired"),
    ]


async def test_what_happened_is_counted_by_outcome(shop):
    sale = await shop.sale(stock=1)
    made = await shop.buy(sale, ANN)
    await shop.buy(sale, ANN)
    with pytest.raises(SoldOut):
        await shop.buy(sale, BOB)
    await shop.service.cancel(ANN, made.id)
    await shop.pay(made.id)
    assert shop.ledger.outcomes == {
        "reserved": 1,
        "repeated": 1,
        "sold-out": 1,
        "cancelled": 1,
        "paid-late": 1,
        "settled": 1,
    }


async def test_paying_for_what_was_given_back_does_not_get_round_the_limit(shop):
    sale = await shop.sale(stock=10, limit=1)
    made = []
    for number in range(3):
        made.append(await shop.buy(sale, ANN, str(number)))
        await shop.service.cancel(ANN, made[-1].id)
    told = [await shop.pay(each.id) for each in made]
    assert [(each.state, each.reason) for each in told] == [
        ("settled", ""),
        ("refund-due", "limit-reached"),
        ("refund-due", "limit-reached"),
    ]
    assert (await shop.tally(sale)).sold == 1


async def test_the_limit_holds_for_late_payments_at_once_and_after_the_sale_is_closed(shop):
    sale = await shop.sale(stock=10, limit=2, lasts=100, pay=10)
    made = [await shop.buy(sale, ANN, str(number)) for number in range(2)]
    shop.clock.advance(10)
    assert await shop.ledger.expire_due() == 2
    made += [await shop.buy(sale, ANN, str(number)) for number in (2, 3)]
    shop.clock.advance(100 + CLOSE_AFTER_MS / 1000)
    await shop.ledger.expire_due()
    await shop.close_what_is_over()
    told = await asyncio.gather(*(shop.pay(each.id) for each in made))
    assert sorted(each.reason for each in told) == ["", "", "limit-reached", "limit-reached"]
    assert (await shop.tally(sale)).sold == 2
