"""``GET /v1/conversations``, page by page: cursors that nobody gave, and messages that come in between."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.messages.over_http import by, send, serving
from tests.messages.people import QuietHub

CROWD = [f"{number:032x}" for number in range(1, 13)]
# In the middle: the names of the conversations of this one begin with themselves or with the other one.
ME = CROWD[5]
OTHERS = [each for each in CROWD if each != ME]
PATH = "/v1/conversations"


@pytest.fixture
async def client(tmp_path):
    async with serving(tmp_path, QuietHub(), CROWD) as client:
        yield client


async def page(client, who, cursor=None, limit=1):
    more = "" if cursor is None else f"&cursor={quote(cursor, safe='')}"
    answer = await client.get(f"{PATH}?limit={limit}{more}", headers=by(who))
    assert answer.status == 200, answer.body
    return answer.json()


def name(one, other):
    low, high = sorted((one, other))
    return f"user:{low}:{high}"


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "user:",
        f"user:{ME}",
        f"room:{ME}:{ME}",
        f"user:{ME}:{ME}\n",
        f"user:{ME}:{ME}:{ME}",
        f" user:{ME}:{ME}",
        f"user:{'A' * 32}:{'B' * 32}",
        f"user:{'g' * 32}:{ME}",
        f"user:{ME[1:]}:{ME}",
        f"user:{ME}%:{ME}",
        f"user:{ME}:{'٣' * 32}",
        "user:" + "0" * 100_000,
    ],
)
async def test_a_cursor_that_no_page_gave_is_refused(client, cursor: str):
    answer = await client.get(f"{PATH}?cursor={quote(cursor, safe='')}", headers=by(ME))
    assert (answer.status, answer.json()["type"]) == (422, "/problems/validation-failed")
    assert [error["pointer"] for error in answer.json()["errors"]] == ["query:cursor"]


async def test_a_cursor_of_somebody_elses_conversation_shows_nothing_that_is_not_ones_own(client):
    for other in OTHERS[:4]:
        await send(client, ME, f"user:{other}", other)
    await send(client, OTHERS[0], f"user:{OTHERS[1]}", "theirs")
    of_others = name(OTHERS[0], OTHERS[1])
    shown = await page(client, ME, of_others, limit=100)
    # What comes after that name, as after any other; the conversation itself is shown to nobody else.
    mine = sorted(name(ME, each) for each in OTHERS[:4])
    after = [each for each in mine if each > of_others]
    assert [name(ME, each["userId"]) for each in shown["items"]] == after
    # Whether there is such a conversation makes no difference.
    unknown = name(OTHERS[0], "f" * 32)
    assert [name(ME, each["userId"]) for each in (await page(client, ME, unknown, limit=100))["items"]] == [
        each for each in mine if each > unknown
    ]
    assert await page(client, OTHERS[8], of_others, limit=100) == {"items": [], "nextCursor": None}


async def test_the_last_page_says_so_also_when_it_is_full(client):
    for other in OTHERS[:2]:
        await send(client, ME, f"user:{other}", other)
    whole = await page(client, ME, limit=2)
    assert (len(whole["items"]), whole["nextCursor"]) == (2, None)
    first = await page(client, ME)
    assert first["nextCursor"] == min(name(ME, each) for each in OTHERS[:2])
    second = await page(client, ME, first["nextCursor"])
    assert (first["items"] + second["items"], second["nextCursor"]) == (whole["items"], None)
    assert await page(client, ME, name(ME, "f" * 32)) == {"items": [], "nextCursor": None}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.sets(st.sampled_from(OTHERS), min_size=1),
    meanwhile=st.lists(st.tuples(st.sampled_from(OTHERS), st.booleans()), max_size=20),
    limit=st.integers(1, 3),
)
def test_pages_give_every_conversation_exactly_once_while_new_messages_arrive(
    tmp_path_factory, before: set[str], meanwhile: list[tuple[str, bool]], limit: int
):
    async def walk() -> None:
        async with serving(tmp_path_factory.mktemp("pages"), QuietHub(), CROWD) as client:
            for other in before:
                await send(client, ME, f"user:{other}", other)
            coming = list(meanwhile)
            seen: list[str] = []
            cursor = None
            while True:
                shown = await page(client, ME, cursor, limit)
                assert len(shown["items"]) <= limit
                seen += [each["userId"] for each in shown["items"]]
                for number in range(min(len(coming), 3)):
                    other, mine = coming.pop()
                    sender, to = (ME, other) if mine else (other, ME)
                    answer = await send(client, sender, f"user:{to}", f"{len(seen)}-{len(coming)}-{number}")
                    assert answer.status == 201
                cursor = shown["nextCursor"]
                if cursor is None:
                    break
            assert len(seen) == len(set(seen))
            # Those that began meanwhile may be there or not, by where the walk was then.
            assert before <= set(seen) <= before | {other for other, _ in meanwhile}

    asyncio.run(walk())
