"""`${env:NAME}` and `${file:PATH}`: the only way a secret comes in without standing in the policy file.

The rule: what a reference stands for is returned and hashed into the version, and goes nowhere else. Faults name the
reference, which is no secret. A file is read each time the policy loads, so it can rotate.
"""

import re
from collections.abc import Callable
from hashlib import sha256

from gateway.policy.faults import Bad
from gateway.policy.nodes import Node
from gateway.policy.rows import At, text
from gateway.policy.scalars import web_address
from gateway.wording import shown_place

_REFERENCE = re.compile(r"\$\{(env|file):([^${}]+)\}")
_LONGEST = 16 * 1024  # no credential of any platform comes near
# What may stand in an HTTP header value; a line break in a secret would otherwise write headers of its own.
_HEADER_SAFE = re.compile(r"[\x21-\x7e]+")


class Unresolved(Bad):
    """A reference that leads nowhere at present."""


def secret(node: Node, at: At) -> str | None:
    """A credential; None when it can't be had and need not be."""
    if "${" not in text(node):
        at.notice("the secret itself stands in this file; write ${env:NAME} or ${file:PATH} instead")
    return _resolved(text(node), at, _credential)


def identity_file(node: Node, at: At) -> str:
    """Where the platform keeps an identity token. Read for each exchange and never here: it changes by the minute."""
    written = text(node)
    if "${" in written or "\0" in written:
        raise Bad("must be the path of the file itself")
    path = at.reading.file.parent / written
    if not path.is_file():
        at.notice(f"the file {shown_place(written)} is not there yet; without it there is no token")
    return str(path)


def webhook(node: Node, at: At) -> str | None:
    """A URL that often carries a token, so it is a secret as well."""
    return _resolved(text(node), at, _web_address_with_token)


def address(node: Node, at: At) -> str | None:
    """A URL that a deployment may want to set from outside."""
    return _resolved(text(node), at, _api_address)


def _resolved(written: str, at: At, check: Callable[[str], str]) -> str | None:
    try:
        value = check(_followed(written, at))
    except Unresolved as missing:
        if at.reading.need_secrets:
            raise
        at.notice(f"{missing.message}; it was not checked")
        return None
    at.reading.version.update(at.path.encode() + sha256(value.encode()).digest())
    return value


def _credential(value: str) -> str:
    if len(value) > _LONGEST:
        raise Bad(f"is longer than {_LONGEST:,} characters, which no key is")
    if not _HEADER_SAFE.fullmatch(value):
        raise Bad("holds a space, a line break or a character outside ASCII, which no key does")
    return value


def _api_address(value: str) -> str:
    address = web_address(value)
    if address.endswith("/v1"):
        raise Bad("must not end with /v1, which every request carries itself")
    return address


def _web_address_with_token(value: str) -> str:
    """Hooks carry their token in the path or the query, so only the scheme and the host can be looked at."""
    host = re.match(r"https?://[^/?#@\\]+", value)
    if host is None or not _HEADER_SAFE.fullmatch(value) or "#" in value:
        raise Bad("must be a URL such as https://hooks.example.com/gateway, without user or fragment")
    web_address(host[0])
    return value


def _followed(written: str, at: At) -> str:
    if "${" in _REFERENCE.sub("", written):
        raise Bad("a reference must be ${env:NAME} or ${file:PATH}")
    return _REFERENCE.sub(lambda found: _env(found[2], at) if found[1] == "env" else _file(found[2], at), written)


def _env(variable: str, at: At) -> str:
    value = at.reading.env.get(variable, "")
    if not value.strip():
        state = "empty" if variable in at.reading.env else "not set"
        raise Unresolved(
            f"the environment variable {shown_place(variable)} is {state}; set it in the environment or in .env"
        )
    return value.strip()


def _file(written: str, at: At) -> str:
    path = at.reading.file.parent / written  # an absolute path stays as it is
    try:
        value = at.reading.read(path).decode().strip()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not a text file"
        raise Unresolved(f"the file {shown_place(written)} can't be read: {reason}") from None
    if not value:
        raise Unresolved(f"the file {shown_place(written)} is empty")
    return value
