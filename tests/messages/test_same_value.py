"""Whether two contents are the same value, however they were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.messages.model import same_value

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_space_escapes_and_the_order_of_names_do_not_matter(value):
    other = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    assert same_value(json.dumps(value, separators=(",", ":")), other)


@pytest.mark.parametrize(
    ("one", "other"),
    [('"é"', '"\\u00e9"'), ('{"a":1,"b":2}', '{ "b": 2, "a": 1 }'), ("1.0", "1"), ("1e2", "100"), ("0.1", "1e-1")],
)
def test_one_value_is_known_in_another_spelling(one, other):
    assert same_value(one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("0", "null"),
        ("1", '"1"'),
        ("[1,2]", "[2,1]"),
        ("9007199254740992", "9007199254740993"),
        ("0.1", "0.10000000000000000000000001"),
        ('{"a":1}', '{"a":1,"b":null}'),
        ('{"a":1,"a":2}', '{"a":2}'),
        ("1e9999999", "1e9999998"),
        ("[" * 100_000 + "]" * 100_000, "[" * 100_000 + " " + "]" * 100_000),
    ],
    ids=range(11),
)
def test_another_value_is_another_message(one, other):
    assert not same_value(one, other)
