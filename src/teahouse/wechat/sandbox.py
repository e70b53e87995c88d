"""A stand-in for the WeChat platform: nobody else is asked, and every error can be provoked.

``sandbox-<name>-<nonce>`` logs in as ``<name>`` (no hyphen in it); ``sandbox-error-<errcode>-<nonce>`` is answered with
that error. A code works once. One the sandbox issued expires after five minutes; one the client made up counts from
first sight, which is its only use. Used codes are remembered for 30 days, longer than any session they opened.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import NamedTuple

from teahouse.batching import Batcher, FlushFailed
from teahouse.clock import Clock
from teahouse.problems import DatabaseUnavailable, FieldError, ValidationFailed
from teahouse.wechat.errors import CODE_UNKNOWN, CODE_USED, problem_of
from teahouse.wechat.platform import WechatIdentity
from teahouse.wechat.sandbox_codes import LIFE_MS, Claim, SandboxCodes

# What a code is issued for; codes that clients make up may hold any other visible name, too.
ISSUED_NAME = r"^[A-Za-z0-9_.\u4e00-\u9fff]{1,64}$"
_ISSUED_NAME = re.compile(ISSUED_NAME)
_NAME = re.compile(r"[^-\s]{1,64}")
_CODE = re.compile(r"sandbox-(?P<name>[^-]+)-(?P<nonce>[!-~]{1,128})")
_ERROR = re.compile(r"sandbox-error-(?P<errcode>-?[0-9]{1,6})-[!-~]{1,128}")
_REMEMBERED_MS = 30 * 24 * 3600 * 1000
_MAX_BATCH = 256


class IssuedCode(NamedTuple):
    """A login code and the Unix millisecond it expires at."""

    code: str
    expires_at: int


class SandboxWechat:
    """A ``WechatPlatform`` that believes every well-formed code. For tests and development only."""

    def __init__(self, codes: SandboxCodes, *, clock: Clock) -> None:
        self._codes = codes
        self._clock = clock
        self.batcher: Batcher[str, Claim] = Batcher(self._claim, name="sandbox codes", max_batch=_MAX_BATCH)

    async def exchange(self, code: str) -> WechatIdentity:
        """See ``WechatPlatform``; raises ``DatabaseUnavailable`` and ``Overloaded`` too."""
        if provoked := _ERROR.fullmatch(code):
            raise problem_of(int(provoked["errcode"]) or CODE_UNKNOWN)
        meant = _CODE.fullmatch(code)
        if meant is None or not _allowed(meant["name"]):
            raise problem_of(CODE_UNKNOWN)
        match await self._claimed(code):
            case Claim.USED:
                raise problem_of(CODE_USED)
            case Claim.EXPIRED:
                raise problem_of(CODE_UNKNOWN)
        return _identity(meant["name"])

    async def issue(self, name: str) -> IssuedCode:
        """A code for ``name``, as ``wx.login`` gives one; raises ``ValidationFailed`` for a name no code can hold."""
        if name == "error" or _ISSUED_NAME.fullmatch(name) is None:
            detail = "must be 1 to 64 Latin letters, digits, Chinese characters, _ or ., and not the word error"
            raise ValidationFailed(errors=[FieldError("/name", detail)])
        now = self._clock.now_ms()
        code = f"sandbox-{name}-{secrets.token_urlsafe(16)}"
        await self._codes.issue(code, now)
        return IssuedCode(code, now + LIFE_MS)

    async def sweep(self) -> int:
        """Forgets some of the codes that are old enough; returns how many."""
        return await self._codes.sweep(before=self._clock.now_ms() - _REMEMBERED_MS)

    async def aclose(self) -> None:
        """Ends the exchanges under way."""
        await self.batcher.aclose()

    async def _claimed(self, code: str) -> Claim:
        try:
            return await self.batcher.submit(code)
        except FlushFailed as failure:
            if isinstance(failure.__cause__, DatabaseUnavailable):
                raise DatabaseUnavailable from failure
            raise

    async def _claim(self, codes: list[str]) -> list[Claim | BaseException]:
        return list(await self._codes.claim(codes, self._clock.now_ms()))


def _allowed(name: str) -> bool:
    return name != "error" and name.isprintable() and _NAME.fullmatch(name) is not None


def _identity(name: str) -> WechatIdentity:
    return WechatIdentity(
        openid=f"oSBX{_digest('openid', name)}",
        unionid=f"uSBX{_digest('unionid', name)}",
        session_key=base64.b64encode(secrets.token_bytes(16)).decode("ascii"),
    )


def _digest(kind: str, name: str) -> str:
    # 4 and 24 characters: as long as WeChat's own.
    digest = hashlib.sha256(f"teahouse sandbox {kind} {name}".encode()).digest()
    return base64.urlsafe_b64encode(digest[:18]).decode("ascii")
