"""Messages in the making: fragments in, a whole message out (RFC 6455 §5.4), checked as it comes."""

from __future__ import annotations

import codecs
from typing import NamedTuple

from teahouse.messages.close_codes import MESSAGE_TOO_BIG
from teahouse.messages.framing import Broken, Header, unmask

_new_decoder = codecs.getincrementaldecoder("utf-8")


class WireLimits(NamedTuple):
    """``message_bytes`` and ``fragments`` of one message; ``unsent_bytes`` that may wait for a slow reader before it
    is closed with 4408; ``early_frames`` that may wait for ``uncork``; ``close_seconds`` for the other side to answer a
    close. ``head_bytes`` and ``head_seconds`` for the request to upgrade.
    """

    message_bytes: int = 64 * 1024
    fragments: int = 128
    unsent_bytes: int = 1024 * 1024
    early_frames: int = 1024
    close_seconds: float = 5.0
    head_bytes: int = 1024 * 1024
    head_seconds: float = 5.0


class Assembly:
    """A message of which a part is here. Text is checked as it comes, so that what is wrong is known at once."""

    __slots__ = ("data", "decoder", "fin", "fragments", "left", "mask", "size")

    def __init__(self, *, text: bool) -> None:
        self.decoder = _new_decoder() if text else None
        self.data = bytearray()
        self.size = self.fragments = 0
        # Of the fragment that comes now: how many bytes are missing, the mask as of the next one, whether it ends it.
        self.left = 0
        self.mask = b""
        self.fin = False

    def begin(self, header: Header, mask: bytes, limits: WireLimits) -> None:
        """A fragment begins. Raises ``Broken`` where it makes the message too big."""
        self.left = header.end - header.start
        self.mask, self.fin = mask, header.fin
        self.size += self.left
        self.fragments += 1
        if self.size > limits.message_bytes or self.fragments > limits.fragments:
            raise Broken(MESSAGE_TOO_BIG, "message too big")

    def take(self, piece: bytes) -> bool:
        """Takes what has come of the fragment; true when the message is whole. Raises ``UnicodeDecodeError``."""
        self.left -= len(piece)
        whole = self.fin and not self.left
        payload = unmask(self.mask, piece)
        turn = len(piece) % 4
        self.mask = self.mask[turn:] + self.mask[:turn]
        if self.decoder is not None:
            # Only checked: characters that come one by one would take many times the memory of their bytes.
            self.decoder.decode(payload, final=whole)
        self.data += payload
        return whole

    def whole(self) -> str | bytes:
        """The message."""
        return bytes(self.data) if self.decoder is None else self.data.decode()
