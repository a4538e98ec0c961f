"""What Claude's answers put to rest, and for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.http import Headers
from gateway.core.overload.attempts import Outcome
from gateway.core.overload.rests import MOST_RATE_REST, MOST_USAGE_REST, PROBE_EVERY, Rest, Resting, rest_of

WALL = 1_795_000_000.0  # 2026-11-18 11:06:40 UTC
DAY = 86_400.0
TO_DECEMBER = 12 * DAY + 46_400.0  # 2026-12-01 00:00 UTC
ORGANIZATION = "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."
WORKSPACE = ORGANIZATION.replace("API usage", "workspace API usage")


def limited(retry_after: float | None = None, code: str = "") -> Outcome:
    return Outcome(429, complete=True, retry_after=retry_after, code=code)


def usage(message: str) -> Outcome:
    return Outcome(400, complete=True, type="invalid_request_error", message=message)


def reset(limit: str, remaining: int, at: str) -> Headers:
    prefix = f"anthropic-ratelimit-{limit}-".encode()
    return [(prefix + b"remaining", b"%d" % remaining), (prefix + b"reset", at.encode())]


SPENT = reset("requests", 0, "2026-11-18T11:07:00Z")
FREE = reset("input-tokens", 900, "2026-11-18T11:07:30Z")

CASES: dict[str, tuple[Outcome, Headers, object]] = {
    "seconds":               (limited(7), [],                                     ("lane", 7)),
    "seconds before reset":  (limited(7), SPENT,                                  ("lane", 7)),
    "reset of what is empty": (limited(), SPENT + FREE,                           ("lane", 20)),
    "nothing is empty":      (limited(), FREE,                                    None),
    "reset in the past":     (limited(), reset("requests", 0, "2026-11-18T11:00:00Z"), None),
    "reset without a zone":  (limited(), reset("requests", 0, "2026-11-18T11:07:00"),  None),
    "reset is no time":      (limited(), reset("requests", 0, "soon"),            None),
    "bare":                  (limited(), [],                                      None),
    "at once":               (limited(0), [],                                     None),
    "10^12 seconds":         (limited(1e12), [],                                  ("lane", MOST_RATE_REST)),
    "spend cap":             (limited(9, "enforced_spend_limit_reached"), [],     None),
    "contract cap":          (limited(9, "contract_spend_limit_reached"), [],     None),
    "ramp":                  (limited(9, "ramp_limit_exceeded"), [],              ("lane", 9)),
    "fast mode":             (limited(9), [(b"Anthropic-Fast-Output-Tokens-Remaining", b"0")], None),
    "fast mode has room":    (limited(9), [(b"anthropic-fast-output-tokens-remaining", b"5")], ("lane", 9)),
    "organization":          (usage(ORGANIZATION), [],                            ("organization", TO_DECEMBER)),
    "workspace":             (usage(WORKSPACE), [],                               ("workspace", TO_DECEMBER)),
    "only a day":            (usage(ORGANIZATION.replace(" at 00:00 UTC", "")), [], ("organization", TO_DECEMBER)),
    "a day that has passed": (usage(ORGANIZATION.replace("2026-12", "2026-11")), [], None),
    "no such day":           (usage(ORGANIZATION.replace("12-01", "13-41")), [],  None),
    "year 9999":             (usage(ORGANIZATION.replace("2026", "9999")), [],    ("organization", MOST_USAGE_REST)),
    "no day":                (usage("You have reached your specified API usage limits."), [], None),
    "another 400":           (usage("max_tokens: Field required, see 2026-12-01"), [], None),
    "529":                   (Outcome(529, complete=True, retry_after=9), [],     None),
    "200":                   (Outcome(200), SPENT,                                None),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_rests(name: str) -> None:
    """A 429 rests its lane until its reset, a usage limit its workspace or organization until its date."""
    outcome, headers, expected = CASES[name]
    rest = rest_of(outcome, headers, WALL)

    assert expected == (None if rest is None else (rest.scope, round(rest.seconds, 6)))


@given(st.text(max_size=60))
def test_no_text_breaks_it(end: str) -> None:
    """Whatever follows the words that are known, a rest is positive and bounded, or there is none."""
    rest = rest_of(usage("You have reached your specified API usage limits" + end), [], WALL)

    assert rest is None or 0 < rest.seconds <= MOST_USAGE_REST


def test_one_call_looks_each_minute() -> None:
    """Nobody is kept out for ever by one answer: a limit that was raised is found within a minute."""
    resting = Resting.begin(Rest("workspace", 1000.0, Outcome(400), "usage_limit"), now=0.0)
    waits = [resting.wait(now) for now in (0.0, PROBE_EVERY - 1, PROBE_EVERY, PROBE_EVERY + 1, 2 * PROBE_EVERY)]

    assert [1000.0, 941.0, 0.0, 939.0, 0.0] == waits
    assert resting.wait(1000.0) == 0.0
