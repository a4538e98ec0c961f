"""What Claude Code does in print mode, by probe: the native binary, offline, with an empty home and a fixed folder.

usage: python -S -m tests.conformance.clients.claude_code BINARY SCRATCH_DIRECTORY
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.conformance.clients.forward import forwarding
from tests.conformance.clients.serve import serve

BINARY = Path(sys.argv[1]) if len(sys.argv) > 2 else Path()
SCRATCH = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()
MODEL = "claude-sonnet-5-5"
QUIET = {
    "DISABLE_TELEMETRY": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_AUTOUPDATER": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "1",
    "HTTPS_PROXY": "http://127.0.0.1:9",  # nobody serves it: whatever it still wants from elsewhere ends here
    "NO_PROXY": "127.0.0.1",
    "IS_SANDBOX": "1",  # it refuses to skip permissions as root outside of one
}


def command(prompt: str, *options: str) -> list[str]:
    return [str(BINARY), "--print", prompt, "--model", MODEL, *options]


def environment(base_url: str, **more: str) -> dict[str, str]:
    """The home and the working folder are made anew under the same names: their paths are part of the prompt."""
    for folder in ("home", "work"):
        shutil.rmtree(SCRATCH / folder, ignore_errors=True)
        (SCRATCH / folder).mkdir(parents=True)
    (SCRATCH / "work" / "note.txt").write_text("The word is heron.\n")
    return {"PATH": os.environ["PATH"], "HOME": str(SCRATCH / "home"), "ANTHROPIC_BASE_URL": base_url, **QUIET, **more}


def answered(prompt: str, *options: str, given: dict[str, str]) -> Any:
    """A run that has to go well: two equal failures would prove nothing."""
    seen = run(prompt, *options, given=given)
    if seen["is_error"] or seen["exit"] != 0:
        raise AssertionError(f"Claude Code failed: {seen}")
    return seen


def run(prompt: str, *options: str, given: dict[str, str]) -> Any:
    done = subprocess.run(
        command(prompt, "--output-format", "json", *options),
        env=given,
        cwd=SCRATCH / "work",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=45,
        check=False,
    )
    try:
        result = json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"no JSON from Claude Code: {done.stdout[-2000:]!r} {done.stderr[-2000:]!r}") from None
    return {"exit": done.returncode, **told(result)}


def told(result: dict[str, Any]) -> dict[str, Any]:
    """What it tells of its work; durations, its own session id and its own price list are left out."""
    told = ("subtype", "is_error", "result", "api_error_status", "terminal_reason", "stop_reason", "num_turns", "usage")
    return {name: result.get(name) for name in (*told, "permission_denials")}


def prints(base_url: str, key: str) -> Any:
    """By bearer token and by API key."""
    return {
        "bearer": answered("Say hello.", given=environment(base_url, ANTHROPIC_AUTH_TOKEN=key)),
        "x-api-key": answered("Say hello.", given=environment(base_url, ANTHROPIC_API_KEY=key)),
    }


def both_headers(base_url: str, key: str) -> Any:
    """A key helper's answer goes out in both headers at once."""
    settings = json.dumps({"apiKeyHelper": f"echo {key}"})
    return answered("Say hello.", "--settings", settings, given=environment(base_url))


def first_contact(base_url: str, key: str) -> Any:
    """The start of one that is told to look for models: it reads their list before its first message."""
    given = environment(base_url, ANTHROPIC_AUTH_TOKEN=key, CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY="1")
    return answered("Say hello.", given=given | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": ""})


def tools(base_url: str, key: str) -> Any:
    """A tool is called, run on this machine, and its result sent back."""
    given = environment(base_url, ANTHROPIC_AUTH_TOKEN=key)
    seen = answered("Look. [[simulate tool=Read]]", "--allowedTools", "Read", given=given)
    if seen["num_turns"] != 2:
        raise AssertionError(f"no tool was called: {seen}")
    return seen


def stream(base_url: str, key: str) -> Any:
    """The stream's own events, as it passes them on."""
    options = ("--output-format", "stream-json", "--verbose", "--include-partial-messages")
    done = subprocess.run(
        command("Say hello.", *options),
        env=environment(base_url, ANTHROPIC_AUTH_TOKEN=key),
        cwd=SCRATCH / "work",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=45,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        "exit": done.returncode,
        "kinds": [line["type"] for line in lines if line["type"] != "system"],
        "events": [line["event"] for line in lines if line["type"] == "stream_event"],
        "result": told(lines[-1]),
    }


def gzipped(base_url: str, key: str) -> Any:
    """Bodies are gzipped only on the way to Claude's own host: here through a forward proxy that leads elsewhere."""
    with forwarding(base_url) as proxy:
        given = environment("http://api.anthropic.com", ANTHROPIC_AUTH_TOKEN=key, HTTPS_PROXY=proxy.url)
        seen = answered("Say hello.", given=given | {"CLAUDE_CODE_GZIP_REQUEST_BODIES": "1"})
    # Its prompts to Claude's own host carry random ids, so their size is no fact to compare.
    return {"result": seen["result"], "encodings": proxy.encodings}


def refusals_told(base_url: str, key: str, fault: str) -> Any:
    """How a refusal is told to its user."""
    header = f"x-simulator-fault: {fault}"
    return run("Say hello.", given=environment(base_url, ANTHROPIC_AUTH_TOKEN=key, ANTHROPIC_CUSTOM_HEADERS=header))


def left_midway(base_url: str, key: str) -> Any:
    """Its user stops it after the first words."""
    given = environment(
        base_url, ANTHROPIC_AUTH_TOKEN=key, ANTHROPIC_CUSTOM_HEADERS="x-simulator-fault: slow_drip=0.05"
    )
    options = ("--output-format", "stream-json", "--verbose", "--include-partial-messages")
    process = subprocess.Popen(
        command("Write. [[simulate output=4000]]", *options),
        env=given,
        cwd=SCRATCH / "work",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            said = json.loads(line)
            if said["type"] == "stream_event" and said["event"]["type"] == "content_block_delta":
                return said["event"]["type"]
        return "ended"
    finally:
        process.terminate()
        process.communicate()


PROBES = {
    probe.__name__: probe
    for probe in (prints, both_headers, first_contact, tools, stream, gzipped, refusals_told, left_midway)
}

if __name__ == "__main__":
    version = subprocess.run(
        [BINARY, "--version"], capture_output=True, text=True, check=True, env=environment("")
    ).stdout
    serve(version.split()[0], PROBES)
