"""A chat of two on one page. Run it with ``teahouse serve examples.chat.app:app`` and open /chat.

Everything that the page does is the public interface: it logs in as two people of the sandbox, makes a room, and opens
a WebSocket for each.
"""

from importlib.resources import files

from teahouse import Teahouse
from teahouse.web import Response

app = Teahouse(title="Teahouse chat")

# The page's own script and style, and sockets to this host, whichever port they have.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'"
TYPES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "/client.js": ("client.js", "text/javascript"),
    "/chat.js": ("chat.js", "text/javascript"),
    "/chat.css": ("chat.css", "text/css"),
}


def serve(path: str, name: str, content_type: str) -> None:
    body = files("examples.chat").joinpath(name).read_bytes()

    @app.get(f"/chat{path}", hidden=True)
    def page() -> Response:
        return Response(200, body, content_type=content_type, headers={"Content-Security-Policy": POLICY})


@app.get("/chat/port", hidden=True)
def port() -> dict[str, int]:
    """Where the sockets of this server are."""
    assert app.realtime is not None
    return {"port": app.realtime.port}


for path, (name, content_type) in TYPES.items():
    serve(path, name, content_type)
