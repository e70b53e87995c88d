"""The OpenAPI document for people: every operation with what it takes and what it answers, on one page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from teahouse.web.html import page

# A type within a type within a type is told by its name.
_DEPTH = 3


def reference_page(document: Mapping[str, Any]) -> bytes:
    """The page of one OpenAPI document; it holds no script and loads nothing."""
    return page(f"{document['info']['title']} {document['info']['version']}", _Reference(document).body())


class _Reference:
    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._schemas: Mapping[str, Any] = document["components"]["schemas"]

    def body(self) -> str:
        groups: dict[str, list[str]] = {}
        for path, operations in self._document["paths"].items():
            for method, operation in operations.items():
                tag = (operation.get("tags") or ["routes"])[0]
                groups.setdefault(tag, []).append(self._operation(method, path, operation))
        about = escape(self._document["info"].get("description", ""))
        links = "<a href='/openapi.json'>openapi.json</a> · <a href='/problems'>problems</a>"
        sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in groups.items())
        return f"<p>{about}</p><p>{links}</p>{sections}"

    def _operation(self, method: str, path: str, operation: Mapping[str, Any]) -> str:
        lock = "<span class=k>needs a token</span>" if operation.get("security") else ""
        rows = [*self._parameters(operation), *self._request_body(operation), *self._answers(operation)]
        return (
            f"<details><summary><span class=m>{method.upper()}</span><code>{escape(path)}</code>{lock}"
            f"<span class=s>{escape(operation.get('summary', ''))}</span></summary><table>{''.join(rows)}</table></details>"
        )

    def _parameters(self, operation: Mapping[str, Any]) -> Iterator[str]:
        for parameter in operation.get("parameters", []):
            yield _row(
                parameter["in"],
                f"<code>{escape(parameter['name'])}</code>",
                self._told(parameter["schema"], required=parameter.get("required", False)),
            )

    def _request_body(self, operation: Mapping[str, Any]) -> Iterator[str]:
        for content in operation.get("requestBody", {}).get("content", {}).values():
            yield from self._fields("body", content.get("schema", {}))

    def _answers(self, operation: Mapping[str, Any]) -> Iterator[str]:
        for status, answer in operation.get("responses", {}).items():
            if status.startswith("2"):
                yield _row(f"<b>{escape(status)}</b>", "", escape(answer["description"]))
                for content in answer.get("content", {}).values():
                    yield from self._fields("", content.get("schema", {}))
            else:
                yield _row(escape(status), "", _problem_links(answer["description"]))

    def _fields(self, where: str, schema: Mapping[str, Any], prefix: str = "", depth: int = 1) -> Iterator[str]:
        resolved = self._resolved(schema)
        required = resolved.get("required", [])
        if "properties" not in resolved:
            yield _row(where, f"<code>{escape(prefix) or '–'}</code>", self._told(schema, required=True))
        for name, field in resolved.get("properties", {}).items():
            yield _row(where, f"<code>{escape(prefix + name)}</code>", self._told(field, required=name in required))
            inner = self._resolved(field.get("items", field))
            if "properties" in inner and depth < _DEPTH:
                deeper = f"{prefix}{name}{'[]' if 'items' in field else ''}."
                yield from self._fields(where, inner, deeper, depth + 1)

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" in schema:
            found: Mapping[str, Any] = self._schemas.get(schema["$ref"].rpartition("/")[2], {})
            return found
        return schema

    def _told(self, schema: Mapping[str, Any], *, required: bool) -> str:
        """A type in a few words: what it is, what bounds it, what it is without the caller's word."""
        words = [self._kind(schema), *_bounds(schema)]
        if "default" in schema:
            words.append(f"default {schema['default']!r}")
        elif not required:
            words.append("optional")
        about = schema.get("description", "")
        return escape(", ".join(words)) + (f"<br><span class=s>{escape(about)}</span>" if about else "")

    def _kind(self, schema: Mapping[str, Any]) -> str:
        if "anyOf" in schema:
            return " or ".join(self._kind(each) for each in schema["anyOf"])
        if "enum" in schema:
            return " | ".join(str(value) for value in schema["enum"])
        if "$ref" in schema:
            return str(self._resolved(schema).get("title", "object"))
        kind = str(schema.get("format") or schema.get("type") or "any")
        return f"list of {self._kind(schema['items'])}" if kind == "array" and schema.get("items") else kind


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    for low, high, unit in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", " items"),
    ):
        if low in schema and high in schema:
            yield f"{schema[low]} to {schema[high]}{unit}"
        elif low in schema:
            yield f"at least {schema[low]}{unit}"
        elif high in schema:
            yield f"at most {schema[high]}{unit}"


def _problem_links(description: str) -> str:
    return ", ".join(
        f"<a href='/problems/{escape(slug)}'>{escape(slug)}</a>" for slug in description.split("; ") if slug
    )


def _row(where: str, name: str, told: str) -> str:
    return f"<tr><td>{where}</td><td>{name}</td><td>{told}</td></tr>"
