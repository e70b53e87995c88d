"""What WeChat's error codes mean to a caller, for the real platform and the sandbox alike."""

from __future__ import annotations

import logging

from teahouse.problems import Problem, WechatCodeInvalid, WechatTooFrequent, WechatUnavailable, WechatUserBlocked

_log = logging.getLogger(__name__)

BUSY = -1
CODE_UNKNOWN = 40029
CODE_USED = 40163

_PROBLEMS: dict[int, type[Problem]] = {
    CODE_UNKNOWN: WechatCodeInvalid,
    CODE_USED: WechatCodeInvalid,
    40226: WechatUserBlocked,
    45011: WechatTooFrequent,
    BUSY: WechatUnavailable,
}


def problem_of(errcode: int) -> Problem:
    """The problem for an ``errcode`` other than 0."""
    kind = _PROBLEMS.get(errcode)
    if kind is None:
        # 40013, 40125 and the like are the operator's to mend: a wrong appid or secret. Callers learn nothing of it.
        _log.error("WeChat refused a login with errcode %d; check wechat.appid and wechat.secret", errcode)
        return WechatUnavailable()
    return kind()
