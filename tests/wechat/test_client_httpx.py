"""The real client against a server on a real socket that answers as WeChat does, and as it should not."""

from __future__ import annotations

import asyncio
import logging
import socket
import traceback
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest

from teahouse.problems import (
    Overloaded,
    WechatCodeInvalid,
    WechatTooFrequent,
    WechatUnavailable,
    WechatUserBlocked,
)
from teahouse.settings import Secret
from teahouse.wechat import client_httpx
from teahouse.wechat.client_httpx import HttpxWechat
from tests.wechat.conftest import PlayedWechat, says

SECRET = "app-secret-that-nobody-may-see"


@pytest.fixture
async def client(wechat: PlayedWechat) -> AsyncIterator[HttpxWechat]:
    client = HttpxWechat("wx-app", Secret(SECRET), base_url=wechat.address, timeout_seconds=5)
    yield client
    await client.aclose()


async def hurried(wechat: PlayedWechat) -> HttpxWechat:
    return HttpxWechat("wx-app", Secret(SECRET), base_url=wechat.address, timeout_seconds=0.1)


async def test_a_code_is_exchanged_as_wechat_documents_it(client, wechat):
    identity = await client.exchange("0a b&c=é")
    assert (identity.openid, identity.session_key, identity.unionid) == ("o1", "k1", "u1")
    method, target, _ = wechat.requests[0].split()
    assert (method, urlsplit(target).path) == ("GET", "/sns/jscode2session")
    assert parse_qs(urlsplit(target).query) == {
        "appid": ["wx-app"],
        "secret": [SECRET],
        "js_code": ["0a b&c=é"],
        "grant_type": ["authorization_code"],
    }


@pytest.mark.parametrize("code", ["\r\nHost: evil", "a#b", "a?secret=x", "\x00", "&appid=other"])
async def test_a_code_cannot_change_the_request(client, wechat, code):
    await client.exchange(code)
    (line,) = wechat.requests
    assert parse_qs(urlsplit(line.split()[1]).query)["js_code"] == [code]
    assert parse_qs(urlsplit(line.split()[1]).query)["appid"] == ["wx-app"]


async def test_a_union_id_may_be_missing(client, wechat):
    wechat.answer = says(b'{"openid":"o1","session_key":"k1"}')
    assert (await client.exchange("c")).unionid is None


@pytest.mark.parametrize(
    ("errcode", "problem"),
    [
        (40029, WechatCodeInvalid),
        (40163, WechatCodeInvalid),
        (40226, WechatUserBlocked),
        (45011, WechatTooFrequent),
        (-1, WechatUnavailable),
        (40013, WechatUnavailable),
        (99999, WechatUnavailable),
    ],
)
async def test_every_error_code_is_a_problem_and_is_asked_once(client, wechat, errcode, problem):
    wechat.answer = says(b'{"errcode":%d,"errmsg":"rid: 1-2-3"}' % errcode)
    with pytest.raises(problem):
        await client.exchange("c")
    assert len(wechat.requests) == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>gateway</html>",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{}",
        b'{"openid":"","session_key":"k"}',
        b'{"openid":"o1"}',
        b'{"openid":7,"session_key":"k"}',
        b'{"errcode":"40029"}',
        b'{"openid":"' + b"x" * 200 + b'","session_key":"k"}',
        b'{"openid":"o","session_key":"k","unionid":"' + b"x" * 200 + b'"}',
        b'{"openid":"o1","session_key":"k1"' + b" " * 70_000 + b"}",
        b"[" * 10_000,
    ],
)
async def test_an_answer_that_is_not_wechats_is_unavailable(client, wechat, body):
    wechat.answer = says(body)
    with pytest.raises(WechatUnavailable):
        await client.exchange("c")
    assert len(wechat.requests) == 1


@pytest.mark.parametrize("status", ["500 Internal Server Error", "502 Bad Gateway", "302 Found", "204 No Content"])
async def test_another_status_is_unavailable(client, wechat, status):
    wechat.answer = says(b"", status)
    with pytest.raises(WechatUnavailable):
        await client.exchange("c")
    assert len(wechat.requests) == 1


async def test_an_answer_that_never_comes_is_unavailable_in_time(wechat):
    client = await hurried(wechat)

    async def silent(reader, _writer) -> None:
        await reader.read()

    wechat.answer = silent
    with pytest.raises(WechatUnavailable):
        await client.exchange("c")
    assert len(wechat.requests) == 1
    await client.aclose()


async def test_an_answer_that_drips_is_cut_off_in_time(wechat):
    client = await hurried(wechat)

    async def dripping(_reader, writer) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0)

    wechat.answer = dripping
    with pytest.raises(WechatUnavailable):
        await client.exchange("c")
    await client.aclose()


async def test_a_connection_cut_after_the_code_was_sent_is_not_tried_again(client, wechat):
    async def cut(_reader, writer) -> None:
        writer.transport.abort()

    wechat.answer = cut
    with pytest.raises(WechatUnavailable):
        await client.exchange("c")
    assert len(wechat.requests) == 1


async def test_a_connection_that_could_not_be_opened_is_tried_once_more(client, wechat, monkeypatch):
    pool = client._transport._pool._network_backend
    opened, attempts = pool.connect_tcp, []

    async def first_fails(*given, **named):
        attempts.append(given)
        if len(attempts) == 1:
            import httpcore

            raise httpcore.ConnectError("refused")
        return await opened(*given, **named)

    monkeypatch.setattr(pool, "connect_tcp", first_fails)
    assert (await client.exchange("c")).openid == "o1"
    assert len(attempts) == 2


async def test_nobody_listening_is_unavailable():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        client = HttpxWechat("wx-app", Secret(SECRET), base_url=f"http://127.0.0.1:{port}")
        with pytest.raises(WechatUnavailable):
            await client.exchange("c")
        await client.aclose()


async def test_logins_that_wait_for_wechat_are_bounded(client, wechat, monkeypatch):
    monkeypatch.setattr(client_httpx, "_MOST_WAITING", 2)
    release = asyncio.Event()

    async def late(reader, writer) -> None:
        await release.wait()
        await says(b'{"openid":"o1","session_key":"k1"}')(reader, writer)

    wechat.answer = late
    waiting = [asyncio.create_task(client.exchange(str(number))) for number in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await client.exchange("c")
    release.set()
    await asyncio.gather(*waiting)
    assert await client.exchange("c")


async def test_the_secret_is_in_no_log_no_exception_and_no_repr(wechat, caplog):
    client = await hurried(wechat)

    async def cut(_reader, writer) -> None:
        writer.transport.abort()

    async def silent(reader, _writer) -> None:
        await reader.read()

    told = ""
    with caplog.at_level(logging.DEBUG):
        answers = (
            says(b"{}"),
            says(b'{"errcode":40125,"errmsg":"x"}'),
            says(b"", "500 No"),
            says(b'{"openid":"o1","session_key":"k1"}'),
            cut,
            silent,
        )
        for wechat.answer in answers:
            try:
                told += repr(await client.exchange("c"))
            except WechatUnavailable as problem:
                told += repr(problem) + problem.detail + "".join(traceback.format_exception(problem))
                chain, links = problem, []
                while chain is not None:
                    links.append(chain)
                    chain = chain.__cause__ or chain.__context__
                told += repr([vars(link) for link in links])
    assert caplog.records
    told += caplog.text + repr([vars(record) for record in caplog.records]) + repr(client) + repr(vars(client))
    assert SECRET not in told
    assert "session_key" not in repr(await played_identity(client, wechat))
    await client.aclose()


async def played_identity(client, wechat):
    wechat.answer = says(b'{"openid":"o1","session_key":"k1"}')
    return await client.exchange("c")
