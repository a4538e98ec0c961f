"""One row of the route table: everything the gateway must know of an endpoint, as data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

MIB = 1024 * 1024


class Weigh(Enum):
    """What a call costs, and so which limits it draws on."""

    TOKENS = "tokens"  # requests, tokens and money
    COUNT = "count"  # the count-requests bucket only
    BATCH = "batch"  # money at the batch price, its own request bucket
    OBJECT = "object"  # the object-requests bucket
    SESSION = "session"  # an object request that starts or feeds work billed later
    FREE = "free"  # models, hello


class Body(Enum):
    """How the request's body travels."""

    NONE = "none"
    BUFFER = "buffer"  # read whole, weighed, may be sent again
    STREAM = "stream"  # passed on as it comes, never sent twice


class Repeat(Enum):
    """What the gateway may send again after a failure that cost nothing."""

    NEVER = "never"
    INFERENCE = "inference"  # clean refusals only: each repeat could be a bill of its own
    READ = "read"  # also 502 and 504


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `creates`, `names` and `lists` are kinds of workspace objects a team must own."""

    name: str  # the metric label and the log's `route`
    method: str
    path: str  # literal segments and {parameters}
    weigh: Weigh
    body: Body = Body.NONE
    limit: int = 32 * MIB  # of the body, decoded
    repeat: Repeat = Repeat.NEVER
    inference: bool = False  # the body names a model and is judged before it leaves
    agent: bool = False  # the body may name models that run later, each of which the team must be allowed
    creates: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)  # path parameter → kind
    lists: str | None = None
    paging: str = ""  # A, B or B2 of the fact sheet
    stream: bool = False  # the answer is an event stream without end
    batch_urls: bool = False  # the answer may carry a `results_url`
    starts: str = ""  # the kind of work that goes on after the call and is paid for later
    feeds: str = ""  # the path parameter that names such work: the call may change what it costs
    ends: str = ""  # likewise: after the call it can't be read any more, so it is paid for before


@dataclass(frozen=True, slots=True)
class Matched:
    """A row, and the ids that the path names."""

    route: Route
    ids: Mapping[str, str]
