"""The data directory: one server at a time, and keys that nobody else reads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from teahouse import datadir
from teahouse.settings import Secret, Settings, SettingsError


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_the_first_start_makes_a_private_directory_and_a_private_key(settings: Settings):
    (key,) = datadir.signing_keys(settings)
    assert len(key.reveal()) == 64
    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.data_dir / "secret.key").stat().st_mode) == 0o600


def test_the_next_start_reads_the_same_key_and_leaves_nothing_behind(settings: Settings):
    assert datadir.signing_keys(settings) == datadir.signing_keys(settings)
    assert [path.name for path in settings.data_dir.iterdir()] == ["secret.key"]


def test_two_first_starts_at_once_agree_on_one_key(settings: Settings):
    datadir.prepare(settings.data_dir)
    code = (
        "import sys; from pathlib import Path; from teahouse import datadir; from teahouse.settings import Settings;"
        "print(datadir.signing_keys(Settings(data_dir=Path(sys.argv[1])))[0].reveal())"
    )

    def start(_index: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(settings.data_dir)], check=True, capture_output=True, text=True, timeout=60
        ).stdout

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(start, range(4)))) == 1


def test_rotation_puts_a_new_key_in_front_and_keeps_the_old_one(settings: Settings):
    (old,) = datadir.signing_keys(settings)
    assert datadir.rotate(settings.data_dir) == 2
    new, kept = datadir.signing_keys(settings)
    assert kept == old != new
    assert stat.S_IMODE((settings.data_dir / "secret.key").stat().st_mode) == 0o600


def test_rotation_before_the_first_start_makes_the_first_key(settings: Settings):
    assert datadir.rotate(settings.data_dir) == 1


def test_rotation_survives_a_rotation_that_was_cut_short(settings: Settings):
    datadir.signing_keys(settings)
    (settings.data_dir / "secret.key.new").write_text("half")
    assert datadir.rotate(settings.data_dir) == 2


def test_keys_do_not_pile_up_for_ever(settings: Settings):
    counts = [datadir.rotate(settings.data_dir) for _ in range(12)]
    assert counts[-1] == 9


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_key_that_others_may_read_is_refused(settings: Settings, mode: int):
    datadir.signing_keys(settings)
    (settings.data_dir / "secret.key").chmod(mode)
    with pytest.raises(SettingsError, match="chmod 600"):
        datadir.signing_keys(settings)


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "has no key"), (b"\n \n", "has no key"), (b"short\n", "shorter"), (b"\xff", "read")]
)
def test_a_damaged_key_file_is_refused_with_a_way_out(settings: Settings, content: bytes, expected: str):
    datadir.prepare(settings.data_dir)
    path = settings.data_dir / "secret.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=expected):
        datadir.signing_keys(settings)


def test_a_key_from_the_settings_is_used_as_it_is_and_no_file_is_made(tmp_path: Path):
    keys = (Secret("a" * 40), Secret("b" * 40))
    settings = Settings(data_dir=tmp_path / "data", secret_key=keys[0], previous_secret_keys=keys[1:])
    assert datadir.signing_keys(settings) == keys
    assert not settings.data_dir.exists()


def test_a_second_server_on_one_directory_is_told_who_holds_it(tmp_path: Path):
    with (
        datadir.locked(tmp_path),
        pytest.raises(SettingsError, match=f"in use by another Teahouse .process {os.getpid()}"),
        datadir.locked(tmp_path),
    ):
        pass


def test_a_directory_is_free_again_when_its_server_has_ended(tmp_path: Path):
    for _ in range(2):
        with datadir.locked(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_a_server_that_was_killed_leaves_the_directory_free(tmp_path: Path):
    code = (
        "import sys, signal; from pathlib import Path; from teahouse import datadir\n"
        "with datadir.locked(Path(sys.argv[1])): print('held', flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(SettingsError, match=str(holder.pid)), datadir.locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
    with datadir.locked(tmp_path):
        pass


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be made"):
        datadir.prepare(tmp_path / "file" / "data")


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SettingsError, match="cannot be written to"):
        datadir.prepare(tmp_path)
