"""Refresh tokens: what is in one, how it is written, and what of it is stored.

A token is 64 bytes in base64url: the session's id (16), the session's family secret (16), and 32 random bytes of its
own. Only SHA-256 hashes are stored. The family secret tells a token this session once had from one somebody made up,
so that reuse is detected at any age without a growing list of old tokens, and a made-up token cannot end a session.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import NamedTuple

from teahouse.accounts.model import Presented

_TEXT_LENGTH = 86


class RefreshToken(NamedTuple):
    """One refresh token. ``secret`` is 32 random bytes, ``family`` 16, shared by all tokens of the session."""

    session_id: str
    family: bytes
    secret: bytes

    @classmethod
    def first(cls, session_id: str) -> RefreshToken:
        """The first token of a new session."""
        return cls(session_id, secrets.token_bytes(16), secrets.token_bytes(32))

    @classmethod
    def read(cls, text: str) -> RefreshToken | None:
        """The token written as ``text``; None where it is not one."""
        if len(text) != _TEXT_LENGTH or not text.isascii():
            return None
        try:
            raw = base64.b64decode(f"{text}==", altchars=b"-_", validate=True)
        except binascii.Error:
            return None
        token = cls(raw[:16].hex(), raw[16:32], raw[32:])
        # Base64 has spare bits at the end: only one spelling is the token.
        return token if token.text == text else None

    def __repr__(self) -> str:
        return f"RefreshToken(session_id={self.session_id!r}, …)"

    @property
    def text(self) -> str:
        """The token as the client keeps it."""
        return base64.urlsafe_b64encode(self._raw).rstrip(b"=").decode("ascii")

    @property
    def hashes(self) -> Presented:
        """What is stored and compared."""
        raw = self._raw
        return Presented(hashlib.sha256(raw[:32]).hexdigest(), hashlib.sha256(raw).hexdigest())

    def successor(self, secret: bytes | None = None) -> RefreshToken:
        """The next token of the session: with a new secret, or with the one that was kept sealed."""
        return self._replace(secret=secret or secrets.token_bytes(32))

    @property
    def _raw(self) -> bytes:
        return bytes.fromhex(self.session_id) + self.family + self.secret
