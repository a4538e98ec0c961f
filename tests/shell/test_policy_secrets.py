"""No secret leaves the loader by a message or a repr, and no file however broken gets anything but faults."""

import re
import traceback
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.prices import Price, PriceTable, Rates
from gateway.policy import Loaded, PolicyFaults, check, load
from gateway.wording import scrubbed, shown

REAL = "sk-ant-api03-PLANTED-real-key-0123456789"
TEAM_KEY = "gwk_PLANTED0123456789abcdef0123456789abcdef0123456789"
HOOK = "PLANTEDhooktoken0123456789"
PLANTED = (REAL, TEAM_KEY, HOOK)
ENV = {"REAL_KEY": REAL, "HOOK": HOOK}

GOOD = f"""\
workspaces:
  main:
    platform: claude
    base_url: https://api.anthropic.com
    keys: [{{name: k1, secret: "${{env:REAL_KEY}}"}}, {{name: k2, secret: "${{file:k2}}"}}]
    limits: [{{models: "*", requests_per_minute: 4000}}]
    failover: [spare]
    retry_budget: 0.25
    isolation: owned
  spare: {{keys: [{{name: k1, secret: "${{env:REAL_KEY}}"}}]}}
teams:
  search: &search
    workspace: main
    keys: [{{name: prod, sha256: "{sha256(TEAM_KEY.encode()).hexdigest()}", expires: 2027-01-31}}]
    limits: [{{requests_per_minute: 600, burst_seconds: 90, max_wait_seconds: 0, shadow: false}}]
    budgets: [{{usd: 500, per: month, time_zone: UTC, mode: warn, hold: expected}}]
    models: [claude-*]
    on_disconnect: cancel
    precount: adaptive
    store_down: open
    unpriced_models: {{charge_as: claude-opus-4-8}}
    failover: true
    stored_objects: 10000
    stored_bytes: 50GiB
  ads: {{<<: *search, keys: []}}
admin_tokens: [{{name: ops, sha256: "{sha256(b"ops").hexdigest()}", role: write}}]
alerts: {{webhook: "https://hooks.example.com/${{env:HOOK}}"}}
"""
PRICES = PriceTable({"claude-opus-4-8": (Price("claude-opus-4-8", Rates(5, 6, 10, 1, 25)),)})
LINES = GOOD.splitlines()
WORDS = sorted(set(re.findall(r"[A-Za-z0-9_*/:.&<${}-]+", GOOD)))


def attempt(folder: Path, content: bytes) -> Loaded | PolicyFaults:
    """What loading gives; any exception but `PolicyFaults` is a failed test."""
    (folder / "k2").write_text(REAL + "\n")
    file = folder / "gateway.yaml"
    file.write_bytes(content)
    try:
        return load(file, ENV, prices=PRICES, now=1_780_000_000.0)
    except PolicyFaults as faults:
        return faults


def said(outcome: Loaded | PolicyFaults, folder: Path) -> str:
    """All that could reach a log or a terminal."""
    if isinstance(outcome, PolicyFaults):
        return "".join(traceback.format_exception(outcome)) + repr(outcome) + repr(outcome.faults)
    report = check(folder / "gateway.yaml", ENV, now=1_780_000_000.0)
    return repr(outcome) + "".join(map(str, outcome.notices)) + "".join(report.lines) + repr(report.data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("policy")


def test_a_sound_policy_shows_no_secret(folder: Path) -> None:
    """Neither the policy's repr nor the notices nor the check's report hold what the references stand for."""
    outcome = attempt(folder, GOOD.encode())

    assert isinstance(outcome, Loaded)
    assert REAL == outcome.policy.workspaces["main"].keys[1].secret
    assert [] == [secret for secret in PLANTED if secret in said(outcome, folder)]


@given(data=st.data(), secret=st.sampled_from([REAL, TEAM_KEY]))
@settings(deadline=None, max_examples=150)
def test_a_secret_in_the_wrong_place_is_not_repeated(folder: Path, data: st.DataObject, secret: str) -> None:
    """A real key or a team's key pasted over any word, as a name, a value, a tag or an alias, is in no message."""
    word = data.draw(st.sampled_from(WORDS))
    places = [found.start() for found in re.finditer(re.escape(word), GOOD)]
    start = data.draw(st.sampled_from(places))
    pasted = data.draw(
        st.sampled_from(["{}", '"{}"', "'{}", "!{} x", "*{}", "&{} x", "%{}", "{}: ", "[{}", "${{env:{}}}"])
    )
    text = GOOD[:start] + pasted.format(secret) + GOOD[start + len(word) :]

    assert secret not in said(attempt(folder, text.encode()), folder)


@given(data=st.data())
@settings(deadline=None, max_examples=300)
def test_broken_files_give_faults_and_nothing_else(folder: Path, data: st.DataObject) -> None:
    """Any damage to a sound file, to its bytes, words or lines, ends in a policy or in faults within the file."""
    content = bytearray(GOOD.encode())
    for _ in range(data.draw(st.integers(1, 4))):
        how = data.draw(st.sampled_from(["bytes", "word", "line", "cut"]))
        at = data.draw(st.integers(0, len(content)))
        if how == "bytes":
            content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        elif how == "word":
            content[at : at + data.draw(st.integers(0, 9))] = data.draw(
                st.sampled_from(WORDS)
                | st.sampled_from(["- ", "? ", ": ", "{", "]", "\n", "\t", "|", ">-", "~", "!!set "])
            ).encode()
        elif how == "line":
            content[at:at] = b"\n" + data.draw(st.sampled_from(LINES)).encode() + b"\n"
        else:
            del content[at:]

    outcome = attempt(folder, bytes(content))

    if isinstance(outcome, PolicyFaults):
        lines = bytes(content).decode("utf-8", "replace").splitlines()
        assert outcome.faults
        assert [] == [fault for fault in outcome.faults if not 0 <= fault.line <= len(lines) + 1 or not fault.message]
    assert [] == [secret for secret in PLANTED if secret in said(outcome, folder)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("claude-opus-4-8", "'claude-opus-4-8'"),
        ("requests_per_minute", "'requests_per_minute'"),
        ("sk-ant-1", "(a text of 8 characters, not shown)"),
        ("gwk_1", "(a text of 5 characters, not shown)"),
        ("https://user:pw@host", "(a text of 20 characters, not shown)"),
        ("Zm9vYmFyYmF6cXV4MTIz", "(a text of 20 characters, not shown)"),
        ("x" * 49, "(a text of 49 characters, not shown)"),
        ("a\x1b[2J", "(a text of 5 characters, not shown)"),
    ],
)
def test_what_is_shown_of_a_text(text: str, expected: str) -> None:
    """Words people write are quoted; what may be a secret, floods the line or moves the cursor is not."""
    assert expected == shown(text)
    assert f"unknown thing {expected}" == scrubbed(f"unknown thing '{text}'")
