"""Sizes and durations as people write them: `50GiB`, `1500kB`, `90s`, `10m`; else a ValueError that says the form."""

import re
from fractions import Fraction

SIZES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

_QUANTITY = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)", re.ASCII)


def size(text: str) -> int:
    """Bytes. `1.5GiB` is fine, a part of a byte is not."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in SIZES:
        raise ValueError("must be a number of bytes or a size such as 512KiB, 64MiB, 50GiB or 2TB")
    exact = Fraction(match[1]) * SIZES[match[2]]
    if exact.denominator != 1:
        raise ValueError("must be a whole number of bytes")
    return exact.numerator


def duration(text: str) -> float:
    """Seconds."""
    match = _QUANTITY.fullmatch(text.strip())
    if match is None or match[2] not in SECONDS:
        raise ValueError("must be a number of seconds or a duration such as 500ms, 90s, 10m or 2h")
    return float(match[1]) * SECONDS[match[2]]
