"""Two people talk over a real server: rooms, sockets and HTTP side by side."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

import pytest

from teahouse.web.client import Client
from tests.journeys.people import Person, log_in, put_on_sale
from tests.journeys.servers import Running, until
from tests.journeys.sockets import history, new_room, next_text, said, socket_of, synced
from tests.messages.raw_websocket import RawSocket


class Talk(NamedTuple):
    """Mei and Lin in a room, each with a socket, and Kai who is not in it."""

    server: Running
    mei: Person
    lin: Person
    kai: Person
    room: str
    at_mei: RawSocket
    at_lin: RawSocket


@pytest.fixture
async def talk(house: Running, client: Client) -> AsyncIterator[Talk]:
    mei, lin, kai = [await log_in(client) for _ in range(3)]
    room = await new_room(mei, lin)
    async with socket_of(house, mei) as at_mei, socket_of(house, lin) as at_lin:
        yield Talk(house, mei, lin, kai, room, at_mei, at_lin)


async def test_words_go_both_ways_and_are_acknowledged_in_one_sequence(talk: Talk):
    assert await said(talk.at_mei, talk.room, "m1", "hello 茶") == 1
    assert await next_text(talk.at_lin) == (1, "m1", "hello 茶")
    assert await said(talk.at_lin, talk.room, "l1", {"any": ["json", 1, None]}) == 2
    assert await next_text(talk.at_mei) == (2, "l1", {"any": ["json", 1, None]})


async def test_what_a_receiver_gets_is_the_frame_of_the_contract(talk: Talk):
    before = time.time_ns() // 1_000_000
    talk.at_mei.say(type="custom", id="m1", to=talk.room, content={"tea": 1})
    ack, came = await talk.at_mei.json(), await talk.at_lin.json()
    assert before - 2 <= ack["timestamp"] <= time.time_ns() // 1_000_000
    assert ack == {"type": "ack", "id": "m1", "to": talk.room, "seq": 1, "timestamp": ack["timestamp"]}
    assert came == {
        "type": "custom",
        "id": "m1",
        "to": talk.room,
        "seq": 1,
        "senderId": talk.mei.id,
        "content": {"tea": 1},
        "timestamp": ack["timestamp"],
    }


async def test_two_people_talk_without_a_room(talk: Talk):
    to_lin, to_mei = f"user:{talk.lin.id}", f"user:{talk.mei.id}"
    assert await said(talk.at_mei, to_lin, "m1", "psst") == 1
    assert await next_text(talk.at_lin) == (1, "m1", "psst")
    assert await said(talk.at_lin, to_mei, "l1", "what?") == 2
    assert await next_text(talk.at_mei) == (2, "l1", "what?")
    assert [each["to"] for each in await history(talk.mei, to_lin)] == [to_lin, to_mei]
    assert await history(talk.mei, to_lin) == await history(talk.lin, to_mei)


async def test_the_sender_hears_of_it_at_their_other_socket_and_not_at_this_one(talk: Talk):
    async with socket_of(talk.server, talk.mei) as other:
        assert await said(talk.at_mei, talk.room, "m1", "one") == 1
        assert await next_text(other) == (1, "m1", "one")
        assert await said(other, talk.room, "m2", "two") == 2
        # Had the first one come to this socket as well, it would be the next frame.
        assert await next_text(talk.at_mei) == (2, "m2", "two")


async def test_who_comes_back_is_given_all_that_was_missed_and_then_what_is_said(talk: Talk):
    await said(talk.at_mei, talk.room, "m1", 1)
    assert await next_text(talk.at_lin) == (1, "m1", 1)
    talk.at_lin.drop()
    for number in range(2, 30):
        await said(talk.at_mei, talk.room, f"m{number}", number)
    async with socket_of(talk.server, talk.lin) as back:
        assert await synced(back, talk.room, 1) == [(number, f"m{number}", number) for number in range(2, 30)]
        assert await synced(back, talk.room, 29) == []
        await said(talk.at_mei, talk.room, "m30", 30)
        assert await next_text(back) == (30, "m30", 30)


async def test_history_over_http_is_what_came_over_the_socket(talk: Talk):
    for number in range(1, 25):
        await said(talk.at_mei, talk.room, f"m{number}", {"number": number})
    came = [await talk.at_lin.json() for _ in range(24)]
    assert await history(talk.lin, talk.room) == came
    assert await history(talk.mei, talk.room) == came


async def test_what_was_read_is_told_to_the_reader_and_counted(talk: Talk):
    for number in range(1, 4):
        await said(talk.at_mei, talk.room, f"m{number}", number)
        await next_text(talk.at_lin)
    (room,) = (await talk.lin.get("/v1/rooms")).json()["items"]
    assert (room["lastSeq"], room["readSeq"], room["unread"]) == (3, 0, 3)
    talk.at_lin.say(type="read", to=talk.room, seq=2)
    assert await talk.at_lin.json() == {"type": "read", "to": talk.room, "userId": talk.lin.id, "seq": 2}
    (room,) = (await talk.lin.get("/v1/rooms")).json()["items"]
    assert (room["lastSeq"], room["readSeq"], room["unread"]) == (3, 2, 1)


async def test_the_other_one_hears_that_it_was_read(talk: Talk):
    await said(talk.at_mei, f"user:{talk.lin.id}", "m1", "read this")
    assert await next_text(talk.at_lin) == (1, "m1", "read this")
    talk.at_lin.say(type="read", to=f"user:{talk.mei.id}", seq=1)
    told = await talk.at_mei.json()
    assert told == {"type": "read", "to": f"user:{talk.lin.id}", "userId": talk.lin.id, "seq": 1}


async def test_who_is_there_is_told_and_then_who_comes_and_goes(talk: Talk):
    assert (await talk.mei.post(f"/v1/rooms/{talk.room[5:]}/members", json={"userIds": [talk.kai.id]})).status == 200
    talk.at_mei.say(type="presence", to=talk.room)
    told = {"type": "presence", "to": talk.room}
    assert await talk.at_mei.json() == {**told, "userId": talk.lin.id, "online": True}
    async with socket_of(talk.server, talk.kai):
        assert await talk.at_mei.json() == {**told, "userId": talk.kai.id, "online": True}
    assert await talk.at_mei.json() == {**told, "userId": talk.kai.id, "online": False}


async def test_whether_somebody_is_there_is_told_to_those_who_share_a_conversation_with_them(talk: Talk):
    about_mei = {"type": "presence", "to": f"user:{talk.mei.id}"}
    async with socket_of(talk.server, talk.kai) as at_kai:
        at_kai.say(**about_mei)
        # What is asked is answered in turn: an answer would have come before this one.
        assert await synced(at_kai, about_mei["to"], 0) == []
        assert await said(at_kai, f"user:{talk.mei.id}", "k1", "hello") == 1
        at_kai.say(**about_mei)
        assert await at_kai.json() == {**about_mei, "userId": talk.mei.id, "online": True}
    # They are in one room.
    talk.at_lin.say(**about_mei)
    assert await talk.at_lin.json() == {**about_mei, "userId": talk.mei.id, "online": True}


async def test_the_same_id_sent_again_is_one_message_by_whichever_way(talk: Talk):
    body = {"type": "text", "id": "m1", "to": talk.room, "content": "once"}
    assert await said(talk.at_mei, talk.room, "m1", "once") == 1
    assert await said(talk.at_mei, talk.room, "m1", "once") == 1
    over_http = await talk.mei.post("/v1/messages", json=body)
    assert (over_http.status, over_http.json()["seq"]) == (201, 1)
    first_http = await talk.mei.post("/v1/messages", json={**body, "id": "m2"})
    assert (first_http.status, first_http.json()["seq"]) == (201, 2)
    # Said over HTTP it comes to the sender's socket too.
    assert await next_text(talk.at_mei) == (2, "m2", "once")
    assert await said(talk.at_mei, talk.room, "m2", "once") == 2
    assert [(each["seq"], each["id"]) for each in await history(talk.lin, talk.room)] == [(1, "m1"), (2, "m2")]
    assert [await next_text(talk.at_lin) for _ in range(2)] == [(1, "m1", "once"), (2, "m2", "once")]


async def test_the_same_id_for_other_words_is_refused(talk: Talk):
    assert await said(talk.at_mei, talk.room, "m1", "once") == 1
    talk.at_mei.say(type="text", id="m1", to=talk.room, content="twice")
    assert await refusal(talk.at_mei, "m1") == "idempotency-mismatch"


async def refusal(socket: RawSocket, id: str) -> str:
    """The next frame is an error's; which problem it is."""
    frame = await socket.json()
    assert (frame["type"], frame["id"]) == ("error", id), frame
    return str(frame["problem"]["type"]).removeprefix("/problems/")


async def test_a_room_that_one_is_not_in_is_not_there(talk: Talk):
    await said(talk.at_mei, talk.room, "m1", "a secret")
    async with socket_of(talk.server, talk.kai) as at_kai:
        at_kai.say(type="text", id="k1", to=talk.room, content="let me in")
        assert await refusal(at_kai, "k1") == "not-found"
        for question in ({"type": "sync", "after": {talk.room: 0}}, {"type": "read", "to": talk.room, "seq": 1}):
            at_kai.say(**question, id="k2")
            assert await refusal(at_kai, "k2") == "not-found"
        at_kai.say(type="presence", to=talk.room, id="k3")
        assert await refusal(at_kai, "k3") == "not-found"
        # The socket goes on.
        assert await said(at_kai, f"user:{talk.mei.id}", "k4", "hello") == 1
    assert await next_text(talk.at_mei) == (1, "k4", "hello")
    assert await next_text(talk.at_lin) == (1, "m1", "a secret")
    assert (await talk.kai.get(f"/v1/rooms/{talk.room[5:]}/messages")).status == 404


async def test_who_is_brought_in_hears_what_is_said_and_who_is_removed_hears_no_more(talk: Talk):
    members = f"/v1/rooms/{talk.room[5:]}/members"
    async with socket_of(talk.server, talk.kai) as at_kai:
        assert (await talk.mei.post(members, json={"userIds": [talk.kai.id]})).status == 200
        assert await said(talk.at_mei, talk.room, "m1", "welcome") == 1
        assert await next_text(at_kai) == (1, "m1", "welcome")
        assert (await talk.mei.delete(f"{members}/{talk.kai.id}")).status == 204
        left = {"type": "system", "event": "room-left", "data": {"roomId": talk.room[5:]}}
        assert await at_kai.json() == left
        assert await said(talk.at_mei, talk.room, "m2", "without them") == 2
        assert await said(talk.at_mei, f"user:{talk.kai.id}", "m3", "farewell") == 1
        assert await next_text(at_kai) == (1, "m3", "farewell")


@pytest.mark.parametrize("everywhere", ["", "?everywhere=true"])
async def test_a_logout_ends_the_socket_within_a_second(talk: Talk, everywhere: str):
    begun = time.monotonic()
    assert (await talk.lin.post(f"/v1/auth/logout{everywhere}")).status == 204
    assert await talk.at_lin.json() == {"type": "system", "event": "logged-out", "data": {}}
    assert await talk.at_lin.close_code() == 4401
    # The gateway looks once a second; the machine is given some of the next.
    assert time.monotonic() - begun < 1
    again = await RawSocket.connect(talk.server.realtime_port)
    answer = await again.upgrade(token=talk.lin.token)
    assert (answer.status, answer.problem) == (401, "session-ended")
    await again.at_end()
    # Nobody else noticed.
    assert await said(talk.at_mei, talk.room, "m1", "still here") == 1


async def test_a_page_brings_its_token_in_a_subprotocol(talk: Talk):
    page = await RawSocket.connect(talk.server.realtime_port)
    answer = await page.upgrade(f"Sec-WebSocket-Protocol: teahouse.v1, bearer.{talk.mei.token}", token=None)
    assert (answer.status, answer.headers["sec-websocket-protocol"]) == (101, "teahouse.v1")
    assert (await page.json())["userId"] == talk.mei.id
    page.drop()


async def test_without_a_good_token_there_is_no_upgrade(talk: Talk):
    for token in (None, "nonsense", f"{talk.mei.token[:-6]}abcdef", f"{talk.mei.token}.{talk.mei.token}"):
        socket = await RawSocket.connect(talk.server.realtime_port)
        answer = await socket.upgrade(token=token)
        assert (answer.status, answer.headers["www-authenticate"].split()[0]) == (401, "Bearer"), token
        await socket.at_end()


async def test_a_buyer_hears_that_their_order_is_paid(talk: Talk, boss: Person):
    sale = await put_on_sale(boss)
    order = (await talk.lin.buy(sale, "k")).json()
    paid = await talk.lin.post("/v1/sandbox/payments", json={"orderId": order["orderId"]})
    assert paid.status == 200, paid.body
    frames = []
    while not frames or frames[-1]["event"] != "order-paid":
        frames.append(await talk.at_lin.json())
        assert frames[-1]["type"] == "system", frames
    assert frames[-1]["data"] == {
        "orderId": order["orderId"],
        "saleId": sale["id"],
        "quantity": 1,
        "amount": order["amount"],
        "status": "paid",
    }
    # It is the buyer's business alone.
    assert await said(talk.at_lin, talk.room, "l1", "I have tea") == 1
    assert await next_text(talk.at_mei) == (1, "l1", "I have tea")


async def test_many_things_at_once_are_stored_in_one_sequence(talk: Talk):
    for number in range(25):
        talk.at_mei.say(type="text", id=f"m{number}", to=talk.room, content=number)
        talk.at_lin.say(type="text", id=f"l{number}", to=talk.room, content=number)
    heard = await asyncio.gather(*(frames(each, 50) for each in (talk.at_mei, talk.at_lin)))
    for who, (mine, theirs) in zip(heard, ("ml", "lm"), strict=True):
        acks = [frame for frame in who if frame["type"] == "ack"]
        texts = [frame for frame in who if frame["type"] == "text"]
        assert [frame["id"] for frame in acks] == [f"{mine}{number}" for number in range(25)]
        assert [frame["id"] for frame in texts] == [f"{theirs}{number}" for number in range(25)]
        assert sorted(frame["seq"] for frame in who) == list(range(1, 51))


async def frames(socket: RawSocket, count: int) -> list[dict]:
    return [await socket.json() for _ in range(count)]


async def test_an_upgrade_stands_in_the_access_log_beside_the_requests(house: Running, client: Client):
    mei = await log_in(client)
    socket = await RawSocket.connect(house.realtime_port)
    answers = [await socket.upgrade("X-Request-Id: mei-comes-in", token=mei.token)]
    refused = await RawSocket.connect(house.realtime_port)
    answers.append(await refused.upgrade("X-Request-Id: nobody-does", token="nobody", target="/message?token=sesame"))
    for each in (socket, refused):
        each.drop()
        with suppress(ConnectionError):
            await each.writer.wait_closed()
    assert [answer.status for answer in answers] == [101, 401]

    def logged() -> dict[str, int]:
        lines = [json.loads(line) for line in house.access_log.splitlines()]
        return {line["requestId"]: line["status"] for line in lines if line["path"] == "/message"}

    wanted = {"mei-comes-in": 101, "nobody-does": 401}
    await asyncio.to_thread(until, lambda: wanted.items() <= logged().items(), "both stand in the log")
    assert "sesame" not in house.access_log
    assert mei.token not in house.access_log


async def test_an_upgrade_may_have_as_large_a_head_as_any_request(house: Running, client: Client):
    mei = await log_in(client)
    for size, status in ((70_000, 101), (1_100_000, 431)):
        socket = await RawSocket.connect(house.realtime_port)
        try:
            answer = await socket.upgrade(f"X-Long: {'x' * size}", token=mei.token)
        finally:
            socket.drop()
        assert answer.status == status, size
        assert answer.headers["x-request-id"], size
