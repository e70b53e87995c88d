"""Access tokens: JSON Web Tokens (RFC 9068), one pinned algorithm, keys that can be changed without a logout.

Every signing key is derived (HKDF) from one line of the secret key: the first line signs, all of them verify. Which
one is meant stands in the token's ``kid``, a short fingerprint. The rules follow RFC 8725.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from teahouse.accounts.model import Caller, Role
from teahouse.clock import Clock
from teahouse.problems import AccessTokenExpired, AccessTokenInvalid

Algorithm = Literal["HS256", "EdDSA"]

MAX_TOKEN_LENGTH = 4096
_TYPE = "at+jwt"
_SKEW_SECONDS = 60
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_CHECKS: Any = {
    "require": ["iss", "aud", "sub", "sid", "role", "iat", "exp", "jti"],
    "strict_aud": True,
    # Time is compared with the injected clock, below.
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
}


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified access token says; times are Unix seconds."""

    sub: str
    sid: str
    role: Role
    iat: int
    exp: int
    jti: str
    nbf: int = 0


class _Key(NamedTuple):
    kid: str
    signs: bytes | Ed25519PrivateKey
    verifies: bytes | Ed25519PublicKey


class AccessTokens:
    """Issues and verifies access tokens.

    ``secrets``: the lines of the secret key, the one that signs first.
    """

    def __init__(
        self, secrets: Sequence[str], *, algorithm: Algorithm, issuer: str, audience: str, clock: Clock
    ) -> None:
        if not secrets:
            raise ValueError("an access token needs a secret key to be signed with")
        self._algorithm = algorithm
        self._issuer = issuer
        self._audience = audience
        self._clock = clock
        keys = [_derive(secret, algorithm) for secret in secrets]
        self._signing = keys[0]
        self._keys = {key.kid: key for key in keys}
        self._header = {"typ": _TYPE, "kid": self._signing.kid}

    def issue(self, *, user_id: str, session_id: str, role: Role, lives: int) -> str:
        """A token that is good for ``lives`` seconds from now."""
        now = int(self._clock.now())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": user_id,
            "sid": session_id,
            "role": role,
            "iat": now,
            "exp": now + lives,
            "jti": self._clock.new_id(),
        }
        return jwt.encode(claims, self._signing.signs, self._algorithm, self._header)

    def verify(self, token: str) -> Caller:
        """Who the token speaks for; raises ``AccessTokenInvalid`` or ``AccessTokenExpired``."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise AccessTokenInvalid("The access token is longer than any that is issued here.")
        if _COMPACT.fullmatch(token) is None:
            raise AccessTokenInvalid("The access token is not a signed JSON Web Token.")
        claims = self._claims(token)
        now = self._clock.now()
        if max(claims.iat, claims.nbf) > now + _SKEW_SECONDS:
            raise AccessTokenInvalid("The access token is not valid yet.")
        if claims.exp <= now:
            raise AccessTokenExpired
        return Caller(
            user_id=claims.sub, session_id=claims.sid, role=claims.role, issued_at=claims.iat, expires_at=claims.exp
        )

    def public_keys(self) -> list[dict[str, str]]:
        """The JSON Web Key Set's keys (RFC 7517, RFC 8037); none where the algorithm is symmetric."""
        return [_public(key.kid, key.verifies) for key in self._keys.values() if not isinstance(key.verifies, bytes)]

    def _claims(self, token: str) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            key = self._key(header)
            payload = jwt.decode(
                token, key.verifies, [self._algorithm], options=_CHECKS, audience=self._audience, issuer=self._issuer
            )
            return msgspec.convert(payload, Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, RecursionError):
            # Why exactly is for nobody to learn who did not make the token here.
            raise AccessTokenInvalid from None

    def _key(self, header: dict[str, Any]) -> _Key:
        key = self._keys.get(header.get("kid", ""))
        if key is None or header.get("typ") != _TYPE or header.get("alg") != self._algorithm:
            raise AccessTokenInvalid
        return key


def _derive(secret: str, algorithm: Algorithm) -> _Key:
    seed = _hkdf(secret, f"teahouse access-token {algorithm}", 32)
    fingerprint = _hkdf(secret, f"teahouse access-token {algorithm} kid", 9)
    kid = base64.urlsafe_b64encode(fingerprint).decode("ascii")
    if algorithm == "HS256":
        return _Key(kid, seed, seed)
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return _Key(kid, private, private.public_key())


def _hkdf(secret: str, purpose: str, length: int) -> bytes:
    return HKDF(SHA256(), length, salt=None, info=purpose.encode("ascii")).derive(secret.encode())


def _public(kid: str, key: Ed25519PublicKey) -> dict[str, str]:
    x = base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode("ascii")
    return {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid, "x": x}
