"""Attacks on sessions of a shop with several nodes: a session that has ended on one gets in on none."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.session_scripts_redis import ENDED, index, key
from teahouse.accounts.signing_key_redis import KEY
from teahouse.problems import (
    AccessTokenExpired,
    OutcomeUnknown,
    RedisUnavailable,
    RefreshTokenInvalid,
    RefreshTokenReused,
    SessionEnded,
)
from teahouse.settings import Secret, SettingsError
from tests.accounts.nodes import HERE, Node, node_on
from tests.clocks import ManualClock
from tests.proxies import Proxy, proxy_to

AWAY = (RedisUnavailable, OutcomeUnknown)
NEW, STRANGE = Secret("the second secret key of the tests, long"), Secret("a key that nobody was told of, long too")


@pytest.fixture
def server(redis_shared):
    return redis_shared


@pytest.fixture
def proxy(server):
    with proxy_to(server.port) as proxy:
        yield proxy


@pytest.fixture
async def near(server, database) -> AsyncIterator[Node]:
    async with node_on(server.url, database) as node:
        yield node


@pytest.fixture
async def far(server, database, proxy) -> AsyncIterator[Node]:
    """A node whose way to Redis leads through the proxy."""
    async with node_on(proxy.through(server.url), database, timeout_seconds=0.5) as node:
        yield node


async def within(seconds: float, condition) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


async def refused(node: Node, tokens) -> bool:
    try:
        await node.use(tokens)
    except SessionEnded:
        return True
    return False


async def refused_and_never_let_through(node: Node, tokens) -> bool:
    try:
        await node.use(tokens)
    except (SessionEnded, *AWAY) as told:
        return isinstance(told, SessionEnded)
    pytest.fail("an ended session got in")


async def unavailable(node: Node, tokens) -> bool:
    try:
        await node.use(tokens)
    except AWAY:
        return True
    return False


async def gone_stale(node: Node) -> bool:
    return not node.accounts.authentication._watch.current


async def heard_again(node: Node) -> bool:
    return node.feed.current


async def heard_after_a_loss(node: Node) -> bool:
    return node.feed.losses > 0 and node.feed.current and node.redis.connected


async def test_a_session_ended_on_one_node_is_refused_on_the_others_within_a_second(near, far):
    tokens, other = await near.log_in(), await near.log_in()
    assert await far.use(tokens)
    assert await near.log_out(tokens)
    await within(1, lambda: refused(far, tokens))
    assert far.feed.current
    assert await far.use(other)
    with pytest.raises(SessionEnded):
        await far.accounts.sessions.refresh(tokens.refresh)


async def test_logging_out_everywhere_a_copied_token_and_one_device_too_many_are_told_to_every_node(near, far):
    for end in (everywhere, copied, one_too_many):
        tokens = await end(near, end.__name__)
        await within(1, lambda tokens=tokens: refused(far, tokens))


async def everywhere(node: Node, name: str):
    tokens = await node.log_in(name)
    assert await node.accounts.sessions.end_all(tokens.user.id) == 1
    return tokens


async def copied(node: Node, name: str):
    tokens = await node.log_in(name)
    second = await node.accounts.sessions.refresh(tokens.refresh)
    await node.accounts.sessions.refresh(second.refresh)
    with pytest.raises(RefreshTokenReused):
        await node.accounts.sessions.refresh(tokens.refresh)
    return second


async def one_too_many(node: Node, name: str):
    tokens = await node.log_in(name)
    for _ in range(10):
        await node.log_in(name)
    return tokens


async def test_a_node_that_does_not_hear_asks_redis_at_each_request(near, database, server):
    async with node_on(server.url, database, hears=False) as deaf:
        tokens, other = await near.log_in(), await near.log_in()
        assert not deaf.feed.current
        assert await deaf.use(tokens)
        assert await near.log_out(tokens)
        assert tokens not in deaf.accounts.revocations.ended.values()
        with pytest.raises(SessionEnded):
            await deaf.use(tokens)
        assert await deaf.use(other)
        assert not deaf.accounts.revocations.ended


async def test_a_node_whose_feed_is_cut_asks_and_has_caught_up_when_it_hears_again(near, far, proxy: Proxy):
    tokens, other = await near.log_in(), await near.log_in()
    assert await far.use(tokens)
    # The feed's connection alone dies: what is told meanwhile never arrives on it.
    subscribe, far.redis.subscription = far.redis.subscription, nobody_answers
    proxy.cut()
    await within(2, lambda: gone_stale(far))
    assert await near.log_out(tokens)
    await within(5, lambda: refused_and_never_let_through(far, tokens))
    assert not far.feed.current
    assert await far.use(other)
    far.redis.subscription = subscribe
    await within(5, lambda: heard_again(far))
    # From now on this node knows by itself.
    with pytest.raises(SessionEnded):
        far.accounts.authentication.check(f"Bearer {tokens.access}".encode())
    assert await far.use(other)


async def nobody_answers():
    raise OSError("the feed's way is cut")


async def test_without_redis_requests_go_on_until_the_feed_is_stale_and_come_back_with_it(near, far, proxy: Proxy):
    tokens, ended = await near.log_in(), await near.log_in()
    assert await far.use(tokens)
    proxy.refuse()
    cut_at = time.monotonic()
    while not await gone_stale(far):
        assert await far.use(tokens)
        assert time.monotonic() < cut_at + 1
        await asyncio.sleep(0.005)
    assert await unavailable(far, tokens)
    assert await near.log_out(ended)
    assert await unavailable(far, ended)
    proxy.accept()
    await within(10, lambda: heard_again(far))
    assert await far.use(tokens)
    assert await refused(far, ended)


async def test_an_engine_that_swallows_everything_lets_nobody_through(near, far, proxy: Proxy):
    tokens = await near.log_in()
    assert await far.use(tokens)
    proxy.swallow()
    await within(1.5, lambda: gone_stale(far))
    assert await near.log_out(tokens)
    started = time.monotonic()
    assert await unavailable(far, tokens)
    assert time.monotonic() - started < 2
    # A connection that has lost bytes never lives on.
    proxy.cut()
    proxy.carry()
    await within(10, lambda: heard_again(far))
    assert await refused(far, tokens)


async def test_without_redis_nobody_logs_in_refreshes_or_logs_out_and_nothing_is_lost(near, far, proxy: Proxy):
    tokens = await near.log_in()
    caller = far.accounts.authentication.check(f"Bearer {tokens.access}".encode())
    await far.accounts.login.register("ada", "correct horse battery", HERE)
    proxy.refuse()
    for attempt in (
        lambda: far.accounts.sessions.refresh(tokens.refresh),
        lambda: far.accounts.sessions.end(caller.user_id, caller.session_id),
        lambda: far.accounts.sessions.end_all(caller.user_id),
        lambda: far.accounts.sessions.live(caller.user_id),
        far.log_in,
        lambda: far.accounts.login.password("ada", "correct horse battery", HERE),
        lambda: far.accounts.login.register("bob", "correct horse battery", HERE),
        far.accounts.sessions.write_activity,
    ):
        with pytest.raises(AWAY) as told:
            await attempt()
        assert told.value.headers["Retry-After"]
    proxy.accept()
    await within(10, lambda: heard_again(far))
    assert await far.use(tokens)
    assert await far.accounts.sessions.refresh(tokens.refresh)
    assert await far.accounts.sessions.end(caller.user_id, caller.session_id)


async def test_a_made_up_session_gets_in_nowhere_and_ends_nothing(near, far, server):
    mine, theirs = await near.log_in("ada"), await near.log_in("bob")
    session = await far.use(theirs)
    for made_up in (RefreshToken.first(session), RefreshToken.first("0" * 32)):
        with pytest.raises(RefreshTokenInvalid):
            await far.accounts.sessions.refresh(made_up.text)
    assert not await far.accounts.sessions.end(mine.user.id, session)
    assert not await far.accounts.sessions.end(mine.user.id, "0" * 32)
    assert await far.use(theirs)
    assert server.cli("EXISTS", key("0" * 32), ENDED) == 0
    assert server.cli("ZRANGE", index(mine.user.id), 0, -1) == [await near.use(mine)]


async def test_a_session_that_redis_has_lost_is_refused_by_a_node_that_has_to_ask(near, database, server):
    tokens = await near.log_in()
    async with node_on(server.url, database, hears=False) as deaf:
        server.cli("DEL", key(await near.use(tokens)))
        assert await refused(deaf, tokens)
    with pytest.raises(RefreshTokenInvalid):
        await near.accounts.sessions.refresh(tokens.refresh)


async def test_an_end_whose_telling_was_lost_is_told_when_the_session_is_met_again(near, far, server):
    """As after a crash between the session's end and its telling."""
    for meet in ("refresh", "log out", "log in"):
        tokens = await near.log_in(meet.replace(" ", ""))
        session = await far.use(tokens)
        server.cli("HSET", key(session), "ended_at", 1)
        assert await far.use(tokens)
        if meet == "refresh":
            with pytest.raises(SessionEnded):
                await near.accounts.sessions.refresh(tokens.refresh)
        elif meet == "log out":
            assert not await near.log_out(tokens)
        else:
            for _ in range(10):
                await near.log_in("login")
        await within(1, lambda tokens=tokens: refused(far, tokens))
        assert session not in server.cli("ZRANGE", index(tokens.user.id), 0, -1) or meet == "refresh"


async def test_a_redis_that_lost_its_last_moment_does_not_bring_an_ended_session_back(database, redis_alone):
    async with node_on(redis_alone.url, database) as near, node_on(redis_alone.url, database) as far:
        tokens, other = await near.log_in(), await near.log_in()
        session = await far.use(tokens)
        assert await near.log_out(tokens)
        await within(1, lambda: refused(far, tokens))
        # As it was before the logout, after a crash or when a replica takes over that had not heard of it.
        redis_alone.cli("HDEL", key(session), "ended_at")
        redis_alone.cli("DEL", ENDED)
        redis_alone.kill()
        redis_alone.start()
        for node in (near, far):
            await within(10, lambda node=node: heard_after_a_loss(node))
        with pytest.raises(SessionEnded):
            await far.accounts.sessions.refresh(tokens.refresh)
        assert redis_alone.cli("ZRANGE", ENDED, 0, -1) == [session]
        assert await far.accounts.sessions.refresh(other.refresh)


# --- keys that sign ---------------------------------------------------------------------------------------------------


async def start(server, database, *secrets: Secret) -> None:
    async with node_on(server.url, database, secrets=secrets):
        pass


async def test_a_node_with_a_key_of_its_own_does_not_start(server, database):
    await start(server, database, NEW)
    for _ in range(2):
        with pytest.raises(SettingsError, match="TEAHOUSE_SECRET_KEY alike on all nodes"):
            await start(server, database, STRANGE)
    await start(server, database, NEW)


async def test_a_key_is_replaced_node_by_node_and_who_is_left_behind_does_not_start(server, database):
    old = STRANGE
    await start(server, database, old)
    async with AsyncExitStack() as running:
        first = await running.enter_async_context(node_on(server.url, database, secrets=(old, NEW)))
        tokens = await first.log_in()
        second = await running.enter_async_context(node_on(server.url, database, secrets=(NEW, old)))
        assert await second.use(tokens)
        assert await first.use(await second.log_in("bob"))
        # Back to the old one, as when the rotation is called off, and forth again.
        await start(server, database, old, NEW)
        await start(server, database, NEW, old)
        with pytest.raises(SettingsError):
            await start(server, database, old)
    await start(server, database, NEW)


async def test_a_redis_that_lost_everything_still_keeps_strangers_out(redis_alone, database):
    async with node_on(redis_alone.url, database, secrets=(NEW,)) as node:
        redis_alone.cli("FLUSHALL")
        redis_alone.kill()
        redis_alone.start()
        await within(10, lambda: heard_after_a_loss(node))
        with pytest.raises(SettingsError):
            await start(redis_alone, database, STRANGE)
        await start(redis_alone, database, NEW)


async def test_what_redis_keeps_of_the_key_gives_nothing_of_it_away(server, database):
    await start(server, database, NEW)
    kept = server.cli("GET", KEY)
    assert len(kept) == 32
    assert NEW.reveal() not in kept


async def test_after_redis_lost_everything_a_node_that_starts_refuses_every_token_of_before(redis_alone, database):
    clock = ManualClock()
    async with node_on(redis_alone.url, database, clock=clock) as old:
        tokens, ended = await old.log_in(), await old.log_in()
        assert await old.log_out(ended)
        redis_alone.cli("FLUSHALL")
        clock.advance(5)
        async with node_on(redis_alone.url, database, clock=clock) as new:
            for each in (ended, tokens):
                with pytest.raises((AccessTokenExpired, SessionEnded)):
                    await new.use(each)
            assert await new.use(await new.log_in())
        clock.advance(5)
        async with node_on(redis_alone.url, database, clock=clock) as newest:
            assert await newest.use(await newest.log_in())


async def test_an_end_that_redis_lost_with_its_session_is_told_to_it_again(redis_alone, database):
    async with node_on(redis_alone.url, database) as node:
        ended = await node.log_in()
        assert await node.log_out(ended)
        redis_alone.cli("DEL", ENDED, key(node.accounts.tokens.verify(ended.access).session_id))
        await node.accounts.sessions.restore()
        assert redis_alone.cli("ZCARD", ENDED) == 1
