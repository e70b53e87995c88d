"""``teahouse user create``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from teahouse import datadir

GOOD = "correct horse battery staple"


def create(run, name: str = "boss", *words: str, password: str = GOOD):
    return run("user", "create", name, "--password-stdin", "--data-dir", "d", *words, stdin=password)


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAHOUSE_ACCOUNTS__ARGON2__MEMORY_KIB", "64")


def test_a_new_account_prints_its_id_and_nothing_else(run):
    result = create(run, "boss", "--role", "admin")
    assert result.exit_code == 0, result.output
    assert re.fullmatch(r"[0-9a-f]{32}\n", result.stdout)


def test_an_account_can_be_made_before_the_first_start_and_its_place_is_private(run, place: Path):
    create(run)
    assert (place / "d/teahouse.db").exists()
    assert (place / "d").stat().st_mode & 0o077 == 0


def test_an_account_can_be_made_beside_a_running_server(run, place: Path):
    run("migrate", "--data-dir", "d")
    with datadir.locked(place / "d"):
        assert create(run).exit_code == 0


def test_a_name_that_is_taken_is_told(run):
    create(run)
    result = create(run)
    assert result.exit_code == 1
    assert result.stderr.startswith("teahouse: ")
    assert result.stdout == ""


@pytest.mark.parametrize("password", ["", "short", "\n"])
def test_a_weak_password_is_refused_without_repeating_it(run, password: str):
    result = create(run, password=password)
    assert result.exit_code == 1
    assert "password" in result.stderr
    assert "short\n" not in result.stderr


def test_the_line_break_at_the_end_is_not_part_of_the_password(run):
    assert create(run, "first", password=GOOD + "\r\n").exit_code == 0


@pytest.mark.parametrize("name", ["", " ", "a\x00b", "x" * 1000])
def test_a_name_that_cannot_be_is_refused(run, name: str):
    result = create(run, name)
    assert result.exit_code == 1
    assert "username" in result.stderr


def test_a_role_that_does_not_exist_is_a_usage_error(run):
    assert create(run, "boss", "--role", "king").exit_code == 2


def test_without_a_terminal_the_password_must_come_from_standard_input(run):
    result = run("user", "create", "boss", stdin=GOOD)
    assert result.exit_code == 2
    assert "--password-stdin" in result.stderr


def test_more_than_a_password_on_standard_input_is_a_usage_error(run):
    result = create(run, password="x" * 5000)
    assert result.exit_code == 2


def test_a_password_that_is_not_text_is_a_usage_error(run):
    result = run("user", "create", "boss", "--password-stdin", stdin=b"\xff\xfe")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr
