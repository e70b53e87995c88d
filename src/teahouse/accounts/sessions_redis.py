"""Sessions in Redis. Users, and which WeChat identity is whose, stay where ``UserStore`` keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

import msgspec

from teahouse.accounts import session_scripts_redis as scripts
from teahouse.accounts.model import Session, surplus
from teahouse.accounts.refresh_tokens import RefreshToken
from teahouse.accounts.session_scripts_redis import Argument, Stored
from teahouse.accounts.session_store import Decide, Ending, Exchanged, SignedIn, SignIn
from teahouse.accounts.user_store import UserStore
from teahouse.engines.redis import Redis
from teahouse.problems import Overloaded, Problem, RefreshTokenReused, SessionEnded

_ATTEMPTS = 8
_CHUNK = 500
_NOBODYS, _ENDS_NOW = 0, 2


class SessionsRedis:
    """A ``SessionStore``. ``idle``, ``longest``, ``access`` (the longest life of an access token) and ``keep`` (how
    long a session stays after it is over) are in milliseconds; ``channel`` is the feed's.

    A session changes in one step, by a script that finds it as it was read or does nothing; then it is read and judged
    again. What belongs to a batch leaves as one pipeline, but for what must be known before the next can leave.

    An end happens in three steps: the session has ended; ``teahouse:ended-sessions`` and the feed say so; the user's
    index forgets it. Who is answered has seen all three. Where a node dies in between, the rest is done when the ended
    session is met again: by a refresh, a logout, or the user's next login.
    """

    def __init__(
        self,
        redis: Redis,
        users: UserStore,
        *,
        used_before: Callable[[], Awaitable[bool]],
        channel: str,
        idle: int,
        longest: int,
        access: int,
        keep: int,
    ) -> None:
        self._redis = redis
        self._users = users
        self._used_before = used_before
        self._channel = channel
        self._idle = idle
        self._longest = longest
        self._access = access
        self._keep = keep

    async def sign_in(self, sign_ins: Sequence[SignIn], *, now: int, most: int) -> list[SignedIn | Problem]:
        """See ``SessionStore``."""
        owners = await self._users.owners(sign_ins, now=now)
        opened = [
            owner if isinstance(owner, Problem) else (owner, msgspec.structs.replace(one.session, user_id=owner.id))
            for one, owner in zip(sign_ins, owners, strict=True)
        ]
        sessions = [one[1] for one in opened if not isinstance(one, Problem)]
        # A session is there before the index names it: an id in the index without a session is one that is over.
        await asyncio.gather(*(self._open(session) for session in sessions))
        ended = await self._make_room(sessions, now, most)
        # The first of a user's sign-ins tells of all that ended.
        return [one if isinstance(one, Problem) else SignedIn(*one, ended.pop(one[0].id, [])) for one in opened]

    async def exchange(self, tokens: Sequence[RefreshToken], decide: Decide) -> list[Exchanged | Problem]:
        """See ``SessionStore``."""
        answers: dict[int, Exchanged | Problem] = {}
        left = list(range(len(tokens)))
        for _ in range(_ATTEMPTS):
            left = await self._attempt(tokens, left, decide, answers)
            if not left:
                break
        for each in left:
            answers[each] = Overloaded("This session is being refreshed by too many at once.")
        await self._tell_of_the_ended(tokens, answers)
        return [answers[each] for each in range(len(tokens))]

    async def end(self, endings: Sequence[Ending], now: int) -> list[list[str]]:
        """See ``SessionStore``."""
        everything = {ending.user_id for ending in endings if ending.session_id is None}
        owned = await self._indexed(everything)
        asked = [
            (ending.user_id, owned[ending.user_id] if ending.session_id is None else [ending.session_id])
            for ending in endings
        ]
        states = await self._end([(user_id, each) for user_id, ids in asked for each in ids], now)
        following = iter(states)
        return [
            [each for each, state in zip(ids, islice(following, len(ids)), strict=True) if state == _ENDS_NOW]
            for _, ids in asked
        ]

    async def end_again(self, session_ids: Sequence[str], now: int) -> None:
        """See ``SessionStore``. The user's index forgets them when they are met again."""
        rest = iter(session_ids)
        while some := list(islice(rest, _CHUNK)):
            states = await self._ended([("", each) for each in some], now)
            # Also those that the store does not know at all: it may have lost the sessions with their ends.
            await self._announce({each for each, state in zip(some, states, strict=True) if isinstance(state, int)})
            _known(states)

    async def live(self, user_id: str, *, now: int, idle: int) -> list[Session]:
        """See ``SessionStore``."""
        ids = (await self._indexed({user_id}))[user_id]
        found = [stored.session for stored in (await self._read(ids)).values()]
        going = [
            session
            for session in found
            if session.ended_at is None and session.ends_at > now and session.last_seen_at > now - idle
        ]
        return sorted(going, key=lambda session: (session.created_at, session.id), reverse=True)

    async def ended_since(self, moment: int, now: int) -> dict[str, int]:
        """See ``SessionStore``. Ages are by the server's clock, so that nodes whose clocks differ miss none."""
        found: list[Any] = await self._redis.run(scripts.RECENT, [scripts.ENDED], [now - moment])
        return {each.decode(): now - int(age) for each, age in zip(found[::2], found[1::2], strict=True)}

    async def kept_since(self, now: int) -> int:
        """See ``SessionStore``. A Redis without a mark is new, or it was emptied: then it was used before."""
        # The database is asked only then: a node that has to catch up must not wait for it.
        known = await self._redis.ask("EXISTS", scripts.KEPT_SINCE)
        used = not known and await self._used_before()
        age = int(await self._redis.run(scripts.KEPT, [scripts.KEPT_SINCE], ["1" if used else "0"]))
        return 0 if age < 0 else now - age

    async def touch(self, seen: Mapping[str, int]) -> None:
        """See ``SessionStore``."""
        rest = iter(sorted(seen.items()))
        while some := list(islice(rest, _CHUNK)):
            await asyncio.gather(
                *(
                    self._redis.run(scripts.TOUCH, [scripts.key(each)], [moment, self._idle, self._keep])
                    for each, moment in some
                )
            )

    async def sweep(self, *, ended_before: int, unseen_since: int, over_since: int) -> int:  # noqa: ARG002
        """See ``SessionStore``. Here sessions expire by themselves."""
        return 0

    # --- opening ---

    async def _open(self, session: Session) -> None:
        arguments = [self._life(session), *scripts.fields(session)]
        await self._redis.run(scripts.OPEN, [scripts.key(session.id)], arguments)

    async def _make_room(self, opened: Sequence[Session], now: int, most: int) -> dict[str, list[str]]:
        """Ends what is too much, and returns it by user."""
        by_user: dict[str, list[Session]] = {}
        for session in opened:
            by_user.setdefault(session.user_id, []).append(session)
        replies = await asyncio.gather(*(self._join(user_id, mine, most) for user_id, mine in by_user.items()))
        crowded = {user_id: ids for user_id, ids in zip(by_user, replies, strict=True) if ids}
        if not crowded:
            return {}
        known = await self._read(list(chain.from_iterable(crowded.values())))
        over: list[tuple[str, str]] = []
        for user_id, ids in crowded.items():
            live = [known[each].session for each in ids if each in known and known[each].session.ended_at is None]
            too_many = {session.id for session in surplus(live, most)}
            kept = {session.id for session in live} - too_many
            over += [(user_id, each) for each in ids if each not in kept]
        states = await self._end(over, now)
        ended: dict[str, list[str]] = {}
        for (user_id, each), state in zip(over, states, strict=True):
            if state == _ENDS_NOW:
                ended.setdefault(user_id, []).append(each)
        return ended

    async def _join(self, user_id: str, opened: Sequence[Session], most: int) -> list[str]:
        arguments: list[Argument] = [most, self._longest + self._keep]
        for session in opened:
            arguments += (session.created_at, session.id)
        ids: list[bytes] = await self._redis.run(scripts.JOIN, [scripts.index(user_id)], arguments)
        return [each.decode() for each in ids]

    # --- exchanging ---

    async def _attempt(
        self,
        tokens: Sequence[RefreshToken],
        left: Sequence[int],
        decide: Decide,
        answers: dict[int, Exchanged | Problem],
    ) -> list[int]:
        """Judges what is left and keeps what changed. Returns what must be judged again, as others were quicker."""
        stored = await self._read({tokens[each].session_id for each in left})
        owners = await self._users.find_all({one.session.user_id for one in stored.values()})
        known = {session_id: one.session for session_id, one in stored.items()}
        changed: dict[str, Session] = {}
        for each in left:
            session = known.get(tokens[each].session_id)
            owner = owners.get(session.user_id) if session is not None else None
            kept, answers[each] = decide(tokens[each], session, owner)
            if kept is not None:
                known[kept.id] = changed[kept.id] = kept
        outcomes = await self._keep_all([Stored(one, stored[one.id].version) for one in changed.values()])
        for each in left:
            outcome = outcomes.get(tokens[each].session_id)
            if isinstance(outcome, Problem):
                answers[each] = _anew(outcome)
        return [each for each in left if outcomes.get(tokens[each].session_id) == 0]

    async def _keep_all(self, changed: Sequence[Stored]) -> dict[str, int | Problem]:
        """By session: 1, 0 where somebody was quicker, or why it is not known."""
        calls = (
            self._redis.run(
                scripts.KEEP,
                [scripts.key(session.id)],
                [version, self._life(session), session.last_seen_at, *scripts.changes(session)],
            )
            for session, version in changed
        )
        outcomes: dict[str, int | Problem] = {}
        replies = await asyncio.gather(*calls, return_exceptions=True)
        for one, reply in zip(changed, replies, strict=True):
            if isinstance(reply, BaseException) and not isinstance(reply, Problem):
                raise reply
            outcomes[one.session.id] = reply
        return outcomes

    async def _tell_of_the_ended(self, tokens: Sequence[RefreshToken], answers: dict[int, Exchanged | Problem]) -> None:
        ended = [each for each, answer in answers.items() if isinstance(answer, RefreshTokenReused | SessionEnded)]
        try:
            await self._announce({tokens[each].session_id for each in ended})
        except Problem as problem:
            # Whoever asks again finds it ended, and then the rest is done.
            answers.update({each: _anew(problem) for each in ended})

    # --- ending ---

    async def _end(self, sessions: Sequence[tuple[str, str]], now: int) -> list[int]:
        """Ends sessions, given as user and id; what each of them was before, as END says it."""
        states = await self._ended(sessions, now)
        over = [one for one, state in zip(sessions, states, strict=True) if not isinstance(state, BaseException)]
        ended = {one[1] for one, state in zip(sessions, states, strict=True) if _is_over(state)}
        await self._announce(ended)
        await asyncio.gather(*(self._redis.ask("ZREM", scripts.index(user_id), each) for user_id, each in over))
        return _known(states)

    async def _ended(self, sessions: Sequence[tuple[str, str]], now: int) -> list[int | BaseException]:
        calls = (
            self._redis.run(scripts.END, [scripts.key(each)], [user_id, now, self._keep]) for user_id, each in sessions
        )
        states: list[int | BaseException] = await asyncio.gather(*calls, return_exceptions=True)
        return states

    async def _announce(self, session_ids: Collection[str]) -> None:
        if session_ids:
            arguments: list[Argument] = [self._channel, self._access, *sorted(session_ids)]
            await self._redis.run(scripts.ANNOUNCE, [scripts.ENDED], arguments)

    # --- reading ---

    async def _read(self, session_ids: Iterable[str]) -> dict[str, Stored]:
        ids = list(session_ids)
        replies = await asyncio.gather(*(self._redis.ask("HGETALL", scripts.key(each)) for each in ids))
        found = zip(ids, map(scripts.read, replies), strict=True)
        return {session_id: stored for session_id, stored in found if stored is not None}

    async def _indexed(self, user_ids: Collection[str]) -> dict[str, list[str]]:
        users = list(user_ids)
        replies = await asyncio.gather(*(self._redis.ask("ZRANGE", scripts.index(each), 0, -1) for each in users))
        return {user: [each.decode() for each in ids] for user, ids in zip(users, replies, strict=True)}

    def _life(self, session: Session) -> int:
        """How long Redis keeps it from now on, in ms: until it is over, and a while longer to tell so."""
        if session.ended_at is not None:
            return self._keep
        return max(0, min(self._idle, session.ends_at - session.last_seen_at)) + self._keep


def _is_over(state: int | BaseException) -> bool:
    return not isinstance(state, BaseException) and state != _NOBODYS


def _known(states: Sequence[int | BaseException]) -> list[int]:
    """What each session was; raises where that is not known."""
    known: list[int] = []
    for state in states:
        if isinstance(state, BaseException):
            raise state
        known.append(state)
    return known


def _anew(problem: Problem) -> Problem:
    """For each caller one of its own: a shared one would gather every caller's traceback."""
    return type(problem)(problem.detail)
