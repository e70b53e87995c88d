"""The AsyncAPI document says what the frames are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from teahouse.messages import close_codes, frames
from teahouse.messages.asyncapi import describe
from teahouse.messages.model import Extent, Message

DOCUMENT = json.loads(json.dumps(describe("Teahouse", "1")))
ID = "0" * 32


def resolved(reference: str):
    found = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value):
    if isinstance(value, dict):
        yield from ([value["$ref"]] if "$ref" in value else [])
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def payload(name: str):
    return resolved(DOCUMENT["components"]["messages"][name]["payload"]["$ref"])


def test_every_reference_leads_somewhere():
    found = set(references(DOCUMENT))
    assert len(found) > 40
    for reference in found:
        assert resolved(reference)


def test_clients_send_eight_kinds_and_are_sent_nine():
    counts = {name: len(each["messages"]) for name, each in DOCUMENT["operations"].items()}
    assert counts == {"receive": 8, "send": 9}


@pytest.mark.parametrize(
    ("name", "frame"),
    [
        ("welcome-to-client", frames.encode_welcome(ID, "node", 30, 1, Extent(1, 2))),
        ("ack-to-client", frames.encode_ack("m", f"user:{ID}", Message(f"room:{ID}", 1, ID, "m", "text", "1", 2))),
        ("delivered-to-client", frames.encode_message(Message(f"room:{ID}", 1, ID, "m", "text", "1", 2))),
        ("synced-to-client", frames.encode_synced(f"room:{ID}", True)),
        ("presence-to-client", frames.encode_presence(f"room:{ID}", ID, True)),
        ("pong-to-client", frames.encode_pong("p")),
    ],
)
def test_a_frame_has_exactly_the_fields_that_the_document_names(name: str, frame: bytes):
    schema = payload(name)
    assert set(json.loads(frame)) == set(schema["properties"])
    assert set(schema["required"]) <= set(json.loads(frame))


def test_patterns_are_those_of_json_schema():
    patterns = [each["pattern"] for each in payload("text-from-client")["properties"].values() if "pattern" in each]
    assert len(patterns) == 2
    for pattern in patterns:
        assert pattern.startswith("^")
        assert pattern.endswith("$")


def test_every_close_code_that_is_documented_is_sent_or_answered():
    codes = {name for name, value in vars(close_codes).items() if isinstance(value, int)}
    assert {getattr(close_codes, name) for name in codes} == close_codes.MEANINGS.keys()
    folder = Path(close_codes.__file__).parent
    written = "\n".join(path.read_text() for path in folder.glob("*.py") if path.name != "close_codes.py")
    assert {name for name in codes if not re.search(rf"\b{name}\b", written)} == set()
