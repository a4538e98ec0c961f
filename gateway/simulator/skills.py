"""Skills: multipart upload, versions, and Anthropic's own ones that every workspace sees (fact sheet 1.4)."""

from __future__ import annotations

import io
import re
import zipfile

from aiohttp import BodyPartReader

from gateway.simulator.errors import ApiError, invalid, not_found
from gateway.simulator.lists import by_page, public
from gateway.simulator.world import Answer, Call, Object, Reply, fresh_id, reply, stamp

LARGEST = 30 * 1024 * 1024  # uncompressed, over all files
FRONT = re.compile(r"^(name|description):\s*(.+)$", re.MULTILINE)
SHARED: dict[str, Object] = {
    name: {
        "id": name,
        "type": "skill",
        "display_name": title,
        "source": {"type": "anthropic"},
        "latest_version_id": f"skillver_{name}",
        "created_at": "2025-10-13T00:00:00Z",
        "updated_at": "2026-09-01T00:00:00Z",
        "_versions": {},
    }
    for name, title in (("pptx", "PowerPoint"), ("xlsx", "Excel"), ("docx", "Word"), ("pdf", "PDF"))
}
Files = dict[str, bytes]


async def upload(call: Call) -> tuple[Files, str | None]:
    """The files of a multipart body and the display name, if given."""
    if not call.request.content_type.startswith("multipart/"):
        raise invalid("files: the request body must be multipart/form-data")
    files: Files = {}
    title: str | None = None
    size = 0
    try:
        reader = await call.request.multipart()
        async for part in reader:
            if not isinstance(part, BodyPartReader):
                continue
            if part.name in ("files", "files[]"):
                content = bytes(await part.read())
                size += len(content)
                if size > LARGEST:
                    raise ApiError("too_large", "Skill files exceed the maximum size of 30 MB")
                files[part.filename or "SKILL.md"] = content
            elif part.name in ("display_name", "display_title"):
                title = (await part.read()).decode()
    except (ValueError, AssertionError) as error:
        raise invalid(f"The multipart body is not valid: {error}") from None
    if not any(name.rsplit("/", 1)[-1] == "SKILL.md" for name in unpacked(files)):
        raise invalid("files: a SKILL.md at the top of the skill is required")
    return unpacked(files), title


def unpacked(files: Files) -> Files:
    """A single zip stands for what is in it."""
    if len(files) != 1 or not next(iter(files)).endswith(".zip"):
        return files
    try:
        with zipfile.ZipFile(io.BytesIO(next(iter(files.values())))) as packed:
            if sum(info.file_size for info in packed.infolist()) > LARGEST:
                raise ApiError("too_large", "Skill files exceed the maximum size of 30 MB")
            return {info.filename: packed.read(info) for info in packed.infolist() if not info.is_dir()}
    except zipfile.BadZipFile as error:
        raise invalid(f"files: not a valid zip archive: {error}") from None


def add_version(call: Call, skill: Object, files: Files) -> Object:
    manifest = next(content for name, content in files.items() if name.rsplit("/", 1)[-1] == "SKILL.md")
    front = dict(FRONT.findall(manifest.decode("utf-8", "replace")))
    version = {
        "id": fresh_id("skillver"),
        "type": "skill_version",
        "skill_id": skill["id"],
        "name": front.get("name", "skill"),
        "description": front.get("description", ""),
        "created_at": stamp(call.now),
        "_files": files,
    }
    skill["_versions"][version["id"]] = version
    skill |= {"latest_version_id": version["id"], "updated_at": stamp(call.now)}
    return version


async def create(call: Call) -> Answer:
    files, title = await upload(call)
    now = stamp(call.now)
    skill: Object = {
        "id": fresh_id("skill"),
        "type": "skill",
        "display_name": title,
        "source": {"type": "custom"},
        "created_at": now,
        "updated_at": now,
        "_versions": {},
    }
    version = add_version(call, skill, files)
    skill["display_name"] = title or version["name"]
    call.workspace.of("skill")[skill["id"]] = skill
    return shown(call, skill)


def shown(call: Call, skill: Object) -> Answer:
    return reply(view(call, skill))


def view(call: Call, skill: Object) -> Object:
    seen = public(skill)
    if "skills-2025-10-02" in call.betas:
        # The old shape: a title, a version by name, the source as a word.
        seen["display_title"] = seen.pop("display_name")
        seen["latest_version"] = seen.pop("latest_version_id")
        seen["source"] = seen["source"]["type"]
    return seen


def found(call: Call) -> Object:
    name = call.params["skill"]
    skill = call.workspace.of("skill").get(name) or SHARED.get(name)
    if skill is None:
        raise not_found(f"Skill not found: {name}")
    return skill


def own(call: Call) -> Object:
    skill = found(call)
    if skill["source"]["type"] != "custom":
        raise ApiError("forbidden", f"{skill['id']} belongs to Anthropic and cannot be changed.")
    return skill


def found_version(call: Call) -> tuple[Object, Object]:
    skill = found(call)
    name = call.params["version"]
    wanted = skill["latest_version_id"] if name == "latest" else name
    version = skill["_versions"].get(wanted)
    if version is None:
        raise not_found(f"Skill version not found: {name}")
    return skill, version


def get(call: Call) -> Answer:
    return shown(call, found(call))


def list_all(call: Call) -> Answer:
    skills = [*reversed(call.workspace.of("skill").values()), *SHARED.values()]
    source = call.request.query.get("source")
    wanted = [skill for skill in skills if source is None or skill["source"]["type"] == source]
    return reply(by_page([view(call, skill) for skill in wanted], call.request.query, most=100))


def delete(call: Call) -> Answer:
    skill = own(call)
    del call.workspace.of("skill")[skill["id"]]
    return reply({"id": skill["id"], "type": "skill_deleted"})


async def create_version(call: Call) -> Answer:
    skill = own(call)
    files, _ = await upload(call)
    return reply(public(add_version(call, skill, files)))


def list_versions(call: Call) -> Answer:
    versions = list(reversed(found(call)["_versions"].values()))
    return reply(by_page(versions, call.request.query, most=1000))


def get_version(call: Call) -> Answer:
    return reply(public(found_version(call)[1]))


def delete_version(call: Call) -> Answer:
    skill, version = found_version(call)
    if len(skill["_versions"]) == 1:
        raise invalid(f"{version['id']} is the only version of {skill['id']}; delete the skill instead.")
    del skill["_versions"][version["id"]]
    skill["latest_version_id"] = next(reversed(skill["_versions"]))
    return reply({"id": version["id"], "type": "skill_version_deleted"})


def content(call: Call) -> Answer:
    _, version = found_version(call)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in version["_files"].items():
            archive.writestr(name, data)
    return Reply(packed.getvalue(), content_type="application/zip")
