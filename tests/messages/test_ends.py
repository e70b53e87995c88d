"""How sockets end: tokens, silence, haste, slowness, restarts."""

import asyncio
import socket

import pytest

from teahouse.accounts import Caller
from teahouse.messages.assembling import WireLimits
from tests.messages.gateways import ANN, BEN, Served, eventually, serving
from tests.messages.raw_websocket import CLOSE, CONTINUATION, PING, PONG, TEXT, encode


async def test_a_token_that_runs_out_ends_the_socket():
    async with serving() as served:
        client = await served.enter()
        served.clock.advance(599)
        await served.ticks(1)
        client.say(type="ping")
        assert await client.json() == {"type": "pong"}
        served.clock.advance(1)
        await served.ticks(1)
        assert await client.json() == {"type": "system", "event": "token-expired", "data": {}}
        assert await client.close_code() == 4401


async def test_a_logout_ends_the_sockets_of_that_session_only():
    async with serving() as served:
        ann, ben = await served.enter(), await served.enter("ben")
        served.accounts.ended.add("s" + "a" * 31)
        await served.ticks(1)
        assert await ann.json() == {"type": "system", "event": "logged-out", "data": {}}
        assert await ann.close_code() == 4401
        ben.say(type="ping")
        assert await ben.json() == {"type": "pong"}


async def test_the_gateway_looks_at_its_sockets_once_a_second():
    async with serving() as served:
        client = await served.enter()
        sweeping = asyncio.ensure_future(served.gateway._sweeping())
        served.accounts.ended.add("s" + "a" * 31)
        assert await client.close_code() == 4401
        sweeping.cancel()


async def test_a_socket_that_cannot_be_looked_at_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture):
    async with serving() as served:
        ann, ben = await served.enter(), await served.enter("ben")

        def broken(caller: Caller) -> bool:
            if caller.user_id == ANN:
                raise ZeroDivisionError
            return True

        # The end of a session is looked for at once, and the same must hold then.
        served.accounts.ended.add("somebody's")
        served.accounts.has_ended = broken  # type: ignore[method-assign]  # stands in for a mistake
        sweeping = asyncio.ensure_future(served.gateway._sweeping())
        await ann.at_end()
        assert await ben.close_code() == 4401
        sweeping.cancel()
    assert "could not be kept" in caplog.text


async def test_a_socket_that_cannot_be_written_to_does_not_keep_the_others_from_it(caplog: pytest.LogCaptureFixture):
    async with serving() as served:
        ann, ben = await served.enter(), await served.enter("ben")
        ours = next(each for each in served.gateway.sockets if each.user_id == ANN)
        ours._out = [b"", None]  # type: ignore[list-item]  # stands in for a mistake
        served.gateway.outbox.add(ours)
        served.hub.tell_all(b"{}")
        assert await ben.json() == {}
        await ann.at_end()
    assert "could not be written to" in caplog.text


async def test_a_silent_client_is_asked_after_a_whole_heartbeat_and_given_up_after_another():
    async with serving(heartbeat_seconds=3) as served:
        # What is heard just before a tick has been a second ago only after the next but one.
        client = await served.enter()
        socket = next(iter(served.gateway.sockets))
        await served.ticks(3)
        assert not socket.pinged
        await served.ticks(1)
        assert await client.frame() == (PING, b"")
        await served.ticks(2)
        assert not socket.ends_at
        await served.ticks(1)
        assert await client.close_code() == 1001


@pytest.mark.parametrize(("opcode", "answered"), [(PONG, False), (PING, True), (TEXT, True)])
async def test_any_sign_of_life_counts(opcode: int, answered: bool):
    async with serving(heartbeat_seconds=3) as served:
        client = await served.enter()
        for _ in range(5):
            await served.ticks(4)
            assert await client.frame() == (PING, b"")
            client.write(encode(opcode))
            await eventually(lambda: next(iter(served.gateway.sockets)).heard == served.gateway.tick)
            if answered:
                await client.frame()


async def test_a_client_that_is_too_fast_is_told_and_then_closed_with_4429():
    async with serving(pace=(20, 60)) as served:
        other = await served.enter("ben")
        client = await served.enter()
        for _ in range(200):
            client.say(type="ping", id="p")
        answers = [await client.json() for _ in range(120)]
        assert [each["type"] for each in answers] == ["pong"] * 60 + ["error"] * 60
        assert answers[-1]["id"] == "p"
        assert answers[-1]["problem"]["type"] == "/problems/too-many-frames"
        assert answers[-1]["problem"]["status"] == 429
        assert answers[-1]["retryAfter"] >= 1
        assert await client.close_code() == 4429
        other.say(type="ping")
        assert await other.json() == {"type": "pong"}


async def test_who_slows_down_is_heard_again():
    async with serving(pace=(20, 60)) as served:
        client = await served.enter()
        for _ in range(100):
            client.say(type="ping")
        answers = [await client.json() for _ in range(100)]
        assert answers[-1]["type"] == "error"
        served.clock.advance(2.1)
        client.say(type="ping")
        assert (await client.json())["type"] == "pong"


async def test_pings_of_the_protocol_count_as_well():
    async with serving(pace=(20, 60)) as served:
        client = await served.enter()
        client.write(encode(PING) * 200)
        assert [(await client.frame()).opcode for _ in range(61)] == [PONG] * 60 + [CLOSE]
        assert client.seen[-1].code == 4429


async def test_messages_in_crumbs_count_as_more_than_one():
    async with serving(pace=(20, 60)) as served:
        client = await served.enter()
        crumbs = encode(TEXT, b"{", fin=False) + encode(CONTINUATION, b"", fin=False) * 100 + encode(CONTINUATION, b"}")
        client.write(crumbs * 20)
        assert await client.close_code() == 4429
        assert len(client.seen) < 11


def flood(served: Served, count: int, size: int = 1000) -> None:
    frame = b'{"type":"system","event":"x","data":"%s"}' % (b"x" * size)
    for _ in range(count):
        served.hub.tell_all(frame)


async def test_a_client_that_never_reads_is_closed_with_4408_and_cut_off():
    limits = WireLimits(unsent_bytes=64 * 1024)
    async with serving(wire=limits) as served:
        ben = await served.enter("ben")
        ann = await served.enter(receive_buffer=4096)
        slow = next(each for each in served.gateway.sockets if each.user_id == ANN)
        seen = 0
        while not slow.ends_at:
            flood(served, 50)
            for _ in range(50):
                assert (await ben.json())["type"] == "system"
                seen += 1
            assert seen < 100_000
        assert slow._wire.get_write_buffer_size() < 4 * limits.unsent_bytes
        slow.ends_at = 0.1
        await served.ticks(1)
        await eventually(lambda: len(served.gateway.sockets) == 1)
        ben.say(type="ping")
        assert await ben.json() == {"type": "pong"}
        ann.drop()


async def test_a_client_that_reads_slowly_learns_that_it_was_too_slow():
    async with serving(wire=WireLimits(unsent_bytes=64 * 1024)) as served:
        client = await served.enter(receive_buffer=4096)
        slow = next(iter(served.gateway.sockets))
        while not slow.ends_at:
            flood(served, 20)
            await asyncio.sleep(0)
        assert await client.close_code() == 4408


async def test_who_waits_for_a_slow_reader_goes_on_when_it_has_read():
    async with serving(wire=WireLimits(unsent_bytes=256 * 1024)) as served:
        client = await served.enter(receive_buffer=4096)
        slow = next(iter(served.gateway.sockets))
        for count in range(100):
            flood(served, 100)
            waiting = asyncio.ensure_future(slow.drained())
            for _ in range(100):
                assert (await client.json())["type"] == "system"
            async with asyncio.timeout(10):
                await waiting
            assert not slow.ends_at, count


async def test_who_waits_for_a_reader_that_goes_away_goes_on():
    async with serving(wire=WireLimits(unsent_bytes=64 * 1024)) as served:
        client = await served.enter(receive_buffer=4096)
        slow = next(iter(served.gateway.sockets))
        while slow._wire.get_write_buffer_size() <= 32 * 1024:
            flood(served, 5)
            await asyncio.sleep(0.001)
        waiting = asyncio.ensure_future(slow.drained())
        await asyncio.sleep(0)
        assert not waiting.done()
        client.drop()
        async with asyncio.timeout(10):
            await waiting


async def test_too_much_before_the_welcome_is_too_slow_as_well():
    async with serving(wire=WireLimits(early_frames=10)) as served:
        served.hub.gate.clear()
        client = await served.upgraded()
        await eventually(lambda: served.hub.inside)
        flood(served, 20)
        assert await client.close_code() == 4408


async def test_what_is_sent_in_one_turn_leaves_in_one_write(monkeypatch: pytest.MonkeyPatch):
    async with serving() as served:
        client = await served.enter()
        ours = next(iter(served.gateway.sockets))
        written: list[bytes] = []

        class Wire:
            def __getattr__(self, name: str):
                return getattr(wire, name)

            def write(self, data: bytes) -> None:
                written.append(data)
                wire.write(data)

        wire = ours._wire
        ours._wire = Wire()
        for number in range(5):
            ours.send(b'{"number":%d}' % number)
        assert written == []
        assert [(await client.json())["number"] for _ in range(5)] == list(range(5))
        assert len(written) == 1


async def test_one_frame_serves_all_receivers():
    async with serving() as served:
        clients = [await served.enter(), await served.enter("ben")]
        payload = b'{"type":"system","event":"x","data":{}}'
        served.hub.tell_all(payload)
        first, second = (each._out for each in served.gateway.sockets)
        assert first[0] is second[0]
        for client in clients:
            assert (await client.json())["type"] == "system"


async def test_an_empty_frame_is_a_frame():
    async with serving() as served:
        client = await served.enter()
        served.hub.tell_all(b"")
        assert await client.frame() == (TEXT, b"")


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
async def test_frames_of_every_length_are_written_right(size: int):
    async with serving() as served:
        client = await served.enter()
        served.hub.tell_all(b"x" * size)
        assert (await client.frame()).payload == b"x" * size


async def test_a_stop_closes_every_socket_with_1012_and_lets_nobody_in():
    async with serving() as served:
        clients = [await served.enter() for _ in range(10)]
        early = await served.connect()
        early.write(b"GET /message HTTP/1.1\r\n")
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        start = loop.time()
        stopping = asyncio.ensure_future(served.gateway.stop(0.5))
        await eventually(lambda: served.gateway._stopping and not served.gateway._doors)
        early.write(
            b"Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: Bearer ann\r\n"
            b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await early.read_answer()
        assert answer.status == 503
        assert answer.problem == "shutting-down"
        ends = []
        for client in clients:
            assert (await client.frame()).code == 1012
            ends.append(loop.time() - start)
            client.write(encode(CLOSE, b"\x03\xf4"))
            await client.at_end()
        await stopping
        assert ends[-1] >= 0.4
        assert ends[len(ends) // 2] >= 0.2
        with pytest.raises(ConnectionRefusedError):
            await served.connect()


async def test_a_stop_lets_a_message_under_way_be_acknowledged():
    async with serving() as served:
        served.service.held = True
        client = await served.enter()
        client.say(type="text", id="1", to=f"user:{BEN}", content=1)
        await eventually(lambda: served.service.waiting)
        stopping = asyncio.ensure_future(served.gateway.stop(0))
        await eventually(lambda: next(iter(served.gateway.sockets)).is_paused)
        served.service.answer(0)
        assert (await client.json())["type"] == "ack"
        assert await client.close_code() == 1012
        await stopping


async def test_a_stop_does_not_wait_for_clients_for_ever():
    async with serving(wire=WireLimits(close_seconds=0.2)) as served:
        await served.enter()
        async with asyncio.timeout(3):
            await served.gateway.stop(0)
        await eventually(lambda: not served.gateway.sockets)


async def test_a_socket_that_listens_already_can_be_handed_in_and_lives_on():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with serving(wire=WireLimits(close_seconds=0.2)) as served:
            served.port = listening.getsockname()[1]
            doors = await served.gateway.accept_from(listening.dup())
            await served.enter()
            served.gateway.accept_no_more(doors)
            await served.gateway.accept_from(listening.dup())
            await served.enter()
            await served.gateway.stop(0, handed_over=True)
        async with serving() as served:
            served.port = listening.getsockname()[1]
            await served.gateway.accept_from(listening.dup())
            await served.enter()


async def test_two_hundred_sockets_do_not_notice_a_hostile_one():
    async with serving() as served:
        clients = [await served.enter("ann" if place % 2 else "ben") for place in range(200)]
        hostile = await served.enter(receive_buffer=4096)
        hostile.write(encode(0x1, b"[" * 60_000) * 20)
        flooding = [await served.upgraded() for _ in range(3)]
        flooding[0].write(encode(0x1, b"\xff" * 1000))
        flooding[1].write(encode(0x1, b"", length=2**62))
        flooding[2].write(b"\xff" * 5000)
        for client in clients:
            client.say(type="ping")
        for client in clients:
            assert await client.json() == {"type": "pong"}
        served.hub.tell_all(b'{"type":"system"}')
        for client in clients:
            assert await client.json() == {"type": "system"}
