"""Process settings from `GATEWAY_*`, also from `.env`: what one process needs to stand up, read once at start.

Who may call what, and with which limits, is policy and stands in the policy file; the two never mix. A real environment
variable wins over `.env`. Every mistake is reported at once, a secret's value in none of them.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from gateway.quantities import duration, size
from gateway.wording import hint, nearest, shown

PREFIX = "GATEWAY_"
ENV_FILE = Path(".env")

# Kubernetes puts the address of each Service of a namespace into every pod; one named `gateway` makes these names.
_SERVICE_LINK = re.compile(r"GATEWAY_(SERVICE_(HOST|PORT.*)|PORT_[0-9]+_(TCP|UDP|SCTP).*)")
_SERVICE_LINK_HINT = "looks like a Kubernetes service link, set enableServiceLinks: false in the pod"
_SHORTEST_TOKEN = 16


def _quantity(read: Callable[[str], float]) -> BeforeValidator:
    return BeforeValidator(lambda value: read(value) if isinstance(value, str) else value)


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False), _quantity(duration)]
Timeout = Annotated[float, Field(gt=0, le=86400, allow_inf_nan=False), _quantity(duration)]
Size = Annotated[int, Field(ge=2**20, le=2**40), _quantity(size)]
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS = get_args(LogLevel)


class SettingsFaults(Exception):
    """What is wrong with the settings, one line each, fit for a terminal."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Settings(BaseSettings):
    """Each field is `GATEWAY_` and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",  # `.env` also holds what is not ours; our own unknown names are reported by `read_settings`
        frozen=True,
        hide_input_in_errors=True,
    )

    config: Path | None = Field(None, description="Policy file; without one, a single team and workspace are built in.")
    prices: Path | None = Field(None, description="Price file; unset means the table that comes with the gateway.")
    host: str = Field("127.0.0.1", min_length=1, description="Address of the API listener.")
    port: Port = Field(8080, description="Port of the API listener; 0 takes a free one.")
    ops_host: str = Field("127.0.0.1", min_length=1, description="Address of the ops listener.")
    ops_port: Port = Field(9090, description="Port of the ops listener; 0 takes a free one.")
    public_url: str | None = Field(None, description="The URL clients reach, for links in answers such as results_url.")
    redis_url: SecretStr | None = Field(
        None, description="Shared store; unset means the embedded store of one process."
    )
    redis_namespace: str = Field(
        "gw", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="Prefix and hash tag of all keys of this installation."
    )
    store_timeout_ms: int = Field(50, ge=1, le=60000, description="Longest wait for one call to the store.")
    state_dir: Path = Field(Path(".state"), description="Where journals, the embedded store and first keys are kept.")
    workers: int = Field(1, ge=1, le=256, description="Processes that serve the API; more than one needs Redis.")
    admin_token: SecretStr | None = Field(None, description="Bearer token of the admin API, named 'env', may write.")
    log_level: LogLevel = Field("info", description="debug, info, warning or error; bodies are never logged.")
    drain_seconds: Seconds = Field(600.0, description="How long running requests may finish after SIGTERM.")
    drain_delay_seconds: Seconds = Field(5.0, description="How long to go on accepting after SIGTERM, while unready.")
    max_buffered_bytes: Size = Field(512 * 2**20, description="Cap on request bytes held in memory at once.")
    session_streams: int = Field(
        100, ge=1, le=100000, description="Session event streams that one team may hold open at one process."
    )
    tls_cert: Path | None = Field(None, description="PEM certificate chain for both listeners.")
    tls_key: Path | None = Field(None, description="PEM private key that belongs to GATEWAY_TLS_CERT.")
    head_seconds: Timeout = Field(10.0, description="Longest wait for a client's request head.")
    body_idle_seconds: Timeout = Field(60.0, description="Longest silence within a client's request body.")
    connect_seconds: Timeout = Field(10.0, description="Longest wait for a connection to Claude, TLS included.")
    first_byte_seconds: Timeout = Field(600.0, description="Longest wait for the head of Claude's answer.")
    idle_seconds: Timeout = Field(600.0, description="Longest silence within Claude's answer.")
    upstream_connections: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Most connections to one address of Claude; further requests wait.",
    )
    upstream_connection_seconds: Timeout = Field(
        300.0, description="Age from which a connection to Claude is not used again; a new one asks DNS anew."
    )

    @field_validator("port", "ops_port", mode="before")
    @classmethod
    def _no_service_link(cls, value: Any) -> Any:
        if isinstance(value, str) and "://" in value:
            raise ValueError(f"must be a port; this {_SERVICE_LINK_HINT}")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be a URL such as https://claude.example.com")
        return value.rstrip("/")

    @field_validator("redis_url")
    @classmethod
    def _store_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(
            r"(redis|valkey|rediss|valkeys|unix)[a-z+]*://.", value.get_secret_value()
        ):
            raise ValueError("must be a URL such as redis://host:6379/0 or rediss://user:password@host:6380")
        return value

    @model_validator(mode="after")
    def _hold_together(self) -> "Settings":
        if self.workers > 1 and self.redis_url is None:
            raise ValueError(
                f"GATEWAY_WORKERS: {self.workers} workers need a shared store; set GATEWAY_REDIS_URL, or use 1 worker"
            )
        if (self.tls_cert is None) != (self.tls_key is None):
            given, other = ("CERT", "key") if self.tls_key is None else ("KEY", "certificate")
            raise ValueError(
                f"GATEWAY_TLS_{given}: has no {other}; set GATEWAY_TLS_CERT and GATEWAY_TLS_KEY, or neither"
            )
        if self.port and self.port == self.ops_port and self.host == self.ops_host:
            raise ValueError(
                f"GATEWAY_OPS_PORT: both listeners want port {self.port}; give GATEWAY_OPS_PORT another one"
            )
        return self


def environment(env_file: Path | None = ENV_FILE) -> dict[str, str]:
    """The process's variables over those of `.env`: what the settings and `${env:NAME}` in the policy file both see."""
    written = {} if env_file is None else dotenv_values(env_file)
    return {name: value for name, value in written.items() if value is not None} | dict(os.environ)


def read_settings(env_file: Path | None = ENV_FILE) -> tuple[Settings, list[str]]:
    """The settings and what is odd about them, or `SettingsFaults` with everything that is wrong."""
    try:
        env = {name: value for name, value in environment(env_file).items() if name.startswith(PREFIX)}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsFaults(
            [f"{env_file}: can't be read: {getattr(error, 'strerror', 'it is not UTF-8 text')}"]
        ) from None
    make: Callable[..., Settings] = Settings  # mypy takes the fields for all there is
    try:
        settings = make(_env_file=env_file)
    except ValidationError as error:
        raise SettingsFaults([_fault(dict(item), env) for item in error.errors(include_url=False)]) from None
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    warnings = [_unknown(name, known) for name in env if name not in known]
    token = settings.admin_token
    if token is not None and len(token.get_secret_value()) < _SHORTEST_TOKEN:
        warnings.append(f"GATEWAY_ADMIN_TOKEN: shorter than {_SHORTEST_TOKEN} characters; use a long random one")
    return settings, warnings


def _unknown(name: str, known: set[str]) -> str:
    if _SERVICE_LINK.fullmatch(name):
        return f"{name}: no such setting, it is ignored; it {_SERVICE_LINK_HINT}"
    meant = nearest(name.removeprefix(PREFIX), [field.removeprefix(PREFIX) for field in known])
    near = f"; did you mean '{PREFIX}{meant}'?" if meant else "; see docs/settings.md for all of them"
    return f"{name}: no such setting, it is ignored{near}"


# Our words for pydantic's error types. No row names the input: a value is shown by `_fault` alone, and only when the
# field is no secret.
_MESSAGES = {
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "must be 1 to 64 letters, digits, dots, dashes or underscores",
}


def _fault(item: dict[str, Any], env: Mapping[str, str]) -> str:
    context = item.get("ctx", {})
    message = (
        str(context["error"]) if "error" in context else _MESSAGES.get(item["type"], item["msg"]).format(**context)
    )
    if not item["loc"]:  # a rule over several settings names them itself
        return message
    field = str(item["loc"][0])
    name = PREFIX + field.upper()
    if "Secret" in str(Settings.model_fields[field].annotation):
        return f"{name}: {message}"
    value = env.get(name, "")
    return f"{name}: {message}, not {shown(value)}" + hint(value, LOG_LEVELS if field == "log_level" else ())
