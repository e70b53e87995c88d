"""``teahouse openapi``."""

from __future__ import annotations

import json
from pathlib import Path


def test_the_document_is_complete_and_nothing_is_made_for_it(spawn, place: Path):
    done = spawn("openapi")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["openapi"].startswith("3.1")
    for path in ("/v1/auth/wechat", "/v1/sales/{id}/purchases", "/v1/orders/{id}"):
        assert path in document["paths"]
    assert list(place.iterdir()) == []


def test_the_document_holds_no_trace_of_this_machine(spawn, place: Path):
    text = spawn("openapi").stdout
    assert str(place) not in text
    assert str(Path.home()) not in text


def test_a_purchase_is_said_to_need_its_key(spawn):
    purchase = json.loads(spawn("openapi").stdout)["paths"]["/v1/sales/{id}/purchases"]["post"]
    (key,) = (each for each in purchase["parameters"] if each["name"] == "Idempotency-Key")
    assert key["required"] is True
