"""What sessions are in Redis: their names, how long they stay, what they cost, and what happens when it goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from teahouse.accounts import session_scripts_redis as scripts
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.session_store import Ending
from teahouse.accounts.sessions_redis import SessionsRedis
from teahouse.problems import OutcomeUnknown, Overloaded, RedisUnavailable, SessionEnded
from teahouse.settings import AccountsSettings
from tests.accounts.conftest import CHEAP
from tests.accounts.nodes import Node, node_on
from tests.proxies import proxy_to
from tests.redis_servers import redis_cluster

DAY, IDLE, LONGEST = 86_400_000, 1_800_000, 30 * 86_400_000
SLACK = 5_000


@pytest.fixture
def server(redis_shared):
    return redis_shared


@pytest.fixture
async def node(server, database, clock) -> AsyncIterator[Node]:
    async with node_on(server.url, database, clock=clock) as node:
        yield node


def id_of(tokens) -> str:
    return RefreshToken.read(tokens.refresh).session_id


def store(node: Node) -> SessionsRedis:
    return node.accounts.sessions._store


def left(server, name: str) -> int:
    return server.cli("PTTL", name)


# --- names and times --------------------------------------------------------------------------------------------------


async def test_a_session_lies_at_its_name_in_plain_fields(node, server):
    tokens = await node.log_in()
    flat = server.cli("HGETALL", f"session:{id_of(tokens)}")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    assert fields["user_id"] == tokens.user.id
    assert fields["device"] == "test"
    assert "ended_at" not in fields
    assert server.cli("ZRANGE", f"teahouse:sessions:{tokens.user.id}", 0, -1) == [id_of(tokens)]


async def test_a_session_expires_a_day_after_it_has_idled_or_ended(node, server, clock):
    tokens = await node.log_in()
    name = f"session:{id_of(tokens)}"
    assert IDLE + DAY - SLACK < left(server, name) <= IDLE + DAY
    assert LONGEST + DAY - SLACK < left(server, f"teahouse:sessions:{tokens.user.id}") <= LONGEST + DAY
    for follow in (lambda: node.accounts.sessions.refresh(tokens.refresh), node.accounts.sessions.write_activity):
        server.cli("PEXPIRE", name, 1000)
        clock.advance(1)
        await node.use(tokens)
        await follow()
        assert IDLE + DAY - SLACK < left(server, name) <= IDLE + DAY
    await node.log_out(tokens)
    assert DAY - SLACK < left(server, name) <= DAY


async def test_a_session_near_its_longest_life_expires_a_day_after_that(node, server, clock):
    tokens = await node.log_in()
    await store(node).touch({id_of(tokens): clock.now_ms() + LONGEST - 1000})
    assert DAY - SLACK < left(server, f"session:{id_of(tokens)}") <= DAY + 1000
    await store(node).touch({id_of(tokens): clock.now_ms() + LONGEST + 1000})
    assert DAY - SLACK < left(server, f"session:{id_of(tokens)}") <= DAY


async def test_what_ended_is_kept_as_long_as_an_access_token_could_live_and_trimmed(node, server):
    first, second = await node.log_in(), await node.log_in()
    await node.log_out(first)
    seconds, micros = server.cli("TIME")
    kept = int(server.cli("ZSCORE", "teahouse:ended-sessions", id_of(first)))
    assert 0 <= int(seconds) * 1000 + int(micros) // 1000 - kept < SLACK
    assert 960_000 - SLACK < left(server, "teahouse:ended-sessions") <= 960_000
    server.cli("ZADD", "teahouse:ended-sessions", kept - 961_000, "older", kept - 950_000, "younger")
    await node.log_out(second)
    kept_now = server.cli("ZRANGE", "teahouse:ended-sessions", 0, -1)
    assert kept_now == ["younger", id_of(first), id_of(second)]


async def test_only_what_ended_lately_is_read_after_a_gap(node, server, clock):
    seconds = int(server.cli("TIME")[0])
    server.cli("ZADD", "teahouse:ended-sessions", (seconds - 970) * 1000, "long-ago", (seconds - 800) * 1000, "lately")
    clock.step_wall_clock(-3600)
    await node.accounts.sessions.restore()
    assert list(node.accounts.revocations.ended) == ["lately"]
    assert 795 < clock.now() - node.accounts.revocations.ended["lately"] < 805


async def test_the_index_of_a_user_who_comes_every_day_stays_small(node, server):
    tokens = await node.log_in()
    for _ in range(12):
        for old in server.cli("KEYS", "session:*"):
            server.cli("DEL", old)
        await node.log_in()
    assert server.cli("ZCARD", f"teahouse:sessions:{tokens.user.id}") <= 10


async def test_redis_alone_opens_nothing(node, server):
    first = await node.log_in()
    second = await node.accounts.sessions.refresh(first.refresh)
    stored = []
    for name in server.cli("KEYS", "*"):
        kind = server.cli("TYPE", name)
        read = {"hash": ("HGETALL", name), "zset": ("ZRANGE", name, 0, -1), "string": ("GET", name)}[kind]
        try:
            stored.append(server.cli(*read))
        except UnicodeDecodeError:
            # A sealed successor is no text; without it, every other field.
            stored.append(
                [server.cli("HGET", name, field) for field in server.cli("HKEYS", name) if "sealed" not in field]
            )
    text = msgspec.json.encode(stored).decode()
    assert id_of(first) in text
    for tokens in (first, second):
        assert tokens.refresh[22:] not in text
        assert tokens.access not in text


# --- cost -------------------------------------------------------------------------------------------------------------


async def test_a_batch_leaves_as_a_few_pipelines_however_many_it_holds(node):
    sizes = node.redis.batcher.sizes

    async def flushes(work) -> int:
        before = sizes.flushes
        await work
        return sizes.flushes - before

    pairs = []

    async def log_in_all() -> None:
        pairs.extend(await asyncio.gather(*(node.log_in(f"n{number}") for number in range(200))))

    async def refresh_all() -> None:
        await asyncio.gather(*(node.accounts.sessions.refresh(pair.refresh) for pair in pairs))

    async def end_all() -> None:
        await asyncio.gather(*(node.accounts.sessions.end_all(pair.user.id) for pair in pairs))

    assert await flushes(log_in_all()) < 40
    assert await flushes(refresh_all()) < 15
    assert await flushes(store(node).touch({id_of(pair): 2**41 for pair in pairs})) < 4
    assert await flushes(end_all()) < 25


async def test_a_request_asks_redis_nothing_while_the_feed_is_heard(node):
    tokens = await node.log_in()
    calls = node.redis.batcher.sizes.calls
    for _ in range(100):
        assert await node.use(tokens)
    assert node.redis.batcher.sizes.calls == calls


# --- others are quicker, or the engine fails --------------------------------------------------------------------------


async def test_a_session_that_others_keep_changing_is_given_up_after_a_few_looks(node, server):
    tokens = await node.log_in()
    token = RefreshToken.read(tokens.refresh)
    looks = []

    def decide(presented, session, owner):
        looks.append(1)
        server.cli("HINCRBY", f"session:{session.id}", "version", 1)
        return node.accounts.sessions._decide(presented, session, owner)

    (answer,) = await store(node).exchange([token], decide)
    assert isinstance(answer, Overloaded)
    assert len(looks) == 8
    # Nothing has changed: the token is still good.
    assert await node.accounts.sessions.refresh(tokens.refresh)


async def test_a_change_in_between_is_seen_before_the_token_is_judged_again(node, server):
    tokens = await node.log_in()
    judged = []

    def decide(presented, session, owner):
        judged.append(session.ended_at)
        if len(judged) == 1:
            server.cli("HSET", f"session:{session.id}", "ended_at", 7)
            server.cli("HINCRBY", f"session:{session.id}", "version", 1)
        return node.accounts.sessions._decide(presented, session, owner)

    (answer,) = await store(node).exchange([RefreshToken.read(tokens.refresh)], decide)
    assert isinstance(answer, SessionEnded)
    assert judged == [None, 7]


@pytest.mark.parametrize("turns", range(12))
async def test_a_logout_that_is_broken_off_is_finished_by_the_next_one(node, server, turns):
    tokens = await node.log_in()
    leaving = asyncio.create_task(store(node).end([Ending(tokens.user.id, id_of(tokens))], 7))
    for _ in range(turns):
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await node.accounts.sessions.end(tokens.user.id, id_of(tokens))
    assert server.cli("ZRANGE", "teahouse:ended-sessions", 0, -1) == [id_of(tokens)]
    assert server.cli("EXISTS", f"teahouse:sessions:{tokens.user.id}") == 0
    with pytest.raises(SessionEnded):
        await node.accounts.sessions.refresh(tokens.refresh)


@pytest.mark.parametrize("lost", range(60, 2000, 120))
async def test_an_answer_that_was_lost_costs_nobody_their_session(server, database, lost):
    """The connection dies after so many bytes of a refresh, on the way up; whoever asks again goes on."""
    with proxy_to(server.port) as proxy:
        async with node_on(proxy.through(server.url), database, hears=False) as node:
            tokens = await node.log_in()
            proxy.cut_when_carried(lost, "up")
            try:
                again = await node.accounts.sessions.refresh(tokens.refresh)
            except (RedisUnavailable, OutcomeUnknown):
                again = None
            proxy.cut_after["up"] = None
            async with asyncio.timeout(10):
                while not node.redis.connected:
                    await asyncio.sleep(0.005)
            renewed = await node.accounts.sessions.refresh(tokens.refresh)
            assert again is None or renewed.refresh == again.refresh
            assert await node.accounts.sessions.refresh(renewed.refresh)


async def test_a_server_that_forgot_the_scripts_is_told_them_again(node, server):
    tokens = await node.log_in()
    server.cli("SCRIPT", "FLUSH")
    pairs = await asyncio.gather(*(node.accounts.sessions.refresh(tokens.refresh) for _ in range(10)))
    assert len({pair.refresh for pair in pairs}) == 1
    server.cli("SCRIPT", "FLUSH")
    assert await node.log_out(tokens)


async def test_sessions_and_limits_live_in_a_cluster_too(tmp_path, database):
    settings = AccountsSettings(argon2=CHEAP, sessions_per_user=3)
    with redis_cluster(tmp_path / "cluster") as cluster:
        async with (
            node_on(cluster.url, database, settings=settings) as near,
            node_on(cluster.url, database, settings=settings) as far,
        ):
            pairs = [await (near, far)[number % 2].log_in() for number in range(6)]
            live = await far.accounts.sessions.live(pairs[0].user.id)
            assert {session.id for session in live} == {id_of(pair) for pair in pairs[3:]}
            assert await near.accounts.sessions.end_all(pairs[0].user.id) == 3
            async with asyncio.timeout(1):
                while {id_of(pair) for pair in pairs} - set(far.accounts.revocations.ended):
                    await asyncio.sleep(0.005)
            with pytest.raises(SessionEnded):
                await far.use(pairs[5])
            assert len({cluster.slot(scripts.key(id_of(pair))) for pair in pairs}) > 1
