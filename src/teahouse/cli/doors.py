"""The listening sockets of a node with several workers: one set for each worker, all on the same port."""

from __future__ import annotations

import socket
from collections.abc import Sequence

_BACKLOG = 4096

Doors = Sequence[socket.socket]


def open_doors(host: str, port: int, workers: int) -> list[Doors]:
    """Sockets that listen; the kernel spreads new connections over them (SO_REUSEPORT, socket(7)).

    A worker's sockets outlive it: while it is replaced, connections wait in their queues. Raises ``OSError`` where the
    port is taken, also by another node of the same user, with whom SO_REUSEPORT would share it in silence.
    """
    places = dict.fromkeys(
        (family, address[:2])
        for family, _, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    )
    opened: list[list[socket.socket]] = [[] for _ in range(workers)]
    try:
        for family, (address, _) in places:
            _listen(family, address, port, shared=False).close()
            for mine in opened:
                door = _listen(family, address, port, shared=True)
                port = port or door.getsockname()[1]
                mine.append(door)
    except OSError:
        for mine in opened:
            for door in mine:
                door.close()
        raise
    return [tuple(mine) for mine in opened]


def _listen(family: int, address: str | int, port: int, *, shared: bool) -> socket.socket:
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind((address, port))
        door.listen(_BACKLOG)
        door.settimeout(0)
    except OSError:
        door.close()
        raise
    return door
