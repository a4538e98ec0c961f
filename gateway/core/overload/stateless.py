"""Whether another workspace could serve a request as well: it must name nothing that lives in one workspace.

Looked for in the raw body: a name inside a prompt is escaped there (`\\"file_id\\"`) and does not match. A tool's
schema may hold such a word; then the request just stays where it is.
"""

import re
from typing import Final

from gateway.core.routes import Route

_NAMES: Final = (
    b"container", b"file_id", b"previous_message_id", b"session_id", b"skill_id", b"skills", b"thread",
    b"user_profile_id", b"vault_ids", b"environment_id", b"memory_store_id",
)  # fmt: skip
_OBJECT = re.compile(rb'(?<!\\)"(?:' + b"|".join(_NAMES) + rb')"[ \t\r\n]*:(?![ \t\r\n]*null)')


def is_stateless(route: Route, body: object) -> bool:
    """Only inference rows; what creates or names an object, or is not in memory, stays in its workspace."""
    if not route.inference or route.creates is not None or route.names:
        return False
    if not isinstance(body, bytes | bytearray):
        return False
    return _OBJECT.search(body) is None
