"""The data directory: one server at a time, and the secret keys that live in it."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from teahouse.settings import MIN_SECRET_LENGTH, Secret, Settings, SettingsError

KEY_FILE = "secret.key"
LOCK_FILE = "lock"
_PRIVATE = 0o600
_OLDER_KEYS = 8


def prepare(directory: Path) -> None:
    """Makes the directory, for its owner only, where it is missing; raises ``SettingsError`` where that is refused."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"data_dir: {directory} cannot be made ({error.strerror}); choose another with --data-dir."
        ) from error
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise SettingsError(f"data_dir: {directory} cannot be written to; mend its owner or choose another.")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory for this process; raises ``SettingsError`` while another one holds it.

    The kernel drops the lock when the process ends, however it ends, so a crash leaves nothing to clean up.
    """
    prepare(directory)
    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise SettingsError(_in_use(directory, descriptor)) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def signing_keys(settings: Settings) -> tuple[Secret, ...]:
    """The secret keys, the one that signs first; the others only verify.

    They are the settings' own where ``secret_key`` is set, else those of ``secret.key``, made on first use.
    """
    if settings.secret_key:
        return (settings.secret_key, *settings.previous_secret_keys)
    prepare(settings.data_dir)
    path = settings.data_dir / KEY_FILE
    if not path.exists():
        _create(path, _new_key() + "\n")
    return _read(path)


def rotate(directory: Path) -> int:
    """Puts a new key in front; the eight before it go on verifying. Returns how many keys there are now."""
    prepare(directory)
    path = directory / KEY_FILE
    older = [key.reveal() for key in _read(path)] if path.exists() else []
    lines = [_new_key(), *older[:_OLDER_KEYS]]
    fresh = directory / f"{KEY_FILE}.new"
    fresh.unlink(missing_ok=True)
    _write(fresh, "\n".join(lines) + "\n")
    fresh.replace(path)
    _sync(directory)
    return len(lines)


def _new_key() -> str:
    return secrets.token_hex(32)


def _create(path: Path, text: str) -> None:
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    _write(fresh, text)
    try:
        # A link never replaces: of two processes that start at once, one key wins and both read that one.
        os.link(fresh, path)
    except FileExistsError:
        return
    finally:
        fresh.unlink()
    _sync(path.parent)


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> tuple[Secret, ...]:
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from error
    if mode & 0o077:
        raise SettingsError(f"{path}: others on this machine may read it (mode {mode:04o}); run: chmod 600 {path}")
    keys = tuple(Secret(line) for line in lines if line)
    if not keys:
        raise SettingsError(f"{path}: has no key in it; delete it and a new one is made (everybody logs in again).")
    if any(len(key.reveal()) < MIN_SECRET_LENGTH for key in keys):
        raise SettingsError(f"{path}: has a key shorter than {MIN_SECRET_LENGTH} characters; delete that line.")
    return keys


def _in_use(directory: Path, descriptor: int) -> str:
    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    who = f" (process {holder})" if holder.isdigit() else ""
    return (
        f"data_dir: {directory} is in use by another Teahouse{who}. "
        "Stop that one first, or choose another directory with --data-dir."
    )
