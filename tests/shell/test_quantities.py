"""Sizes and durations as people write them."""

import pytest

from gateway.quantities import duration, size


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0", 0),
        ("10000", 10_000),
        ("512B", 512),
        ("1kB", 1000),
        ("64KiB", 65_536),
        ("1.5 GiB", 1_610_612_736),
        ("0.001kB", 1),
        ("50GiB", 53_687_091_200),
        ("2TB", 2_000_000_000_000),
    ],
)
def test_sizes(written: str, expected: int) -> None:
    """A size is exact, in powers of ten or of two as its unit says."""
    assert expected == size(written)


@pytest.mark.parametrize(
    ("written", "expected"),
    [("0", 0.0), ("90", 90.0), ("500ms", 0.5), ("1.5s", 1.5), ("10m", 600.0), ("2h", 7200.0), ("1d", 86_400.0)],
)
def test_durations(written: str, expected: float) -> None:
    """A number alone is seconds."""
    assert expected == duration(written)


@pytest.mark.parametrize(
    "written", ["", "GiB", "-1", "+1", "1e3", "1,5GiB", "50 gigs", "50gib", "1.5B", "0x10", "१", "inf"]
)
def test_no_size(written: str) -> None:
    """A unit in another case, a sign, a foreign digit or a part of a byte is refused."""
    with pytest.raises(ValueError, match="must be"):
        size(written)


@pytest.mark.parametrize("written", ["", "s", "-1", "1e3", "10 min", "10M", "1:30", "nan"])
def test_no_duration(written: str) -> None:
    """Minutes are `m`; there is no month and no sign."""
    with pytest.raises(ValueError, match="must be"):
        duration(written)
