"""Settings from `GATEWAY_*` and `.env`: their defaults, what they accept, and what is said of a mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsFaults, environment, read_settings

SERVICE_LINK = "looks like a Kubernetes service link, set enableServiceLinks: false in the pod"
DURATION = "must be a number of seconds or a duration such as 500ms, 90s, 10m or 2h"

DEFAULTS = {
    "config": None,
    "prices": None,
    "host": "127.0.0.1",
    "port": 8080,
    "ops_host": "127.0.0.1",
    "ops_port": 9090,
    "public_url": None,
    "redis_url": None,
    "redis_namespace": "gw",
    "store_timeout_ms": 50,
    "state_dir": Path(".state"),
    "workers": 1,
    "admin_token": None,
    "log_level": "info",
    "drain_seconds": 600.0,
    "drain_delay_seconds": 5.0,
    "max_buffered_bytes": 512 * 2**20,
    "session_streams": 100,
    "tls_cert": None,
    "tls_key": None,
    "head_seconds": 10.0,
    "body_idle_seconds": 60.0,
    "connect_seconds": 10.0,
    "first_byte_seconds": 600.0,
    "idle_seconds": 600.0,
    "upstream_connections": 1000,
    "upstream_connection_seconds": 300.0,
}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the shell the tests run in, and a folder without `.env`."""
    for name in os.environ:
        if name.upper().startswith("GATEWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_defaults() -> None:
    """Without any variable the settings are those of the documentation, and nothing is odd."""
    settings, warnings = read_settings()

    assert DEFAULTS == settings.model_dump()
    assert [] == warnings


def test_every_setting_is_described() -> None:
    """Each setting has a sentence of one line for the documentation."""
    assert [] == [
        name
        for name, field in Settings.model_fields.items()
        if not (field.description or "").endswith(".") or "\n" in (field.description or "")
    ]


@pytest.mark.parametrize(
    ("name", "written", "expected"),
    [
        ("config", "policy.yaml", Path("policy.yaml")),
        ("port", "0", 0),
        ("public_url", "https://claude.example.com/", "https://claude.example.com"),
        ("log_level", "WARNING", "warning"),
        ("drain_seconds", "10m", 600.0),
        ("drain_delay_seconds", "0", 0.0),
        ("max_buffered_bytes", "64MiB", 64 * 2**20),
        ("head_seconds", "500ms", 0.5),
        ("idle_seconds", "90", 90.0),
        ("port", "", 8080),
    ],
)
def test_values(monkeypatch: pytest.MonkeyPatch, name: str, written: str, expected: object) -> None:
    """Sizes and durations are written as people write them; an empty variable is one that is not set."""
    monkeypatch.setenv(f"GATEWAY_{name.upper()}", written)

    assert DEFAULTS | {name: expected} == read_settings()[0].model_dump()


@pytest.mark.parametrize(
    ("variables", "faults"),
    [
        ({"PORT": "80a"}, ["GATEWAY_PORT: must be a whole number, not '80a'"]),
        ({"PORT": "65536"}, ["GATEWAY_PORT: must be at most 65535, not '65536'"]),
        (
            {"PORT": "tcp://10.0.0.1:8080"},
            [f"GATEWAY_PORT: must be a port; this {SERVICE_LINK}, not 'tcp://10.0.0.1:8080'"],
        ),
        ({"LOG_LEVEL": "warn"}, ["GATEWAY_LOG_LEVEL: must be 'debug', 'info', 'warning' or 'error', not 'warn'"]),
        (
            {"LOG_LEVEL": "inf"},
            ["GATEWAY_LOG_LEVEL: must be 'debug', 'info', 'warning' or 'error', not 'inf'; did you mean 'info'?"],
        ),
        ({"CONNECT_SECONDS": "0"}, ["GATEWAY_CONNECT_SECONDS: must be more than 0.0, not '0'"]),
        ({"DRAIN_SECONDS": "-1"}, [f"GATEWAY_DRAIN_SECONDS: {DURATION}, not '-1'"]),
        ({"MAX_BUFFERED_BYTES": "1KiB"}, ["GATEWAY_MAX_BUFFERED_BYTES: must be at least 1048576, not '1KiB'"]),
        (
            {"PUBLIC_URL": "claude.example"},
            ["GATEWAY_PUBLIC_URL: must be a URL such as https://claude.example.com, not 'claude.example'"],
        ),
        (
            {"REDIS_NAMESPACE": "a{b}"},
            ["GATEWAY_REDIS_NAMESPACE: must be 1 to 64 letters, digits, dots, dashes or underscores, not 'a{b}'"],
        ),
        (
            {"WORKERS": "2"},
            ["GATEWAY_WORKERS: 2 workers need a shared store; set GATEWAY_REDIS_URL, or use 1 worker"],
        ),
        ({"TLS_CERT": "c.pem"}, ["GATEWAY_TLS_CERT: has no key; set GATEWAY_TLS_CERT and GATEWAY_TLS_KEY, or neither"]),
        (
            {"TLS_KEY": "k.pem"},
            ["GATEWAY_TLS_KEY: has no certificate; set GATEWAY_TLS_CERT and GATEWAY_TLS_KEY, or neither"],
        ),
        ({"OPS_PORT": "8080"}, ["GATEWAY_OPS_PORT: both listeners want port 8080; give GATEWAY_OPS_PORT another one"]),
        (
            {"PORT": "x", "WORKERS": "0", "STORE_TIMEOUT_MS": "fast"},
            [
                "GATEWAY_PORT: must be a whole number, not 'x'",
                "GATEWAY_STORE_TIMEOUT_MS: must be a whole number, not 'fast'",
                "GATEWAY_WORKERS: must be at least 1, not '0'",
            ],
        ),
    ],
)
def test_mistakes(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], faults: list[str]) -> None:
    """A value that can't be meant is refused with its name, what it must be and what it is; all of them at once."""
    for name, value in variables.items():
        monkeypatch.setenv(f"GATEWAY_{name}", value)

    with pytest.raises(SettingsFaults) as caught:
        read_settings()

    assert faults == sorted(caught.value.faults)


def test_several_workers_with_a_shared_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Redis there may be as many workers as wanted."""
    monkeypatch.setenv("GATEWAY_WORKERS", "4")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://127.0.0.1:6379/0")

    assert 4 == read_settings()[0].workers


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("GATEWAY_REDIS_ULR", "GATEWAY_REDIS_ULR: no such setting, it is ignored; did you mean 'GATEWAY_REDIS_URL'?"),
        ("GATEWAY_COLOUR", "GATEWAY_COLOUR: no such setting, it is ignored; see docs/settings.md for all of them"),
        (
            "GATEWAY_SERVICE_HOST",
            f"GATEWAY_SERVICE_HOST: no such setting, it is ignored; it {SERVICE_LINK}",
        ),
        (
            "GATEWAY_PORT_8080_TCP_ADDR",
            f"GATEWAY_PORT_8080_TCP_ADDR: no such setting, it is ignored; it {SERVICE_LINK}",
        ),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_misspelt_name_is_reported(monkeypatch: pytest.MonkeyPatch, place: str, name: str, warning: str) -> None:
    """A variable that nothing reads is said, wherever it stands; another release's variable does not stop a start."""
    if place == "environment":
        monkeypatch.setenv(name, "redis://:hunter2@host")
    else:
        Path(".env").write_text(f"{name}=redis://:hunter2@host\n")

    assert [warning] == read_settings()[1]


def test_a_short_admin_token_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that can be guessed is said, without saying it."""
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "hunter2")

    assert ["GATEWAY_ADMIN_TOKEN: shorter than 16 characters; use a long random one"] == read_settings()[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [("ADMIN_TOKEN", "hunter2"), ("REDIS_URL", "redis://:hunter2@host"), ("REDIS_URL", "http://:hunter2@host")],
)
def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """A secret stands in no repr, warning or fault."""
    monkeypatch.setenv(f"GATEWAY_{name}", value)
    try:
        outcome = repr(read_settings())
    except SettingsFaults as faults:
        outcome = repr(faults) + str(faults)

    assert name.lower() in outcome.lower()
    assert "hunter2" not in outcome


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`.env` fills in what the process was not given, for the settings and for the policy's references alike."""
    Path(".env").write_text('GATEWAY_PORT=1111\nGATEWAY_OPS_PORT=2222\nANTHROPIC_API_KEY="sk-file"\n# nothing\nEMPTY\n')
    monkeypatch.setenv("GATEWAY_PORT", "3333")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    settings, warnings = read_settings()
    env = environment()

    assert (3333, 2222, []) == (settings.port, settings.ops_port, warnings)
    assert ("3333", "2222", "sk-file", False) == (
        env["GATEWAY_PORT"],
        env["GATEWAY_OPS_PORT"],
        env["ANTHROPIC_API_KEY"],
        "EMPTY" in env,
    )


def test_the_file_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that changes in `.env` is there the next time the environment is asked."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    Path(".env").write_text("ANTHROPIC_API_KEY=sk-one\n")
    first = environment()["ANTHROPIC_API_KEY"]
    Path(".env").write_text("ANTHROPIC_API_KEY=sk-two\n")

    assert ("sk-one", "sk-two") == (first, environment()["ANTHROPIC_API_KEY"])


@pytest.mark.parametrize(
    ("content", "fault"),
    [(b"GATEWAY_PORT=\xff\n", ".env: can't be read: it is not UTF-8 text")],
)
def test_a_file_that_is_no_text(content: bytes, fault: str) -> None:
    """A `.env` that can't be read is a fault like any other."""
    Path(".env").write_bytes(content)

    with pytest.raises(SettingsFaults) as caught:
        read_settings()

    assert [fault] == caught.value.faults


def test_the_policy_does_not_pay_for_pydantic() -> None:
    """Loading a policy imports no pydantic, and the settings import none of the libraries of the wire."""
    script = "import sys, {0}; print(sorted({{'pydantic', 'aiohttp', 'redis'}} & set(sys.modules)))"
    run = [
        subprocess.run(
            [sys.executable, "-c", script.format(module)],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for module in ("gateway.policy", "gateway.settings")
    ]

    assert ["[]", "['pydantic']"] == run
