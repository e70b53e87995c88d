"""Whose a sign-in is, for sessions that are kept elsewhere than users."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import func, select

from teahouse.accounts import sign_ins_sql
from teahouse.accounts.model import Session, User
from teahouse.accounts.session_store import SignIn
from teahouse.accounts.tables_sql import users, wechat_identities
from teahouse.accounts.users_sql import UsersSql
from teahouse.problems import SessionEnded
from teahouse.wechat import WechatIdentity


@pytest.fixture
def store(database) -> UsersSql:
    return UsersSql(database)


def sign_in(clock, openid: str | None, user: User | None = None) -> SignIn:
    user = user or User(id=clock.new_id(), nickname="n", role="user", created_at=1)
    session = Session(
        id=clock.new_id(),
        user_id=user.id,
        method="wechat",
        device="",
        created_at=1,
        last_seen_at=1,
        ends_at=2,
        family_hash="f",
        token_hash="t",
    )
    return SignIn(user, session, None if openid is None else WechatIdentity(openid=openid, session_key="k"))


async def counted(database) -> list[int]:
    async with database.reading() as connection:
        tables = (users, wechat_identities)
        return [(await connection.execute(select(func.count()).select_from(each))).scalar_one() for each in tables]


async def test_each_sign_in_has_its_owner_in_order(store, database, clock):
    (ada,) = await store.owners([sign_in(clock, "ada")], now=1)
    gone = sign_in(clock, None)
    asked = [sign_in(clock, "bob"), sign_in(clock, None, ada), gone, sign_in(clock, "ada"), sign_in(clock, "bob")]
    bob, by_password, deleted, again, bob_again = await store.owners(asked, now=2)
    assert by_password == again == ada
    assert bob == bob_again != ada
    assert isinstance(deleted, SessionEnded)
    assert await counted(database) == [2, 2]
    assert await store.owners([], now=3) == []


async def test_many_who_meet_a_new_user_at_once_make_one_account(store, database, clock):
    found = await asyncio.gather(*(store.owners([sign_in(clock, "ada")], now=1) for _ in range(20)))
    assert len({user.id for (user,) in found}) == 1
    assert await counted(database) == [1, 1]


@pytest.mark.parametrize("overtaken", [1, 2])
async def test_an_account_that_another_node_makes_in_between_is_found(store, database, clock, monkeypatch, overtaken):
    """The other node's row appears between the look and the insert; SQLite's one writer cannot show that by itself."""
    (ada,) = await store.owners([sign_in(clock, "ada")], now=1)
    known, looks = sign_ins_sql._known, []

    async def look(connection, openids):
        looks.append(openids)
        return {} if len(looks) <= overtaken else await known(connection, openids)

    monkeypatch.setattr(sign_ins_sql, "_known", look)
    found, bob = await store.owners([sign_in(clock, "ada"), sign_in(clock, "bob")], now=2)
    assert found == ada
    assert bob.id != ada.id
    assert await counted(database) == [2, 2]


async def test_only_users_that_there_are_are_found_by_id(store, clock):
    (ada,) = await store.owners([sign_in(clock, "ada")], now=1)
    assert await store.find_all({ada.id, "0" * 32}) == {ada.id: ada}
    assert await store.find_all(()) == {}
