"""What may be repeated, case by case."""

import random
from dataclasses import replace

import pytest

from gateway.core.http import UpstreamFailed
from gateway.core.limits import UNIT
from gateway.core.overload.attempts import (
    NEXT_KEY,
    RELAY,
    Again,
    Client,
    Outcome,
    Step,
    Tries,
    client_of,
    extra_attempts,
    judge_attempt,
    reason_of,
    should_retry,
)
from gateway.core.retries import MOST, deposit_of
from gateway.core.routes import Repeat

PATIENT = Client(deadline=600.0, extra=2)
FRESH = Tries(now=0.0)
CAP = "enforced_spend_limit_reached"
OVERLOADED = Outcome(529, complete=True)


def broken(stage: str, fault: str, **facts: object) -> Outcome:
    return Outcome(broken=UpstreamFailed(stage, fault, **facts))  # type: ignore[arg-type]


# What happened, and whether inference, a read and a write are repeated.
CASES = {
    "refused connection":       (broken("connect", "refused"),                                 True,  True,  True),
    "unresolved name":          (broken("connect", "dns"),                                     True,  True,  True),
    "closed while connecting":  (broken("connect", "reset"),                                   True,  True,  True),
    "no connection in time":    (broken("connect", "timeout"),                                 False, False, False),
    "certificate":              (broken("connect", "tls"),                                     False, False, False),
    "proxy":                    (broken("connect", "proxy"),                                   False, False, False),
    "stale connection":         (broken("head", "reset", reused=True, seconds=0.1),            True,  True,  False),
    "stale while sending":      (broken("send", "reset", reused=True, seconds=0.1),            True,  True,  False),
    "stale after two seconds":  (broken("head", "reset", reused=True, seconds=2.0),            True,  True,  False),
    "stale, but later":         (broken("head", "reset", reused=True, seconds=2.01),           False, False, False),
    "new connection closed":    (broken("head", "reset", seconds=0.1),                         False, False, False),
    "closed after a byte":      (broken("head", "reset", reused=True, answered=True),          False, False, False),
    "no head in time":          (broken("head", "timeout", reused=True, seconds=0.1),          False, False, False),
    "not taken in time":        (broken("send", "timeout"),                                    False, False, False),
    "no HTTP":                  (broken("head", "protocol", reused=True, seconds=0.1),         False, False, False),
    "cut error body":           (broken("body", "reset", reused=True, answered=True),          False, False, False),
    "529":                      (Outcome(529, complete=True),                                  True,  True,  False),
    "503":                      (Outcome(503, complete=True),                                  True,  True,  False),
    "500":                      (Outcome(500, complete=True),                                  True,  True,  False),
    "500 without API error":    (Outcome(500),                                                 False, True,  False),
    "503 of the edge":          (Outcome(503),                                                 False, True,  False),
    "529 with 5 s":             (Outcome(529, complete=True, retry_after=5.0),                 True,  True,  False),
    "529 with 6 s":             (Outcome(529, complete=True, retry_after=6.0),                 False, False, False),
    "502":                      (Outcome(502, complete=True),                                  False, True,  False),
    "504":                      (Outcome(504, complete=True),                                  False, True,  False),
    "501":                      (Outcome(501, complete=True),                                  False, False, False),
    "429 at once":              (Outcome(429, complete=True, retry_after=0.0),                 True,  True,  False),
    "429 with 5 s":             (Outcome(429, complete=True, retry_after=5.0),                 True,  True,  False),
    "429 with 5.1 s":           (Outcome(429, complete=True, retry_after=5.1),                 False, False, False),
    "429 without a time":       (Outcome(429, complete=True),                                  False, False, False),
    "spend cap":                (Outcome(429, complete=True, code=CAP),                        False, False, False),
    "spend cap with a time":    (Outcome(429, complete=True, code=CAP, retry_after=1.0),       False, False, False),
    "usage limit":              (Outcome(400, complete=True, message="You have …"),       False, False, False),
    "400":                      (Outcome(400, complete=True),                                  False, False, False),
    "402":                      (Outcome(402, complete=True),                                  False, False, False),
    "403":                      (Outcome(403, complete=True),                                  False, False, False),
    "404":                      (Outcome(404, complete=True),                                  False, False, False),
    "409":                      (Outcome(409, complete=True),                                  False, False, False),
    "413":                      (Outcome(413, complete=True),                                  False, False, False),
    "200":                      (Outcome(200),                                                 False, False, False),
    "overloaded event":         (Outcome(200, first_event_error="overloaded_error"),           True,  True,  False),
    "api error event":          (Outcome(200, first_event_error="api_error"),                  True,  True,  False),
    "other error event":        (Outcome(200, first_event_error="invalid_request_error"),      False, False, False),
    "Claude says no":           (Outcome(529, complete=True, should_retry=False),              False, False, False),
    "Claude says yes":          (Outcome(400, complete=True, should_retry=True),               False, False, False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_free_to_repeat(name: str) -> None:
    """Each way an attempt can end is repeated for inference, for reads and for writes, or it is not."""
    outcome, *expected = CASES[name]
    steps = [
        judge_attempt(outcome, rule, PATIENT, FRESH, 0.5) for rule in (Repeat.INFERENCE, Repeat.READ, Repeat.NEVER)
    ]

    assert expected == [isinstance(step, Again) for step in steps]
    assert all(isinstance(step, Again) or step == RELAY for step in steps)


@pytest.mark.parametrize(
    ("client", "tries", "step"),
    [
        (PATIENT, replace(FRESH, repeats=0), Again(0.25, "overloaded")),
        (PATIENT, replace(FRESH, repeats=1), Again(0.5, "overloaded")),
        (PATIENT, replace(FRESH, repeats=2), RELAY),
        (Client(600.0, 1), replace(FRESH, repeats=1), RELAY),
        (Client(600.0, 0), FRESH, RELAY),
        (PATIENT, replace(FRESH, replayable=False), RELAY),
        (PATIENT, replace(FRESH, now=599.7), Again(0.25, "overloaded")),
        (PATIENT, replace(FRESH, now=599.75), RELAY),
        (Client(0.2, 2), FRESH, RELAY),
    ],
    ids=["first", "second", "no third", "retrying client", "client's last try", "streamed upload", "just in time",
         "too late", "hasty client"],
)  # fmt: skip
def test_when_it_is_repeated(client: Client, tries: Tries, step: Step) -> None:
    """At most two extra attempts, fewer for a client that repeats by itself, none that its deadline would cut."""
    assert step == judge_attempt(OVERLOADED, Repeat.INFERENCE, client, tries, 0.5)


@pytest.mark.parametrize(
    ("tries", "step"),
    [
        (Tries(0.0, other_key=True), NEXT_KEY),
        (Tries(0.0, repeats=2, other_key=True), NEXT_KEY),
        (Tries(0.0, other_key=False), RELAY),
        (Tries(0.0, other_key=True, replayable=False), RELAY),
    ],
    ids=["another key", "after two repeats", "no other key", "streamed upload"],
)
@pytest.mark.parametrize("rule", Repeat)
def test_refused_key_takes_the_next_one(rule: Repeat, tries: Tries, step: Step) -> None:
    """A key's refusal costs no repeat and holds for every row: Claude has not looked at the request."""
    assert step == judge_attempt(Outcome(401, about_key=True), rule, Client(600.0, 0), tries, 0.5)


@pytest.mark.parametrize(
    ("headers", "extra"),
    [
        ([], 2),
        ([(b"X-Stainless-Retry-Count", b"0")], 2),
        ([(b"x-stainless-retry-count", b"1")], 1),
        ([(b"x-stainless-retry-count", b"2")], 0),
        ([(b"x-stainless-retry-count", b"9")], 0),
        ([(b"x-stainless-retry-count", b"-1")], 2),
        ([(b"x-stainless-retry-count", b"many")], 2),
        ([(b"User-Agent", b"claude-cli/2.1.86 (external, cli)")], 1),
        ([(b"user-agent", b"claude-cli/2.1.86"), (b"x-stainless-retry-count", b"1")], 0),
    ],
)
def test_the_more_a_client_repeats_the_less_we_do(headers: list[tuple[bytes, bytes]], extra: int) -> None:
    """The client's own attempts are taken off ours; Claude Code makes eleven, so it gets one."""
    assert extra == extra_attempts(headers)


def test_the_caller_in_one_value() -> None:
    """Deadline and attempts are read from the request's own headers."""
    headers = [(b"x-stainless-timeout", b"30"), (b"x-stainless-retry-count", b"1")]

    assert Client(130.0, 1) == client_of(headers, 100.0)


@pytest.mark.parametrize(("value", "said"), [(b"true", True), (b"FALSE", False), (b"", None), (b"yes", None)], ids=repr)
def test_claudes_own_word(value: bytes, said: bool | None) -> None:
    """`x-should-retry` counts when it is one of its two words."""
    assert said == should_retry([(b"X-Should-Retry", value)])


def test_outcomes_have_short_names() -> None:
    """A label is a status, a broken stage, or a status with the event that took it back."""
    outcomes = [Outcome(529), broken("head", "reset"), Outcome(200, first_event_error="overloaded_error")]

    assert ["529", "head_reset", "200_overloaded_error"] == [outcome.name for outcome in outcomes]


@pytest.mark.parametrize(
    ("share", "most_calls", "visible"),
    [(0.25, 1.27, (0.0, 0.01)), (0.10, 1.12, (0.10, 0.14))],
)
def test_the_sum_of_it_at_twenty_percent(
    share: float, most_calls: float, visible: tuple[float, float], measured
) -> None:
    """With a fifth of all calls refused at random, law and budget together give the promised numbers."""
    dice = random.Random(7)
    requests, calls, failed, budget = 100_000, 0, 0, MOST
    for _ in range(requests):
        budget = min(MOST, budget + deposit_of(share))
        repeats = 0
        while True:
            calls += 1
            if dice.random() >= 0.2:
                break
            tries = Tries(0.0, repeats)
            step = judge_attempt(OVERLOADED, Repeat.INFERENCE, PATIENT, tries, dice.random())
            if not isinstance(step, Again) or budget < UNIT:
                failed += 1
                break
            budget -= UNIT
            repeats += 1

    measured(f"20 % refused, budget {share}: {calls / requests:.3f} calls, {failed / requests:.2%} visible")
    assert calls / requests <= most_calls
    assert visible[0] <= failed / requests < visible[1]


def test_reasons_are_few() -> None:
    """Every reason is a word of the metric's, none is made from what Claude said."""
    reasons = {reason_of(outcome) for outcome, *_ in CASES.values()} - {None}

    assert reasons == {
        "connect", "stale", "overloaded", "unavailable", "error", "bad_body", "gateway", "rate_limited",
        "overloaded_event", "error_event",
    }  # fmt: skip
