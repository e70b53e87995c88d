"""JSON has one kind of number: 1.0 is a whole one (JSON Schema 2020-12 §6.1.1), 1.5 is not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import msgspec
import pytest

from teahouse.web import App, TestClient


class Line(msgspec.Struct, forbid_unknown_fields=True):
    count: int
    share: float = 0.0
    lines: list[int] = []
    known: bool = False


@pytest.fixture
async def client() -> AsyncIterator[TestClient]:
    app = App()

    @app.post("/lines")
    def add(body: Line) -> dict[str, object]:
        return {"count": body.count, "share": body.share, "lines": body.lines}

    async with TestClient(app) as client:
        yield client


async def post(client: TestClient, body: str):
    return await client.post("/lines", body=body.encode(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    ("number", "meant"), [("1.0", 1), ("-2.0", -2), ("1e3", 1000), ("0.0", 0), ("9e15", 9 * 10**15)]
)
async def test_a_whole_number_may_be_written_with_a_fraction_of_nothing(client, number: str, meant: int):
    answer = await post(client, f'{{"count": {number}, "lines": [{number}, 7], "share": 0.5}}')
    assert answer.status == 200, answer.body
    assert answer.json() == {"count": meant, "share": 0.5, "lines": [meant, 7]}


@pytest.mark.parametrize("number", ["1.5", "1e-1", "1e16", "1e300", "1.0000000000000002"])
async def test_any_other_fraction_is_no_whole_number(client, number: str):
    answer = await post(client, f'{{"count": {number}}}')
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/count"]


async def test_only_what_is_wrong_is_told_beside_a_whole_number(client):
    answer = await post(client, '{"count": 1.0, "known": 1.0, "more": 2.0}')
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/known", "/more"]


async def test_a_long_body_gets_no_second_look(client):
    answer = await post(client, json.dumps({"count": 1.0, "lines": [7] * 40_000}))
    assert answer.status == 422
