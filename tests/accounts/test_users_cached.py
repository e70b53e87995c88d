"""Users through the cache: what people see of it, and what is never in it."""

from __future__ import annotations

import msgspec
import pytest

from teahouse.accounts.model import User
from teahouse.accounts.users_cached import UsersCached, weigh_user
from teahouse.accounts.users_sql import UsersSql
from teahouse.caching import MISSING, Cache
from teahouse.engines.sql import Database
from teahouse.problems import UsernameTaken
from tests.clocks import ManualClock

AMY = User(id="a" * 32, nickname="Amy", role="user", created_at=1)


@pytest.fixture
def cache(database: Database, clock: ManualClock) -> Cache[User]:
    return Cache(UsersSql(database).load, name="user", clock=clock, weigh=weigh_user)


@pytest.fixture
def users(database: Database, cache: Cache[User]) -> UsersCached:
    return UsersCached(UsersSql(database), cache)


async def test_a_user_is_known_after_the_first_look_and_new_after_each_change(
    users: UsersCached, cache: Cache[User]
) -> None:
    await users.add(AMY, username="amy", password_hash="secret hash")
    assert await users.find(AMY.id) == AMY
    assert cache.cached(AMY.id) == AMY
    changed = await users.change(AMY.id, nickname="Amelia", avatar_url=None)
    assert changed is not None
    assert cache.cached(AMY.id) is None
    assert await users.find(AMY.id) == changed


async def test_a_user_who_was_looked_for_too_early_is_found_once_added(users: UsersCached, cache: Cache[User]) -> None:
    assert await users.find(AMY.id) is None
    assert cache.cached(AMY.id) is MISSING
    await users.add(AMY, username="amy", password_hash="secret hash")
    assert await users.find(AMY.id) == AMY


async def test_a_refused_name_changes_nothing(users: UsersCached) -> None:
    await users.add(AMY, username="amy", password_hash="secret hash")
    other = msgspec.structs.replace(AMY, id="b" * 32)
    with pytest.raises(UsernameTaken):
        await users.add(other, username="amy", password_hash="other hash")
    assert await users.find(other.id) is None


async def test_what_people_log_in_by_is_never_in_the_cache(users: UsersCached, cache: Cache[User]) -> None:
    await users.add(AMY, username="amy", password_hash="secret hash")
    credentials = await users.credentials("amy")
    assert credentials is not None
    assert credentials.hash == "secret hash"
    await users.replace_hash(AMY.id, old="secret hash", new="newer hash")
    credentials = await users.credentials("amy")
    assert credentials is not None
    assert credentials.hash == "newer hash"
    assert len(cache.local) == 0
    assert await users.find_all([AMY.id]) == {AMY.id: AMY}
    assert len(cache.local) == 0


async def test_networks_pass_through(users: UsersCached) -> None:
    await users.add(AMY, username="amy", password_hash="secret hash")
    await users.remember_network(AMY.id, "192.0.2.1", 10)
    assert await users.knows_network("amy", "192.0.2.1", since=5)
    assert await users.forget_networks(before=20) == 1
    assert await users.owners([], now=1) == []
