"""The addresses every app has: health, metrics, the OpenAPI document, its page, and what each problem means."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from html import escape
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from teahouse.problems import NotFound, Problem
from teahouse.web.html import HTML, PAGE_POLICY
from teahouse.web.html import page as html_page
from teahouse.web.metrics import KernelCollector, register_process_metrics
from teahouse.web.reference import reference_page
from teahouse.web.request import Request
from teahouse.web.response import JSON, Response, encode_json
from teahouse.web.routing import Handler

if TYPE_CHECKING:
    from teahouse.web.app import App


def install_pages(app: App) -> None:
    """Registers them, each unless the app has it already."""
    app.metrics.register(KernelCollector(app))
    register_process_metrics(app.metrics)
    taken = {(route.method, route.template) for route in app.router}

    def page(path: str, handler: Handler) -> None:
        if ("GET", path) not in taken:
            app.get(path, hidden=True)(handler)

    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    async def readyz() -> Response:
        await app.check_ready()
        return Response(200, encode_json({"status": "ready"}), content_type=JSON, headers={"Cache-Control": "no-store"})

    def metrics() -> Response:
        return Response(200, generate_latest(app.metrics), content_type=CONTENT_TYPE_LATEST)

    async def metrics_of_all() -> Response:
        assert app.siblings is not None
        return Response(200, await app.siblings.exposition(), content_type=CONTENT_TYPE_LATEST)

    page("/healthz", healthz)
    page("/readyz", readyz)
    page("/metrics", metrics if app.siblings is None else metrics_of_all)
    _install_reference(app, page)
    page("/problems/{name}", _problem_page)
    page("/problems", _problems_page)


def _install_reference(app: App, page: Callable[[str, Handler], None]) -> None:
    # To make them takes the loop tens of milliseconds, which anybody could ask for; routes are only ever added.
    @lru_cache(maxsize=1)
    def described(_routes: int) -> bytes:
        return document(app)

    @lru_cache(maxsize=1)
    def explained(routes: int) -> bytes:
        return reference_page(msgspec.json.decode(described(routes)))

    def openapi() -> Response:
        return Response(200, described(len(app.signatures)), content_type=JSON)

    def docs() -> Response:
        return Response(200, explained(len(app.signatures)), content_type=HTML, headers=PAGE_POLICY)

    page("/openapi.json", openapi)
    page("/docs", docs)


def document(app: App) -> bytes:
    """The app's OpenAPI document as JSON."""
    from teahouse.web.openapi import describe

    return msgspec.json.format(encode_json(describe(app)), indent=1)


def _problem_page(name: str, request: Request) -> Response:
    kind = Problem.vocabulary.get(name)
    if kind is None:
        raise NotFound("There is no problem of that name; /problems lists them.")
    if "text/html" in (request.header("accept") or ""):
        body = f"<p><code>{kind.status}</code></p><p>{escape(kind.explanation())}</p><p><a href='/problems'>All problems</a></p>"
        return Response(200, html_page(kind.title, body), content_type=HTML, headers=PAGE_POLICY)
    return Response(200, encode_json(_explained(kind)), content_type=JSON)


def _problems_page(request: Request) -> Response:
    kinds = [kind for _, kind in sorted(Problem.vocabulary.items())]
    if "text/html" in (request.header("accept") or ""):
        rows = "".join(
            f"<tr><td><code>{kind.status}</code></td><td><a href='/problems/{kind.slug}'>{kind.slug}</a></td>"
            f"<td>{escape(kind.explanation())}</td></tr>"
            for kind in kinds
        )
        body = f"<table><tr><th>Status</th><th>Type</th><th>What it means</th></tr>{rows}</table>"
        return Response(200, html_page("Problems", body), content_type=HTML, headers=PAGE_POLICY)
    return Response(200, encode_json({"items": [_explained(kind) for kind in kinds]}), content_type=JSON)


def _explained(kind: type[Problem]) -> dict[str, object]:
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "explanation": kind.explanation(),
    }
