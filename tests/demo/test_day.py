"""The whole day against shops in memory: an honest one, and one for each promise that can be broken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from teahouse.demo import Credentials, DemoFailed, Ledger, NoStage, Plan, Report, play_day
from teahouse.demo.report import close_books
from teahouse.settings import Secret
from tests.demo.lying_shop import PASSWORD, LyingShop, serving


class QuickPlan(Plan, frozen=True):
    """A day that is short, and still long enough for a busy machine."""

    lead_seconds = 0.6
    pay_within_seconds = 2
    patience_seconds = 2.0
    told_within_seconds = 1.0


def hired(password: str, *, origin: str = "") -> Callable[[], Awaitable[Credentials]]:
    async def hire() -> Credentials:
        return Credentials("operator", Secret(password), origin)

    return hire


async def day(lie: str = "", *, buyers: int = 20, stock: int = 6) -> Report:
    ledger = Ledger(buyers=buyers, stock=stock, limit=1)
    shop = LyingShop(lie)
    async with serving(shop) as url:
        plan = QuickPlan(buyers, stock)
        await play_day(plan, url, hired(PASSWORD), NoStage(), ledger, realtime_url=shop.realtime_url)
    return close_books(ledger, 1.0)


def broken(report: Report) -> set[str]:
    return {verdict.promise for verdict in report.promises if not verdict.kept}


async def test_an_honest_shop_keeps_every_promise_however_small_the_day_is():
    sizes = [(20, 6), (1, 1), (1, 9), (2, 1), (3, 2), (6, 40)]
    reports = await asyncio.gather(*(day(buyers=buyers, stock=stock) for buyers, stock in sizes))
    assert {size: broken(report) for size, report in zip(sizes, reports, strict=True) if broken(report)} == {}
    assert [report.difference for report in reports] == [0] * len(sizes)


@pytest.mark.parametrize("mood", ["is-busy", "starts-late", "starts-in-between"])
async def test_a_shop_that_needs_patience_gets_it(mood: str):
    report = await day(mood)
    assert report.kept, broken(report)
    assert report.asked_again > 0


async def test_buyers_are_told_what_became_of_their_orders():
    report = await day(buyers=40, stock=20)
    assert report.kept, report.promises
    assert (report.results_by_push, report.results_by_asking) == (20 + report.expired + report.cancelled, 0)
    assert {times.kind for times in report.news} == {"order paid", "order cancelled", "order expired"}


async def test_everybody_in_the_room_hears_everything():
    report = await day(buyers=40, stock=20)
    room = report.room
    assert (room.wanted, room.sockets, room.lost, room.in_sequence) == (40, 40, {}, True)
    # The shop welcomes everybody, and says what is back.
    assert room.by_the_shop >= 2
    assert room.sent == room.acknowledged > 40
    assert room.delivered == room.expected == 39 * (room.sent - room.by_the_shop) + 40 * room.by_the_shop


@pytest.mark.parametrize(("mood", "returned"), [("restarts", 40), ("cuts-a-socket", 1)])
async def test_who_loses_their_socket_comes_back_and_has_missed_nothing(mood: str, returned: int):
    report = await day(mood, buyers=40, stock=20)
    assert report.kept, report.promises
    room = report.room
    assert (room.sockets, room.returned, room.lost, room.in_sequence) == (40, returned, {}, True)
    assert room.delivered == room.expected > 39 * 40
    assert room.sent == room.acknowledged > 40


async def test_who_may_not_come_back_is_lost():
    report = await day("drops-sockets", buyers=10, stock=4)
    assert (report.room.returned, report.room.lost) == (0, {1006: 1})


async def test_who_waits_does_not_ask_until_the_shop_says_that_something_is_back():
    told, asking = await asyncio.gather(day(buyers=40, stock=20), day("has-no-sockets", buyers=40, stock=20))
    looks = [
        next(times.requests for times in report.times if times.kind == "look at the sale") for report in (told, asking)
    ]
    # Everybody once before the start, and the shop's clock twice.
    assert looks[0] == 42 < looks[1]


@pytest.mark.parametrize("mood", ["has-no-sockets", "tells-nobody"])
async def test_who_is_told_nothing_asks_once(mood: str):
    report = await day(mood, buyers=10, stock=4)
    assert report.kept, report.promises
    assert report.results_by_push == 0
    assert report.results_by_asking == 4 + report.expired + report.cancelled
    reads = next(times.requests for times in report.times if times.kind == "read an order")
    # Each order once when it was promised and once for its result, and everybody's orders in the evening.
    assert reads == 2 * report.results_by_asking + 10


async def test_where_no_sockets_are_the_table_says_where_they_were_looked_for():
    report = await day("has-no-sockets", buyers=2, stock=1)
    assert (report.room.sockets, report.room.sent) == (0, 0)
    assert "ws://127.0.0.1:" in report.room.absent


async def test_an_address_that_is_named_must_take_sockets():
    with pytest.raises(DemoFailed, match="401. --realtime-url must be the realtime port"):
        await day("lets-nobody-in")


async def test_an_honest_day_has_everything_in_it():
    report = await day(buyers=40, stock=20)
    assert report.sold == 20
    assert report.expired > 0
    assert report.cancelled > 0
    assert report.resold == report.expired + report.cancelled
    assert report.late_refunded > 0
    assert {doubles.why: doubles.alike == doubles.pairs > 0 for doubles in report.doubles} == {
        "Accepted, asked again later": True,
        "Asked twice at the same time": True,
        "Hung up, then asked again": True,
        "Paid, and the payment sent again": True,
    }
    assert report.refused.keys() == {
        "sold-out",
        "sale-not-started",
        "limit-reached",
        "idempotency-mismatch",
        "not-found",
        "wechat-code-invalid",
        "access-token-invalid",
    }


EVERYBODY = "Every message in the room reaches everybody there, in sequence, once"
RESULTS = "Every buyer hears what became of their order"
LIES = {
    "oversells": "Never more sold than there is",
    "undersells": "Nothing left over while somebody waits",
    "has-a-difference": "The books add up at every look: difference 0",
    "loses-orders": "What buyers hold is what the books say",
    "shows-orders-late": "Every accepted purchase is an order its buyer can read at once",
    "answers-the-same-differently": "Asked twice, answered alike",
    "forgets-the-key": "Asked twice, answered alike",
    "forgets-the-limit": "Nobody has more than the limit",
    "gives-the-wrong-reason": "Every refusal says the right reason",
    "believes-forgeries": "Every refusal says the right reason",
    "shows-orders-to-anybody": "Every refusal says the right reason",
    "never-returns-stock": "What is not paid returns on time, once",
    "drops-late-money": "Money that comes too late is settled or refunded",
    "loses-a-message": EVERYBODY,
    "says-it-twice": EVERYBODY,
    "mixes-up-the-order": EVERYBODY,
    "renumbers-messages": EVERYBODY,
    "numbers-with-gaps": EVERYBODY,
    "does-not-acknowledge": EVERYBODY,
    "refuses-a-message": EVERYBODY,
    "drops-sockets": EVERYBODY,
    "forgets-who-was-away": EVERYBODY,
    "silences-the-shop": EVERYBODY,
    "tells-somebody-else": RESULTS,
    "tells-a-wrong-result": RESULTS,
    "tells-twice": RESULTS,
    "contradicts-itself": "Every request was answered",
    "recovers-nothing": "Every request was answered",
    "has-no-rooms": "Every request was answered",
    "has-no-catalogue": "Every request was answered",
    "speaks-gibberish": "Every request was answered",
    "has-no-last-page": "Every request was answered",
    "does-not-cancel": "Every request was answered",
    "forgets-to-cancel": "Every request was answered",
}


async def test_every_broken_promise_is_named():
    # The days are mostly waiting, so all of them are lived at once.
    reports = await asyncio.gather(*(day(lie) for lie in LIES))
    found = {lie: broken(report) for lie, report in zip(LIES, reports, strict=True)}
    assert {lie: promises for lie, promises in found.items() if LIES[lie] not in promises} == {}
    assert not any(report.kept for report in reports)


async def test_a_server_that_asks_the_real_wechat_cannot_be_played_on():
    with pytest.raises(DemoFailed, match="sandbox"):
        await day("asks-the-real-wechat")


async def test_an_admin_the_server_does_not_know_is_told_what_to_do():
    ledger = Ledger(buyers=1, stock=1, limit=1)
    async with serving(LyingShop()) as url:
        with pytest.raises(DemoFailed, match="does not use the database in /elsewhere"):
            await play_day(QuickPlan(1, 1), url, hired("wrong", origin="/elsewhere"), NoStage(), ledger)
        with pytest.raises(DemoFailed, match="operator cannot log in"):
            await play_day(QuickPlan(1, 1), url, hired("wrong"), NoStage(), ledger)
