"""What a durable purchase costs inside the ledger, without HTTP: µs per purchase, and where they go.

taskset -c 0 .venv/bin/python -m bench.ledger [--callers 256] [--purchases 200000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import uvloop

from teahouse.clock import Clock
from teahouse.engines.sql import Database
from teahouse.sales import batch_sql, stock_sql
from teahouse.sales.catalogue_sql import SqlCatalogue
from teahouse.sales.decisions import Decisions
from teahouse.sales.model import Product, Sale

HOUR_MS = 3_600_000


class Split:
    """Wall seconds by part, gathered by wrapping the parts."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def around(self, name, call):
        async def timed(*args, **kwargs):
            start = time.perf_counter()
            try:
                return await call(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return timed

    def around_plain(self, name, call):
        def timed(*args):
            start = time.perf_counter()
            try:
                return call(*args)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return timed


async def prepared(folder: Path, clock: Clock):
    database = Database(f"sqlite:///{folder}/ledger.db")
    await database.connect()
    await database.create_all()
    ledger = stock_sql.SqlStockLedger(database, clock=clock)
    await ledger.start()
    now = clock.now_ms()
    product = Product(clock.new_id(), "tea", "", (), 100, now, now)
    await SqlCatalogue(database).add(product)
    sale = Sale(clock.new_id(), product.id, 10**9, 100, now - 1000, now + HOUR_MS, 5, 900, now)
    await ledger.open(sale)
    return database, ledger, sale


async def purchases(ledger, sale, *, callers: int, count: int):
    async def buyer(rounds: int):
        for _ in range(rounds):
            await ledger.reserve(sale.id, os.urandom(16).hex(), os.urandom(16).hex(), 1)

    await asyncio.gather(*(buyer(count // callers) for _ in range(callers)))


def rss_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main(callers: int, count: int, rounds: int) -> None:
    split, clock = Split(), Clock()
    Decisions.take = split.around_plain("decide", Decisions.take)
    # In the writer's thread: sign, insert, count.
    batch_sql.Batch.write = split.around_plain("statements", batch_sql.Batch.write)
    stock_sql.SqlStockLedger._write = split.around("transaction", stock_sql.SqlStockLedger._write)
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        database, ledger, sale = await prepared(Path(folder), clock)
        before = rss_mb()
        per_round = count // rounds
        for number in range(rounds):
            split.seconds.clear()
            wall, cpu = time.perf_counter(), time.process_time()
            await purchases(ledger, sale, callers=callers, count=per_round)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            sql = split.seconds["statements"]
            parts = {
                "decide": split.seconds["decide"],
                "sql": sql,
                "rows, hop, begin+commit": split.seconds["transaction"] - sql,
            }
            shown = "  ".join(f"{name} {seconds / per_round * 1e6:5.1f}" for name, seconds in parts.items())
            print(
                f"{(number + 1) * per_round:>9,} bought  {per_round / wall:>8,.0f}/s  "
                f"wall {wall / per_round * 1e6:5.1f} µs  cpu {cpu / per_round * 1e6:5.1f} µs  ({shown})"
            )
        print(f"mean batch {ledger.batcher.sizes.calls / ledger.batcher.sizes.flushes:.0f}")
        print(f"memory {(rss_mb() - before) * 1e6 / count / 1e3:.2f} KB per order of a running sale")
        costs = []
        for _ in range(5):
            start = time.perf_counter()
            await asyncio.gather(
                *(ledger.reserve(sale.id, f"{n:032x}", "again", 9) for n in range(callers)), return_exceptions=True
            )
            costs.append((time.perf_counter() - start) / callers * 1e6)
        print(f"a refusal {statistics.median(costs):.1f} µs")
        await ledger.aclose()
        fresh = stock_sql.SqlStockLedger(database, clock=clock)
        start = time.perf_counter()
        await fresh.start()
        print(f"rebuilt from SQL in {time.perf_counter() - start:.2f} s: {fresh.live:,} live reservations")
        await fresh.aclose()
        await database.aclose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--callers", type=int, default=256)
    parser.add_argument("--purchases", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    uvloop.run(main(options.callers, options.purchases, options.rounds))
