"""Refreshing, as a simple model has it, against the service on a real database: any order of refreshing, replaying,
using, waiting, logging out and restarting."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from teahouse.accounts.login import Device
from teahouse.engines.sql import Database
from teahouse.problems import AccessTokenExpired, Problem, RefreshTokenReused, SessionEnded, SessionExpired
from teahouse.settings import AccountsSettings
from teahouse.wechat.sandbox import SandboxWechat
from teahouse.wechat.sandbox_codes_sql import SandboxCodesSql
from tests.accounts.conftest import CHEAP, SECRET, accounts_on
from tests.clocks import ManualClock

GRACE, ACCESS, IDLE, LONGEST = 10, 900, 1800, 10_000
SETTINGS = AccountsSettings(
    argon2=CHEAP,
    refresh_grace_seconds=GRACE,
    access_token_seconds=ACCESS,
    session_idle_seconds=IDLE,
    session_max_seconds=LONGEST,
    sessions_per_user=1000,
)


@dataclass
class Modelled:
    """A session as the contract describes it: a chain of refresh tokens, of which the last is good."""

    started: float
    seen: float
    chain: list[str]
    rotated: float = -1e9
    ended: bool = False
    accesses: list[tuple[str, float]] = field(default_factory=list)

    def refresh(self, token: str, now: float) -> type[Problem] | str | None:
        """The problem it must be, the successor it must be, or None for a new successor."""
        if self.ended:
            return SessionEnded
        if now >= min(self.seen + IDLE, self.started + LONGEST):
            return SessionExpired
        if token == self.chain[-1]:
            return None
        if len(self.chain) > 1 and token == self.chain[-2] and now - self.rotated <= GRACE:
            return self.chain[-1]
        self.ended = True
        return RefreshTokenReused


class RefreshRotation(RuleBasedStateMachine):
    sessions = Bundle("sessions")

    @initialize()
    def open_the_house(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="teahouse-test-"))
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.nonce = 0
        self.known: list[Modelled] = []
        self.run(self.start(fresh=True))

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            self.run(self.stop())
            self.loop.close()
            shutil.rmtree(self.folder)

    def run(self, work):
        return self.loop.run_until_complete(work)

    async def start(self, *, fresh: bool = False) -> None:
        self.database = Database(f"sqlite:///{self.folder / 'teahouse.db'}")
        await self.database.connect()
        if fresh:
            await self.database.create_all()
        self.platform = SandboxWechat(SandboxCodesSql(self.database), clock=self.clock)
        self.accounts = accounts_on(self.database, self.platform, [SECRET], SETTINGS, clock=self.clock)
        await self.accounts.start()

    async def stop(self) -> None:
        await self.accounts.aclose()
        await self.platform.aclose()
        await self.database.aclose()

    @rule(target=sessions, name=st.sampled_from(["ada", "bob"]))
    def log_in(self, name: str) -> Modelled:
        self.nonce += 1
        tokens = self.run(self.accounts.login.wechat(f"sandbox-{name}-{self.nonce}", Device("192.0.2.1")))
        now = self.clock.now()
        session = Modelled(now, now, [tokens.refresh], accesses=[(tokens.access, int(now) + tokens.expires_in)])
        self.known.append(session)
        return session

    @rule(session=sessions, age=st.integers(0, 4), times=st.integers(1, 3))
    def refresh(self, session: Modelled, age: int, times: int) -> None:
        """Presents a token of the chain, the latest or an older one, a few times at once."""
        token = session.chain[max(0, len(session.chain) - 1 - age)]
        now = self.clock.now()

        async def at_once():
            asked = (self.accounts.sessions.refresh(token) for _ in range(times))
            return await asyncio.gather(*asked, return_exceptions=True)

        for answer in self.run(at_once()):
            expected = session.refresh(token, now)
            if isinstance(expected, type):
                assert isinstance(answer, expected), answer
                continue
            assert not isinstance(answer, BaseException), answer
            if expected is None:
                assert answer.refresh not in session.chain
                session.chain.append(answer.refresh)
                session.rotated = session.seen = now
            else:
                assert answer.refresh == expected
            session.accesses.append((answer.access, int(now) + answer.expires_in))

    @rule(session=sessions, which=st.integers(0, 10))
    def use(self, session: Modelled, which: int) -> None:
        access, until = session.accesses[which % len(session.accesses)]
        try:
            self.accounts.authentication.check(f"Bearer {access}".encode())
        except SessionEnded:
            assert session.ended
        except AccessTokenExpired:
            assert self.clock.now() >= until
        else:
            assert not session.ended
            assert self.clock.now() < until
            session.seen = max(session.seen, self.clock.now())

    @rule(seconds=st.sampled_from([0.5, 1, 9, 10, 10.5, 60, 899, 900, 1700, 1800, 2000]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(session=sessions)
    def log_out(self, session: Modelled) -> None:
        access, until = session.accesses[-1]
        if session.ended or self.clock.now() >= until:
            return
        caller = self.accounts.authentication.check(f"Bearer {access}".encode())
        assert self.run(self.accounts.sessions.end(caller.user_id, caller.session_id))
        session.ended = True

    @rule()
    def keep_house(self) -> None:
        self.run(self.accounts.housekeeping.round())

    @rule()
    def restart(self) -> None:
        self.run(self.stop())
        self.run(self.start())

    @invariant()
    def no_ended_session_gets_in(self) -> None:
        if not hasattr(self, "known"):
            return
        for session in self.known:
            access, until = session.accesses[-1]
            if session.ended and self.clock.now() < until:
                try:
                    self.accounts.authentication.check(f"Bearer {access}".encode())
                except SessionEnded:
                    continue
                raise AssertionError("an ended session got in")


RefreshRotation.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestRefreshRotation = RefreshRotation.TestCase
