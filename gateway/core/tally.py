"""Folds Claude's `usage` objects into one Usage: a whole answer has one, a stream several that amend each other.

Rule: of each field the last value that is not null stands, and a value that is no count (text, a fraction,
negative, absurdly large) never stands for one: the usage is then marked, and the caller's estimate takes its place.
"""

from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from gateway.core.usage import Iteration, Reason, Usage

MOST_TOKENS: Final = 10**9  # in one answer; the widest context is 10**6, so a thousand full turns
MOST_CUMULATIVE: Final = 10**11  # over the life of a session; at 50 dollars per million still below 2**53 nano-dollars
MOST_WORD: Final = 128  # characters of a model id or a tier; longer ones are no such thing

_TOKENS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_SPLIT = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")
_TOOLS = ("web_search_requests", "web_fetch_requests", "code_execution_requests")
_WORDS = ("service_tier", "inference_geo", "speed")
_NESTED = (("cache_creation", _SPLIT), ("server_tool_use", _TOOLS), ("output_tokens_details", ("thinking_tokens",)))
_KNOWN = frozenset(
    (*_TOKENS, *_WORDS, *(n for n, _ in _NESTED), "iterations", "fallback_credit", "active_seconds", "list_cost")
)
_INPUT_SIDE = frozenset((_TOKENS[0], *_TOKENS[2:], *_SPLIT))
_INFORMATION = frozenset(("thinking_tokens", "web_fetch_requests"))  # a bad value here changes no bill
_KINDS = frozenset(("message", "compaction", "advisor_message", "fallback_message"))
_SIDE_RUNS = ("compaction", "advisor_message")


def count(value: Any, most: int = MOST_TOKENS) -> int | None:
    """A JSON value as a count, None when it is none: text, true, a fraction, negative or absurdly large."""
    kind = type(value)
    if kind is float and value.is_integer():  # 12.0 and 1e3 are the same JSON numbers as 12 and 1000
        value, kind = int(value), int
    return value if kind is int and 0 <= value <= most else None


def word(value: Any) -> str | None:
    """A JSON value as a short name, None when it is none."""
    return value if isinstance(value, str) and 0 < len(value) <= MOST_WORD else None


class Tally:
    """Folds usage objects in the order they arrive, then says their sum."""

    __slots__ = ("_bad", "_counts", "_credit", "_iterations", "_list_cost_nano", "_most", "_oddities", "_words", "seen")

    def __init__(self, *, most: int = MOST_TOKENS) -> None:
        self._most = most
        self._counts: dict[str, int] = {}
        self._words: dict[str, str] = {}
        self._iterations: tuple[Iteration, ...] = ()
        self._list_cost_nano: int | None = None
        self._credit = False
        self._bad: set[str] = set()  # fields whose latest value could not be believed
        self._oddities: dict[str, None] = {}  # an ordered set
        self.seen = False  # at least one usage object came

    def odd(self, name: str) -> None:
        self._oddities[name] = None

    def fold(self, usage: Any) -> None:
        """Take one `usage` value in. Null or missing is neither an object nor odd: the caller knows if one was due."""
        if usage is None:
            return
        if not isinstance(usage, dict):
            self.odd("bad_usage")
            return
        self.seen = True
        for name in _TOKENS:
            self._take(name, usage.get(name))
        for name, fields in _NESTED:
            self._nested(name, usage.get(name), fields)
        for name in _WORDS:
            self._word(name, usage.get(name))
        self._active(usage.get("active_seconds"))
        self._list_cost(usage.get("list_cost"))
        self._fold_iterations(usage.get("iterations"))
        self._fallback_credit(usage.get("fallback_credit"))
        self._unknown(usage, usage.keys() - _KNOWN)

    def _unknown(self, usage: dict[str, Any], names: set[str]) -> None:
        # Perhaps a new kind of token. It is named, not priced: a new number may as well be a part of an old one.
        if any(usage[name] and name.endswith(("_tokens", "_requests")) for name in names):
            self.odd("unknown_kind")

    def _take(self, name: str, value: Any) -> None:
        if value is None:
            return
        number = count(value, self._most)
        if number is None:
            self._bad.add(name)
            self.odd(f"bad_{name}")
        else:
            self._bad.discard(name)
            self._counts[name] = number

    def _nested(self, name: str, value: Any, fields: tuple[str, ...]) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            self._bad.update(fields)
            self.odd(f"bad_{name}")
            return
        for field in fields:
            self._take(field, value.get(field))
        self._unknown(value, value.keys() - set(fields))

    def _word(self, name: str, value: Any) -> None:
        if value is None:
            return
        text = word(value)
        if text is None:
            self.odd(f"bad_{name}")
        else:
            self._words[name] = text

    def _active(self, seconds: Any) -> None:
        if seconds is not None:
            # repr gives a JSON number's shortest decimal form, so thousandths of a second survive the float.
            ms = int(Decimal(repr(seconds)) * 1000) if type(seconds) in (int, float) else -1
            self._take("active_ms", ms)

    def _list_cost(self, cost: Any) -> None:
        if cost is None:
            return
        amount = cost.get("amount") if isinstance(cost, dict) and cost.get("currency") == "USD" else None
        if isinstance(amount, str) and amount.isascii() and amount.isdigit() and len(amount) <= 12:
            self._list_cost_nano = int(amount) * 10**7  # of cents
        else:
            self.odd("bad_list_cost")

    def _fallback_credit(self, credit: Any) -> None:
        if credit is None:
            return
        status = credit.get("status") if isinstance(credit, dict) else None
        kind = status.get("type") if isinstance(status, dict) else None
        if kind == "redeemed":
            self._credit = True
            self.odd("fallback_credit_redeemed")
        elif kind != "not_applied":
            self.odd("unknown_fallback_credit")

    def _fold_iterations(self, value: Any) -> None:
        if value is None:
            return
        runs = [self._iteration(entry) for entry in value] if isinstance(value, list) else [None]
        known = [run for run in runs if run is not None]
        if len(known) < len(runs):  # a list with one entry that cannot be read is no base for a bill
            self._bad.add("iterations")
            self.odd("bad_iterations")
        else:
            self._bad.discard("iterations")
            self._iterations = tuple(known)

    def _iteration(self, entry: Any) -> Iteration | None:
        if not isinstance(entry, dict):
            return None
        split = entry.get("cache_creation")
        if split is None:
            split = {}
        elif not isinstance(split, dict):
            return None
        # Input and output are always there; an absent or null cache count means none, as at the top level.
        values = [entry.get(name) for name in _TOKENS[:2]]
        values += [0 if value is None else value for value in map(entry.get, _TOKENS[2:])]
        values += [0 if value is None else value for value in map(split.get, _SPLIT)]
        counts = [number for number in (count(value, self._most) for value in values) if number is not None]
        if len(counts) < len(values):
            return None
        kind = entry.get("type")
        if kind not in _KINDS:
            self.odd("unknown_iteration")
            kind = "other"
        input_, output, read, written, short, long = counts
        return Iteration(kind, word(entry.get("model")), input_, output, read, *self._lifetimes(written, short, long))

    def _lifetimes(self, written: int, short: int, long: int) -> tuple[int, int]:
        """Cache writes as (5 minutes, 1 hour). The total is the truth; what the split leaves open was written alike."""
        if written < short + long:
            self.odd("cache_split_above_total")
            long = min(long, written)  # the dear kind first: never undercharge
            return written - long, long
        if long and not short:
            return 0, written
        return written - long, long  # no split at all means five minutes, Claude's default

    def usage(
        self,
        *,
        model: str | None = None,
        message_id: str | None = None,
        served_by: str | None = None,
        stop_reason: str | None = None,
        refused_before_output: bool = False,
        final: bool = True,
        reason: Reason = "no_usage",
        output_floor: int | None = None,
        sparse: bool = False,
    ) -> Usage:
        """The sum of what was folded.

        `final` says that Claude's last word is among it, and `reason` why it is not. Where the output was not said,
        `output_floor` is what the caller saw of it; None means it saw nothing, and the usage lacks its output.
        `sparse` objects leave out what is zero.
        """
        counts, bad = self._counts, self._bad
        input_said = "input_tokens" in counts or (sparse and self.seen)
        output_said = final and ("output_tokens" in counts or (sparse and self.seen)) and "output_tokens" not in bad
        lacks_input = not input_said or not bad.isdisjoint(_INPUT_SIDE)
        estimated: Reason | None = None
        if not final:
            estimated = reason
        elif bad - _INFORMATION:
            estimated = "bad_usage"
        elif lacks_input or not output_said:
            estimated = "no_usage"
        elif self._credit:
            # Billed as if the cache had been this model's all along. By how much is not said: charged in full.
            estimated = "fallback_credit"
        short, long = counts.get(_SPLIT[0], 0), counts.get(_SPLIT[1], 0)
        write_5m, write_1h = self._lifetimes(counts.get(_TOKENS[3], short + long), short, long)
        output = counts.get("output_tokens", 0)
        usage = Usage(
            input=counts.get("input_tokens", 0),
            output=output if output_said else max(output, output_floor or 0),
            cache_read=counts.get("cache_read_input_tokens", 0),
            cache_write_5m=write_5m,
            cache_write_1h=write_1h,
            thinking=counts.get("thinking_tokens", 0),
            web_searches=counts.get("web_search_requests", 0),
            web_fetches=counts.get("web_fetch_requests", 0),
            code_executions=counts.get("code_execution_requests", 0),
            active_ms=counts.get("active_ms", 0),
            list_cost_nano=self._list_cost_nano,
            model=model,
            message_id=message_id,
            served_by=served_by or self._fallback(),
            service_tier=self._words.get("service_tier"),
            geo=self._words.get("inference_geo"),
            speed=self._words.get("speed"),
            stop_reason=stop_reason,
            refused_before_output=refused_before_output,
            complete=estimated in (None, "fallback_credit"),
            estimated=estimated,
            lacks_input=lacks_input,
            lacks_output=not output_said and output_floor is None,
        )
        # In this order: a list without the answer's own run is itself one of the oddities.
        runs = self._runs(usage, final=final)
        own = bool(runs) and runs is self._iterations  # Claude's list says all, whatever the top level lacks
        return replace(
            usage,
            iterations=runs,
            lacks_input=lacks_input and not own,
            lacks_output=usage.lacks_output and not own,
            oddities=tuple(self._oddities),
        )

    def _fallback(self) -> str | None:
        served = [run.model for run in self._iterations if run.kind == "fallback_message"]
        return served[-1] if served else None

    def _runs(self, usage: Usage, *, final: bool) -> tuple[Iteration, ...]:
        """The iterations to bill: Claude's own list, unless it cannot be the whole truth."""
        if not self._iterations:
            return ()
        answered = any(run.kind not in _SIDE_RUNS for run in self._iterations)
        if final and answered and "iterations" not in self._bad:
            return self._iterations
        if final and not answered:
            self.odd("iterations_without_message")
        # What the top level, or our estimate, says of the answer itself, and the side runs that it never includes.
        return (usage.top(), *(run for run in self._iterations if run.kind in _SIDE_RUNS))
