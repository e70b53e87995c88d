"""Where Redis is, read from its URL once. Nothing here ever shows a password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from redis.asyncio.connection import Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

_PORTS = {"sentinel": 26379, "cluster": 6379}

Place = tuple[str, int]


class Address:
    """A URL taken apart. ``kind``: ``server``, ``sentinel`` or ``cluster``; ``places``: the hosts and ports it names.

    Options of redis-py may follow, such as ``?ssl_ca_certs=…``; for the Sentinels' own account,
    ``sentinel_username`` and ``sentinel_password``. Raises ``ValueError``, whose text holds no part of the URL.
    """

    def __init__(self, url: str, timeout_seconds: float) -> None:
        scheme, _, rest = url.partition("://")
        base, _, kind = scheme.partition("+")
        self.kind = kind or "server"
        self.places: tuple[Place, ...] = ()
        self.service = ""
        try:
            if kind:
                rest = self._several(kind, rest)
            # redis-py knows what each option is: a number, a truth value, a file.
            options: dict[str, Any] = {**parse_url(f"{base}://{rest}")}
        except (ValueError, KeyError):
            # Without its cause: urllib quotes what it could not read, and that may be the password.
            raise ValueError(
                "the Redis URL cannot be read: expected redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], "
                "redis+sentinel://HOST:PORT,…/SERVICE[/DATABASE] or redis+cluster://HOST:PORT,…; "
                "special characters in a password are written as %XX"
            ) from None
        self.sentinel_account = {
            name: options.pop(f"sentinel_{name}") for name in ("username", "password") if f"sentinel_{name}" in options
        }
        self.database = int(options.get("db", 0))
        self._class: type[Connection] = options.pop("connection_class", Connection)
        self._options: Mapping[str, Any] = {
            **options,
            "protocol": 2,
            # Time-outs are kept above, for whole pipelines.
            "socket_timeout": None,
            "socket_connect_timeout": timeout_seconds,
            "retry": Retry(NoBackoff(), 0),
        }

    def _several(self, kind: str, rest: str) -> str:
        before, mark, query = rest.partition("?")
        hosts, _, path = before.partition("/")
        who, at, hosts = hosts.rpartition("@")
        self.places = tuple(_place(host, _PORTS[kind]) for host in hosts.split(","))
        if kind == "sentinel":
            service, _, path = path.partition("/")
            self.service = unquote(service)
            if not self.service:
                raise ValueError
        elif path not in ("", "0"):
            raise ValueError
        return f"{who}{at}localhost/{path}{mark}{query}"

    @property
    def tls(self) -> Mapping[str, Any]:
        """The options that Sentinels share with the servers behind them."""
        shared = {name: value for name, value in self._options.items() if name.startswith("ssl_")}
        return {**shared, "ssl": True} if issubclass(self._class, SSLConnection) else {}

    async def open(self, place: Place | None = None) -> Connection:
        """A new connection, greeted and on its database: to ``place``, else to the one server of the URL.

        Raises what redis-py raises.
        """
        options = self._options if place is None else {**self._options, "host": place[0], "port": place[1]}
        connection = self._class(**options)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's own
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    def __str__(self) -> str:
        """For people: without account and options."""
        if self.kind == "server":
            where = self._options.get("path") or "{}:{}".format(
                self._options.get("host", "localhost"), self._options.get("port", 6379)
            )
        else:
            where = ",".join(f"{host}:{port}" for host, port in self.places)
        return f"{where}/{self.service}".rstrip("/") if self.service else where


def _place(text: str, default_port: int) -> Place:
    host, colon, port = text.rpartition(":")
    if not colon or "]" in port:
        host, port = text, str(default_port)
    host = unquote(host.strip("[]"))
    if not host or not 0 < int(port) < 65536:
        raise ValueError
    return host, int(port)
