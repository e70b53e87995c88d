"""The frames as an AsyncAPI 3.0 document (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""

from __future__ import annotations

from typing import Any

import msgspec

from teahouse.messages.close_codes import MEANINGS
from teahouse.messages.frames import FROM_CLIENT, PATH, TO_CLIENT

_DESCRIPTION = (
    f"WebSocket frames of `{PATH}`, each one JSON text. The access token comes in the `Authorization` header, or, from "
    "browsers, as the subprotocols `teahouse.v1, bearer.<token>`; never in the address."
)
# Python's anchors, as JSON Schema writes them (ECMA-262).
_ANCHORS = {r"\A": "^", r"\Z": "$"}


def describe(title: str, version: str) -> dict[str, Any]:
    """The document, ready to be encoded as JSON."""
    kinds: dict[type, str] = {**dict.fromkeys(FROM_CLIENT, "receive"), **dict.fromkeys(TO_CLIENT, "send")}
    schemas, components = msgspec.json.schema_components(tuple(kinds), ref_template="#/components/schemas/{name}")
    messages = {_name(kind): _message(kind, schema) for kind, schema in zip(kinds, schemas, strict=True)}
    codes = "\n".join(f"- {code}: {meaning}" for code, meaning in MEANINGS.items())
    document = {
        "asyncapi": "3.0.0",
        "info": {"title": title, "version": version, "description": f"{_DESCRIPTION}\n\nClose codes:\n\n{codes}\n"},
        "defaultContentType": "application/json",
        "channels": {
            "message": {
                "address": PATH,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {action: _operation(action, kinds) for action in ("receive", "send")},
        "components": {"messages": messages, "schemas": {_public(name): each for name, each in components.items()}},
    }
    written: dict[str, Any] = _written(document)
    return written


def _name(kind: type) -> str:
    direction = "from" if kind in FROM_CLIENT else "to"
    return f"{kind.__name__.lstrip('_').lower()}-{direction}-client"


def _message(kind: type, schema: Any) -> dict[str, Any]:
    first_line = (kind.__doc__ or "").strip().partition("\n")[0]
    return {"name": kind.__name__.lstrip("_").lower(), "summary": first_line, "payload": schema}


def _operation(action: str, kinds: dict[type, str]) -> dict[str, Any]:
    """As the server sees it: it receives what clients send."""
    mine = [_name(kind) for kind, direction in kinds.items() if direction == action]
    return {
        "action": action,
        "channel": {"$ref": "#/channels/message"},
        "messages": [{"$ref": f"#/channels/message/messages/{name}"} for name in mine],
    }


def _public(name: str) -> str:
    return f"Sent{name[1:]}" if name.startswith("_") else name


def _written(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {each: _written(inner, each) for each, inner in value.items()}
    if isinstance(value, list):
        return [_written(each) for each in value]
    if key == "$ref":
        where, _, name = value.rpartition("/")
        return f"{where}/{_public(name)}"
    if key == "pattern":
        for python, ecma in _ANCHORS.items():
            value = value.replace(python, ecma)
    return value
