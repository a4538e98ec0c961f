"""Every workspace-level endpoint of the Claude API, one row each (Appendix A of the fact sheet).

A row is added here and nowhere else. What has no row is refused: `/v1/organizations/*`, `/v1/oauth/token`, tunnels,
compliance and anything Claude adds later.
"""

from dataclasses import replace

from gateway.core.routes.route import MIB, Body, Repeat, Route, Weigh

_BATCHES = "/v1/messages/batches"
_AGENT_OBJECT = 32 * MIB
# What is made of these runs models on its own later.
_AGENTIC = frozenset({"agents", "sessions", "deployments", "dreams"})


def _infer(name: str, path: str, weigh: Weigh = Weigh.TOKENS) -> Route:
    return Route(name, "POST", path, weigh, Body.BUFFER, repeat=Repeat.INFERENCE, inference=True)


def _list(name: str, path: str, kind: str | None, paging: str = "B", **names: str) -> Route:
    return Route(
        f"{name}.list", "GET", path, Weigh.OBJECT, repeat=Repeat.READ, lists=kind, paging=paging, names=names,
        batch_urls=kind == "batch",
    )  # fmt: skip


def _create(name: str, path: str, kind: str | None, weigh: Weigh = Weigh.OBJECT, **names: str) -> Route:
    return Route(
        f"{name}.create", "POST", path, weigh, Body.BUFFER, _AGENT_OBJECT, agent=name in _AGENTIC, creates=kind,
        names=names,
    )  # fmt: skip


def _get(name: str, path: str, **names: str) -> Route:
    return Route(name, "GET", path, Weigh.OBJECT, repeat=Repeat.READ, names=names)


def _watch(name: str, path: str, **names: str) -> Route:
    return Route(name, "GET", path, Weigh.OBJECT, names=names, stream=True)


def _post(name: str, path: str, weigh: Weigh = Weigh.OBJECT, /, **names: str) -> Route:
    agent = name.removesuffix(".update") in _AGENTIC
    return Route(name, "POST", path, weigh, Body.BUFFER, _AGENT_OBJECT, agent=agent, names=names)


def _delete(name: str, path: str, **names: str) -> Route:
    return Route(name, "DELETE", path, Weigh.OBJECT, names=names)


def _object(
    name: str, path: str, kind: str, *verbs: str, paging: str = "B", weigh: Weigh = Weigh.OBJECT
) -> list[Route]:
    """The rows that nearly every stored object has: list, create, get; and the verbs named on top of them."""
    one = f"{path}/{{{kind}}}"
    names = {kind: kind}
    rows = [_list(name, path, kind, paging), _create(name, path, kind, weigh), _get(f"{name}.get", one, **names)]
    for verb in verbs:
        if verb == "update":
            rows.append(_post(f"{name}.update", one, **names))
        elif verb == "delete":
            rows.append(_delete(f"{name}.delete", one, **names))
        else:
            rows.append(_post(f"{name}.{verb}", f"{one}/{verb}", **names))
    return rows


_INFERENCE = [
    _infer("messages", "/v1/messages"),
    _infer("count_tokens", "/v1/messages/count_tokens", Weigh.COUNT),
    _infer("complete", "/v1/complete"),
    _infer("chat_completions", "/v1/chat/completions"),
]

_MODELS = [
    Route("models.list", "GET", "/v1/models", Weigh.FREE, repeat=Repeat.READ, paging="A"),
    Route("models.get", "GET", "/v1/models/{model}", Weigh.FREE, repeat=Repeat.READ),
]

_BATCH = [
    Route("batches.create", "POST", _BATCHES, Weigh.BATCH, Body.BUFFER, 256 * MIB, Repeat.NEVER, inference=True,
          creates="batch", batch_urls=True),
    _list("batches", _BATCHES, "batch", "A"),
    Route("batches.get", "GET", _BATCHES + "/{batch}", Weigh.OBJECT, repeat=Repeat.READ,
          names={"batch": "batch"}, batch_urls=True),
    Route("batches.cancel", "POST", _BATCHES + "/{batch}/cancel", Weigh.OBJECT, Body.BUFFER,
          names={"batch": "batch"}, batch_urls=True),
    _delete("batches.delete", _BATCHES + "/{batch}", batch="batch"),
    _get("batches.results", _BATCHES + "/{batch}/results", batch="batch"),
]  # fmt: skip

_FILES = [
    Route("files.create", "POST", "/v1/files", Weigh.OBJECT, Body.STREAM, 500 * MIB, creates="file"),
    _list("files", "/v1/files", "file"),
    _get("files.get", "/v1/files/{file}", file="file"),
    _get("files.content", "/v1/files/{file}/content", file="file"),
    _delete("files.delete", "/v1/files/{file}", file="file"),
]

_SKILL = "/v1/skills/{skill}"
_SKILLS = [
    Route("skills.create", "POST", "/v1/skills", Weigh.OBJECT, Body.STREAM, 32 * MIB, creates="skill"),
    _list("skills", "/v1/skills", "skill"),
    _get("skills.get", _SKILL, skill="skill"),
    _delete("skills.delete", _SKILL, skill="skill"),
    Route("skills.versions.create", "POST", _SKILL + "/versions", Weigh.OBJECT, Body.STREAM, 32 * MIB,
          names={"skill": "skill"}),
    _list("skills.versions", _SKILL + "/versions", None, skill="skill"),
    _get("skills.versions.get", _SKILL + "/versions/{version}", skill="skill"),
    _delete("skills.versions.delete", _SKILL + "/versions/{version}", skill="skill"),
    _get("skills.versions.content", _SKILL + "/versions/{version}/content", skill="skill"),
]  # fmt: skip

_AGENTS = [
    *_object("agents", "/v1/agents", "agent", "update", "archive"),
    _list("agents.versions", "/v1/agents/{agent}/versions", None, agent="agent"),
]

_ENVIRONMENT = "/v1/environments/{environment}"
_WORK = _ENVIRONMENT + "/work/{work}"
_ENVIRONMENTS = [
    *_object("environments", "/v1/environments", "environment", "update", "delete", "archive"),
    _list("environments.work", _ENVIRONMENT + "/work", None, environment="environment"),
    Route("environments.work.poll", "GET", _ENVIRONMENT + "/work/poll", Weigh.OBJECT,
          names={"environment": "environment"}),
    _get("environments.work.stats", _ENVIRONMENT + "/work/stats", environment="environment"),
    _get("environments.work.get", _WORK, environment="environment"),
    _post("environments.work.update", _WORK, environment="environment"),
    _post("environments.work.ack", _WORK + "/ack", environment="environment"),
    _post("environments.work.heartbeat", _WORK + "/heartbeat", environment="environment"),
    _post("environments.work.stop", _WORK + "/stop", environment="environment"),
]  # fmt: skip

_SESSION = "/v1/sessions/{session}"
_SESSIONS = [
    *_object("sessions", "/v1/sessions", "session", "update", "delete", "archive", paging="B2", weigh=Weigh.SESSION),
    _list("sessions.events", _SESSION + "/events", None, session="session"),
    _post("sessions.events.send", _SESSION + "/events", Weigh.SESSION, session="session"),
    _watch("sessions.events.stream", _SESSION + "/events/stream", session="session"),
    _watch("sessions.stream", _SESSION + "/stream", session="session"),  # the path before mid-2026
    _list("sessions.resources", _SESSION + "/resources", None, session="session"),
    _create("sessions.resources", _SESSION + "/resources", None, session="session"),
    _get("sessions.resources.get", _SESSION + "/resources/{resource}", session="session"),
    _post("sessions.resources.update", _SESSION + "/resources/{resource}", session="session"),
    _delete("sessions.resources.delete", _SESSION + "/resources/{resource}", session="session"),
    _list("sessions.threads", _SESSION + "/threads", None, session="session"),
    _get("sessions.threads.get", _SESSION + "/threads/{thread}", session="session"),
    _post("sessions.threads.archive", _SESSION + "/threads/{thread}/archive", session="session"),
    _list("sessions.threads.events", _SESSION + "/threads/{thread}/events", None, session="session"),
    _watch("sessions.threads.stream", _SESSION + "/threads/{thread}/stream", session="session"),
]

_DEPLOYMENTS = [
    *_object("deployments", "/v1/deployments", "deployment", "update", "archive", "pause", "unpause"),
    _post("deployments.run", "/v1/deployments/{deployment}/run", Weigh.SESSION, deployment="deployment"),
    _list("deployment_runs", "/v1/deployment_runs", "deployment_run"),
    _get("deployment_runs.get", "/v1/deployment_runs/{deployment_run}", deployment_run="deployment_run"),
]

_VAULT = "/v1/vaults/{vault}"
_CREDENTIAL = _VAULT + "/credentials/{credential}"
_VAULTS = [
    *_object("vaults", "/v1/vaults", "vault", "update", "delete", "archive"),
    _list("vaults.credentials", _VAULT + "/credentials", None, vault="vault"),
    _create("vaults.credentials", _VAULT + "/credentials", None, vault="vault"),
    _get("vaults.credentials.get", _CREDENTIAL, vault="vault"),
    _post("vaults.credentials.update", _CREDENTIAL, vault="vault"),
    _delete("vaults.credentials.delete", _CREDENTIAL, vault="vault"),
    _post("vaults.credentials.archive", _CREDENTIAL + "/archive", vault="vault"),
    _post("vaults.credentials.validate", _CREDENTIAL + "/mcp_oauth_validate", vault="vault"),
]

_STORE = "/v1/memory_stores/{memory_store}"
_MEMORY_STORES = [
    *_object("memory_stores", "/v1/memory_stores", "memory_store", "update", "delete", "archive"),
    _list("memory_stores.memories", _STORE + "/memories", None, memory_store="memory_store"),
    _create("memory_stores.memories", _STORE + "/memories", None, memory_store="memory_store"),
    _get("memory_stores.memories.get", _STORE + "/memories/{memory}", memory_store="memory_store"),
    _post("memory_stores.memories.update", _STORE + "/memories/{memory}", memory_store="memory_store"),
    _delete("memory_stores.memories.delete", _STORE + "/memories/{memory}", memory_store="memory_store"),
    _list("memory_stores.versions", _STORE + "/memory_versions", None, memory_store="memory_store"),
    _get("memory_stores.versions.get", _STORE + "/memory_versions/{memory_version}", memory_store="memory_store"),
    _post("memory_stores.versions.redact", _STORE + "/memory_versions/{memory_version}/redact",
          memory_store="memory_store"),
]  # fmt: skip

_DREAMS = _object("dreams", "/v1/dreams", "dream", "archive", "cancel", weigh=Weigh.SESSION)

_PROFILE = "/v1/user_profiles/{user_profile}"
_USER_PROFILES = [
    *_object("user_profiles", "/v1/user_profiles", "user_profile", "update", "delete"),
    _post("user_profiles.action_urls", _PROFILE + "/action_urls", user_profile="user_profile"),
    _post("user_profiles.enrollment_url", _PROFILE + "/enrollment_url", user_profile="user_profile"),
]

_WEBHOOKS = _object("webhooks", "/v1/webhooks", "webhook", "delete")

# Claude Code opens its connection with one of these, before it has a key (clients.md). They are answered here.
_HELLO = [
    Route("hello", "HEAD", "/", Weigh.FREE),
    Route("hello", "HEAD", "/api/hello", Weigh.FREE),
    Route("hello", "GET", "/api/hello", Weigh.FREE),
]

_GATEWAY = [
    Route("gateway.limits", "GET", "/gateway/v1/limits", Weigh.FREE),
    Route("gateway.usage", "GET", "/gateway/v1/usage", Weigh.FREE),
]

_ALL = (
    *_INFERENCE, *_MODELS, *_BATCH, *_FILES, *_SKILLS, *_AGENTS, *_ENVIRONMENTS, *_SESSIONS, *_DEPLOYMENTS, *_VAULTS,
    *_MEMORY_STORES, *_DREAMS, *_USER_PROFILES, *_WEBHOOKS, *_HELLO, *_GATEWAY,
)  # fmt: skip

# Which calls begin, feed and end work that goes on after them (ledger protocol, section 8).
_GOES_ON: dict[str, tuple[str, str, str]] = {
    #                        starts        feeds         ends
    "batches.create":       ("batch",      "",           ""),
    "batches.cancel":       ("",           "batch",      ""),
    "batches.delete":       ("",           "",           "batch"),
    "sessions.create":      ("session",    "",           ""),
    "sessions.events.send": ("",           "session",    ""),
    "sessions.archive":     ("",           "session",    ""),
    "sessions.delete":      ("",           "",           "session"),
    "deployments.create":   ("deployment", "",           ""),
    "deployments.update":   ("",           "deployment", ""),
    "deployments.archive":  ("",           "deployment", ""),
    "deployments.run":      ("run",        "",           ""),
    "dreams.create":        ("dream",      "",           ""),
    "dreams.cancel":        ("",           "dream",      ""),
    "dreams.archive":       ("",           "dream",      ""),
}  # fmt: skip


def _going_on(route: Route) -> Route:
    starts, feeds, ends = _GOES_ON.get(route.name, ("", "", ""))
    return replace(route, starts=starts, feeds=feeds, ends=ends)


ROUTES: tuple[Route, ...] = tuple(map(_going_on, _ALL))
