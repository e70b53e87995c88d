"""Which of somebody's conversations come first, where they have more than can be followed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Select, and_, case, func, or_, select

from teahouse.messages.model import Membership, Parts
from teahouse.messages.tables_sql import conversations, memberships, read_membership, rooms

# Of the rooms that one person has made so many come before the rest: who brings somebody into a thousand rooms does not
# keep them from hearing what others bring them into.
_OF_ONE_MAKER = 10

parts_columns = (
    memberships.c.user_id,
    memberships.c.conversation,
    memberships.c.role,
    memberships.c.read_seq,
    memberships.c.joined_seq,
    conversations.c.seq,
)
joined_conversations = memberships.join(conversations, conversations.c.id == memberships.c.conversation)


def read_first(connection: Connection, user_ids: Sequence[str], most: int) -> dict[str, Parts]:
    """See ``MessageStore.first_memberships``; of a few hundred users at a time."""
    counted = select(memberships.c.user_id, func.count()).where(memberships.c.user_id.in_(user_ids))
    counts = dict.fromkeys(user_ids, 0)
    counts |= {row[0]: row[1] for row in connection.execute(counted.group_by(memberships.c.user_id))}
    found: dict[str, list[Membership]] = {user_id: [] for user_id in user_ids}
    # Nearly everybody: there is nothing to choose.
    few = [user_id for user_id, count in counts.items() if count <= most]
    everything = select(*parts_columns).select_from(joined_conversations).where(memberships.c.user_id.in_(few))
    for row in connection.execute(everything):
        found[row.user_id].append(read_membership(row))
    for user_id in counts.keys() - set(few):
        found[user_id] = [read_membership(row) for row in connection.execute(_first(user_id, most))]
    return {user_id: Parts(first, max(counts[user_id], len(first))) for user_id, first in found.items()}


def _first(user_id: str, most: int) -> Select[tuple[str, str, str, int, int, int]]:
    # Of a direct conversation there is no room, and who began it can begin no second one.
    room = rooms.c.id == func.substr(memberships.c.conversation, len("room:") + 1)
    own = case((or_(memberships.c.read_seq > memberships.c.joined_seq, rooms.c.created_by == user_id), 1), else_=0)
    maker = func.coalesce(rooms.c.created_by, memberships.c.conversation)
    nth = func.row_number().over(
        partition_by=(own, maker), order_by=(memberships.c.joined_at, memberships.c.conversation)
    )
    known = (
        select(*parts_columns, memberships.c.joined_at, own.label("own"), nth.label("nth"))
        .select_from(joined_conversations.outerjoin(rooms, room))
        .where(memberships.c.user_id == user_id)
        .subquery()
    )
    return (
        select(*(known.c[column.name] for column in parts_columns))
        .order_by(
            known.c.own.desc(),
            case((and_(known.c.own == 0, known.c.nth > _OF_ONE_MAKER), 1), else_=0),
            case((known.c.own == 1, -known.c.joined_at), else_=known.c.joined_at),
            known.c.conversation,
        )
        .limit(most)
    )
