"""One node's clock is an hour off: sales go by Redis' time, and nobody gets in who should not, or is thrown out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.databases import DatabaseServer
from tests.faults.nodes import Shop, client_of, shop_of
from tests.faults.rush import account, rush
from tests.journeys.people import Person, log_in, log_in_boss, put_on_sale, refused
from tests.redis_servers import redis_server

HOUR = 3600
APP = """
from pathlib import Path

from teahouse import Teahouse
from teahouse.clock import Clock

OFFSET = Path(__file__).with_name("offset")


class SetClock(Clock):
    def now(self):
        return super().now() + float(OFFSET.read_text())


app = Teahouse(clock=SetClock())
"""


def set_clock(directory: Path, seconds: float) -> None:
    """Steps the clock of the node in that directory: so many seconds from the machine's."""
    fresh = directory / "offset.new"
    fresh.write_text(str(seconds))
    fresh.replace(directory / "offset")


@pytest.fixture(scope="module", params=["short", "long"])
def tokens(request: pytest.FixtureRequest) -> str:
    """Access tokens of the usual quarter of an hour, or of many hours."""
    return str(request.param)


@pytest.fixture(scope="module")
def clocked(tmp_path_factory: pytest.TempPathFactory, mariadb_session: DatabaseServer, tokens: str) -> Iterator[Shop]:
    """Two nodes whose clocks a test may set."""
    directory = tmp_path_factory.mktemp("clocked")
    for name in ("node0", "node1"):
        (directory / name).mkdir()
        (directory / name / "clocked.py").write_text(APP)
        set_clock(directory / name, 0)
    lives = {"TEAHOUSE_ACCOUNTS__ACCESS_TOKEN_SECONDS": "14400", "TEAHOUSE_ACCOUNTS__SESSION_IDLE_SECONDS": "28800"}
    settings = lives if tokens == "long" else {}
    with (
        redis_server(directory / "redis", aof=True) as redis,
        shop_of(directory, redis, mariadb_session, words=["clocked:app"], **settings) as shop,
    ):
        yield shop


@pytest.fixture
def shop(clocked: Shop) -> Iterator[Shop]:
    """The shop, with clocks that are right before and after."""
    yield clocked
    for node in clocked.nodes:
        set_clock(node.directory, 0)


only_long = pytest.mark.parametrize("tokens", ["long"], indirect=True)
only_short = pytest.mark.parametrize("tokens", ["short"], indirect=True)


@only_long
async def test_a_node_whose_clock_is_an_hour_off_sells_by_redis_time_and_returns_nothing_early(shop: Shop):
    wrong = shop.nodes[1].directory
    set_clock(wrong, -HOUR)
    ends = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
    # Tokens of the node that is behind are good at both.
    async with rush(shop, log_in_at=1, endsAt=ends, payWithinSeconds=900, pays=True) as crowd:
        await crowd.sells()
        for offset in (0, HOUR, -HOUR, HOUR):
            set_clock(wrong, offset)
            await crowd.sells()
            # Expired is what is due by every node, twice a second.
            await crowd.lasts(0.7)
        await account(crowd)
        assert not crowd.refused, crowd.summary()


@only_long
async def test_a_sale_opens_by_redis_time_also_at_a_node_that_is_ahead(shop: Shop):
    async with client_of(shop.nodes[0]) as right, client_of(shop.nodes[1]) as ahead:
        boss, buyer = await log_in_boss(right), await log_in(right)
        starts = (datetime.now(UTC) + timedelta(minutes=30)).isoformat()
        sale = await put_on_sale(boss, startsAt=starts)
        set_clock(shop.nodes[1].directory, HOUR)
        refused(await Person(ahead, buyer.tokens).buy(sale, "early"), 409, "sale-not-started")


@only_long
@pytest.mark.parametrize("offset", [-HOUR, HOUR])
async def test_who_has_logged_out_is_out_on_a_node_whose_clock_is_wrong(shop: Shop, offset: int):
    wrong = shop.nodes[1].directory
    set_clock(wrong, offset)
    async with client_of(shop.nodes[0]) as right, client_of(shop.nodes[1]) as other:
        there = await log_in(other if offset < 0 else right)
        here = Person(right if offset < 0 else other, there.tokens)
        for person in (there, here):
            assert (await person.get("/v1/me")).status == 200
        out = await Person(right, there.tokens).post("/v1/auth/logout")
        assert out.status == 204, out.body
        await _until_out(Person(other, there.tokens))
        await _until_out(Person(right, there.tokens))
        for later in (0, -offset):
            set_clock(wrong, later)
            assert (await Person(other, there.tokens).get("/v1/me")).status == 401


async def _until_out(person: Person) -> None:
    deadline = time.monotonic() + 1.0
    while (await person.get("/v1/me")).status != 401:
        assert time.monotonic() < deadline, "still in after a second"
        await asyncio.sleep(0.02)


@only_short
@pytest.mark.parametrize("offset", [-HOUR, HOUR])
async def test_a_clock_that_is_wrong_for_a_while_throws_nobody_out_for_good(shop: Shop, offset: int):
    wrong = shop.nodes[1].directory
    async with client_of(shop.nodes[0]) as right, client_of(shop.nodes[1]) as other:
        buyer = await log_in(right)
        set_clock(wrong, offset)
        # What it cannot know to be good it refuses.
        asked = await Person(other, buyer.tokens).get("/v1/me")
        assert asked.status == 401, asked.body
        assert (await buyer.get("/v1/me")).status == 200
        refresh = {"refreshToken": buyer.tokens["refreshToken"]}
        renewed = await other.post("/v1/auth/refresh", json=refresh)
        assert renewed.status in (200, 401), renewed.body
        set_clock(wrong, 0)
        tokens = renewed.json() if renewed.status == 200 else buyer.tokens
        again = await right.post("/v1/auth/refresh", json={"refreshToken": tokens["refreshToken"]})
        assert again.status == 200, (renewed.status, renewed.body, again.body)
        assert (await Person(other, again.json()).get("/v1/me")).status == 200
