"""``teahouse key rotate``."""

from __future__ import annotations

import stat
from pathlib import Path


def test_a_rotated_key_signs_and_the_old_one_still_verifies(run, place: Path):
    assert run("key", "rotate", "--data-dir", "d").exit_code == 0
    before = (place / "d/secret.key").read_text().splitlines()
    result = run("key", "rotate", "--data-dir", "d")
    after = (place / "d/secret.key").read_text().splitlines()
    assert after[1:] == before
    assert "1 older still verify" in result.stdout
    assert "Restart" in result.stdout
    assert not any(key in result.output for key in after)


def test_a_rotated_key_stays_private(run, place: Path):
    run("key", "rotate", "--data-dir", "d")
    assert stat.S_IMODE((place / "d/secret.key").stat().st_mode) == 0o600


def test_a_key_from_the_settings_is_rotated_in_the_settings(run, place: Path, monkeypatch):
    monkeypatch.setenv("TEAHOUSE_SECRET_KEY", "k" * 40)
    result = run("key", "rotate")
    assert result.exit_code == 2
    assert "TEAHOUSE_PREVIOUS_SECRET_KEYS" in result.stderr
    assert not (place / "teahouse-data").exists()
