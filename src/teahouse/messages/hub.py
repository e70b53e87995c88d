"""One worker's sockets: what is stored on any node reaches them, in order, each message once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable

import msgspec

from teahouse.messages import bus_texts
from teahouse.messages.bus import Bus
from teahouse.messages.bus_texts import ForPerson, Joined, Left, Passed, person_topic
from teahouse.messages.catching_up import CatchingUp
from teahouse.messages.channel import Channel
from teahouse.messages.close_codes import REPLACED
from teahouse.messages.filling import Filling, Pause
from teahouse.messages.following import Following
from teahouse.messages.frames import encode_message, encode_system
from teahouse.messages.model import Extent, Message, people_of
from teahouse.messages.person import Person
from teahouse.messages.presence import Presence
from teahouse.messages.receiver import Receiver
from teahouse.messages.store import MessageStore
from teahouse.messages.watching import MOST_TOLD, Watching
from teahouse.problems import Problem

__all__ = ["Hub", "Receiver"]

# Of so many messages that were sent from here and are on their way it is known which socket need not get them.
_MOST_ON_THEIR_WAY = 10_000
_CHUNK = 500

_log = logging.getLogger(__name__)


class Hub:
    """The sockets of this worker. Counters: ``delivered`` (messages times sockets), ``filled`` (messages that the bus
    lost and the store had), ``doubles`` (dropped), ``stray`` (texts of the bus that nobody here could read).

    A user has ``sockets_per_user`` sockets on a worker at most. Of each user the first ``followed`` conversations are
    delivered live, in the store's order, and those they sync; they are told where those are not all.
    """

    def __init__(
        self,
        store: MessageStore,
        bus: Bus,
        *,
        sockets_per_user: int = 10,
        followed: int = 1_000,
        presence: Presence | None = None,
    ) -> None:
        self.delivered = 0
        self.doubles = 0
        self.stray = 0
        self._store = store
        self._bus = bus
        self._sockets_per_user = sockets_per_user
        self._receivers: dict[str, Receiver] = {}
        self._origins: dict[tuple[str, int], str] = {}
        self._filling = Filling(store, self._deliver, self._origin)
        self._following = Following(
            store,
            bus,
            deliver=self._deliver,
            look=self._filling.look,
            arrived=self._arrived,
            missed=self._missed,
            partly=_tell_partly,
            most=followed,
        )
        self._catching_up = CatchingUp(store, bus, self._following, self._is_from)
        self._watching = Watching(bus, store, presence, self._following.reaches)
        self._comparing: asyncio.Task[None] | None = None
        self._lost_again = False

    @property
    def receivers(self) -> Collection[Receiver]:
        """Every open socket of this worker."""
        return self._receivers.values()

    @property
    def filled(self) -> int:
        """Messages that came from the store because the bus had lost them."""
        return self._filling.filled

    @property
    def channels(self) -> int:
        """Conversations with a receiver here."""
        return len(self._following.channels)

    # --- life ---

    async def start(self) -> None:
        """Call once, before the first socket. Raises ``RedisUnavailable``."""
        self._bus.on_receive(self._receive)
        self._bus.on_loss(self._compare)
        await self._bus.start()
        await self._watching.start()

    async def aclose(self) -> None:
        """Sends what was published; delivers nothing more. The sockets are their owner's to close."""
        if self._comparing is not None:
            self._comparing.cancel()
            await asyncio.gather(self._comparing, return_exceptions=True)
        await self._watching.aclose()
        await self._catching_up.aclose()
        await self._following.aclose()
        await self._bus.aclose()

    # --- sockets ---

    async def enter(self, receiver: Receiver) -> Extent:
        """When it returns, every message stored from now on reaches the socket, as far as ``Extent`` says. The user's
        oldest is closed with 4409 where they have too many.

        Raises ``DatabaseUnavailable`` and ``RedisUnavailable``: the socket is not in then.
        """
        person = self._following.people.get(receiver.user_id)
        if person is not None and len(person.sockets) >= self._sockets_per_user:
            oldest = person.sockets[0]
            self.leave(oldest)
            oldest.close(REPLACED, "replaced")
        self._receivers[receiver.id] = receiver
        try:
            return await self._following.enter(receiver)
        except BaseException:
            self.leave(receiver)
            raise

    def leave(self, receiver: Receiver) -> None:
        """Nothing more is delivered to it. Twice is as good as once."""
        if self._receivers.pop(receiver.id, None) is None:
            return
        self._watching.forget(receiver)
        person = self._following.leave(receiver)
        if person is not None and person.ready:
            self._watching.tell(person.id, _told_in(person), online=False)

    def _missed(self, receiver: Receiver, conversation: str, after: int) -> None:
        self._catching_up.bring(receiver, conversation, after)

    def _arrived(self, person: Person) -> None:
        self._watching.tell(person.id, _told_in(person), online=True)

    async def catch_up(self, receiver: Receiver, conversation: str, after: int, most: int) -> bool:
        """Sends what was stored above ``after``, in order; live messages of it wait meanwhile, and follow.

        False where more than ``most`` were missed and nothing was sent, and where the person is not in the room.
        Raises ``DatabaseUnavailable``. A second one for the same socket and conversation waits for the first.
        """
        return await self._catching_up.catch_up(receiver, conversation, after, most)

    async def watch(self, receiver: Receiver, conversation: str) -> None:
        """From now on the socket is sent presence frames of the conversation; of a hundred conversations at most.

        Raises ``RedisUnavailable``; it watches then as soon as Redis is back.
        """
        if receiver.id in self._receivers:
            await self._watching.watch(receiver, conversation)

    async def online(self, receiver: Receiver, conversation: str, people: Collection[str]) -> set[str]:
        """Those of the conversation's people who are there, as its watchers here are told; for this socket to be sent.

        Raises 503 problems.
        """
        return await self._watching.ask(conversation, people, receiver)

    # --- telling all nodes ---

    def publish(self, message: Message, origin: str = "") -> None:
        """A message that is stored reaches everybody in its conversation, but not the socket ``origin``."""
        if origin:
            self._remember(message, origin)
        frame = encode_message(message)
        text = bus_texts.encode(Passed(origin, message.conversation, message.seq, frame))
        people = people_of(message.conversation)
        if people is None:
            self._bus.publish(message.conversation, text)
            return
        for user_id in people:
            self._bus.publish(person_topic(user_id), text)

    def tell(self, user_id: str, frame: bytes) -> None:
        """Sends a frame to all their sockets on all nodes; who is not there misses it."""
        self._bus.publish(person_topic(user_id), bus_texts.encode(ForPerson(frame)))

    def joined(self, user_id: str, conversation: str) -> None:
        """It is stored that they are in it: their sockets on all nodes get what is said from now on."""
        self._bus.publish(person_topic(user_id), bus_texts.encode(Joined(conversation)))

    def left(self, user_id: str, conversation: str) -> None:
        """It is stored that they are not in it any more: their sockets get no more of it."""
        self._bus.publish(person_topic(user_id), bus_texts.encode(Left(conversation)))

    # --- what the bus brings ---

    def _receive(self, topic: str, text: bytes) -> None:
        try:
            told = bus_texts.decode(text)
            if type(told) is Passed:
                self._pass_on(told)
            else:
                self._hear(topic, told)
        except msgspec.MsgspecError:
            # A newer node may say what this one does not know.
            self.stray += 1
            _log.warning("a text of the bus cannot be read: %s", topic)
        except Exception:  # noqa: BLE001  # one text must not keep the others from coming
            self.stray += 1
            _log.exception("a text of the bus could not be delivered: %s", topic)

    def _pass_on(self, passed: Passed) -> None:
        channel = self._following.channels.get(passed.conversation) or self._following.channel(passed)
        if channel is None:
            return
        ready = channel.arrive(passed.seq, passed)
        if ready is None:
            self.doubles += 1
        elif ready:
            self._deliver(channel, ready)
        if channel.known >= channel.expected:
            self._filling.look(channel)

    def _hear(self, topic: str, told: bus_texts.BusText) -> None:
        if isinstance(told, bus_texts.PresenceChanged | bus_texts.PresenceRestored):
            self._watching.hear(topic, told)
            return
        person = self._following.people.get(topic.partition(":")[2])
        if person is None:
            return
        if isinstance(told, ForPerson):
            for receiver in person.sockets:
                receiver.send(told.frame)
        elif isinstance(told, Joined | Left):
            if isinstance(told, Left):
                self._following.drop(person, told.conversation)
            # Two of these may come in another order than they were stored: the store says which one holds.
            self._following.refresh(person)

    def _deliver(self, channel: Channel, ready: Iterable[Passed]) -> None:
        for passed in ready:
            receivers = self._following.receivers_of(channel)
            origin = self._receivers.get(passed.origin) if passed.origin else None
            if origin is not None:
                self._origins.pop((passed.conversation, passed.seq), None)
            if self._catching_up.holds:
                receivers = self._catching_up.hold_back(passed, receivers, origin)
            if origin is not None:
                receivers = [receiver for receiver in receivers if receiver is not origin]
            frame = passed.frame
            for receiver in receivers:
                receiver.send(frame)
            self.delivered += len(receivers)

    # --- where a message came from ---

    def _remember(self, message: Message, origin: str) -> None:
        if len(self._origins) >= _MOST_ON_THEIR_WAY:
            del self._origins[next(iter(self._origins))]
        self._origins[message.conversation, message.seq] = origin

    def _origin(self, conversation: str, seq: int) -> str:
        return self._origins.pop((conversation, seq), "")

    def _is_from(self, receiver: Receiver, conversation: str, seq: int) -> bool:
        return self._origins.get((conversation, seq)) == receiver.id

    # --- after a loss ---

    def _compare(self) -> None:
        self._watching.compare()
        self._lost_again = True
        if self._comparing is None:
            self._comparing = asyncio.get_running_loop().create_task(self._compare_all(), name="compare after a loss")

    async def _compare_all(self) -> None:
        try:
            pause = Pause()
            while self._lost_again:
                self._lost_again = False
                try:
                    await self._compare_channels()
                    await self._following.refresh_everybody()
                except Problem as problem:
                    _log.warning("what was missed cannot be read yet: %s", problem.detail)
                    self._lost_again = True
                    await pause.wait()
        finally:
            self._comparing = None

    async def _compare_channels(self) -> None:
        channels = list(self._following.channels.values())
        for at in range(0, len(channels), _CHUNK):
            chunk = channels[at : at + _CHUNK]
            seqs = await self._store.last_seqs([channel.conversation for channel in chunk])
            for channel in chunk:
                self._following.told(channel, seqs.get(channel.conversation, 0))


def _told_in(person: Person) -> list[str]:
    return [channel.conversation for channel in person.channels[:MOST_TOLD]]


def _tell_partly(person: Person) -> None:
    frame = encode_system("partly-following", person.extent)
    for receiver in person.sockets:
        receiver.send(frame)
