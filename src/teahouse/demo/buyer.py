"""One buyer: logs in, looks, asks, pays or does not, and hears what became of it."""

from __future__ import annotations

import asyncio
from itertools import count

from teahouse.demo.answers import OrderPage, OrderSeen, PaymentSeen, Reserved, SaleSeen, Tokens
from teahouse.demo.api import Api, ServerClock, Surprise, read, reply, slug
from teahouse.demo.ledger import Ask, Kind, Ledger, Probe, Reply, Twins
from teahouse.demo.line import Line
from teahouse.demo.plan import LIMIT_PER_BUYER, Ending, Manner, Part
from teahouse.demo.talk import Heard
from teahouse.web.client import Answer

# A sale may look open here a moment before it is: the clocks agree to a fraction of a round trip only.
_CLOCK_DOUBT_SECONDS = 0.25
_STARTS = 20
_MOST_PAGES = 20


class Buyer:
    """A buyer, the reservation they hold, if any, and their line to the shop, if any.

    ``has_lost_it`` is true where the reservation's time was up. Every method may raise ``Surprise``.
    """

    def __init__(
        self,
        number: int,
        name: str,
        part: Part,
        *,
        api: Api,
        clock: ServerClock,
        ledger: Ledger,
        told_within: float,
    ) -> None:
        self.number = number
        self.part = part
        self.api = api
        self.reserved: Reserved | None = None
        self.key = self.user_id = ""
        self.line: Line | None = None
        self.has_lost_it = False
        self._accepted: Reply | None = None
        self._name = name
        self._clock = clock
        self._ledger = ledger
        self._told_within = told_within
        self._refresh_token = ""
        self._keys = count(1)

    # --- login --------------------------------------------------------------------------------------------------------

    async def log_in(self, nonce: str) -> None:
        """With a sandbox code, good once."""
        answer = await self._log_in(nonce)
        tokens = read(answer, Tokens, 200)
        self.api.token, self._refresh_token = tokens.access_token, tokens.refresh_token
        self.user_id = tokens.user.id

    async def use_code_again(self, nonce: str) -> Probe:
        """A login code works once."""
        answer = await self._log_in(nonce)
        return Probe("A login code used again", "401 wechat-code-invalid", f"{answer.status} {slug(answer)}")

    async def refresh(self) -> Probe:
        """A new pair of tokens, and the new access token works."""
        body = {"refreshToken": self._refresh_token}
        tokens = read(await self.api.ask(Kind.OTHER, "POST", "/v1/auth/refresh", json=body), Tokens, 200)
        self.api.token, self._refresh_token = tokens.access_token, tokens.refresh_token
        answer = await self.api.ask(Kind.OTHER, "GET", "/v1/me")
        return Probe("A refreshed access token", "200", str(answer.status))

    async def forge(self) -> Probe:
        """The token with another signature is nobody's."""
        head, _, signature = self.api.token.rpartition(".")
        forged = f"{head}.{signature[::-1]}"
        answer = await self.api.ask(Kind.OTHER, "GET", "/v1/me", token=forged)
        return Probe("A forged access token", "401 access-token-invalid", f"{answer.status} {slug(answer)}")

    async def _log_in(self, nonce: str) -> Answer:
        body = {"code": f"sandbox-{self._name}-{nonce}"}
        return await self.api.ask(Kind.LOGIN, "POST", "/v1/auth/wechat", json=body)

    async def look(self, path: str, kind: Kind) -> None:
        """At a page of the mini-program."""
        answer = await self.api.ask(kind, "GET", path)
        if answer.status != 200:
            raise Surprise(f"GET {path}: {answer.status} {slug(answer)}")

    # --- asking -------------------------------------------------------------------------------------------------------

    async def come_early(self, sale: SaleSeen) -> None:
        """Asks before the start, where there is still time for it."""
        if self._clock.now() > sale.starts_at.timestamp() - _CLOCK_DOUBT_SECONDS:
            return
        self.key = self._new_key()
        answer = await self._ask(sale.id, self.key, 1)
        if self._clock.now() < sale.starts_at.timestamp() - _CLOCK_DOUBT_SECONDS or answer.status != 202:
            self._noted(Ask.EARLY, answer)
        else:
            self._noted(Ask.RUSH, answer)

    async def rush(self, sale: SaleSeen) -> None:
        """The sale has started: asks for too much where that is the part, then for one, in the part's manner."""
        if self.part.greedy:
            self._noted(Ask.GREEDY, await self._on_time(sale, LIMIT_PER_BUYER + 1))
        match self.part.manner:
            case Manner.PLAIN:
                self._noted(Ask.RUSH, await self._on_time(sale, 1))
            case Manner.TWICE:
                await self._ask_twice(sale)
            case Manner.HANGS_UP:
                await self._hang_up(sale)

    async def try_again(self, sale_id: str) -> bool:
        """Asks for what has returned; True when it worked."""
        self.key = self._new_key()
        self._noted(Ask.WAITING, await self._ask(sale_id, self.key, 1))
        return self.reserved is not None

    async def ask_again(self, sale_id: str) -> None:
        """The accepted purchase once more, as a mini-program does that was closed and opened again."""
        assert self._accepted is not None
        again = await self._ask(sale_id, self.key, 1)
        self._ledger.twins.append(Twins("Accepted, asked again later", self._accepted, reply(again)))

    async def use_key_for_another(self, sale_id: str) -> None:
        """The key of the accepted purchase, with another body."""
        self._noted(Ask.OTHER_BODY, await self._ask(sale_id, self.key, LIMIT_PER_BUYER + 1))

    async def want_more(self, sale_id: str) -> None:
        """One more, while holding as many as are allowed."""
        if self._may_have_expired():
            return
        self._noted(Ask.GREEDY, await self._ask(sale_id, self._new_key(), 1))

    async def _on_time(self, sale: SaleSeen, quantity: int, key: str = "") -> Answer:
        """Asks; where the server's clock turns out to be a little behind, again in a moment, with the same key."""
        self.key = key or self._new_key()
        for _ in range(_STARTS):
            answer = await self._ask(sale.id, self.key, quantity)
            in_doubt = self._clock.now() < sale.starts_at.timestamp() + _CLOCK_DOUBT_SECONDS
            if not in_doubt or slug(answer) != "sale-not-started":
                return answer
            self._ledger.asked_again += 1
            await asyncio.sleep(0.02)
        raise Surprise(f"sale {sale.id} has not started at {sale.starts_at} by its own clock")

    async def _ask_twice(self, sale: SaleSeen) -> None:
        # The first alone decides when the sale is open; from then on the pair leaves together.
        self.key = key = self._new_key()
        first, again = await asyncio.gather(self._ask(sale.id, key, 1), self._ask(sale.id, key, 1))
        if "sale-not-started" in (slug(first), slug(again)):
            # The start may have come between the two: one of them may have been accepted.
            first = await self._on_time(sale, 1, key)
            again = await self._ask(sale.id, key, 1)
        self._ledger.twins.append(Twins("Asked twice at the same time", reply(first), reply(again)))
        self._noted(Ask.RUSH, first)

    async def _hang_up(self, sale: SaleSeen) -> None:
        self.key = key = self._new_key()
        await self.api.hang_up(_purchases(sale.id), {"quantity": 1}, key)
        first = await self._ask(sale.id, key, 1)
        if slug(first) == "sale-not-started":
            first = await self._on_time(sale, 1, key)
        again = await self._ask(sale.id, key, 1)
        self._ledger.twins.append(Twins("Hung up, then asked again", reply(first), reply(again)))
        self._noted(Ask.RUSH, first)

    async def _ask(self, sale_id: str, key: str, quantity: int) -> Answer:
        return await self.api.ask(Kind.PURCHASE, "POST", _purchases(sale_id), json={"quantity": quantity}, key=key)

    def _noted(self, ask: Ask, answer: Answer) -> None:
        if answer.status != 202:
            self._ledger.refusal(ask, answer.status, slug(answer))
            return
        reserved = read(answer, Reserved, 202)
        self._ledger.accepted(self.number, reserved, resold=ask is Ask.WAITING)
        if ask in (Ask.RUSH, Ask.WAITING):
            self.reserved, self._accepted = reserved, reply(answer)
        else:
            self._ledger.wrong_refusals.add(f"asked {ask}: accepted")

    def _new_key(self) -> str:
        return f"{self._name}-{next(self._keys)}"

    # --- what is held -------------------------------------------------------------------------------------------------

    async def read_back(self) -> None:
        """The order can be read as soon as it was promised."""
        assert self.reserved is not None
        answer = await self.api.ask(Kind.ORDER, "GET", f"/v1/orders/{self.reserved.order_id}")
        if answer.status != 200:
            self._ledger.unreadable.add(f"order {self.reserved.order_id} was accepted, then: {answer.status}")
            return
        order = read(answer, OrderSeen, 200)
        if (order.order_id, order.quantity) != (self.reserved.order_id, self.reserved.quantity):
            self._ledger.unreadable.add(f"order {self.reserved.order_id} reads {order.quantity} of {order.order_id}")

    async def finish(self, ending: Ending) -> None:
        """Pays or cancels, and hears that it is done; or vanishes."""
        began = self._clock.now()
        match ending:
            case Ending.PAYS:
                await self._be_done(await self._pay(), began)
            case Ending.PAYS_TWICE:
                first, again = await self._pay(), await self._pay()
                self._ledger.twins.append(Twins("Paid, and the payment sent again", reply(first), reply(again)))
                await self._be_done(first, began)
            case Ending.CANCELS:
                await self._cancel(began)
            case Ending.VANISHES:
                self.has_lost_it = True

    async def pay_late(self) -> PaymentSeen:
        """The money arrives after the reservation has expired. Where it settles the order, that is heard."""
        began = self._clock.now()
        answer = await self._pay()
        await self._be_done(answer, began)
        return read(answer, PaymentSeen, 200)

    async def hear_of_expiry(self) -> None:
        """The reservation's time was up: the buyer has been told, or asks."""
        assert self.reserved is not None
        await self._learn("expired", self.reserved.pay_before.timestamp())

    async def spy(self, order_id: str) -> list[Probe]:
        """Somebody else's order is not there."""
        seen = await self.api.ask(Kind.OTHER, "GET", f"/v1/orders/{order_id}")
        cancelled = await self.api.ask(Kind.OTHER, "POST", f"/v1/orders/{order_id}/cancel")
        return [
            Probe("Reading somebody else's order", "404 not-found", f"{seen.status} {slug(seen)}"),
            Probe("Cancelling somebody else's order", "404 not-found", f"{cancelled.status} {slug(cancelled)}"),
        ]

    async def read_orders(self, sale_id: str) -> None:
        """All of the buyer's orders of the sale, as they are at the end."""
        cursor: str | None = ""
        for _ in range(_MOST_PAGES):
            more = f"&cursor={cursor}" if cursor else ""
            page = await self.api.get(Kind.ORDER, f"/v1/orders?limit=100{more}", OrderPage)
            for order in (each for each in page.items if each.sale_id == sale_id):
                self._ledger.orders[order.order_id] = (self.number, order)
            cursor = page.next_cursor
            if cursor is None:
                return
        raise Surprise(f"GET /v1/orders has no end after {_MOST_PAGES} pages")

    async def _be_done(self, payment: Answer, began: float) -> None:
        if read(payment, PaymentSeen, 200).state == "settled":
            await self._learn("paid", began)
        else:
            self.has_lost_it = True

    async def _learn(self, status: str, since: float) -> None:
        """By push; who hears nothing in time, or has no line, asks once. ``since`` in Unix seconds of the server."""
        assert self.reserved is not None
        order_id, heard = self.reserved.order_id, self._ledger.talk.heard
        told = await self.line.hear(order_id, status, self._told_within) if self.line else None
        if told is not None:
            heard[order_id, status] = Heard(by_push=True, seconds=max(told - since, 0.0))
            return
        order = await self.api.get(Kind.ORDER, f"/v1/orders/{order_id}", OrderSeen)
        heard[order_id, order.status] = Heard(by_push=False, seconds=max(self._clock.now() - since, 0.0))

    async def _cancel(self, began: float) -> None:
        assert self.reserved is not None
        answer = await self.api.ask(Kind.CANCEL, "POST", f"/v1/orders/{self.reserved.order_id}/cancel")
        if slug(answer) == "order-not-cancellable" and self._may_have_expired():
            self.has_lost_it = True
            return
        order = read(answer, OrderSeen, 200)
        if order.status != "cancelled":
            raise Surprise(f"a cancelled order is {order.status}")
        await self._learn("cancelled", began)

    def _may_have_expired(self) -> bool:
        # A machine that is very busy may take longer than a reservation lasts.
        assert self.reserved is not None
        return self._clock.now() > self.reserved.pay_before.timestamp() - 2 * _CLOCK_DOUBT_SECONDS

    async def _pay(self) -> Answer:
        assert self.reserved is not None
        body = {"orderId": self.reserved.order_id}
        answer = await self.api.ask(Kind.PAYMENT, "POST", "/v1/sandbox/payments", json=body)
        read(answer, PaymentSeen, 200)
        return answer


def _purchases(sale_id: str) -> str:
    return f"/v1/sales/{sale_id}/purchases"
