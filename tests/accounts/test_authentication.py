from __future__ import annotations

from types import SimpleNamespace

import pytest

from teahouse.accounts.activity import Activity
from teahouse.accounts.authentication import Authentication
from teahouse.accounts.revocations import Revocations
from teahouse.accounts.tokens_jwt import AccessTokens
from teahouse.problems import AccessTokenExpired, AccessTokenInvalid, Forbidden, SessionEnded, Unauthorized
from tests.clocks import START, ManualClock


class House:
    """The parts of authentication, with a count of full verifications."""

    def __init__(self, *, generation: int = 4, most: int = 100) -> None:
        self.clock = ManualClock()
        self.tokens = AccessTokens(["s" * 40], algorithm="HS256", issuer="a", audience="b", clock=self.clock)
        self.revocations = Revocations(960, most=most)
        self.activity = Activity()
        self.verified = 0
        counting = SimpleNamespace(verify=self.verify)
        self.authentication = Authentication(
            counting, self.revocations, self.activity, clock=self.clock, generation=generation
        )

    def verify(self, token):
        self.verified += 1
        return self.tokens.verify(token)

    def header(self, session: str = "s", role: str = "user", scheme: str = "Bearer") -> bytes:
        token = self.tokens.issue(user_id="u", session_id=session, role=role, lives=900)
        return f"{scheme} {token}".encode()

    def check(self, header: bytes | None):
        return self.authentication.check(header)


def test_a_token_is_verified_once_and_then_remembered():
    house = House()
    header = house.header()
    assert house.check(header) == house.check(header)
    assert house.verified == 1


def test_a_token_that_was_refused_is_not_remembered():
    house = House()
    header = house.header()[:-1]
    for _ in range(2):
        with pytest.raises(AccessTokenInvalid):
            house.check(header)
    assert house.verified == 2
    assert not house.authentication._young


def test_what_is_remembered_is_bounded_and_the_busy_stay():
    house = House(generation=4)
    busy = house.header("busy")
    for number in range(50):
        house.check(busy)
        house.check(house.header(str(number)))
    assert len(house.authentication._young) + len(house.authentication._old) <= 8
    assert house.verified == 51


def test_a_remembered_token_still_runs_out():
    house = House()
    header = house.header()
    house.check(header)
    house.clock.advance(900)
    with pytest.raises(AccessTokenExpired):
        house.check(header)


def test_a_remembered_token_is_refused_once_its_session_has_ended():
    house = House()
    mine, other = house.header("mine"), house.header("other")
    house.check(mine)
    house.revocations.add("mine", house.clock.now())
    with pytest.raises(SessionEnded):
        house.check(mine)
    assert house.check(other)


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Basic dTpw", b"Token abc", b"\xff\xfe"])
def test_a_header_without_a_bearer_token_asks_for_one(header):
    with pytest.raises(Unauthorized) as refused:
        House().check(header)
    assert refused.value.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "rest", [b"", b" ", b"x", b"\xc3\xa9.\xc3\xa9.\xc3\xa9", b"a.b.c, Bearer a.b.c", b"x" * 1_000_000]
)
def test_a_bad_token_is_told_from_a_missing_one(rest):
    with pytest.raises(AccessTokenInvalid) as refused:
        House().check(b"Bearer " + rest)
    assert refused.value.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_as_http_has_it(scheme):
    house = House()
    assert house.check(house.header(scheme=scheme)).user_id == "u"


def test_only_admins_are_admins():
    house = House()

    def request(role: str):
        return SimpleNamespace(headers={b"authorization": house.header(role=role)})

    assert house.authentication.admin(request("admin")).role == "admin"
    assert house.authentication.caller(request("user")).role == "user"
    with pytest.raises(Forbidden):
        house.authentication.admin(request("user"))
    with pytest.raises(Unauthorized):
        house.authentication.admin(SimpleNamespace(headers={}))


def test_use_is_noted_for_the_session():
    house = House()
    house.check(house.header("s"))
    house.clock.advance(5)
    house.check(house.header("s"))
    assert house.activity.take() == {"s": START + 5}
    assert house.activity.take() == {}


def test_activity_is_bounded_and_newer_notes_win():
    activity = Activity(most=2)
    for session in ("a", "b", "c"):
        activity.note(session, 1)
    taken = activity.take()
    assert taken == {"a": 1, "b": 1}
    activity.note("a", 2)
    activity.put_back(taken)
    assert (activity.latest_ms("a"), activity.latest_ms("b"), activity.latest_ms("c")) == (2000, 1000, 0)


def test_revocations_are_forgotten_when_no_token_can_be_left():
    revocations = Revocations(960)
    revocations.restore({"b": 20.0, "a": 10.0})
    revocations.forget(970)
    assert list(revocations.ended) == ["a", "b"]
    revocations.forget(971)
    assert list(revocations.ended) == ["b"]


def test_more_ends_than_can_be_remembered_send_everybody_to_refresh():
    house = House(most=2)
    headers = {session: house.header(session) for session in ("a", "b", "c", "bystander")}
    for header in headers.values():
        house.check(header)
    for session in ("a", "b", "c"):
        house.revocations.add(session, house.clock.now())
    assert len(house.revocations.ended) == 2
    for session, header in headers.items():
        with pytest.raises(AccessTokenExpired if session in ("a", "bystander") else SessionEnded):
            house.check(header)
    house.clock.advance(1)
    assert house.check(house.header("bystander"))
