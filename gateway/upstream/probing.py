"""Asks Claude whether a real key works, by a call that is free: the first entry of the list of models."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.core.faults import failure, read_error
from gateway.core.headers import ASK_PLAIN, lookup
from gateway.core.http import Client, Headers, Timeouts, UpstreamFailed
from gateway.core.routes import match
from gateway.core.teams import UpstreamKey, Workspace
from gateway.platforms.platform import Draft, Platform
from gateway.upstream.answers import read_up_to
from gateway.upstream.tokens import IdentityRefused, Tokens

_PATH = "/v1/models"
_HEADERS: Headers = [(b"anthropic-version", b"2023-06-01"), ASK_PLAIN]
_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Probed:
    """What a key answered; `status` 0: nothing."""

    ok: bool
    status: int
    says: str
    request_id: str
    organization: str | None
    seconds: float


async def probe(
    client: Client,
    platforms: Mapping[str, Platform],
    timeouts: Timeouts,
    tokens: Tokens,
    workspace: Workspace,
    key: UpstreamKey,
) -> Probed:
    """One call with this key and no other; nothing is learned from it and nothing is repeated."""
    began = time.monotonic()
    draft = Draft(match("GET", _PATH).route, "GET", _PATH + "?limit=1", _HEADERS)
    try:
        sent = await tokens.current(key, workspace) if key.federation is not None else key
        answer = await client.open(platforms[workspace.platform].prepare(draft, workspace, sent), timeouts)
        try:
            body, _ = await read_up_to(answer, _MOST)
        finally:
            answer.close()
    except UpstreamFailed as error:
        return Probed(False, 0, failure(error).message, "", None, time.monotonic() - began)
    except IdentityRefused as error:
        return Probed(False, 0, str(error), "", None, time.monotonic() - began)
    kind, message, _ = read_error(body)
    organization = lookup(answer.headers, b"anthropic-organization-id")
    return Probed(
        ok=answer.status == 200,
        status=answer.status,
        says=f"{kind}: {message}"[:300] if kind else "",
        request_id=(lookup(answer.headers, b"request-id") or b"").decode("latin-1"),
        organization=organization.decode("latin-1") if organization is not None else None,
        seconds=time.monotonic() - began,
    )
