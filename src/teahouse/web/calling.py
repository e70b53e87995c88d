"""A handler and what gives it its arguments, put together into one call; it makes a task only where it must wait."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from types import CoroutineType, UnionType
from typing import Any, TypeAlias, TypeVar, Union, get_args, get_origin

from teahouse.web.request import Request
from teahouse.web.routing import Handler

T = TypeVar("T")
Extract = Callable[[Request], Any]

# What a plain ``def`` returns that has its answer at hand, most times, and must wait for it otherwise.
Maybe: TypeAlias = T | Awaitable[T]

# What is waited for: what an ``async def`` returns, and futures. One look-up by class costs 15 ns; asking each value
# whether it is awaitable would cost twenty times that.
AWAITED: frozenset[Any] = frozenset({CoroutineType, asyncio.Future, asyncio.Task})


def answered(hint: Any) -> Any:
    """The type behind a handler's: of ``Maybe[X]``, of ``X | Awaitable[X]`` and of ``Awaitable[X]`` it is X."""
    if get_origin(hint) is Awaitable:
        return get_args(hint)[0]
    if get_origin(hint) not in (Union, UnionType):
        return hint
    parts = tuple(part for part in get_args(hint) if get_origin(part) is not Awaitable)
    return Union[parts] if parts else hint  # noqa: UP007  # the parts are known only here


def compose(handler: Handler, extracts: list[Extract], provided: list[bool], *, waits: bool) -> Handler:
    """``call(request)``: returns the answer, or one of ``AWAITED`` that gives it.

    ``provided`` says which arguments come from providers, which may have to be waited for; ``waits`` that one always
    has to.
    """
    handler = _by_position(handler)
    if waits:
        return lambda request: _go_on(handler, extracts, request, [])
    if not any(provided):
        return _direct(handler, extracts)
    if any(provided[1:]):
        return _checked(handler, extracts)
    # The usual signature: a provider's value first, such as the caller, then what the request says.
    usual = {1: _provided, 2: _provided_and_one, 4: _provided_and_three}
    return usual.get(len(extracts), _provided_and_more)(handler, extracts)


def _by_position(handler: Handler) -> Handler:
    """The handler as one that takes keyword-only parameters by position too."""
    declared = inspect.signature(handler).parameters.values()
    names = [parameter.name for parameter in declared if parameter.kind is parameter.KEYWORD_ONLY]
    if not names:
        return handler
    count = len(declared) - len(names)
    return lambda *values: handler(*values[:count], **dict(zip(names, values[count:], strict=True)))


def _direct(handler: Handler, extracts: list[Extract]) -> Handler:
    # Spelled out for the usual lengths: building an argument list costs a third of a microsecond.
    match extracts:
        case []:
            return lambda _request: handler()
        case [a]:
            return lambda request: handler(a(request))
        case [a, b]:
            return lambda request: handler(a(request), b(request))
        case [a, b, c]:
            return lambda request: handler(a(request), b(request), c(request))
    return lambda request: handler(*[extract(request) for extract in extracts])


def _provided(handler: Handler, extracts: list[Extract]) -> Handler:
    (provide,) = extracts

    def call(request: Request) -> Any:
        value = provide(request)
        return _go_on(handler, extracts, request, [value]) if value.__class__ in AWAITED else handler(value)

    return call


def _provided_and_one(handler: Handler, extracts: list[Extract]) -> Handler:
    provide, extract = extracts

    def call(request: Request) -> Any:
        value = provide(request)
        if value.__class__ in AWAITED:
            return _go_on(handler, extracts, request, [value])
        return handler(value, extract(request))

    return call


def _provided_and_three(handler: Handler, extracts: list[Extract]) -> Handler:
    provide, a, b, c = extracts

    def call(request: Request) -> Any:
        value = provide(request)
        if value.__class__ in AWAITED:
            return _go_on(handler, extracts, request, [value])
        return handler(value, a(request), b(request), c(request))

    return call


def _provided_and_more(handler: Handler, extracts: list[Extract]) -> Handler:
    provide, *rest = extracts

    def call(request: Request) -> Any:
        value = provide(request)
        if value.__class__ in AWAITED:
            return _go_on(handler, extracts, request, [value])
        return handler(value, *[extract(request) for extract in rest])

    return call


def _checked(handler: Handler, extracts: list[Extract]) -> Handler:
    """For every other order of parameters."""

    def call(request: Request) -> Any:
        values: list[Any] = []
        for extract in extracts:
            value = extract(request)
            values.append(value)
            if value.__class__ in AWAITED:
                return _go_on(handler, extracts, request, values)
        return handler(*values)

    return call


async def _go_on(handler: Handler, extracts: Sequence[Extract], request: Request, values: list[Any]) -> Any:
    """The rest of a call that must wait; the last of ``values`` is what it waits for."""
    if values:
        values[-1] = await values[-1]
    for extract in extracts[len(values) :]:
        value = extract(request)
        values.append(await value if value.__class__ in AWAITED else value)
    result = handler(*values)
    return await result if result.__class__ in AWAITED else result
