"""Faults, ids, origins and the Date: what every answer carries, and what a fault may not take along."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from time import time

import pytest

from teahouse.problems import DatabaseUnavailable, Problem, SoldOut
from teahouse.web import App, Request, Response, TestClient
from teahouse.web.cors import Cors
from teahouse.web.origin import networks
from tests.web.specimen import Specimen
from tests.web.wire import eventually, get, request, serving

# --- recovery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/boom", "/boom/later"])
async def test_a_handlers_exception_is_a_500_problem_logged_once_with_its_trace(path, caplog):
    async with serving(Specimen().app) as live:
        wire = await live.connect()
        wire.send(get(path, "X-Request-Id: find-me") + get("/ping"))
        reply = await wire.reply()
        assert (reply.status, reply.problem) == (500, "internal-error")
        assert b"kettle" not in reply.body
        assert (await wire.reply()).status == 200
    (record,) = caplog.records
    assert "find-me" in record.getMessage()
    assert record.exc_info[0] is RuntimeError


@pytest.mark.parametrize(
    "error", [RecursionError, MemoryError, asyncio.TimeoutError, KeyError, StopIteration, UnicodeError]
)
@pytest.mark.parametrize("waits", [False, True])
async def test_whatever_a_handler_raises_the_worker_lives(error, waits, caplog):
    app = App()

    def raising() -> None:
        raise error

    async def raising_later() -> None:
        raise error

    app.get("/raise")(raising_later if waits else raising)
    async with serving(app) as live:
        assert (await live.ask(get("/raise"))).status == 500
        assert (await live.ask(get("/healthz"))).status == 200
    assert len(caplog.records) == 1


@pytest.mark.parametrize("waits", [False, True])
async def test_something_cancelled_that_a_handler_waited_for_is_a_500(waits, caplog):
    app = App()

    def cancelled() -> None:
        raise asyncio.CancelledError

    async def cancelled_later() -> None:
        waiting = asyncio.get_running_loop().create_future()
        waiting.cancel()
        await waiting

    app.get("/cancelled")(cancelled_later if waits else cancelled)
    async with serving(app) as live:
        assert (await live.ask(get("/cancelled"))).status == 500
        assert (await live.ask(get("/healthz"))).status == 200
    assert len(caplog.records) == 1


async def test_a_problem_goes_out_with_its_detail_and_headers_and_no_log(caplog):
    app = App()

    @app.get("/sold")
    def sold() -> None:
        raise SoldOut("three are left, you asked for four", headers={"X-Left": "3"}, retry_after=7)

    async with serving(app) as live:
        reply = await live.ask(get("/sold?x=1"))
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-left"] == "3"
    assert reply.headers["retry-after"] == "7"
    assert reply.json() == {
        "type": "/problems/sold-out",
        "title": "Sold out",
        "status": 409,
        "detail": "three are left, you asked for four",
        "instance": "/sold",
    }
    assert caplog.records == []


@pytest.mark.parametrize("waits", [False, True])
async def test_a_problem_that_cannot_be_told_is_a_500(waits):
    app = App()

    def untold() -> None:
        raise SoldOut("x", headers={"X-Bad": "a\r\nSet-Cookie: forged=1"})

    async def untold_later() -> None:
        raise SoldOut("a lone \ud800 surrogate")

    app.get("/untold")(untold_later if waits else untold)
    async with serving(app) as live:
        reply = await live.ask(get("/untold"))
        assert (reply.status, reply.problem) == (500, "internal-error")
        assert "set-cookie" not in {name.lower() for name in reply.headers}


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize(
    "answer", [Response(200, "text"), Response(200, None), Response("200"), Response(101), Response(700)]
)
async def test_a_response_that_is_none_is_a_500(waits, answer, caplog):
    app = App()

    def odd() -> Response:
        return answer

    async def odd_later() -> Response:
        return answer

    app.get("/odd")(odd_later if waits else odd)
    async with serving(app) as live:
        wire = await live.connect()
        wire.send(get("/odd") + get("/healthz"))
        assert [reply.status for reply in await wire.replies(2)] == [500, 200]
    assert len(caplog.records) == 1


def test_headers_of_a_route_that_could_not_be_sent_stop_its_registration():
    with pytest.raises(ValueError, match="line break"):
        App().get("/x", headers={"Cache-Control": "no-store\r\nSet-Cookie: a=1"})(lambda: None)


async def test_an_engine_that_fails_a_thousand_times_is_complained_of_once_a_second(caplog):
    app = App()

    @app.get("/down")
    def down() -> None:
        raise DatabaseUnavailable from OSError("disk on fire")

    async with serving(app) as live:
        wire = await live.connect()
        for _ in range(10):
            wire.send(get("/down") * 20)
            assert {reply.status for reply in await wire.replies(20)} == {503}
    assert 1 <= len(caplog.records) <= 3
    assert "disk on fire" in caplog.records[0].getMessage()


async def test_a_route_that_is_not_known_is_a_404_problem():
    async with TestClient(Specimen().app) as client:
        answer = await client.get("/nowhere/at/all")
    assert answer.status == 404
    assert answer.json()["instance"] == "/nowhere/at/all"


def test_every_problem_tells_its_name_and_what_to_do():
    for slug, kind in Problem.vocabulary.items():
        assert slug == kind.slug
        assert 400 <= kind.status < 600
        assert len(kind.explanation()) > 20


# --- request ids ------------------------------------------------------------------------------------------------------


async def test_every_answer_has_a_request_id_of_its_own():
    async with serving(Specimen().app) as live:
        raw = [get("/ping"), get("/nowhere"), get("/boom"), request("OPTIONS", "/ping"), b"NONSENSE\r\n\r\n"]
        ids = {(await live.ask(one)).headers["x-request-id"] for one in raw * 3}
    assert len(ids) == 15


@pytest.mark.parametrize("given", ["a", "0123456789abcdef", "A-b_c.d~e", "x" * 64])
async def test_a_callers_request_id_is_kept(given):
    async with TestClient(Specimen().app) as client:
        assert (await client.get("/ping", headers={"X-Request-Id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize(
    "given", ["", "x" * 65, "a b", 'a"b', "a;b", "a,b", "\xe9", "../x", "{{7*7}}", "${jndi:ldap://x}", "a\tb", "<b>"]
)
async def test_a_hostile_request_id_is_replaced(given):
    async with TestClient(Specimen().app) as client:
        own = (await client.get("/ping", headers={"X-Request-Id": given})).headers["x-request-id"]
    assert own != given
    assert own.isalnum()


async def test_two_request_ids_are_none():
    async with serving(Specimen().app) as live:
        reply = await live.ask(get("/ping", "X-Request-Id: a", "X-Request-Id: b"))
    assert reply.headers["x-request-id"] not in ("a", "b", "a, b")


# --- CORS -------------------------------------------------------------------------------------------------------------

TEA = "https://tea.example"


async def test_without_settings_no_page_may_read_answers():
    async with TestClient(Specimen().app) as client:
        answer = await client.get("/ping", headers={"Origin": TEA})
    assert "access-control-allow-origin" not in answer.headers


async def test_a_named_origin_may_read_answers_and_refusals_too():
    async with serving(Specimen().app, cors=Cors([TEA])) as live:
        for raw in (
            get("/ping", f"Origin: {TEA}"),
            get("/nowhere", f"Origin: {TEA}"),
            get("/boom", f"Origin: {TEA}"),
            request("DELETE", "/baskets/1", f"Origin: {TEA}"),
            b"POST /echo HTTP/1.1\r\nHost: a\r\nOrigin: https://tea.example\r\nContent-Length: 99999999\r\n\r\n",
        ):
            reply = await live.ask(raw)
            assert reply.headers["access-control-allow-origin"] == TEA, raw
            assert reply.headers["vary"] == "Origin"
            assert "x-request-id" in reply.headers["access-control-expose-headers"].lower()


@pytest.mark.parametrize(
    "origin", ["https://tea.example.evil", "http://tea.example", "null", "", "https://evil.example"]
)
async def test_another_origin_may_not(origin):
    async with TestClient(Specimen().app, cors=Cors([TEA])) as client:
        answer = await client.get("/ping", headers={"Origin": origin})
    assert answer.status == 200
    assert "access-control-allow-origin" not in answer.headers


async def test_an_asterisk_lets_every_page():
    async with TestClient(Specimen().app, cors=Cors(["*"])) as client:
        answer = await client.get("/ping", headers={"Origin": "https://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_preflight_is_answered_with_the_methods_that_there_are():
    headers = {
        "Origin": TEA,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "idempotency-key,content-type",
    }
    async with TestClient(Specimen().app, cors=Cors([TEA])) as client:
        answer = await client.request("OPTIONS", "/baskets", headers=headers)
    assert answer.status == 204
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "idempotency-key,content-type"
    assert int(answer.headers["access-control-max-age"]) > 0


async def test_a_preflight_of_another_origin_gets_nothing():
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    async with TestClient(Specimen().app, cors=Cors([TEA])) as client:
        answer = await client.request("OPTIONS", "/baskets", headers=headers)
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_response_that_a_handler_keeps_is_not_marked_for_the_next_page():
    app, kept = App(), Response(200, b"{}", headers={"Vary": "Accept"})

    @app.get("/kept")
    def hand_out() -> Response:
        return kept

    async with TestClient(app, cors=Cors([TEA])) as client:
        first = await client.get("/kept", headers={"Origin": TEA})
        assert first.headers["access-control-allow-origin"] == TEA
        assert first.headers["vary"] == "Accept, Origin"
        second = await client.get("/kept", headers={"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in second.headers
    assert kept.headers == {"Vary": "Accept"}


# --- origin and date --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.66, 198.51.100.1, 10.0.0.7", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.7", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "evil, 10.0.0.7", "10.0.0.7"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "<script>", "10.0.0.1"),
    ],
)
async def test_the_callers_address_is_the_nearest_that_is_no_trusted_proxy(client, forwarded, expected):
    app = App()

    @app.get("/from")
    def origin(request: Request) -> dict[str, str]:
        return {"address": request.client_address, "scheme": request.scheme}

    headers = {"X-Forwarded-For": forwarded, "X-Forwarded-Proto": "https"}
    async with TestClient(app, client=client, trusted=networks(["10.0.0.0/8"])) as test_client:
        answer = (await test_client.get("/from", headers=headers)).json()
    assert answer["address"] == expected
    assert answer["scheme"] == ("https" if client == "10.0.0.1" else "http")


async def test_an_endless_list_of_proxies_costs_little():
    app = App()

    @app.get("/from")
    def origin(request: Request) -> dict[str, str]:
        return {"address": request.client_address}

    async with TestClient(app, client="10.0.0.1", trusted=networks(["10.0.0.0/8"])) as client:
        answer = await client.get("/from", headers={"X-Forwarded-For": ", ".join(["10.0.0.2"] * 1500)})
    assert answer.json() == {"address": "10.0.0.2"}


async def test_the_date_is_now_and_moves_on():
    async with serving(Specimen().app) as live:
        first = (await live.ask(get("/ping"))).headers["date"]
        assert abs(parsedate_to_datetime(first).timestamp() - time()) < 3
        live.server.heads._second = -1
        live.server.heads.refresh()
        dates = set()

        async def ask() -> None:
            dates.add((await live.ask(get("/ping"))).headers["date"])

        for _ in range(2000):
            await ask()
            if len(dates) > 1:
                break
            await asyncio.sleep(0.005)
        assert len(dates) > 1


async def test_a_cancelled_handler_at_the_end_of_the_grace_cuts_its_connection():
    specimen = Specimen()
    async with serving(specimen.app) as live:
        wire = await live.connect()
        wire.send(get("/slow/a"))
        await eventually(lambda: specimen.entered)
        await live.server.stop(0.05)
        assert await wire.ended()
