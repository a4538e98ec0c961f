"""`gateway prices` and `gateway prices explain`: what is charged, shown so that a person can add it up again."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.core.cost import cost
from gateway.core.meter import StreamMeter
from gateway.prices_file import default_table

FILE = """\
prices:
  - models: [m-1]
    until: 2026-10-07
    rates: {input: 2, write_5m: 2.50, write_1h: 4, read: 0.200, output: 10}
    us_percent: 110
    retired: true
  - models: [m-1]
    since: 2026-10-07
    rates: {input: 1, write_5m: 1.25, write_1h: 2, read: 0.1, output: 5}
    tiers: [{above: 200000, input: 2, write_5m: 2.5, write_1h: 4, read: 0.2, output: 10}]
aliases: {m-1-20260101: m-1}
extras:
  web_search_per_1000: 10
  session_hour: 0.08
  code_execution: {hour: 0.05, minimum_seconds: 300, free_hours_per_month: 1550, charged: false}
"""
ANSWER = {
    "model": "m-1-20260101",
    "usage": {
        "input_tokens": 1000, "output_tokens": 200, "cache_read_input_tokens": 3000,
        "server_tool_use": {"web_search_requests": 1},
    },
}  # fmt: skip


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    file = tmp_path / "prices.yaml"
    file.write_text(FILE)
    return file


def run(*arguments: str, given: str = "", **env: str | None) -> Result:
    return CliRunner().invoke(main, ["prices", *arguments], input=given, env={"GATEWAY_PRICES": None, **env})


def test_table_for_people(prices: Path) -> None:
    """Every row with its dates, its tiers and what is special about it, then what is billed beside tokens."""
    assert (
        run("--prices", str(prices)).output
        == """\
dollars per million tokens  input  write 5 m  write 1 h   read  output
m-1                         $2.00      $2.50      $4.00  $0.20  $10.00  until 2026-10-07, us 110%, retired
m-1                         $1.00      $1.25      $2.00  $0.10   $5.00  from 2026-10-07
  prompts above 200,000     $2.00      $2.50      $4.00  $0.20  $10.00

Batches cost 50% where nothing else is said.
web search: $0.01 each
session: $0.08 per hour of running time
code execution: $0.05 per container hour, left to the invoice

m-1-20260101 is m-1
"""
    )


def test_table_for_programs(prices: Path) -> None:
    """The same in nano-dollars per token; GATEWAY_PRICES names the file as it does for the gateway."""
    data = json.loads(run("--json", GATEWAY_PRICES=str(prices)).output)

    assert data["rows"]["m-1"][1]["rates"] == {
        "input": 1000, "write_5m": 1250, "write_1h": 2000, "read": 100, "output": 5000,
    }  # fmt: skip
    assert (data["aliases"], data["extras"]["web_search"]) == ({"m-1-20260101": "m-1"}, 10_000_000)


def test_packaged_table_is_shown_without_a_file() -> None:
    """Every model of the table that comes with the gateway has a row."""
    said = run().output

    assert [model for model in default_table().rows if f"\n{model} " not in said] == []


def test_answer_is_explained(prices: Path, tmp_path: Path) -> None:
    """An answer's cost is told step by step, at the price of its day, with what the cache saved."""
    (tmp_path / "answer.json").write_text(json.dumps(ANSWER))

    said = run("--prices", str(prices), "explain", str(tmp_path / "answer.json"), "--at", "2026-11-01").output

    assert said.splitlines() == [
        "m-1, prices of 2026-11-01",
        "1,000 input tokens of m-1 at $1.00 per million = $0.001",
        "3,000 tokens read from the cache of m-1 at $0.10 per million = $0.0003",
        "200 output tokens of m-1 at $5.00 per million = $0.001",
        "1 web searches at $0.01 each = $0.01",
        "sum $0.0123, booked as $0.0123",
        "the prompt cache saved $0.0027 against plain input",
    ]


@pytest.mark.parametrize(
    ("arguments", "nano"),
    [
        (("--at", "2026-11-01"), 1000 * 1000 + 3000 * 100 + 200 * 5000 + 10_000_000),
        (("--at", "2026-10-01"), 1000 * 2000 + 3000 * 200 + 200 * 10_000 + 10_000_000),
        (("--at", "2026-11-01", "--batch"), (1000 * 1000 + 3000 * 100 + 200 * 5000) // 2 + 10_000_000),
    ],
    ids=["its day", "another day", "batch"],
)
def test_bare_usage_is_explained(prices: Path, arguments: tuple[str, ...], nano: int) -> None:
    """A usage object alone needs the model; the day and the batch discount are said beside it."""
    said = run(
        "--prices", str(prices), "explain", "-", "--model", "m-1", "--json", *arguments,
        given=json.dumps(ANSWER["usage"]),
    )  # fmt: skip

    assert json.loads(said.output)["nano_usd"] == nano


def test_stream_is_explained() -> None:
    """The text of a stream costs what the gateway's meter says of it; a cut one is called an estimate."""
    stream = (
        'event: message_start\ndata: {"type":"message_start","message":{"model":"claude-opus-5",'
        '"usage":{"input_tokens":1000,"output_tokens":1}}}\n\n'
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"%s"}}\n\n' % ("x" * 400)
    )
    meter = StreamMeter()
    meter.feed(stream.encode())
    metered = cost(default_table(), meter.finish(ended="ok"), model="claude-opus-5", when=1.8e9)

    said = run("explain", "-", given=stream).output

    assert metered is not None
    assert (metered.nano, f"booked as ${metered.nano / 1e9:.4f}" in said) == (7_500_000, True)
    assert said.endswith("In the ledger this would be marked as estimated: it was cut before its final usage.\n")


@pytest.mark.parametrize(
    ("given", "arguments", "why"),
    [
        ('{"input_tokens": 1, "output_tokens": 1}', (), "The usage names no model. Say which one was asked for"),
        ('{"input_tokens": 1, "output_tokens": 1}', ("--model", "m-9"), "Model 'm-9' has no price"),
        ("{}", ("--model", "m-1"), "It holds no usage"),
        ('{"usage": {"input_tokens": -1, "output_tokens": 1}}', ("--model", "m-1"), "It holds no usage"),
        ("[1]", (), "It is JSON and no object"),
        ("hello", (), "It is neither JSON nor an event stream"),
    ],
)  # fmt: skip
def test_what_has_no_cost_is_said(prices: Path, given: str, arguments: tuple[str, ...], why: str) -> None:
    """What can't be explained ends with 1 and a sentence, never with a silent zero."""
    said = run("--prices", str(prices), "explain", "-", *arguments, given=given)

    assert (said.exit_code, why in said.output) == (1, True), said.output


def test_faulty_price_file_is_told_with_its_lines(prices: Path) -> None:
    """Every mistake of the file, each with its line."""
    prices.write_text(FILE.replace("write_5m: 2.50", "write_5m: x").replace("0.08", "y"))

    said = run("--prices", str(prices))

    assert said.exit_code == 1
    assert f"{prices}:4: write_5m must be dollars like 12.50, not 'x'" in said.output
    assert f"{prices}:14: session_hour must be dollars like 12.50, not 'y'" in said.output
