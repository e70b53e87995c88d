"""One frozen tree of settings, and the rules that hold between them.

Where values come from (``teahouse.toml``, ``TEAHOUSE_*`` variables, the command line) is ``settings_sources.py``.
Times are in seconds, sizes in bytes unless the name says otherwise.
"""

from __future__ import annotations

import hmac
import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta


class SettingsError(Exception):
    """The settings do not add up. The message lists every mistake, and says for each what to do."""


class Secret:
    """A text that no log, traceback or ``repr`` shows."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself; hand it to the library that needs it and to nobody else."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)" if self._text else "Secret('')"


class Network(str):
    """An IP network in CIDR notation; a single address is a network of one."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Raises ``ValueError`` for anything else."""
        return super().__new__(cls, str(ipaddress.ip_network(text)))


_NONE = Secret("")

MIN_SECRET_LENGTH = 32

_DATABASE_SCHEMES = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgresql", "postgres": "postgresql"}
_REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

Port = Annotated[int, Meta(ge=0, le=65535, description="a port from 0 to 65535 (0: any free one)")]
Seconds = Annotated[float, Meta(gt=0, le=366 * 86400, description="a number of seconds above 0, at most a year")]
Count = Annotated[int, Meta(ge=1, le=10_000_000, description="a whole number from 1 to 10000000")]
Bytes = Annotated[int, Meta(ge=1024, le=1 << 30, description="a number of bytes from 1024 to 1073741824")]
FileBytes = Annotated[int, Meta(ge=0, le=2**63 - 1, description="a number of bytes from 0 to 9223372036854775807")]
Origin = Annotated[
    str,
    Meta(
        # Of a web page, or of a program that is none: those may have no host.
        pattern=r"^(\*|https?://[^/\s]+|(?!https?:)[a-z][a-z0-9+.-]*://[^/\s]*)$",
        description="an origin such as https://shop.example.com, or *",
    ),
]
BaseUrl = Annotated[
    str, Meta(pattern=r"^https?://[^/\s]+", description="an address that begins with https:// or http://")
]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A part of the tree."""


class DatabaseSettings(Section, frozen=True):
    """Where the truth is kept; an empty ``url`` is SQLite in the data directory.

    Who has just written reads from the primary for ``sticky_seconds``; a replica further behind than
    ``replica_lag_seconds`` is left out. ``connections`` is the most that one worker opens to each server.
    """

    url: Secret = _NONE
    replicas: tuple[Secret, ...] = ()
    connections: Annotated[int, Meta(ge=2, le=1000, description="a whole number from 2 to 1000")] = 10
    timeout_seconds: Seconds = 5.0
    sticky_seconds: Seconds = 5.0
    replica_lag_seconds: Seconds = 1.0


class RedisSettings(Section, frozen=True):
    """Shared state of many workers; an empty ``url`` is the embedded default."""

    url: Secret = _NONE
    timeout_seconds: Seconds = 2.0


class FilesSettings(Section, frozen=True):
    """Where uploads are kept (no ``url``: the data directory), and bounds of one file, of a user's, of all (0: none).
    An upload that gets nothing for ``expire_seconds`` is removed; ``durable``: what is acknowledged is on disk.
    """

    url: Secret = _NONE
    max_bytes: FileBytes = 5 << 30
    quota_bytes: FileBytes = 20 << 30
    total_bytes: FileBytes = 0
    expire_seconds: Seconds = 86_400.0
    durable: bool = True


class WechatSettings(Section, frozen=True):
    """The WeChat open platform, or the sandbox that stands in for it."""

    appid: str = ""
    secret: Secret = _NONE
    sandbox: bool = False
    base_url: BaseUrl = "https://api.weixin.qq.com"
    timeout_seconds: Seconds = 5.0


class Argon2Settings(Section, frozen=True):
    """The cost of one password hash; the defaults are OWASP's argon2id recommendation."""

    memory_kib: Annotated[int, Meta(ge=8, le=1 << 22, description="KiB of memory, from 8 to 4194304")] = 19_456
    passes: Annotated[int, Meta(ge=1, le=100, description="a whole number from 1 to 100")] = 2
    threads: Annotated[int, Meta(ge=1, le=64, description="hashes at once, from 1 to 64")] = 2
    max_waiting: Count = 256


class AccountsSettings(Section, frozen=True):
    """Tokens, sessions and the limits on failed logins."""

    algorithm: Literal["HS256", "EdDSA"] = "HS256"
    issuer: str = "teahouse"
    audience: str = "teahouse"
    access_token_seconds: Seconds = 900.0
    session_idle_seconds: Seconds = 1800.0
    session_max_seconds: Seconds = 30 * 86400.0
    refresh_grace_seconds: Seconds = 10.0
    sessions_per_user: Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")] = 10
    failed_logins_per_name: Count = 10
    failed_logins_per_address: Count = 100
    failed_logins_seconds: Seconds = 900.0
    registrations_per_address: Count = 100
    registrations_seconds: Seconds = 3600.0
    argon2: Argon2Settings = Argon2Settings()


class SalesSettings(Section, frozen=True):
    """What a sale has when its creator does not say otherwise, and how much may wait.

    With Redis: orders reach the database at ``recorded_per_second`` at most, however fast they are sold, and purchases
    of a sixteenth of the sales are refused for a while when ``max_unrecorded`` orders of these wait for it.
    """

    pay_within_seconds: Annotated[
        int, Meta(ge=1, le=7 * 86400, description="a whole number of seconds from 1 to 604800")
    ] = 900
    per_buyer_limit: Count = 1
    max_waiting: Count = 10_000
    max_unrecorded: Count = 1_000_000
    recorded_per_second: Count = 5_000


class HttpSettings(Section, frozen=True):
    """What one connection may take before the server ends it with a problem of its own (431, 408, 413)."""

    head_bytes: Bytes = 1 << 20
    head_seconds: Seconds = 5.0
    body_seconds: Seconds = 5.0
    write_seconds: Seconds = 5.0
    json_bytes: Bytes = 1 << 20
    idle_seconds: Seconds = 75.0
    connections: Count = 10_000


class MessagesSettings(Section, frozen=True):
    """What a socket, a person and a room may take.

    ``connections`` and ``sockets_per_user`` are counted in each worker, as ``http.connections`` are: the kernel decides
    whose connection comes to which. A socket that has not read ``unsent_bytes`` is closed (4408), one that goes on
    above ``frames_per_second`` too (4429). At a stop sockets are closed over ``restart_seconds``, so that their clients
    do not come back all at once.
    """

    connections: Count = 20_000
    sockets_per_user: Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1000")] = 10
    frame_bytes: Bytes = 64 << 10
    frames_per_second: Count = 100
    frames_burst: Count = 200
    unsent_bytes: Bytes = 1 << 20
    heartbeat_seconds: Seconds = 30.0
    restart_seconds: Seconds = 3.0
    max_waiting: Count = 10_000
    sync_messages: Count = 1_000
    room_members: Count = 20_000
    rooms_per_user: Count = 1_000
    conversations_per_user: Count = 1_000


class CorsSettings(Section, frozen=True):
    """Which web pages may call from a browser, and open sockets beside those of this host; none by default."""

    origins: tuple[Origin, ...] = ()


class Settings(Section, frozen=True):
    """Everything an operator may choose. ``settings_sources.load`` makes it from the usual places."""

    data_dir: Path = Path("teahouse-data")
    host: str = "127.0.0.1"
    port: Port = 8000
    realtime_port: Port = 8001
    workers: Annotated[int, Meta(ge=1, le=1024, description="a whole number from 1 to 1024")] = 1
    trusted_proxies: tuple[Network, ...] = ()
    secret_key: Secret = _NONE
    previous_secret_keys: tuple[Secret, ...] = ()
    access_log: Annotated[str, Meta(min_length=1, description="stderr, stdout, off, or the path of a file")] = "stderr"
    drain_seconds: Annotated[float, Meta(ge=0, le=3600, description="a number of seconds from 0 to 3600")] = 0.0
    shutdown_seconds: Seconds = 30.0
    database: DatabaseSettings = DatabaseSettings()
    redis: RedisSettings = RedisSettings()
    files: FilesSettings = FilesSettings()
    wechat: WechatSettings = WechatSettings()
    accounts: AccountsSettings = AccountsSettings()
    sales: SalesSettings = SalesSettings()
    messages: MessagesSettings = MessagesSettings()
    http: HttpSettings = HttpSettings()
    cors: CorsSettings = CorsSettings()

    @property
    def database_url(self) -> str:
        """The database's address, a password in it included: never print it."""
        return self.database.url.reveal() or f"sqlite:///{self.data_dir.absolute() / 'teahouse.db'}"


def check(settings: Settings) -> None:
    """The rules that hold between settings; raises ``SettingsError`` that lists every broken one."""
    broken = [*_not_in_this_version(settings), *_contradictions(settings)]
    if broken:
        raise SettingsError("\n".join(broken))


def wechat_mode(settings: Settings) -> Literal["platform", "sandbox"]:
    """Who answers WeChat logins; raises ``SettingsError`` where nobody safely can.

    The sandbox believes every code, so it stands in by itself only where nobody but this machine can reach it.
    """
    if settings.wechat.sandbox:
        return "sandbox"
    if settings.wechat.appid:
        return "platform"
    if sandbox_allowed(settings):
        return "sandbox"
    raise SettingsError(
        f"wechat.appid: not set, and {settings.host} can be reached from other machines, where the sandbox would let "
        "anybody log in as anybody. Set TEAHOUSE_WECHAT__APPID and TEAHOUSE_WECHAT__SECRET, or spell out "
        "TEAHOUSE_WECHAT__SANDBOX=true on a machine for tests."
    )


def sandbox_allowed(settings: Settings) -> bool:
    """True when the sandbox may stand in for WeChat: spelled out, or no appid and listening on loopback only."""
    return settings.wechat.sandbox or (not settings.wechat.appid and is_loopback(settings.host))


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and loopback addresses; other names are not looked up and count as public."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _not_in_this_version(settings: Settings) -> list[str]:
    scheme = settings.database_url.partition("://")[0]
    return _broken(
        (
            settings.redis.url and not _is_redis_url(settings.redis.url.reveal()),
            (
                "redis.url: expected redis://HOST:PORT/DB, rediss://… for TLS, unix:///PATH, redis+sentinel://… or "
                "redis+cluster://…; mend TEAHOUSE_REDIS__URL."
            ),
        ),
        (
            settings.workers > 1 and not settings.redis.url,
            "workers: workers > 1 needs TEAHOUSE_REDIS__URL, where what they share is kept; set it, or run one worker.",
        ),
        (
            not _is_database_url(settings.database_url),
            (
                "database.url: expected mysql://USER:PASSWORD@HOST:PORT/NAME, mariadb://…, postgresql://… or "
                "sqlite:////DIR/teahouse.db, with / and @ in a password as %2F and %40; mend TEAHOUSE_DATABASE__URL."
            ),
        ),
        (
            settings.database.replicas and scheme == "sqlite",
            "database.replicas: SQLite has none; leave TEAHOUSE_DATABASE__REPLICAS empty.",
        ),
        (
            any(not _is_replica_of(scheme, replica.reveal()) for replica in settings.database.replicas),
            "database.replicas: expected addresses like database.url, of its name; mend TEAHOUSE_DATABASE__REPLICAS.",
        ),
        (settings.files.url, "files.url: this version has no file storage yet; leave TEAHOUSE_FILES__URL empty."),
    )


def _is_database_url(url: str) -> bool:
    scheme, separator, place = url.partition("://")
    if scheme == "sqlite":
        return bool(separator) and place not in ("", "/", "/:memory:")
    if "@" in place.partition("@")[2].partition("?")[0] or not _has_port(url):
        return False
    host, _, rest = place.rpartition("@")[2].partition("/")
    # Without a name of its own, a database would be whichever the server likes.
    return scheme in _DATABASE_SCHEMES and bool(host) and not host.startswith(":") and bool(rest.partition("?")[0])


def _has_port(url: str) -> bool:
    """Whether a port, where there is one, is a number that a port may be."""
    try:
        urlsplit(url).port  # noqa: B018  # it raises where it is none
    except ValueError:
        return False
    return True


def _is_replica_of(scheme: str, url: str) -> bool:
    kind = _DATABASE_SCHEMES.get(url.partition("://")[0])
    return scheme == "sqlite" or (kind == _DATABASE_SCHEMES.get(scheme) and _is_database_url(url))


def _is_redis_url(url: str) -> bool:
    scheme, separator, place = url.partition("://")
    if not separator or any(letter.isspace() for letter in url):
        return False
    if scheme == "unix":
        # unix://[:password@]/path
        return place.rpartition("@")[2].startswith("/")
    host = place.partition("/")[0].partition("?")[0].rpartition("@")[2]
    return scheme in _REDIS_SCHEMES and bool(host) and not host.startswith(":")


def _contradictions(settings: Settings) -> list[str]:
    wechat, accounts, origins = settings.wechat, settings.accounts, settings.cors.origins
    short = [name for name, key in _keys(settings) if key and len(key.reveal()) < MIN_SECRET_LENGTH]
    return _broken(
        (
            wechat.appid and not wechat.secret and not wechat.sandbox,
            "wechat.secret: not set, but wechat.appid is; set TEAHOUSE_WECHAT__SECRET.",
        ),
        (
            settings.port == settings.realtime_port != 0,
            f"realtime_port: {settings.port} is the HTTP port already; choose another.",
        ),
        (
            short,
            f"{', '.join(short)}: shorter than {MIN_SECRET_LENGTH} characters; use the output of: openssl rand -hex 32",
        ),
        (
            settings.previous_secret_keys and not settings.secret_key,
            "previous_secret_keys: set without secret_key; set TEAHOUSE_SECRET_KEY to the key that signs.",
        ),
        (
            accounts.session_idle_seconds > accounts.session_max_seconds,
            "accounts.session_idle_seconds: longer than accounts.session_max_seconds; lower it.",
        ),
        (
            accounts.access_token_seconds > accounts.session_idle_seconds,
            "accounts.access_token_seconds: longer than accounts.session_idle_seconds; lower it.",
        ),
        (
            "*" in origins and len(origins) > 1,
            "cors.origins: * already means every origin; name it alone or leave it out.",
        ),
    )


def _broken(*rules: tuple[object, str]) -> list[str]:
    return [says for broken, says in rules if broken]


def _keys(settings: Settings) -> list[tuple[str, Secret]]:
    return [
        ("secret_key", settings.secret_key),
        *((f"previous_secret_keys[{index}]", key) for index, key in enumerate(settings.previous_secret_keys)),
    ]
