import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teahouse.messages.frames import (
    Custom,
    Ping,
    Read,
    Sync,
    Text,
    decode,
    encode_ack,
    encode_error,
    encode_message,
    encode_presence,
    encode_read,
    encode_synced,
    encode_system,
    encode_welcome,
    id_in,
)
from teahouse.messages.model import Extent, Message
from teahouse.problems import MalformedJson, Overloaded, Problem, ValidationFailed

ANN, BEN, ROOM = "a" * 32, "b" * 32, "c" * 32
GOOD = {"type": "text", "id": "m-1", "to": f"user:{BEN}", "content": "hello"}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


def frame(**changes: object) -> str:
    document = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return msgspec.json.encode(document).decode()


def said(content: str, kind: str = "custom") -> str:
    return f'{{"type":"{kind}","id":"1","to":"user:{BEN}","content":{content}}}'


def test_a_message_keeps_its_content_as_it_was_written():
    frame = decode(said(' {"a" : 1.50, "a":[ ]} '))
    assert isinstance(frame, Custom)
    assert bytes(frame.content) == b'{"a" : 1.50, "a":[ ]}'


def test_a_pattern_is_told_as_other_languages_write_it():
    with pytest.raises(ValidationFailed) as refusal:
        decode('{"type":"text","id":"1","to":"nobody","content":1}')
    (error,) = refusal.value.errors
    assert "^(user|room):[0-9a-f]{32}$" in str(error)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "shout"},
        {"type": ...},
        {"type": 1},
        {"type": None},
        {"type": "welcome"},
        {"type": "ack"},
        {"id": ...},
        {"id": ""},
        {"id": "x" * 65},
        {"id": "with space"},
        {"id": "茶"},
        {"id": "m-1\n"},
        {"id": 7},
        {"id": None},
        {"to": ...},
        {"to": BEN},
        {"to": f"user:{BEN}\n"},
        {"to": f"user:{BEN.upper()}"},
        {"to": f"user:{BEN}0"},
        {"to": f"group:{BEN}"},
        {"to": f"user:{ANN}:{BEN}"},
        {"to": ["user"]},
        {"content": ...},
        {"type": "read", "seq": -1},
        {"type": "read", "seq": 1.5},
        {"type": "read", "seq": "1"},
        {"type": "read", "seq": 2**53 + 1},
        {"type": "read"},
        {"type": "sync"},
        {"type": "sync", "after": {}},
        {"type": "sync", "after": []},
        {"type": "sync", "after": {"room:1": 1}},
        {"type": "sync", "after": {f"room:{ROOM}": -1}},
        {"type": "sync", "after": {f"room:{place:032x}": 1 for place in range(101)}},
        {"type": "presence", "to": "everybody"},
    ],
)
def test_what_breaks_a_limit_is_a_problem_that_names_the_place(changes: dict[str, object]):
    with pytest.raises(ValidationFailed) as found:
        decode(frame(**changes))
    assert found.value.errors
    assert encode_error(found.value, "x")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "nope",
        '{"type":"ping"}x',
        '{"type":"text",}',
        '{"type":"ping","x":NaN}',
        said('{"a":}'),
        said("01"),
        said("1e999"),
        said('{"a":[-1e999]}'),
        said('"\\q"'),
        said('"\\ud800"'),
        said('"\\ud800\\ud800"'),
        said('"a\nb"'),
        "{'type':'ping'}",
    ],
)
def test_what_is_not_json_is_a_problem_of_its_own(text: str):
    with pytest.raises(MalformedJson):
        decode(text)


@pytest.mark.parametrize("text", ["[]", '"ping"', "1", "null", "true"])
def test_what_is_no_object_is_a_problem(text: str):
    with pytest.raises(ValidationFailed):
        decode(text)


def test_content_that_nests_without_end_is_refused():
    deep = "[" * 30_000 + "]" * 30_000
    with pytest.raises(MalformedJson):
        decode(said(deep))


def test_fields_of_a_newer_client_are_passed_over():
    assert isinstance(decode(frame(mood="calm")), Text)


def test_frames_without_content_are_read():
    assert decode('{"type":"ping"}') == Ping()
    assert decode(frame(type="read", to=f"room:{ROOM}", seq=5, id="r")) == Read(f"room:{ROOM}", 5, "r")
    assert decode(frame(type="sync", after={f"room:{ROOM}": 41}, id=...)) == Sync({f"room:{ROOM}": 41})


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ('{"id":"m-1"}', "m-1"),
        ('{"id":"m-1","type":"shout"}', "m-1"),
        ('{"id":7}', None),
        ('{"id":"with space"}', None),
        ("{}", None),
        ("[]", None),
        ('{"id":"m-1"', None),
    ],
)
def test_the_id_of_a_bad_frame_is_found_where_it_can_be(text: str, id: str | None):
    assert id_in(text) == id


def answer_to(text: str) -> object:
    """``frame``, or the status of the error frame."""
    try:
        decode(text)
    except Problem as problem:
        return msgspec.json.decode(encode_error(problem, id_in(text)))["problem"]["status"]
    return "frame"


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_a_frame_or_a_problem(text: str):
    assert answer_to(text) in ("frame", 400, 422)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("type", "id", "to", "content", "seq", "after"), json_values)))
def test_any_object_is_a_frame_or_a_problem(document: dict[str, object]):
    assert answer_to(msgspec.json.encode(document).decode()) in ("frame", 422)


@given(json_values, st.sampled_from(["text", "image", "file", "custom"]))
def test_content_comes_out_as_it_went_in(content: object, kind: str):
    text = msgspec.json.encode(content)
    sent = decode(said(text.decode(), kind))
    encoded = encode_message(Message(f"user:{ANN}:{BEN}", 3, ANN, sent.id, kind, bytes(sent.content).decode(), 99))
    assert text in encoded
    assert msgspec.json.decode(encoded) == {
        "type": kind,
        "id": "1",
        "to": f"user:{BEN}",
        "seq": 3,
        "senderId": ANN,
        "content": msgspec.json.decode(text),
        "timestamp": 99,
    }


@pytest.mark.parametrize(("sender", "receiver"), [(ANN, BEN), (BEN, ANN)])
def test_a_direct_message_is_to_its_receiver_whoever_reads_it(sender: str, receiver: str):
    message = Message(f"user:{ANN}:{BEN}", 1, sender, "1", "text", '"hi"', 1)
    assert msgspec.json.decode(encode_message(message))["to"] == f"user:{receiver}"


def test_the_frames_to_clients_are_those_of_the_contract():
    message = Message(f"room:{ROOM}", 7, ANN, "1", "text", '"hi"', 99)
    room = f"room:{ROOM}"
    frames = [
        encode_welcome(ANN, "n1", 30, 99, Extent(4, 5)),
        encode_ack("1", room, message),
        encode_synced(room, recovered=False),
        encode_read(room, ANN, 7),
        encode_presence(room, ANN, online=True),
        encode_system("order-settled", {"orderId": "1"}),
    ]
    assert [msgspec.json.decode(each) for each in frames] == [
        {
            "type": "welcome",
            "userId": ANN,
            "nodeId": "n1",
            "heartbeatSeconds": 30,
            "timestamp": 99,
            "following": 4,
            "conversations": 5,
        },
        {"type": "ack", "id": "1", "to": room, "seq": 7, "timestamp": 99},
        {"type": "synced", "to": room, "recovered": False},
        {"type": "read", "to": room, "userId": ANN, "seq": 7},
        {"type": "presence", "to": room, "userId": ANN, "online": True},
        {"type": "system", "event": "order-settled", "data": {"orderId": "1"}},
    ]


def test_an_error_carries_the_problem_as_http_would_tell_it():
    assert msgspec.json.decode(encode_error(Overloaded("full", retry_after=3), None)) == {
        "type": "error",
        "id": None,
        "problem": {
            "type": "/problems/overloaded",
            "title": "Overloaded",
            "status": 503,
            "detail": "full",
            "instance": "/message",
        },
        "retryAfter": 3,
    }
