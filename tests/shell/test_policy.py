"""The policy file: what a sound one becomes, what is said of an odd one, and that a faulty one is refused whole."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.limits import Bucket, Budget, Kind, bucket_faults, budget_faults
from gateway.core.prices import Price, PriceTable, Rates
from gateway.core.teams import AdminToken, Federation, GatewayKey, Policy, Team, UpstreamKey, Workspace
from gateway.policy import Loaded, PolicyFaults, check, default_policy, load
from gateway.policy.schema import SECTIONS

ROOT = Path(__file__).parents[2]
BAD_FILES = sorted((Path(__file__).parent / "policies").glob("*.yaml"))
NOW = datetime(2026, 5, 29, tzinfo=UTC).timestamp()
PRICED = ["claude-opus-4-8", "claude-haiku-4-5"]
RATES = Rates(5, 6, 10, 1, 25)
PRICES = PriceTable({model: (Price(model, RATES),) for model in PRICED})
ENV = {"REAL_KEY": "sk-ant-api03-a-real-key", "EMPTY": " ", "TWO_LINES": "a\nb"}

PROD = sha256(b"a team's key").hexdigest()
OPS = sha256(b"an admin's token").hexdigest()

SOUND = f"""\
workspaces:
  main:
    platform: claude
    base_url: https://api.anthropic.com
    keys:
      - {{name: k1, secret: "${{env:REAL_KEY}}"}}
      - {{name: k2, secret: "${{file:secrets/k2}}"}}
    limits: [{{models: "*", requests_per_minute: 4000}}]      # a ceiling for all its teams together
    failover: [spare]
    retry_budget: 0.10
    isolation: owned
  spare:
    base_url: "http://127.0.0.1:8123/claude/"
    keys: [{{name: s1, secret: "${{env:REAL_KEY}}"}}]
    isolation: off
teams:
  search:
    workspace: main
    keys:
      - name: prod
        sha256: "{PROD}"
        expires: 2027-01-31
        limits: [{{requests_per_minute: 60}}]
        budgets: [{{usd: 0.5, per: day, hold: maximum}}]
    limits:
      - {{models: "*", requests_per_minute: 600, concurrent_requests: 40, max_wait_seconds: 1.5, shadow: false}}
      - {{models: claude-opus-*, input_tokens_per_minute: 100000, output_tokens_per_minute: 20_000, burst_seconds: 90}}
      - {{object_requests_per_minute: 120, count_requests_per_minute: "300", shadow: true}}
      - {{tokens_per_minute: 400000, burst_seconds: 2m, max_wait_seconds: 500ms}}
    budgets: [{{usd: 500.10, per: month, time_zone: Europe/Berlin, hold: expected}}, {{usd: 50, per: day, mode: warn}}]
    models: ["claude-*"]
    on_disconnect: drain
    precount: exact
    store_down: closed
    unpriced_models:
      charge_as: claude-opus-4-8
    failover: true
    stored_objects: 10000
    stored_bytes: 50GiB
    session_hold_usd: 2.5
admin_tokens: [{{name: ops, sha256: "{OPS}", role: write}}]
alerts: {{webhook: "https://hooks.example.com/x?token=${{env:REAL_KEY}}"}}
"""


@pytest.fixture
def policy_file(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "k2").write_text("sk-ant-api03-second\n")
    file = tmp_path / "gateway.yaml"
    file.write_text(SOUND)
    return file


def load_text(folder: Path, text: str, env: Mapping[str, str] = ENV, *, need_secrets: bool = True) -> Loaded:
    file = folder / "gateway.yaml"
    file.write_text(text)
    return load(file, env, prices=PRICES, need_secrets=need_secrets, now=NOW)


def faults_of(folder: Path, text: str, env: Mapping[str, str] = ENV) -> list[tuple[int, str, str]]:
    with pytest.raises(PolicyFaults) as caught:
        load_text(folder, text, env)
    return [(fault.line, fault.path, fault.message) for fault in caught.value.faults]


class TestSound:
    def test_every_key_of_the_file_reaches_its_value(self, policy_file: Path) -> None:
        """A file that uses every key becomes exactly the policy it describes."""
        key = GatewayKey(
            name="prod",
            digest=bytes.fromhex(PROD),
            expires=datetime(2027, 1, 31, tzinfo=UTC).timestamp(),
            buckets=(Bucket("key:search/prod", Kind.REQUESTS, "*", 60),),
            budgets=(Budget("key:search/prod", 500_000_000, "day", hold="maximum"),),
        )
        team = Team(
            name="search",
            workspace="main",
            keys=(key,),
            buckets=(
                Bucket("team:search", Kind.REQUESTS, "*", 600, max_wait_seconds=1.5),
                Bucket("team:search", Kind.SLOTS, "*", 40, max_wait_seconds=1.5),
                Bucket("team:search", Kind.INPUT, "claude-opus-*", 100_000, burst_seconds=90),
                Bucket("team:search", Kind.OUTPUT, "claude-opus-*", 20_000, burst_seconds=90),
                Bucket("team:search", Kind.OBJECT_REQUESTS, "*", 120, shadow=True),
                Bucket("team:search", Kind.COUNT_REQUESTS, "*", 300, shadow=True),
                Bucket("team:search", Kind.TOKENS, "*", 400_000, burst_seconds=120, max_wait_seconds=0.5),
            ),
            budgets=(
                Budget("team:search", 500_100_000_000, "month", time_zone="Europe/Berlin"),
                Budget("team:search", 50_000_000_000, "day", mode="warn"),
            ),
            models=("claude-*",),
            on_disconnect="drain",
            precount="exact",
            store_down="closed",
            charge_as="claude-opus-4-8",
            failover=True,
            stored_objects=10_000,
            stored_bytes=50 * 2**30,
            session_hold_nano=2_500_000_000,
        )

        loaded = load(policy_file, ENV, prices=PRICES, now=NOW)

        expected = Policy(
            version=loaded.policy.version,
            workspaces={
                "main": Workspace(
                    name="main",
                    keys=(UpstreamKey("k1", ENV["REAL_KEY"]), UpstreamKey("k2", "sk-ant-api03-second")),
                    buckets=(Bucket("workspace:main", Kind.REQUESTS, "*", 4000),),
                    failover=("spare",),
                    retry_budget=0.10,
                ),
                "spare": Workspace(
                    name="spare",
                    base_url="http://127.0.0.1:8123/claude",
                    keys=(UpstreamKey("s1", ENV["REAL_KEY"]),),
                    isolation="off",
                ),
            },
            teams={"search": team},
            keys={bytes.fromhex(PROD): (team, key)},
            prices=PRICES,
            admin_tokens=(AdminToken("ops", bytes.fromhex(OPS), "write"),),
            alert_webhook=f"https://hooks.example.com/x?token={ENV['REAL_KEY']}",
            known_models=frozenset(PRICED),
        )
        assert expected == loaded.policy
        assert {policy_file, policy_file.parent / "secrets" / "k2"} == set(loaded.sources)

    def test_what_is_left_out_has_the_default_of_core(self, tmp_path: Path) -> None:
        """The schema's defaults are those of the values, so a policy built in code means the same."""
        loaded = load_text(tmp_path, "workspaces: {main: {}}\nteams: {search: {workspace: main}}\n")

        assert {"main": Workspace("main")} == loaded.policy.workspaces
        assert {"search": Team("search", "main")} == loaded.policy.teams

    def test_a_key_may_be_an_identity(self, tmp_path: Path) -> None:
        """A federation becomes a key without a secret; its file is not read when the policy loads."""
        loaded = load_text(
            tmp_path,
            dedent("""\
            workspaces:
              main:
                keys:
                  - name: wif
                    federation:
                      identity_token_file: tokens/claude
                      federation_rule_id: fdrl_01
                      organization_id: 01234567-89ab-cdef-0123-456789abcdef
                      service_account_id: svac_01
                      workspace_id: default
            """),
        )
        path = str(tmp_path / "tokens" / "claude")
        federation = Federation(path, "fdrl_01", "01234567-89ab-cdef-0123-456789abcdef", "svac_01", "default")

        assert (UpstreamKey("wif", "", federation),) == loaded.policy.workspaces["main"].keys
        assert {tmp_path / "gateway.yaml"} == set(loaded.sources)
        assert ["workspaces.main.keys[0].federation.identity_token_file"] == [
            notice.path for notice in loaded.notices if "identity" in notice.path
        ]

    def test_off_is_a_word(self, tmp_path: Path) -> None:
        """`isolation: off` is not the boolean that YAML 1.1 makes of it."""
        loaded = load_text(tmp_path, "workspaces: {main: {isolation: off}}\n")

        assert "off" == loaded.policy.workspaces["main"].isolation

    def test_a_digest_is_never_a_number(self, tmp_path: Path) -> None:
        """A digest of decimal digits with one `e` among them stays 64 characters, quoted or not."""
        digest = "1234567890" * 3 + "12e4567890" + "1234567890" * 2 + "1234"
        loaded = load_text(
            tmp_path,
            f"workspaces: {{main: {{}}}}\nteams: {{s: {{workspace: main, keys: [{{name: a, sha256: {digest}}}]}}}}\n",
        )

        assert bytes.fromhex(digest) in loaded.policy.keys

    def test_anchors_and_merges_save_repetition(self, tmp_path: Path) -> None:
        """An alias copies what it names, `<<` takes over keys that are not written, the first of several wins."""
        loaded = load_text(
            tmp_path,
            dedent("""\
            workspaces: {main: {}}
            teams:
              search: &standard
                workspace: main
                limits: &limits [{requests_per_minute: 60}]
                models: [claude-haiku-*]
              ads:
                <<: [*standard, {models: [claude-opus-*], store_down: closed}]
                limits: *limits
                failover: true
            """),
        )

        assert (
            Team(
                "ads",
                "main",
                buckets=(Bucket("team:ads", Kind.REQUESTS, "*", 60),),
                models=("claude-haiku-*",),
                store_down="closed",
                failover=True,
            )
            == (loaded.policy.teams["ads"])
        )

    @pytest.mark.parametrize("change", [lambda text: "\ufeff" + text, lambda text: text.replace("\n", "\r\n")])
    def test_byte_order_mark_and_line_ends_do_not_matter(self, policy_file: Path, change) -> None:
        """A file written on Windows means the same."""
        before = load(policy_file, ENV, now=NOW).policy
        policy_file.write_bytes(change(SOUND).encode())
        after = load(policy_file, ENV, now=NOW).policy

        assert (before.teams, before.workspaces) == (after.teams, after.workspaces)

    @pytest.mark.parametrize(
        ("written", "seconds"),
        [
            ("2027-01-31", datetime(2027, 1, 31, tzinfo=UTC).timestamp()),
            ("2027-01-31T18:00:00Z", datetime(2027, 1, 31, 18, tzinfo=UTC).timestamp()),
            ("2027-01-31 18:00:00+02:00", datetime(2027, 1, 31, 16, tzinfo=UTC).timestamp()),
        ],
    )
    def test_a_key_expires_at_the_start_of_its_day(self, tmp_path: Path, written: str, seconds: float) -> None:
        """A day means 00:00 UTC of it, a moment means itself."""
        loaded = load_text(
            tmp_path,
            f"workspaces: {{main: {{}}}}\nteams: {{s: {{workspace: main, keys: [{{name: a, sha256: {PROD}, "
            f"expires: '{written}'}}]}}}}\n",
        )

        assert seconds == loaded.policy.teams["s"].keys[0].expires

    def test_the_version_follows_the_file_and_its_secrets(self, policy_file: Path) -> None:
        """Two replicas agree on the version exactly when they read the same policy and the same secrets."""
        first = load(policy_file, ENV, now=NOW).policy.version
        again = load(policy_file, ENV | {"UNRELATED": "x"}, now=NOW + 1).policy.version
        other_key = load(policy_file, ENV | {"REAL_KEY": "sk-other"}, now=NOW).policy.version
        policy_file.write_text(SOUND + "# a comment\n")
        other_file = load(policy_file, ENV, now=NOW).policy.version

        assert first == again
        assert 3 == len({first, other_key, other_file})

    def test_without_a_file_one_team_and_one_workspace_are_built_in(self) -> None:
        """The built-in policy has one key for the team, one for Claude, and no limits."""
        digest = sha256(b"first").digest()

        policy = default_policy(base_url="http://127.0.0.1:1/", secret="sk-real", key_digest=digest, prices=PRICES)

        key = GatewayKey("first", digest)
        team = Team("default", "main", keys=(key,))
        assert (
            Policy(
                version=policy.version,
                workspaces={
                    "main": Workspace("main", base_url="http://127.0.0.1:1", keys=(UpstreamKey("k1", "sk-real"),))
                },
                teams={"default": team},
                keys={digest: (team, key)},
                prices=PRICES,
                known_models=frozenset(PRICED),
            )
            == policy
        )

    def test_an_unpriced_model_that_may_be_used_is_known(self, tmp_path: Path) -> None:
        """A model that a team names and that is charged as another may stand in a label, a refused one may not."""
        loaded = load_text(
            tmp_path,
            dedent("""\
            workspaces: {main: {}}
            teams:
              a: {workspace: main, models: [claude-new, claude-*], unpriced_models: {charge_as: claude-opus-4-8}}
              b: {workspace: main, models: [claude-other]}
            """),
        )

        assert frozenset({*PRICED, "claude-new"}) == loaded.policy.known_models


class TestShippedExample:
    FILE = ROOT / "config" / "gateway.yaml"

    def test_it_starts_with_a_real_key_alone(self) -> None:
        """The example has no fault when ANTHROPIC_API_KEY is set, and says that its team has no key yet."""
        loaded = load(self.FILE, {"ANTHROPIC_API_KEY": "sk-real"}, now=NOW)

        assert ["teams.default.keys"] == [notice.path for notice in loaded.notices]

    @pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section or "top")
    def test_it_names_every_key(self, section: str) -> None:
        """Whoever reads the example has seen every key there is."""
        text = self.FILE.read_text()

        assert [] == [key for key in SECTIONS[section] if f"{key}:" not in text]


class TestFaults:
    @pytest.mark.parametrize("file", BAD_FILES, ids=lambda file: file.stem)
    def test_each_mistake_is_named_with_its_line(self, file: Path) -> None:
        """A faulty file is refused with exactly the faults written at its end."""
        expected = [
            line.removeprefix("# fault ") for line in file.read_text().splitlines() if line.startswith("# fault ")
        ]

        with pytest.raises(PolicyFaults) as caught:
            load(file, ENV, prices=PRICES, now=NOW)

        assert expected
        assert expected == [f"{fault.line}: {fault.path}: {fault.message}" for fault in caught.value.faults]

    def test_every_fault_is_said_with_file_and_line(self, tmp_path: Path) -> None:
        """A fault reads FILE:LINE: PATH: SENTENCE, and all of them are in the exception's text."""
        file = tmp_path / "gateway.yaml"
        file.write_text("workspaces: {main: {}}\nteams:\n  search: {workspace: man, failover: 1}\n")

        with pytest.raises(PolicyFaults) as caught:
            load(file, {}, now=NOW)

        assert [
            f"{file}:3: teams.search.failover: must be true or false, not '1'",
            f"{file}:3: teams.search.workspace: there is no workspace 'man'; did you mean 'main'?",
        ] == str(caught.value).splitlines()

    def test_no_file(self, tmp_path: Path) -> None:
        """A missing file is a fault, not an exception of the operating system."""
        with pytest.raises(PolicyFaults) as caught:
            load(tmp_path / "none.yaml", {})

        assert f"{tmp_path / 'none.yaml'}: can't be read: No such file or directory" == str(caught.value)

    def test_a_file_far_too_large(self, tmp_path: Path) -> None:
        """The wrong path, such as a log's, is refused before it is read."""
        file = tmp_path / "gateway.yaml"
        with file.open("wb") as sparse:
            sparse.truncate(2**40)

        with pytest.raises(PolicyFaults) as caught:
            load(file, {})

        assert f"{file}: can't be read: it is larger than 16 MiB" == str(caught.value)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"teams: \xff\xfe\n", "is not UTF-8 text"),
            (b"a: b\x00\n", "is not YAML: unacceptable character #x0000: control characters are not allowed"),
            (b"[" * 200_000, "is nested more than 50 levels deep"),
            (b"{a: " * 200_000, "is nested more than 50 levels deep"),
            (b"a: &a [1]\nb: !odd 1\n", "the tag '!odd' has no meaning here; write the plain value"),
        ],
    )
    def test_bytes_that_are_no_policy(self, tmp_path: Path, content: bytes, message: str) -> None:
        """Whatever bytes stand in the file, the answer is a fault."""
        file = tmp_path / "gateway.yaml"
        file.write_bytes(content)

        with pytest.raises(PolicyFaults) as caught:
            load(file, {})

        assert message in [fault.message for fault in caught.value.faults]

    def test_aliases_that_multiply_are_stopped(self, tmp_path: Path) -> None:
        """Ten lines that stand for ten thousand million nodes are refused in bounded time and memory."""
        lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]

        faults = faults_of(tmp_path, "\n".join(lines))

        assert "has more than 500,000 nodes once its aliases are copied" == faults[-1][2]

    def test_a_fault_within_a_workspace_makes_none_of_its_teams(self, tmp_path: Path) -> None:
        """A workspace that can't be read still exists, so its teams are not told that it does not."""
        assert [
            (
                1,
                "workspaces.main",
                "must be a mapping with keys such as platform, surface, base_url, not a single value",
            )
        ] == (faults_of(tmp_path, "workspaces: {main: claude}\nteams: {search: {workspace: main}}\n"))

    @given(
        rows=st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "models": st.sampled_from(["*", "claude-*"]),
                    "requests_per_minute": st.integers(-1, 200) | st.sampled_from([10**11, 10**11 + 1]),
                    "concurrent_requests": st.integers(-1, 3),
                    "burst_seconds": st.integers(-1, 90_000),
                    "max_wait_seconds": st.integers(-1, 700),
                },
            ),
            max_size=4,
        ),
        budgets=st.lists(
            st.fixed_dictionaries(
                {
                    "usd": st.integers(-1, 2) | st.sampled_from([8_000_000, 8_000_001]),
                    "per": st.sampled_from(["day", "month"]),
                    "time_zone": st.sampled_from(["UTC", "Europe/Berlin", "Mars/Olympus"]),
                }
            ),
            max_size=3,
        ),
    )
    @settings(deadline=None)
    def test_what_loads_suits_the_ledger(self, tmp_path_factory: pytest.TempPathFactory, rows, budgets) -> None:
        """Limits and budgets that load are such as the ledger's own arithmetic accepts."""
        team = {"workspace": "main", "limits": rows, "budgets": budgets}
        text = json.dumps({"workspaces": {"main": {}}, "teams": {"search": team}})
        try:
            loaded = load_text(tmp_path_factory.getbasetemp(), text)
        except PolicyFaults:
            return
        found = loaded.policy.teams["search"]

        assert ([], []) == (bucket_faults(found.buckets), budget_faults(found.budgets))
        assert len(budgets) == len(found.budgets)
        assert sum(len(row.keys() & {"requests_per_minute", "concurrent_requests"}) for row in rows) == len(
            found.buckets
        )


class TestSecrets:
    PLACE = "workspaces: {{main: {{keys: [{{name: k1, secret: '{secret}'}}]}}}}\n"

    def secret_of(self, folder: Path, written: str, env: Mapping[str, str] = ENV) -> str:
        loaded = load_text(folder, self.PLACE.format(secret=written), env)
        return loaded.policy.workspaces["main"].keys[0].secret

    def test_a_file_is_read_beside_the_policy_file(self, tmp_path: Path) -> None:
        """A relative path starts at the policy file's folder; blanks and line ends around the secret are dropped."""
        (tmp_path / "k").write_text("\n sk-one \r\n")

        assert "sk-one" == self.secret_of(tmp_path, "${file:k}")
        assert "sk-one" == self.secret_of(tmp_path, "${file:%s}" % (tmp_path / "k"))

    def test_references_may_stand_within_a_text(self, tmp_path: Path) -> None:
        """Several references and plain text make one value; what they stand for is not expanded again."""
        env = {"A": "${env:B}", "B": "b"}

        assert "x${env:B}-b" == self.secret_of(tmp_path, "x${env:A}-${env:B}", env)

    @pytest.mark.parametrize(
        ("make", "reason"),
        [
            (lambda path: path.mkdir(), "the file 'k' can't be read: it is not a regular file"),
            (lambda path: path.write_bytes(b"\xff\xfe"), "the file 'k' can't be read: it is not a text file"),
            (lambda path: path.write_text(" \n"), "the file 'k' is empty"),
            (lambda path: path.symlink_to(path), "the file 'k' can't be read: Too many levels of symbolic links"),
            (lambda path: path.write_text("x" * 20_000), "is longer than 16,384 characters, which no key is"),
            (
                lambda path: path.write_text("sk-a\nsk-b"),
                "holds a space, a line break or a character outside ASCII, which no key does",
            ),
        ],
        ids=["folder", "binary", "empty", "loop", "long", "two lines"],
    )
    def test_a_file_that_holds_no_secret(self, tmp_path: Path, make, reason: str) -> None:
        """What can't be a key is a fault that names the file and not its content."""
        make(tmp_path / "k")

        assert [(1, "workspaces.main.keys[0].secret", reason)] == faults_of(
            tmp_path, self.PLACE.format(secret="${file:k}")
        )

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        """A FIFO without a writer would block a plain open for ever."""
        import os

        os.mkfifo(tmp_path / "k")

        assert (
            "the file 'k' can't be read: it is not a regular file"
            == (faults_of(tmp_path, self.PLACE.format(secret="${file:k}"))[0][2])
        )

    def test_far_from_the_secrets_they_are_not_needed(self, tmp_path: Path) -> None:
        """A check in CI takes a missing secret for a notice, and still finds a reference that can't be one."""
        text = "workspaces: {main: {keys: [{name: a, secret: '${env:NONE}'}, {name: b, secret: '${env:REAL_KEY}'}]}}\n"
        loaded = load_text(tmp_path, text, need_secrets=False)

        assert (UpstreamKey("b", ENV["REAL_KEY"]),) == loaded.policy.workspaces["main"].keys
        assert (
            "the environment variable 'NONE' is not set; set it in the environment or in .env; it was not checked"
            == (loaded.notices[0].message)
        )
        with pytest.raises(PolicyFaults):
            load_text(tmp_path, text.replace("env:NONE", "vault:NONE"), need_secrets=False)


class TestNotices:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            pytest.param(
                "workspaces: {main: {}}\nteams: {a: {workspace: main, limits: [{requests_per_minute: 1}]}}",
                [
                    (1, "workspaces.main.keys", "has no real key, so Claude will refuse its teams' requests"),
                    (2, "teams.a.keys", "has no key, so nobody can call as this team"),
                ],
                id="no keys",
            ),
            pytest.param(
                "workspaces: {main: {keys: [{name: k, secret: sk-literal}]}}",
                [
                    (1, "teams", "there is no team in this file, so nobody can call unless the admin API adds one"),
                    (
                        1,
                        "workspaces.main.keys[0].secret",
                        "the secret itself stands in this file; write ${env:NAME} or ${file:PATH} instead",
                    ),
                ],
                id="literal secret, no team",
            ),
            pytest.param(
                "workspaces: {main: {keys: [{name: k, secret: '${env:REAL_KEY}'}], base_url: 'http://proxy.example'}}\n"
                f"teams:\n  a: {{workspace: main, keys: [{{name: k, sha256: {PROD}, expires: 2026-01-01}}]}}\n"
                f"  b:\n    workspace: main\n    failover: true\n    models: [claude-opus-4-9, claude-haiku-4-5]\n"
                f"    limits: [{{requests_per_minute: 1}}]\n    keys: [{{name: k, sha256: {OPS}}}]\n",
                [
                    (1, "workspaces.main.base_url", "http sends keys and prompts unencrypted; use https"),
                    (
                        1,
                        "workspaces.main",
                        "shared by the teams 'a', 'b', who see their own files, batches and sessions only (owned)",
                    ),
                    (3, "teams.a.limits", "has no limits; one team can use up what the workspace is allowed"),
                    (3, "teams.a.keys[0].expires", "the key 'k' expired on 2026-01-01 00:00 UTC"),
                    (6, "teams.b.failover", "the workspace 'main' has no failover list, so it does nothing"),
                    (
                        7,
                        "teams.b.models",
                        "allows 'claude-opus-4-9', which has no price and is refused; did you mean 'claude-opus-4-8'?",
                    ),
                ],
                id="shared, unlimited, expired, unpriced",
            ),
            pytest.param(
                "workspaces: {main: {keys: [{name: k, secret: '${env:REAL_KEY}'}], base_url: 'http://[::1]:80'}}\n"
                "teams:\n  a:\n    workspace: main\n    unpriced_models: {charge_as: claude-opus-4-8}\n"
                f"    keys: [{{name: k, sha256: {PROD}, limits: [{{requests_per_minute: 5}}]}}]\n",
                [
                    (
                        5,
                        "teams.a.unpriced_models",
                        "may use models without a price; they are charged as 'claude-opus-4-8'",
                    )
                ],
                id="charged as another; loopback and key limits are fine",
            ),
            pytest.param(
                "workspaces: {main: {keys: [{name: k, secret: '${env:REAL_KEY}'}]}}\n"
                f"teams:\n  a:\n    workspace: main\n    keys: [{{name: k, sha256: {PROD}}}]\n"
                "    models: ['claude-opus-*', 'gpt-*', us.anthropic.claude-opus-4-8-v1:0, claude-past]\n"
                "    limits: [{requests_per_minute: 5}]\n",
                [
                    (6, "teams.a.models", "allows 'gpt-*', which matches no model that has a price"),
                    (6, "teams.a.models", "allows 'claude-past', which has no price and is refused"),
                ],
                id="patterns of nothing, other forms of an id, a price that ended",
            ),
        ],
    )
    def test_what_is_odd_is_said_and_loads(self, tmp_path: Path, text: str, expected) -> None:
        """A notice has a place like a fault and does not keep the policy from loading."""
        table = PriceTable({**PRICES.rows, "claude-past": (Price("claude-past", RATES, until=int(NOW)),)})
        file = tmp_path / "gateway.yaml"
        file.write_text(text)

        loaded = load(file, ENV, prices=table, now=NOW)

        assert sorted(expected) == sorted((notice.line, notice.path, notice.message) for notice in loaded.notices)


class TestCheck:
    def test_a_sound_file(self, policy_file: Path) -> None:
        """The summary names workspaces, teams, limits and notices, ends with 0, and shows no secret and no digest."""
        report = check(policy_file, ENV, prices=PRICES, now=NOW)

        assert 0 == report.exit_code
        version = load(policy_file, ENV, now=NOW).policy.version
        assert (
            f"""\
{policy_file}: ok, version {version[:12]}
workspaces:
  main: claude at https://api.anthropic.com, 2 keys (k1, k2), isolation owned
    requests_per_minute 4,000 for every model, up to 4,000 at once
    fails over to spare
  spare: claude at http://127.0.0.1:8123/claude, 1 key (s1), isolation off
teams:
  search on main: 1 key (prod until 2027-01-31)
    models claude-*
    requests_per_minute 600 for every model, up to 600 at once, waits up to 1.5 s
    concurrent_requests 40 for every model, waits up to 1.5 s
    input_tokens_per_minute 100,000 for claude-opus-*, up to 150,000 at once
    output_tokens_per_minute 20,000 for claude-opus-*, up to 30,000 at once
    object_requests_per_minute 120 for every model, up to 120 at once, shadow
    count_requests_per_minute 300 for every model, up to 300 at once, shadow
    tokens_per_minute 400,000 for every model, up to 800,000 at once, waits up to 0.5 s
    budget of $500.10 per month (Europe/Berlin), block
    budget of $50.00 per day (UTC), warn
    key prod: requests_per_minute 60 for every model, up to 60 at once
    key prod: budget of $0.50 per day (UTC), block
admin tokens: ops (write)
notices:
  {policy_file}:35: teams.search.unpriced_models: may use models without a price; they are charged as 'claude-opus-4-8'
"""
            == "\n".join(report.lines) + "\n"
        )
        assert {
            "ok",
            "file",
            "version",
            "workspaces",
            "teams",
            "admin_tokens",
            "alerts",
            "notices",
        } == report.data.keys()
        said = json.dumps(report.data)
        assert [] == [secret for secret in (PROD, OPS, "sk-ant", "token=") if secret in said]

    def test_a_faulty_file(self, tmp_path: Path) -> None:
        """Every fault is a line, their number the last one, and the exit code is 1."""
        file = tmp_path / "gateway.yaml"
        file.write_text("workspaces: {main: {isolation: no}}\nteams: []\n")

        report = check(file, {}, now=NOW)

        faults = [
            (1, "workspaces.main.isolation", "must be owned or off, not 'no'"),
            (2, "teams", "must be a mapping from names to their settings, not a list"),
        ]
        assert 1 == report.exit_code
        assert [f"{file}:{line}: {path}: {message}" for line, path, message in faults] + [
            f"{file}: 2 faults"
        ] == report.lines
        assert {
            "ok": False,
            "file": str(file),
            "faults": [
                {"file": str(file), "line": line, "path": path, "message": message} for line, path, message in faults
            ],
        } == report.data
