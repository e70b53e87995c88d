"""Every node must sign with a key that the others know."""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from teahouse.engines.redis import Redis, Script
from teahouse.settings import Secret, SettingsError

KEY = "teahouse:signing-key"
_PURPOSE = b"teahouse: which key signs access tokens"

# ARGV: the fingerprints of this node's keys, the one that signs first. Empty where they agree, else what is kept.
_AGREE = Script("""
local kept = redis.call('GET', KEYS[1])
if not kept then redis.call('SET', KEYS[1], ARGV[1]) return '' end
for index = 1, #ARGV do
  if ARGV[index] == kept then redis.call('SET', KEYS[1], ARGV[1]) return '' end
end
return kept
""")


async def agree_on_signing_key(redis: Redis, secrets: Sequence[Secret]) -> None:
    """Raises ``SettingsError`` where this node could not verify what the others sign; ``secrets``: the one that signs
    first.

    Redis holds the fingerprint (a keyed hash, never the key) of the key that the node started last signs with. A node
    may start when that is one of its keys, the signing one or a previous one, and then leaves its own there. So

    - a node with a key of its own, as one that nobody told ``TEAHOUSE_SECRET_KEY`` makes for itself, does not start;
    - a rotation passes, node by node, in either direction: each node that starts knows the key of the one before;
    - a node that was left behind with the old key alone, once the others sign with the new one, does not start.

    It does not see whether nodes that run already know a *new* key. To rotate without a refused token, first add the
    new key to ``previous_secret_keys`` on every node; then let it sign (``secret_key``) everywhere, the old one among
    the previous; and drop the old one when its access tokens have run out. To drop a leaked key at once, stop every
    node, delete ``teahouse:signing-key`` in Redis and start them with the new key alone.
    """
    stranger = await redis.run(_AGREE, [KEY], [fingerprint(secret) for secret in secrets])
    if stranger:
        raise SettingsError(
            "secret_key: the other nodes on this Redis sign access tokens with a key that this node does not know. "
            "Set TEAHOUSE_SECRET_KEY alike on all nodes (while keys change, TEAHOUSE_PREVIOUS_SECRET_KEYS too). "
            f"If no other node runs and the old key is gone for good, delete {KEY} in Redis."
        )


async def remember_signing_key(redis: Redis, secrets: Sequence[Secret]) -> None:
    """For a node that runs, when it hears again: a Redis that has lost everything is told which key signs."""
    await redis.ask("SET", KEY, fingerprint(secrets[0]), "NX")


def fingerprint(secret: Secret) -> str:
    """Tells keys apart and nothing about them."""
    return hmac.digest(secret.reveal().encode(), _PURPOSE, "sha256").hex()[:32]
