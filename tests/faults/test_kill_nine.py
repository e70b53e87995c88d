"""``kill -9`` in the middle of a sale: what was acknowledged is there, and everything adds up."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from teahouse.clock import Clock
from tests.sales.shop import opened_shop

CHILD = Path(__file__).with_name("killed_ledger.py")
DEADLINE_SECONDS = 30.0
STOCK = 20_000


def killed_in_the_middle(database: str, sale_id: str, seed: int, lines: int) -> list[list[str]]:
    """Runs the child until it has said ``lines`` things, kills it, and returns all that it said."""
    command = [sys.executable, str(CHILD), database, sale_id, str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        said, deadline = b"", time.monotonic() + DEADLINE_SECONDS
        while said.count(b"\n") < lines:
            ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(child.stdout.fileno(), 65536) if ready else b""
            assert chunk, f"the child said only {len(said)} bytes"
            said += chunk
        child.kill()
        said += child.stdout.read()
    return [line.split() for line in said.decode().splitlines() if line]


@pytest.mark.parametrize("seed", range(4))
async def test_after_kill_nine_every_acknowledged_order_is_there_and_stock_adds_up(tmp_path, seed):
    chance = random.Random(seed)
    async with opened_shop(tmp_path) as shop:
        shop.clock.advance(Clock().now() - shop.clock.now() - 60)
        sale = await shop.sale(stock=STOCK, limit=STOCK, lasts=100_000, pay=3600)
        said = []
        for life in range(3):
            await shop.ledger.aclose()
            path, lines = shop.database.url.database, chance.randint(1, 1500)
            said += killed_in_the_middle(path, sale.sale.id, 10 * seed + life, lines)
            await shop.restart()
            await shop.tally(sale)
        for words in said:
            match words:
                case ["reserved", buyer, key, quantity, order_id]:
                    assert (await shop.buy(sale, buyer, key, int(quantity))).id == order_id
                case [("paid" | "cancelled") as status, order_id]:
                    row = await shop.ledger.settle(order_id, 1, f"probe-{order_id}")
                    assert row.reason == {"paid": "already-paid", "cancelled": "wrong-amount"}[status]
        assert (await shop.tally(sale)).initial == STOCK
