"""The day from morning to evening. Every wait has an end."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any, NamedTuple

from teahouse.client import Address
from teahouse.demo.answers import SaleSeen
from teahouse.demo.api import Api, ServerClock, Surprise
from teahouse.demo.buyer import Buyer
from teahouse.demo.ledger import Kind, Late, Ledger
from teahouse.demo.operator import DemoFailed, Operator
from teahouse.demo.plan import PRICE, Ending, Plan, endings, some
from teahouse.demo.room import AFTERWARDS, WAITING, Room
from teahouse.demo.stage import Phase, Stage
from teahouse.web.client import Client

_LOOK_AT_BOOKS_SECONDS = 0.1
# The clock is good to half a round trip; who comes before the start is told so and asks again.
_AFTER_START_SECONDS = 0.02
_LATE_PAYERS = 5
# Talk before the start and afterwards ends so long before what it fills is over.
_LAST_WORDS_SECONDS = 0.25
_HEARD_WITHIN_SECONDS = 5.0
_CATALOGUE = "/v1/products?limit=5"

Step = Callable[[Buyer], Coroutine[Any, Any, None]]


class Doors(NamedTuple):
    """Where the buyers come in: HTTP, and the addresses where sockets may be; one that was named must take them."""

    client: Client
    realtime: Sequence[Address] = ()
    named: bool = False


async def play(plan: Plan, doors: Doors, operator: Operator, stage: Stage, ledger: Ledger) -> None:
    """Plays the day and writes down what is seen. The operator has logged in.

    Raises ``Surprise`` where the shop cannot even be opened.
    """
    await _Day(plan, doors, operator, stage, ledger).play()


class _Day:
    def __init__(self, plan: Plan, doors: Doors, operator: Operator, stage: Stage, ledger: Ledger) -> None:
        self._plan = plan
        self._operator = operator
        self._stage = stage
        self._ledger = ledger
        self._clock = ServerClock()
        # Names of their own, so that the day can be played again on the same database.
        self._nonce = secrets.token_hex(4)
        self._buyers = [
            Buyer(
                number,
                f"tea{self._nonce}b{number}",
                part,
                api=Api(doors.client, ledger),
                clock=self._clock,
                ledger=ledger,
                told_within=plan.told_within_seconds,
            )
            for number, part in enumerate(plan.parts())
        ]
        self._room = Room(doors.realtime, operator, self._clock, ledger, must=doors.named)
        self._present: list[Buyer] = []
        self._evening = asyncio.Event()

    async def play(self) -> None:
        with self._phase(Phase.OPENING, 1):
            product_id = await self._operator.offer()
            self._stage.advance()
        await self._morning()
        try:
            await self._meet()
            await self._sell(await self._operator.announce(product_id, self._plan))
        finally:
            await self._room.leave()

    async def _sell(self, sale_id: str) -> None:
        async with self._watching_the_books():
            sale = await self._before_the_sale(sale_id)
            await self._rush(sale)
            waiting = [buyer for buyer in self._present if buyer.reserved is None]
            holding = [buyer for buyer in self._present if buyer.reserved is not None]
            vanished = await self._paying_and_returns(sale, holding, waiting)
            await self._all([buyer for buyer in self._present if buyer.has_lost_it], Buyer.hear_of_expiry)
            await self._pay_late(vanished)
        await self._room.hear_all(min(_HEARD_WITHIN_SECONDS, self._plan.patience_seconds))
        await self._close(sale)

    # --- morning ------------------------------------------------------------------------------------------------------

    async def _morning(self) -> None:
        await self._each(Phase.LOGIN, self._buyers, lambda buyer: buyer.log_in(self._nonce))
        self._present = [buyer for buyer in self._buyers if buyer.api.token]
        if not self._present:
            why = (self._ledger.surprises.kept or ["none came"])[0]
            hint = " The server must use the sandbox that stands in for WeChat." if "wechat" in why else ""
            raise DemoFailed(f"No buyer could log in: {why}.{hint}")
        for buyer in self._present[:1]:
            with self._written_down():
                probes = self._ledger.probes
                probes.append(await buyer.use_code_again(self._nonce))
                probes.append(await buyer.refresh())
                probes.append(await buyer.forge())
        await self._each(Phase.CATALOGUE, self._present, lambda buyer: buyer.look(_CATALOGUE, Kind.CATALOGUE))

    async def _meet(self) -> None:
        guests = self._room.guests(self._present)
        with self._phase(Phase.ROOM, len(guests)), self._written_down():
            await self._room.meet(guests, self._stage.advance)
            await self._room.welcome(f"{self._plan.stock} tea sets, ¥{PRICE // 100} each. It starts in a moment!")

    def _talk(self, words: Sequence[str], seconds: float) -> Coroutine[Any, Any, None]:
        """Half of what is said in the day, over so many seconds."""
        lines = len(self._room.lines)
        half = self._plan.messages(lines) // 2 if lines else 0
        return self._room.chat(words, half, max(seconds - _LAST_WORDS_SECONDS, 0.0))

    async def _before_the_sale(self, sale_id: str) -> SaleSeen:
        path = f"/v1/sales/{sale_id}"
        sale = await self._clock.read(self._operator.api, path)
        early = [buyer for buyer in self._present if buyer.part.early]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._talk(WAITING, sale.starts_at.timestamp() - self._clock.now()))
            await self._all(early, lambda buyer: buyer.come_early(sale))
            await self._each(Phase.SALE, self._present, lambda buyer: buyer.look(path, Kind.SALE))
        # The more often it is read the better the clock; the last look is the freshest.
        sale = await self._clock.read(self._operator.api, path)
        await asyncio.sleep(max(0.0, sale.starts_at.timestamp() + _AFTER_START_SECONDS - self._clock.now()))
        return sale

    # --- the sale -----------------------------------------------------------------------------------------------------

    async def _rush(self, sale: SaleSeen) -> None:
        async def buy(buyer: Buyer) -> None:
            await buyer.rush(sale)
            if buyer.reserved is not None:
                await buyer.read_back()

        asked, began = self._purchases(), perf_counter()
        await self._each(Phase.RUSH, self._present, buy)
        self._ledger.rush_seconds = self._ledger.latest.get(Kind.PURCHASE, began) - began
        self._ledger.rush_purchases = self._purchases() - asked
        books = await self._operator.books()
        due = min((sold.reserved.pay_before.timestamp() for sold in self._ledger.sold.values()), default=0.0)
        if self._ledger.refused["sold-out"] and self._clock.now() < due:
            self._ledger.rush_books = books

    def _purchases(self) -> int:
        return len(self._ledger.seconds[Kind.PURCHASE])

    async def _paying_and_returns(self, sale: SaleSeen, holding: list[Buyer], waiting: list[Buyer]) -> list[Buyer]:
        """Those who hold something decide; those who wait look on and buy what returns. Returns who vanished."""
        deadline = self._plan.pay_within_seconds + self._plan.patience_seconds
        ending_of = dict(zip(holding, endings(len(holding)), strict=True))
        vanished = [buyer for buyer, ending in ending_of.items() if ending is Ending.VANISHES]
        await self._try_the_rules(sale, holding, waiting)
        async with asyncio.TaskGroup() as group:
            talk = group.create_task(self._talk(AFTERWARDS, self._plan.pay_within_seconds))
            waiters = [group.create_task(self._wait_for_more(buyer, sale, len(waiting))) for buyer in waiting]
            await self._each(Phase.PAYING, holding, lambda buyer: buyer.finish(ending_of[buyer]))
            with self._phase(Phase.RETURNS, len(vanished)):
                await self._until_settled(waiters, len(vanished), deadline)
            self._evening.set()
            self._room.wake()
            talk.cancel()
        self._ledger.unmet = sum(buyer.reserved is None for buyer in waiting)
        return vanished

    async def _try_the_rules(self, sale: SaleSeen, holding: list[Buyer], waiting: list[Buyer]) -> None:
        few = [holding[index] for index in some(len(holding), 0.1)]
        await self._all(few, lambda buyer: buyer.ask_again(sale.id))
        await self._all(few, lambda buyer: buyer.use_key_for_another(sale.id))
        await self._all(few, lambda buyer: buyer.want_more(sale.id))
        for spy, victim in zip([*waiting, *reversed(holding)], holding[:3], strict=False):
            if spy is not victim and victim.reserved is not None:
                order_id = victim.reserved.order_id
                with self._written_down():
                    self._ledger.probes += await spy.spy(order_id)

    async def _wait_for_more(self, buyer: Buyer, sale: SaleSeen, crowd: int) -> None:
        pause = self._plan.look_again_seconds(crowd)
        with self._written_down():
            if buyer.line is None:
                # Spread over the pause: a crowd that looks in step would be a crowd of our own making.
                await self._pause(pause * buyer.number / self._plan.buyers)
            while await self._something_is_back(buyer, sale, pause):
                if await buyer.try_again(sale.id):
                    await buyer.read_back()
                    await buyer.finish(Ending.PAYS)
                    return

    async def _something_is_back(self, buyer: Buyer, sale: SaleSeen, pause: float) -> bool:
        """The shop says so in the room; whose line is gone looks now and then. False in the evening."""
        while not self._evening.is_set():
            if buyer.line is not None and buyer.line.is_open:
                await buyer.line.news()
                if buyer.line.is_open:
                    return not self._evening.is_set()
            else:
                await self._pause(pause)
                seen = await buyer.api.get(Kind.SALE, f"/v1/sales/{sale.id}", SaleSeen)
                if seen.remaining > 0:
                    return True
        return False

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._evening.wait(), seconds)

    async def _until_settled(self, waiters: list[asyncio.Task[None]], vanished: int, seconds: float) -> None:
        """Until nothing is reserved any more, and nothing is left or nobody waits for it."""
        shown = 0
        began = perf_counter()
        while perf_counter() - began < seconds:
            try:
                books = await self._operator.books()
            except Surprise as surprise:
                self._ledger.surprises.add(str(surprise))
                break
            shown = self._show_returns(vanished - books.reserved, shown)
            nobody_waits = all(waiter.done() for waiter in waiters)
            if books.reserved == 0 and (books.remaining == 0 or nobody_waits):
                return
            if books.remaining > 0 and not nobody_waits:
                with self._written_down():
                    await self._room.announce(books.remaining)
            await asyncio.sleep(_LOOK_AT_BOOKS_SECONDS)
        self._ledger.in_time = False

    def _show_returns(self, returned: int, shown: int) -> int:
        for _ in range(shown, returned):
            self._stage.advance()
        return max(shown, returned)

    # --- evening ------------------------------------------------------------------------------------------------------

    async def _pay_late(self, vanished: list[Buyer]) -> None:
        for buyer in vanished[:_LATE_PAYERS]:
            with self._written_down():
                before = await self._operator.books()
                payment = await buyer.pay_late()
                after = await self._operator.books()
                self._ledger.late.append(Late(payment.state, before.remaining, after.remaining))

    async def _close(self, sale: SaleSeen) -> None:
        await self._each(Phase.CLOSING, self._present, lambda buyer: buyer.read_orders(sale.id))
        self._ledger.books.append(await self._operator.books())

    # --- everybody at once --------------------------------------------------------------------------------------------

    async def _each(self, phase: Phase, buyers: list[Buyer], step: Step) -> None:
        async def counted(buyer: Buyer) -> None:
            try:
                await step(buyer)
            finally:
                self._stage.advance()

        with self._phase(phase, len(buyers)):
            await self._all(buyers, counted)

    async def _all(self, buyers: list[Buyer], step: Step) -> None:
        async def alone(buyer: Buyer) -> None:
            with self._written_down():
                await step(buyer)

        async with asyncio.TaskGroup() as group:
            for buyer in buyers:
                group.create_task(alone(buyer))

    @contextmanager
    def _written_down(self) -> Iterator[None]:
        """One buyer's bad luck is written down; the day goes on for the others."""
        try:
            yield
        except Surprise as surprise:
            self._ledger.surprises.add(str(surprise))

    @contextmanager
    def _phase(self, phase: Phase, total: int) -> Iterator[None]:
        self._stage.begin(phase, total)
        try:
            yield
        finally:
            self._stage.end()

    @asynccontextmanager
    async def _watching_the_books(self) -> AsyncIterator[None]:
        """Reads the reconciliation over and over, all through the sale."""

        async def watch() -> None:
            with self._written_down():
                while True:
                    self._ledger.books.append(await self._operator.books())
                    await asyncio.sleep(_LOOK_AT_BOOKS_SECONDS)

        watcher = asyncio.create_task(watch())
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
