"""Batches, files and skills: their lives, their lists, their workspaces."""

import hashlib
import io
from typing import Any

import aiohttp
import anthropic
import pytest

from gateway.simulator import Running
from tests.simulator.asking import HELLO, bill, body, get, post, until
from tests.simulator.conftest import KEY, Start

HAIKU = "claude-haiku-4-5"


def request(name: str, **change: Any) -> Any:
    return {"custom_id": name, "params": {"model": HAIKU, "max_tokens": 100, "messages": HELLO, **change}}


async def ended(claude: anthropic.AsyncAnthropic, name: str) -> anthropic.types.messages.MessageBatch:
    return await until(lambda: claude.messages.batches.retrieve(name), lambda batch: batch.processing_status == "ended")


async def test_a_batch_lives_from_creation_to_deletion(
    claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession, simulator: Running
) -> None:
    """in_progress, then ended with counts and an absolute results_url; results by custom_id; deleted at last."""
    expired = request("c", messages=[{"role": "user", "content": "[[simulate expire]]"}])
    wrong = request("d", model="claude-none")
    made = await claude.messages.batches.create(requests=[request("a"), request("b"), expired, wrong])
    done = await ended(claude, made.id)
    results = {one.custom_id: one.result async for one in await claude.messages.batches.results(made.id)}
    rows = [row for row in (await bill(http))["rows"] if row.get("object_id") == made.id]

    assert ("in_progress", None, 4) == (made.processing_status, made.results_url, made.request_counts.processing)
    assert f"{simulator.url}/v1/messages/batches/{made.id}/results" == done.results_url
    assert (2, 1, 1, 0, 0) == (
        done.request_counts.succeeded,
        done.request_counts.errored,
        done.request_counts.expired,
        done.request_counts.canceled,
        done.request_counts.processing,
    )
    assert {"a": "succeeded", "b": "succeeded", "c": "expired", "d": "errored"} == {
        k: r.type for k, r in results.items()
    }
    assert isinstance(results["a"], anthropic.types.messages.MessageBatchSucceededResult)
    usage = results["a"].message.usage
    assert "batch" == usage.service_tier
    assert {"a", "b"} == {row["custom_id"] for row in rows}
    assert [usage.input_tokens * 500 + usage.output_tokens * 2_500] * 2 == [row["nano_usd"] for row in rows]
    deleted = await claude.messages.batches.delete(made.id)
    assert "message_batch_deleted" == deleted.type
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.batches.retrieve(made.id)


async def test_a_canceled_batch_keeps_what_it_did(start: Start) -> None:
    """Before its end no deletion and no results; canceling, then ended; what there was no time for is free."""
    simulator = await start(batch_seconds=3600.0)
    async with anthropic.AsyncAnthropic(base_url=simulator.url, api_key="k", max_retries=0) as claude:
        made = await claude.messages.batches.create(requests=[request(f"r{n}") for n in range(4)])
        with pytest.raises(anthropic.BadRequestError, match="still processing"):
            await claude.messages.batches.delete(made.id)
        with pytest.raises(anthropic.AnthropicError, match="in_progress"):
            await claude.messages.batches.results(made.id)
        canceled = await claude.messages.batches.cancel(made.id)
        done = await ended(claude, made.id)
        with pytest.raises(anthropic.BadRequestError, match="already ended"):
            await claude.messages.batches.cancel(made.id)

    assert "canceling" == canceled.processing_status
    assert (4, 0) == (done.request_counts.canceled, simulator.world.book.totals["nano_usd"])


@pytest.mark.parametrize(
    ("requests", "message"),
    [
        ([], "requests: List should have between 1 and"),
        ([request("a"), request("a")], "requests.1.custom_id: 'a' is not unique"),
        ([request("a b")], "requests.0.custom_id: String should match pattern"),
        ([request("a", stream=True)], "requests.0.params.stream: not supported in a batch"),
        ([request("a", max_tokens=0)], "requests.0.params.max_tokens: 0 is not supported"),
        ([{"custom_id": "a"}], "requests.0.params: Field required"),
    ],
)
async def test_a_faulty_batch_is_refused_at_once(http: aiohttp.ClientSession, requests: Any, message: str) -> None:
    """Names, their uniqueness and what a batch cannot do are checked at creation."""
    status, error = await post(http, "/v1/messages/batches", {"requests": requests})

    assert 400 == status
    assert error["error"]["message"].startswith(message)


async def test_batches_belong_to_their_workspace(
    claude: anthropic.AsyncAnthropic, other: anthropic.AsyncAnthropic
) -> None:
    """Another workspace neither lists nor reads them; pages are newest first."""
    made = [(await claude.messages.batches.create(requests=[request("a")])).id for _ in range(5)]
    listed = [batch.id async for batch in claude.messages.batches.list(limit=2)]

    assert made[::-1] == listed
    assert [] == [batch.id async for batch in other.messages.batches.list()]
    with pytest.raises(anthropic.NotFoundError):
        await other.messages.batches.retrieve(made[0])


async def test_a_file_lives_from_upload_to_deletion(
    claude: anthropic.AsyncAnthropic, other: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    """Metadata, list, use in a message, no download of what users uploaded, deletion; all within one workspace."""
    content = b"All work and no play. " * 1000
    made = await claude.files.upload(file=("notes.txt", content), expires_in_seconds=3600)
    document: Any = {"type": "document", "source": {"type": "file", "file_id": made.id}}
    asked = {**body(), "messages": [{"role": "user", "content": [document]}]}
    used, foreign = (
        await post(http, "/v1/messages", asked),
        await post(http, "/v1/messages", asked, x_api_key="ws-ads-1"),
    )
    _, kept = await get(http, "/_simulator/files")

    assert ("notes.txt", "text/plain", len(content), False) == (
        made.filename,
        made.mime_type,
        made.size_bytes,
        made.downloadable,
    )
    assert made.expires_at is not None
    assert made == await claude.files.retrieve_metadata(made.id)
    assert [made.id] == [file.id async for file in claude.files.list()]
    assert (200, 404) == (used[0], foreign[0])
    assert used[1]["usage"]["input_tokens"] > 5_000
    assert hashlib.sha256(content).hexdigest() == kept[0]["sha256"]
    with pytest.raises(anthropic.BadRequestError, match="file_not_downloadable"):
        await claude.files.download(made.id)
    with pytest.raises(anthropic.NotFoundError):
        await other.files.retrieve_metadata(made.id)
    assert [] == [file.id async for file in other.files.list()]
    assert "file_deleted" == (await claude.files.delete(made.id)).type
    with pytest.raises(anthropic.NotFoundError):
        await claude.files.retrieve_metadata(made.id)


async def test_an_expired_file_says_so(claude: anthropic.AsyncAnthropic, simulator: Running) -> None:
    """After its lifetime a file is a 404 with a code of its own."""
    made = await claude.files.upload(file=("a.txt", b"x"), expires_in_seconds=3600)
    simulator.world.workspace("search").of("file")[made.id]["_expires"] = 0.0

    with pytest.raises(anthropic.NotFoundError, match="file_expired"):
        await claude.files.retrieve_metadata(made.id)


async def test_a_large_file_goes_up_and_down_in_pieces(http: aiohttp.ClientSession) -> None:
    """40 MB marked as downloadable come back byte for byte."""
    content = bytes(range(256)) * 4096 * 40
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(content), filename="big.bin", content_type="application/octet-stream")
    async with http.post("/v1/files", data=form, headers={"x-simulator-downloadable": "1"}) as answer:
        made = await answer.json()
    async with http.get(f"/v1/files/{made['id']}/content") as answer:
        got = await answer.read()
        assert str(len(content)) == answer.headers["content-length"]

    assert hashlib.sha256(content).digest() == hashlib.sha256(got).digest()
    async with http.delete(f"/v1/files/{made['id']}") as answer:
        assert 200 == answer.status


async def test_files_are_paged_in_scheme_b_and_by_ids(
    claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    """Cursor pages chain; `ids[]` is a single page; the old beta header brings scheme A and the old shape."""
    made = [(await claude.files.upload(file=(f"{n}.txt", b"x"))).id for n in range(5)]
    chained = [file.id async for file in claude.files.list(limit=2)]
    picked = await claude.files.list(ids=[made[3], "file_none", made[0]])
    _, first = await get(http, "/v1/files?limit=2")
    stale, _ = await get(http, f"/v1/files?limit=2&other=1&page={first['next_page']}")
    _, old = await get(http, "/v1/files?limit=2", anthropic_beta="files-api-2025-04-14")

    assert made[::-1] == chained
    assert [made[3], made[0]] == [file.id for file in picked.data]
    assert ({"data", "next_page"}, 400) == (first.keys(), stale)
    assert (True, made[4], made[3]) == (old["has_more"], old["first_id"], old["last_id"])
    assert "expires_at" not in old["data"][0]


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 400), ({"file": b"x", "expires_in_seconds": "5"}, 400), ({"file": b"x", "expires_in_seconds": "3600"}, 200)],
)
async def test_an_upload_is_checked(http: aiohttp.ClientSession, fields: Any, status: int) -> None:
    """A file is required; a lifetime has bounds."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value, **({"filename": "a.txt"} if name == "file" else {}))
    async with http.post("/v1/files", data=form) as answer:
        assert status == answer.status


@pytest.mark.parametrize(
    "raw", [b"", b"--x\r\n", b"no boundary at all", b'--x\r\nContent-Disposition: form-data; name="file"']
)
async def test_a_broken_upload_is_a_400(http: aiohttp.ClientSession, raw: bytes) -> None:
    """A multipart body that ends or begins wrongly is the client's fault."""
    async with http.post("/v1/files", data=raw, headers={"content-type": "multipart/form-data; boundary=x"}) as answer:
        assert 400 == answer.status


SKILL = b"---\nname: letters\ndescription: Writes letters.\n---\n# Letters\n"


async def test_a_skill_lives_with_its_versions(
    claude: anthropic.AsyncAnthropic, other: anthropic.AsyncAnthropic, http: aiohttp.ClientSession
) -> None:
    """Created with a first version, gains another, is used in a container, and goes with all of them."""
    made = await claude.skills.create(files=[("letters/SKILL.md", SKILL)], display_name="Letters")
    second = await claude.skills.versions.create(made.id, files=[("letters/SKILL.md", SKILL + b"more")])
    versions = [version.id async for version in claude.skills.versions.list(made.id)]
    container = {"skills": [{"type": "custom", "skill_id": made.id, "version": "latest"}]}
    status, used = await post(http, "/v1/messages", body(container=container))

    assert ("Letters", "custom") == (made.display_name, made.source.type)
    assert ("letters", "Writes letters.", made.id) == (second.name, second.description, second.skill_id)
    assert [second.id, made.latest_version_id] == versions
    assert second.id == (await claude.skills.retrieve(made.id)).latest_version_id
    assert (200, container["skills"]) == (status, used["container"]["skills"])
    assert 404 == (await post(http, "/v1/messages", body(container=container), x_api_key="ws-ads-1"))[0]
    with pytest.raises(anthropic.NotFoundError):
        await other.skills.retrieve(made.id)
    assert "skill_version_deleted" == (await claude.skills.versions.delete(second.id, skill_id=made.id)).type
    assert "skill_deleted" == (await claude.skills.delete(made.id)).type
    with pytest.raises(anthropic.NotFoundError):
        await claude.skills.retrieve(made.id)


async def test_anthropics_skills_are_everybodys(claude: anthropic.AsyncAnthropic, http: aiohttp.ClientSession) -> None:
    """The list mixes own and shared skills; a filter separates them; shared ones cannot be deleted."""
    made = await claude.skills.create(files=[("SKILL.md", SKILL)])
    everything = [skill.id async for skill in claude.skills.list()]
    own = [skill.id async for skill in claude.skills.list(source="custom")]
    status, _ = await get(http, "/v1/skills/pptx")
    async with http.delete("/v1/skills/pptx") as answer:
        refused = answer.status

    assert [made.id, "pptx", "xlsx", "docx", "pdf"] == everything
    assert ([made.id], 200, 403) == (own, status, refused)
    async with http.post("/v1/skills", data=aiohttp.FormData({"files[]": io.BytesIO(b"x")}), headers=KEY) as answer:
        assert 400 == answer.status
