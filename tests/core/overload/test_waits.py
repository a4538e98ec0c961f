"""Headers that say how long, sound and unsound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.overload.waits import MOST_BACKOFF, USUAL_DEADLINE, backoff, deadline_of, retry_after, wait_before

WALL = 1_795_000_000.0  # Wed, 18 Nov 2026 11:06:40 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        ([(b"Retry-After", b"3")], 3.0),
        ([(b"retry-after", b" 0 ")], 0.0),
        ([(b"retry-after", b"1.5")], 1.5),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"1000000000000")], 10.0**12),
        ([(b"retry-after", b"9" * 400)], None),
        ([(b"retry-after", b"soon")], None),
        ([(b"retry-after", b"")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"1e3")], None),
        ([(b"retry-after", b"\xff3")], None),
        ([(b"retry-after", b"Wed, 18 Nov 2026 11:06:50 GMT")], 10.0),
        ([(b"retry-after", b"Wed, 18 Nov 2026 11:06:30 GMT")], 0.0),
        ([(b"retry-after", b"Wed, 99 Nov 2026 11:06:30 GMT")], None),
        ([(b"retry-after", b"11:06:50")], None),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"3")], 0.25),
        ([(b"retry-after-ms", b"-250"), (b"retry-after", b"3")], 3.0),
        ([(b"retry-after-ms", b"x")], None),
    ],
    ids=["absent", "seconds", "now", "fraction", "negative", "10^12", "400 digits", "word", "empty", "nan", "inf",
         "exponent", "no text", "date", "past date", "no date", "only a time", "ms first", "bad ms", "only bad ms"],
)  # fmt: skip
def test_retry_after(headers: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    """What makes sense is taken as it is, what does not is as good as absent."""
    assert seconds == retry_after(headers, WALL)


@given(st.binary(max_size=40))
def test_no_header_breaks_it(value: bytes) -> None:
    """Any bytes at all give a wait that is not negative, or none."""
    found = retry_after([(b"retry-after", value)], WALL)

    assert found is None or found >= 0


@given(st.integers(0, 20), st.floats(0, 1, exclude_max=True))
def test_backoff_is_full_jitter(repeats: int, roll: float) -> None:
    """Anything from nothing up to a ceiling that doubles and ends at 8 seconds."""
    assert 0 <= backoff(repeats, roll) <= min(MOST_BACKOFF, 0.5 * 2**repeats)
    assert backoff(repeats, roll) == pytest.approx(roll * backoff(repeats, 1.0))


@pytest.mark.parametrize(
    ("asked", "roll", "wait"), [(None, 0.5, 0.25), (2.0, 0.0, 2.0), (2.0, 0.5, 2.25), (0.0, 0.5, 0.25)]
)
def test_never_earlier_than_asked(asked: float | None, roll: float, wait: float) -> None:
    """Claude's time is a floor; the jitter on top keeps those who were told the same from coming together."""
    assert wait == wait_before(0, asked, roll)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"30", 30.0), (b"0.5", 0.5), (b"0", USUAL_DEADLINE), (b"-3", USUAL_DEADLINE), (b"NaN", USUAL_DEADLINE),
     (b"1000000000000", USUAL_DEADLINE), (b"", USUAL_DEADLINE)],
)  # fmt: skip
def test_deadline(value: bytes, seconds: float) -> None:
    """The client's own timeout counts when it is a number of seconds; else what SDKs wait by default."""
    assert 100.0 + seconds == deadline_of([(b"X-Stainless-Timeout", value)], 100.0)
    assert 100.0 + USUAL_DEADLINE == deadline_of([], 100.0)
