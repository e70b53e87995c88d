"""Accounts of many nodes, with sessions and limits in Redis: for the composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from teahouse.accounts.housekeeping import KEEP_SECONDS, Sweep
from teahouse.accounts.revocation_watch_redis import RevocationWatchRedis
from teahouse.accounts.service import MARGIN_SECONDS, Accounts
from teahouse.accounts.sessions_redis import SessionsRedis
from teahouse.accounts.signing_key_redis import agree_on_signing_key, remember_signing_key
from teahouse.accounts.throttle_redis import ThrottleRedis
from teahouse.accounts.user_store import UserStore
from teahouse.clock import Clock
from teahouse.engines.redis import Redis
from teahouse.engines.redis_feed import Feed
from teahouse.settings import AccountsSettings, Secret
from teahouse.wechat import WechatPlatform


def accounts_on_redis(
    redis: Redis,
    feed: Feed,
    users: UserStore,
    platform: WechatPlatform,
    secrets: Sequence[Secret],
    settings: AccountsSettings,
    *,
    clock: Clock,
    sweeps: Sequence[Sweep] = (),
    used_before: Callable[[], Awaitable[bool]] | None = None,
) -> Accounts:
    """``Accounts`` that keeps sessions in ``redis`` and hears of their ends from ``feed``; ``users`` as ever.

    ``used_before`` says whether sessions were kept in Redis before, so that a Redis without a mark has been emptied;
    without it, whether there are users.

    ``redis`` must be connected before its start, the feed started before or after it.
    """
    watch = RevocationWatchRedis(redis, feed)
    accounts = Accounts(
        users,
        sessions_on(redis, feed, users, settings, used_before),
        platform,
        secrets,
        settings,
        throttle=ThrottleRedis(redis),
        watch=watch,
        clock=clock,
        sweeps=sweeps,
        before_start=(partial(agree_on_signing_key, redis, secrets),),
    )
    watch.inform(accounts.sessions)
    feed.on_catch_up(partial(remember_signing_key, redis, secrets))
    return accounts


def sessions_on(
    redis: Redis,
    feed: Feed,
    users: UserStore,
    settings: AccountsSettings,
    used_before: Callable[[], Awaitable[bool]] | None = None,
) -> SessionsRedis:
    """The sessions of these settings."""
    return SessionsRedis(
        redis,
        users,
        used_before=used_before or users.exist,
        channel=feed.channel,
        idle=int(settings.session_idle_seconds * 1000),
        longest=int(settings.session_max_seconds * 1000),
        access=int((settings.access_token_seconds + MARGIN_SECONDS) * 1000),
        keep=int(KEEP_SECONDS * 1000),
    )
