"""Which calls share Claude's capacity: a lane is a workspace and a class of models, or a kind of other calls.

Classes are Claude's own rate-limit classes (fact sheet 3.2). Counting tokens, batches and stored objects have limits
of their own, so what befalls one of them says nothing about the others.
"""

import re
from typing import Final, NamedTuple

from gateway.core.routes import Route, Weigh

_FAMILY = re.compile(r"claude-(?P<line>[a-z]+)-(?P<major>\d+)(?:-(?P<minor>\d{1,2}))?(?:-\d{8})?\Z")
# Lines whose minor versions share one bucket, by major version; all others have a bucket of their own.
_SHARED: Final = frozenset({("opus", "4"), ("sonnet", "4"), ("fable", "5"), ("mythos", "5")})
_OTHERS: Final = {
    Weigh.COUNT: "count_tokens",
    Weigh.BATCH: "batches",
    Weigh.OBJECT: "objects",
    Weigh.SESSION: "objects",
    Weigh.FREE: "models",
}


class Lane(NamedTuple):
    workspace: str
    model_class: str


def model_class(model: str) -> str:
    """The class of a canonical id: `claude-opus-4-8` is `opus-4`, `claude-haiku-4-5` is `haiku-4-5`.

    An id of another form is `other`: it comes from a client and must not become a label.
    """
    found = _FAMILY.match(model)
    if found is None:
        return "other"
    line, major, minor = found["line"], found["major"], found["minor"]
    if minor is None or (line, major) in _SHARED:
        return f"{line}-{major}"
    return f"{line}-{major}-{minor}"


def class_of(route: Route, model: str, known: frozenset[str]) -> str:
    """The class of a call. `model` is canonical; one that the price table does not know is `other`."""
    other = _OTHERS.get(route.weigh)
    if other is not None:
        return other
    return model_class(model) if model in known else "other"
