"""Where WebSockets are, and what a client writes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.client.wire import TEXT, Address, frame, payload_at, read_address, request


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://127.0.0.1:8001", ("127.0.0.1", 8001, False, "/message")),
        ("ws://127.0.0.1:8001/message", ("127.0.0.1", 8001, False, "/message")),
        ("wss://chat.example/tea/", ("chat.example", 443, True, "/tea/message")),
        ("ws://[::1]", ("::1", 80, False, "/message")),
    ],
)
def test_an_address_is_read_as_people_write_it(url: str, expected: tuple[str, int, bool, str]):
    assert read_address(url) == Address(*expected, url)


def test_the_host_of_a_request_has_brackets_where_it_needs_them():
    head, _ = request(read_address("ws://[::1]:8001"), "token")
    assert b"Host: [::1]:8001\r\n" in head
    assert b"Authorization: Bearer token\r\n" in head


@given(st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]), st.binary(min_size=1, max_size=8))
def test_a_frame_is_masked_and_as_short_as_can_be(size: int, pattern: bytes):
    payload = (pattern * size)[:size]
    written = frame(TEXT, payload)
    wide = 0 if size < 126 else 2 if size < 65_536 else 8
    assert len(written) == 2 + wide + 4 + size
    assert written[0] == TEXT
    assert written[1] & 0x80
    mask, covered = written[2 + wide : 6 + wide], written[6 + wide :]
    assert bytes(byte ^ mask[place % 4] for place, byte in enumerate(covered)) == payload


@given(st.sampled_from([0, 125, 126, 65_535, 65_536]), st.integers(1, 12))
def test_a_frame_that_is_not_whole_is_waited_for(size: int, missing: int):
    wide = b"" if size < 126 else size.to_bytes(2, "big") if size < 65_536 else size.to_bytes(8, "big")
    whole = bytes((TEXT, size if size < 126 else 126 if size < 65_536 else 127)) + wide + b"x" * size
    assert payload_at(b"before" + whole, 6) == (6 + 2 + len(wide), 6 + len(whole))
    assert payload_at(whole[:-missing], 0) is None
