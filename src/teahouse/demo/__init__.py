"""A mini-program's whole day, played over real sockets: buyers, a sale, and whether every promise was kept.

``play_day`` needs a server whose sandbox stands in for WeChat, and an admin of it. A ``Stage`` is told how far the
day is; the report is values, drawn by whoever wants to.
"""

from teahouse.demo.ledger import Ledger
from teahouse.demo.operator import Credentials, DemoFailed
from teahouse.demo.plan import Plan
from teahouse.demo.report import Report
from teahouse.demo.run import play_day
from teahouse.demo.server_process import own_server
from teahouse.demo.stage import NoStage, Phase, Stage

__all__ = [
    "Credentials",
    "DemoFailed",
    "Ledger",
    "NoStage",
    "Phase",
    "Plan",
    "Report",
    "Stage",
    "own_server",
    "play_day",
]
