"""From requests to arguments: what fits arrives typed, what does not is told with its place."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
import pytest

from teahouse.problems import SoldOut
from teahouse.web import App, Background, Header, Request, TestClient
from tests.web.specimen import Specimen, pointers


@pytest.fixture
async def client():
    async with TestClient(Specimen().app) as client:
        yield client


# --- path -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["abc", "1.5", "0x10", "%20", "1%2F2", "9" * 5000, "--1", "null", "true", "1_000"])
async def test_a_path_that_is_no_number_where_one_belongs_is_not_found(client, value):
    assert (await client.get(f"/turns/{value}")).status == 404


async def test_a_path_parameter_keeps_its_constraint():
    app = App()

    @app.get("/page/{number}")
    def page(number: Annotated[int, msgspec.Meta(ge=1, le=99)]) -> dict[str, int]:
        return {"number": number}

    @app.get("/colour/{name}")
    def colour(name: Literal["green", "black"]) -> dict[str, str]:
        return {"name": name}

    async with TestClient(app) as client:
        assert (await client.get("/page/99")).json() == {"number": 99}
        assert (await client.get("/page/100")).status == 404
        assert (await client.get("/page/0")).status == 404
        assert (await client.get("/colour/green")).status == 200
        assert (await client.get("/colour/red")).status == 404


# --- query ------------------------------------------------------------------------------------------------------------


async def test_query_values_arrive_typed_under_their_camel_case_names(client):
    answer = await client.get("/search?q=%E8%8C%B6+x&limit=5&inStock=true&tags=a&tags=b&unknown=1")
    assert answer.json() == {"q": "茶 x", "limit": 5, "inStock": True, "tags": ["a", "b"]}


async def test_missing_query_values_take_their_defaults(client):
    assert (await client.get("/search?q=")).json() == {"q": "", "limit": 20, "inStock": False, "tags": []}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("", "query:q"),
        ("?q=a&limit=0", "query:limit"),
        ("?q=a&limit=101", "query:limit"),
        ("?q=a&limit=abc", "query:limit"),
        ("?q=a&limit=", "query:limit"),
        ("?q=a&limit=1.5", "query:limit"),
        ("?q=a&limit=" + "9" * 5000, "query:limit"),
        ("?q=a&limit=1&limit=2", "query:limit"),
        ("?q=a&q=b", "query:q"),
        ("?q=a&inStock=perhaps", "query:inStock"),
    ],
)
async def test_a_wrong_query_value_is_told_by_its_name(client, query, pointer):
    assert pointers(await client.get("/search" + query)) == [pointer]


@pytest.mark.parametrize("query", ["?q=%FF", "?%FF=1&q=a", "?" + "&".join(f"x{n}=1" for n in range(300))])
async def test_a_query_that_cannot_be_read_is_a_bad_request(client, query):
    assert (await client.get("/search" + query)).status == 400


async def test_a_list_in_the_query_may_carry_a_constraint_and_be_absent():
    app = App()

    @app.get("/tags")
    def tags(
        few: Annotated[list[int], msgspec.Meta(max_length=2)],
        more: list[str] | None = None,
    ) -> dict[str, Any]:
        return {"few": few, "more": more}

    async with TestClient(app) as client:
        assert (await client.get("/tags?few=1&few=2")).json() == {"few": [1, 2], "more": None}
        assert (await client.get("/tags?few=1&more=a&more=b")).json() == {"few": [1], "more": ["a", "b"]}
        assert pointers(await client.get("/tags?few=1&few=2&few=3")) == ["query:few"]
        assert pointers(await client.get("/tags?few=x")) == ["query:few/0"]


async def test_times_and_choices_bind_from_the_query():
    class Order(StrEnum):
        NEWEST = "newest"
        OLDEST = "oldest"

    app = App()

    @app.get("/list")
    def listed(since: datetime, order: Order = Order.NEWEST) -> dict[str, str]:
        return {"since": since.isoformat(), "order": order}

    listed.__annotations__["order"] = Order
    async with TestClient(app) as client:
        answer = await client.get("/list?since=2026-01-01T00:00:00Z&order=oldest")
        assert answer.json() == {"since": "2026-01-01T00:00:00+00:00", "order": "oldest"}
        assert pointers(await client.get("/list?since=yesterday")) == ["query:since"]
        assert pointers(await client.get("/list?since=2026-01-01T00:00:00Z&order=best")) == ["query:order"]


# --- headers ----------------------------------------------------------------------------------------------------------


async def test_headers_arrive_typed(client):
    answer = await client.get("/headers", headers={"idempotency-KEY": " k ", "X-Count": "3"})
    assert answer.json() == {"key": "k", "count": 3}


@pytest.mark.parametrize(
    ("headers", "pointer"),
    [
        ({}, "header:Idempotency-Key"),
        ({"Idempotency-Key": "k", "X-Count": "-1"}, "header:X-Count"),
        ({"Idempotency-Key": "k", "X-Count": "x"}, "header:X-Count"),
        ({"Idempotency-Key": "k", "X-Count": "9" * 5000}, "header:X-Count"),
    ],
)
async def test_a_wrong_header_is_told_by_its_name(client, headers, pointer):
    assert pointers(await client.get("/headers", headers=headers)) == [pointer]


# --- providers, answers, signatures -----------------------------------------------------------------------------------


async def test_a_provider_that_waits_feeds_a_plain_handler(client):
    assert (await client.get("/whoami", headers={"Authorization": "Bearer x"})).json() == {"name": "Bearer x"}


async def test_providers_may_wait_or_not_and_may_refuse():
    app = App()

    class Quick(msgspec.Struct):
        path: str

    class Slow(msgspec.Struct):
        path: str

    def quick(request: Request) -> Quick:
        return Quick(request.path)

    async def slow(request: Request) -> Slow:
        if request.header("x-refuse"):
            raise SoldOut("refused by a provider")
        return Slow(request.path)

    app.provide(Quick, quick)
    app.provide(Slow, slow)

    async def both(quick, slow, name) -> dict[str, str]:
        return {"quick": quick.path, "slow": slow.path, "name": name}

    both.__annotations__.update(quick=Quick, slow=Slow, name=str)
    app.get("/both/{name}")(both)
    async with TestClient(app) as client:
        assert (await client.get("/both/x")).json() == {"quick": "/both/x", "slow": "/both/x", "name": "x"}
        answer = await client.get("/both/x", headers={"X-Refuse": "1"})
        assert (answer.status, answer.json()["detail"]) == (409, "refused by a provider")


async def test_more_than_three_parameters_bind_as_well():
    app = App()

    @app.get("/four/{a}/{b}")
    def four(a: str, b: int, c: str, d: int = 4) -> list[Any]:
        return [a, b, c, d]

    async with TestClient(app) as client:
        assert (await client.get("/four/x/2?c=y")).json() == ["x", 2, "y", 4]


@pytest.mark.parametrize("kind", ["args", "kwargs", "missing", "two bodies", "bad type"])
def test_a_signature_that_cannot_be_bound_stops_the_start(kind):
    app = App()

    def with_args(*parts: str) -> None: ...
    def with_kwargs(**parts: str) -> None: ...
    def without() -> None: ...
    def with_bad(limit: Annotated[str, msgspec.Meta(ge=1)]) -> None: ...
    def with_two(body: dict[str, int], basket: list[int]) -> None: ...

    handler = {
        "bad type": with_bad,
        "args": with_args,
        "kwargs": with_kwargs,
        "missing": without,
        "two bodies": with_two,
    }[kind]
    if kind == "two bodies":

        class One(msgspec.Struct):
            pass

        handler.__annotations__["basket"] = One
    app.post("/x/{id}" if kind == "missing" else "/x")(handler)
    with pytest.raises(TypeError):
        app.compile()


async def test_what_cannot_be_encoded_is_a_fault_of_the_server_and_nothing_more(caplog):
    app = App()

    @app.get("/odd")
    def odd() -> Any:
        return {"x": object()}

    @app.get("/odd/later")
    async def odd_later() -> Any:
        return {"x": "\ud800"}

    async with TestClient(app) as client:
        assert (await client.get("/odd")).status == 500
        assert (await client.get("/odd/later")).status == 500
        assert (await client.get("/healthz")).status == 200
    assert len(caplog.records) == 2


async def test_a_background_parameter_can_stand_beside_others():
    app = App()

    @app.post("/mixed/{id}")
    async def mixed(
        id: int, background: Background, request: Request, key: Annotated[str, Header("X-Key")]
    ) -> list[Any]:
        return [id, request.method, key]

    async with TestClient(app) as client:
        assert (await client.post("/mixed/7", headers={"X-Key": "k"})).json() == [7, "POST", "k"]
