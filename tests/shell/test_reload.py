"""Following the files of a policy: every change is noticed, none is half applied, the watch outlives every mistake."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Loaded, Outcome, PolicyFaults, Watch, load, load_table
from gateway.policy.watch import Settling
from gateway.prices_file import default_path, default_table
from gateway.settings import environment

ROOT = Path(__file__).parents[2]
PATIENCE = 20.0  # seconds, for a machine that is busy; a change takes two polls of 10 ms

POLICY = 'workspaces: {main: {keys: [{name: k1, secret: "${file:secrets/k1}"}]}}\nteams: {search: {workspace: main}}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "k1").write_text("sk-one\n")
    (tmp_path / "gateway.yaml").write_text(POLICY)
    return tmp_path


Next = Callable[[], Awaitable[Outcome]]


@asynccontextmanager
async def following(watch: Watch) -> AsyncIterator[Next]:
    """The watch at work; each call waits for its next outcome."""
    watch.first()
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    task = asyncio.create_task(watch.run(outcomes.put_nowait))
    try:
        yield lambda: asyncio.wait_for(outcomes.get(), PATIENCE)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def watch_of(file: Path, **options) -> Watch:
    return Watch(lambda: load(file, {}), poll=0.01, **options)


def secret(outcome: Outcome) -> str:
    assert isinstance(outcome, Loaded), outcome
    return outcome.policy.workspaces["main"].keys[0].secret


def teams(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, Loaded), outcome
    return list(outcome.policy.teams)


def messages(outcome: Outcome) -> list[str]:
    assert isinstance(outcome, PolicyFaults), outcome
    return [fault.message for fault in outcome.faults]


def replace(file: Path, text: str) -> None:
    """As editors and configuration tools do: a new file takes the old one's name."""
    other = file.with_name(file.name + ".new")
    other.write_text(text)
    other.replace(file)


def publish(mount: Path, version: str, files: dict[str, str]) -> None:
    """As Kubernetes updates a mounted ConfigMap or Secret: a new folder, then one rename of the link `..data`."""
    (mount / version).mkdir()
    for name, text in files.items():
        (mount / version / name).write_text(text)
        if not (mount / name).is_symlink():
            (mount / name).symlink_to(f"..data/{name}")
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").replace(mount / "..data")


async def test_a_new_secret_in_its_file_is_taken(folder: Path) -> None:
    """A real key rotates by a change of its file alone."""
    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        (folder / "secrets" / "k1").write_text("sk-two\n")

        assert "sk-two" == secret(await outcome())


async def test_a_replaced_policy_file_is_taken(folder: Path) -> None:
    """A change of the policy file makes a new policy, as often as it happens."""
    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        for name in ("ads", "maps"):
            replace(folder / "gateway.yaml", POLICY.replace("search", name))

            assert [name] == teams(await outcome())


async def test_a_change_that_leaves_size_and_time_alone_is_noticed(folder: Path) -> None:
    """What counts is the content: no file system's clock and no tool that keeps times can hide a change."""
    file = folder / "secrets" / "k1"
    before = file.stat()
    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        file.write_text("sk-two\n")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert "sk-two" == secret(await outcome())


async def test_folders_swapped_by_kubernetes(tmp_path: Path) -> None:
    """A mounted ConfigMap and a mounted Secret are followed through the swap of `..data`."""
    config, secrets = tmp_path / "config", tmp_path / "secrets"
    config.mkdir()
    secrets.mkdir()
    publish(config, "..2026_11_20_1", {"gateway.yaml": POLICY.replace("secrets/k1", str(secrets / "k1"))})
    publish(secrets, "..2026_11_20_1", {"k1": "sk-one"})
    async with following(watch_of(config / "gateway.yaml")) as outcome:
        publish(secrets, "..2026_11_20_2", {"k1": "sk-two"})
        rotated = await outcome()
        publish(
            config, "..2026_11_20_2", {"gateway.yaml": (config / "gateway.yaml").read_text().replace("search", "ads")}
        )
        changed = await outcome()

        assert ("sk-two", ["search"]) == (secret(rotated), teams(rotated))
        assert ("sk-two", ["ads"]) == (secret(changed), teams(changed))


async def test_a_faulty_file_is_reported_once_and_its_repair_taken(folder: Path) -> None:
    """Faults are handed over for the log; the next thing heard is the repair."""
    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        replace(folder / "gateway.yaml", POLICY.replace("teams", "taems"))
        faulty = await outcome()
        await asyncio.sleep(0.1)  # ten polls in which nothing must be said again
        replace(folder / "gateway.yaml", POLICY.replace("search", "ads"))
        repaired = await outcome()

        assert ["unknown key 'taems'; did you mean 'teams'?"] == messages(faulty)
        assert ["ads"] == teams(repaired)


async def test_a_removed_file_is_a_fault_until_it_is_back(folder: Path) -> None:
    """Neither the policy file nor a secret can vanish unnoticed, and both may come back."""
    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        for name in ("gateway.yaml", "secrets/k1"):
            kept = (folder / name).read_text()
            (folder / name).unlink()
            gone = messages(await outcome())
            (folder / name).write_text(kept)

            assert "No such file or directory" in gone[0]
            assert "sk-one" == secret(await outcome())


async def test_a_secret_that_comes_after_the_policy_that_names_it(folder: Path) -> None:
    """A policy that failed for a missing secret is loaded when the secret appears; its own file need not change."""
    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        replace(folder / "gateway.yaml", POLICY.replace("secrets/k1", "secrets/k2"))
        assert "the file 'secrets/k2' can't be read: No such file or directory" in messages(await outcome())
        (folder / "secrets" / "k2").write_text("sk-two")

        assert "sk-two" == secret(await outcome())


async def test_other_files_are_followed_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in `.env` rotates like one in a file, when `.env` is named to the watch; it may not exist at first."""
    monkeypatch.delenv("ROTATING_KEY", raising=False)
    (folder / "gateway.yaml").write_text(POLICY.replace("file:secrets/k1", "env:ROTATING_KEY"))
    env_file = folder / ".env"
    env_file.write_text("ROTATING_KEY=sk-one\n")
    watch = Watch(lambda: load(folder / "gateway.yaml", environment(env_file)), also=[env_file], poll=0.01)
    async with following(watch) as outcome:
        env_file.write_text("ROTATING_KEY=sk-two\n")
        assert "sk-two" == secret(await outcome())
        env_file.unlink()
        assert ["the environment variable 'ROTATING_KEY' is not set; set it in the environment or in .env"] == messages(
            await outcome()
        )
        env_file.write_text("ROTATING_KEY=sk-three\n")
        assert "sk-three" == secret(await outcome())


async def test_a_defect_in_the_loader_does_not_end_the_watch(folder: Path) -> None:
    """An exception that nobody foresaw becomes a fault without its text, and the watch goes on."""
    broken = threading.Event()

    def fragile() -> Loaded:
        if broken.is_set():
            raise RuntimeError("sk-secret in a message")
        return load(folder / "gateway.yaml", {})

    async with following(Watch(fragile, poll=0.01)) as outcome:
        broken.set()
        (folder / "secrets" / "k1").write_text("sk-two\n")
        assert ["could not be loaded: RuntimeError"] == messages(await outcome())
        broken.clear()
        (folder / "secrets" / "k1").write_text("sk-three\n")
        assert "sk-three" == secret(await outcome())


async def test_a_request_to_load_is_answered_without_a_change(folder: Path) -> None:
    """Whoever asks hears the outcome, also when nothing changed."""
    watch = watch_of(folder / "gateway.yaml")
    async with following(watch) as outcome:
        watch.ask()

        assert "sk-one" == secret(await outcome())


def test_the_first_load_raises_its_faults(folder: Path) -> None:
    """A process does not start on a faulty file."""
    (folder / "secrets" / "k1").unlink()

    with pytest.raises(PolicyFaults):
        watch_of(folder / "gateway.yaml").first()


async def test_concurrent_edits_end_with_the_last_one(folder: Path) -> None:
    """While two files are rewritten again and again, every policy is one that was written, and the last one stays."""
    last = 60

    def edit() -> None:
        for number in range(1, last + 1):
            replace(folder / "gateway.yaml", POLICY.replace("search", f"team{number}"))
            replace(folder / "secrets" / "k1", f"sk-{number}\n")

    async with following(watch_of(folder / "gateway.yaml")) as outcome:
        editing = asyncio.create_task(asyncio.to_thread(edit))
        seen: list[tuple[str, str]] = []
        while not seen or (f"team{last}", f"sk-{last}") != seen[-1]:
            found = await outcome()
            seen.append((teams(found)[0], secret(found)))
        await editing

        numbers = [int(name.removeprefix("team").replace("search", "0")) for name, _ in seen]
        assert sorted(numbers) == numbers


async def test_sighup_loads_again(folder: Path) -> None:
    """A process that follows its policy takes SIGHUP for a request to load, instead of dying of it."""
    script = dedent("""\
        import asyncio, sys
        from pathlib import Path
        from gateway.policy import Loaded, Watch, load

        def changed(outcome):
            print("loaded" if isinstance(outcome, Loaded) else f"faults {len(outcome.faults)}", flush=True)

        async def main():
            watch = Watch(lambda: load(Path(sys.argv[1]), {}), poll=3600)
            watch.first()
            task = asyncio.create_task(watch.run(changed))
            await asyncio.sleep(0)
            print("ready", flush=True)
            await task

        asyncio.run(main())
        """)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(folder / "gateway.yaml"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    said = []
    try:
        async with asyncio.timeout(PATIENCE):
            said.append(await process.stdout.readline())
            process.send_signal(signal.SIGHUP)
            said.append(await process.stdout.readline())
            (folder / "gateway.yaml").write_text("nothing: here\n")
            process.send_signal(signal.SIGHUP)
            said.append(await process.stdout.readline())
    finally:
        process.kill()
        await process.wait()

    assert [b"ready\n", b"loaded\n", b"faults 2\n"] == said


class TestSettling:
    """When to load, as a function of what each poll saw."""

    A, B, C = {Path("f"): b"a"}, {Path("f"): b"b"}, {Path("f"): b""}

    @pytest.mark.parametrize(
        ("polls", "expected"),
        [
            pytest.param("AAA", [False, False, False], id="nothing changed"),
            pytest.param("BB", [False, True], id="a change that stands"),
            pytest.param("CB", [False, False], id="half a file, then the whole"),
            pytest.param("CBB", [False, False, True], id="and it stands"),
            pytest.param("CA", [False, False], id="away for a moment, then back"),
            pytest.param("CABB", [False, False, False, True], id="and then a change"),
            pytest.param("BCBCBCBCB", [False] * 8 + [True], id="no rest"),
        ],
    )
    def test_a_change_must_stand_for_one_poll(self, polls: str, expected: list[bool]) -> None:
        """Half a file is not loaded, a file away for a moment is not missed, a restless one is loaded in the end."""
        settling = Settling(self.A)

        assert expected == [settling.ready(getattr(self, poll)) for poll in polls]

    @given(st.lists(st.sampled_from("ABC"), max_size=30), st.sampled_from("BC"))
    def test_a_lasting_change_is_always_loaded(self, polls: list[str], last: str) -> None:
        """Whatever came before, a change that lasts is loaded at its second poll at the latest."""
        settling = Settling(self.A)
        for poll in polls:
            settling.ready(getattr(self, poll))

        assert True in [settling.ready(getattr(self, last)) for _ in range(2)]


async def test_price_file_is_followed(folder: Path) -> None:
    """A changed price counts at once; a typo in the price file keeps the last good table until it is mended."""
    prices = folder / "prices.yaml"
    packaged = default_path().read_text()
    prices.write_text(packaged)
    config = folder / "gateway.yaml"

    def opus(outcome: Outcome) -> int:
        assert isinstance(outcome, Loaded), outcome
        found = outcome.policy.prices.find("claude-opus-5", 1.8e9)
        assert found is not None
        return found.rates.input

    async with following(Watch(lambda: load(config, {}, prices=prices), poll=0.01)) as following_outcome:
        replace(prices, packaged.replace("input: 5,", "input: 5.5,"))
        dearer = opus(await following_outcome())
        replace(prices, packaged.replace("input: 5,", "inputs: 5,"))
        faults = messages(await following_outcome())
        replace(config, POLICY + "\n")
        still = messages(await following_outcome())
        replace(prices, packaged)
        mended = opus(await following_outcome())

    assert (dearer, mended) == (5500, 5000)
    assert faults == still
    assert "has no 'inputs'; did you mean 'input'?" in faults[0]


def test_price_file_counts_for_the_version(folder: Path) -> None:
    """Two replicas with other prices show other versions."""
    prices = folder / "prices.yaml"
    prices.write_text(default_path().read_text())
    first = load(folder / "gateway.yaml", {}, prices=prices).policy.version
    prices.write_text(default_path().read_text() + "# changed\n")

    assert first != load(folder / "gateway.yaml", {}, prices=prices).policy.version


def test_table_without_a_policy_file(folder: Path) -> None:
    """The built-in policy has the named price file as its source; one that can't be read is a fault with its name."""
    prices = folder / "prices.yaml"
    prices.write_text(default_path().read_text())

    table, sources = load_table(prices)
    with pytest.raises(PolicyFaults) as missing:
        load_table(folder / "none.yaml")

    assert (table, list(sources)) == (default_table(), [prices])
    assert str(missing.value) == f"{folder / 'none.yaml'}: can't be read: No such file or directory"
