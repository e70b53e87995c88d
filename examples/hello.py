"""Three routes. Run them with ``teahouse serve examples.hello:app`` and open /docs."""

from secrets import token_hex
from typing import Annotated

from msgspec import Meta, Struct
from msgspec.structs import asdict

from teahouse.web import App

app = App(title="Hello", version="1")


class Submission(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    email: Annotated[str, Meta(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")]
    age: Annotated[int, Meta(ge=0, le=150)]
    tags: Annotated[list[str], Meta(max_length=10)] = []


class Accepted(Submission, kw_only=True):
    id: str


@app.get("/ping")
def ping() -> dict[str, str]:
    """Say that the server is there."""
    return {"message": "pong"}


@app.get("/user/{id}")
def user(id: str) -> dict[str, str]:
    """Show one user."""
    return {"id": id}


@app.post("/submit", status=201)
def submit(body: Submission) -> Accepted:
    """Take a submission whose fields keep the rules above."""
    return Accepted(id=token_hex(8), **asdict(body))
