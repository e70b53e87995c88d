"""Asks every server the same questions first: a ratio means nothing unless both do the same work."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection

from bench.failures import BenchFailed
from bench.servers import Server


@dataclass(frozen=True, slots=True)
class Question:
    """One request and the statuses that are right for it."""

    meaning: str
    method: str
    path: str
    body: bytes | None = None
    right: tuple[int, ...] = (200,)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server said."""

    status: int
    content_type: str
    body: bytes


REFUSED = tuple(range(400, 500))
SUBMISSION: dict[str, object] = {
    "name": "Li Lei",
    "email": "li.lei@example.com",
    "age": 30,
    "tags": ["tea", "green"],
}
GET_QUESTIONS = (
    Question("a user by its id", "GET", "/user/42"),
    Question("a user whose id is not a number", "GET", "/user/li-lei"),
    Question("a path that is not there", "GET", "/users/42/x", right=(404,)),
)


def _submission(meaning: str, right: tuple[int, ...], **change: object) -> Question:
    fields = {name: value for name, value in {**SUBMISSION, **change}.items() if value is not ...}
    return Question(meaning, "POST", "/submit", json.dumps(fields).encode(), right)


POST_QUESTIONS = (
    _submission("a right submission", (201,)),
    _submission("no tags", (201,), tags=...),
    _submission("the youngest", (201,), age=0),
    _submission("the longest name", (201,), name="茶" * 64),
    _submission("no name", REFUSED, name=...),
    _submission("an empty name", REFUSED, name=""),
    _submission("a name too long", REFUSED, name="茶" * 65),
    _submission("no email", REFUSED, email=...),
    _submission("an email without an at sign", REFUSED, email="li.lei.example.com"),
    _submission("no age", REFUSED, age=...),
    _submission("an age too high", REFUSED, age=151),
    _submission("a negative age", REFUSED, age=-1),
    _submission("an age as text", REFUSED, age="30"),
    _submission("eleven tags", REFUSED, tags=["tea"] * 11),
    _submission("a tag that is a number", REFUSED, tags=["tea", 1]),
    _submission("an unknown field", REFUSED, colour="green"),
    Question("no JSON at all", "POST", "/submit", b'{"name": "Li', REFUSED),
)


def check(servers: Sequence[Server], questions: Iterable[Question]) -> None:
    """Raises BenchFailed at the first answer that is wrong or differs between two servers."""
    for question in questions:
        first, *others = [(server, ask(server, question)) for server in servers]
        for server, reply in (first, *others):
            if reply.status not in question.right:
                raise BenchFailed(f"{server.plan.name} answered {reply.status} to {question.meaning!r}: {reply.body!r}")
        for server, reply in others:
            _compare(question, first, (server, reply))


def ask(server: Server, question: Question) -> Reply:
    """Sends the question on a connection of its own."""
    connection = HTTPConnection("127.0.0.1", server.plan.port, timeout=5)
    try:
        headers = {"Content-Type": "application/json"} if question.body is not None else {}
        connection.request(question.method, question.path, question.body, {**headers, **question.headers})
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers.get_content_type(), answer.read())
    finally:
        connection.close()


def shape(value: object) -> object:
    """A JSON value with every scalar replaced by the name of its type; lists keep their length."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return type(value).__name__


def _compare(question: Question, one: tuple[Server, Reply], other: tuple[Server, Reply]) -> None:
    if one[1].status >= 400:  # each has its own words for an error
        return
    first, second = ((reply.status, reply.content_type, shape(json.loads(reply.body))) for _, reply in (one, other))
    if first != second:
        raise BenchFailed(
            f"not the same work for {question.meaning!r}: {one[0].plan.name} {first}, {other[0].plan.name} {second}"
        )
