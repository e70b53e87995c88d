"""The one vocabulary of errors.

Each class is one kind of problem (RFC 9457). Its docstring is what a person reads at ``/problems/<slug>``; the slug
is the class name in kebab case. Features raise them, ``web/`` turns them into answers, nothing else knows HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import msgspec

_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class FieldError(msgspec.Struct, frozen=True):
    """One wrong place in the input: an RFC 6901 JSON pointer (or ``header:``/``query:`` and a name) and what is
    wrong.
    """

    pointer: str
    detail: str


class Problem(Exception):
    """Something the caller can read and act on.

    ``detail`` speaks of this occurrence, ``headers`` go out with the answer, ``retry_after`` is in whole seconds.
    """

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "problem"
    title: ClassVar[str] = "Problem"
    retry_after_default: ClassVar[int | None] = None
    vocabulary: ClassVar[dict[str, type[Problem]]] = {}

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        self.detail = detail if detail is not None else self.explanation()
        super().__init__(self.detail)
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        seconds = self.retry_after_default if retry_after is None else retry_after
        if seconds is not None:
            self.headers.setdefault("Retry-After", str(seconds))

    def __init_subclass__(cls) -> None:
        words = _WORD.sub(" ", cls.__name__)
        cls.slug = words.lower().replace(" ", "-")
        cls.title = words.capitalize()
        if cls.status in (429, 503) and cls.retry_after_default is None:
            cls.retry_after_default = 1
        known = Problem.vocabulary.setdefault(cls.slug, cls)
        if known.__qualname__ != cls.__qualname__ or known.__module__ != cls.__module__:
            raise TypeError(f"two problems share the slug {cls.slug}")

    @classmethod
    def explanation(cls) -> str:
        """The text people read at ``/problems/<slug>``."""
        return " ".join((cls.__doc__ or cls.title).split())


class Unauthorized(Problem):
    """This needs a valid access token. Log in again, or refresh the token you have."""

    status = 401

    def __init__(self, detail: str | None = None, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers=headers)
        self.headers.setdefault("WWW-Authenticate", "Bearer")


# --- what the kernel itself answers -----------------------------------------------------------------------------------


class BadRequest(Problem):
    """The request is not well-formed HTTP, or its address cannot be read. Check how the request is put together."""

    status = 400


class MalformedJson(Problem):
    """The body, or the frame, is not valid JSON in UTF-8. Check how it is written."""

    status = 400


class Forbidden(Problem):
    """You are known, but this needs a role that you do not have."""

    status = 403


class NotFound(Problem):
    """There is nothing here, or nothing that you may see."""

    status = 404


class MethodNotAllowed(Problem):
    """This address exists, but not with this method. The Allow header lists the methods it has."""

    status = 405


class RequestTimeout(Problem):
    """The request came in too slowly. Send it again over a better connection."""

    status = 408


class ContentTooLarge(Problem):
    """The body is larger than this address takes. Send less, or use an upload."""

    status = 413


class UnsupportedMediaType(Problem):
    """This address takes a body of another content type, application/json as a rule."""

    status = 415


class ExpectationFailed(Problem):
    """The Expect header asks for something other than 100-continue."""

    status = 417


class ValidationFailed(Problem):
    """The input is well-formed but some of it is not allowed here. Each wrong place is listed under errors."""

    status = 422


class RequestHeaderFieldsTooLarge(Problem):
    """The request line and headers together are larger than the server takes."""

    status = 431


class InternalError(Problem):
    """The server made a mistake. It has been logged under the request id; nothing you sent was at fault."""

    status = 500


class Overloaded(Problem):
    """More is waiting than the server takes on. Come back in a moment; nothing was changed."""

    status = 503


class ShuttingDown(Problem):
    """This node is stopping and takes no new work. Ask again; another node, or this one restarted, will answer."""

    status = 503


class NotReady(Problem):
    """The node is not ready to serve: an engine is out of reach or the schema is behind."""

    status = 503


class OutcomeUnknown(Problem):
    """The engine failed while this was being written, so it may or may not have happened. Ask again with the same
    Idempotency-Key: the answer will be the true one.
    """

    status = 503


class RedisUnavailable(Problem):
    """Redis, which decides for all nodes together, is out of reach. Nothing was changed; ask again shortly."""

    status = 503


class StockLost(Problem):
    """Redis has lost a part of this sale, so nothing of it is sold until an operator has run
    ``teahouse reconcile --repair``. Orders that were made are safe in the database; ask again later.
    """

    status = 503
    retry_after_default = 30


class DatabaseUnavailable(Problem):
    """The database is out of reach, full or busy. Nothing was changed as far as the database knows; ask again
    shortly.
    """

    status = 503


# --- accounts and WeChat ----------------------------------------------------------------------------------------------


class AccessTokenInvalid(Unauthorized):
    """The access token is not one of ours, or has been changed. Log in again."""

    def __init__(self, detail: str | None = None) -> None:
        # RFC 6750 §3.1: how a client tells a bad token from a missing one.
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


class AccessTokenExpired(AccessTokenInvalid):
    """The access token has run out. Get a new one with the refresh token; there is no need to log in again."""


class SessionEnded(AccessTokenInvalid):
    """The session has been ended: logged out here or elsewhere, or replaced by newer ones. Log in again."""


class SessionExpired(AccessTokenInvalid):
    """The session was idle for too long, or has reached its longest life. Log in again."""


class RefreshTokenInvalid(Unauthorized):
    """The refresh token is not one of ours, or its session is long gone. Log in again."""


class RefreshTokenReused(Unauthorized):
    """The refresh token was used before, so somebody else may hold a copy: the whole session has been ended. Log in
    again.
    """


class BadCredentials(Unauthorized):
    """The username or the password is wrong. Which of the two is not told."""


class UsernameTaken(Problem):
    """Somebody has this username already, or one that differs in case only. Choose another."""

    status = 409


class PasswordTooEasy(Problem):
    """The password is the username, which is the first thing anybody would try. Choose another."""

    status = 409


class TooManyLogins(Problem):
    """Too many logins failed for this name or from this address. Wait as long as Retry-After says, then try again."""

    status = 429


class TooManyRegistrations(Problem):
    """Too many accounts were asked for from this address. Wait as long as Retry-After says, then try again."""

    status = 429


class WechatCodeInvalid(Unauthorized):
    """WeChat does not know this login code, or it has been used or is older than five minutes. Call wx.login for a
    new one.
    """


class WechatUserBlocked(Problem):
    """WeChat has blocked this user as a risk. Only WeChat can lift that."""

    status = 403


class WechatTooFrequent(Problem):
    """This user logged in through WeChat too often within a minute. Wait as long as Retry-After says."""

    status = 429
    retry_after_default = 60


class WechatUnavailable(Problem):
    """WeChat is out of reach or busy, so nobody can log in through it now. Try again shortly, with a new code from
    wx.login.
    """

    status = 503


# --- sales ------------------------------------------------------------------------------------------------------------


class IdempotencyKeyMissing(Problem):
    """A purchase needs an Idempotency-Key header: 1 to 64 visible ASCII characters, new for each purchase and the
    same for each retry of it.
    """

    status = 400


class IdempotencyMismatch(Problem):
    """This Idempotency-Key, or this id of a message, was used for another one. Use a new key for a new purchase and a
    new id for a new message, and send the same when you ask again.
    """

    status = 422


class SoldOut(Problem):
    """There is not enough stock left for this purchase. Stock may return when others do not pay in time."""

    status = 409


class LimitReached(Problem):
    """This purchase would give you more than one buyer may have in this sale. Buy fewer, or cancel an unpaid order
    first.
    """

    status = 409


class SaleNotStarted(Problem):
    """The sale has not started. Compare startsAt with serverTime and ask again then."""

    status = 409


class SaleEnded(Problem):
    """The sale is over. Nothing more is sold in it."""

    status = 409


class OrderNotCancellable(Problem):
    """Only an unpaid reservation can be cancelled. This order is paid, or its time to pay is over."""

    status = 409


class StockNotReducible(Problem):
    """The stock cannot be made smaller than what is already reserved or sold."""

    status = 409


class TransactionReused(Problem):
    """This payment transaction is already recorded for another order or amount. Nothing was changed."""

    status = 409


# --- messages ---------------------------------------------------------------------------------------------------------


class TooManyFrames(Problem):
    """More frames came over this socket than it may send in that time, and this one was not looked at. Send fewer: the
    socket closes with 4429 when it goes on.
    """

    status = 429


class RoomFull(Problem):
    """The room would have more members than a room may have here. Make another room, or remove somebody first."""

    status = 409


class TooManyRooms(Problem):
    """You have made as many rooms as one person may make here."""

    status = 409
