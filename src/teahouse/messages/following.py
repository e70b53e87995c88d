"""Who is here, and which conversations this worker follows for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from teahouse.batching import Batcher, FlushFailed
from teahouse.messages.bus import Bus
from teahouse.messages.bus_texts import Passed, person_topic
from teahouse.messages.channel import Channel
from teahouse.messages.filling import Pause
from teahouse.messages.model import Extent, Membership, Parts, people_of
from teahouse.messages.person import Person
from teahouse.messages.receiver import Receiver
from teahouse.messages.store import MessageStore
from teahouse.problems import DatabaseUnavailable, Problem

# So many people, or conversations, are read from the store at a time: a batch must not hold up the loop.
_BATCH = 200
_MOST_WAITING = 100_000
_ATTEND_SECONDS = 5.0
# For somebody so many times the most are followed at most: first ones, those that they asked for, and direct ones in
# which something was said just now.
_SLACK = 3

_log = logging.getLogger(__name__)
Result = TypeVar("Result")
_NOTHING = Parts([], 0)


class _Followed(NamedTuple):
    """A channel of somebody's, and how far the store is. Of one that they joined while they were here, what is above
    ``since`` is to be brought.
    """

    channel: Channel
    last_seq: int
    since: int | None


class Following:
    """People and channels. Whatever the store and the bus are asked is asked for many at once.

    ``deliver`` is called with messages of a channel in order, ``look`` with a channel that may have a gap, ``arrived``
    with somebody whose conversations have become known, ``missed`` with a socket, a conversation that its person has
    joined and after which ``seq``, ``partly`` with somebody of whom not everything is followed any more. The first
    ``most`` memberships of each person are followed, in the store's order, those that they ask for, and those that were
    followed before others came; never more than three times ``most``.
    """

    def __init__(
        self,
        store: MessageStore,
        bus: Bus,
        *,
        deliver: Callable[[Channel, Iterable[Passed]], None],
        look: Callable[[Channel], None],
        arrived: Callable[[Person], None],
        missed: Callable[[Receiver, str, int], None],
        partly: Callable[[Person], None],
        most: int,
    ) -> None:
        self.people: dict[str, Person] = {}
        self.channels: dict[str, Channel] = {}
        self._store = store
        self._bus = bus
        self._deliver = deliver
        self._look = look
        self._arrived = arrived
        self._missed = missed
        self._partly = partly
        self._most = most
        self._memberships: Batcher[str, Parts] = Batcher(
            self._read_memberships, name="memberships", max_batch=_BATCH, max_waiting=_MOST_WAITING
        )
        self._bases: Batcher[Sequence[Channel], Mapping[str, int]] = Batcher(
            self._read_bases, name="bases of conversations", max_batch=_BATCH, max_waiting=_MOST_WAITING
        )

    async def aclose(self) -> None:
        """Follows nobody any more."""
        loads = [person.loading for person in self.people.values() if person.loading is not None]
        fills = [channel.filling for channel in self.channels.values() if channel.filling is not None]
        for task in (*loads, *fills):
            task.cancel()
        await asyncio.gather(*loads, *fills, return_exceptions=True)
        await self._memberships.aclose()
        await self._bases.aclose()

    # --- sockets ---

    async def enter(self, receiver: Receiver) -> Extent:
        """Returns when whatever is stored from now on reaches it. Raises what the store and the bus raise."""
        person = self.people.get(receiver.user_id)
        if person is None:
            person = self.people[receiver.user_id] = Person(receiver.user_id)
        person.sockets = (*person.sockets, receiver)
        for channel in person.channels:
            if channel.receivers is not None:
                channel.receivers[receiver] = None
        if not person.ready or not all(channel.begun for channel in person.channels):
            await asyncio.shield(person.loading or self.refresh(person))
        return person.extent

    def leave(self, receiver: Receiver) -> Person | None:
        """Not to be delivered to any more; gives the person when this was their last socket."""
        person = self.people.get(receiver.user_id)
        if person is None or receiver not in person.sockets:
            return None
        person.sockets = tuple(socket for socket in person.sockets if socket is not receiver)
        for channel in person.channels:
            self._take_out(channel, (receiver,))
        if person.sockets:
            return None
        del self.people[person.id]
        self._bus.unsubscribe((person_topic(person.id),))
        for channel in person.channels:
            self._close_unless_needed(channel)
        return person

    def receivers_of(self, channel: Channel) -> Sequence[Receiver]:
        """Whose sockets are delivered to."""
        if channel.receivers is not None:
            return tuple(channel.receivers)
        found: tuple[Receiver, ...] = ()
        for user_id in people_of(channel.conversation) or ():
            person = self.people.get(user_id)
            if person is not None and person.ready:
                found += person.sockets
        return found

    # --- conversations ---

    def channel(self, passed: Passed) -> Channel | None:
        """Where the message belongs; None where nobody here is in the conversation. A direct one may be new."""
        known = self.channels.get(passed.conversation)
        if known is not None:
            return known
        here = [self.people[one] for one in people_of(passed.conversation) or () if one in self.people]
        if not here:
            return None
        channel = self.channels[passed.conversation] = Channel(passed.conversation)
        for person in here:
            person.channels.append(channel)
            if len(person.channels) > _SLACK * self._most:
                self.refresh(person)
        ready = [person for person in here if person.ready]
        if ready:
            # To somebody of whom not everything is followed it may be old.
            self.begin(channel, 0 if any(person.whole for person in ready) else passed.seq - 1)
        return channel

    def begin(self, channel: Channel, base: int) -> None:
        """What is above ``base`` is to be delivered."""
        self._deliver(channel, channel.begin(base))
        if self._is_open(channel):
            self._look(channel)

    def told(self, channel: Channel, seq: int) -> None:
        """The store has messages up to ``seq``."""
        channel.told(seq)
        if self._is_open(channel):
            self._look(channel)

    def drop(self, person: Person, conversation: str) -> None:
        """They are not in it any more, as far as is known."""
        if person.loading is not None:
            person.gone = person.gone or set()
            person.gone.add(conversation)
        channel = self.channels.get(conversation)
        if channel is not None and channel.receivers is not None and channel in person.channels:
            person.channels.remove(channel)
            self._take_out(channel, person.sockets)
            self._close_unless_needed(channel)

    async def attend(self, user_id: str, conversation: str) -> bool:
        """Follows a conversation that the person asks for. False where they are not in it, or not here.

        Raises ``DatabaseUnavailable``.
        """
        person = self.people.get(user_id)
        if person is None:
            return False
        if not self._follows(person, conversation):
            asked = person.asked = person.asked or set()
            if len(asked) < self._most:
                asked.add(conversation)
            try:
                async with asyncio.timeout(_ATTEND_SECONDS):
                    await asyncio.shield(self.refresh(person))
            except TimeoutError:
                raise DatabaseUnavailable("The conversations of this user could not be read.") from None
        return self._follows(person, conversation) or not conversation.startswith("room:")

    def reaches(self, receiver: Receiver, conversation: str) -> bool:
        """Whether the socket is here, and in the room if it is one."""
        person = self.people.get(receiver.user_id)
        if person is None or receiver not in person.sockets:
            return False
        return not conversation.startswith("room:") or self._follows(person, conversation)

    def _is_open(self, channel: Channel) -> bool:
        return self.channels.get(channel.conversation) is channel

    def _follows(self, person: Person, conversation: str) -> bool:
        channel = self.channels.get(conversation)
        return channel is not None and channel in person.channels

    def _take_out(self, channel: Channel, sockets: Collection[Receiver]) -> None:
        if channel.receivers is not None:
            for socket in sockets:
                channel.receivers.pop(socket, None)

    def _close_unless_needed(self, channel: Channel) -> None:
        if channel.receivers is None:
            here = (self.people.get(one) for one in people_of(channel.conversation) or ())
            needed = any(person is not None and channel in person.channels for person in here)
        else:
            needed = bool(channel.receivers)
        if needed or not self._is_open(channel):
            return
        del self.channels[channel.conversation]
        if channel.filling is not None:
            channel.filling.cancel()
        if channel.receivers is not None:
            self._bus.unsubscribe((channel.conversation,))

    # --- memberships ---

    def refresh(self, person: Person) -> asyncio.Task[None]:
        """Reads the person's memberships, again where a reading is under way already."""
        person.again = True
        if person.loading is None:
            person.loading = asyncio.get_running_loop().create_task(self._load(person), name="follow a person")
            # Whoever waits for it is told; where all of them have gone nobody is.
            person.loading.add_done_callback(_seen)
        return person.loading

    async def refresh_everybody(self) -> None:
        """After a loss: reads everybody's memberships, and fills what is missing."""
        everybody = list(self.people.values())
        for at in range(0, len(everybody), _BATCH):
            here = [person for person in everybody[at : at + _BATCH] if self.people.get(person.id) is person]
            await asyncio.gather(*(self.refresh(person) for person in here), return_exceptions=True)

    async def _load(self, person: Person) -> None:
        pause, first = Pause(), not person.ready
        try:
            while person.again and self.people.get(person.id) is person:
                person.again, person.gone = False, None
                try:
                    await self._load_once(person)
                except Problem as problem:
                    if first:
                        raise
                    _log.warning("what a person takes part in cannot be read yet: %s", problem.detail)
                    person.again = True
                    await pause.wait()
        finally:
            person.loading = None

    async def _load_once(self, person: Person) -> None:
        parts = await _result(self._memberships.submit(person.id))
        if self.people.get(person.id) is not person:
            return
        rooms = self._apply(person, parts)
        bases = await _result(self._bases.submit([room.channel for room in rooms])) if rooms else {}
        for each in rooms:
            if self._is_open(each.channel):
                base = bases.get(each.channel.conversation, 0)
                self._bring(person, each, base)
                self.begin(each.channel, base)

    def _apply(self, person: Person, parts: Parts) -> list[_Followed]:
        """Follows what they are in, and nothing else. Gives the rooms whose base must be read."""
        arrived, was_whole = not person.ready, person.whole
        left, followed = self._sorted(person, parts)
        person.ready = True
        if arrived:
            self._arrived(person)
        elif was_whole and not person.whole:
            self._partly(person)
        for channel in left:
            self._take_out(channel, person.sockets)
            self._close_unless_needed(channel)
        rooms = []
        for each in followed:
            channel = each.channel
            if channel.receivers is not None:
                channel.receivers.update(dict.fromkeys(person.sockets))
                if not channel.begun:
                    rooms.append(each)
                    continue
                self._bring(person, each, channel.expected - 1)
            elif not channel.begun:
                self.begin(channel, each.last_seq if each.since is None else 0)
            self.told(channel, each.last_seq)
        return rooms

    def _bring(self, person: Person, each: _Followed, base: int) -> None:
        if each.since is not None and base > each.since:
            for socket in person.sockets:
                self._missed(socket, each.channel.conversation, each.since)

    def _sorted(self, person: Person, parts: Parts) -> tuple[Collection[Channel], list[_Followed]]:
        """Takes the person's new channels over; gives those they have left, and the others."""
        before = {channel.conversation: channel for channel in person.channels}
        gone = person.gone or ()
        was_here = person.ready and person.whole
        person.count, person.whole = parts.count, parts.count <= self._most
        followed = []
        for row in parts.first:
            name = row.conversation
            if name not in gone:
                known = before.pop(name, None)
                new = was_here and person.whole and not (known is not None and known.begun)
                channel = self._enlisted(name) if known is None else known
                followed.append(_Followed(channel, row.last_seq, row.joined_seq if new else None))
        # A direct conversation is never left: one that is not among the rows began after they were read.
        direct = [name for name, channel in before.items() if channel.receivers is None][-self._most :]
        followed += [_Followed(before.pop(name), 0, None) for name in direct]
        person.channels = [each.channel for each in followed]
        return before.values(), followed

    def _enlisted(self, conversation: str) -> Channel:
        channel = self.channels.get(conversation)
        if channel is None:
            channel = self.channels[conversation] = Channel(conversation)
        return channel

    # --- batches ---

    async def _read_memberships(self, user_ids: list[str]) -> Sequence[Parts]:
        # Subscribed first: whatever changes after the reading is heard of.
        here = [user_id for user_id in dict.fromkeys(user_ids) if user_id in self.people]
        await self._bus.subscribe([person_topic(user_id) for user_id in here])
        found = dict(await self._store.first_memberships(here, self._most))
        for user_id in here:
            found[user_id] = await self._with_others(user_id, found[user_id])
        return [found.get(user_id, _NOTHING) for user_id in user_ids]

    async def _with_others(self, user_id: str, parts: Parts) -> Parts:
        """What they have asked for, and what is followed already, stays so while they are in it."""
        person = self.people.get(user_id)
        if person is None or parts.count <= self._most:
            return parts
        names = dict.fromkeys((*(person.asked or ()), *(each.conversation for each in person.channels)))
        known = {each.conversation for each in parts.first}
        others = list(islice((name for name in names if name not in known), self._most))
        roles = await self._store.roles([(user_id, name) for name in others])
        last = await self._store.last_seqs([name for _, name in roles])
        more = [Membership(name, role, last.get(name, 0), 0, 0) for (_, name), role in roles.items()]
        return Parts(parts.first + more, parts.count)

    async def _read_bases(self, calls: list[Sequence[Channel]]) -> Sequence[Mapping[str, int]]:
        # Subscribed first, as above.
        wanted = dict.fromkeys(channel for channels in calls for channel in channels)
        conversations = [channel.conversation for channel in wanted if self._is_open(channel)]
        await self._bus.subscribe(conversations)
        found = await self._store.last_seqs(conversations)
        return [found] * len(calls)


async def _result(call: asyncio.Future[Result]) -> Result:
    """What a batched call gives; its problem, rather than that the batch failed."""
    try:
        return await call
    except FlushFailed as failure:
        if isinstance(failure.__cause__, Problem):
            # Each caller gets one of its own: a shared one would gather every caller's traceback.
            raise type(failure.__cause__)(failure.__cause__.detail) from failure
        raise


def _seen(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, Problem):
        _log.error("following a person failed", exc_info=error)
