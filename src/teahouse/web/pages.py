"""The addresses every app has: health, metrics, the OpenAPI document, its page, and what each problem means."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from teahouse.problems import NotFound, Problem
from teahouse.web.metrics import KernelCollector, register_process_metrics
from teahouse.web.request import Request
from teahouse.web.response import JSON, Response, encode_json

if TYPE_CHECKING:
    from teahouse.web.app import App

HTML = "text/html; charset=utf-8"

# The pages hold no script and load nothing: even text that came from a caller could do nothing in them.
PAGE_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
}

_STYLE = """
:root{color-scheme:light dark;--ink:#1d2a26;--soft:#5b6b65;--line:#d9e2de;--leaf:#1f7a5a;--paper:#fbfdfc}
@media(prefers-color-scheme:dark){:root{--ink:#e6efeb;--soft:#9db0a8;--line:#2b3a35;--leaf:#6fd0a8;--paper:#111816}}
body{font:16px/1.6 system-ui,"PingFang SC","Noto Sans CJK SC",sans-serif;color:var(--ink);background:var(--paper);
max-width:56rem;margin:2.5rem auto;padding:0 1.2rem}
h1{font-size:1.7rem;margin:0 0 .2rem}h2{font-size:1.1rem;margin:2.2rem 0 .4rem;text-transform:capitalize}
p{margin:.3rem 0;color:var(--soft)}a{color:var(--leaf)}code{font:14px ui-monospace,monospace}
details{border-top:1px solid var(--line);padding:.45rem 0}summary{cursor:pointer;display:flex;gap:.8rem;flex-wrap:wrap}
.m{font:600 13px/1.8 ui-monospace,monospace;color:var(--leaf);min-width:4rem}
.s{color:var(--soft);margin-left:auto}table{border-collapse:collapse;margin:.5rem 0;width:100%}
td,th{text-align:left;padding:.2rem .8rem .2rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{font-weight:600}
""".strip()


def install_pages(app: App) -> None:
    """Registers them, each unless the app has it already."""
    app.metrics.register(KernelCollector(app))
    register_process_metrics(app.metrics)
    taken = {(route.method, route.template) for route in app.router}

    def page(path: str, handler: object) -> None:
        if ("GET", path) not in taken:
            app.get(path, hidden=True)(handler)  # type: ignore[type-var]  # each is a handler, of its own signature

    def healthz() -> dict[str, str]:
        return {"status": "ok"}

    async def readyz() -> Response:
        await app.check_ready()
        return Response(200, encode_json({"status": "ready"}), content_type=JSON, headers={"Cache-Control": "no-store"})

    def metrics() -> Response:
        return Response(200, generate_latest(app.metrics), content_type=CONTENT_TYPE_LATEST)

    def openapi() -> Response:
        return Response(200, document(app), content_type=JSON)

    def docs() -> Response:
        return Response(200, docs_page(msgspec.json.decode(document(app))), content_type=HTML, headers=PAGE_POLICY)

    page("/healthz", healthz)
    page("/readyz", readyz)
    page("/metrics", metrics)
    page("/openapi.json", openapi)
    page("/docs", docs)
    page("/problems/{name}", _problem_page)
    page("/problems", _problems_page)


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
        return Response(200, _page(kind.title, body), content_type=HTML, headers=PAGE_POLICY)
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
        return Response(200, _page("Problems", body), content_type=HTML, headers=PAGE_POLICY)
    return Response(200, encode_json({"items": [_explained(kind) for kind in kinds]}), content_type=JSON)


def _explained(kind: type[Problem]) -> dict[str, object]:
    return {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "explanation": kind.explanation(),
    }


def docs_page(described: dict[str, dict[str, dict[str, dict[str, object]]]]) -> bytes:
    """The OpenAPI document for people: every operation under its tag, with parameters, body and answers."""
    groups: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            tag = (operation.get("tags") or ["other"])[0]  # type: ignore[index]  # OpenAPI: a list of strings
            groups.setdefault(tag, []).append(_operation(method, path, operation))
    info = described["info"]
    body = f"<p>{escape(str(info.get('description', '')))}</p><p><a href='/openapi.json'>openapi.json</a> · <a href='/problems'>problems</a></p>"
    body += "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in groups.items())
    return _page(f"{info['title']} {info['version']}", body)


def _operation(method: str, path: str, operation: dict[str, object]) -> str:
    rows = [
        f"<tr><td>{escape(str(parameter['in']))}</td><td><code>{escape(str(parameter['name']))}</code></td>"
        f"<td><code>{escape(_kind(parameter['schema']))}</code>{' required' if parameter.get('required') else ''}</td></tr>"
        for parameter in operation.get("parameters", [])  # type: ignore[attr-defined]  # OpenAPI: a list of objects
    ]
    if isinstance(body := operation.get("requestBody"), dict):
        rows += [
            f"<tr><td>body</td><td>{escape(media_type)}</td><td><code>{escape(_kind(content.get('schema', {})))}</code></td></tr>"
            for media_type, content in body["content"].items()
        ]
    rows += [
        f"<tr><td>{escape(status)}</td><td colspan=2>{escape(str(answer['description']))}</td></tr>"
        for status, answer in operation.get("responses", {}).items()  # type: ignore[attr-defined]  # OpenAPI: an object
    ]
    return (
        f"<details><summary><span class=m>{method.upper()}</span><code>{escape(path)}</code>"
        f"<span class=s>{escape(str(operation.get('summary', '')))}</span></summary><table>{''.join(rows)}</table></details>"
    )


def _kind(schema: object) -> str:
    if not isinstance(schema, dict):
        return "any"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    return str(schema.get("type", "any"))


def _page(title: str, body: str) -> bytes:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    ).encode()
