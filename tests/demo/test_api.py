"""How a buyer's phone deals with a server that is busy, gone, or makes no sense."""

from __future__ import annotations

import pytest

from teahouse.demo.answers import Made
from teahouse.demo.api import Api, Surprise, read, slug
from teahouse.demo.ledger import Kind, Ledger
from teahouse.demo.operator import Operator, _date
from teahouse.web.client import Answer, Client
from tests.demo.lying_shop import LyingShop, serving
from tests.web.scripted import OK, answering, scripted

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"


def a_ledger() -> Ledger:
    return Ledger(buyers=1, stock=1, limit=1)


async def test_come_back_later_is_obeyed():
    ledger = a_ledger()
    async with scripted(answering(BUSY, BUSY, OK)) as url, Client(url) as client:
        answer = await Api(client, ledger).ask(Kind.SALE, "GET", "/")
    assert answer.body == b"ok"
    assert ledger.asked_again == 2
    assert len(ledger.seconds[Kind.SALE]) == 3


async def test_patience_has_an_end():
    async with scripted(answering(*[BUSY] * 5)) as url, Client(url) as client:
        with pytest.raises(Surprise, match="503, again and again"):
            await Api(client, a_ledger()).ask(Kind.SALE, "GET", "/")


@pytest.mark.parametrize(("method", "key"), [("GET", ""), ("POST", "a-key")])
async def test_an_answer_that_does_not_come_is_asked_for_again_where_that_is_safe(method: str, key: str):
    served = iter([answering(b"", then_close=True), answering(OK)])

    async def first_cut_then_well(reader, writer):
        await next(served)(reader, writer)

    async with scripted(first_cut_then_well) as url, Client(url) as client:
        assert (await Api(client, a_ledger()).ask(Kind.OTHER, method, "/", key=key)).body == b"ok"


async def test_a_post_without_a_key_is_not_sent_twice():
    async with scripted(answering(b"", then_close=True)) as url, Client(url) as client:
        with pytest.raises(Surprise, match="POST /: the connection ended"):
            await Api(client, a_ledger()).ask(Kind.OTHER, "POST", "/")


async def test_hanging_up_on_nobody_is_no_surprise():
    async with scripted(answering()) as url:
        pass
    async with Client(url) as client:
        await Api(client, a_ledger()).hang_up("/", {}, "a-key")


async def test_a_room_of_more_guests_than_one_request_may_name_has_them_all():
    shop, guests = LyingShop(), [f"guest{number}" for number in range(450)]
    async with serving(shop) as url, Client(url) as client:
        api = Api(client, a_ledger())
        api.token = "operator.good"
        await Operator(api, url).open_room(guests)
    assert shop.room.guests == set(guests)


async def test_a_room_that_takes_no_more_guests_is_a_surprise():
    made = b'HTTP/1.1 201 x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{"id":"r"}'
    refused = b"HTTP/1.1 403 x\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answering(made, refused)) as url, Client(url) as client:
        with pytest.raises(Surprise, match="POST /v1/rooms/r/members: 403"):
            await Operator(Api(client, a_ledger()), url).open_room(["guest"] * 201)


def an_answer(status: int, body: bytes, kind: str = "application/json") -> Answer:
    answer = Answer()
    answer.status, answer.body, answer.headers = status, body, {"content-type": kind}
    return answer


def test_an_answer_of_another_status_or_shape_is_a_surprise():
    assert read(an_answer(200, b'{"id":"1"}'), Made, 200).id == "1"
    with pytest.raises(Surprise, match="404  instead of 200"):
        read(an_answer(404, b"{}"), Made, 200)
    with pytest.raises(Surprise, match="id"):
        read(an_answer(200, b"{}"), Made, 200)
    with pytest.raises(Surprise, match="409"):
        slug(an_answer(409, b"no json", "application/problem+json"))


def test_the_date_of_an_answer_is_read_or_is_a_surprise():
    assert _date("Fri, 01 May 2026 12:00:00 GMT").isoformat() == "2026-05-01T12:00:01+00:00"
    with pytest.raises(Surprise, match="yesterday"):
        _date("yesterday")
