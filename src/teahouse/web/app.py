"""An application: its routes, what it provides to handlers, and its life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from prometheus_client import CollectorRegistry

from teahouse.problems import NotReady, Problem
from teahouse.web.background import Background, BackgroundWorker
from teahouse.web.binding import Provider, Signature, compile_call, read_signature
from teahouse.web.request import Request
from teahouse.web.response import Response
from teahouse.web.routing import Handler, Route, Router

if TYPE_CHECKING:
    from teahouse.web.realtime import Realtime
    from teahouse.web.server import Server
    from teahouse.web.siblings import Siblings

_log = logging.getLogger(__name__)

# More than any client can announce (RFC 9110 §8.6 bounds no length, parsers do).
_ANY_SIZE = 2**64

HandlerT = TypeVar("HandlerT", bound=Handler)
Hook = Callable[[], Awaitable[None]]


class App:
    """Routes and their surroundings. Usable by itself; ``teahouse.Teahouse`` is one with every feature installed.

    ::

        app = App()


        @app.get("/user/{id}")
        def user(id: str) -> dict[str, str]:
            return {"id": id}

    A plain ``def`` handler runs on the event loop and must not wait; an ``async def`` handler may, and costs a task.

    One that has its answer at hand most times, such as from a cache, is a plain ``def`` that returns the answer then,
    and otherwise a coroutine, a future or a task that gives it; its type is ``Maybe[X]``, which is
    ``X | Awaitable[X]``, and the OpenAPI document says ``X``::

        @app.get("/tea/{id}")
        def tea(id: str) -> Maybe[Tea]:
            return cache.get(id) or load(id)
    """

    def __init__(self, *, title: str = "Teahouse", version: str = "1", description: str = "") -> None:
        self.title = title
        self.version = version
        self.description = description
        self.router = Router()
        self.background = BackgroundWorker()
        self.metrics = CollectorRegistry()
        self.server: Server | None = None
        self.siblings: Siblings | None = None
        self.realtime: Realtime | None = None
        self.signatures: dict[Route, Signature] = {}
        self.security_schemes: dict[str, Mapping[str, Any]] = {}
        self._providers: dict[Any, Provider] = {}
        self._starts: list[Hook] = []
        self._stops: list[Hook] = []
        self._checks: dict[str, Hook] = {}
        self._ready = False
        self._has_pages = False

    # --- routes -------------------------------------------------------------------------------------------------------

    def get(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Answers GET, and HEAD without the body. Options are those of ``route``."""
        return self.route("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Answers POST."""
        return self.route("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Answers PUT."""
        return self.route("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Answers PATCH, which mini-programs cannot send: offer PUT as well."""
        return self.route("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        """Answers DELETE."""
        return self.route("DELETE", path, **options)

    def route(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        summary: str = "",
        tags: tuple[str, ...] = (),
        problems: tuple[type[Problem], ...] = (),
        max_body: int | None = None,
        headers: Mapping[str, str] | None = None,
        hidden: bool = False,
        view: Callable[[Any], Any] | None = None,
        streams: bool = False,
    ) -> Callable[[HandlerT], HandlerT]:
        """Registers a handler.

        ``status`` is that of a plain return value and ``headers`` go out with it (``{"Cache-Control": "no-store"}``),
        ``max_body`` is in bytes, ``problems`` is what it may raise and ``hidden`` keeps it out of the OpenAPI
        document. ``view`` makes the answer of what the handler returns or of what that gives when it has been waited
        for, so that a handler may hand on a future as it is; the document then shows what ``view`` returns. Where it
        ``streams``, the handler is called as soon as the head is there and reads ``request.stream``, of any size unless
        ``max_body`` says otherwise. Raises ``ValueError`` where the path has the method already.
        """

        def register(handler: HandlerT) -> HandlerT:
            # A header that cannot be sent is told here, not at each request.
            Response(headers=headers)
            first_line = (handler.__doc__ or "").strip().partition("\n")[0]
            most = _ANY_SIZE if streams and max_body is None else max_body
            route = Route(
                method, path, handler, status, summary or first_line, tags, problems, most, headers, hidden, view,
                streams,
            )  # fmt: skip
            self.router.add(route)
            return handler

        return register

    def provide(
        self,
        kind: Any,
        provider: Callable[[Request], Any],
        *,
        security: str | None = None,
        problems: tuple[type[Problem], ...] = (),
    ) -> None:
        """Handlers that ask for ``kind`` get what ``provider(request)`` returns.

        It may be an ``async def``; or a plain ``def`` that returns ``Maybe[kind]``, as a handler may.
        """
        self._providers[kind] = Provider(provider, security, problems)

    # --- life ---------------------------------------------------------------------------------------------------------

    def on_start(self, hook: Hook) -> Hook:
        """Runs before the first request; one that raises stops the start."""
        self._starts.append(hook)
        return hook

    def on_stop(self, hook: Hook) -> Hook:
        """Runs after the last request and its background work; the last registered goes first."""
        self._stops.append(hook)
        return hook

    def ready_check(self, name: str, check: Hook) -> None:
        """``/readyz`` is 200 only while no check raises."""
        self._checks[name] = check

    def compile(self) -> None:
        """Works out every handler's arguments. Raises ``TypeError`` for a signature that cannot be bound."""
        from teahouse.web.pages import install_pages

        if not self._has_pages:
            install_pages(self)
            self._has_pages = True
        for route in self.router:
            signature = read_signature(route, self._providers)
            route.call = compile_call(route, signature, self._providers, self._background)
            self.signatures[route] = signature

    async def startup(self) -> None:
        """Compiles and runs the start hooks. An app that was shut down may be started again."""
        self.compile()
        self.background.open()
        for hook in self._starts:
            await hook()
        self._ready = True

    async def shutdown(self, seconds: float) -> None:
        """Ends background work, then runs the stop hooks; each runs, so long at most, even where another failed."""
        self._ready = False
        await self.background.aclose(seconds)
        for hook in reversed(self._stops):
            try:
                await asyncio.wait_for(hook(), seconds)
            except Exception:
                _log.exception("stop hook %s failed", getattr(hook, "__qualname__", hook))

    async def check_ready(self) -> None:
        """Raises ``NotReady`` saying what is missing."""
        if not self._ready or (self.server is not None and self.server.draining):
            raise NotReady("The node is starting or stopping.")
        for name, check in self._checks.items():
            try:
                await check()
            except Problem as error:
                raise NotReady(f"{name}: {error.detail}") from error
            except Exception as error:  # whatever a check raises means not ready
                raise NotReady(f"{name}: {type(error).__name__}") from error

    def _background(self, request: Request) -> Background:
        if request.work is None:
            request.work = []
        return Background(self.background, request.work)
