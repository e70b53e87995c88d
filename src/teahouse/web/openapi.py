"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1), generated from the signatures that bind requests."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from teahouse.problems import (
    BadRequest,
    ContentTooLarge,
    FieldError,
    MalformedJson,
    NotFound,
    Problem,
    UnsupportedMediaType,
    ValidationFailed,
)
from teahouse.web.binding import Parameter, Signature, Source
from teahouse.web.response import JSON, PROBLEM_JSON, Response
from teahouse.web.routing import Route
from teahouse.web.sending import StreamedResponse

if TYPE_CHECKING:
    from teahouse.web.app import App

_REF = "#/components/schemas/{name}"


class ProblemDocument(msgspec.Struct, rename="camel"):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = ""
    errors: list[FieldError] = []


def describe(app: App) -> dict[str, Any]:
    """The document as plain dictionaries. The app must be compiled."""
    shown = [(route, app.signatures[route]) for route in app.router if not route.hidden]
    kinds = _kinds(shown)
    schemas, components = msgspec.json.schema_components([*kinds.values(), ProblemDocument], ref_template=_REF)
    by_kind = dict(zip(kinds, schemas, strict=False))
    paths: dict[str, dict[str, Any]] = {}
    for route, signature in shown:
        paths.setdefault(route.template, {})[route.method.lower()] = _operation(route, signature, by_kind)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": app.title, "version": app.version, "description": app.description},
        "paths": paths,
        "components": {"schemas": components},
    }
    if app.security_schemes:
        document["components"]["securitySchemes"] = dict(app.security_schemes)
    return document


def _kinds(shown: list[tuple[Route, Signature]]) -> dict[str, Any]:
    """Every type that needs a schema, by the place it is used in (types themselves need not be hashable)."""
    kinds: dict[str, Any] = {}
    for route, signature in shown:
        place = f"{route.method} {route.template}"
        for parameter in signature.parameters:
            if parameter.source not in (Source.PROVIDED, Source.KERNEL):
                kinds[f"{place} {parameter.name}"] = parameter.type
        if _has_schema(signature.returns):
            kinds[f"{place} returns"] = signature.returns
    return kinds


def _has_schema(kind: Any) -> bool:
    return kind not in (None, type(None), Response, StreamedResponse, Response | StreamedResponse, Any)


def _operation(route: Route, signature: Signature, schemas: dict[str, Any]) -> dict[str, Any]:
    place = f"{route.method} {route.template}"
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "responses": _responses(route, signature, schemas.get(f"{place} returns")),
    }
    if route.tags:
        operation["tags"] = list(route.tags)
    parameters = [
        _parameter(parameter, schemas[f"{place} {parameter.name}"])
        for parameter in signature.parameters
        if parameter.source in (Source.PATH, Source.QUERY, Source.HEADER)
    ]
    if parameters:
        operation["parameters"] = parameters
    if signature.body is not None:
        schema = schemas[f"{place} {signature.body.name}"]
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    security = [provider.security for provider in signature.providers if provider.security]
    if security:
        operation["security"] = [{name: []} for name in security]
    return operation


def _parameter(parameter: Parameter, schema: dict[str, Any]) -> dict[str, Any]:
    described = {
        "name": parameter.wire_name,
        "in": parameter.source.value,
        "required": parameter.source is Source.PATH or parameter.required or parameter.expected,
        "schema": schema,
    }
    optional = not (parameter.required or parameter.expected)
    if optional and parameter.default is not None and isinstance(parameter.default, str | int | float):
        described["schema"] = {**schema, "default": parameter.default}
    return described


def _responses(route: Route, signature: Signature, schema: dict[str, Any] | None) -> dict[str, Any]:
    status = 204 if signature.returns in (None, type(None)) else route.status
    good: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if schema is not None:
        good["content"] = {JSON: {"schema": schema}}
    responses = {str(status): good}
    by_status: dict[int, set[type[Problem]]] = {}
    for kind in _problems(route, signature):
        by_status.setdefault(kind.status, set()).add(kind)
    for code, kinds in sorted(by_status.items()):
        responses[str(code)] = {
            "description": "; ".join(sorted(kind.slug for kind in kinds)),
            "content": {PROBLEM_JSON: {"schema": {"$ref": _REF.format(name=ProblemDocument.__name__)}}},
        }
    return responses


def _problems(route: Route, signature: Signature) -> set[type[Problem]]:
    kinds = set(route.problems)
    for provider in signature.providers:
        kinds.update(provider.problems)
    sources = {parameter.source for parameter in signature.parameters}
    if Source.PATH in sources:
        kinds.update((NotFound, BadRequest))
    if sources & {Source.QUERY, Source.HEADER}:
        kinds.update((ValidationFailed, BadRequest))
    if signature.body is not None:
        kinds.update((MalformedJson, UnsupportedMediaType, ValidationFailed, ContentTooLarge))
    return kinds


def _operation_id(route: Route) -> str:
    parts = [part for part in route.template.split("/") if part and part != "v1"]
    words = [f"by_{part[1:-1]}" if part[0] == "{" else part for part in parts]
    return "_".join([route.method.lower(), *words]).replace("-", "_").replace(".", "_")
