"""Which usernames, passwords, nicknames and avatar addresses are allowed, and when two usernames are the same one.

Each rule is a pattern, which the interface's description shows, so that a client can check before it asks.
"""

from __future__ import annotations

import re
import unicodedata

from teahouse.problems import FieldError, PasswordTooEasy, ValidationFailed

# Latin letters, digits and Chinese characters: every one is its own NFKC form, and no two look alike.
USERNAME = r"^[A-Za-z0-9\u4e00-\u9fff][A-Za-z0-9\u4e00-\u9fff._-]{0,62}[A-Za-z0-9\u4e00-\u9fff_]$"
PASSWORD_LENGTHS = (8, 128)
# Control characters, what turns the direction of writing, and letters that show nothing.
_HIDDEN = (
    r"\x00-\x1f\x7f-\x9f\u061c\u115f\u1160\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
)
_SPACES = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
NICKNAME = rf"^[^{_HIDDEN}{_SPACES}]([^{_HIDDEN}]{{0,62}}[^{_HIDDEN}{_SPACES}])?$"
# Nothing that could run in somebody's page, and no "//host", which would be another server.
_PATH_SIGNS = r"A-Za-z0-9._~!$&'()*+,;=:@%?#-"
AVATAR_URL = rf"^(https?://[A-Za-z0-9.-]{{1,253}}(:[0-9]{{1,5}})?([/?#][/{_PATH_SIGNS}]*)?|/([{_PATH_SIGNS}][/{_PATH_SIGNS}]*)?)?$"
AVATAR_URL_LENGTH = 1024

_USERNAME, _NICKNAME, _AVATAR_URL = (re.compile(pattern) for pattern in (USERNAME, NICKNAME, AVATAR_URL))
_KEY_LENGTH = 255


def username(text: str) -> str:
    """The name as it is kept; raises ``ValidationFailed``.

    2 to 64 Latin letters, digits and Chinese characters, with ``_ - .`` between them.
    """
    if _USERNAME.fullmatch(text) is None:
        raise _refused(
            "/username",
            "must be 2 to 64 Latin letters, digits or Chinese characters, with _ - . between them",
        )
    return text


def username_key(text: str) -> str:
    """Two usernames are the same one when their keys are equal: Unicode's NFKC_Casefold.

    Never raises; what no username can be gets a key of its own that fits a column, too.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    # Databases take neither NUL nor lone surrogates; no username holds a question mark.
    return folded.encode("utf-8", "replace").decode().replace("\0", "?")[:_KEY_LENGTH]


def password(text: str, *, name: str) -> bytes:
    """What is hashed of a new password; raises ``ValidationFailed`` or ``PasswordTooEasy``.

    8 to 128 characters of any kind, and not the username.
    """
    least, most = PASSWORD_LENGTHS
    if not least <= len(text) <= most:
        raise _refused("/password", f"must be {least} to {most} characters")
    if username_key(text) == username_key(name):
        raise PasswordTooEasy
    return presented_password(text)


def presented_password(text: str) -> bytes:
    """What is hashed of a password that somebody typed: NFC, so that every keyboard gives the same (RFC 8265 §4.2)."""
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def nickname(text: str) -> str:
    """The nickname as it is kept; raises ``ValidationFailed``.

    1 to 64 characters, without hidden ones and without spaces around them.
    """
    if _NICKNAME.fullmatch(text) is None:
        raise _refused("/nickname", "must be 1 to 64 characters, without hidden ones and without spaces around them")
    return text


def avatar_url(text: str) -> str:
    """Empty, an http(s) URL, or a path on this server, percent-encoded; raises ``ValidationFailed``."""
    if len(text) > AVATAR_URL_LENGTH or _AVATAR_URL.fullmatch(text) is None:
        raise _refused(
            "/avatarUrl",
            f"must be an http or https URL or a path from the root, of at most {AVATAR_URL_LENGTH} characters",
        )
    return text


def _refused(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(errors=[FieldError(pointer, detail)])
