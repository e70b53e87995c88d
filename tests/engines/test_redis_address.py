"""URLs of Redis: what they may say, and that a password in one is shown nowhere."""

from __future__ import annotations

import logging
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.engines.redis import Redis
from teahouse.engines.redis_address import Address
from teahouse.problems import RedisUnavailable
from tests.engines.redis_clients import connected
from tests.redis_servers import free_port, redis_server

PASSWORD = "lapsang/4711@tea"
QUOTED = "lapsang%2F4711%40tea"


@pytest.mark.parametrize(
    ("url", "kind", "database", "shown"),
    [
        ("redis://tea.example", "server", 0, "tea.example:6379"),
        ("redis://:secret@tea.example:7000/3", "server", 3, "tea.example:7000"),
        ("rediss://me:secret@tea.example/2", "server", 2, "tea.example:6379"),
        ("unix://:secret@/run/redis.sock?db=4", "server", 4, "/run/redis.sock"),
        ("redis+sentinel://me:secret@a:1,b/shop/5", "sentinel", 5, "a:1,b:26379/shop"),
        ("redis+sentinel://a,[::1]:2/shop", "sentinel", 0, "a:26379,::1:2/shop"),
        ("redis+cluster://:secret@a:1,b", "cluster", 0, "a:1,b:6379"),
        ("rediss+cluster://a:1?ssl_cert_reqs=none", "cluster", 0, "a:1"),
    ],
)
def test_an_address_is_read_and_shown_without_its_account(url, kind, database, shown):
    address = Address(url, 2.0)
    assert (address.kind, address.database, str(address)) == (kind, database, shown)


@pytest.mark.parametrize(
    "url",
    [
        "http://:secret@tea.example",
        "redis://:sec/ret@tea.example",
        "redis://:secret@tea.example:port",
        "redis+sentinel://:secret@a:1",
        "redis+sentinel://:secret@a:1/",
        "redis+sentinel://:secret@,/shop",
        "redis+cluster://:secret@a:1/7",
        "redis+cluster://:secret@a:99999",
        "redis+fleet://:secret@a:1",
        "redis://:secret@a?db=many",
        "",
    ],
)
def test_an_address_that_cannot_be_read_is_told_without_its_password(url):
    with pytest.raises(ValueError, match="redis://") as refusal:
        Address(url, 2.0)
    shown = "".join(traceback.format_exception(refusal.value))
    assert "secret" not in shown
    assert "ret@" not in shown


@given(st.text(max_size=60))
def test_whatever_an_address_holds_it_is_read_or_refused_in_our_words(text):
    for scheme in ("redis://", "redis+sentinel://", "redis+cluster://", ""):
        refusal = refusal_of(scheme + text)
        assert not refusal or refusal.startswith("the Redis URL cannot be read")


def refusal_of(url: str) -> str:
    try:
        Address(url, 2.0)
    except ValueError as error:
        return str(error)
    return ""


async def test_a_password_is_in_no_log_and_no_exception(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with redis_server(tmp_path, requirepass=PASSWORD) as server:
        good = f"redis://:{QUOTED}@127.0.0.1:{server.port}/1"
        urls = (
            f"redis://nobody:{QUOTED}@127.0.0.1:{server.port}",
            f"redis://:{QUOTED}@127.0.0.1:{free_port()}",
            f"redis+cluster://:{QUOTED}@127.0.0.1:{server.port}",
            f"redis+sentinel://:{QUOTED}@127.0.0.1:{server.port}/shop",
            f"redis://:{QUOTED}@127.0.0.1:{server.port}/99",
        )
        for url in urls:
            redis = Redis(url, timeout_seconds=1.0)
            with pytest.raises(RedisUnavailable) as refusal:
                await redis.connect()
            shown += ["".join(traceback.format_exception(refusal.value)), repr(redis), redis.address]
            await redis.aclose()
        async with connected(good) as redis:
            assert redis.database == "1"
            server.kill()
            with pytest.raises(RedisUnavailable):
                await redis.ping()
    everything = caplog.text + "".join(shown)
    assert PASSWORD not in everything
    assert QUOTED not in everything


async def test_a_wrong_password_is_said_as_such(tmp_path):
    with redis_server(tmp_path, requirepass=PASSWORD) as server:
        for account in ("", ":wrong@"):
            with pytest.raises(RedisUnavailable, match="password; mend TEAHOUSE_REDIS__URL"):
                await Redis(f"redis://{account}127.0.0.1:{server.port}").connect()


async def test_a_unix_socket_is_an_address_too(tmp_path):
    with redis_server(tmp_path, unixsocket=str(tmp_path / "s")):
        async with connected(f"unix://{tmp_path}/s?db=3") as redis:
            assert await redis.ask("INCR", "cups") == 1
            assert redis.database == "3"
