"""The Lua scripts of the Redis store: their text, as it is loaded, and their digest, as it is called.

Every script is the clock, the prelude and its own file, so the arithmetic exists once. A changed text has another
digest: gateways of two versions may share a store as long as the layout is the same.
"""

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files

LAYOUT = "1"  # of the keys and of what they hold; another layout is refused, never guessed at


@dataclass(frozen=True, slots=True)
class Script:
    """One script: `sha` is what EVALSHA takes."""

    name: str
    text: bytes
    sha: bytes


def _read(name: str) -> str:
    return (files("gateway.store") / "lua" / f"{name}.lua").read_text("utf-8")


def script(name: str, *, clock: str | None = None) -> Script:
    """A script by name. `clock` takes the place of the store's own, for tests that must say what time it is."""
    text = "\n".join((clock or _read("clock"), _read("prelude"), _read(name))).encode()
    return Script(name, text, sha1(text, usedforsecurity=False).hexdigest().encode())


RESERVE = script("reserve")
CHARGE = script("charge")
RETRY = script("retry")
RENEW = script("renew")
SUSPECT = script("suspect")
RETIRE = script("retire")
AMEND = script("amend")
LEARN = script("learn")
WORK_PUT = script("work_put")
WORK_LEASE = script("work_lease")
WORK_UPDATE = script("work_update")
ALL = (RESERVE, CHARGE, RETRY, RENEW, SUSPECT, RETIRE, AMEND, LEARN, WORK_PUT, WORK_LEASE, WORK_UPDATE)
