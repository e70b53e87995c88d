import asyncio
from typing import Any

import pytest

from teahouse.messages.socket import ClientSocket
from teahouse.problems import DatabaseUnavailable, IdempotencyMismatch, NotFound
from tests.messages.gateways import ANN, BEN, Served, eventually, serving
from tests.messages.raw_websocket import RawSocket

TO_BEN = f"user:{BEN}"
ROOM = "room:" + "c" * 32


def say(client: RawSocket, id: str, **changes: Any) -> None:
    client.say(**{"type": "text", "id": id, "to": TO_BEN, "content": "hello", **changes})


async def test_a_message_is_acknowledged_and_delivered_to_the_other():
    async with serving() as served:
        ann, ben = await served.enter(), await served.enter("ben")
        say(ann, "m-1", type="image", content={"url": "/v1/files/1"})
        assert await ann.json() == {"type": "ack", "id": "m-1", "to": TO_BEN, "seq": 1, "timestamp": 1_767_225_600_000}
        assert await ben.json() == {
            "type": "image",
            "id": "m-1",
            "to": TO_BEN,
            "seq": 1,
            "senderId": ANN,
            "content": {"url": "/v1/files/1"},
            "timestamp": 1_767_225_600_000,
        }


async def test_the_service_is_told_which_socket_sent_it():
    async with serving() as served:
        first, second = await served.enter(), await served.enter()
        say(first, "m-1")
        assert (await first.json())["type"] == "ack"
        assert (await second.json())["type"] == "text"
        say(first, "m-2")
        assert (await first.json())["id"] == "m-2"


async def test_acks_come_in_the_order_of_the_frames():
    async with serving() as served:
        served.service.held = True
        client = await served.enter()
        for place in range(4):
            say(client, f"m-{place}")
        await eventually(lambda: len(served.service.waiting) == 4)
        for place in (3, 1, 2):
            served.service.answer(place)
        client.say(type="ping")
        assert await client.json() == {"type": "pong"}
        served.service.answer(0)
        assert [(await client.json())["id"] for _ in range(4)] == ["m-0", "m-1", "m-2", "m-3"]


@pytest.mark.parametrize("refusal", [NotFound(), IdempotencyMismatch(), DatabaseUnavailable()])
async def test_a_refused_message_is_an_error_with_its_id(refusal: Exception):
    async with serving() as served:
        served.service.refusal = refusal
        client = await served.enter()
        say(client, "m-1")
        error = await client.json()
        assert (error["type"], error["id"]) == ("error", "m-1")
        assert error["problem"]["type"] == f"/problems/{refusal.slug}"
        say(client, "m-2")
        assert (await client.json())["id"] == "m-2"


async def test_a_message_that_is_refused_later_is_an_error_in_its_turn():
    async with serving() as served:
        served.service.held = True
        client = await served.enter()
        say(client, "m-0")
        say(client, "m-1")
        await eventually(lambda: len(served.service.waiting) == 2)
        served.service.waiting[1].set_exception(NotFound())
        served.service.answer(0)
        assert [(await client.json())["type"] for _ in range(2)] == ["ack", "error"]


async def test_a_message_that_was_dropped_by_a_stop_is_to_be_sent_again():
    async with serving() as served:
        served.service.held = True
        client = await served.enter()
        say(client, "m-0")
        await eventually(lambda: served.service.waiting)
        served.service.waiting[0].cancel()
        error = await client.json()
        assert error["problem"]["status"] == 503
        assert error["retryAfter"] >= 1


async def test_what_breaks_in_the_service_is_logged_and_not_told(caplog: pytest.LogCaptureFixture):
    async with serving() as served:
        served.service.refusal = ZeroDivisionError("secret")
        client = await served.enter()
        say(client, "m-1")
        error = await client.json()
        assert error["problem"]["type"] == "/problems/internal-error"
        assert "secret" not in str(error)

        async def broken(*_args: Any) -> bool:
            raise ZeroDivisionError("secret")

        served.service.syncing = broken
        client.say(type="sync", after={ROOM: 1}, id="s")
        error = await client.json()
        assert (error["id"], error["problem"]["type"]) == ("s", "/problems/internal-error")
    assert "could not be stored" in caplog.text
    assert "could not be answered" in caplog.text


async def test_sync_answers_each_conversation_in_turn():
    async with serving() as served:
        client = await served.enter()

        async def syncing(socket: ClientSocket, to: str, after: int) -> bool:
            if to == TO_BEN:
                raise NotFound
            socket.send(b'{"type":"text","seq":%d}' % (after + 1))
            return after > 40

        served.service.syncing = syncing
        other = "room:" + "d" * 32
        client.say(type="sync", after={ROOM: 41, TO_BEN: 3, other: 1})
        assert await client.json() == {"type": "text", "seq": 42}
        assert await client.json() == {"type": "synced", "to": ROOM, "recovered": True}
        error = await client.json()
        assert (error["type"], error["id"], error["to"]) == ("error", None, TO_BEN)
        assert error["problem"]["type"] == "/problems/not-found"
        assert await client.json() == {"type": "text", "seq": 2}
        assert await client.json() == {"type": "synced", "to": other, "recovered": False}
        assert served.service.calls == [("sync", ANN, ROOM, 41), ("sync", ANN, TO_BEN, 3), ("sync", ANN, other, 1)]


async def test_messages_are_acknowledged_while_a_sync_runs():
    async with serving() as served:
        go_on = asyncio.Event()

        async def syncing(*_args: Any) -> bool:
            return await go_on.wait()

        served.service.syncing = syncing
        client = await served.enter()
        client.say(type="sync", after={ROOM: 1})
        say(client, "m-1")
        assert (await client.json())["type"] == "ack"
        go_on.set()
        assert (await client.json())["type"] == "synced"


async def test_a_sync_stops_when_its_socket_has_gone():
    async with serving() as served:
        go_on = asyncio.Event()

        async def syncing(*_args: Any) -> bool:
            return await go_on.wait()

        served.service.syncing = syncing
        client = await served.enter()
        client.say(type="sync", after={ROOM: 1, TO_BEN: 1})
        await eventually(lambda: served.service.calls)
        client.drop()
        await eventually(lambda: not served.gateway.sockets)
        go_on.set()
        await served.enter("ben")
        assert len(served.service.calls) == 1


async def test_read_positions_and_presence_go_to_the_service():
    async with serving() as served:
        client = await served.enter()
        client.say(type="read", to=ROOM, seq=7)
        client.say(type="presence", to=ROOM)
        assert [await client.json() for _ in range(2)] == [
            {"type": "presence", "to": ROOM, "userId": ANN, "online": True},
            {"type": "presence", "to": ROOM, "userId": BEN, "online": True},
        ]
        assert served.service.calls == [("read", ANN, ROOM, 7), ("presence", ANN, ROOM)]


@pytest.mark.parametrize(
    ("text", "id", "problem"),
    [
        ('{"type":"shout","id":"m-1"}', "m-1", "validation-failed"),
        ('{"type":"text","id":"m-1"}', "m-1", "validation-failed"),
        ('{"id":"m-1"', None, "malformed-json"),
        ("", None, "malformed-json"),
        ('{"type":"ping","x":' + "[" * 60_000, None, "malformed-json"),
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_stays_open(text: str, id: str | None, problem: str):
    async with serving() as served:
        client = await served.enter()
        client.text(text)
        error = await client.json()
        assert (error["type"], error["id"]) == ("error", id)
        assert error["problem"]["type"] == f"/problems/{problem}"
        client.say(type="ping")
        assert await client.json() == {"type": "pong"}


async def busy_client(served: Served) -> RawSocket:
    """A socket of whose frames 64 are under way, and 6 wait."""
    served.service.held = True
    client = await served.enter()
    for place in range(70):
        say(client, f"m-{place}")
    await eventually(lambda: len(served.service.waiting) == 64)
    await eventually(lambda: next(iter(served.gateway.sockets)).is_paused)
    return client


async def test_beyond_sixty_four_operations_frames_wait():
    async with serving(pace=(1000, 1000)) as served:
        client = await busy_client(served)
        await served.enter("ben")
        assert len(served.service.sent) == 64
        for place in range(64):
            served.service.answer(place)
        await eventually(lambda: len(served.service.waiting) == 70)
        for place in range(64, 70):
            served.service.answer(place)
        assert [(await client.json())["id"] for _ in range(70)] == [f"m-{place}" for place in range(70)]
        client.say(type="ping")
        assert await client.json() == {"type": "pong"}


async def test_who_sends_more_while_frames_wait_is_not_read_and_not_called_silent():
    async with serving(pace=(1000, 1000)) as served:
        client = await busy_client(served)
        await served.ticks(100)
        for place in range(64):
            served.service.answer(place)
        assert (await client.json())["id"] == "m-0"


async def test_messages_of_a_socket_that_has_gone_are_stored_all_the_same():
    async with serving() as served:
        served.service.held = True
        client = await served.enter()
        say(client, "m-0")
        await eventually(lambda: served.service.waiting)
        client.drop()
        await eventually(lambda: not served.gateway.sockets)
        assert not served.service.waiting[0].cancelled()
        served.service.answer(0)


async def test_a_pong_has_the_id_that_its_ping_had():
    async with serving() as served:
        client = await served.enter()
        client.say(type="ping", id="p-1")
        assert await client.json() == {"type": "pong", "id": "p-1"}
        client.say(type="ping")
        assert await client.json() == {"type": "pong"}


@pytest.mark.parametrize("frame", [{"type": "read", "seq": 1}, {"type": "presence"}])
async def test_a_refused_read_or_presence_says_of_which_conversation(frame):
    async with serving() as served:
        client = await served.enter()

        async def refuse(*_arguments: Any) -> None:
            raise NotFound

        served.service.mark_read = served.service.presence = refuse
        client.say(**frame, to=ROOM)
        answer = await client.json()
        assert (answer["type"], answer["to"], answer["problem"]["status"]) == ("error", ROOM, 404)
