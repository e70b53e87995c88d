"""Those who look at a conversation hear who of it comes and goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from teahouse.batching import Batcher, FlushFailed
from teahouse.messages.bus import Bus
from teahouse.messages.bus_texts import PresenceChanged, PresenceRestored, presence_topic
from teahouse.messages.filling import Pause
from teahouse.messages.frames import encode_presence
from teahouse.messages.model import people_of
from teahouse.messages.presence import Presence
from teahouse.messages.presence_telling import MOST_TOLD, Telling
from teahouse.messages.receiver import Receiver
from teahouse.messages.store import MessageStore
from teahouse.problems import Problem

__all__ = ["MOST_TOLD", "Watching"]

MOST_WATCHED = 100
# After a loss nobody is taken for gone for so long: each node first has to tell Redis again who is on it.
SETTLE_SECONDS = 5.0
# A node may die between having told Redis that somebody departed, and the others: so often it is looked at.
_LOOK_SECONDS = 60.0
# Beyond so many people whom something was heard of, everybody is asked about.
_MOST_DOUBTED = 50_000
_QUESTIONS_TOGETHER = 200
_MOST_QUESTIONS = 100_000
_CONVERSATIONS_TOGETHER = 16
# A question about so many is worth a turn of the loop.
_MANY = 1_000

_log = logging.getLogger(__name__)


class _Question(NamedTuple):
    conversation: str
    people: Collection[str]
    asker: Receiver | None


class _Watched:
    """A conversation with watchers, and whom all of them take for online."""

    __slots__ = ("asked", "online", "receivers")

    def __init__(self) -> None:
        self.receivers: dict[Receiver, None] = {}
        self.online: set[str] = set()
        self.asked = False


class Watching:
    """Tells the presence who is on this node, and those who watch on this node who is there on any.

    The presence is the truth. Whatever is heard of somebody, and whatever was lost, is a reason to ask it again; what
    differs from what the watchers were told is told to them. Questions are answered in order, many at a time, so that
    an older answer never follows a newer one.

    ``reaches``: whether a socket is here and in the conversation.
    """

    def __init__(
        self, bus: Bus, store: MessageStore, presence: Presence | None, reaches: Callable[[Receiver, str], bool]
    ) -> None:
        self.settle_seconds = SETTLE_SECONDS
        self._bus = bus
        self._store = store
        self._presence = presence
        self._reaches = reaches
        self._telling = None if presence is None else Telling(bus, store, presence)
        self._conversations: dict[str, _Watched] = {}
        self._watched: dict[Receiver, set[str]] = {}
        self._questions: Batcher[_Question, set[str]] = Batcher(
            self._answer, name="who is online", max_batch=_QUESTIONS_TOGETHER, max_waiting=_MOST_QUESTIONS
        )
        self._doubts: dict[str, set[str]] = {}
        self._doubted = 0
        self._asking: asyncio.Task[None] | None = None
        self._uncertain = False
        self._settling = False
        self._comparing: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Raises ``RedisUnavailable``."""
        if self._telling is not None:
            await self._telling.start()
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="look at who is online")

    async def aclose(self) -> None:
        """Whoever departed is told of; the rest is left to other nodes."""
        if self._telling is not None:
            await self._telling.aclose()
        tasks = [task for task in (self._asking, self._comparing, self._looking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._questions.aclose()

    def tell(self, user_id: str, conversations: Collection[str], *, online: bool) -> None:
        """They have arrived on this node, or departed from it."""
        if self._telling is not None:
            self._telling.tell(user_id, conversations, online=online)

    # --- watching ---

    async def watch(self, receiver: Receiver, conversation: str) -> None:
        """See ``Hub.watch``."""
        watched = self._watched.setdefault(receiver, set())
        if conversation in watched or len(watched) >= MOST_WATCHED:
            return
        watched.add(conversation)
        self._conversations.setdefault(conversation, _Watched()).receivers[receiver] = None
        await self._bus.subscribe((presence_topic(conversation), presence_topic("")))

    def forget(self, receiver: Receiver) -> None:
        """It watches nothing any more."""
        for conversation in self._watched.pop(receiver, ()):
            watched = self._conversations[conversation]
            del watched.receivers[receiver]
            if not watched.receivers:
                del self._conversations[conversation]
                self._bus.unsubscribe((presence_topic(conversation),))
        if not self._conversations:
            self._bus.unsubscribe((presence_topic(""),))

    async def ask(self, conversation: str, people: Collection[str], asker: Receiver | None = None) -> set[str]:
        """Those of them who are there. Watchers are told what they have missed; ``asker`` is who gets the answer.

        Raises ``RedisUnavailable`` and ``Overloaded``.
        """
        if self._presence is None:
            return set()
        return await self._questions.submit(_Question(conversation, people, asker))

    # --- asking ---

    async def _answer(self, questions: list[_Question]) -> Sequence[set[str] | Problem]:
        assert self._presence is not None
        everybody: set[str] = set()
        askers: dict[str, set[Receiver]] = {}
        for question in questions:
            everybody.update(question.people)
            if question.asker is not None:
                askers.setdefault(question.conversation, set()).add(question.asker)
            if len(question.people) >= _MANY:
                await asyncio.sleep(0)
        try:
            online = await self._presence.online(everybody)
        except Problem as problem:
            # Each caller gets one of its own: a shared one would gather every caller's traceback.
            return [type(problem)(problem.detail) for _ in questions]
        answers = []
        for question in questions:
            answers.append(self._compared(question, online, askers.get(question.conversation, ())))
            if len(question.people) >= _MANY:
                await asyncio.sleep(0)
        return answers

    def _compared(self, question: _Question, online: set[str], askers: Collection[Receiver]) -> set[str]:
        there = online.intersection(question.people)
        watched = self._conversations.get(question.conversation)
        if watched is None:
            return there
        watched.asked = watched.asked or question.asker is not None
        gone = watched.online.intersection(question.people) - there
        if self._settling:
            # It is looked at again when everybody had the time to be there.
            there |= gone
            gone = set()
        come = there - watched.online
        watched.online |= come
        watched.online -= gone
        for user_id in come:
            self._announce(question.conversation, watched, user_id, online=True, but=askers)
        for user_id in gone:
            self._announce(question.conversation, watched, user_id, online=False)
        return there

    def _announce(
        self, conversation: str, watched: _Watched, user_id: str, *, online: bool, but: Collection[Receiver] = ()
    ) -> None:
        # Of a direct conversation only the other one watches, who calls it by the name of this one.
        to = conversation if conversation.startswith("room:") else f"user:{user_id}"
        frame = encode_presence(to, user_id, online)
        for receiver in tuple(watched.receivers):
            if receiver.user_id != user_id and receiver not in but and self._reaches(receiver, conversation):
                receiver.send(frame)

    # --- what is heard ---

    def hear(self, topic: str, told: PresenceChanged | PresenceRestored) -> None:
        """A node says that something may have changed."""
        conversation = topic.partition(":")[2]
        if isinstance(told, PresenceRestored) or self._doubted >= _MOST_DOUBTED:
            self.compare()
        elif conversation in self._conversations and self._presence is not None:
            self._doubts.setdefault(conversation, set()).add(told.user_id)
            self._doubted += 1
            if self._asking is None:
                self._asking = asyncio.get_running_loop().create_task(self._ask_all(), name="ask who is online")

    async def _ask_all(self) -> None:
        pause = Pause()
        try:
            while self._doubts:
                doubts, self._doubts, self._doubted = self._doubts, {}, 0
                if await self._asked(doubts):
                    pause = Pause()
                else:
                    # Redis is away: everybody is asked about when it is back.
                    self.compare()
                    await pause.wait()
        finally:
            self._asking = None

    async def _asked(self, questions: dict[str, set[str]]) -> bool:
        results = await asyncio.gather(
            *(self.ask(conversation, people) for conversation, people in questions.items()), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        if failures:
            _log.warning("it cannot be asked now who is online: %s", failures[0])
        return not failures

    # --- after a loss ---

    def compare(self) -> None:
        """Anything may have been missed: everybody who is watched is asked about, as soon as that is of use."""
        if self._presence is None:
            return
        self._uncertain = True
        if self._comparing is None:
            self._settling = True
            self._comparing = asyncio.get_running_loop().create_task(self._compare_all(), name="compare who is online")

    async def _compare_all(self) -> None:
        try:
            while self._uncertain:
                self._settling = True
                await asyncio.sleep(self.settle_seconds)
                self._settling = self._uncertain = False
                try:
                    await self._compare_conversations()
                except (Problem, FlushFailed) as error:
                    _log.warning("who is online cannot be compared yet: %s", error)
                    self._uncertain = True
        finally:
            self._settling = False
            self._comparing = None

    async def _compare_conversations(self) -> None:
        conversations = list(self._conversations)
        for at in range(0, len(conversations), _CONVERSATIONS_TOGETHER):
            chunk = conversations[at : at + _CONVERSATIONS_TOGETHER]
            results = await asyncio.gather(*map(self._compare, chunk), return_exceptions=True)
            for result in results:
                if result is not None:
                    raise result

    async def _compare(self, conversation: str) -> None:
        watched = self._conversations.get(conversation)
        if watched is None:
            return
        people = set(watched.online)
        # Who asked about a stranger has got no answer, and gets none now.
        if watched.asked:
            people.update(people_of(conversation) or await self._store.members(conversation))
        await self.ask(conversation, people)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            conversations = [name for name, watched in self._conversations.items() if watched.online]
            for at in range(0, len(conversations), _QUESTIONS_TOGETHER):
                chunk = conversations[at : at + _QUESTIONS_TOGETHER]
                there = {name: self._conversations[name].online for name in chunk if name in self._conversations}
                if not await self._asked({name: set(people) for name, people in there.items()}):
                    break
