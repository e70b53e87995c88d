import asyncio

import pytest

from teahouse.messages import gateway
from teahouse.messages.assembling import WireLimits
from teahouse.problems import DatabaseUnavailable, RedisUnavailable
from tests.messages.gateways import eventually, serving
from tests.messages.raw_websocket import RawSocket, upgrade


async def test_a_token_in_the_authorization_header_opens_a_socket():
    async with serving() as served:
        client = await served.connect()
        answer = await client.upgrade(token="ann")
        assert answer.status == 101
        assert answer.headers["upgrade"].lower() == "websocket"
        assert "sec-websocket-protocol" not in answer.headers
        welcome = await client.json()
        assert welcome == {
            "type": "welcome",
            "userId": "a" * 32,
            "nodeId": "n1",
            "heartbeatSeconds": 30,
            "timestamp": 1_767_225_600_000,
            "conversations": 3,
            "following": 2,
        }


async def test_a_browser_sends_its_token_as_a_subprotocol_and_never_gets_it_back():
    async with serving() as served:
        answer = await served.ask("Sec-WebSocket-Protocol: teahouse.v1, bearer.ben", token=None)
        assert answer.status == 101
        assert answer.headers["sec-websocket-protocol"] == "teahouse.v1"


@pytest.mark.parametrize("hosts", [(), ("tea.example", "tea.example"), ("tea.example", "evil.example")])
async def test_a_request_that_does_not_say_once_which_host_it_is_for_is_refused(hosts: tuple[str, ...]):
    async with serving() as served:
        answer = await served.ask(*(f"Host: {host}" for host in hosts), drop=("Host",))
        assert answer.status == 400


async def test_the_subprotocols_may_come_in_two_lines():
    async with serving() as served:
        answer = await served.ask(
            "Sec-WebSocket-Protocol: teahouse.v1", "Sec-WebSocket-Protocol: bearer.ben", token=None
        )
        assert answer.status == 101
        assert answer.headers["sec-websocket-protocol"] == "teahouse.v1"


@pytest.mark.parametrize(
    "fields",
    [
        (),
        ("Sec-WebSocket-Protocol: bearer.ann",),
        ("Sec-WebSocket-Protocol: teahouse.v1",),
        ("Sec-WebSocket-Protocol: teahouse.v1, bearer.ann, bearer.ben",),
        ("Sec-WebSocket-Protocol: teahouse.v1, bearer.nobody",),
        ("Authorization: Basic YW5uOmFubg==",),
        ("Authorization: Bearer nobody",),
        ("Authorization: Bearer \xff\xfe",),
    ],
)
async def test_without_a_good_token_nobody_gets_in(fields: tuple[str, ...]):
    async with serving() as served:
        answer = await served.ask(*fields, token=None)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.problem in ("unauthorized", "access-token-invalid")
        assert answer.headers["x-request-id"]
        assert not served.hub.inside


async def test_a_token_in_the_address_is_worth_nothing():
    async with serving() as served:
        answer = await served.ask(target="/message?token=ann&access_token=ann", token=None)
        assert answer.status == 401


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"target": "/messages"}, 404),
        ({"target": "/"}, 404),
        ({"target": "//message"}, 404),
        ({"method": "POST"}, 405),
        ({"drop": ("Upgrade",)}, 400),
        ({"drop": ("Connection",)}, 400),
        ({"drop": ("Sec-WebSocket-Key",)}, 400),
        ({"drop": ("Sec-WebSocket-Version",)}, 400),
    ],
)
async def test_what_is_no_upgrade_is_refused(how: dict, status: int):
    async with serving() as served:
        answer = await served.ask(**how)
        assert answer.status == status
        assert not served.gateway.sockets


@pytest.mark.parametrize("version", ["8", "12", "14", "thirteen"])
async def test_another_version_is_told_the_right_one(version: str):
    async with serving() as served:
        answer = await served.ask(f"Sec-WebSocket-Version: {version}", drop=("Sec-WebSocket-Version",))
        assert answer.status == 400
        assert answer.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("key", ["", "short", "not base64 at all!!!!!!!!", "YWJj"])
async def test_a_key_that_is_not_sixteen_bytes_is_refused(key: str):
    async with serving() as served:
        answer = await served.ask(f"Sec-WebSocket-Key: {key}", drop=("Sec-WebSocket-Key",))
        assert answer.status == 400


async def test_an_upgrade_has_no_body():
    async with serving() as served:
        assert (await served.ask("Content-Length: 5")).status == 400
        assert (await served.ask("Transfer-Encoding: chunked")).status == 400
        assert (await served.ask("Content-Length: 0")).status == 101


async def test_many_who_come_back_at_once_are_all_let_in():
    async with serving() as served:
        clients = [await served.connect() for _ in range(300)]
        for client in clients:
            client.write(upgrade())
        for client in clients:
            assert (await client.read_answer()).status == 101
            assert (await client.json())["type"] == "welcome"


@pytest.mark.parametrize(
    ("upgrade_field", "connection"),
    [
        ("websocket", "Upgrade"),
        ("WebSocket", "upgrade"),
        ("websocket", "keep-alive, Upgrade"),
        ("websocket", "UPGRADE"),
    ],
)
async def test_upgrades_are_understood_however_browsers_and_proxies_write_them(upgrade_field: str, connection: str):
    async with serving() as served:
        answer = await served.ask(
            f"Upgrade: {upgrade_field}", f"Connection: {connection}", drop=("Upgrade", "Connection")
        )
        assert answer.status == 101


async def test_one_socket_too_many_is_told_when_to_come_back():
    async with serving(connections=2) as served:
        first = await served.enter()
        await served.enter("ben")
        answer = await served.ask()
        assert answer.status == 503
        assert answer.problem == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
        first.drop()
        await eventually(lambda: len(served.gateway.sockets) == 1)
        assert (await served.ask()).status == 101


async def test_a_node_that_may_have_missed_a_logout_asks_before_it_welcomes():
    async with serving() as served:
        served.accounts.current = False
        await served.enter()
        assert served.accounts.asked == ["s" + "a" * 31]


async def test_a_session_that_turns_out_to_have_ended_gets_4401():
    async with serving() as served:
        served.accounts.current = False
        served.accounts.ended.add("s" + "a" * 31)
        assert await (await served.upgraded()).close_code() == 4401
        assert not served.hub.inside


async def test_where_nobody_can_be_asked_the_client_is_to_try_again():
    async with serving() as served:
        served.accounts.current = False
        served.accounts.answer = RedisUnavailable()
        assert await (await served.upgraded()).close_code() == 1013


async def test_where_the_hub_lets_nobody_in_the_client_is_to_try_again():
    async with serving() as served:
        served.hub.answer = DatabaseUnavailable()
        client = await served.upgraded()
        assert await client.close_code() == 1013
        served.hub.inside.clear()


async def test_what_breaks_at_the_door_closes_with_1011(caplog: pytest.LogCaptureFixture):
    async with serving() as served:
        served.hub.answer = ZeroDivisionError()
        assert await (await served.upgraded()).close_code() == 1011
        served.hub.inside.clear()
    assert "could not be let in" in caplog.text


async def test_what_breaks_while_an_upgrade_is_judged_tells_the_client_nothing(caplog: pytest.LogCaptureFixture):
    async with serving() as served:
        served.accounts.check = lambda _authorization: 1 / 0  # type: ignore[method-assign]  # a mistake
        answer = await served.ask()
        assert answer.status == 500
        assert answer.problem == "internal-error"
        assert b"division" not in answer.body
    assert "could not be judged" in caplog.text


async def test_frames_that_come_before_the_welcome_are_handled_after_it():
    async with serving() as served:
        served.hub.gate.clear()
        client = await served.upgraded()
        client.say(type="text", id="1", to="user:" + "b" * 32, content="early")
        client.say(type="ping")
        await eventually(lambda: served.hub.inside and served.hub.inside[0].is_paused)
        assert served.service.sent == []
        served.hub.gate.set()
        first, *others = [(await client.json())["type"] for _ in range(3)]
        assert first == "welcome"
        assert sorted(others) == ["ack", "pong"]


async def test_what_is_delivered_before_the_welcome_follows_it():
    async with serving() as served:
        served.hub.gate.clear()
        client = await served.upgraded()
        await eventually(lambda: served.hub.inside)
        served.hub.tell_all(b'{"type":"system"}')
        served.hub.gate.set()
        assert [(await client.json())["type"] for _ in range(2)] == ["welcome", "system"]


async def test_who_leaves_while_being_let_in_is_not_kept_in_the_hub():
    async with serving() as served:
        served.hub.gate.clear()
        client = await served.upgraded()
        await eventually(lambda: served.hub.inside)
        client.drop()
        await eventually(lambda: not served.gateway.sockets)
        served.hub.gate.set()
        await eventually(lambda: not served.hub.inside)


async def test_a_frame_that_comes_with_the_upgrade_is_read():
    async with serving() as served:
        client = await served.connect()
        client.write(upgrade() + b"\x89\x80abcd")
        assert (await client.read_answer()).status == 101
        assert (await client.json())["type"] == "welcome"
        assert (await client.frame()).opcode == 0xA


@pytest.mark.parametrize(
    "head",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /message\r\n\r\n",
        b"GET /message HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET /message HTTP/1.1\r\nHost: \xff\xfe\r\nUpgrade: websocket\r\n\r\n",
        b"GET /message HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n",
        b"GET /message HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /message HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /message HTTP/1.0\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /message HTTP/1.1\r\n" + b"a: b\r\n" * 5000,
        b"G" * 100_000,
    ],
)
async def test_nonsense_instead_of_a_request_is_answered_and_ends_the_connection(head: bytes):
    async with serving(wire=WireLimits(head_bytes=16 * 1024)) as served:
        client = await served.connect()
        client.write(head)
        answer = await client.read_answer()
        assert answer.status in (400, 404, 431)
        assert answer.headers["connection"] == "close"
        await client.at_end()
        assert not served.gateway.sockets


async def test_headers_a_byte_at_a_time_are_given_up_with_408():
    async with serving(wire=WireLimits(head_seconds=0.2)) as served:
        client = await served.connect()
        head = iter(upgrade())
        answered = asyncio.ensure_future(client.read_answer())
        while not answered.done():
            client.write(bytes([next(head)]))
            await asyncio.wait([answered], timeout=0.02)
            await served.ticks(1)
        assert answered.result().status == 408
        assert answered.result().problem == "request-timeout"
        await client.at_end()


async def test_a_connection_that_never_asks_is_given_up_by_the_gateway_itself():
    async with serving(wire=WireLimits(head_seconds=0.2)) as served:
        sweeping = asyncio.ensure_future(served.gateway._sweeping())
        client = await served.connect()
        assert (await client.read_answer()).status == 408
        sweeping.cancel()


async def test_connections_that_never_ask_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gateway, "_ASKING", 2)
    async with serving(connections=1) as served:
        silent = [await served.connect() for _ in range(3)]
        await eventually(lambda: len(served.gateway._connections) == 3)
        await (await served.connect()).at_end()
        silent[0].drop()
        await eventually(lambda: len(served.gateway._connections) == 2)
        await served.enter()


async def test_who_leaves_while_the_upgrade_waits_to_be_judged_is_forgotten():
    async with serving() as served:
        client = await served.connect()
        await eventually(lambda: served.gateway._connections)
        ours = next(iter(served.gateway._connections))
        served.gateway.asked(ours, upgrade()[:-4])
        ours.abort()
        await eventually(lambda: not served.gateway._connections)
        assert not served.gateway.sockets
        await client.at_end()


async def test_who_does_not_read_a_refusal_is_cut_off():
    async with serving(wire=WireLimits(close_seconds=0.1)) as served:
        client = await served.connect()
        assert (await client.upgrade(token=None)).status == 401

        async def cut_off() -> None:
            while served.gateway._connections:
                await asyncio.sleep(0.01)
                await served.ticks(1)

        async with asyncio.timeout(5):
            await cut_off()


async def test_a_connection_that_says_nothing_does_not_hold_up_others():
    async with serving() as served:
        silent = [await RawSocket.connect(served.port) for _ in range(50)]
        try:
            await served.enter()
        finally:
            for each in silent:
                each.drop()
