"""Any requests in any pieces, from clients that leave at any moment."""

from __future__ import annotations

import asyncio
import random

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.specimen import Specimen
from tests.web.wire import chunked, eventually, get, post, request, serving, small_limits

ASKED = st.one_of(
    st.integers(0, 999).map(lambda number: (get(f"/user/{number}"), 200, f'{{"id":"{number}"}}'.encode())),
    st.integers(0, 9).map(lambda number: (get(f"/turns/{number}"), 200, f'{{"turns":{number}}}'.encode())),
    st.binary(max_size=300).map(lambda body: (request("POST", "/echo", body=body), 200, body)),
    st.lists(st.binary(min_size=1, max_size=50), max_size=5).map(
        lambda chunks: (
            b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            + chunked(*chunks, trailer=b"X: y\r\n"),
            200,
            b"".join(chunks),
        )
    ),
    st.integers(1, 99).map(
        lambda number: (
            post("/baskets", b'{"lines":[{"productId":"p","quantity":%d}]}' % number),
            201,
            b'{"totalQuantity":%d,"note":""}' % number,
        )
    ),
    st.integers(0, 200_000).map(lambda size: (get(f"/big/{size}"), 200, b"x" * size)),
    st.just((get("/nowhere"), 404, None)),
    st.just((post("/baskets", b"{}"), 422, None)),
    st.just((post("/baskets", b"{"), 400, None)),
    st.just((request("DELETE", "/baskets/1"), 204, b"")),
)


@settings(max_examples=60, deadline=None)
@given(
    asked=st.lists(ASKED, min_size=1, max_size=30), pieces=st.randoms(use_true_random=False), half_close=st.booleans()
)
def test_any_requests_in_any_pieces_are_answered_in_their_order(asked, pieces, half_close):
    async def play() -> None:
        raw = b"".join(part for part, _, _ in asked)
        async with serving(Specimen().app) as live:
            wire = await live.connect()
            reading = asyncio.create_task(wire.replies(len(asked)))
            while raw:
                cut = pieces.choice((1, 2, 10, 60, 200, 5000))
                wire.send(raw[:cut])
                raw = raw[cut:]
                for _ in range(pieces.randrange(3)):
                    await asyncio.sleep(0)
            if half_close:
                wire.half_close()
            replies = await reading
            for (_, status, body), reply in zip(asked, replies, strict=True):
                assert reply.status == status
                assert body is None or reply.body == body
            if half_close:
                assert await wire.at_end()

    uvloop.run(play())


@pytest.mark.parametrize("seed", range(4))
async def test_clients_that_come_and_go_at_random_leave_nothing_behind(seed, caplog):
    chance = random.Random(seed)
    specimen = Specimen()
    kinds = [
        get("/ping"), get("/turns/20"), get("/big/300000"), get("/slow/x"), post("/baskets", b"{}"),
        b"NONSENSE\r\n\r\n", get("/ping", "Connection: close"),
        request("POST", "/echo", "Expect: 100-continue", body=b"tea"),
        b"GET /half",
        b"POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        request("POST", "/later", body=b""),
        get("/ping", "Connection: Upgrade", "Upgrade: h2c"), b"GET /ping HTTP/1.0\r\n\r\n",
    ]  # fmt: skip

    async def client() -> None:
        wire = await live.connect()
        for _ in range(chance.randrange(1, 6)):
            wire.send(b"".join(chance.choices(kinds, k=chance.randrange(1, 5))))
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                break
        getattr(wire, chance.choice(("reset", "close", "half_close")))()
        live.wires.remove(wire)
        clients.append(wire)

    clients = []
    async with serving(specimen.app, limits=small_limits(connections=120)) as live:
        for _ in range(5):
            coming = [asyncio.create_task(client()) for _ in range(60)]
            asyncio.get_running_loop().call_later(0.02, specimen.gate.set)
            await asyncio.gather(*coming)
            for wire in clients:
                wire.close()
        await eventually(lambda: live.server.figures.connections == 0)
        await eventually(lambda: live.server.running == 0)
        await eventually(lambda: specimen.app.background.running == 0)
        assert specimen.app.background._admitted == 0
        assert (await live.ask(get("/ping"))).status == 200
        answered = sum(sum(route.figures.statuses.values()) for route in specimen.app.router)
        assert answered > 200
    assert caplog.records == []
