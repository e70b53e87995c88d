"""People who talk to each other over a running server's WebSockets, and what it cost: connections, deliveries, delays.

``play`` needs a server whose sandbox stands in for WeChat, and leaves its people, rooms and messages there.
"""

from teahouse.load.plan import LoadFailed, Plan
from teahouse.load.progress import NoProgress, Progress
from teahouse.load.report import Delays, Report, ServerCost
from teahouse.load.run import play

__all__ = ["Delays", "LoadFailed", "NoProgress", "Plan", "Progress", "Report", "ServerCost", "play"]
