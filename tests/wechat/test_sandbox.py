from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from teahouse.problems import (
    DatabaseUnavailable,
    ValidationFailed,
    WechatCodeInvalid,
    WechatTooFrequent,
    WechatUnavailable,
    WechatUserBlocked,
)
from teahouse.web import App, TestClient
from teahouse.wechat.routes import install_sandbox
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql, sandbox_codes


@pytest.fixture
async def sandbox(database, clock):
    sandbox = SandboxWechat(SandboxCodesSql(database), clock=clock)
    yield sandbox
    await sandbox.aclose()


async def test_the_name_decides_who_logs_in(sandbox):
    one, same, other = [await sandbox.exchange(code) for code in ("sandbox-ada-1", "sandbox-ada-2", "sandbox-bob-1")]
    assert one.openid == same.openid != other.openid
    assert one.unionid == same.unionid != other.unionid
    assert one.session_key != same.session_key
    assert one.unionid != one.openid


async def test_a_code_works_once(sandbox):
    await sandbox.exchange("sandbox-ada-1")
    with pytest.raises(WechatCodeInvalid):
        await sandbox.exchange("sandbox-ada-1")


async def test_of_many_who_use_a_code_at_once_one_succeeds(sandbox):
    answers = await asyncio.gather(*(sandbox.exchange("sandbox-ada-1") for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(answer, WechatCodeInvalid) for answer in answers) == 49


async def test_a_code_works_once_over_a_restart_and_for_as_long_as_a_session_may_last(sandbox, database, clock):
    await sandbox.exchange("sandbox-ada-1")
    clock.advance(29.9 * 86_400)
    assert await sandbox.sweep() == 0
    again = SandboxWechat(SandboxCodesSql(database), clock=clock)
    with pytest.raises(WechatCodeInvalid):
        await again.exchange("sandbox-ada-1")


async def test_codes_are_forgotten_in_the_end(sandbox, database, clock):
    await asyncio.gather(*(sandbox.exchange(f"sandbox-ada-{number}") for number in range(600)))
    clock.advance(30 * 86_400 + 1)
    assert [await sandbox.sweep() for _ in range(3)] == [500, 100, 0]
    async with database.reading() as connection:
        assert (await connection.execute(select(func.count()).select_from(sandbox_codes))).scalar_one() == 0


async def test_an_issued_code_works_once_within_five_minutes(sandbox, clock):
    issued = await sandbox.issue("ada")
    assert issued.expires_at == clock.now_ms() + 300_000
    clock.advance(299.9)
    assert (await sandbox.exchange(issued.code)).openid == (await sandbox.exchange("sandbox-ada-1")).openid
    with pytest.raises(WechatCodeInvalid):
        await sandbox.exchange(issued.code)


async def test_an_issued_code_expires_after_five_minutes(sandbox, clock):
    issued = await sandbox.issue("ada")
    clock.advance(300)
    for _ in range(2):
        with pytest.raises(WechatCodeInvalid):
            await sandbox.exchange(issued.code)


@pytest.mark.parametrize(
    ("errcode", "problem"),
    [
        (40029, WechatCodeInvalid),
        (40163, WechatCodeInvalid),
        (40226, WechatUserBlocked),
        (45011, WechatTooFrequent),
        (-1, WechatUnavailable),
        (40125, WechatUnavailable),
        (0, WechatCodeInvalid),
    ],
)
async def test_every_error_can_be_provoked_as_often_as_one_likes(sandbox, errcode, problem):
    for _ in range(2):
        with pytest.raises(problem):
            await sandbox.exchange(f"sandbox-error-{errcode}-nonce")


@pytest.mark.parametrize(
    "code",
    [
        "",
        "sandbox",
        "sandbox-ada",
        "sandbox--1",
        "sandbox-ada-",
        "sandbox-a da-1",
        "sandbox-ada-1\n",
        "sandbox-ada-\x00",
        "sandbox-a\x00da-1",
        "sandbox-error-oops",
        "sandbox-error-9999999-x",
        "Sandbox-ada-1",
        "sandbox-" + "x" * 65 + "-1",
        "sandbox-ada-" + "x" * 129,
        "033abc",
        "sandbox-\ud800-1",
    ],
)
async def test_a_code_of_another_form_is_unknown(sandbox, code):
    with pytest.raises(WechatCodeInvalid):
        await sandbox.exchange(code)


@given(code=st.text(max_size=100) | st.text(max_size=60).map(lambda text: f"sandbox-{text}"))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_no_code_is_a_fault(sandbox, code):
    try:
        await sandbox.exchange(code)
    except (WechatCodeInvalid, WechatUserBlocked, WechatTooFrequent, WechatUnavailable):
        return


@pytest.mark.parametrize("name", ["张三", "ada.lovelace", "user_1", "x" * 64, "a+b@c"])
async def test_names_may_be_anything_visible_without_a_hyphen(sandbox, name):
    assert await sandbox.exchange(f"sandbox-{name}-nonce-with-hyphens")


@pytest.mark.parametrize("name", ["张三", "ada.lovelace", "user_1", "x" * 64])
async def test_codes_are_issued_for_plain_names(sandbox, name):
    assert await sandbox.exchange((await sandbox.issue(name)).code)


@pytest.mark.parametrize("name", ["", "a-b", "a b", "a*", "error", "x" * 65, "ada\n", "\x00", "\ud800"])
async def test_no_code_is_issued_for_a_name_that_no_code_can_hold(sandbox, name):
    with pytest.raises(ValidationFailed):
        await sandbox.issue(name)


async def test_a_database_out_of_reach_is_told(sandbox, database, monkeypatch):
    def broken():
        raise DatabaseUnavailable

    monkeypatch.setattr(database, "transaction", broken)
    with pytest.raises(DatabaseUnavailable):
        await sandbox.exchange("sandbox-ada-1")
    monkeypatch.undo()
    assert await sandbox.exchange("sandbox-ada-1")


async def test_codes_are_issued_over_http(sandbox):
    app = App()
    install_sandbox(app, sandbox)
    async with TestClient(app) as client:
        answer = await client.post("/v1/sandbox/codes", json={"name": "ada"})
        assert answer.status == 201
        assert answer.json()["expiresAt"] == "2026-01-01T00:05:00Z"
        assert await sandbox.exchange(answer.json()["code"])
        for bad in ({"name": "a-b"}, {"name": 7}, {}, {"name": "ada", "more": 1}):
            assert (await client.post("/v1/sandbox/codes", json=bad)).status == 422
