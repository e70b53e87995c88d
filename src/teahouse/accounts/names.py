"""Which usernames, passwords, nicknames and avatar addresses are allowed, and when two usernames are the same one."""

from __future__ import annotations

import unicodedata
from urllib.parse import urlsplit

from teahouse.problems import FieldError, ValidationFailed

USERNAME_LENGTHS = (2, 64)
PASSWORD_LENGTHS = (8, 128)
NICKNAME_LENGTHS = (1, 64)
AVATAR_URL_LENGTH = 1024
_KEY_LENGTH = 255

# Letters, digits and marks that show nothing: two names would look the same.
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u180b\u180c\u180d\u180f")
# Scripts whose letters are easily taken for each other's.
_LOOKALIKES = frozenset({"LATIN", "GREEK", "CYRILLIC"})
_JOINER = "\u200d"  # holds emoji together


def username(text: str) -> str:
    """The name as it is kept: NFKC. Raises ``ValidationFailed`` that names the rule which is broken.

    2 to 64 letters, digits and marks of any script, and ``_ - .`` inside; no mixing of Latin, Greek and Cyrillic.
    """
    name = unicodedata.normalize("NFKC", text)
    broken = _length(name, USERNAME_LENGTHS) or _username_signs(name)
    if broken:
        raise _refused("/username", broken)
    return name


def username_key(text: str) -> str:
    """Two usernames are the same one when their keys are equal: Unicode's NFKC_Casefold.

    Never raises; what no username can be gets a key of its own that fits a column, too.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Databases take neither NUL nor lone surrogates; no username holds a question mark.
    return folded.encode("utf-8", "replace").decode().replace("\0", "?")[:_KEY_LENGTH]


def password(text: str, *, name: str) -> str:
    """The password as it is hashed: NFC, so that every keyboard gives the same bytes (RFC 8265 §4.2).

    8 to 128 characters, and not the username; raises ``ValidationFailed``.
    """
    secret = unicodedata.normalize("NFC", text)
    broken = _length(secret, PASSWORD_LENGTHS)
    if not broken and username_key(secret) == username_key(name):
        broken = "must not be the username"
    if not broken and not _encodable(secret):
        broken = "must be Unicode text"
    if broken:
        raise _refused("/password", broken)
    return secret


def presented_password(text: str) -> bytes:
    """What somebody typed, as it would have been hashed; the rules for new passwords do not apply."""
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def nickname(text: str) -> str:
    """The nickname as it is kept: NFC without outer spaces, 1 to 64 printable characters."""
    name = unicodedata.normalize("NFC", text).strip()
    broken = _length(name, NICKNAME_LENGTHS)
    if not broken and not all(sign.isprintable() or sign == _JOINER for sign in name):
        broken = "must not hold control or invisible characters"
    if broken:
        raise _refused("/nickname", broken)
    return name


def avatar_url(text: str) -> str:
    """Empty, an http(s) address, or a path on this server; anything else could run in somebody's page."""
    if not text:
        return text
    broken = None
    if len(text) > AVATAR_URL_LENGTH:
        broken = f"must be at most {AVATAR_URL_LENGTH} characters"
    elif not (text.isascii() and text.isprintable()) or set(text) & set(' "<>\\^`{|}'):
        broken = "must be a percent-encoded URL"
    elif not _on_the_web(text):
        broken = "must be an http or https URL, or a path that begins with one slash"
    if broken:
        raise _refused("/avatarUrl", broken)
    return text


def _on_the_web(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    if parts.scheme in ("http", "https"):
        return bool(parts.hostname) and "@" not in parts.netloc
    return not parts.scheme and not parts.netloc and text.startswith("/")


def _username_signs(name: str) -> str | None:
    if any(not _allowed(sign) for sign in name):
        return "may hold letters, digits, marks and _ - . only"
    if unicodedata.category(name[0])[0] not in "LN" or name[-1] in "-.":
        return "must begin with a letter or digit, and not end with - or ."
    scripts = {unicodedata.name(sign, "").partition(" ")[0] for sign in name if sign.isalpha()}
    if len(scripts & _LOOKALIKES) > 1:
        return "must not mix Latin, Greek and Cyrillic letters"
    return None


def _allowed(sign: str) -> bool:
    if sign in "_-.":
        return True
    category = unicodedata.category(sign)
    if category[0] == "L" or category == "Nd":
        return sign not in _INVISIBLE
    return category in ("Mn", "Mc") and sign not in _INVISIBLE and not _variation_selector(sign)


def _variation_selector(sign: str) -> bool:
    return "\ufe00" <= sign <= "\ufe0f" or "\U000e0100" <= sign <= "\U000e01ef"


def _length(text: str, bounds: tuple[int, int]) -> str | None:
    least, most = bounds
    return None if least <= len(text) <= most else f"must be {least} to {most} characters"


def _encodable(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


def _refused(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(errors=[FieldError(pointer, detail)])
