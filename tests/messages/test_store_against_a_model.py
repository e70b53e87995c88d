"""Random schedules of talking, reading, coming and going, against a model of one page."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from teahouse.engines.sql import Database
from teahouse.messages.model import Draft, Message, ReadMark, conversation_of, people_of
from teahouse.messages.store_sql import SqlMessageStore
from teahouse.problems import NotFound
from tests.messages.people import ANN, BOB, CAT, NOBODY, NOW, opened, room_id, settle

ROOMS = [f"room:{room_id(number)}" for number in (1, 2)]
NOWHERE = f"room:{room_id(3)}"


@dataclass
class Model:
    """What should happen, without batches or SQL. ``roles`` and ``positions`` are by conversation and user."""

    said: dict[str, list[Message]] = field(default_factory=dict)
    roles: dict[tuple[str, str], str] = field(default_factory=dict)
    positions: dict[tuple[str, str], int] = field(default_factory=dict)

    def last(self, conversation: str) -> int:
        return len(self.said.get(conversation, ()))

    def enter(self, conversation: str, user: str, role: str = "member") -> bool:
        if (conversation, user) in self.roles:
            return False
        self.roles[conversation, user] = role
        self.positions[conversation, user] = self.last(conversation)
        return True

    def leave(self, conversation: str, user: str) -> bool:
        return self.roles.pop((conversation, user), None) is not None

    def say(self, draft: Draft, now: int) -> Message | str:
        spoken = [each for messages in self.said.values() for each in messages]
        for each in spoken:
            if (each.sender_id, each.id) == (draft.sender_id, draft.id):
                same = (each.conversation, each.content) == (draft.conversation, draft.content)
                return each if same else "IdempotencyMismatch"
        people = people_of(draft.conversation)
        if people is None and (draft.conversation, draft.sender_id) not in self.roles:
            return "NotFound"
        if people and NOBODY in people:
            return "NotFound"
        for person in people or ():
            self.enter(draft.conversation, person)
        seq = self.last(draft.conversation) + 1
        message = Message(draft.conversation, seq, draft.sender_id, draft.id, draft.kind, draft.content, now)
        self.said.setdefault(draft.conversation, []).append(message)
        self.positions[draft.conversation, draft.sender_id] = seq
        return message

    def read(self, mark: ReadMark) -> None:
        place = mark.conversation, mark.user_id
        if place in self.roles:
            self.positions[place] = max(self.positions[place], min(mark.seq, self.last(mark.conversation)))


class StoreAgainstModel(RuleBasedStateMachine):
    people = st.sampled_from([ANN, BOB, CAT])
    places = st.sampled_from([*ROOMS, NOWHERE, "user:" + ANN, "user:" + BOB, "user:" + NOBODY])
    drafts = st.lists(st.tuples(people, st.sampled_from("uvwxyz"), places, st.sampled_from("12")), max_size=6)

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory(prefix="messages-")
        self.database = Database(f"sqlite:///{self.folder.name}/tea.db")
        self.store = SqlMessageStore(self.database)
        self.model = Model()
        self.now = NOW

    @initialize()
    def open_the_rooms(self):
        async def open_all():
            await self.database.connect()
            await self.database.create_all()
            await settle(self.database)
            await opened(self.store, 1, owner=ANN, members=[BOB])
            await opened(self.store, 2, owner=BOB, members=[])

        self.runner.run(open_all())
        for conversation, user, role in (
            (ROOMS[0], ANN, "owner"),
            (ROOMS[0], BOB, "member"),
            (ROOMS[1], BOB, "owner"),
        ):
            self.model.enter(conversation, user, role)

    def teardown(self):
        self.runner.run(self.database.aclose())
        self.runner.close()
        self.folder.cleanup()

    @rule(asked=drafts)
    def people_talk(self, asked):
        drafts = [
            Draft(sender, key, conversation_of(sender, to), "text", content)
            for sender, key, to, content in asked
            if to != f"user:{sender}"
        ]
        self.now += 1
        answers = self.runner.run(self.store.append(drafts, self.now))
        told = [each if isinstance(each, Message) else type(each).__name__ for each in answers]
        assert told == [self.model.say(draft, self.now) for draft in drafts]

    @rule(room=st.sampled_from(ROOMS), users=st.lists(people, min_size=1, max_size=3))
    def people_come(self, room, users):
        added = self.runner.run(self.store.add_members(room.removeprefix("room:"), users, self.now))
        assert added == [user for user in sorted(set(users)) if self.model.enter(room, user)]

    @rule(room=st.sampled_from([*ROOMS, NOWHERE]), user=people)
    def somebody_goes(self, room, user):
        removed = self.runner.run(self.store.remove_member(room.removeprefix("room:"), user))
        assert removed == self.model.leave(room, user)

    @rule(asked=st.lists(st.tuples(people, places, st.integers(0, 9)), max_size=4))
    def people_read(self, asked):
        marks = [
            ReadMark(user, conversation_of(user, place), seq) for user, place, seq in asked if place != f"user:{user}"
        ]
        answers = self.runner.run(self.store.mark_all_read(marks))
        for mark in marks:
            self.model.read(mark)
        for mark, answer in zip(marks, answers, strict=True):
            place = mark.conversation, mark.user_id
            if place in self.model.roles:
                assert answer == self.model.positions[place]
            else:
                assert isinstance(answer, NotFound)

    @rule(place=st.sampled_from([*ROOMS, conversation_of(ANN, f"user:{BOB}")]), seq=st.integers(0, 9))
    def somebody_looks_back_and_forth(self, place, seq):
        async def pages():
            return await self.store.after(place, seq, 3), await self.store.before(place, seq, 3)

        said = self.model.said.get(place, [])
        assert self.runner.run(pages()) == (said[seq : seq + 3], said[: max(0, seq - 1)][-3:][::-1])

    @invariant()
    def everything_is_kept(self):
        async def kept():
            wanted = list(self.model.said)
            last = await self.store.last_seqs(wanted)
            return {each: await self.store.after(each, 0, 100) for each in wanted}, last

        assert self.runner.run(kept()) == (self.model.said, {each: self.model.last(each) for each in self.model.said})

    @invariant()
    def everybody_is_where_they_should_be(self):
        found = self.runner.run(self.store.memberships([ANN, BOB, CAT]))
        there = {
            (part.conversation, user): (part.role, part.last_seq, part.read_seq)
            for user, parts in found.items()
            for part in parts
        }
        model = self.model
        assert there == {
            place: (role, model.last(place[0]), model.positions[place]) for place, role in model.roles.items()
        }


StoreAgainstModel.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestTheStoreAgainstTheModel = StoreAgainstModel.TestCase
