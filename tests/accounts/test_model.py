from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.accounts.model import (
    DEVICE_LENGTH,
    Limits,
    Session,
    Verdict,
    device_label,
    expired,
    judge,
    network_of,
    surplus,
)
from teahouse.accounts.refresh_tokens import RefreshToken

LIMITS = Limits(idle=1000, longest=10_000, grace=10)
TOKEN = RefreshToken.first("0" * 32)


def session(**changes) -> Session:
    base = Session(
        id="0" * 32,
        user_id="u",
        method="password",
        device="",
        created_at=0,
        last_seen_at=0,
        ends_at=10_000,
        family_hash=TOKEN.hashes.family_hash,
        token_hash=TOKEN.hashes.token_hash,
    )
    return msgspec.structs.replace(base, **changes)


def rotated() -> Session:
    return session(previous_hash=TOKEN.hashes.token_hash, token_hash="next", rotated_at=100, last_seen_at=100)


def test_the_current_token_is_exchanged():
    assert judge(session(), TOKEN.hashes, 1, LIMITS) is Verdict.ROTATE


@pytest.mark.parametrize(("now", "verdict"), [(100, Verdict.REPEAT), (110, Verdict.REPEAT), (111, Verdict.REUSED)])
def test_the_token_exchanged_last_has_a_grace(now, verdict):
    assert judge(rotated(), TOKEN.hashes, now, LIMITS) is verdict


def test_a_clock_that_stepped_back_does_not_end_a_session():
    assert judge(rotated(), TOKEN.hashes, 50, LIMITS) is Verdict.REPEAT


def test_an_older_token_has_no_grace():
    older = msgspec.structs.replace(rotated(), previous_hash="another")
    assert judge(older, TOKEN.hashes, 101, LIMITS) is Verdict.REUSED


def test_a_token_made_up_for_a_known_session_is_unknown_and_not_reused():
    assert judge(rotated(), RefreshToken.first("0" * 32).hashes, 200, LIMITS) is Verdict.UNKNOWN


def test_an_ended_session_takes_no_token():
    assert judge(session(ended_at=1), TOKEN.hashes, 2, LIMITS) is Verdict.ENDED


@pytest.mark.parametrize("change", [{"last_seen_at": 0}, {"last_seen_at": 9_999, "ends_at": 1000}])
def test_a_session_runs_out_by_idling_and_by_age(change):
    assert judge(session(**change), TOKEN.hashes, 1000, LIMITS) is Verdict.EXPIRED
    assert judge(session(**change), TOKEN.hashes, 999, LIMITS) is Verdict.ROTATE


def test_expiry_is_a_closed_bound():
    assert expired(session(), 1000, 1000)
    assert not expired(session(), 999, 1000)


def test_sessions_used_longest_ago_are_surplus():
    sessions = [session(id=str(index), last_seen_at=seen) for index, seen in enumerate([5, 1, 9, 3])]
    assert [one.id for one in surplus(sessions, 2)] == ["3", "1"]
    assert surplus(sessions, 4) == []


def test_a_device_label_is_one_printable_line():
    assert device_label("Mozilla/5.0\r\nSet-Cookie: a=b\x00\x1b[31m  micro\u202eMessenger") == (
        "Mozilla/5.0 Set-Cookie: a=b [31m micro Messenger"
    )
    assert device_label(None) == ""


@given(st.text(max_size=1000))
def test_a_device_label_is_always_bounded_and_printable(text):
    label = device_label(text)
    assert len(label) <= DEVICE_LENGTH
    assert label.isprintable()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix:socket", "unix:socket"),
    ],
)
def test_a_customer_counts_as_one_network(address, network):
    assert network_of(address) == network
