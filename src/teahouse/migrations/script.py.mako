"""${message}"""

import sqlalchemy as sa

from teahouse.migrations import steps

revision = "${up_revision}"
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}
