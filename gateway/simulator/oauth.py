"""`POST /v1/oauth/token`: an identity provider's JWT against a short token for one workspace (fact sheet 2.3).

Nothing is verified: an assertion of three parts is good, one that says `denied` is not. Malformed input is a 400; every
denial is the same opaque 401.
"""

from __future__ import annotations

import secrets

from gateway.simulator.access import MINTED
from gateway.simulator.errors import ApiError, invalid
from gateway.simulator.world import Answer, Call, reply

GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LARGEST_ASSERTION = 16 * 1024
REQUIRED = ("grant_type", "assertion", "federation_rule_id", "organization_id")


def token(call: Call) -> Answer:
    body = call.json()
    for name in REQUIRED:
        if not isinstance(body.get(name), str):
            raise invalid(f"{name}: Field required")
    if body["grant_type"] != GRANT:
        raise invalid(f"grant_type: Input should be '{GRANT}'")
    assertion = body["assertion"]
    if len(assertion) > LARGEST_ASSERTION:
        raise invalid("assertion: String should have at most 16384 characters")
    if not body["federation_rule_id"].startswith("fdrl_"):
        raise invalid("federation_rule_id: Input should start with 'fdrl_'")
    if assertion.count(".") != 2 or "denied" in assertion:
        raise ApiError("unauthenticated", "Authentication failed")
    workspace = str(body.get("workspace_id") or "default").removeprefix("wrkspc_")
    lifetime = call.world.options.token_seconds
    minted = MINTED + secrets.token_urlsafe(32)
    call.world.tokens[minted] = (workspace, call.now + lifetime)
    return reply(
        {
            "access_token": minted,
            "token_type": "Bearer",
            "expires_in": lifetime,
            "scope": "workspace:developer",
        }
    )
