from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from teahouse.accounts.accounts_sql import create_user
from teahouse.accounts.login import WECHAT_NICKNAME, Device
from teahouse.accounts.tables_sql import known_networks, passwords, wechat_identities
from teahouse.accounts.users_sql import NETWORKS_PER_USER
from teahouse.problems import (
    BadCredentials,
    PasswordTooEasy,
    TooManyLogins,
    TooManyRegistrations,
    UsernameTaken,
    ValidationFailed,
    WechatCodeInvalid,
    WechatUserBlocked,
)
from teahouse.settings import AccountsSettings, Argon2Settings
from tests.accounts.conftest import CHEAP, SECRET, accounts_on

HOME, CAFE, ELSEWHERE = Device("192.0.2.1"), Device("198.51.100.1"), Device("203.0.113.1")
RIGHT, WRONG = "correct horse battery", "wrong horse battery"


async def fail(accounts, name: str, device: Device, times: int) -> None:
    for _ in range(times):
        with pytest.raises(BadCredentials):
            await accounts.login.password(name, WRONG, device)


async def test_whoever_registered_can_log_in_again(accounts):
    registered = await accounts.login.register("Ada", RIGHT, HOME)
    again = await accounts.login.password("aDA", RIGHT, HOME)
    assert again.user == registered.user
    assert registered.user.nickname == "Ada"
    assert registered.user.role == "user"


@pytest.mark.parametrize("name", ["Ada", "nobody", "", "\x00", "\ud800", "x" * 256])
async def test_a_wrong_password_and_an_unknown_name_are_answered_alike(accounts, name):
    await accounts.login.register("Ada", RIGHT, HOME)
    with pytest.raises(BadCredentials) as refused:
        await accounts.login.password(name, WRONG, HOME)
    assert refused.value.detail == BadCredentials().detail


async def test_a_name_that_does_not_exist_costs_a_hash_like_any_other(accounts, monkeypatch):
    await accounts.login.register("Ada", RIGHT, HOME)
    costs = []
    original = accounts.login._passwords._matches

    def counting(stored, password):
        costs.append(stored.rpartition("$")[0].rpartition("$")[0])
        return original(stored, password)

    monkeypatch.setattr(accounts.login._passwords, "_matches", counting)
    for name in ("Ada", "nobody"):
        with pytest.raises(BadCredentials):
            await accounts.login.password(name, WRONG, HOME)
    assert len(costs) == 2
    assert costs[0] == costs[1]


async def test_a_wechat_user_has_no_password(accounts):
    await accounts.login.wechat("sandbox-ada-1", HOME)
    for name in ("ada", WECHAT_NICKNAME):
        with pytest.raises(BadCredentials):
            await accounts.login.password(name, "", HOME)


async def test_a_name_is_taken_in_any_case(accounts):
    await accounts.login.register("Strasse", RIGHT, HOME)
    for name in ("STRASSE", "strasse", "sTrasse"):
        with pytest.raises(UsernameTaken):
            await accounts.login.register(name, RIGHT, HOME)


async def test_of_many_who_want_a_name_at_once_one_gets_it(accounts):
    asked = [accounts.login.register("ada", RIGHT, HOME) for _ in range(10)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(not isinstance(answer, BaseException) for answer in answers) == 1
    assert sum(isinstance(answer, UsernameTaken) for answer in answers) == 9


async def test_a_bad_username_or_password_is_refused_before_anything_is_made(accounts):
    for name, password in (("a b", RIGHT), ("ada", "short")):
        with pytest.raises(ValidationFailed):
            await accounts.login.register(name, password, HOME)
    with pytest.raises(PasswordTooEasy):
        await accounts.login.register("ada-lovelace", "Ada-Lovelace", HOME)
    assert await accounts.login.register("ada", RIGHT, HOME)


async def test_dearer_parameters_reach_a_stored_hash_with_the_next_login(accounts, database, platform, clock):
    await accounts.login.register("ada", RIGHT, HOME)
    settings = AccountsSettings(argon2=Argon2Settings(memory_kib=16, passes=2))
    dearer = accounts_on(database, platform, [SECRET], settings, clock=clock)
    await fail(dearer, "ada", HOME, 1)
    assert "m=8,t=1" in await stored_hash(database)
    await dearer.login.password("ada", RIGHT, HOME)
    assert "m=16,t=2" in await stored_hash(database)
    assert await dearer.login.password("ada", RIGHT, HOME)
    await dearer.aclose()


async def stored_hash(database) -> str:
    async with database.reading() as connection:
        return (await connection.execute(select(passwords.c.hash))).scalar_one()


async def test_a_hash_that_somebody_broke_is_not_a_wrong_password(accounts, database):
    await accounts.login.register("ada", RIGHT, HOME)
    async with database.transaction() as connection:
        await connection.execute(update(passwords).values(hash="rubbish"))
    with pytest.raises(RuntimeError):
        await accounts.login.password("ada", RIGHT, HOME)


async def test_an_operator_makes_an_admin_with_nothing_but_a_database(database, clock):
    user = await create_user(database, clock, username="Root", password=RIGHT, role="admin", settings=SETTINGS)
    assert user.role == "admin"
    with pytest.raises(UsernameTaken):
        await create_user(database, clock, username="root", password=RIGHT, settings=SETTINGS)


async def test_the_admin_an_operator_made_can_log_in(accounts, database, clock):
    await create_user(database, clock, username="Root", password=RIGHT, role="admin", settings=SETTINGS)
    tokens = await accounts.login.password("root", RIGHT, HOME)
    assert accounts.authentication.check(f"Bearer {tokens.access}".encode()).role == "admin"


SETTINGS = AccountsSettings(argon2=CHEAP)


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_a_name_is_locked_after_ten_failures_whether_it_exists_or_not(accounts, clock):
    await accounts.login.register("ada", RIGHT, HOME)
    for name in ("ada", "nobody"):
        await fail(accounts, name, ELSEWHERE, 10)
        with pytest.raises(TooManyLogins) as refused:
            await accounts.login.password(name, RIGHT, ELSEWHERE)
        assert refused.value.headers["Retry-After"] == "90"
    clock.advance(90)
    assert await accounts.login.password("ADA", RIGHT, ELSEWHERE)


async def test_other_spellings_of_a_name_are_the_same_name(accounts):
    for spelling in ("ada", "ADA", "Ada", "ａｄａ", "aDa"):
        await fail(accounts, spelling, ELSEWHERE, 2)
    with pytest.raises(TooManyLogins):
        await accounts.login.password("adA", WRONG, CAFE)


async def test_a_locked_name_costs_no_hash(accounts, monkeypatch):
    await fail(accounts, "ada", ELSEWHERE, 10)
    monkeypatch.setattr(accounts.login._passwords, "_matches", lambda *given: pytest.fail("hashed"))
    with pytest.raises(TooManyLogins):
        await accounts.login.password("ada", RIGHT, ELSEWHERE)


async def test_strangers_cannot_lock_the_owner_out_of_a_place_they_know(accounts, clock):
    await accounts.login.register("ada", RIGHT, HOME)
    await fail(accounts, "ada", ELSEWHERE, 10)
    assert await accounts.login.password("ada", RIGHT, HOME)
    # In a new place the owner waits like everybody else.
    with pytest.raises(TooManyLogins):
        await accounts.login.password("ada", RIGHT, CAFE)
    # Another person at the known place has ten tries of their own there, and no more.
    await fail(accounts, "ada", HOME, 10)
    with pytest.raises(TooManyLogins):
        await accounts.login.password("ada", RIGHT, HOME)
    clock.advance(90)
    assert await accounts.login.password("ada", RIGHT, HOME)


async def test_a_place_is_known_for_thirty_days_and_over_a_restart(accounts, database, platform, settings, clock):
    await accounts.login.register("ada", RIGHT, HOME)
    again = accounts_on(database, platform, [SECRET], settings, clock=clock)
    for days, known in ((29, True), (29, True), (31, False)):
        clock.advance(days * 86_400)
        await fail(again, "ada", ELSEWHERE, 10)
        if known:
            assert await again.login.password("ada", RIGHT, HOME)
        else:
            with pytest.raises(TooManyLogins):
                await again.login.password("ada", RIGHT, HOME)
        while await again.login.sweep():
            pass
    async with database.reading() as connection:
        assert (await connection.execute(select(known_networks))).all() == []
    await again.aclose()


async def test_only_a_few_places_of_a_user_are_remembered(accounts, database, clock):
    await accounts.login.register("ada", RIGHT, HOME)
    for number in range(20):
        clock.advance(1)
        await accounts.login.password("ada", RIGHT, Device(f"198.51.100.{number}"))
    async with database.reading() as connection:
        places = (await connection.execute(select(known_networks.c.network))).scalars().all()
    assert sorted(places) == sorted(f"198.51.100.{number}" for number in range(20 - NETWORKS_PER_USER, 20))


async def test_an_address_is_refused_after_its_failures_and_others_are_not(accounts, clock):
    await accounts.login.register("ada", RIGHT, HOME)
    for number in range(100):
        await fail(accounts, f"name{number}", ELSEWHERE, 1)
    with pytest.raises(TooManyLogins) as refused:
        await accounts.login.password("ada", RIGHT, ELSEWHERE)
    assert refused.value.headers["Retry-After"] == "9"
    assert await accounts.login.password("ada", RIGHT, HOME)
    clock.advance(9)
    assert await accounts.login.password("ada", RIGHT, ELSEWHERE)


async def test_addresses_of_one_ipv6_customer_count_together(accounts):
    for number in range(100):
        await fail(accounts, f"name{number}", Device(f"2001:db8::{number:x}"), 1)
    with pytest.raises(TooManyLogins):
        await accounts.login.password("another", RIGHT, Device("2001:db8::ffff"))
    await fail(accounts, "another", Device("2001:db8:0:1::1"), 1)


async def test_a_busy_shared_address_is_not_punished_for_successes(accounts):
    await accounts.login.register("ada", RIGHT, HOME)
    for _ in range(200):
        await accounts.login.password("ada", RIGHT, CAFE)
    await asyncio.gather(*(accounts.login.password("ada", RIGHT, CAFE) for _ in range(200)))
    await asyncio.gather(*(accounts.login.wechat(f"sandbox-n{number}-1", CAFE) for number in range(300)))


async def test_a_burst_gets_hardly_more_tries_than_the_limit(accounts):
    tries = [accounts.login.password("ada", WRONG, ELSEWHERE) for _ in range(100)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    tried = sum(isinstance(answer, BadCredentials) for answer in answers)
    assert 10 <= tried <= 10 + CHEAP.threads
    assert all(isinstance(answer, BadCredentials | TooManyLogins) for answer in answers)


async def test_wrong_wechat_codes_are_limited_by_address(accounts):
    await accounts.login.wechat("sandbox-ada-1", ELSEWHERE)
    for _ in range(99):
        with pytest.raises(WechatCodeInvalid):
            await accounts.login.wechat("sandbox-ada-1", ELSEWHERE)
    with pytest.raises(WechatUserBlocked):
        await accounts.login.wechat("sandbox-error-40226-1", ELSEWHERE)
    with pytest.raises(TooManyLogins):
        await accounts.login.wechat("sandbox-ada-2", ELSEWHERE)
    assert await accounts.login.wechat("sandbox-ada-2", HOME)


async def test_registrations_are_limited_by_address(accounts, clock):
    for number in range(100):
        with pytest.raises(ValidationFailed):
            await accounts.login.register(f"name{number}", "short", ELSEWHERE)
    with pytest.raises(TooManyRegistrations) as refused:
        await accounts.login.register("ada", RIGHT, ELSEWHERE)
    assert refused.value.headers["Retry-After"] == "36"
    assert await accounts.login.register("ada", RIGHT, HOME)
    clock.advance(36)
    assert await accounts.login.register("bob", RIGHT, ELSEWHERE)


async def test_what_wechat_says_of_a_user_is_kept_and_renewed(accounts, database):
    await accounts.login.wechat("sandbox-ada-1", HOME)
    async with database.reading() as connection:
        first = (await connection.execute(select(wechat_identities))).one()
    await accounts.login.wechat("sandbox-ada-2", HOME)
    async with database.reading() as connection:
        second = (await connection.execute(select(wechat_identities))).one()
    assert first.openid == second.openid
    assert len(first.openid) == 28
    assert first.session_key != second.session_key
