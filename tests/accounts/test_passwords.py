from __future__ import annotations

import asyncio

import pytest

from teahouse.accounts.passwords_argon2 import Passwords
from teahouse.problems import Overloaded
from teahouse.settings import Argon2Settings
from tests.accounts.conftest import CHEAP


@pytest.fixture
def passwords():
    passwords = Passwords(CHEAP)
    yield passwords
    passwords.close()


async def test_a_password_matches_its_own_hash_only(passwords):
    stored = await passwords.hash(b"correct horse")
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert await passwords.verify(stored, b"correct horse")
    assert not await passwords.verify(stored, b"correct horsf")


async def test_equal_passwords_have_different_hashes(passwords):
    assert await passwords.hash(b"same") != await passwords.hash(b"same")


async def test_an_account_that_does_not_exist_costs_a_whole_hash(passwords, monkeypatch):
    verified = []
    original = passwords._matches
    monkeypatch.setattr(passwords, "_matches", lambda *given: verified.append(given) or original(*given))
    assert not await passwords.verify(None, b"anything")
    ((stored, _),) = verified
    assert stored.startswith("$argon2id$v=19$m=8,t=1,p=1$")
    assert not passwords.outdated(stored)


async def test_a_hash_with_other_parameters_is_outdated(passwords):
    dearer = Passwords(Argon2Settings(memory_kib=16, passes=1))
    stored = await passwords.hash(b"x")
    assert dearer.outdated(stored)
    assert not passwords.outdated(stored)
    dearer.close()


async def test_a_hash_that_cannot_be_read_is_a_fault_and_not_a_wrong_password(passwords):
    with pytest.raises(RuntimeError):
        await passwords.verify("$argon2id$rubbish", b"x")


async def test_turns_and_those_who_wait_for_one_are_bounded():
    passwords = Passwords(Argon2Settings(memory_kib=8, passes=1, threads=1, max_waiting=1))
    release = asyncio.Event()

    async def hold() -> None:
        async with passwords.turn():
            await release.wait()

    holder, waiter = asyncio.create_task(hold()), asyncio.create_task(hold())
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        async with passwords.turn():
            pytest.fail("a third one must not get in")
    waiter.cancel()
    await asyncio.wait([waiter])
    release.set()
    await holder
    async with passwords.turn():
        assert await passwords.hash(b"free again")
    passwords.close()
