"""Messages over HTTP: who may do what, what hostile input gets, and what the answers look like."""

from __future__ import annotations

import pytest

from tests.messages.over_http import by, send, serving
from tests.messages.people import ANN, BOB, CAT, DAN, NOBODY, NOW, QuietHub

KEPT = '{"a": [1, 2.50,  null], "n":123456789012345678901234567890, "s":"\\u8336 🍵"}'


@pytest.fixture
def hub():
    return QuietHub()


@pytest.fixture
async def client(tmp_path, hub):
    async with serving(tmp_path, hub) as client:
        yield client


async def made(client, owner=ANN, members=(BOB,), name="tea"):
    answer = await client.post("/v1/rooms", json={"name": name, "members": list(members)}, headers=by(owner))
    assert answer.status == 201, answer.body
    return answer.json()


async def test_a_room_is_made_by_its_owner_and_seen_by_its_members(client, hub):
    room = await made(client, name="  茶 🍵 ")
    assert room == {
        "id": room["id"],
        "name": "茶 🍵",
        "role": "owner",
        "createdAt": "2026-01-01T00:00:00Z",
        "lastSeq": 0,
        "readSeq": 0,
        "unread": 0,
    }
    conversation = f"room:{room['id']}"
    assert hub.told == [("joined", ANN, conversation), ("joined", BOB, conversation)]
    await send(client, ANN, conversation, "1")
    await send(client, ANN, conversation, "2")
    wanted = {**room, "role": "member", "lastSeq": 2, "unread": 2}
    assert (await client.get("/v1/rooms", headers=by(BOB))).json() == {"items": [wanted], "nextCursor": None}
    assert (await client.get("/v1/rooms", headers=by(CAT))).json() == {"items": [], "nextCursor": None}


async def test_rooms_come_newest_first_in_pages(client):
    ids = [(await made(client))["id"] for _ in range(5)]
    seen, cursor = [], ""
    for _ in range(3):
        page = (await client.get(f"/v1/rooms?limit=2{cursor}", headers=by(BOB))).json()
        seen += [each["id"] for each in page["items"]]
        cursor = f"&cursor={page['nextCursor']}"
    assert page["nextCursor"] is None
    assert seen == ids[::-1]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": " \t "}, "/name"),
        ({"name": "\u3000\u00a0"}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "a\u0085b"}, "/name"),
        ({"name": "a\u2028b"}, "/name"),
        ({"name": "\u0000"}, "/name"),
        ({"name": "茶" * 65}, "/name"),
        ({"name": 1}, "/name"),
        ({}, "/name"),
        ({"name": "a", "owner": BOB}, "/owner"),
        ({"name": "a", "members": [BOB, "b"]}, "/members/1"),
        ({"name": "a", "members": BOB}, "/members"),
        ({"name": "a", "members": [BOB] * 201}, "/members"),
    ],
)
async def test_a_room_that_nobody_could_name_or_fill_is_refused_with_the_place(client, body, pointer):
    answer = await client.post("/v1/rooms", json=body, headers=by(ANN))
    assert (answer.status, answer.json()["type"]) == (422, "/problems/validation-failed")
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]
    assert (await client.get("/v1/rooms", headers=by(ANN))).json()["items"] == []


async def test_the_longest_name_and_the_most_members_are_taken(client):
    room = await made(client, name="🍵" * 64, members=[BOB] * 200)
    assert room["name"] == "🍵" * 64
    answer = await client.post("/v1/rooms", json={"name": "a", "members": [NOBODY]}, headers=by(ANN))
    assert (answer.status, answer.json()["type"]) == (404, "/problems/not-found")


async def test_only_the_owner_brings_people_in_and_strangers_see_no_room(client, hub):
    room = await made(client)
    path = f"/v1/rooms/{room['id']}/members"

    async def added(user, ids):
        answer = await client.post(path, json={"userIds": ids}, headers=by(user))
        return answer.status, answer.json().get("added")

    hub.told.clear()
    assert await added(BOB, [CAT]) == (403, None)
    assert await added(CAT, [CAT]) == (404, None)
    assert await added(ANN, [CAT, NOBODY]) == (404, None)
    assert await added(ANN, []) == (422, None)
    assert await added(ANN, [BOB] * 201) == (422, None)
    assert hub.told == []
    assert await added(ANN, [CAT, BOB, DAN]) == (200, [CAT, DAN])
    assert await added(ANN, [CAT]) == (200, [])
    assert sorted(hub.told) == [("joined", each, f"room:{room['id']}") for each in (CAT, DAN)]


async def test_members_are_listed_in_pages_for_members_only(client):
    room = await made(client, members=[BOB, DAN])
    path = f"/v1/rooms/{room['id']}/members"
    first = (await client.get(f"{path}?limit=2", headers=by(BOB))).json()
    assert first == {
        "items": [{"userId": ANN, "role": "owner"}, {"userId": BOB, "role": "member"}],
        "nextCursor": BOB,
    }
    rest = (await client.get(f"{path}?limit=2&cursor={first['nextCursor']}", headers=by(BOB))).json()
    assert rest == {"items": [{"userId": DAN, "role": "member"}], "nextCursor": None}
    assert (await client.get(path, headers=by(CAT))).status == 404
    assert (await client.get(f"/v1/rooms/{NOBODY}/members", headers=by(ANN))).status == 404
    assert (await client.get("/v1/rooms/strange/members", headers=by(ANN))).status == 404


async def test_members_leave_and_the_owner_removes_them_and_stays(client, hub):
    room = await made(client, members=[BOB, CAT])
    path = f"/v1/rooms/{room['id']}/members"

    async def removed(user, whom):
        return (await client.delete(f"{path}/{whom}", headers=by(user))).status

    hub.told.clear()
    assert await removed(BOB, CAT) == 403
    assert await removed(DAN, CAT) == 404
    assert await removed(ANN, ANN) == 403
    assert await removed(ANN, DAN) == 404
    assert await removed(ANN, "x") == 404
    assert hub.told == []
    assert [await removed(BOB, BOB), await removed(ANN, CAT)] == [204, 204]
    assert [await removed(BOB, BOB), await removed(ANN, CAT)] == [404, 404]
    told = {"type": "system", "event": "room-left", "data": {"roomId": room["id"]}}
    wanted = [[("left", each, f"room:{room['id']}"), ("told", each, told)] for each in (BOB, CAT)]
    assert hub.told == [each for both in wanted for each in both]
    assert (await send(client, BOB, f"room:{room['id']}")).status == 404


async def test_a_message_sent_again_gets_the_same_answer_and_is_there_once(client, hub):
    room = await made(client)
    to = f"room:{room['id']}"
    first = await send(client, ANN, to, "client-1")
    assert first.status == 201
    assert first.json() == {"id": "client-1", "to": to, "seq": 1, "timestamp": NOW}
    again = await send(client, ANN, to, "client-1")
    assert (again.status, again.body) == (201, first.body)
    assert ("message", to, 1, "") in hub.told
    other = await send(client, ANN, to, "client-1", content="bye")
    assert (other.status, other.json()["type"]) == (422, "/problems/idempotency-mismatch")
    history = (await client.get(f"/v1/rooms/{room['id']}/messages", headers=by(BOB))).json()
    assert history == {
        "items": [
            {
                "type": "text",
                "id": "client-1",
                "to": to,
                "seq": 1,
                "senderId": ANN,
                "content": "hello",
                "timestamp": NOW,
            }
        ],
        "nextCursor": None,
    }


async def test_history_comes_newest_first_in_pages_and_only_to_who_is_in_the_room(client):
    room = await made(client)
    path, to = f"/v1/rooms/{room['id']}/messages", f"room:{room['id']}"
    for number in range(5):
        await send(client, (ANN, BOB)[number % 2], to, str(number))
    seen, before = [], ""
    for _ in range(3):
        page = (await client.get(f"{path}?limit=2{before}", headers=by(BOB))).json()
        seen += [each["seq"] for each in page["items"]]
        before = f"&before={page['nextCursor']}"
    assert seen == [5, 4, 3, 2, 1]
    assert page["nextCursor"] is None
    assert (await client.get(path, headers=by(CAT))).status == 404
    assert (await client.get(path)).status == 401
    for wrong in ("before=0", "before=-1", "before=x", f"before={2**60}", "before=1&before=2", "limit=0", "limit=101"):
        assert (await client.get(f"{path}?{wrong}", headers=by(BOB))).status == 422, wrong


async def test_a_direct_message_names_its_receiver_for_both_people(client):
    assert (await send(client, ANN, f"user:{BOB}", "1")).json()["to"] == f"user:{BOB}"
    assert (await send(client, BOB, f"user:{ANN}", "1", type="custom")).json()["seq"] == 2
    hers = (await client.get(f"/v1/users/{BOB}/messages", headers=by(ANN))).json()
    his = (await client.get(f"/v1/users/{ANN}/messages", headers=by(BOB))).json()
    assert hers == his
    assert [(each["to"], each["senderId"], each["type"]) for each in hers["items"]] == [
        (f"user:{ANN}", BOB, "custom"),
        (f"user:{BOB}", ANN, "text"),
    ]
    assert (await client.get(f"/v1/users/{CAT}/messages", headers=by(ANN))).json()["items"] == []
    assert (await client.get(f"/v1/users/{ANN}/messages", headers=by(ANN))).status == 422
    assert (await client.get("/v1/rooms", headers=by(ANN))).json()["items"] == []


async def test_content_is_kept_as_it_was_written(client):
    body = f'{{"type":"custom","id":"1","to":"user:{BOB}","content":{KEPT}}}'.encode()
    headers = {**by(ANN), "content-type": "application/json"}
    assert (await client.post("/v1/messages", body=body, headers=headers)).status == 201
    answer = await client.get(f"/v1/users/{ANN}/messages", headers=by(BOB))
    assert f'"content":{KEPT},"timestamp"'.encode() in answer.body


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b'"\xff"', 400),
        (b'"\xed\xa0\x80"', 400),
        (b'"a\x00b"', 400),
        (b'"\\x"', 400),
        (b'"\\ud800"', 400),
        (b"{", 400),
        (b"[1,]", 400),
        (b'{"a":01}', 400),
        (b"", 400),
        (b"[" * 20_000 + b"]" * 20_000, 400),
        (b'"' + b"a" * 65_536 + b'"', 413),
        (b"null", 201),
        (b'"' + b"a" * 65_000 + b'"', 201),
    ],
)
async def test_content_that_is_no_json_or_too_long_is_refused(client, content, status):
    body = b'{"type":"text","id":"1","to":"user:%s","content":%s}' % (BOB.encode(), content)
    headers = {**by(ANN), "content-type": "application/json"}
    assert (await client.post("/v1/messages", body=body, headers=headers)).status == status
    history = (await client.get(f"/v1/users/{ANN}/messages", headers=by(BOB))).json()["items"]
    assert len(history) == (status == 201)


@pytest.mark.parametrize(
    ("changes", "pointers"),
    [
        ({"type": "system"}, ["/type"]),
        ({"id": ""}, ["/id"]),
        ({"id": "a" * 65}, ["/id"]),
        ({"id": "a\n"}, ["/id"]),
        ({"id": "茶"}, ["/id"]),
        ({"id": "a b"}, ["/id"]),
        ({"id": 1, "to": "user:x"}, ["/id", "/to"]),
        ({"to": f"user:{BOB}\n"}, ["/to"]),
        ({"to": f"user:{BOB}:{CAT}"}, ["/to"]),
        ({"to": BOB}, ["/to"]),
        ({"senderId": BOB}, ["/senderId"]),
    ],
)
async def test_a_message_with_something_wrong_is_refused_with_the_places(client, changes, pointers):
    body = {"type": "text", "id": "1", "to": f"user:{BOB}", "content": {"a": [1]}, **changes}
    answer = await client.post("/v1/messages", json=body, headers=by(ANN))
    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == pointers
    del body["content"]
    missing = await client.post("/v1/messages", json=body, headers=by(ANN))
    assert "/content" in [each["pointer"] for each in missing.json()["errors"]]


async def test_nobody_talks_to_themselves_to_nobody_or_to_rooms_they_are_not_in(client):
    room = await made(client)
    assert (await send(client, ANN, f"user:{ANN}")).status == 422
    assert (await send(client, ANN, f"user:{NOBODY}")).status == 404
    assert (await send(client, CAT, f"room:{room['id']}")).status == 404
    assert (await send(client, ANN, f"room:{NOBODY}")).status == 404


async def test_what_was_read_is_remembered_and_told_to_the_readers_own_sockets(client, hub):
    room = await made(client)
    to, path = f"room:{room['id']}", f"/v1/rooms/{room['id']}/read"
    for number in range(3):
        await send(client, ANN, to, str(number))

    async def read(user, seq):
        answer = await client.put(path, json={"seq": seq}, headers=by(user))
        return answer.status, answer.json().get("seq")

    hub.told.clear()
    assert [await read(BOB, seq) for seq in (2, 1, 99)] == [(200, 2), (200, 2), (200, 3)]
    assert hub.told[0] == ("told", BOB, {"type": "read", "to": to, "userId": BOB, "seq": 2})
    listed = (await client.get("/v1/rooms", headers=by(BOB))).json()["items"][0]
    assert (listed["lastSeq"], listed["readSeq"], listed["unread"]) == (3, 3, 0)
    assert await read(CAT, 1) == (404, None)
    assert await read(BOB, -1) == (422, None)
    assert await read(BOB, 2**60) == (422, None)


async def test_every_route_asks_who_is_calling(client):
    room = f"/v1/rooms/{NOBODY}"
    asked = [
        client.get("/v1/rooms"),
        client.post("/v1/rooms", json={"name": "a"}),
        client.get(f"{room}/members"),
        client.post(f"{room}/members", json={"userIds": [ANN]}),
        client.delete(f"{room}/members/{ANN}"),
        client.get(f"{room}/messages"),
        client.put(f"{room}/read", json={"seq": 1}),
        client.get(f"/v1/users/{NOBODY}/messages"),
        client.post("/v1/messages", json={"type": "text", "id": "1", "to": f"user:{BOB}", "content": ""}),
    ]
    assert [(await each).status for each in asked] == [401] * len(asked)


async def test_direct_conversations_are_listed_with_what_is_unread_and_marked_as_read(client, hub):
    for number in range(3):
        await send(client, ANN, f"user:{BOB}", str(number))

    async def listed(user):
        return (await client.get("/v1/conversations", headers=by(user))).json()

    async def read(user, other, seq):
        answer = await client.put(f"/v1/users/{other}/read", json={"seq": seq}, headers=by(user))
        return answer.status, answer.json().get("seq")

    wanted = {"userId": ANN, "lastSeq": 3, "readSeq": 0, "unread": 3}
    assert await listed(BOB) == {"items": [wanted], "nextCursor": None}
    assert await read(BOB, ANN, 2) == (200, 2)
    assert (await listed(BOB))["items"] == [{**wanted, "readSeq": 2, "unread": 1}]
    assert [each["unread"] for each in (await listed(ANN))["items"]] == [0]
    assert await listed(CAT) == {"items": [], "nextCursor": None}
    assert [await read(BOB, other, 1) for other in (BOB, CAT)] == [(404, None)] * 2


async def test_the_same_content_in_another_spelling_is_the_same_message(client):
    to = f"user:{BOB}"
    headers = {**by(ANN), "content-type": "application/json"}

    async def say(content):
        body = '{"type":"custom","id":"1","to":"%s","content":%s}' % (to, content)  # noqa: UP031 - braces of JSON
        answer = await client.post("/v1/messages", body=body.encode(), headers=headers)
        return answer.status, answer.json().get("seq")

    same = ['{"a":"é","b":2}', '{ "b": 2, "a": "\\u00e9" }', '{"a":"é","b":2.0}']
    assert [await say(each) for each in same] == [(201, 1)] * 3
    assert await say('{"a":"e","b":2}') == (422, None)
