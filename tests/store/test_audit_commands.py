"""`gateway ledger verify|rebuild|accept-empty` as an operator calls them, beside a gateway's ledger or after it."""

import asyncio
import json
from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli import main
from gateway.core.limits import Settlement
from gateway.store.embedded import Embedded
from gateway.store.ledger import Ledger
from tests.servers import Server
from tests.store.conftest import budget, claim
from tests.until import until

DEAR = budget(100)


async def spend(ledger: Ledger, *nanos: int) -> None:
    for nano in nanos:
        one = claim(spends=((DEAR, 0),), model="claude-opus-5")
        await ledger.reserve(one)
        ledger.settle(one.hold, Settlement(3, 2, nano, produced=True, usage={"input": 3, "output": 2}))
    await until(lambda: ledger.health.unconfirmed == 0)


async def run(*arguments: str, given: str = "", **env: str) -> Result:
    """A command line with these settings and no others."""
    runner = CliRunner()
    base = {"GATEWAY_REDIS_URL": None, "GATEWAY_STATE_DIR": None, **env}
    return await asyncio.to_thread(runner.invoke, main, ["ledger", *arguments], input=given, env=base)


async def test_verify_beside_a_running_gateway(redis_ledger, valkey: Server, tmp_path: Path) -> None:
    """Its journals agree with the store; one that is damaged or missing is named, and the exit code tells."""
    ledger = await redis_ledger(tmp_path / "one")
    await spend(ledger, 5, 7, 11)
    journals = tmp_path / "one" / "journal"
    good = await run("verify", str(journals), GATEWAY_REDIS_URL=valkey.url)
    (file,) = journals.glob("*.jsonl")
    shortened = tmp_path / file.name
    shortened.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    short = await run("verify", str(shortened), "--json", GATEWAY_REDIS_URL=valkey.url)
    await spend(ledger, 13)

    assert good.exit_code == 0, good.output
    assert good.output.splitlines()[0].startswith("3 settlements from 20")
    assert good.output.endswith("The store agrees with the files.\n")
    assert short.exit_code == 1
    said = json.loads(short.output)
    assert (said["agrees"], said["settlements"]) == (False, 2)
    assert [(one[2], one[3], one[4]) for one in said["differences"] if one[2] == "nano"] == [("nano", 23, 12)]


async def test_rebuild_after_the_store_was_emptied(redis_ledger, valkey: Server, tmp_path: Path) -> None:
    """What an emptied store lacks is added from the journals, and verify agrees again."""
    ledger = await redis_ledger(tmp_path / "one")
    await spend(ledger, 5, 7)
    await ledger.stop()
    valkey.empty()
    journals = str(tmp_path / "one" / "journal")
    before = await run("verify", journals, GATEWAY_REDIS_URL=valkey.url)
    rebuilt = await run("rebuild", journals, GATEWAY_REDIS_URL=valkey.url)
    after = await run("verify", journals, GATEWAY_REDIS_URL=valkey.url)

    assert (before.exit_code, rebuilt.exit_code, after.exit_code) == (1, 0, 0), before.output + rebuilt.output
    assert "nano: store $0.00, files $0.000000012" in before.output


async def test_embedded_store_serves_one_process(tmp_path: Path) -> None:
    """While the gateway runs its store is told to be in use; afterwards it can be verified."""
    ledger = Embedded(tmp_path)
    await ledger.start()
    await spend(ledger, 5)
    busy = await run("verify", str(tmp_path / "journal"), GATEWAY_STATE_DIR=str(tmp_path))
    await ledger.stop()
    free = await run("verify", str(tmp_path / "journal"), GATEWAY_STATE_DIR=str(tmp_path))

    assert busy.exit_code == 2
    assert "is in use by another gateway" in busy.output
    assert free.exit_code == 0, free.output


def lose(directory: Path) -> None:
    for file in directory.glob("spend*"):
        file.unlink()


async def test_loss_is_accepted(tmp_path: Path) -> None:
    """After a loss `accept-empty` opens the budgets again, when it was confirmed."""
    ledger = Embedded(tmp_path)
    await ledger.start()
    await ledger.stop()
    lose(tmp_path)
    state = {"GATEWAY_STATE_DIR": str(tmp_path)}
    refused = await run("accept-empty", given="n\n", **state)
    accepted = await run("accept-empty", given="y\n", **state)
    again = await run("accept-empty", "--yes", **state)

    assert refused.exit_code == 1
    assert accepted.output.endswith("The loss is accepted.\n"), accepted.output
    assert again.output == "The store had lost nothing; it is as it was.\n"


async def test_store_that_is_away(tmp_path: Path) -> None:
    """A store that does not answer is told as such; the exit code is not the one of a difference."""
    (tmp_path / "w.000001.jsonl").write_text("")
    away = await run("verify", str(tmp_path), GATEWAY_REDIS_URL="redis://127.0.0.1:9/0")

    assert away.exit_code == 2
    assert away.output.startswith("Error: ")
