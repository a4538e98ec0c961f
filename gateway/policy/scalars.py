"""What single values must look like: each function takes the written text and returns a value, or raises `Bad`."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import TypeVar
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from gateway import quantities
from gateway.core.limits import MOST_NANO
from gateway.policy.faults import Bad
from gateway.wording import either, hint, is_credential, shown

# Names become metric labels, parts of Redis keys and owners such as `key:TEAM/NAME`: no colon, slash, brace or space.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
_PATTERN = re.compile(r"[A-Za-z0-9._:@/*?-]{1,128}", re.ASCII)
_WHOLE = re.compile(r"[+-]?(0|[1-9][0-9]{0,19}|[1-9][0-9]{0,2}(_[0-9]{3}){1,6})", re.ASCII)
_NUMBER = re.compile(_WHOLE.pattern + r"(\.[0-9]{1,30})?", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]{64}", re.ASCII)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

NANO = 10**9
MOST_USD = MOST_NANO // NANO

W = TypeVar("W", bound=str)


def name(written: str) -> str:
    """A name of the operator's choice."""
    if not _NAME.fullmatch(written):
        raise Bad(
            "must be 1 to 63 letters, digits, dots, dashes or underscores and start with a letter or digit, "
            f"not {shown(written)}"
        )
    if written == "other":
        raise Bad("can't be 'other': metrics use it for everything beyond their cap")
    if is_credential(written):  # names stand in every log line
        raise Bad("can't be a key or a token")
    return written


def pattern(written: str) -> str:
    """A model id, or several by `*` and `?`."""
    if not _PATTERN.fullmatch(written) or is_credential(written):
        raise Bad(f"must be a model id or a pattern such as 'claude-opus-*', not {shown(written)}")
    return written


def is_id(written: str) -> bool:
    """A pattern that names one model."""
    return "*" not in written and "?" not in written


def prefixed(*prefixes: str) -> Callable[[str], str]:
    """An id of Claude's, known by how it begins."""

    def read(written: str) -> str:
        if not _PATTERN.fullmatch(written) or not written.startswith(prefixes):
            raise Bad(f"must be an id that begins with {either(prefixes)}, not {shown(written)}")
        return written

    return read


def uuid(written: str) -> str:
    if not _UUID.fullmatch(written):
        raise Bad(f"must be a UUID such as 01234567-89ab-cdef-0123-456789abcdef, not {shown(written)}")
    return written


def whole(low: int, high: int) -> Callable[[str], int]:
    def read(written: str) -> int:
        if not _WHOLE.fullmatch(written):
            raise Bad(f"must be a whole number, not {shown(written)}")
        value = int(written)
        if not low <= value <= high:
            raise Bad(f"must be from {low:,} to {high:,}, not {value:,}")
        return value

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    def read(written: str) -> float:
        if not _NUMBER.fullmatch(written):
            raise Bad(f"must be a number, not {shown(written)}")
        value = float(written)
        if not low <= value <= high:
            raise Bad(f"must be from {low:g} to {high:g}, not {value:g}")
        return value

    return read


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A number of seconds, or a duration such as `90s` or `2m`."""

    def read(written: str) -> float:
        try:
            value = quantities.duration(written)
        except ValueError as error:
            raise Bad(f"{error}, not {shown(written)}") from None
        if not low <= value <= high:
            raise Bad(f"must be from {low:g} to {high:g} seconds, not {value:g}")
        return value

    return read


def whole_seconds(low: int, high: int) -> Callable[[str], int]:
    read_seconds = seconds(low, high)

    def read(written: str) -> int:
        value = read_seconds(written)
        if not value.is_integer():
            raise Bad(f"must be whole seconds, not {value:g}")
        return int(value)

    return read


def size(high: int) -> Callable[[str], int]:
    """Bytes, or a size such as `50GiB`."""

    def read(written: str) -> int:
        try:
            value = quantities.size(written)
        except ValueError as error:
            raise Bad(f"{error}, not {shown(written)}") from None
        if value > high:
            raise Bad(f"must be at most {high:,} bytes, not {value:,}")
        return value

    return read


def nano_dollars(written: str) -> int:
    """Dollars as they are written, kept as integer nano-dollars."""
    if not _NUMBER.fullmatch(written):
        raise Bad(f"must be a number of dollars, not {shown(written)}")
    nano = Decimal(written) * NANO
    if not 0 < nano <= MOST_NANO:
        raise Bad(f"must be more than 0 and at most {MOST_USD:,} dollars, not {written}")
    if nano != nano.to_integral_value():
        raise Bad("must not be finer than a nano-dollar (nine decimals)")
    return int(nano)


def flag(written: str) -> bool:
    if written not in {"true", "false"}:
        raise Bad(f"must be true or false, not {shown(written)}")
    return written == "true"


def choice(*known: W) -> Callable[[str], W]:
    words: dict[str, W] = {word: word for word in known}

    def read(written: str) -> W:
        if written not in words:
            raise Bad(f"must be {either(words)}, not {shown(written)}{hint(written, words)}")
        return words[written]

    return read


def digest(written: str) -> bytes:
    """The SHA-256 of a key. Whatever else stands here may well be the key, so nothing of it is repeated."""
    if not _HEX.fullmatch(written):
        raise Bad(
            "must be the SHA-256 of the key as 64 hexadecimal digits, never the key itself: "
            f"""printf %s "$KEY" | sha256sum (what stands here has {len(written)} characters)"""
        )
    value = bytes.fromhex(written)
    if value == sha256(b"").digest():
        raise Bad("is the SHA-256 of nothing; the variable that should have held the key was empty")
    return value


def moment(written: str) -> float:
    """Seconds since the epoch of a day, meaning 00:00 UTC, or of a moment with its offset."""
    try:
        read = datetime.fromisoformat(written)
        if _DAY.fullmatch(written):
            read = read.replace(tzinfo=UTC)
        if read.tzinfo is not None:
            return read.timestamp()
    except (ValueError, OverflowError):
        pass
    raise Bad(
        f"must be a day such as 2027-01-31 (00:00 UTC) or a moment such as 2027-01-31T18:00:00Z, not {shown(written)}"
    )


def time_zone(written: str) -> str:
    """A name of the IANA database. UTC needs no database, so it works in an image without one."""
    if written == "UTC":
        return written
    try:
        ZoneInfo(written)
    except (KeyError, ValueError, OSError):  # unknown, a path, a directory such as "America"
        known = available_timezones()
        near = hint(written, known) if known else "; this machine has no time zone database (Debian: tzdata)"
        raise Bad(f"must be a time zone such as Europe/Berlin, not {shown(written)}{near}") from None
    return written


def web_address(written: str) -> str:
    """An http or https URL without credentials, query or fragment; a slash at its end is dropped."""
    try:
        parts = urlsplit(written)
        sound = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        sound = sound and parts.username is None
    except ValueError:
        sound = False
    if not sound or is_credential(written) or not written.isascii() or re.search(r"[\s?#\\\x00-\x20\x7f]", written):
        raise Bad("must be a URL such as https://api.anthropic.com, without user, query or fragment")
    return written.rstrip("/")
