"""A server's life as its operator sees it: start, rush, stop, and what it never lets out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import stat
import time
import urllib.request
from pathlib import Path

import pytest

from teahouse.web.client import Client, ClientError
from tests.journeys.people import PASSWORD, Person, at, books, fresh, hire_boss, log_in, log_in_boss, put_on_sale
from tests.journeys.servers import DEADLINE_SECONDS, Running, running, teahouse
from tests.processes import served

CLIENTS = 200
MEBIBYTE = 1 << 20


def test_it_is_ready_soon_and_idles_in_little_memory(tmp_path: Path, record_property):
    with running(tmp_path, measured=True):
        pass
    began = time.monotonic()
    with running(tmp_path, measured=True) as server:
        seconds = time.monotonic() - began
        for path in ("/docs", "/metrics", "/openapi.json", "/v1/products", "/v1/sales"):
            with urllib.request.urlopen(server.url + path, timeout=20) as answer:
                answer.read()
        mebibytes = server.resident_bytes / MEBIBYTE
    record_property("ready_seconds", seconds)
    record_property("idle_mebibytes", mebibytes)
    print(f"ready after {seconds:.2f} s, idle in {mebibytes:.1f} MiB")
    assert seconds < 5
    assert mebibytes < 90


def test_a_data_directory_is_served_once_at_a_time(tmp_path: Path):
    with running(tmp_path) as server:
        done = teahouse("serve", "--port", "0", "--realtime-port", "0", "--data-dir", "data", cwd=tmp_path)
        assert done.returncode == 2
        assert f"in use by another Teahouse (process {server.process.pid})" in done.stderr
        assert "Traceback" not in done.stderr
        with urllib.request.urlopen(f"{server.url}/readyz", timeout=20) as answer:
            assert answer.status == 200


def test_more_workers_than_one_core_can_share_are_refused_with_the_way_out(tmp_path: Path):
    done = teahouse("serve", "--workers", "2", "--data-dir", "data", cwd=tmp_path)
    assert done.returncode == 2
    assert "TEAHOUSE_REDIS__URL" in done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "shop.example.com"])
def test_the_sandbox_is_not_let_out_by_accident(tmp_path: Path, host: str):
    done = teahouse("serve", "--host", host, "--port", "0", "--data-dir", "data", cwd=tmp_path)
    assert done.returncode == 2
    assert "TEAHOUSE_WECHAT__SANDBOX=true" in done.stderr
    assert "TEAHOUSE_WECHAT__APPID" in done.stderr


async def test_with_an_appid_there_is_no_sandbox_and_its_secret_stays_inside(tmp_path: Path):
    secret = "very" + secrets.token_hex(16)
    settings = {
        "TEAHOUSE_WECHAT__APPID": "wx0123456789abcdef",
        "TEAHOUSE_WECHAT__SECRET": secret,
        # Nobody listens there.
        "TEAHOUSE_WECHAT__BASE_URL": "http://127.0.0.1:9",
    }
    with running(tmp_path, **settings) as server:
        async with at(server) as client:
            answer = await client.post("/v1/auth/wechat", json={"code": "sandbox-anna-1"})
            assert (answer.status, answer.json()["type"]) == (503, "/problems/wechat-unavailable")
            for path in ("/v1/sandbox/codes", "/v1/sandbox/payments"):
                assert (await client.post(path, json={})).status == 404
            for path in ("/openapi.json", "/metrics", "/docs", "/readyz"):
                assert secret not in (await client.get(path)).body.decode()
        assert server.stop() == 0
        assert secret not in server.said
        assert "sandbox-anna-1" not in server.said


def test_keys_and_data_are_for_their_owner_only(tmp_path: Path):
    with running(tmp_path) as server:
        assert stat.S_IMODE((server.data / "secret.key").stat().st_mode) == 0o600
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700


async def test_sigterm_in_the_middle_of_a_rush_loses_no_order_that_was_promised(tmp_path: Path):
    hire_boss(tmp_path)
    with running(tmp_path) as server:
        async with at(server, connections=CLIENTS) as client:
            boss = await log_in_boss(client)
            sale = await put_on_sale(boss, stock=1_000_000, perBuyerLimit=1_000_000)
            buyers = await asyncio.gather(*(log_in(client) for _ in range(CLIENTS)))
            promised: dict[str, tuple[Person, str, bytes]] = {}
            unanswered: list[tuple[Person, str]] = []

            async def buy_on_and_on(buyer: Person) -> None:
                while True:
                    key = fresh()
                    try:
                        answer = await buyer.buy(sale, key)
                    except ClientError:
                        unanswered.append((buyer, key))
                        return
                    if answer.status == 503:
                        return
                    assert answer.status == 202, answer.body
                    promised[answer.json()["orderId"]] = (buyer, key, answer.body)
                    if len(promised) == 5 * CLIENTS:
                        server.process.terminate()

            await asyncio.gather(*(buy_on_and_on(buyer) for buyer in buyers))
            code = await asyncio.to_thread(server.process.wait, DEADLINE_SECONDS)
        assert code == 0, server.said
        # Only connections that wait for nothing may be closed without an answer.
        assert len(unanswered) <= CLIENTS
    with running(tmp_path) as server:
        async with at(server) as client:
            found = await books(Person(client, boss.tokens), sale)
            # All that was promised is there, and all that is there was promised.
            assert found["orders"] == len(promised) >= 5 * CLIENTS
            some = list(promised.items())[-CLIENTS:]
            for order, (buyer, key, body) in some:
                back = Person(client, buyer.tokens)
                assert (await back.get(f"/v1/orders/{order}")).status == 200
                assert (await back.buy(sale, key)).body == body


async def test_sigterm_ends_clean_under_many_clients_busy_and_idle(tmp_path: Path):
    with running(tmp_path) as server:
        async with at(server, connections=CLIENTS) as client:
            idle = [await _open(server) for _ in range(50)]
            token = (await log_in(client)).token
            seen, busy = 0, asyncio.Event()

            async def look() -> None:
                nonlocal seen
                with contextlib.suppress(ClientError):
                    while (await client.get("/v1/me", token=token)).status in (200, 503):
                        seen += 1
                        if seen == 2 * CLIENTS:
                            busy.set()

            looking = [asyncio.create_task(look()) for _ in range(CLIENTS)]
            await asyncio.wait_for(busy.wait(), DEADLINE_SECONDS)
            server.process.terminate()
            assert await asyncio.to_thread(server.process.wait, DEADLINE_SECONDS) == 0
            await asyncio.gather(*looking)
            for reader, writer in idle:
                # Closed in order, not cut.
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()
        assert "ERROR" not in server.said
        assert "WARNING" not in server.said


async def _open(server: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_standard_error_that_nobody_reads_holds_up_neither_requests_nor_the_end(tmp_path: Path):
    with served("--data-dir", "data", cwd=tmp_path) as server:
        async with Client(server.url, timeout=20) as client:
            for _ in range(40):
                answers = await asyncio.gather(*(client.get("/nowhere/" + "x" * 1000) for _ in range(50)))
                assert {answer.status for answer in answers} == {404}
        server.process.terminate()
        assert await asyncio.to_thread(server.process.wait, DEADLINE_SECONDS) == 0


async def test_logs_tell_what_happened_and_no_secret_of_anybody(tmp_path: Path):
    hire_boss(tmp_path)
    password, code = "hush " + secrets.token_hex(8), f"sandbox-{fresh()}-{secrets.token_hex(8)}"
    with running(tmp_path) as server:
        async with at(server) as client:
            boss = await log_in_boss(client)
            sale = await put_on_sale(boss)
            registered = await client.post("/v1/auth/register", json={"username": fresh(), "password": password})
            wrong = await client.post("/v1/auth/password", json={"username": fresh(), "password": password})
            assert wrong.status == 401
            buyer = Person(client, (await client.post("/v1/auth/wechat", json={"code": code})).json())
            assert (await client.post("/v1/auth/wechat", json={"code": code})).status == 401
            renewed = await client.post("/v1/auth/refresh", json={"refreshToken": buyer.tokens["refreshToken"]})
            key = f"key-{secrets.token_hex(8)}"
            assert (await buyer.buy(sale, key)).status == 202
            assert (await buyer.get(f"/v1/me?token={buyer.token}&code={code}")).status == 200
            assert (await client.get("/v1/me", token=buyer.token + "x")).status == 401
            cut = {"body": f'{{"code": "{code}'.encode(), "headers": {"Content-Type": "application/json"}}
            assert (await client.post("/v1/auth/wechat", **cut)).status == 400
            assert (await buyer.post("/v1/auth/logout")).status == 204
        keys = (server.data / "secret.key").read_text().split()
        assert server.stop() == 0
        written = server.access_log + server.said
        tokens = [boss.tokens, registered.json(), buyer.tokens, renewed.json()]
        hidden = [PASSWORD, password, code, key, *keys]
        hidden += [each[name] for each in tokens for name in ("accessToken", "refreshToken")]
        # The signature alone would be enough to recognise a token by.
        hidden += [each["accessToken"].rpartition(".")[2] for each in tokens]
        assert [secret for secret in hidden if secret in written] == []
        lines = [json.loads(line) for line in server.access_log.splitlines()]
        assert {"POST /v1/auth/wechat", "POST /v1/auth/logout"} <= {
            f"{line['method']} {line['path']}" for line in lines
        }
        assert {line["client"] for line in lines} == {"127.0.0.1"}


async def test_every_request_is_one_line_of_the_access_log_under_the_id_the_caller_saw(tmp_path: Path):
    with running(tmp_path) as server:
        async with at(server) as client:
            answers = [await client.get(f"/v1/products?limit={limit}") for limit in (0, 1, 2)]
            answers.append(await client.get('/%22%0A{"fake":"line"}'))
        assert server.stop() == 0
        ids = [answer.headers["x-request-id"] for answer in answers]
        lines = {line["requestId"]: line for line in map(json.loads, server.access_log.splitlines())}
        assert [lines[name]["status"] for name in ids] == [422, 200, 200, 404]
        assert {lines[name]["route"] for name in ids[:3]} == {"/v1/products"}
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines.values())


async def test_a_client_that_goes_away_without_its_answer_changes_nothing_for_others(tmp_path: Path):
    hire_boss(tmp_path)
    with running(tmp_path) as server:
        async with at(server, connections=CLIENTS) as client:
            boss = await log_in_boss(client)
            sale = await put_on_sale(boss, stock=1000, perBuyerLimit=1000)
            buyer = await log_in(client)
            path = f"/v1/sales/{sale['id']}/purchases"
            for _ in range(20):
                headers = {"Idempotency-Key": fresh()}
                await client.hang_up("POST", path, json={"quantity": 1}, headers=headers, token=buyer.token)
            answers = await asyncio.gather(*(buyer.buy(sale, fresh()) for _ in range(50)))
            assert {answer.status for answer in answers} == {202}
            assert 50 <= (await books(boss, sale))["reserved"] <= 70
        assert server.stop() == 0
