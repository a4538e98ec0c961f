"""Attempts: which workspace and key a request goes to, and what an upstream's failure becomes.

Nothing is sent twice here yet except by the client itself; whatever is decided is decided by core/faults.py.
"""

import time
from collections.abc import Mapping

from gateway.core.errors import GatewayError
from gateway.core.exchange import Attempt, Exchange
from gateway.core.faults import (
    ERROR_BODY_LIMIT,
    about_our_key,
    decoded,
    failure,
    is_json,
    wrapped,
    wrapped_headers,
)
from gateway.core.headers import lookup
from gateway.core.http import Answer, Client, Headers, Timeouts, UpstreamFailed
from gateway.core.teams import UpstreamKey, Workspace
from gateway.platforms.platform import Draft, Platform


class ReadAnswer:
    """An answer whose body was read to be judged; it relays like any other."""

    def __init__(self, answer: Answer, headers: Headers, body: bytes, *, rest: Answer | None) -> None:
        self.status = answer.status
        self.reason = answer.reason
        self.headers = headers
        self.reused = answer.reused
        self._body = body
        self._rest = rest

    async def read(self) -> bytes:
        if self._body:
            body, self._body = self._body, b""
            return body
        return await self._rest.read() if self._rest is not None else b""

    def close(self) -> None:
        if self._rest is not None:
            self._rest.close()


class Upstream:
    """The way to Claude."""

    def __init__(self, client: Client, platforms: Mapping[str, Platform], timeouts: Timeouts) -> None:
        self._client = client
        self._platforms = platforms
        self._timeouts = timeouts

    async def send(self, x: Exchange, draft: Draft) -> Answer:
        """The answer that is worth relaying. Raises GatewayError when there is none."""
        assert x.team is not None
        workspace = x.policy.workspaces[x.team.workspace]
        platform = self._platforms[workspace.platform]
        if not platform.serves(draft.route):
            raise GatewayError(
                "not_found", f"The platform of workspace '{workspace.name}' does not serve {draft.route.path}."
            )
        key = _first_key(workspace)
        attempt = Attempt(workspace.name, key.name)
        x.attempts.append(attempt)
        began = time.monotonic()
        try:
            answer = await self._client.open(platform.prepare(draft, workspace, key), self._timeouts)
        except UpstreamFailed as error:
            attempt.outcome = f"{error.stage}_{error.fault}"
            if error.stage == "head":
                x.unanswered = "cut"
            raise failure(error) from None
        except BaseException:
            attempt.outcome = "abandoned"
            x.unanswered = "cancelled"
            raise
        finally:
            attempt.seconds = time.monotonic() - began
            x.upstream_seconds += attempt.seconds
        attempt.outcome = str(answer.status)
        attempt.request_id = (lookup(answer.headers, b"request-id") or b"").decode("latin-1")
        x.upstream_request_id = attempt.request_id
        if answer.status >= 400:
            return await self._judge_error(x, answer, key)
        return answer

    async def _judge_error(self, x: Exchange, answer: Answer, key: UpstreamKey) -> Answer:
        body = await _read_up_to(answer, ERROR_BODY_LIMIT)
        plain = decoded(body, lookup(answer.headers, b"content-encoding"))
        if about_our_key(answer.status, plain):
            answer.close()
            raise GatewayError(
                "workspace_key",
                "Claude refused the workspace's own key. This is not about your gateway key: the platform team must "
                "look at the workspace.",
                detail=f"upstream {answer.status} for key '{key.name}'",
            )
        if plain and not is_json(plain):
            answer.close()
            x.cf_ray = (lookup(answer.headers, b"cf-ray") or b"").decode("latin-1")
            return ReadAnswer(answer, wrapped_headers(answer.headers), wrapped(answer.status, x.request_id), rest=None)
        return ReadAnswer(answer, answer.headers, body, rest=answer)


def _first_key(workspace: Workspace) -> UpstreamKey:
    if not workspace.keys:
        raise GatewayError(
            "workspace_key",
            f"Workspace '{workspace.name}' has no key. The platform team must add one to the gateway's policy.",
        )
    return workspace.keys[0]


async def _read_up_to(answer: Answer, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        while size < limit and (chunk := await answer.read()):
            chunks.append(chunk)
            size += len(chunk)
    except UpstreamFailed as error:
        answer.close()
        raise failure(error) from None
    return b"".join(chunks)
