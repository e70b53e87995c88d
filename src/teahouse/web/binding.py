"""From a handler's signature to its arguments, worked out once at start.

Where a parameter comes from: its name stands in the path template; its type is a msgspec ``Struct`` (or its name is
``body``): the JSON body; ``Annotated[..., Header("X-Name")]``: a header; a type with a provider: that provider;
``Request`` and ``Background``: the kernel; anything else: the query, under its camelCase name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from teahouse.problems import FieldError, NotFound, Problem, ValidationFailed
from teahouse.web.background import Background
from teahouse.web.body import body_reader, field_error
from teahouse.web.calling import Extract, answered, compose
from teahouse.web.request import Request
from teahouse.web.routing import Handler, Route


@dataclass(frozen=True, slots=True)
class Header:
    """Marks a parameter as a header: ``key: Annotated[str, Header("Idempotency-Key")]``.

    ``expected`` tells callers to send it though the parameter has a default: where the handler itself says what is
    wrong with a request that lacks it.
    """

    name: str
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Provider:
    """Makes a value of one type from the request; may wait, and may raise the ``problems`` it names.

    It is an ``async def``, or a plain ``def`` that returns the value or, where it must wait for it, one of ``AWAITED``.
    ``security`` is the OpenAPI scheme that handlers asking for this type require.
    """

    provide: Callable[[Request], Any]
    security: str | None = None
    problems: tuple[type[Problem], ...] = ()

    @property
    def waits(self) -> bool:
        """Whether the value has to be awaited."""
        return inspect.iscoroutinefunction(self.provide)


class Source(StrEnum):
    """Where a parameter's value comes from."""

    PATH = "path"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"
    PROVIDED = "provided"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a handler.

    ``wire_name`` is what callers write; ``default`` is ``inspect.Parameter.empty`` where there is none; ``expected`` is
    that of its ``Header``.
    """

    name: str
    wire_name: str
    source: Source
    type: Any
    default: Any
    expected: bool = False

    @property
    def required(self) -> bool:
        """Whether a request without it is refused."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True, slots=True)
class Signature:
    """A handler as the kernel sees it."""

    parameters: tuple[Parameter, ...]
    returns: Any
    providers: tuple[Provider, ...]

    @property
    def body(self) -> Parameter | None:
        """The parameter that takes the body, if one does."""
        return next((parameter for parameter in self.parameters if parameter.source is Source.BODY), None)


def read_signature(route: Route, providers: Mapping[Any, Provider]) -> Signature:
    """Raises ``TypeError`` where a parameter cannot be bound, naming the handler and the parameter."""
    handler = route.handler
    hints = get_type_hints(handler, include_extras=True)
    parameters = []
    for name, declared in inspect.signature(handler).parameters.items():
        if declared.kind in (declared.VAR_POSITIONAL, declared.VAR_KEYWORD):
            raise TypeError(f"{handler.__qualname__}: *{name} cannot be bound")
        parameter = _parameter(route, name, hints.get(name, str), declared.default, providers)
        _check_type(handler, parameter)
        parameters.append(parameter)
    bound = {parameter.name for parameter in parameters if parameter.source is Source.PATH}
    if missing := set(route.parameter_names) - bound:
        raise TypeError(f"{handler.__qualname__}: {route.template} has {sorted(missing)}, the handler has not")
    if sum(parameter.source is Source.BODY for parameter in parameters) > 1:
        raise TypeError(f"{handler.__qualname__}: a request has one body")
    if route.streams and any(parameter.source is Source.BODY for parameter in parameters):
        raise TypeError(f"{handler.__qualname__}: it reads request.stream, so no parameter can take the body")
    used = tuple(providers[parameter.type] for parameter in parameters if parameter.source is Source.PROVIDED)
    returns = hints.get("return", Any)
    if route.view is not None:
        returns = get_type_hints(route.view, include_extras=True).get("return", Any)
    return Signature(tuple(parameters), answered(returns), used)


def compile_call(route: Route, signature: Signature, providers: Mapping[Any, Provider], background: Extract) -> Handler:
    """The route's ``call(request)``: it returns the answer, or one of ``AWAITED`` that gives it."""
    extracts = [_extract(route, parameter, providers, background) for parameter in signature.parameters]
    provided = [parameter.source is Source.PROVIDED for parameter in signature.parameters]
    waits = any(provider.waits for provider in signature.providers)
    return compose(route.handler, extracts, provided, waits=waits)


def _check_type(handler: Handler, parameter: Parameter) -> None:
    """Raises ``TypeError`` at start for a type that could not be decoded, instead of a fault at every request."""
    if parameter.source in (Source.KERNEL, Source.PROVIDED):
        return
    try:
        msgspec.json.Decoder(parameter.type)
    except TypeError as error:
        raise TypeError(f"{handler.__qualname__}: {parameter.name}: {error}") from error


def _parameter(route: Route, name: str, hint: Any, default: Any, providers: Mapping[Any, Provider]) -> Parameter:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    header = next((mark for mark in marks if isinstance(mark, Header)), None)
    if name in route.parameter_names:
        return Parameter(name, name, Source.PATH, hint, default)
    if header is not None:
        kept = tuple(mark for mark in marks if mark is not header)
        kind = Annotated[(get_args(hint)[0], *kept)] if kept else get_args(hint)[0]
        return Parameter(name, header.name, Source.HEADER, kind, default, header.expected)
    if hint in (Request, Background):
        return Parameter(name, name, Source.KERNEL, hint, default)
    if hint in providers:
        return Parameter(name, name, Source.PROVIDED, hint, default)
    if name == "body" or (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
        return Parameter(name, name, Source.BODY, hint, default)
    return Parameter(name, _camel(name), Source.QUERY, hint, default)


def _extract(route: Route, parameter: Parameter, providers: Mapping[Any, Provider], background: Extract) -> Extract:
    match parameter.source:
        case Source.PATH:
            return _from_path(route.parameter_names.index(parameter.name), parameter.type)
        case Source.QUERY:
            return _from_query(parameter)
        case Source.HEADER:
            return _from_header(parameter)
        case Source.BODY:
            return body_reader(parameter.type)
        case Source.PROVIDED:
            return providers[parameter.type].provide
        case Source.KERNEL:
            return background if parameter.type is Background else lambda request: request


def _from_path(index: int, kind: Any) -> Extract:
    if kind is str:
        return lambda request: request.params[index]

    def extract(request: Request) -> Any:
        try:
            return msgspec.convert(request.params[index], kind, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise NotFound from error

    return extract


def _from_query(parameter: Parameter) -> Extract:
    name, kind, default = parameter.wire_name, parameter.type, parameter.default
    is_list = _is_list(kind)

    def extract(request: Request) -> Any:
        values = request.query.get(name)
        if values is None:
            if parameter.required:
                raise _invalid(f"query:{name}", "is missing")
            return default
        if is_list:
            return _convert(values, kind, f"query:{name}")
        if len(values) > 1:
            raise _invalid(f"query:{name}", "is given more than once")
        return _convert(values[0], kind, f"query:{name}")

    return extract


def _is_list(kind: Any) -> bool:
    """Whether a type is a list, with a constraint or None beside it or without."""
    origin = get_origin(kind)
    if origin is Annotated:
        return _is_list(get_args(kind)[0])
    if origin in (Union, UnionType):
        return any(_is_list(part) for part in get_args(kind))
    return kind is list or origin is list


def _from_header(parameter: Parameter) -> Extract:
    key = parameter.wire_name.lower().encode("latin-1")
    kind, default, pointer = parameter.type, parameter.default, f"header:{parameter.wire_name}"
    is_any_text = _is_any_text(kind)

    def extract(request: Request) -> Any:
        value = request.headers.get(key)
        if value is None:
            if parameter.required:
                raise _invalid(pointer, "is missing")
            return default
        text = value.decode("latin-1").strip(" \t")
        return text if is_any_text else _convert(text, kind, pointer)

    return extract


def _is_any_text(kind: Any) -> bool:
    """Whether a type takes every text; what only the interface shows is no constraint."""
    if get_origin(kind) is not Annotated:
        return kind is str
    base, *marks = get_args(kind)
    return base is str and all(
        isinstance(mark, msgspec.Meta) and (mark.pattern, mark.min_length, mark.max_length) == (None, None, None)
        for mark in marks
    )


def _convert(value: object, kind: Any, pointer: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        wrong = field_error(str(error), pointer)
        raise _invalid(wrong.pointer, wrong.detail) from error
    except ValueError as error:
        raise _invalid(pointer, str(error)) from error


def _invalid(pointer: str, detail: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer.replace(':', ' ')} {detail}", errors=[FieldError(pointer, detail)])


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
