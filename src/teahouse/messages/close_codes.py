"""With what a socket is closed: codes of RFC 6455 §7.4.1 and IANA's registry, and those of the contract.

4403 (not allowed) of the contract is kept free and never sent: who may not come in is refused before the upgrade, with
401 or 403, and who says something where they are not is told so in an error frame, without losing the other
conversations.
"""

from __future__ import annotations

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
INVALID_TEXT = 1007
MESSAGE_TOO_BIG = 1009
SERVER_ERROR = 1011
RESTARTING = 1012
TRY_AGAIN = 1013
TOKEN_ENDED = 4401
TOO_SLOW = 4408
REPLACED = 4409
TOO_FAST = 4429

MEANINGS = {
    NORMAL: "the client has closed",
    GOING_AWAY: "nothing was heard for two heartbeats",
    PROTOCOL_ERROR: "the protocol was broken (RFC 6455)",
    UNSUPPORTED_DATA: "a binary message came; frames are text",
    INVALID_TEXT: "the text is not UTF-8",
    MESSAGE_TOO_BIG: "the message is too big",
    SERVER_ERROR: "the node could not let anybody in, and does not know why",
    RESTARTING: "the node restarts: come back after a pause with chance in it",
    TRY_AGAIN: "the node cannot let anybody in just now: come back later",
    TOKEN_ENDED: "the token has run out, or its session has ended",
    TOO_SLOW: "too slow: too much waited to be read",
    REPLACED: "replaced by newer sockets of the same user",
    TOO_FAST: "too fast",
}
