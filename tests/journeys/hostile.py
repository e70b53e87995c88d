"""Bodies that no route may take, made from what ``/openapi.json`` says of the right ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

JSON = "application/json"
NEVER = object()


class Bad(NamedTuple):
    """One body to be refused, and why."""

    why: str
    body: bytes
    content_type: str | None = JSON


def resolved(schema: dict[str, Any], interface: dict[str, Any]) -> dict[str, Any]:
    """The schema behind a reference."""
    while "$ref" in schema:
        schema = interface["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def bad_bodies(good: dict[str, Any], schema: dict[str, Any], interface: dict[str, Any]) -> Iterator[Bad]:
    """Every way to spoil a good body, one at a time."""
    schema = resolved(schema, interface)
    yield from _not_json(good)
    yield from _not_an_object(good)
    yield Bad("unknown field", _encoded({**good, "surprise": 1}))
    yield Bad("unknown field from another language", _encoded({**good, "__proto__": {"role": "admin"}}))
    for name in schema.get("required", []):
        yield Bad(f"{name} missing", _encoded({key: value for key, value in good.items() if key != name}))
    for name, inner in schema["properties"].items():
        if not {"$ref", "anyOf", "enum", "type"} & inner.keys():
            # Any value is a right one.
            continue
        for why, text in _wrong_values(resolved(inner, interface)):
            if name == "password" and why == "a NUL":
                # Only its hash is kept, so any character may be in it.
                continue
            yield Bad(f"{name} is {why}", _with(good, name, text))


def _not_json(good: dict[str, Any]) -> Iterator[Bad]:
    whole = _encoded(good)
    yield Bad("empty", b"")
    yield Bad("cut off", whole[:-1])
    yield Bad("followed by more", whole + b"{}")
    yield Bad("single quotes", whole.replace(b'"', b"'"))
    yield Bad("a byte order mark", b"\xef\xbb\xbf" + whole)
    yield Bad("UTF-16", json.dumps(good).encode("utf-16"))
    yield Bad("not UTF-8", whole[:-1] + b', "caf\xe9": 1}')
    yield Bad("an overlong NUL", b'{"a": "\xc0\x80"}')
    yield Bad("a raw NUL", b"\x00")
    yield Bad("a control character in a text", b'{"a\n": 1}')
    yield Bad("NaN", b'{"a": NaN}')
    yield Bad("an infinite number", b'{"a": -Infinity}')
    yield Bad("a leading zero", b'{"a": 01}')
    yield Bad("a comment", b"/* */" + whole)
    yield Bad("too deep a list", b"[" * 100_000)
    yield Bad("too deep a list that ends", b"[" * 50_000 + b"]" * 50_000)
    yield Bad("too deep an object", b'{"a":' * 50_000 + b"1" + b"}" * 50_000)
    yield Bad("no type", whole, None)
    yield Bad("an empty type", whole, "")
    for other in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
    ):
        yield Bad(f"said to be {other}", whole, other)
    yield Bad("in another charset", whole, "application/json; charset=utf-16")


def _not_an_object(good: dict[str, Any]) -> Iterator[Bad]:
    yield Bad("a list of bodies", _encoded([good]))
    for text in (b"null", b"true", b"0", b'""', b"[]", b'"text"', b"1e400"):
        yield Bad(f"{text.decode()} instead of an object", text)


def _wrong_values(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = _kinds(schema)
    if "null" not in kinds:
        yield "null", "null"
    if "object" not in kinds:
        yield "an object", '{"a": 1}'
        yield "too deep", '{"a":' * 20_000 + "1" + "}" * 20_000
    if "array" not in kinds:
        yield "a list", "[]"
    else:
        yield "a list of numbers", "[1]"
        yield "a list of lone surrogates", r'["/\ud800"]'
        yield "a list of NULs", r'["/\u0000"]'
        yield "a long list", "[" + ",".join(['"/a"'] * 10_000) + "]"
    if "boolean" not in kinds:
        yield "a truth value", "true"
    if "string" not in kinds:
        yield "a text", '"1"'
    else:
        yield "a NUL", r'"sandbox-a\u0000b-1"'
        yield "a lone surrogate", r'"sandbox-a\ud800b-1"'
        yield "a wrong pair of surrogates", r'"sandbox-\udc00\ud800-1"'
        yield "an endless text", json.dumps("茶" * 100_000)
    if not kinds & {"integer", "number"}:
        yield "a number", "1"
    else:
        yield from _wrong_numbers(integer="integer" in kinds)


def _wrong_numbers(*, integer: bool) -> Iterator[tuple[str, str]]:
    yield "negative", "-1"
    yield "less than 64 bits", str(-(2**63) - 1)
    yield "more than 63 bits", str(2**63)
    yield "more than 64 bits", str(2**64)
    yield "huge", str(10**30)
    yield "without end", "1" + "0" * 5000
    yield "beyond every float", "1e400"
    yield "far beyond every float", "1e999999999"
    yield "a huge float", "1e308"
    if integer:
        yield "one and a half", "1.5"
        yield "hardly more than one", "1.0000000000000002"


def _kinds(schema: dict[str, Any]) -> set[str]:
    if "anyOf" in schema:
        return {kind for each in schema["anyOf"] for kind in _kinds(each)}
    if "enum" in schema:
        assert all(isinstance(each, str) for each in schema["enum"])
        return {"string"}
    kind = schema["type"]
    return set(kind) if isinstance(kind, list) else {kind}


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def _with(good: dict[str, Any], name: str, text: str) -> bytes:
    fields = [f'"{key}": {json.dumps(value)}' for key, value in good.items() if key != name]
    return ("{" + ", ".join([*fields, f'"{name}": {text}']) + "}").encode()
