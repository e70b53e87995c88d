"""``kill -9`` of the server in the middle of a rush, asked about over HTTP afterwards."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from teahouse.web.client import ClientError
from tests.journeys.people import Person, at, books, hire_boss, log_in, log_in_boss, put_on_sale
from tests.journeys.servers import running, teahouse

BUYERS = 16


class Rush:
    """Buyers who buy, pay and cancel until the server is gone; ``told`` is what each was told, by buyer and key."""

    def __init__(self, sale, boss: Person, buyers: list[Person], chance: random.Random) -> None:
        self.sale, self.boss, self.buyers, self.chance = sale, boss, buyers, chance
        self.told: dict[tuple[int, str], bytes] = {}
        self.became: dict[str, str] = {}
        self.unanswered: list[tuple[int, str]] = []
        self.enough = asyncio.Event()
        self.answers = 0

    async def until(self, answers: int, kill) -> None:
        self.answers = answers

        async def end():
            await self.enough.wait()
            kill()

        await asyncio.gather(end(), *(self._buys(number) for number in range(len(self.buyers))))

    async def _buys(self, number: int) -> None:
        buyer = self.buyers[number]
        for turn in range(100_000):
            key = f"{number}-{turn}"
            try:
                made = await buyer.buy(self.sale, key)
                assert made.status == 202, made.body
                self.told[number, key] = made.body
                if len(self.told) >= self.answers:
                    self.enough.set()
                order = made.json()["orderId"]
                if self.chance.random() < 0.3:
                    paid = await buyer.post("/v1/sandbox/payments", json={"orderId": order})
                    self.became[order] = {200: "paid"}[paid.status]
                elif self.chance.random() < 0.5:
                    cancelled = await buyer.post(f"/v1/orders/{order}/cancel")
                    self.became[order] = {200: "cancelled"}[cancelled.status]
            except ClientError:
                self.unanswered.append((number, key))
                return


@pytest.mark.parametrize("seed", range(2))
async def test_after_kill_nine_each_acknowledged_purchase_is_answered_with_the_same_bytes(tmp_path: Path, seed: int):
    chance = random.Random(seed)
    hire_boss(tmp_path)
    with running(tmp_path) as server:
        async with at(server) as client:
            boss = await log_in_boss(client)
            sale = await put_on_sale(boss, stock=100_000, perBuyerLimit=100_000)
            rush = Rush(sale, boss, [await log_in(client) for _ in range(BUYERS)], chance)
            await rush.until(chance.randint(1, 400), server.kill)
    assert rush.unanswered
    checked = teahouse("reconcile", "--data-dir", "data", cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout
    with running(tmp_path) as server:
        async with at(server) as client:
            back = [Person(client, buyer.tokens) for buyer in rush.buyers]
            for (number, key), body in rush.told.items():
                again = await back[number].buy(sale, key)
                assert (again.status, again.body) == (202, body)
            for number, key in rush.unanswered:
                # Carried out or not, asked twice it is one order.
                first, second = [await back[number].buy(sale, key) for _ in range(2)]
                assert (first.status, first.body) == (202, second.body)
            statuses = {}
            for buyer in back:
                path = "/v1/orders?limit=100"
                while path:
                    page = (await buyer.get(path)).json()
                    statuses |= {order["orderId"]: order["status"] for order in page["items"]}
                    path = page["nextCursor"] and f"/v1/orders?limit=100&cursor={page['nextCursor']}"
            assert {order: statuses[order] for order in rush.became} == rush.became
            assert (await books(Person(client, boss.tokens), sale))["initial"] == 100_000
