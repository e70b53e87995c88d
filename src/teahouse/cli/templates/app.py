"""__NAME__: a Teahouse with routes of its own. Run it with ``teahouse serve app:app``."""

from msgspec import Struct

from teahouse import Teahouse

app = Teahouse(title="__NAME__")


class Greeting(Struct):
    text: str


@app.get("/hello/{name}")
def hello(name: str) -> Greeting:
    """Greet somebody. The first line is what /docs shows."""
    return Greeting(f"你好, {name}!")
