"""The client's end of a Teahouse's sockets, lean enough for thousands in one process, and the books of what they heard.

For the demo and the load tools. Requests over HTTP are ``web/client.py``'s.
"""

from teahouse.client.backoff import pauses
from teahouse.client.descriptors import allow_descriptors
from teahouse.client.histogram import Histogram
from teahouse.client.open_sockets import OpenSockets
from teahouse.client.socket import Refused, Socket
from teahouse.client.tally import Tally
from teahouse.client.wire import Address, NotAnAddress, read_address, request

__all__ = [
    "Address",
    "Histogram",
    "NotAnAddress",
    "OpenSockets",
    "Refused",
    "Socket",
    "Tally",
    "allow_descriptors",
    "pauses",
    "read_address",
    "request",
]
