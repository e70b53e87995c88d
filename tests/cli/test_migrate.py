"""``teahouse migrate``."""

from __future__ import annotations

from pathlib import Path

from teahouse import datadir, migrations


def test_an_empty_place_gets_the_newest_schema(run):
    result = run("migrate", "--data-dir", "d")
    assert result.exit_code == 0
    assert result.stdout == f"The schema went from nothing to {migrations.head()}.\n"


def test_a_schema_that_is_up_to_date_is_left_alone(run):
    run("migrate", "--data-dir", "d")
    result = run("migrate", "--data-dir", "d")
    assert result.exit_code == 0
    assert result.stdout == f"The schema is up to date at {migrations.head()}.\n"


def test_the_schema_is_not_changed_under_a_running_server(run, place: Path):
    with datadir.locked(place / "d"):
        result = run("migrate", "--data-dir", "d")
    assert result.exit_code == 2
    assert "in use by another Teahouse" in result.stderr


def test_a_damaged_database_is_told(run, place: Path):
    datadir.prepare(place / "d")
    (place / "d/teahouse.db").write_bytes(b"this is no database" * 100)
    result = run("migrate", "--data-dir", "d")
    assert result.exit_code == 1
    assert result.stderr.startswith("teahouse: ")
