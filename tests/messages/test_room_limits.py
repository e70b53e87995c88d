"""How many rooms one person makes, and how many people a room takes, over HTTP."""

from __future__ import annotations

import pytest

from tests.messages.over_http import by, serving
from tests.messages.people import ANN, BOB, CAT, DAN, QuietHub


@pytest.fixture
async def client(tmp_path):
    async with serving(tmp_path, QuietHub(), room_members=3, rooms_per_user=2) as client:
        yield client


def make(client, members, owner=ANN):
    return client.post("/v1/rooms", json={"name": "x", "members": members}, headers=by(owner))


async def test_a_room_is_not_made_larger_than_rooms_are(client):
    answer = await make(client, [BOB, CAT, DAN])
    assert (answer.status, answer.json()["type"]) == (409, "/problems/room-full")
    assert answer.json()["detail"] == "A room has 3 members at most."
    assert (await make(client, [BOB, CAT, ANN, BOB])).status == 201


async def test_a_full_room_says_that_it_is_full(client):
    room = (await make(client, [BOB])).json()["id"]
    path = f"/v1/rooms/{room}/members"
    answer = await client.post(path, json={"userIds": [CAT, DAN]}, headers=by(ANN))
    assert (answer.status, answer.json()["type"]) == (409, "/problems/room-full")
    assert (await client.post(path, json={"userIds": [CAT, BOB]}, headers=by(ANN))).json() == {"added": [CAT]}


async def test_who_has_made_as_many_rooms_as_one_may_makes_no_more(client):
    assert [(await make(client, [BOB])).status for _ in range(2)] == [201, 201]
    answer = await make(client, [BOB])
    assert (answer.status, answer.json()["type"]) == (409, "/problems/too-many-rooms")
    assert (await make(client, [ANN], BOB)).status == 201
