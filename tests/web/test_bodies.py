"""JSON bodies: what fits arrives typed, what does not is told with its place."""

from __future__ import annotations

import time

import msgspec
import pytest

from teahouse.web import App, TestClient
from tests.web.specimen import Specimen, pointers

GOOD = {"lines": [{"productId": "p", "quantity": 2}]}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def client():
    async with TestClient(Specimen().app) as client:
        yield client


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"lines": 1}, ["/lines"]),
        ({"lines": []}, ["/lines"]),
        ({"lines": None}, ["/lines"]),
        ({"lines": [{"productId": "p"}]}, ["/lines/0/quantity"]),
        ({"lines": [{"productId": 1, "quantity": 1}]}, ["/lines/0/productId"]),
        ({"lines": [{"productId": "p", "quantity": 1}, {"productId": "p", "quantity": 0}]}, ["/lines/1/quantity"]),
        ({"lines": [{"productId": "p", "quantity": 1, "price": 0}]}, ["/lines/0/price"]),
        ({"note": 5}, ["/note"]),
        ({"note": "n" * 201}, ["/note"]),
        ({"paidFen": "1"}, ["/paidFen"]),
        ({"paidFen": 1.5}, ["/paidFen"]),
        ({"paidFen": True}, ["/paidFen"]),
        ({"paid_fen": 1}, ["/paid_fen"]),
        ({"a/b": 1}, ["/a~1b"]),
        ({"a~b": 1}, ["/a~0b"]),
        ({"": 1}, ["/"]),
        ({"lines": 1, "note": 2, "paidFen": "x", "extra": 0}, ["/lines", "/note", "/paidFen", "/extra"]),
    ],
)
async def test_every_wrong_place_in_a_body_is_told_with_its_pointer(client, change, expected):
    assert pointers(await client.post("/baskets", json={**GOOD, **change})) == expected


async def test_a_missing_field_is_told_with_its_pointer(client):
    assert pointers(await client.post("/baskets", json={})) == ["/lines"]


@pytest.mark.parametrize("value", [None, 1, "text", [], True, [GOOD]])
async def test_a_body_that_is_no_object_is_told_at_its_root(client, value):
    assert pointers(await client.post("/baskets", json=value)) == [""]


@pytest.mark.parametrize(
    "number", ["9" * 30, "-" + "9" * 30, "9" * 400, "9" * 5000, "1e400", "-1e400", "1.7976931348623157e309", "1e-400"]
)
async def test_a_huge_number_is_a_wrong_value_and_no_fault(client, number):
    for body in (
        f'{{"lines":[{{"productId":"p","quantity":{number}}}]}}',
        f'{{"lines":[],"paidFen":{number}}}',
        number,
    ):
        answer = await client.post("/baskets", body=body.encode(), headers=JSON)
        assert answer.status in (400, 422), (body[:60], answer.body)


async def test_an_integer_beyond_64_bits_never_becomes_another_number(client):
    body = b'{"lines":[{"productId":"p","quantity":18446744073709551617}]}'
    assert pointers(await client.post("/baskets", body=body, headers=JSON)) == ["/lines/0/quantity"]


MALFORMED = {
    "nothing": b"",
    "spaces": b"   ",
    "half an object": b'{"lines":',
    "a trailing comma": b'{"lines":[],}',
    "single quotes": b"{'lines':[]}",
    "two documents": b"{}{}",
    "rubbish after the end": b"{}x",
    "a byte order mark": b"\xef\xbb\xbf" + b'{"lines":[]}',
    "UTF-16": '{"lines":[]}'.encode("utf-16"),
    "NaN": b'{"lines":[],"paidFen":NaN}',
    "Infinity": b'{"lines":[],"paidFen":-Infinity}',
    "a comment": b'{"lines":[]/*x*/}',
    "invalid UTF-8 in a value": b'{"lines":[],"note":"\xff\xfe"}',
    "invalid UTF-8 in a name": b'{"\xff":1}',
    "an overlong encoding": b'{"lines":[],"note":"\xc0\xaf"}',
    "a raw surrogate": b'{"lines":[],"note":"\xed\xa0\x80"}',
    "an escaped lone surrogate": b'{"lines":[],"note":"\\ud800"}',
    "a lone surrogate in a name": b'{"\\udfff":1}',
    "a control character in a string": b'{"lines":[],"note":"a\nb"}',
    "deep arrays": b"[" * 200_000,
    "deep arrays in an unknown field": b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deep objects": b'{"lines":' * 100_000,
    "nulls": b"\0\0\0\0",
    "a leading plus": b'{"lines":[],"paidFen":+1}',
    "a leading zero": b'{"lines":[],"paidFen":01}',
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_json_is_told_as_such(client, body):
    answer = await client.post("/baskets", body=body, headers=JSON)
    assert answer.status in (400, 422), answer.body
    assert answer.json()["type"] in ("/problems/malformed-json", "/problems/validation-failed")
    if answer.status == 422:
        assert (
            body.startswith((b'{"x"', b"[", b'{"\\udfff', b'{"\xff', b'{"lines":' * 2))
            or b"surrogate" in body
            or b"\\ud" in body
        )


async def test_names_that_cannot_be_encoded_are_told_without_a_fault(client):
    answer = await client.post("/baskets", body=b'{"lines":[],"\\ud800":1,"\\u0000":2}', headers=JSON)
    assert answer.status in (400, 422)


async def test_the_last_of_two_equal_names_counts(client):
    body = b'{"lines":[{"productId":"p","quantity":1}],"note":"first","note":"second"}'
    assert (await client.post("/baskets", body=body, headers=JSON)).json()["note"] == "second"


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ('application/json; charset="UTF-8"', 201),
        ("APPLICATION/JSON", 201),
        ("application/json ;charset=utf-8 ", 201),
        ("application/merge-patch+json", 201),
        ("application/json; profile=x; charset=utf-8", 201),
        ("application/json; charset=gbk", 415),
        ("application/json; charset=utf-16", 415),
        ("application/json; profile=x; charset=utf-16", 415),
        ("text/json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
        ("application/jsonx", 415),
        ("", 415),
        (None, 415),
        ("\xff\xfe", 415),
    ],
)
async def test_only_json_in_utf_8_is_taken(client, content_type, status):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await client.post("/baskets", body=msgspec.json.encode(GOOD), headers=headers)
    assert answer.status == status
    if status == 415:
        assert answer.json()["type"] == "/problems/unsupported-media-type"


async def test_an_empty_body_is_told_as_such(client):
    for headers in ({}, JSON, {"Content-Type": "text/plain"}):
        answer = await client.post("/baskets", headers=headers)
        assert answer.status in (400, 415)


async def test_a_body_full_of_unknown_names_costs_little_and_is_told_in_part(client):
    body = msgspec.json.encode({**GOOD, **{f"x{number}": 1 for number in range(80_000)}})
    began = time.process_time()
    answer = await client.post("/baskets", body=body, headers=JSON)
    assert time.process_time() - began < 0.5
    assert 1 <= len(pointers(answer)) <= 50


async def test_a_huge_unknown_name_is_told_short(client):
    answer = await client.post("/baskets", json={**GOOD, "x" * 500_000: 1})
    assert len(answer.body) < 2000


async def test_bodies_need_not_be_objects():
    app = App()

    @app.post("/sum")
    def total(body: list[int]) -> dict[str, int]:
        return {"sum": sum(body)}

    async with TestClient(app) as client:
        assert (await client.post("/sum", json=[1, 2])).json() == {"sum": 3}
        assert pointers(await client.post("/sum", json=[1, "x"])) == ["/1"]


class Parcel(msgspec.Struct, forbid_unknown_fields=True):
    """Something with a part that is handed on as it was written."""

    label: str
    inside: msgspec.Raw


async def test_a_part_that_may_be_anything_is_never_the_wrong_place():
    app = App()

    @app.post("/parcels")
    def parcel(body: Parcel) -> dict[str, str]:
        return {body.label: bytes(body.inside).decode()}

    async with TestClient(app) as client:
        kept = await client.post("/parcels", body=b'{"label":"a","inside":[1, 2.50 ]}', headers=JSON)
        assert kept.json() == {"a": "[1, 2.50 ]"}
        assert pointers(await client.post("/parcels", json={"label": 1, "inside": {"a": 1}})) == ["/label"]
        assert pointers(await client.post("/parcels", json={"label": 1.5, "inside": 1.0, "x": 1})) == ["/label", "/x"]
        assert pointers(await client.post("/parcels", json={"label": "a"})) == ["/inside"]
