"""Most of the well-formed ids that schemathesis makes up become ids of things that exist: else all it saw were 404."""

from __future__ import annotations

import json
import os
import re
from typing import Any

import schemathesis

ID = re.compile(r"[0-9a-f]{32}")
KINDS = {"productId": "products", "orderId": "orders"}
REAL: dict[str, list[str]] = json.loads(os.environ.get("JOURNEY_IDS", "{}"))


def real(kind: str, given: object) -> object:
    """An id of that kind for three of four, chosen by the made-up one; anything else stays as it is."""
    known = REAL.get(kind)
    if not known or not isinstance(given, str) or not ID.fullmatch(given) or int(given, 16) % 4 == 1:
        return given
    return known[int(given, 16) // 4 % len(known)]


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    if path_parameters and "id" in path_parameters:
        path_parameters["id"] = real(context.operation.path.split("/")[2], path_parameters["id"])
    if path_parameters and "member" in path_parameters:
        path_parameters["member"] = real("users", path_parameters["member"])
    return path_parameters


@schemathesis.hook
def map_body(_context: Any, body: Any) -> Any:
    if isinstance(body, dict):
        body.update({name: real(KINDS[name], value) for name, value in body.items() if name in KINDS})
        body.update({name: real_people(value) for name, value in body.items() if name in ("members", "userIds")})
        if isinstance(body.get("to"), str):
            kind, _, given = body["to"].partition(":")
            body["to"] = f"{kind}:{real(kind + 's', given)}"
    return body


def real_people(given: object) -> object:
    """All of them: one made-up user of several is 404, which looks as if the room had not been made."""
    known = REAL.get("users")
    if not known or not isinstance(given, list):
        return given
    return [
        known[int(each, 16) % len(known)] if isinstance(each, str) and ID.fullmatch(each) else each for each in given
    ]
