"""A sale's orders are read in pieces: all of them, each once, however long the whole takes."""

from __future__ import annotations

import asyncio
import time

import pytest
from sqlalchemy import insert

from teahouse.engines.sql import Database
from teahouse.sales import orders_sql
from teahouse.sales.model import RESERVED
from teahouse.sales.orders_sql import orders, stream_orders

SALE, OTHER = "1" * 32, "2" * 32


def row(number: int, sale: str) -> dict[str, object]:
    return {
        "id": f"{number:032x}",
        "sale_id": sale,
        "buyer_id": "b" * 32,
        "idempotency_key": str(number),
        "quantity": 1,
        "amount": 300,
        "status": RESERVED,
        "created_at": 0,
        "pay_before": 0,
        "changed_at": 0,
    }


@pytest.mark.parametrize("number", [0, 1, 9, 10, 11, 50])
async def test_every_order_of_a_sale_comes_once_and_slow_readers_are_not_cut_off(database_url, monkeypatch, number):
    monkeypatch.setattr(orders_sql, "_STREAM_CHUNK", 10)
    database = Database(database_url, timeout_seconds=0.5)
    await database.connect()
    await database.create_all()
    rows = [row(2 * index, SALE) for index in range(number)] + [row(2 * index + 1, OTHER) for index in range(15)]
    await database.write(lambda connection: connection.execute(insert(orders), rows) and None)
    found = []
    async with database.reading() as connection:
        async for chunk in stream_orders(connection, SALE):
            assert 0 < len(chunk) <= 10
            found += [reservation.id for reservation, _, _ in chunk]
            until = time.monotonic() + 0.2
            while time.monotonic() < until:
                await asyncio.sleep(0.02)
    assert found == [f"{2 * index:032x}" for index in range(number)]
    await database.aclose()
