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


def hired(password: str, *, origin: str = "") -> Callable[[], Awaitable[Credentials]]:
    async def hire() -> Credentials:
        return Credentials("operator", Secret(password), origin)

    return hire


async def day(lie: str = "", *, buyers: int = 20, stock: int = 6) -> Report:
    ledger = Ledger(buyers=buyers, stock=stock, limit=1)
    async with serving(LyingShop(lie)) as url:
        await play_day(QuickPlan(buyers, stock), url, hired(PASSWORD), NoStage(), ledger)
    return close_books(ledger, 1.0)


def broken(report: Report) -> set[str]:
    return {verdict.promise for verdict in report.promises if not verdict.kept}


async def test_an_honest_shop_keeps_every_promise_however_small_the_day_is():
    sizes = [(20, 6), (1, 1), (1, 9), (2, 1), (3, 2), (6, 40)]
    reports = await asyncio.gather(*(day(buyers=buyers, stock=stock) for buyers, stock in sizes))
    assert {size: broken(report) for size, report in zip(sizes, reports, strict=True) if broken(report)} == {}
    assert [report.difference for report in reports] == [0] * len(sizes)


@pytest.mark.parametrize("mood", ["is-busy", "starts-late"])
async def test_a_shop_that_needs_patience_gets_it(mood: str):
    report = await day(mood)
    assert report.kept, broken(report)
    assert report.asked_again > 0


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
