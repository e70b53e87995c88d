from __future__ import annotations

import asyncio
import logging

from sqlalchemy import func, select

from teahouse.accounts import housekeeping
from teahouse.accounts.login import Device
from teahouse.accounts.tables_sql import sessions
from teahouse.problems import DatabaseUnavailable
from tests.accounts.conftest import SECRET, accounts_on

HERE = Device("192.0.2.1")


async def stored(database) -> int:
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(sessions))).scalar_one()


async def last_seen(database) -> int:
    async with database.reading() as connection:
        return (await connection.execute(select(sessions.c.last_seen_at))).scalar_one()


def use(accounts, tokens):
    return accounts.authentication.check(f"Bearer {tokens.access}".encode())


async def test_use_is_written_once_a_round_and_at_the_end(accounts, database, platform, settings, clock):
    tokens = await accounts.login.wechat("sandbox-ada-1", HERE)
    opened = await last_seen(database)
    clock.advance(10)
    for _ in range(100):
        use(accounts, tokens)
    assert await last_seen(database) == opened
    await accounts.housekeeping.round()
    assert await last_seen(database) == opened + 10_000
    other = accounts_on(database, platform, [SECRET], settings, clock=clock)
    clock.advance(10)
    use(other, tokens)
    await other.aclose()
    assert await last_seen(database) == opened + 20_000


async def test_an_older_note_of_use_does_not_move_a_session_back(accounts, database, clock):
    tokens = await accounts.login.wechat("sandbox-ada-1", HERE)
    session = use(accounts, tokens).session_id
    clock.advance(100)
    await accounts.sessions.refresh(tokens.refresh)
    refreshed = await last_seen(database)
    await accounts.sessions._store.touch({session: refreshed - 50_000})
    assert await last_seen(database) == refreshed


async def test_sessions_are_deleted_a_day_after_they_are_over(accounts, database, clock):
    ended = await accounts.login.wechat("sandbox-ada-1", HERE)
    await accounts.login.wechat("sandbox-ada-2", HERE)
    me = use(accounts, ended)
    await accounts.sessions.end(me.user_id, me.session_id)
    clock.advance(housekeeping.KEEP_SECONDS)
    await accounts.housekeeping.round()
    assert await stored(database) == 2
    clock.advance(1)
    await accounts.housekeeping.round()
    assert await stored(database) == 1
    clock.advance(1800)
    await accounts.housekeeping.round()
    assert await stored(database) == 0


async def test_a_session_in_use_is_never_deleted(accounts, database, clock):
    tokens = await accounts.login.wechat("sandbox-ada-1", HERE)
    for _ in range(200):
        clock.advance(899)
        use(accounts, tokens)
        tokens = await accounts.sessions.refresh(tokens.refresh)
        await accounts.housekeeping.round()
    assert await stored(database) == 1


async def test_a_round_forgets_revocations_that_have_had_their_time(accounts, clock):
    tokens = await accounts.login.wechat("sandbox-ada-1", HERE)
    me = use(accounts, tokens)
    await accounts.sessions.end(me.user_id, me.session_id)
    assert len(accounts.revocations.ended) == 1
    clock.advance(900 + 61)
    await accounts.housekeeping.round()
    assert len(accounts.revocations.ended) == 0


async def test_sweeps_of_other_parts_run_along_in_bounded_steps(accounts):
    rows = {"left": 3, "endless": 0}

    async def sweep() -> int:
        rows["left"] -= 1
        return rows["left"]

    async def endless() -> int:
        rows["endless"] += 1
        return 500

    keeper = housekeeping.Housekeeping(
        accounts.sessions, accounts.revocations, [sweep, endless], clock=accounts.sessions._clock
    )
    await keeper.round()
    assert rows == {"left": 0, "endless": 20}


async def test_a_round_that_fails_is_logged_and_the_next_one_comes(accounts, monkeypatch, caplog):
    monkeypatch.setattr(housekeeping, "_EVERY_SECONDS", 0)
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def broken() -> int:
        rounds.put_nowait(None)
        raise ValueError("broken sweep")

    keeper = housekeeping.Housekeeping(
        accounts.sessions, accounts.revocations, [broken], clock=accounts.sessions._clock
    )
    with caplog.at_level(logging.ERROR):
        keeper.start()
        async with asyncio.timeout(5):
            await rounds.get()
            await rounds.get()
        await keeper.aclose()
        await keeper.aclose()
    assert "broken sweep" in caplog.text


async def test_an_engine_that_is_away_is_named_in_one_line_without_a_trace(accounts, monkeypatch, caplog):
    monkeypatch.setattr(housekeeping, "_EVERY_SECONDS", 0)
    rounds: asyncio.Queue[None] = asyncio.Queue()

    async def away() -> int:
        rounds.put_nowait(None)
        raise DatabaseUnavailable("nobody answers")

    keeper = housekeeping.Housekeeping(accounts.sessions, accounts.revocations, [away], clock=accounts.sessions._clock)
    keeper.start()
    async with asyncio.timeout(5):
        await rounds.get()
        await rounds.get()
    await keeper.aclose()
    assert "nobody answers" in caplog.text
    assert "Traceback" not in caplog.text
