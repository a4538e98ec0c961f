"""Puts a cost into words, one step per line, so that a person can add it up again.

Rule: amounts are printed exactly, with as many decimals as they need; only the booked sum is rounded.
"""

from gateway.core.cost import PARTS, Explained, Line
from gateway.core.usage import Iteration

_UNITS = {
    "input": "input tokens",
    "write_5m": "tokens written to the cache for 5 minutes",
    "write_1h": "tokens written to the cache for 1 hour",
    "read": "tokens read from the cache",
    "output": "output tokens",
    "web_search": "web searches",
    "session_ms": "milliseconds of session time",
    "code_execution_ms": "milliseconds of code execution",
}
_RUNS = {
    "message": "an attempt",
    "fallback_message": "an attempt of a fallback model",
    "compaction": "a compaction",
    "advisor_message": "an adviser's answer",
}
_NOTES = {
    "unbilled_run": "An attempt without output gave way or was refused: it is reported, not billed.",
    "unpriced_run": "A run on a model without a price is charged as the stand-in, else as the dearest model.",
    "fast_unlisted": "The model has no fast price in the table: charged at twice the standard one.",
    "code_execution_not_charged": "Code was executed: its container time is left to the invoice.",
    "fallback_credit_not_applied": "A fallback credit was redeemed: Claude bills less, by how much no answer says.",
    "unknown_service_tier": "The service tier is not known to this table: charged as standard.",
    "unknown_geo": "The inference geography is not known to this table: charged as global.",
    "unknown_speed": "The speed is not known to this table: charged as standard.",
}


def dollars(parts: int, *, per: int = PARTS) -> str:
    """An amount of `per` parts to the nano-dollar, exactly: 1,500 nano-dollars are `$0.0000015`."""
    sign, parts = ("-", -parts) if parts < 0 else ("", parts)
    whole, rest = divmod(parts, per * 10**9)
    digits = ""
    while rest:
        digit, rest = divmod(rest * 10, per * 10**9)
        digits += str(digit)
        if len(digits) == 18:  # a percent of a session's millisecond may never end
            digits += "…" if rest else ""
            break
    return f"{sign}${whole:,}.{digits.ljust(2, '0')}"


def steps(explained: Explained) -> tuple[str, ...]:
    """The lines of an account: each step, what was not billed and why, the sum, the booked amount."""
    cost = explained.cost
    lines = [_step(line) for line in explained.lines]
    lines += [_unbilled(run) for run in explained.unbilled]
    lines += [_NOTES[note] for note in cost.notes]
    if cost.charged_as:
        lines.append(f"The model has no price: charged as {cost.charged_as}.")
    lines.append(f"sum {dollars(cost.parts)}, booked as {dollars(cost.nano, per=1)}")
    if cost.saved_nano:
        verb = "saved" if cost.saved_nano > 0 else "cost"
        lines.append(f"the prompt cache {verb} {dollars(abs(cost.saved_nano), per=1)} against plain input")
    return tuple(lines)


def _step(line: Line) -> str:
    whose = f" of {line.model}" if line.model else ""
    if line.what.endswith("_ms"):
        rate = f"{dollars(line.rate, per=1)} an hour"
    elif line.what == "web_search":
        rate = f"{dollars(line.rate, per=1)} each"
    else:
        rate = f"{dollars(line.rate * 10**6, per=1)} per million"
    percents = "".join(f" x {percent}% ({name})" for name, percent in line.percents)
    return f"{line.quantity:,} {_UNITS[line.what]}{whose} at {rate}{percents} = {dollars(line.parts)}"


def _unbilled(run: Iteration) -> str:
    whose = f" of {run.model}" if run.model else ""
    kind = _RUNS.get(run.kind, "a run")
    return f"not billed: {kind}{whose} with {run.prompt:,} prompt tokens and {run.output:,} output tokens"
