"""Why Redis is out of reach: the log says it all, callers are told nothing of how the network is made."""

from __future__ import annotations

import errno

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeout

from teahouse.engines.redis_replies import error_of, told, unavailable

REFUSED = "Error 111 connecting to 10.0.0.7:16399. Connection refused."


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError(REFUSED),
        OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.7', 16399)"),
        ConnectionResetError("10.0.0.7 reset"),
        ResponseError("MOVED 1 10.0.0.7:16399"),
    ],
)
def test_callers_are_told_no_address_and_the_log_is(error):
    assert unavailable(error).detail == "Redis is out of reach: there is no connection to it"
    assert "10.0.0.7" in told(error)


def test_what_names_no_address_is_told_to_callers_too():
    assert unavailable(RedisTimeout("Timeout reading from 10.0.0.7:16399")).detail.endswith("no answer in time")
    assert unavailable(TimeoutError("10.0.0.7")).detail.endswith("no answer in time")
    assert unavailable(error_of("LOADING Redis is loading")).detail.startswith("Redis answers LOADING")
