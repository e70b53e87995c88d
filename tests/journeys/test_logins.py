"""Guessing passwords: it takes the same time whoever is meant, it ends soon, and it hits nobody else."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from teahouse.web.client import Answer, Client
from tests.journeys.people import BOSS, PASSWORD, at, fresh, hire_boss, log_in, refused
from tests.journeys.servers import Running, running

PER_NAME, PER_ADDRESS = 3, 5
LIMITS = {
    "TEAHOUSE_ACCOUNTS__FAILED_LOGINS_PER_NAME": str(PER_NAME),
    "TEAHOUSE_ACCOUNTS__FAILED_LOGINS_PER_ADDRESS": str(PER_ADDRESS),
}
BEHIND_A_PROXY = {**LIMITS, "TEAHOUSE_TRUSTED_PROXIES": "127.0.0.0/8"}


@pytest.fixture
def behind_a_proxy(tmp_path: Path) -> Iterator[Running]:
    with running(tmp_path, **BEHIND_A_PROXY) as server:
        yield server


async def try_password(client: Client, name: str, password: str, address: str = "203.0.113.1") -> Answer:
    body = {"username": name, "password": password}
    return await client.post("/v1/auth/password", json=body, headers={"X-Forwarded-For": address})


async def register(client: Client, address: str) -> str:
    name = fresh()
    body = {"username": name, "password": PASSWORD}
    answer = await client.post("/v1/auth/register", json=body, headers={"X-Forwarded-For": address})
    assert answer.status == 201, answer.body
    return name


async def test_a_wrong_password_takes_as_long_whether_or_not_the_name_exists(tmp_path: Path):
    hire_boss(tmp_path)
    settings = {
        "TEAHOUSE_ACCOUNTS__FAILED_LOGINS_PER_NAME": "1000",
        "TEAHOUSE_ACCOUNTS__FAILED_LOGINS_PER_ADDRESS": "1000",
    }
    with running(tmp_path, measured=True, **settings) as server:
        async with at(server) as client:
            known, unknown, nothing = [], [], []
            # In turn, and the quickest of each: whatever else the machine does hits all alike.
            for _ in range(15):
                known.append(await seconds(client, BOSS))
                unknown.append(await seconds(client, fresh()))
                began = time.perf_counter()
                await client.get("/healthz")
                nothing.append(time.perf_counter() - began)
    print(
        f"known {min(known) * 1000:.1f} ms, unknown {min(unknown) * 1000:.1f} ms, nothing {min(nothing) * 1000:.1f} ms"
    )
    assert 0.5 < min(known) / min(unknown) < 2
    assert min(unknown) > 5 * min(nothing), "a password that costs nothing to check can be guessed"


async def seconds(client: Client, name: str) -> float:
    began = time.perf_counter()
    refused(await try_password(client, name, "not that one"), 401, "bad-credentials")
    return time.perf_counter() - began


async def test_too_many_failures_for_a_name_end_in_429_and_leave_others_alone(behind_a_proxy: Running):
    async with at(behind_a_proxy) as client:
        victim, other = await register(client, "192.0.2.1"), await register(client, "192.0.2.2")
        for address in range(PER_NAME):
            answer = await try_password(client, victim, "wrong", f"203.0.113.{address}")
            refused(answer, 401, "bad-credentials")
        limited = await try_password(client, victim, "wrong", "203.0.113.99")
        refused(limited, 429, "too-many-logins")
        assert 1 <= int(limited.headers["retry-after"]) <= 900
        # Even the right password, or guessing would go on.
        refused(await try_password(client, victim.upper(), PASSWORD, "203.0.113.99"), 429, "too-many-logins")
        # The owner is known where they have been before.
        assert (await try_password(client, victim, PASSWORD, "192.0.2.1")).status == 200
        assert (await try_password(client, other, PASSWORD, "203.0.113.99")).status == 200


async def test_a_name_that_does_not_exist_is_limited_just_the_same(behind_a_proxy: Running):
    async with at(behind_a_proxy) as client:
        name = fresh()
        statuses = [(await try_password(client, name, "wrong", f"203.0.113.{number}")).status for number in range(5)]
        assert statuses == PER_NAME * [401] + 2 * [429]


async def test_too_many_failures_from_an_address_end_in_429_for_that_address_only(behind_a_proxy: Running):
    async with at(behind_a_proxy) as client:
        name = await register(client, "192.0.2.1")
        for _ in range(PER_ADDRESS):
            refused(await try_password(client, fresh(), "wrong", "203.0.113.7"), 401, "bad-credentials")
        refused(await try_password(client, name, PASSWORD, "203.0.113.7"), 429, "too-many-logins")
        refused(await try_password(client, name, PASSWORD, "10.9.8.7, 203.0.113.7"), 429, "too-many-logins")
        assert (await try_password(client, name, PASSWORD, "203.0.113.8")).status == 200


async def test_one_customers_whole_ipv6_network_is_one_address(behind_a_proxy: Running):
    async with at(behind_a_proxy) as client:
        for number in range(PER_ADDRESS):
            answer = await try_password(client, fresh(), "wrong", f"2001:db8:1:2::{number}")
            refused(answer, 401, "bad-credentials")
        refused(await try_password(client, fresh(), "wrong", "2001:db8:1:2:ffff::1"), 429, "too-many-logins")
        refused(await try_password(client, fresh(), "wrong", "2001:db8:1:3::1"), 401, "bad-credentials")


async def test_a_busy_shared_address_is_not_punished_for_successes(behind_a_proxy: Running):
    async with at(behind_a_proxy) as client:
        address = {"X-Forwarded-For": "198.51.100.1"}
        name = await register(client, "198.51.100.1")
        for number in range(10 * PER_ADDRESS):
            code = {"code": f"sandbox-{fresh()}-{number}"}
            assert (await client.post("/v1/auth/wechat", json=code, headers=address)).status == 200
        for _ in range(2 * PER_ADDRESS):
            assert (await try_password(client, name, PASSWORD, "198.51.100.1")).status == 200
        refused(await try_password(client, fresh(), "wrong", "198.51.100.1"), 401, "bad-credentials")


async def test_a_wechat_code_is_not_guessed_for_ever_either(behind_a_proxy: Running):
    async with at(behind_a_proxy) as client:
        headers = {"X-Forwarded-For": "203.0.113.1"}
        for number in range(PER_ADDRESS):
            body = {"code": f"guess{number}"}
            refused(await client.post("/v1/auth/wechat", json=body, headers=headers), 401, "wechat-code-invalid")
        body = {"code": f"sandbox-{fresh()}-1"}
        refused(await client.post("/v1/auth/wechat", json=body, headers=headers), 429, "too-many-logins")
        assert (await log_in(client)).id


async def test_accounts_are_not_made_without_end_from_one_address(tmp_path: Path):
    with running(tmp_path, TEAHOUSE_ACCOUNTS__REGISTRATIONS_PER_ADDRESS="2") as server:
        async with at(server) as client:
            bodies = [{"username": fresh(), "password": PASSWORD} for _ in range(3)]
            answers = [await client.post("/v1/auth/register", json=body) for body in bodies]
            assert [answer.status for answer in answers[:2]] == [201, 201]
            refused(answers[2], 429, "too-many-registrations")


async def test_a_forwarded_address_is_believed_from_trusted_proxies_only(tmp_path: Path):
    with running(tmp_path, **LIMITS, TEAHOUSE_TRUSTED_PROXIES="192.0.2.0/24") as server:
        async with at(server) as client:
            for number in range(PER_ADDRESS):
                answer = await try_password(client, fresh(), "wrong", f"203.0.113.{number}")
                refused(answer, 401, "bad-credentials")
            refused(await try_password(client, fresh(), "wrong", "198.51.100.1"), 429, "too-many-logins")
        assert server.stop() == 0
        assert {json.loads(line)["client"] for line in server.access_log.splitlines()} == {"127.0.0.1"}


async def test_what_a_trusted_proxy_passes_on_is_the_nearest_address_that_is_not_its_own(behind_a_proxy: Running):
    told = {
        "203.0.113.5": "203.0.113.5",
        "1.2.3.4, 203.0.113.5": "203.0.113.5",
        "1.2.3.4, 203.0.113.5, 127.0.0.2": "203.0.113.5",
        "203.0.113.5:4711": "203.0.113.5",
        "[2001:db8::1]:4711": "2001:db8::1",
        "::ffff:203.0.113.5": "203.0.113.5",
        "203.0.113.5, not an address": "127.0.0.1",
        "": "127.0.0.1",
        ",,,": "127.0.0.1",
    }
    async with at(behind_a_proxy) as client:
        answers = [await client.get("/healthz", headers={"X-Forwarded-For": given}) for given in told]
    assert behind_a_proxy.stop() == 0
    lines = {line["requestId"]: line["client"] for line in map(json.loads, behind_a_proxy.access_log.splitlines())}
    assert [lines[answer.headers["x-request-id"]] for answer in answers] == list(told.values())
