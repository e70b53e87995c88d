"""``teahouse reconcile``: what does not agree is listed, and repaired where no person has to decide."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from teahouse import datadir

SALE, PRODUCT, USER, ORDER = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)
Sql = Callable[[str], None]


@pytest.fixture
def sql(run, place: Path) -> Sql:
    """A data directory with one sale of ten, one of them reserved; and a hand in its database."""
    run("migrate", "--data-dir", "d")

    def execute(statements: str) -> None:
        with closing(sqlite3.connect(place / "d/teahouse.db")) as connection:
            connection.executescript(statements)

    execute(
        f"""
        INSERT INTO users VALUES ('{USER}', 'buyer', '', 'user', 0);
        INSERT INTO products VALUES ('{PRODUCT}', 'tea', '', '[]', 100, 0, 0);
        INSERT INTO sales (id, product_id, price, starts_at, ends_at, per_buyer_limit, pay_within_seconds, created_at,
            initial, remaining, reserved, sold)
        VALUES ('{SALE}', '{PRODUCT}', 100, 0, 1, 1, 900, 0, 10, 9, 1, 0);
        INSERT INTO orders (id, sale_id, buyer_id, idempotency_key, quantity, amount, status,
            created_at, pay_before, changed_at)
        VALUES ('{ORDER}', '{SALE}', '{USER}', 'key', 1, 100, 'reserved', 0, 900000, 0);
        """
    )
    return execute


def reconcile(run, *words: str):
    return run("reconcile", "--data-dir", "d", *words)


def test_no_difference_exits_0(run, sql: Sql):
    result = reconcile(run)
    assert (result.exit_code, result.stdout) == (0, "No difference.\n"), result.output


def test_a_difference_is_listed_with_what_to_do_and_exits_1(run, sql: Sql):
    sql("UPDATE sales SET remaining = 8, reserved = 2")
    result = reconcile(run)
    assert result.exit_code == 1
    assert f"reserved-differs  {SALE}  1 items" in result.stdout
    assert "teahouse reconcile --repair" in result.stderr


def test_a_repaired_difference_is_gone(run, sql: Sql):
    sql("UPDATE sales SET remaining = 8, reserved = 2")
    result = reconcile(run, "--repair")
    assert result.exit_code == 0, result.output
    assert "(repaired)" in result.stdout
    assert reconcile(run).exit_code == 0


def test_what_a_person_has_to_decide_is_left_and_exits_1(run, sql: Sql):
    sql("UPDATE orders SET status = 'paid'; UPDATE sales SET reserved = 0, sold = 1")
    result = reconcile(run, "--repair")
    assert result.exit_code == 1
    assert "paid-without-payment" in result.stdout
    assert "need a person" in result.stderr


def test_one_sale_can_be_looked_at_alone(run, sql: Sql):
    assert reconcile(run, "--sale", SALE).exit_code == 0


def test_a_sale_that_does_not_exist_is_a_usage_error(run, sql: Sql):
    result = reconcile(run, "--sale", "nope")
    assert result.exit_code == 2
    assert "no sale nope" in result.stderr


def test_looking_is_allowed_beside_a_running_server_and_repairing_is_not(run, sql: Sql, place: Path):
    with datadir.locked(place / "d"):
        assert reconcile(run).exit_code == 0
        refused = reconcile(run, "--repair")
    assert refused.exit_code == 2
    assert "in use by another Teahouse" in refused.stderr


def test_a_place_without_a_schema_names_the_command_that_makes_one(run):
    result = reconcile(run)
    assert result.exit_code == 2
    assert "teahouse migrate" in result.stderr
