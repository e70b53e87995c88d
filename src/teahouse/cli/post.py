"""What a node's supervisor and its workers tell each other, over one pair of sockets for each worker.

Each message is one packet; the end of the stream means that the other side has ended, however it ended.
"""

from __future__ import annotations

import socket

import msgspec

# From the supervisor.
STOP = "stop"  # the node stops: drain, then close
RETIRE = "retire"  # a successor accepts from the same sockets: finish what you have
ACCEPT = "accept"  # accept from that worker's sockets too, while it is away
CEDE = "cede"  # it is back

# From a worker.
PLAIN = "plain"  # before it is ready: the app takes no sockets beside HTTP, so that nobody need listen for them
READY = "ready"  # with the app's title

_MAX_BYTES = 1024


class Place(msgspec.Struct, frozen=True):
    """A worker's place in its node: its number, the descriptor of its post, and those every worker listens on."""

    index: int
    post: int
    doors: tuple[tuple[int, ...], ...]


def read_place(text: str) -> Place:
    """What the supervisor wrote on the command line."""
    return msgspec.json.decode(text, type=Place)


class Post:
    """One end. Never waits: what cannot be told now is lost, for a reader that full has other troubles."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        self._connection = connection

    @classmethod
    def pair(cls) -> tuple[Post, socket.socket]:
        """An end for here, and the socket for a child to inherit."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), theirs

    def fileno(self) -> int:
        """For selectors and event loops."""
        return self._connection.fileno()

    def say(self, word: str, about: str = "") -> bool:
        """False where the other side has gone."""
        try:
            self._connection.send(f"{word} {about}".encode()[:_MAX_BYTES])
        except OSError:
            return False
        return True

    def hear(self) -> tuple[str, str] | None:
        """The next message, None at the end. Raises ``BlockingIOError`` where nothing has come."""
        try:
            message = self._connection.recv(_MAX_BYTES)
        except ConnectionError:
            return None
        word, _, about = message.decode(errors="replace").partition(" ")
        return (word, about) if message else None

    def close(self) -> None:
        """Ends it."""
        self._connection.close()
