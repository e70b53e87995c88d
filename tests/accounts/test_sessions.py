from __future__ import annotations

import asyncio

import msgspec
import pytest
from sqlalchemy import delete, func, select, update

from teahouse.accounts import sign_ins_sql
from teahouse.accounts.login import Device
from teahouse.accounts.model import User
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.tables_sql import sessions, users, wechat_identities
from teahouse.batching import FlushFailed
from teahouse.problems import (
    DatabaseUnavailable,
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionEnded,
    SessionExpired,
)
from teahouse.settings import AccountsSettings, Secret
from tests.accounts.conftest import CHEAP, SECRET, accounts_on

HERE = Device("192.0.2.1", "test")


async def log_in(accounts, name: str = "ada", nonce: str = ""):
    log_in.count = getattr(log_in, "count", 0) + 1
    return await accounts.login.wechat(f"sandbox-{name}-{nonce}{log_in.count}", HERE)


def caller(accounts, tokens):
    return accounts.authentication.check(f"Bearer {tokens.access}".encode())


async def count(database, table) -> int:
    async with database.reading() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def test_a_refresh_gives_a_new_pair_for_the_same_session(accounts):
    first = await log_in(accounts)
    second = await accounts.sessions.refresh(first.refresh)
    assert second.refresh != first.refresh
    assert second.access != first.access
    assert caller(accounts, second).session_id == caller(accounts, first).session_id


async def test_the_old_token_gives_the_same_successor_within_the_grace(accounts, clock):
    first = await log_in(accounts)
    second = await accounts.sessions.refresh(first.refresh)
    clock.advance(10)
    assert (await accounts.sessions.refresh(first.refresh)).refresh == second.refresh
    assert (await accounts.sessions.refresh(second.refresh)).refresh != second.refresh


async def test_tokens_show_nothing_of_themselves_in_a_log(accounts):
    tokens = await log_in(accounts)
    assert tokens.access not in repr(tokens)
    assert tokens.refresh not in repr(tokens)


async def test_many_who_refresh_at_once_get_one_successor(accounts):
    first = await log_in(accounts)
    pairs = await asyncio.gather(*(accounts.sessions.refresh(first.refresh) for _ in range(50)))
    assert len({pair.refresh for pair in pairs}) == 1


async def test_the_old_token_used_after_the_grace_ends_the_session(accounts, clock):
    first = await log_in(accounts)
    second = await accounts.sessions.refresh(first.refresh)
    clock.advance(10.001)
    with pytest.raises(RefreshTokenReused):
        await accounts.sessions.refresh(first.refresh)
    with pytest.raises(SessionEnded):
        await accounts.sessions.refresh(second.refresh)
    with pytest.raises(SessionEnded):
        caller(accounts, second)


async def test_a_token_two_generations_old_ends_the_session_even_within_the_grace(accounts):
    first = await log_in(accounts)
    second = await accounts.sessions.refresh(first.refresh)
    await accounts.sessions.refresh(second.refresh)
    with pytest.raises(RefreshTokenReused):
        await accounts.sessions.refresh(first.refresh)


async def test_the_successor_survives_a_restart_within_the_grace(accounts, database, platform, settings, clock):
    first = await log_in(accounts)
    second = await accounts.sessions.refresh(first.refresh)
    again = accounts_on(database, platform, [SECRET], settings, clock=clock)
    assert (await again.sessions.refresh(first.refresh)).refresh == second.refresh
    await again.aclose()


async def test_a_new_secret_key_logs_nobody_out(accounts, database, platform, settings, clock):
    first = await log_in(accounts)
    rotated = accounts_on(database, platform, [Secret("n" * 40), SECRET], settings, clock=clock)
    assert caller(rotated, first)
    second = await rotated.sessions.refresh(first.refresh)
    replaced = accounts_on(database, platform, [Secret("n" * 40)], settings, clock=clock)
    assert caller(replaced, second)
    # Even without the old key the refresh token is good: it depends on no key.
    assert await replaced.sessions.refresh(second.refresh)
    await rotated.aclose()
    await replaced.aclose()


@pytest.mark.parametrize("text", ["", "x", "x" * 86, "A" * 86, "é" * 86, "x" * 1_000_000])
async def test_a_made_up_refresh_token_is_invalid(accounts, text):
    with pytest.raises(RefreshTokenInvalid):
        await accounts.sessions.refresh(text)


async def test_a_refresh_token_is_no_access_token_and_the_other_way_round(accounts):
    tokens = await log_in(accounts)
    with pytest.raises(RefreshTokenInvalid):
        await accounts.sessions.refresh(tokens.access)


async def test_knowing_a_session_id_is_not_enough_to_end_it(accounts):
    tokens = await log_in(accounts)
    session = caller(accounts, tokens).session_id
    with pytest.raises(RefreshTokenInvalid):
        await accounts.sessions.refresh(RefreshToken.first(session).text)
    assert caller(accounts, tokens)
    assert await accounts.sessions.refresh(tokens.refresh)


async def test_a_session_runs_out_after_thirty_idle_minutes(accounts, clock):
    tokens = await log_in(accounts)
    clock.advance(1799)
    tokens = await accounts.sessions.refresh(tokens.refresh)
    clock.advance(1800)
    with pytest.raises(SessionExpired):
        await accounts.sessions.refresh(tokens.refresh)


async def test_use_keeps_a_session_alive_before_it_is_written(accounts, clock):
    tokens = await log_in(accounts)
    clock.advance(800)
    caller(accounts, tokens)
    clock.advance(1700)
    assert await accounts.sessions.refresh(tokens.refresh)


async def test_use_that_was_written_keeps_a_session_alive_over_a_restart(accounts, database, platform, settings, clock):
    tokens = await log_in(accounts)
    clock.advance(800)
    caller(accounts, tokens)
    await accounts.sessions.write_activity()
    again = accounts_on(database, platform, [SECRET], settings, clock=clock)
    clock.advance(1700)
    assert await again.sessions.refresh(tokens.refresh)
    await again.aclose()


async def test_no_session_lives_longer_than_thirty_days(database, platform, clock):
    settings = AccountsSettings(argon2=CHEAP, session_max_seconds=2000)
    accounts = accounts_on(database, platform, [SECRET], settings, clock=clock)
    tokens = await log_in(accounts)
    clock.advance(1500)
    tokens = await accounts.sessions.refresh(tokens.refresh)
    # The access token does not outlive the session either.
    assert tokens.expires_in == 500
    clock.advance(500)
    with pytest.raises(SessionExpired):
        await accounts.sessions.refresh(tokens.refresh)
    await accounts.aclose()


async def test_logging_out_refuses_the_token_at_once_and_after_a_restart(accounts, database, platform, settings, clock):
    tokens, other = await log_in(accounts), await log_in(accounts)
    me = caller(accounts, tokens)
    assert await accounts.sessions.end(me.user_id, me.session_id)
    again = accounts_on(database, platform, [SECRET], settings, clock=clock)
    await again.start()
    for node in (accounts, again):
        with pytest.raises(SessionEnded):
            caller(node, tokens)
        with pytest.raises(SessionEnded):
            await node.sessions.refresh(tokens.refresh)
        assert caller(node, other)
    await again.aclose()


async def test_logging_out_everywhere_ends_every_session_of_this_user_only(accounts):
    mine = [await log_in(accounts, "ada") for _ in range(3)]
    theirs = await log_in(accounts, "bob")
    assert await accounts.sessions.end_all(mine[0].user.id) == 3
    for tokens in mine:
        with pytest.raises(SessionEnded):
            caller(accounts, tokens)
    assert caller(accounts, theirs)
    assert await accounts.sessions.end_all(mine[0].user.id) == 0


async def test_a_session_of_somebody_else_cannot_be_ended(accounts):
    mine, theirs = await log_in(accounts, "ada"), await log_in(accounts, "bob")
    session = caller(accounts, theirs).session_id
    assert not await accounts.sessions.end(mine.user.id, session)
    assert caller(accounts, theirs)


async def test_a_logout_whose_caller_has_gone_is_carried_out(accounts, monkeypatch):
    tokens = await log_in(accounts)
    me = caller(accounts, tokens)
    ending, store = asyncio.Event(), accounts.sessions._store.end

    async def end(endings, now):
        ending.set()
        return await store(endings, now)

    monkeypatch.setattr(accounts.sessions._store, "end", end)
    leaving = asyncio.create_task(accounts.sessions.end(me.user_id, me.session_id))
    await ending.wait()
    leaving.cancel()
    await accounts.sessions.aclose()
    with pytest.raises(SessionEnded):
        caller(accounts, tokens)


async def test_a_user_has_ten_sessions_at_most_and_the_one_unused_longest_ends(accounts, clock):
    kept = await log_in(accounts)
    rest = []
    for _ in range(9):
        clock.advance(1)
        rest.append(await log_in(accounts))
    clock.advance(1)
    kept = await accounts.sessions.refresh(kept.refresh)
    await log_in(accounts)
    with pytest.raises(SessionEnded):
        caller(accounts, rest[0])
    assert caller(accounts, kept)
    assert caller(accounts, rest[1])
    assert len(await accounts.sessions.live(kept.user.id)) == 10


async def test_sessions_opened_at_one_moment_are_bounded_too(accounts):
    pairs = await asyncio.gather(*(log_in(accounts) for _ in range(30)))
    assert len(await accounts.sessions.live(pairs[0].user.id)) == 10


async def test_many_first_logins_of_one_user_make_one_account(accounts, database):
    pairs = await asyncio.gather(*(log_in(accounts, "new") for _ in range(20)), *(log_in(accounts, "x") for _ in "ab"))
    assert len({pair.user.id for pair in pairs}) == 2
    assert await count(database, users) == 2
    assert await count(database, wechat_identities) == 2


async def test_logins_of_one_moment_share_transactions(accounts):
    await asyncio.gather(*(log_in(accounts, f"n{number}") for number in range(100)))
    assert accounts.sessions.batchers[0].sizes.flushes < 20


async def test_a_role_given_meanwhile_counts_from_the_next_refresh(accounts, database):
    tokens = await log_in(accounts)
    async with database.transaction() as connection:
        await connection.execute(update(users).values(role="admin"))
    assert caller(accounts, tokens).role == "user"
    renewed = await accounts.sessions.refresh(tokens.refresh)
    assert caller(accounts, renewed).role == "admin"
    assert renewed.user.role == "admin"


async def test_two_nodes_that_meet_a_new_user_at_once_make_one_account(accounts, database, monkeypatch):
    """The other node's row appears between the look and the insert; SQLite's one writer cannot show that by itself."""
    known, met = sign_ins_sql._known, []

    async def overtaken(connection, openids):
        met.append(openids)
        return {} if len(met) == 1 else await known(connection, openids)

    first = await log_in(accounts, "ada")
    monkeypatch.setattr(sign_ins_sql, "_known", overtaken)
    second = await log_in(accounts, "ada")
    assert len(met) == 2
    assert second.user == first.user
    assert await count(database, users) == 1


async def test_an_account_deleted_while_it_logs_in_keeps_nobody_else_out(accounts, clock):
    gone = User(id=clock.new_id(), nickname="gone", role="user", created_at=0)
    bob = (await log_in(accounts, "bob")).user
    lost, kept = await asyncio.gather(
        *(accounts.sessions.open(user, method="password", user_agent=None) for user in (gone, bob)),
        return_exceptions=True,
    )
    assert isinstance(lost, SessionEnded)
    assert caller(accounts, kept)


async def test_a_flush_that_broke_is_a_fault_and_not_a_problem(accounts, monkeypatch):
    async def broken(*_given, **_named):
        raise ValueError("a mistake in the program")

    monkeypatch.setattr(accounts.sessions._store, "sign_in", broken)
    with pytest.raises(FlushFailed):
        await log_in(accounts)


async def test_a_deleted_account_ends_with_the_next_refresh(accounts, database):
    tokens = await log_in(accounts)
    async with database.transaction() as connection:
        await connection.execute(delete(sessions))
        await connection.execute(delete(wechat_identities))
        await connection.execute(delete(users))
    with pytest.raises(RefreshTokenInvalid):
        await accounts.sessions.refresh(tokens.refresh)
    me = caller(accounts, tokens)
    with pytest.raises(SessionEnded):
        await accounts.me(me.user_id)
    with pytest.raises(SessionEnded):
        await accounts.change_me(me.user_id, nickname="x", avatar_url=None)


async def test_the_database_alone_opens_nothing(accounts, database):
    first = await log_in(accounts)
    second = await accounts.sessions.refresh(first.refresh)
    async with database.reading() as connection:
        rows = (await connection.execute(select(sessions))).mappings().all()
    stored = msgspec.json.encode([{key: str(value) for key, value in row.items()} for row in rows]).decode()
    for tokens in (first, second):
        assert tokens.refresh not in stored
        assert tokens.refresh[22:] not in stored


async def test_a_database_out_of_reach_is_told_and_changes_nothing(accounts, database, monkeypatch):
    tokens = await log_in(accounts)

    def broken():
        raise DatabaseUnavailable

    monkeypatch.setattr(database, "transaction", broken)
    me = caller(accounts, tokens)
    for attempt in (
        accounts.sessions.refresh(tokens.refresh),
        accounts.sessions.end(me.user_id, me.session_id),
        log_in(accounts),
        accounts.sessions.write_activity(),
    ):
        with pytest.raises(DatabaseUnavailable):
            await attempt
    monkeypatch.undo()
    assert caller(accounts, tokens)
    assert await accounts.sessions.refresh(tokens.refresh)
    assert accounts.sessions._activity.take()
