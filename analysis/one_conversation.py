"""The models of messages worked out for one conversation alone, where its calls are all that is looked at.

Their views are made of all calls of a store, and no condition on what comes out reaches down to what goes in.
"""

from __future__ import annotations

from typing import Final

from . import sql as models

_FIRST: Final = "histories"
_LAST: Final = "messages"

_CALLS: Final = """
    select call_id from main.call_costs where conversation_id = $conversation
    union
    -- a call may go on with one of another conversation, whose tokens say what of its own are new
    select links.parent_call_id
    from main.continuations as links
    inner join main.call_costs as costs on links.call_id = costs.call_id
    where costs.conversation_id = $conversation
"""


def messages_query() -> str:
    """Return the SQL of the rows of ``messages`` of one conversation; its parameter is ``$conversation``.

    Every model on the way is a part of the query and stands there for the view of its name; ``call_keys``, from which
    they start, has the calls of the conversation alone.
    """
    order = models.ORDER[models.ORDER.index(_FIRST) : models.ORDER.index(_LAST)]
    parts = [f"call_keys as (select * from main.call_keys where call_id in ({_CALLS}))"]
    parts += [f"{name} as ({models.model_text(name)})" for name in order]
    said = f"with {', '.join(parts)} {models.model_text(_LAST)}"
    return f"select * from ({said}) where conversation_id = $conversation"
