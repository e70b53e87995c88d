"""Seals the successor of a refresh token under the token it replaces.

The key is derived from the old token, which is stored nowhere: whoever reads the database alone can open nothing.
"""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from teahouse.accounts.refresh_tokens import RefreshToken

_NONCE_BYTES = 12


def seal(successor: RefreshToken, *, under: RefreshToken) -> bytes:
    """The successor's secret for storage: nonce and ciphertext, bound to the session."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + _cipher(under).encrypt(nonce, successor.secret, under.session_id.encode("ascii"))


def unseal(sealed: bytes, *, under: RefreshToken) -> RefreshToken:
    """The successor that ``seal`` put away; raises ``cryptography.exceptions.InvalidTag`` for any other token."""
    nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
    return under.successor(_cipher(under).decrypt(nonce, ciphertext, under.session_id.encode("ascii")))


def _cipher(token: RefreshToken) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=b"teahouse refresh-token successor").derive(token.secret))
