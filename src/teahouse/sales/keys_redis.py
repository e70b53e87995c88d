"""The names of the shop's keys in Redis.

A sale and its orders live in one of sixteen shards: the last digit of the sale's id, with which its orders' ids end
too. The keys of a shard share a hash tag, so that one script may touch them all, also in a Cluster.
"""

from __future__ import annotations

SHARDS = "0123456789abcdef"
GROUP = "recorder"
RECORDER_LEASE = "teahouse:recorder"
MOVING_LEASE = "teahouse:moving"


def shard_of(text: str) -> str:
    """The shard of a sale or an order; strange ids, as payments may name them, have one too."""
    last = text[-1:]
    return last if last in SHARDS and last else "0"


def prefix(shard: str) -> str:
    """What each key of the shard begins with."""
    return f"teahouse:{{{shard}}}:"


def sale_key(sale_id: str) -> str:
    """A hash: the sale's terms and counters."""
    return f"{prefix(shard_of(sale_id))}sale:{sale_id}"


def slots_key(sale_id: str) -> str:
    """A hash: buyer, a space and idempotency key → the order's id, and the end of the buyer's slot before it."""
    return f"{prefix(shard_of(sale_id))}slots:{sale_id}"


def bought_key(sale_id: str) -> str:
    """A hash: buyer → units that they hold or have bought, a space, and the key of their latest order."""
    return f"{prefix(shard_of(sale_id))}bought:{sale_id}"


def orders_key(shard: str) -> str:
    """A hash: order id → row; live orders, those SQL may not have yet, and those of the last minutes."""
    return f"{prefix(shard)}orders"


def due_key(shard: str) -> str:
    """A sorted set: the ids of orders that fall due together, one after the other, by Unix milliseconds."""
    return f"{prefix(shard)}due"


def live_key(shard: str) -> str:
    """How many orders wait for their payment."""
    return f"{prefix(shard)}live"


def log_key(shard: str) -> str:
    """The stream of what happened, for the recorder."""
    return f"{prefix(shard)}log"


def unrecorded_key(shard: str) -> str:
    """How many orders and payments the log holds."""
    return f"{prefix(shard)}unrecorded"


def set_aside_key(shard: str) -> str:
    """A hash: what SQL would not take, by its id, with the reason."""
    return f"{prefix(shard)}set-aside"


def claim_key(transaction_id: str) -> str:
    """What a payment's transaction was first told to be for, on whichever shard."""
    return f"teahouse:transaction:{transaction_id}"
