"""What a Redis server's error replies mean to callers (https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from __future__ import annotations

from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from teahouse.problems import RedisUnavailable

# A server that is there and cannot serve now: the command was not carried out. What to look at, for the operator.
NOT_NOW = {
    "BUSY": "a script of somebody's runs for too long",
    "CLUSTERDOWN": "the Cluster does not serve every slot",
    "LOADING": "it is reading its data back after a start",
    "MASTERDOWN": "this replica has lost its primary",
    "MISCONF": "it cannot write to its disk, so it takes no writes",
    "NOAUTH": "it wants a password; mend TEAHOUSE_REDIS__URL",
    "NOPERM": "its ACL forbids this user something that Teahouse needs",
    "NOREPLICAS": "too few of its replicas follow (min-replicas-to-write)",
    "OOM": "its memory is full (maxmemory)",
    "READONLY": "it is a replica now",
    "TRYAGAIN": "a slot of the Cluster is on its way to another node",
    "UNKILLABLE": "a script of somebody's runs for too long",
    "WRONGPASS": "it refuses the password; mend TEAHOUSE_REDIS__URL",
}
# After these a new connection may do better: to another server, or with the password again.
ELSEWHERE = ("READONLY", "MASTERDOWN", "NOAUTH")

_KINDS = {"ASK": AskError, "MOVED": MovedError, "NOSCRIPT": NoScriptError}


def code_of(text: str) -> str:
    """The first word of an error reply, which says its kind."""
    return text.partition(" ")[0]


def error_of(text: str) -> Exception:
    """The exception for an error reply: ``RedisUnavailable`` where the server cannot serve now, else redis-py's
    ``ResponseError`` with the whole text.
    """
    code, _, rest = text.partition(" ")
    if code in NOT_NOW:
        return RedisUnavailable(f"Redis answers {code}: {NOT_NOW[code]}")
    kind = _KINDS.get(code)
    return ResponseError(text) if kind is None else kind(rest)


def told(error: BaseException) -> str:
    """What went wrong, in one line that holds no secret, for the log: it may name an address."""
    if isinstance(error, TimeoutError | RedisTimeout):
        # A time-out has no words of its own.
        return "no answer in time"
    if isinstance(error, RedisUnavailable):
        return error.detail
    # redis-py takes the code off the text and keeps it beside.
    code = getattr(error, "status_code", None) if isinstance(error, RedisError) else None
    if isinstance(code, str) and code in NOT_NOW:
        return f"it answers {code}: {NOT_NOW[code]}"
    return (str(error) or type(error).__name__).splitlines()[0]


def outward(error: BaseException) -> str:
    """The same for people who call from outside: how this network is made is none of their business."""
    return told(error) if isinstance(error, RedisUnavailable) or _is_clean(error) else "there is no connection to it"


def unavailable(error: BaseException) -> RedisUnavailable:
    """What went wrong below, as callers are told it."""
    if isinstance(error, RedisUnavailable):
        return error
    return RedisUnavailable(f"Redis is out of reach: {outward(error)}")


def _is_clean(error: BaseException) -> bool:
    return isinstance(error, TimeoutError | RedisTimeout) or getattr(error, "status_code", None) in NOT_NOW
