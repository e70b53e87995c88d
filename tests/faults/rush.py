"""A rush of buyers at several nodes, who ask again by the same key until they know; the account of it afterwards."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from teahouse.web.client import Answer, Client, ClientError, TimedOut
from tests.faults.nodes import Shop, client_of
from tests.journeys.people import Person, fresh, log_in, log_in_boss, put_on_sale, well_formed

# An engine that is away must be told of within this, whatever the machine does besides.
BOUND_SECONDS = 6.0
DEADLINE_SECONDS = 60.0
_PAUSE_SECONDS = 0.02
_BEFORE_AGAIN_SECONDS = 0.1
_AT_ONCE = 32

Purchase = tuple[int, str]


class Rush:
    """Buyers who buy one thing after the other. ``told`` is what each was told, by buyer and key.

    ``refused`` counts the 503s by their problem, ``lost`` the requests that had no answer at all, ``strange`` keeps
    every answer that nobody should get. ``kinds`` is what buyers do with an order, with chance: nothing, pay, cancel.
    """

    def __init__(self, shop: Shop, clients: list[Client], boss: Person, sale: dict[str, Any]) -> None:
        self.shop = shop
        self.clients = clients
        self.boss = boss
        self.sale = sale
        self.buyers: list[Person] = []
        self.told: dict[Purchase, bytes] = {}
        self.became: dict[str, str] = {}
        self.unsettled: set[str] = set()
        self.sold_out: set[Purchase] = set()
        self.refused: Counter[str] = Counter()
        self.lost = 0
        self.strange: list[str] = []
        self.slowest = 0.0
        self.over = False
        self.tasks: list[asyncio.Task[None]] = []
        self.paused = False
        self.names: list[str] = []
        self.logs_in_again = False
        self.busy = 0
        self.also_pays = False
        self._chance = random.Random(7)

    def at(self, place: int, number: int) -> Person:
        """A buyer at one of the nodes."""
        return Person(self.clients[place % len(self.clients)], self.buyers[number].tokens)

    async def log_in_again(self, number: int) -> None:
        """The same user, in a new session."""
        client = self.clients[number % len(self.clients)]
        self.buyers[number].tokens = (await log_in(client, self.names[number])).tokens

    # --- one buyer ---

    async def buys(self, number: int) -> None:
        """Until the rush is over; the last purchase is finished."""
        turn = 0
        while not self.over:
            if not self.paused:
                self.busy += 1
                await self._buys_one(number, f"{number}-{turn}")
                self.busy -= 1
                turn += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _buys_one(self, number: int, key: str) -> None:
        body = await self._until_it_is_known(number, key)
        if body is not None and self.also_pays:
            await self._settles(number, body)

    async def _until_it_is_known(self, number: int, key: str) -> dict[str, Any] | None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        place = number
        while time.monotonic() < deadline:
            answer = await self._asked(lambda who: who.buy(self.sale, key), place, number)
            if answer is not None and answer.status == 202:
                self.told[number, key] = answer.body
                return dict(answer.json())
            if answer is not None and answer.status == 409:
                self.sold_out.add((number, key))
                return None
            if answer is not None:
                return None
            # The next node may know.
            place += 1
            await asyncio.sleep(_BEFORE_AGAIN_SECONDS)
        self.strange.append(f"purchase {key} was never answered")
        return None

    async def _settles(self, number: int, made: dict[str, Any]) -> None:
        order, chance = made["orderId"], self._chance.random()
        if chance < 0.6:
            return
        path, body, status = ("/v1/sandbox/payments", {"orderId": order}, "paid")
        if chance > 0.8:
            path, body, status = (f"/v1/orders/{order}/cancel", None, "cancelled")
        options = {} if body is None else {"json": body}
        answer = await self._asked(lambda who: who.post(path, **options), number, number)
        if answer is not None and answer.status == 200:
            self.became[order] = status
        else:
            self.unsettled.add(order)

    async def _asked(self, ask: Callable[[Person], Any], place: int, number: int) -> Answer | None:
        """The answer; None where the caller has to ask again."""
        begun = time.monotonic()
        try:
            answer: Answer = await ask(self.at(place, number))
        except TimedOut as error:
            self.strange.append(f"no answer in 20 s: {error}")
            return None
        except ClientError:
            self.lost += 1
            return None
        finally:
            self.slowest = max(self.slowest, time.monotonic() - begun)
        return await self._judged(answer, number)

    async def _judged(self, answer: Answer, number: int) -> Answer | None:
        try:
            well_formed(answer)
        except AssertionError as error:
            self.strange.append(f"{answer.status}: {error!r:.300}")
        slug = "" if answer.status < 400 else answer.json()["type"].rpartition("/")[2]
        if answer.status == 503:
            self.refused[slug] += 1
            return None
        if answer.status == 401 and self.logs_in_again:
            await self.log_in_again(number)
            return None
        if answer.status not in (200, 202) and slug != "sold-out":
            self.strange.append(f"{answer.status} {answer.body[:300]!r}")
        return answer

    # --- what a test waits for ---

    async def at_last(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer, once it is none that says to ask again."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            answer = await ask()
            if answer.status != 503 or time.monotonic() > deadline:
                return answer
            await asyncio.sleep(_BEFORE_AGAIN_SECONDS)

    async def sells(self, more: int = 30, seconds: float = DEADLINE_SECONDS) -> float:
        """Returns when so many more orders are acknowledged; the seconds until the first of them."""
        begun, had = time.monotonic(), len(self.told)
        first = 0.0
        while len(self.told) < had + more:
            assert time.monotonic() < begun + seconds, f"{len(self.told) - had} orders in {seconds} s: {self.summary()}"
            await asyncio.sleep(0.01)
            first = first or (time.monotonic() - begun if len(self.told) > had else 0.0)
        return first

    async def is_refused(self, more: int = 5, seconds: float = DEADLINE_SECONDS) -> None:
        """Returns when so many more callers were told 503."""
        deadline, had = time.monotonic() + seconds, self.refused.total()
        while self.refused.total() < had + more:
            assert time.monotonic() < deadline, f"nobody was told 503: {self.summary()}"
            await asyncio.sleep(0.01)

    async def rests(self) -> None:
        """Returns when nobody is asking; ``paused`` is how it goes on."""
        self.paused = True
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self.busy:
            assert time.monotonic() < deadline, self.summary()
            await asyncio.sleep(0.01)

    async def lasts(self, seconds: float) -> None:
        """Goes on for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(0.05)

    def summary(self) -> str:
        """What happened, for people."""
        return (
            f"{len(self.told)} orders, 503: {dict(self.refused)}, sold out: {len(self.sold_out)}, "
            f"no answer: {self.lost}, slowest {self.slowest:.2f} s, strange: {self.strange[:5]}"
        )


@asynccontextmanager
async def rush(
    shop: Shop,
    *,
    buyers: int = 12,
    pays: bool = False,
    log_in_at: int | None = None,
    logs_in_again: bool = False,
    **terms: Any,
) -> AsyncIterator[Rush]:
    """Buyers who are at it while the block runs. They log in at every node in turn, or at one.

    ``logs_in_again``: whoever is told that they are logged out logs in, as a mini-program would; a mistake otherwise.
    """
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(node)) for node in shop.nodes]
        boss = await log_in_boss(clients[0])
        stock = terms.setdefault("stock", 1_000_000)
        sale = await put_on_sale(boss, **{"perBuyerLimit": stock, **terms})
        crowd = Rush(shop, clients, boss, sale)
        crowd.also_pays, crowd.logs_in_again = pays, logs_in_again
        crowd.names = [fresh() for _ in range(buyers)]
        crowd.buyers = [
            await log_in(clients[(log_in_at or number) % len(clients)], name) for number, name in enumerate(crowd.names)
        ]
        crowd.tasks = [asyncio.create_task(crowd.buys(number)) for number in range(buyers)]
        try:
            yield crowd
        finally:
            print("rush:", crowd.summary())
            for task in crowd.tasks:
                task.cancel()
            await asyncio.gather(*crowd.tasks, return_exceptions=True)


# --- the account ---


async def account(crowd: Rush, *, all_answered: bool = True) -> None:
    """Everything that was promised: to be called within the rush's block, once all engines are back; ends the rush.

    ``all_answered=False``: processes were killed, so the connections to them are gone.
    """
    crowd.over = True
    await _in_peace(crowd)
    assert crowd.strange == [], crowd.summary()
    assert crowd.told, crowd.summary()
    assert crowd.slowest <= BOUND_SECONDS, crowd.summary()
    if all_answered:
        assert crowd.lost == 0, crowd.summary()
    await _same_key_same_order(crowd)
    await _readable_by_the_buyer(crowd)
    books = await _books(crowd)
    await _in_sql(crowd, books)


async def refused_in_time(ask: Callable[[], Awaitable[Answer]], *, slug: str = "") -> Answer:
    """The answer, which says 503 and when to ask again, and comes in bounded time."""
    begun = time.monotonic()
    answer = await ask()
    assert answer.status == 503, (answer.status, answer.body)
    well_formed(answer)
    assert time.monotonic() - begun <= BOUND_SECONDS
    assert answer.json()["type"].endswith(slug), answer.body
    return answer


async def _in_peace(crowd: Rush) -> None:
    """Every purchase under way has come to its end."""
    done, late = await asyncio.wait(crowd.tasks, timeout=2 * DEADLINE_SECONDS)
    assert not late, crowd.summary()
    for task in done:
        task.result()


async def _each(crowd: Rush, ask: Callable[[Purchase, bytes], Any]) -> None:
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(purchase: Purchase, body: bytes) -> None:
        async with turns:
            await ask(purchase, body)

    await asyncio.gather(*(one(purchase, body) for purchase, body in crowd.told.items()))


async def _same_key_same_order(crowd: Rush) -> None:
    async def again(purchase: Purchase, body: bytes) -> None:
        number, key = purchase
        # At the other node than the one that was asked first.
        answer = await crowd.at_last(lambda: crowd.at(number + 1, number).buy(crowd.sale, key))
        assert (answer.status, answer.body) == (202, body), (answer.status, answer.body, body)

    await _each(crowd, again)


async def _readable_by_the_buyer(crowd: Rush) -> None:
    async def read(purchase: Purchase, body: bytes) -> None:
        made, number = _decoded(body)["orderId"], purchase[0]
        answer = await crowd.at_last(lambda: crowd.at(number, number).get(f"/v1/orders/{made}"))
        assert answer.status == 200, (answer.status, answer.body)
        if made not in crowd.unsettled:
            assert answer.json()["status"] == crowd.became.get(made, "reserved"), answer.body

    await _each(crowd, read)


def _decoded(body: bytes) -> dict[str, Any]:
    return dict(json.loads(body))


async def _books(crowd: Rush) -> dict[str, Any]:
    answer = await crowd.at_last(lambda: crowd.boss.get(f"/v1/sales/{crowd.sale['id']}/reconciliation"))
    assert answer.status == 200, (answer.status, answer.body)
    books = dict(answer.json())
    assert books["difference"] == 0, books
    assert books["initial"] == crowd.sale["stock"], books
    assert books["remaining"] + books["reserved"] + books["sold"] == books["initial"], books
    assert books["orders"] == books["reserved"] + books["sold"], books
    assert books["remaining"] >= 0, books
    if crowd.sold_out:
        # Nobody gave anything back, so nothing may be left where somebody was told so.
        assert books["remaining"] == 0, (books, crowd.summary())
    return books


async def _in_sql(crowd: Rush, books: dict[str, Any]) -> None:
    """Every order that was told of is in SQL, and none that was not; the counters there say the same."""
    orders = f"SELECT id, status, quantity FROM orders WHERE sale_id = '{crowd.sale['id']}'"
    counters = f"SELECT initial, remaining, reserved, sold FROM sales WHERE id = '{crowd.sale['id']}'"
    told = {_decoded(body)["orderId"] for body in crowd.told.values()}
    deadline = time.monotonic() + DEADLINE_SECONDS
    wanted = [[str(books[name]) for name in ("initial", "remaining", "reserved", "sold")]]
    while True:
        rows = await asyncio.to_thread(crowd.shop.rows, orders)
        counted = await asyncio.to_thread(crowd.shop.rows, counters)
        if {row[0] for row in rows} == told and counted == wanted:
            break
        missing, extra = told - {row[0] for row in rows}, {row[0] for row in rows} - told
        assert time.monotonic() < deadline, (len(missing), len(extra), counted, wanted, crowd.shop.unrecorded())
        await asyncio.sleep(0.1)
    units = Counter[str]()
    for _, status, quantity in rows:
        units[status] += int(quantity)
    assert units["reserved"] == books["reserved"], (units, books)
    assert units["paid"] == books["sold"], (units, books)
