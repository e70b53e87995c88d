"""From method and path to a route."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes

from teahouse.problems import BadRequest, Problem
from teahouse.web.figures import RouteFigures

Handler = Callable[..., Any]

_PARAMETER = re.compile(r"^\{([a-z_][a-z0-9_]*)\}$")
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


@dataclass(eq=False, slots=True)
class Route:
    """One method on one path template and the handler behind it.

    ``max_body`` is in bytes (None: the server's setting for JSON bodies), ``headers`` go out with plain return values,
    ``problems`` is what the handler may raise, for the OpenAPI document, and ``view`` makes what goes over the wire of
    what the handler returns. Where it ``streams``, the handler is called when the head is there and reads the body.
    """

    method: str
    template: str
    handler: Handler
    status: int = 200
    summary: str = ""
    tags: tuple[str, ...] = ()
    problems: tuple[type[Problem], ...] = ()
    max_body: int | None = None
    headers: Mapping[str, str] | None = None
    hidden: bool = False
    view: Callable[[Any], Any] | None = None
    streams: bool = False
    call: Handler = field(init=False, repr=False)
    figures: RouteFigures = field(init=False, default_factory=RouteFigures, repr=False)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The template's parameters, left to right."""
        return tuple(match[1] for part in self.template.split("/") if (match := _PARAMETER.match(part)))


class _Node:
    __slots__ = ("literals", "methods", "parameter")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.parameter: _Node | None = None
        self.methods: dict[str, Route] = {}


class Router:
    """Finds routes: whole paths by one look-up, templates segment by segment, a literal before a parameter."""

    def __init__(self) -> None:
        self._static: dict[str, dict[str, Route]] = {}
        self._root = _Node()
        self._routes: list[Route] = []
        self._depth = 0

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def add(self, route: Route) -> None:
        """Raises ``ValueError`` for a malformed template or a method that the path already has."""
        if not route.template.startswith("/"):
            raise ValueError(f"{route.template}: a path starts with /")
        methods = self._methods(route.template)
        if route.method in methods:
            raise ValueError(f"{route.method} {route.template} is there already")
        methods[route.method] = route
        self._depth = max(self._depth, route.template.count("/"))
        self._routes.append(route)

    def find(self, path: str) -> tuple[dict[str, Route], Sequence[str]] | None:
        """The routes of a raw path by method, with its parameters decoded; None where there is no such path.

        Raises ``BadRequest`` where the path is not percent-encoded UTF-8.
        """
        methods = self._static.get(path)
        if methods is not None:
            return methods, ()
        if path[:1] != "/":
            return None
        segments = path[1:].split("/")
        if "%" in path:
            if len(segments) > self._depth:
                # Decoding a megabyte of segments would hold up everybody, and none of them leads anywhere.
                return None
            segments = [_decode(segment) for segment in segments]
            methods = self._static.get("/" + "/".join(segments)) if "/" not in "".join(segments) else None
            if methods is not None:
                return methods, ()
        values: list[str] = []
        node = _walk(self._root, segments, 0, values)
        return None if node is None else (node.methods, values)

    def _methods(self, template: str) -> dict[str, Route]:
        if "{" not in template:
            return self._static.setdefault(template, {})
        node = self._root
        for part in template[1:].split("/"):
            if _PARAMETER.match(part):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            elif "{" in part or "}" in part:
                raise ValueError(f"{template}: a parameter is a whole segment, as in /user/{{id}}")
            else:
                node = node.literals.setdefault(part, _Node())
        return node.methods


def _walk(node: _Node, segments: list[str], start: int, values: list[str]) -> _Node | None:
    for index in range(start, len(segments)):
        segment = segments[index]
        child = node.literals.get(segment)
        parameter = node.parameter
        if child is not None and parameter is not None:
            # Both could lead on; the literal goes first and the parameter gets what the literal cannot finish.
            kept = len(values)
            found = _walk(child, segments, index + 1, values)
            if found is not None:
                return found
            del values[kept:]
            child = None
        if child is None:
            if parameter is None or not segment:
                return None
            values.append(segment)
            child = parameter
        node = child
    return node if node.methods else None


def _decode(segment: str) -> str:
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("The path is not percent-encoded UTF-8.") from error
    if "\0" in text:
        raise BadRequest("The path holds a null character.")
    return text
