"""Every endpoint of the API has a row, and nothing else has one."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import GatewayError
from gateway.core.routes import ROUTES, Body, Matched, Weigh, is_hello, match

# Every workspace-level path of the newest SDK with its methods; LIST is a paginated GET.
PATHS = """
POST             /v1/agents/{agent}/archive
LIST             /v1/agents/{agent}/versions
GET,POST         /v1/agents/{agent}
LIST,POST        /v1/agents
GET              /v1/deployment_runs/{deployment_run}
LIST             /v1/deployment_runs
POST             /v1/deployments/{deployment}/archive
POST             /v1/deployments/{deployment}/pause
POST             /v1/deployments/{deployment}/run
POST             /v1/deployments/{deployment}/unpause
GET,POST         /v1/deployments/{deployment}
LIST,POST        /v1/deployments
POST             /v1/dreams/{dream}/archive
POST             /v1/dreams/{dream}/cancel
GET              /v1/dreams/{dream}
LIST,POST        /v1/dreams
POST             /v1/environments/{environment}/archive
GET              /v1/environments/{environment}/work/poll
GET              /v1/environments/{environment}/work/stats
POST             /v1/environments/{environment}/work/{work}/ack
POST             /v1/environments/{environment}/work/{work}/heartbeat
POST             /v1/environments/{environment}/work/{work}/stop
GET,POST         /v1/environments/{environment}/work/{work}
LIST             /v1/environments/{environment}/work
DELETE,GET,POST  /v1/environments/{environment}
LIST,POST        /v1/environments
GET              /v1/files/{file}/content
DELETE,GET       /v1/files/{file}
LIST,POST        /v1/files
POST             /v1/memory_stores/{memory_store}/archive
DELETE,GET,POST  /v1/memory_stores/{memory_store}/memories/{memory}
LIST,POST        /v1/memory_stores/{memory_store}/memories
POST             /v1/memory_stores/{memory_store}/memory_versions/{memory_version}/redact
GET              /v1/memory_stores/{memory_store}/memory_versions/{memory_version}
LIST             /v1/memory_stores/{memory_store}/memory_versions
DELETE,GET,POST  /v1/memory_stores/{memory_store}
LIST,POST        /v1/memory_stores
POST             /v1/messages/batches/{batch}/cancel
GET              /v1/messages/batches/{batch}/results
DELETE,GET       /v1/messages/batches/{batch}
LIST,POST        /v1/messages/batches
POST             /v1/messages/count_tokens
POST             /v1/messages
GET              /v1/models/{model}
LIST             /v1/models
POST             /v1/sessions/{session}/archive
GET              /v1/sessions/{session}/events/stream
LIST,POST        /v1/sessions/{session}/events
DELETE,GET,POST  /v1/sessions/{session}/resources/{resource}
LIST,POST        /v1/sessions/{session}/resources
POST             /v1/sessions/{session}/threads/{thread}/archive
LIST             /v1/sessions/{session}/threads/{thread}/events
GET              /v1/sessions/{session}/threads/{thread}/stream
GET              /v1/sessions/{session}/threads/{thread}
LIST             /v1/sessions/{session}/threads
DELETE,GET,POST  /v1/sessions/{session}
LIST,POST        /v1/sessions
GET              /v1/skills/{skill}/versions/{version}/content
DELETE,GET       /v1/skills/{skill}/versions/{version}
LIST,POST        /v1/skills/{skill}/versions
DELETE,GET       /v1/skills/{skill}
LIST,POST        /v1/skills
POST             /v1/user_profiles/{user_profile}/action_urls
POST             /v1/user_profiles/{user_profile}/enrollment_url
DELETE,GET,POST  /v1/user_profiles/{user_profile}
LIST,POST        /v1/user_profiles
POST             /v1/vaults/{vault}/archive
POST             /v1/vaults/{vault}/credentials/{credential}/archive
POST             /v1/vaults/{vault}/credentials/{credential}/mcp_oauth_validate
DELETE,GET,POST  /v1/vaults/{vault}/credentials/{credential}
LIST,POST        /v1/vaults/{vault}/credentials
DELETE,GET,POST  /v1/vaults/{vault}
LIST,POST        /v1/vaults
"""
# Seen outside the SDK: the wider API, what Claude Code opens with, older paths, the gateway's own.
EXTRA = """
POST             /v1/complete
POST             /v1/chat/completions
GET,POST         /v1/webhooks
GET,DELETE       /v1/webhooks/{webhook}
GET              /v1/sessions/{session}/stream
HEAD             /
HEAD,GET         /api/hello
GET              /gateway/v1/limits
GET              /gateway/v1/usage
"""
MIB = 1 << 20


def pairs(text: str) -> set[tuple[str, str]]:
    found = set()
    for line in text.split("\n"):
        if line:
            methods, path = line.split()
            found |= {(method.replace("LIST", "GET"), path) for method in methods.split(",")}
    return found


def filled(path: str) -> str:
    return "/".join("id_1" if segment.startswith("{") else segment for segment in path.split("/"))


def test_table_is_the_api() -> None:
    """The rows are the API's endpoints, no more and no fewer."""
    assert pairs(PATHS) | pairs(EXTRA) == {(route.method, route.path) for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_each_row_is_found(route) -> None:
    """A row is found by its own path, with the ids that stand in it."""
    matched = match(route.method, filled(route.path))

    assert matched.route is route
    assert dict(matched.ids) == {segment[1:-1]: "id_1" for segment in route.path.split("/") if segment[:1] == "{"}


def test_names_are_unique() -> None:
    """A name stands for one endpoint in metrics and logs; `hello` alone has several doors."""
    names = [route.name for route in ROUTES if route.name != "hello"]

    assert len(set(names)) == len(names)


def test_limits_of_bodies() -> None:
    """Batches take 256 MB, files 500 MB without being held, everything else 32 MB."""
    assert {route.name: route.limit for route in ROUTES if route.limit != 32 * MIB} == {
        "batches.create": 256 * MIB,
        "files.create": 500 * MIB,
    }
    assert {route.name for route in ROUTES if route.body is Body.STREAM} == {
        "files.create", "skills.create", "skills.versions.create",
    }  # fmt: skip


def test_what_costs_tokens_is_judged() -> None:
    """No row that draws on tokens or money escapes the judgement of its model."""
    paid = {route.name for route in ROUTES if route.weigh in (Weigh.TOKENS, Weigh.COUNT, Weigh.BATCH)}

    assert paid == {route.name for route in ROUTES if route.inference}


def test_owned_ids_are_named() -> None:
    """Every id in a path is either an owned kind or hangs below one."""
    free = {"models.get"}
    for route in ROUTES:
        parameters = [segment[1:-1] for segment in route.path.split("/") if segment[:1] == "{"]
        assert not parameters or route.name in free or route.names.get(parameters[0]) == parameters[0], route


def test_a_head_goes_where_a_get_goes() -> None:
    """HTTP wants HEAD for every GET."""
    assert match("HEAD", "/v1/models").route.name == "models.list"
    assert is_hello("HEAD", "/")
    assert not is_hello("GET", "/v1/models")


def found(method: str, path: str) -> Matched | int:
    try:
        return match(method, path)
    except GatewayError as error:
        return error.row.status


odd = st.text(alphabet=string.ascii_letters + string.digits + "/._-%;:~@ \\\t#?&=+,é\x00", max_size=40)


@given(st.sampled_from(["GET", "POST", "DELETE", "HEAD", "PUT"]), odd.map(lambda text: "/" + text))
def test_any_path_is_a_row_or_a_refusal(method: str, path: str) -> None:
    """Whatever the path, it is refused or is exactly a row with ids that need no encoding."""
    matched = found(method, path)
    if isinstance(matched, int):
        assert matched in (404, 405)
        return

    rebuilt = [matched.ids[part[1:-1]] if part[:1] == "{" else part for part in matched.route.path.split("/")]
    assert "/".join(rebuilt) == path
    assert all(set(id) <= set(string.ascii_letters + string.digits + "_.~:@-") for id in matched.ids.values())
    assert not {".", ".."} & set(path.split("/"))


@given(st.sampled_from(ROUTES), st.data())
def test_one_odd_character_is_refused(route, data) -> None:
    """An encoded slash, a parameter, a doubled or a trailing slash anywhere in a good path makes it no path."""
    path = filled(route.path)
    at = data.draw(st.integers(0, len(path)))
    piece = data.draw(st.sampled_from(["%2F", "%2e", ";a=b", "//", "\\", "/../", "/./", "%", " ", "\x00"]))

    with pytest.raises(GatewayError):
        match(route.method, path[:at] + piece + path[at:])
