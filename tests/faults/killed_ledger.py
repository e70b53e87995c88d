"""A child process that sells, pays and cancels, and writes down what its buyers were told; it is killed while at it."""

from __future__ import annotations

import asyncio
import random
import sys

from teahouse.clock import Clock
from teahouse.engines.sql import Database
from teahouse.problems import Problem
from teahouse.sales.stock_sql import SqlStockLedger

BUYERS = 64


async def main(path: str, sale_id: str, seed: int) -> None:
    chance = random.Random(seed)
    database = Database(f"sqlite:///{path}")
    await database.connect()
    ledger = SqlStockLedger(database, clock=Clock())
    await ledger.start()

    def told(*words: object) -> None:
        # One write each: what is in the pipe was said, whatever happens next.
        sys.stdout.write(" ".join(map(str, words)) + "\n")
        sys.stdout.flush()

    async def buyer(number: int) -> None:
        name = f"{number:032x}"
        for turn in range(10_000):
            key = f"{seed}-{turn}"
            try:
                made = await ledger.reserve(sale_id, name, key, chance.randint(1, 3))
                told("reserved", name, key, made.quantity, made.id)
                match chance.randrange(3):
                    case 0:
                        await ledger.settle(made.id, made.amount, f"t-{made.id}")
                        told("paid", made.id)
                    case 1:
                        await ledger.cancel(made.id, name)
                        told("cancelled", made.id)
            except Problem:
                await ledger.expire_due()

    told("ready")
    await asyncio.gather(*(buyer(number) for number in range(BUYERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
