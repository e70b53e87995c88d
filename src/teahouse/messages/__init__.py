"""Messages: conversations, rooms, and the sockets over which they come at once.

``Messages`` is the service behind the routes that ``install`` adds and behind the sockets of the gateway.
"""

from teahouse.messages.routes import install
from teahouse.messages.service import Messages

__all__ = ["Messages", "install"]
