"""RFC 6455, against a real listener, by a client that breaks it."""

import asyncio

import pytest

from tests.messages.gateways import Served, eventually, serving
from tests.messages.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, RawSocket, closing, encode

PING_FRAME = b'{"type":"ping"}'


async def still_works(served: Served) -> None:
    other = await served.enter("ben")
    other.say(type="ping")
    assert await other.json() == {"type": "pong"}


async def code_after(*frames: bytes) -> int:
    """The close code that these bytes get, one write each; another socket notices nothing."""
    async with serving() as served:
        bystander = await served.enter("ben")
        client = await served.enter()
        for data in frames:
            client.write(data)
            await asyncio.sleep(0)
        code = await client.close_code()
        await eventually(lambda: len(served.gateway.sockets) == 1)
        bystander.say(type="ping")
        assert await bystander.json() == {"type": "pong"}
        return code


async def test_a_binary_message_is_refused_with_1003():
    assert await code_after(encode(BINARY, PING_FRAME)) == 1003


async def test_a_binary_message_is_refused_at_its_first_fragment():
    assert await code_after(encode(BINARY, b"a", fin=False)) == 1003


@pytest.mark.parametrize(
    "payload",
    [
        b"\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",  # a surrogate
        b"\xf4\x90\x80\x80",  # beyond U+10FFFF
        b"\xc0\xaf",  # overlong
        b'"\xe2\x82',  # ends too early
    ],
)
async def test_text_that_is_not_utf_8_is_refused_with_1007(payload: bytes):
    assert await code_after(encode(TEXT, payload)) == 1007


async def test_invalid_utf_8_is_found_across_fragments():
    parts = (encode(TEXT, b"\xe2\x82", fin=False), encode(CONTINUATION, b"\x28", fin=False))
    assert await code_after(*parts) == 1007


async def test_utf_8_that_ends_too_early_is_found_at_the_last_fragment():
    assert await code_after(encode(TEXT, b"\xe2", fin=False), encode(CONTINUATION, b"\x82")) == 1007


async def test_a_character_may_be_split_over_fragments():
    async with serving() as served:
        client = await served.enter()
        payload = '{"type":"text","id":"1","to":"user:%s","content":"茶🍵"}'.replace("%s", "b" * 32).encode()
        client.write(encode(TEXT, payload[:1], fin=False))
        for byte in payload[1:-1]:
            client.write(encode(CONTINUATION, bytes([byte]), fin=False))
        client.write(encode(CONTINUATION, payload[-1:]))
        assert (await client.json())["type"] == "ack"
        assert served.service.sent[0].content == '"茶🍵"'


async def test_control_frames_may_come_between_fragments():
    async with serving() as served:
        client = await served.enter()
        client.write(encode(TEXT, PING_FRAME[:4], fin=False))
        client.write(encode(PING, b"now"))
        client.write(encode(CONTINUATION, b"", fin=False))
        client.write(encode(PONG, b""))
        client.write(encode(CONTINUATION, PING_FRAME[4:]))
        assert await client.frame() == (PONG, b"now")
        assert await client.json() == {"type": "pong"}


@pytest.mark.parametrize("rsv", [1, 2, 4, 7])
@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE, BINARY])
async def test_a_reserved_bit_is_refused_with_1002(rsv: int, opcode: int):
    assert await code_after(encode(opcode, b"", rsv=rsv)) == 1002


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF])
async def test_a_reserved_opcode_is_refused_with_1002(opcode: int):
    assert await code_after(encode(opcode, b"")) == 1002


@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
async def test_a_frame_without_mask_is_refused_with_1002(opcode: int):
    assert await code_after(encode(opcode, b"", masked=False)) == 1002


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_control_frame_is_neither_long_nor_fragmented(opcode: int):
    payload = b"" if opcode != CLOSE else b"\x03\xe8"
    assert await code_after(encode(opcode, payload.ljust(126, b"a"))) == 1002
    assert await code_after(encode(opcode, payload, fin=False)) == 1002


async def test_a_fragment_without_a_beginning_is_refused_with_1002():
    assert await code_after(encode(CONTINUATION, b"a")) == 1002
    assert await code_after(encode(CONTINUATION, b"a", fin=False)) == 1002


async def test_a_message_within_a_message_is_refused_with_1002():
    assert await code_after(encode(TEXT, b"a", fin=False), encode(TEXT, b"b")) == 1002
    assert await code_after(encode(TEXT, b"a", fin=False), encode(BINARY, b"b")) == 1002


async def test_sixty_four_kibibytes_are_taken_and_one_byte_more_is_1009():
    async with serving() as served:
        client = await served.enter()
        client.text(PING_FRAME.ljust(64 * 1024))
        assert await client.json() == {"type": "pong"}
    assert await code_after(encode(TEXT, b" " * (64 * 1024 + 1))) == 1009


async def test_fragments_count_together():
    halves = encode(TEXT, b" " * 40_000, fin=False), encode(CONTINUATION, b" " * 40_000)
    assert await code_after(*halves) == 1009


async def test_a_frame_that_claims_to_be_huge_is_refused_before_it_comes():
    assert await code_after(encode(TEXT, b"", length=2**40)) == 1009
    assert await code_after(encode(TEXT, b"", length=2**63 - 1)) == 1009


async def test_a_length_with_the_highest_bit_set_is_refused():
    assert await code_after(encode(TEXT, b"", length=2**63)) in (1002, 1009)
    assert await code_after(encode(TEXT, b"", length=2**64 - 1)) in (1002, 1009)


async def test_endless_fragments_are_cut_off_with_1009():
    async with serving() as served:
        bystander = await served.enter("ben")
        client = await served.enter()
        client.write(encode(TEXT, b"", fin=False))
        closed = asyncio.ensure_future(client.close_code())
        while not closed.done():
            client.write(encode(CONTINUATION, b"", fin=False) * 100)
            await asyncio.sleep(0)
            bystander.write(encode(PING))
            assert (await bystander.frame()).opcode == PONG
        assert closed.result() == 1009


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        *((code, code) for code in (1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 3000, 3999, 4000, 4999)),
        *((code, 1002) for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)),
    ],
)
async def test_a_close_is_answered_with_its_code_where_that_may_be_sent(code: int, answer: int):
    assert await code_after(closing(code)) == answer


async def test_a_close_without_a_code_is_answered():
    assert await code_after(encode(CLOSE)) == 1000


async def test_a_close_of_one_byte_is_refused_with_1002():
    assert await code_after(encode(CLOSE, b"\x03")) == 1002


async def test_a_reason_that_is_not_utf_8_is_refused_with_1007():
    assert await code_after(closing(1000, b"\xff\xfe")) == 1007


async def test_a_close_with_the_longest_reason_is_answered():
    assert await code_after(closing(1000, "茶".encode() * 41)) == 1000


async def test_what_was_asked_before_a_close_is_answered_first():
    async with serving() as served:
        client = await served.enter()
        client.write(encode(TEXT, PING_FRAME) + closing(1000))
        assert await client.json() == {"type": "pong"}
        assert await client.close_code() == 1000


async def test_nothing_after_a_close_is_looked_at():
    async with serving() as served:
        client = await served.enter()
        client.write(closing(1000) + encode(TEXT, PING_FRAME) + closing(1001))
        assert (await client.frame()).code == 1000
        await client.at_end()


async def test_a_ping_is_answered_with_what_it_carried():
    async with serving() as served:
        client = await served.enter()
        for payload in (b"", b"a", bytes(range(125))):
            client.write(encode(PING, payload))
            assert await client.frame() == (PONG, payload)


async def test_a_pong_that_nobody_asked_for_is_passed_over():
    async with serving() as served:
        client = await served.enter()
        client.write(encode(PONG, b"unasked"))
        client.say(type="ping")
        assert await client.json() == {"type": "pong"}


async def test_a_frame_may_come_byte_by_byte():
    async with serving() as served:
        client = await served.enter()
        for byte in encode(TEXT, PING_FRAME):
            client.write(bytes([byte]))
            await asyncio.sleep(0)
        assert await client.json() == {"type": "pong"}


async def test_a_client_that_does_not_answer_a_close_is_cut_off():
    async with serving() as served:
        client = await served.enter()
        ours = served.hub.inside[0]
        ours.close(4409, "replaced")
        assert served.hub.inside == []
        assert (await client.frame()).code == 4409
        ours.ends_at = 0.1
        await served.ticks(1)
        await client.at_end()


async def test_a_client_that_answers_a_close_is_gone_though_its_connection_stays_open():
    async with serving() as served:
        client = await served.enter()
        served.hub.inside[0].close(4409, "replaced")
        assert (await client.frame()).code == 4409
        client.write(closing(4409))
        await eventually(lambda: not served.gateway.sockets, 2)


async def test_a_reset_is_an_end_like_any_other():
    async with serving() as served:
        client: RawSocket = await served.enter()
        client.drop()
        await eventually(lambda: not served.gateway.sockets)
        assert served.hub.inside == []
        await still_works(served)
