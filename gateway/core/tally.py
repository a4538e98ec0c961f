"""Folds Claude's `usage` objects into one Usage: a whole answer has one, a stream several that amend each other.

Rule: of each field the last value that is not null stands, and a value that is no count (text, a fraction,
negative, absurdly large) never stands for one: the usage is then marked, and the caller's estimate takes its place.
"""

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from gateway.core.usage import Iteration, Reason, Usage

MOST_TOKENS: Final = 10**9  # in one answer; the widest context is 10**6, so a thousand full turns
MOST_CUMULATIVE: Final = 10**11  # over the life of a session; at 50 dollars per million still below 2**53 nano-dollars
MOST_WORD: Final = 128  # characters of a model id or a tier; longer ones are no such thing


def count(value: Any, most: int = MOST_TOKENS) -> int | None:
    """A JSON value as a count, None when it is none: text, true, a fraction, negative or absurdly large."""
    kind = type(value)
    if kind is float and value.is_integer():  # 12.0 and 1e3 are the same JSON numbers as 12 and 1000
        value, kind = int(value), int
    return value if kind is int and 0 <= value <= most else None


def word(value: Any) -> str | None:
    """A JSON value as a short name, None when it is none."""
    return value if isinstance(value, str) and 0 < len(value) <= MOST_WORD else None


_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_SPLIT = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_WORDS = ("service_tier", "inference_geo", "speed")
_TOOLS = ("web_search_requests", "web_fetch_requests", "code_execution_requests")
_NESTED = ("cache_creation", "server_tool_use", "output_tokens_details", "iterations", "fallback_credit")
_SESSION = ("active_seconds", "list_cost")
_KNOWN = frozenset(_TOKENS + _WORDS + _NESTED + _SESSION)
_KINDS = frozenset(("message", "compaction", "advisor_message", "fallback_message"))


class Tally:
    """Folds usage objects in the order they arrive."""

    __slots__ = ("_counts", "_most", "_words", "bad", "credit", "iterations", "list_cost_nano", "oddities", "seen")

    def __init__(self, *, most: int = MOST_TOKENS) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self._words: dict[str, str] = {}
        self.iterations: tuple[Iteration, ...] = ()
        self.list_cost_nano: int | None = None
        self.credit = False
        self.seen = False  # at least one usage object came
        self.bad: set[str] = set()  # fields whose latest value could not be believed
        self.oddities: dict[str, None] = {}  # ordered set

    def odd(self, name: str) -> None:
        self.oddities[name] = None

    def fold(self, usage: Any) -> None:
        """Take one `usage` object in. Null or missing is no object and no oddity: the caller knows if it was due."""
        if usage is None:
            return
        if not isinstance(usage, dict):
            self.odd("usage_not_an_object")
            return
        self.seen = True
        for name in _TOKENS:
            self._take(name, usage.get(name))
        self._nested(usage, "cache_creation", _SPLIT)
        self._nested(usage, "server_tool_use", _TOOLS)
        self._nested(usage, "output_tokens_details", ("thinking_tokens",))
        for name in _WORDS:
            value = usage.get(name)
            if value is not None:
                self._word(name, value)
        if usage.keys() & _SESSION:
            self._session(usage)
        if usage.get("iterations") is not None:
            self._iterations(usage["iterations"])
        if usage.get("fallback_credit") is not None:
            self._credit(usage["fallback_credit"])
        for name in usage.keys() - _KNOWN:
            # Perhaps a new kind of token. It is named, not priced: a new number may as well be a part of another.
            if name.endswith(("_tokens", "_requests")) and usage[name]:
                self.odd("unknown_kind")

    def _take(self, name: str, value: Any) -> None:
        if value is None:
            return
        number = count(value, self._most)
        if number is None:
            self.bad.add(name)
            self.odd(f"bad_{name}")
        else:
            self.bad.discard(name)
            self._counts[name] = number

    def _word(self, name: str, value: Any) -> None:
        text = word(value)
        if text is None:
            self.odd(f"bad_{name}")
        else:
            self._words[name] = text

    def _nested(self, usage: dict[str, Any], name: str, fields: tuple[str, ...]) -> None:
        value = usage.get(name)
        if value is None:
            return
        if not isinstance(value, dict):
            self.odd(f"bad_{name}")
            return
        for field in fields:
            self._take(field, value.get(field))
        if any(value[field] for field in value.keys() - set(fields)):
            self.odd("unknown_kind")

    def _session(self, usage: dict[str, Any]) -> None:
        seconds = usage.get("active_seconds")
        if seconds is not None:
            # repr of a JSON number is its shortest decimal form, so a thousandth of a second survives the float.
            ms = int(Decimal(repr(seconds)) * 1000) if type(seconds) in (int, float) else None
            self._take("active_ms", -1 if ms is None else ms)
        cost = usage.get("list_cost")
        if cost is not None:
            amount = cost.get("amount") if isinstance(cost, dict) and cost.get("currency") == "USD" else None
            if isinstance(amount, str) and amount.isascii() and amount.isdigit() and len(amount) <= 12:
                self.list_cost_nano = int(amount) * 10**7  # cents
            else:
                self.odd("bad_list_cost")

    def _credit(self, value: Any) -> None:
        status = value.get("status") if isinstance(value, dict) else None
        kind = status.get("type") if isinstance(status, dict) else None
        if kind == "redeemed":
            self.credit = True
        elif kind != "not_applied":
            self.odd("unknown_fallback_credit")

    def _iterations(self, value: Any) -> None:
        entries = [self._iteration(entry) for entry in value] if isinstance(value, list) else [None]
        self.bad.discard("iterations")
        if None in entries:  # one entry that cannot be read makes the list no base for a bill
            self.bad.add("iterations")
            self.odd("bad_iterations")
        else:
            self.iterations = tuple(e for e in entries if e is not None)

    def _iteration(self, entry: Any) -> Iteration | None:
        if not isinstance(entry, dict):
            return None
        numbers = [count(entry.get(name), self._most) for name in _TOKENS[:2]]
        # The types say the cache counts are always there; a null or absent one is read as none, as at the top level.
        numbers += [count(entry.get(name) or 0, self._most) for name in _TOKENS[2:]]
        split = entry.get("cache_creation")
        if split is None:
            split = {}
        if None in numbers or not isinstance(split, dict):
            return None
        halves = [count(split.get(name) or 0, self._most) for name in _SPLIT]
        if None in halves:
            return None
        kind = entry.get("type")
        if kind not in _KINDS:
            self.odd("unknown_iteration")
            kind = "other"
        input_, output, read, written = (n or 0 for n in numbers)
        write_5m, write_1h = self._split(written, *(h or 0 for h in halves))
        return Iteration(kind, word(entry.get("model")), input_, output, read, write_5m, write_1h)

    def _split(self, written: int, short: int, long: int) -> tuple[int, int]:
        """Cache writes by lifetime. The total is the truth; what the split leaves open was written as the rest was."""
        if written == short + long:
            return short, long
        if written > short + long:  # a later total, or no split at all: assume five minutes, as Claude's default is
            return (short, written - short) if long and not short else (written - long, long)
        self.odd("cache_split_above_total")
        return (written - min(long, written), min(long, written))  # the dear kind first: never undercharge

    def usage(
        self,
        *,
        model: str | None = None,
        served_by: str | None = None,
        stop_reason: str | None = None,
        refused_before_output: bool = False,
        final: bool = True,
        reason: Reason = "no_usage",
        output_floor: int = 0,
    ) -> Usage:
        """The sum of what was folded. `final` says Claude's last word was among it, `reason` why it was not.

        Without a final usage the output is at least `output_floor`, the caller's estimate of what it relayed.
        """
        counts = self._counts
        lacks_input = "input_tokens" not in counts or bool(self.bad & {*_TOKENS[::2], _TOKENS[3], *_SPLIT, _TOKENS[0]})
        said_output = "output_tokens" in counts and "output_tokens" not in self.bad
        lacks_output = not said_output and not output_floor if final else "input_tokens" not in counts
        estimated: Reason | None = None
        if not final:
            estimated = reason
        elif self.bad - {"thinking_tokens", "web_fetch_requests"}:
            estimated = "bad_usage"
        elif lacks_input or not said_output:
            estimated = "no_usage"
        elif self.credit:
            # Redeemed: billed as if the cache had been this model's all along; by how much is not in the answer.
            estimated = "fallback_credit"
            self.odd("fallback_credit_redeemed")
        output = counts.get("output_tokens", 0)
        if estimated in ("cancelled", "cut", "crashed", "no_usage", "bad_usage"):
            output = max(output, output_floor)
        short, long = (counts.get(name, 0) for name in _SPLIT)
        written = counts.get("cache_creation_input_tokens", short + long)
        write_5m, write_1h = self._split(written, short, long)
        usage = Usage(
            input=counts.get("input_tokens", 0),
            output=output,
            cache_read=counts.get("cache_read_input_tokens", 0),
            cache_write_5m=write_5m,
            cache_write_1h=write_1h,
            thinking=counts.get("thinking_tokens", 0),
            web_searches=counts.get("web_search_requests", 0),
            web_fetches=counts.get("web_fetch_requests", 0),
            code_executions=counts.get("code_execution_requests", 0),
            active_ms=counts.get("active_ms", 0),
            list_cost_nano=self.list_cost_nano,
            model=model,
            served_by=served_by,
            service_tier=self._words.get("service_tier"),
            geo=self._words.get("inference_geo"),
            speed=self._words.get("speed"),
            stop_reason=stop_reason,
            refused_before_output=refused_before_output,
            complete=final and estimated is None or estimated == "fallback_credit",
            estimated=estimated,
            lacks_input=lacks_input,
            lacks_output=lacks_output,
        )
        runs = self._runs(usage, final=final)
        last = runs[-1] if runs else None
        if served_by is None and last is not None and last.kind == "fallback_message":
            usage = replace(usage, served_by=last.model)
        return replace(usage, iterations=runs, oddities=tuple(self.oddities))

    def _runs(self, usage: Usage, *, final: bool) -> tuple[Iteration, ...]:
        """The iterations to bill: Claude's own list, unless it cannot be the whole truth."""
        if not self.iterations:
            return ()
        answered = any(run.kind in ("message", "fallback_message", "other") for run in self.iterations)
        if final and answered and "iterations" not in self.bad:
            return self.iterations
        # Cut before the last word, or a list without the answer's own run: what the top level (or our estimate)
        # says of the answer, and the side runs (compaction, advisor) that it never includes.
        if final and not answered:
            self.odd("iterations_without_message")
        return (usage.top(), *side_runs(self.iterations))


def side_runs(iterations: Iterable[Iteration]) -> tuple[Iteration, ...]:
    return tuple(run for run in iterations if run.kind in ("compaction", "advisor_message"))
