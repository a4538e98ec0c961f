"""Starting the gateway: settings, policy, a first team when there is none, and words that say what was started.

Without a policy file there is one workspace and one team, whose key is drawn on the first start and kept in the state
directory. Without a real key the upstream is the bundled simulator, a process of its own that ends with this one.
"""

import asyncio
import contextlib
import gc
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from pathlib import Path

import structlog
import uvloop

from gateway import logs
from gateway.app import App
from gateway.core.http import Headers
from gateway.policy import Loaded, PolicyFaults, Watch, default_policy, load, load_table
from gateway.prices_file import default_table
from gateway.settings import ENV_FILE, Settings, SettingsFaults, environment, read_settings

_CLAUDE = "https://api.anthropic.com"
_SIMULATED: Headers = [(b"x-gateway-upstream", b"simulator")]
_SIMULATED_KEY = "ws-main-simulated"
_SIMULATOR_STARTS_WITHIN = 20.0
_OWN_KEY = "ANTHROPIC_API_KEY is the gateway's own team key, so it is taken as unset; unset it, or set a real key"


def serve(config: Path | None) -> int:
    """Run until told to stop; the exit code is 0 after a clean end, 2 when it could not start."""
    try:
        settings, warnings = read_settings()
    except SettingsFaults as error:
        print(error, file=sys.stderr)
        return 2
    if config is not None:
        settings = settings.model_copy(update={"config": config})
    log = logs.configure(settings.log_level)
    for warning in warnings:
        log.warning("settings", warning=warning)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, environment(), log))
    except (PolicyFaults, SettingsFaults) as faults:
        print(faults, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"The gateway could not start: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, env: Mapping[str, str], log: structlog.typing.FilteringBoundLogger) -> None:
    async with contextlib.AsyncExitStack() as stack:
        team_key = None
        upstream: str | None = None
        if settings.config is None:
            team_key = first_key(settings.state_dir)
            if env.get("ANTHROPIC_API_KEY") == team_key:
                log.warning("settings", warning=_OWN_KEY)
            if not real_key(env, team_key):
                upstream = await stack.enter_async_context(simulator())
        watch = Watch(lambda: _loaded(settings, team_key, upstream), also=[ENV_FILE])
        loaded = watch.first()
        for notice in loaded.notices:
            log.warning("policy", notice=str(notice))
        app = App.build(settings, loaded.policy, env, log, marks=_SIMULATED if upstream else [])
        await app.start()
        spare_the_collector()
        if team_key is not None:
            print(welcome(settings, app.port, team_key, simulated=upstream is not None), flush=True)
        places = sorted({workspace.base_url for workspace in loaded.policy.workspaces.values()})
        log.info("started", port=app.port, ops_port=app.ops_port, teams=len(loaded.policy.teams), upstream=places)
        await app.run(watch)
        log.info("stopped")


def spare_the_collector() -> None:
    """Keep full collections from stopping every stream.

    One takes 50 ms over the 76,000 objects that start-up made and that live as long as the process; a body of 50,000
    blocks brought two. Such a body is also one generation's work now instead of seventy's.
    """
    gc.freeze()
    gc.set_threshold(10_000)


def _loaded(settings: Settings, team_key: str | None, upstream: str | None) -> Loaded:
    """The policy as its sources say it now: the file's, or the built-in one of a first start."""
    env = environment()
    prices = settings.prices or default_table()
    if settings.config is not None:
        return load(settings.config, env, prices=prices)
    assert team_key is not None
    table, sources = load_table(prices)
    digest = sha256(team_key.encode()).digest()
    base_url = upstream or env.get("ANTHROPIC_BASE_URL", _CLAUDE)
    secret = _SIMULATED_KEY if upstream else real_key(env, team_key)
    return Loaded(default_policy(base_url=base_url, secret=secret, key_digest=digest, prices=table), (), sources)


def real_key(env: Mapping[str, str], team_key: str) -> str:
    """The key of the Claude API in the environment, "" when there is none.

    The welcome tells people to export the team's key under the same name. A gateway started in that shell would take
    itself for Claude and send every request round in a circle.
    """
    key = env.get("ANTHROPIC_API_KEY", "").strip()
    return "" if key == team_key else key


def first_key(state_dir: Path) -> str:
    """The key of the built-in team: drawn once, kept readable by its owner alone."""
    path = state_dir / "team-key"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Written whole under another name and then linked: neither a crash nor a second start can leave half a key.
    draft = state_dir / f"team-key.{secrets.token_hex(8)}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write("gwk_" + secrets.token_urlsafe(32) + "\n")
    with contextlib.suppress(FileExistsError):
        path.hardlink_to(draft)
    draft.unlink()
    return path.read_text().strip()


def welcome(settings: Settings, port: int, key: str, *, simulated: bool) -> str:
    """What a newcomer needs to paste."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - a wildcard is shown as loopback
    scheme = "http" if settings.tls_cert is None else "https"
    url = settings.public_url or f"{scheme}://{host}:{port}"
    upstream = (
        "ANTHROPIC_API_KEY is not set: answers come from the SIMULATOR on this machine, not from Claude."
        if simulated
        else "Requests go to the real Claude API with ANTHROPIC_API_KEY."
    )
    return f"""
The gateway listens on {url}
{upstream}

Try it:

  curl {url}/v1/messages \\
    -H 'x-api-key: {key}' -H 'anthropic-version: 2023-06-01' -H 'content-type: application/json' \\
    -d '{{"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{{"role": "user", "content": "Hello"}}]}}'

Python and TypeScript SDKs, and Claude Code:

  export ANTHROPIC_BASE_URL={url}
  export ANTHROPIC_API_KEY={key}

The key is kept in {settings.state_dir / "team-key"}.
"""


@contextlib.asynccontextmanager
async def simulator() -> AsyncIterator[str]:
    """The bundled simulator as a child process; yields its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway.simulator", "--port", "0", "--with-parent",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_SIMULATOR_STARTS_WITHIN):
            line = (await process.stdout.readline()).decode().strip()
        url = next((word for word in line.split() if word.startswith("http://")), "")
        if not url:
            raise OSError("the simulator did not start")
        yield url
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
