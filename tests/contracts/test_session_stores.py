"""Sessions keep their promises in SQL and in Redis, with two nodes on one store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import delete, func, select

from teahouse.accounts import Accounts
from teahouse.accounts.housekeeping import KEEP_SECONDS
from teahouse.accounts.login import Device
from teahouse.accounts.model import User
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.session_store import Ending, Exchange, SessionStore
from teahouse.accounts.sessions import Tokens
from teahouse.accounts.tables_sql import users, wechat_identities
from teahouse.engines.sql import Database
from teahouse.problems import (
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionEnded,
    SessionExpired,
)
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql
from tests.accounts.conftest import SECRET, accounts_on
from tests.accounts.nodes import SETTINGS, node_on
from tests.clocks import ManualClock

HERE = Device("192.0.2.1", "test")


@dataclass
class House:
    """Two nodes on one store."""

    database: Database
    clock: ManualClock
    nodes: tuple[Accounts, Accounts]
    logins: int = 0

    @property
    def stores(self) -> list[SessionStore]:
        return [node.sessions._store for node in self.nodes]

    async def log_in(self, name: str = "ada", node: int = 0) -> Tokens:
        self.logins += 1
        return await self.nodes[node].login.wechat(f"sandbox-{name}-{self.logins}", HERE)

    def session(self, tokens: Tokens) -> str:
        return RefreshToken.read(tokens.refresh).session_id

    async def on_both(self, ask) -> list:
        """What both nodes answer when each is asked 20 times at one moment."""
        asked = [ask(self.nodes[number % 2]) for number in range(40)]
        return await asyncio.gather(*asked, return_exceptions=True)


@asynccontextmanager
async def sql_node(database: Database, clock: ManualClock) -> AsyncIterator[Accounts]:
    platform = SandboxWechat(SandboxCodesSql(database), clock=clock)
    accounts = accounts_on(database, platform, [SECRET], SETTINGS, clock=clock)
    await accounts.start()
    yield accounts
    await accounts.aclose()
    await platform.aclose()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    database = Database(url)
    await database.connect()
    yield database
    await database.aclose()


@pytest.fixture(params=["sqlite", "mariadb", "postgres", "redis"])
async def house(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        if request.param in ("mariadb", "postgres"):
            server = request.getfixturevalue(f"{request.param}_session")
            name = server.new_database()
            stack.callback(server.sql, f"DROP DATABASE {name}")
            url = server.url(name)
        else:
            url = f"sqlite:///{tmp_path}/tea.db"
        database = await stack.enter_async_context(opened(url))
        await database.create_all()
        nodes = []
        for number in range(2):
            if request.param == "redis":
                redis = request.getfixturevalue("redis_shared")
                node = await stack.enter_async_context(node_on(redis.url, database, clock=clock))
                nodes.append(node.accounts)
            else:
                # One process has SQLite's file to itself.
                own = number and request.param != "sqlite"
                where = await stack.enter_async_context(opened(url)) if own else database
                nodes.append(await stack.enter_async_context(sql_node(where, clock)))
        yield House(database, clock, (nodes[0], nodes[1]))


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_a_session_opened_on_one_node_goes_on_on_the_other(house: House):
    first = await house.log_in()
    second = await house.nodes[1].sessions.refresh(first.refresh)
    third = await house.nodes[0].sessions.refresh(second.refresh)
    assert house.session(third) == house.session(first)
    for node in house.nodes:
        (session,) = await node.sessions.live(first.user.id)
        assert (session.id, session.device, session.method) == (house.session(first), "test", "wechat")


async def test_many_first_logins_on_two_nodes_at_once_make_one_account(house: House):
    pairs = await asyncio.gather(*(house.log_in("new", number % 2) for number in range(20)))
    assert len({pair.user.id for pair in pairs}) == 1
    async with house.database.reading() as connection:
        for table in (users, wechat_identities):
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == 1


async def test_sessions_beyond_the_most_end_the_one_unused_longest_first(house: House):
    pairs = []
    for number in range(10):
        pairs.append(await house.log_in(node=number % 2))
        house.clock.advance(1)
    kept = await house.nodes[1].sessions.refresh(pairs[0].refresh)
    house.clock.advance(1)
    await house.log_in()
    live = await house.nodes[1].sessions.live(kept.user.id)
    assert {house.session(pair) for pair in pairs} - {session.id for session in live} == {house.session(pairs[1])}
    with pytest.raises(SessionEnded):
        await house.nodes[1].sessions.refresh(pairs[1].refresh)


async def test_sessions_opened_on_two_nodes_at_one_moment_are_bounded_with_the_next_one(house: House):
    pairs = await asyncio.gather(*(house.log_in("ada", number % 2) for number in range(40)))
    house.clock.advance(1)
    last = await house.log_in()
    live = await house.nodes[0].sessions.live(last.user.id)
    assert len(live) == 10
    assert live[0].id == house.session(last)
    for pair in pairs:
        if house.session(pair) not in {session.id for session in live}:
            with pytest.raises(SessionEnded):
                await house.nodes[1].sessions.refresh(pair.refresh)


async def test_an_account_deleted_while_it_logs_in_keeps_nobody_else_out(house: House):
    gone = User(id=house.clock.new_id(), nickname="gone", role="user", created_at=0)
    bob = (await house.log_in("bob")).user
    opening = (house.nodes[0].sessions.open(user, method="password", user_agent=None) for user in (gone, bob))
    lost, kept, other = await asyncio.gather(*opening, house.log_in("ada"), return_exceptions=True)
    assert isinstance(lost, SessionEnded)
    assert kept.user == bob
    assert other.user.id not in (gone.id, bob.id)


# --- refreshing -------------------------------------------------------------------------------------------------------


async def test_one_token_presented_to_two_nodes_at_once_has_one_successor(house: House):
    first = await house.log_in()
    pairs = await house.on_both(lambda node: node.sessions.refresh(first.refresh))
    assert len({pair.refresh for pair in pairs}) == 1
    # Nobody was taken for a thief.
    assert await house.nodes[1].sessions.refresh(pairs[0].refresh)


async def test_a_copied_token_presented_to_two_nodes_at_once_ends_the_session_once(house: House):
    first = await house.log_in()
    second = await house.nodes[1].sessions.refresh(first.refresh)
    house.clock.advance(10.001)
    told = await house.on_both(lambda node: node.sessions.refresh(first.refresh))
    assert {type(each) for each in told} <= {RefreshTokenReused, SessionEnded}
    assert any(isinstance(each, RefreshTokenReused) for each in told)
    with pytest.raises(SessionEnded):
        await house.nodes[1].sessions.refresh(second.refresh)


async def test_a_refresh_and_a_logout_at_one_moment_leave_the_session_ended(house: House):
    for _ in range(5):
        tokens = await house.log_in()
        ending = house.nodes[0].sessions.end(tokens.user.id, house.session(tokens))
        renewing = house.nodes[1].sessions.refresh(tokens.refresh)
        ended, renewed = await asyncio.gather(ending, renewing, return_exceptions=True)
        assert ended is True
        latest = tokens if isinstance(renewed, SessionEnded) else renewed
        for node in house.nodes:
            with pytest.raises(SessionEnded):
                await node.sessions.refresh(latest.refresh)


async def test_tokens_of_one_session_in_one_batch_are_judged_in_order(house: House):
    first, other = await house.log_in("ada"), await house.log_in("bob")
    token, others = RefreshToken.read(first.refresh), RefreshToken.read(other.refresh)
    seen: list[tuple[str, str | None]] = []

    def decide(presented, session, owner) -> Exchange:
        seen.append((presented.session_id, session and session.previous_hash))
        if session is None:
            return Exchange(None, RefreshTokenInvalid())
        return house.nodes[0].sessions._decide(presented, session, owner)

    unknown = RefreshToken.first("0" * 32)
    answers = await house.stores[0].exchange([token, unknown, others, token], decide)
    assert [each for each, _ in seen] == [token.session_id, unknown.session_id, others.session_id, token.session_id]
    assert seen[0][1] is None
    assert seen[3][1] == token.hashes.token_hash
    assert answers[0].token == answers[3].token
    assert isinstance(answers[1], RefreshTokenInvalid)
    assert answers[2].user == other.user


async def test_a_made_up_token_or_id_ends_nothing(house: House):
    mine, theirs = await house.log_in("ada"), await house.log_in("bob")
    session = house.session(theirs)
    for made_up in (RefreshToken.first(session), RefreshToken.first("f" * 32)):
        with pytest.raises(RefreshTokenInvalid):
            await house.nodes[1].sessions.refresh(made_up.text)
    assert not await house.nodes[1].sessions.end(mine.user.id, session)
    assert not await house.nodes[1].sessions.end(mine.user.id, "x" * 32)
    assert await house.nodes[0].sessions.refresh(theirs.refresh)


async def test_a_deleted_account_ends_with_the_next_refresh(house: House):
    tokens = await house.log_in()
    async with house.database.transaction() as connection:
        await connection.execute(delete(users.metadata.tables["sessions"]))
        await connection.execute(delete(wechat_identities))
        await connection.execute(delete(users))
    with pytest.raises(RefreshTokenInvalid):
        await house.nodes[1].sessions.refresh(tokens.refresh)


# --- time -------------------------------------------------------------------------------------------------------------


async def test_a_session_runs_out_when_idle_and_is_told_so_for_a_day(house: House):
    tokens = await house.log_in()
    house.clock.advance(1799)
    tokens = await house.nodes[1].sessions.refresh(tokens.refresh)
    house.clock.advance(1800)
    assert await house.nodes[1].sessions.live(tokens.user.id) == []
    for wait in (0, KEEP_SECONDS - 60):
        house.clock.advance(wait)
        for node in house.nodes:
            await node.housekeeping.round()
            with pytest.raises(SessionExpired):
                await node.sessions.refresh(tokens.refresh)


async def test_an_ended_session_is_told_so_for_a_day(house: House):
    tokens = await house.log_in()
    assert await house.nodes[1].sessions.end(tokens.user.id, house.session(tokens))
    house.clock.advance(KEEP_SECONDS)
    for node in house.nodes:
        await node.housekeeping.round()
        with pytest.raises(SessionEnded):
            await node.sessions.refresh(tokens.refresh)


async def test_no_session_outlives_its_longest_life(house: House):
    tokens = await house.log_in()
    house.clock.advance(SETTINGS.session_max_seconds - 1000)
    await house.stores[0].touch({house.session(tokens): house.clock.now_ms()})
    tokens = await house.nodes[1].sessions.refresh(tokens.refresh)
    assert 899 <= tokens.expires_in <= 900
    house.clock.advance(999)
    tokens = await house.nodes[0].sessions.refresh(tokens.refresh)
    assert tokens.expires_in == 1
    house.clock.advance(1)
    with pytest.raises(SessionExpired):
        await house.nodes[1].sessions.refresh(tokens.refresh)


async def test_use_noted_on_one_node_counts_on_the_other_and_never_moves_back(house: House):
    tokens = await house.log_in()
    session, opened = house.session(tokens), house.clock.now_ms()
    for moment in (opened + 900_000, opened + 100_000, opened - 1):
        await house.stores[0].touch({session: moment, "0" * 32: moment})
        (live,) = await house.nodes[1].sessions.live(tokens.user.id)
        assert live.last_seen_at == opened + 900_000
    house.clock.advance(2699)
    assert await house.nodes[1].sessions.refresh(tokens.refresh)


async def test_use_of_many_sessions_is_written_at_once_and_wakes_none_that_has_ended(house: House):
    pairs = await asyncio.gather(*(house.log_in(f"n{number}") for number in range(120)))
    await house.nodes[0].sessions.end(pairs[0].user.id, house.session(pairs[0]))
    later = house.clock.now_ms() + 1000
    await house.stores[1].touch({house.session(pair): later for pair in pairs})
    assert await house.nodes[1].sessions.live(pairs[0].user.id) == []
    (live,) = await house.nodes[1].sessions.live(pairs[119].user.id)
    assert live.last_seen_at == later
    await house.stores[1].touch({})


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_a_session_ended_by_two_nodes_at_once_is_ended_by_one_of_them(house: House):
    tokens, other = await house.log_in(), await house.log_in()
    answers = await house.on_both(lambda node: node.sessions.end(tokens.user.id, house.session(tokens)))
    assert answers.count(True) == 1
    assert answers.count(False) == 39
    assert [session.id for session in await house.nodes[0].sessions.live(tokens.user.id)] == [house.session(other)]


async def test_logging_out_everywhere_on_two_nodes_at_once_counts_each_session_once(house: House):
    pairs = [await house.log_in(node=number % 2) for number in range(6)]
    theirs = await house.log_in("bob")
    counts = await house.on_both(lambda node: node.sessions.end_all(pairs[0].user.id))
    assert sum(counts) == 6
    for pair in pairs:
        with pytest.raises(SessionEnded):
            await house.nodes[1].sessions.refresh(pair.refresh)
    assert await house.nodes[1].sessions.refresh(theirs.refresh)


async def test_endings_of_one_batch_each_have_their_own_answer(house: House):
    ada, bob = [await house.log_in("ada") for _ in range(3)], await house.log_in("bob")
    mine = [house.session(pair) for pair in ada]
    endings = [
        Ending(ada[0].user.id, mine[0]),
        Ending(bob.user.id, mine[1]),
        Ending(ada[0].user.id, mine[0]),
        Ending(bob.user.id, None),
        Ending(ada[0].user.id, None),
        Ending("0" * 32, None),
    ]
    ended = await house.stores[0].end(endings, house.clock.now_ms())
    assert [set(ids) for ids in ended] == [{mine[0]}, set(), set(), {house.session(bob)}, {mine[1], mine[2]}, set()]


async def test_what_ended_is_found_by_a_node_that_comes_later_and_nothing_else(house: House):
    ended, going = await house.log_in(), await house.log_in()
    before = house.clock.now_ms()
    house.clock.advance(60)
    await house.nodes[0].sessions.end(ended.user.id, house.session(ended))
    house.clock.advance(60)
    now = house.clock.now_ms()
    found = await house.stores[1].ended_since(before, now)
    assert set(found) == {house.session(ended)}
    assert before < found[house.session(ended)] <= now
    await house.nodes[1].sessions.restore()
    with pytest.raises(SessionEnded):
        house.nodes[1].authentication.check(f"Bearer {ended.access}".encode())
    assert house.nodes[1].authentication.check(f"Bearer {going.access}".encode())


async def test_a_store_that_forgot_an_end_is_told_it_again_by_whoever_knows(house: House):
    lost, going = await house.log_in(), await house.log_in()
    house.nodes[1].sessions.heard(house.session(lost))
    await house.nodes[1].sessions.restore()
    for node in house.nodes:
        with pytest.raises(SessionEnded):
            await node.sessions.refresh(lost.refresh)
    assert house.session(lost) in await house.stores[0].ended_since(house.clock.now_ms() - 60_000, house.clock.now_ms())
    assert await house.nodes[0].sessions.refresh(going.refresh)
    # What the store has never had, or has anyway, does no harm.
    await house.stores[0].end_again([house.session(lost), "0" * 32], house.clock.now_ms())


async def test_a_logout_whose_caller_has_gone_is_carried_out_or_not_but_never_by_half(house: House):
    for turns in range(8):
        tokens = await house.log_in()
        session = house.session(tokens)
        leaving = asyncio.create_task(house.nodes[0].sessions.end(tokens.user.id, session))
        for _ in range(turns):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        await house.nodes[1].sessions.end(tokens.user.id, session)
        assert session in await house.stores[1].ended_since(house.clock.now_ms() - 60_000, house.clock.now_ms())
        with pytest.raises(SessionEnded):
            await house.nodes[1].sessions.refresh(tokens.refresh)
