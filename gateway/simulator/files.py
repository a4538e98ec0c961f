"""Files: upload, list, get, download, delete (fact sheet 1.3).

An upload is read through and only counted and digested: content that users upload can never be downloaded, so nothing
of it need be kept. Files that tools made, and uploads sent with `x-simulator-downloadable: 1`, keep theirs.
"""

from __future__ import annotations

import hashlib
import mimetypes
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Any

from aiohttp import BodyPartReader

from gateway.simulator.errors import ApiError, invalid, not_found
from gateway.simulator.lists import by_ids, by_page, public
from gateway.simulator.world import Answer, Call, Live, Object, Workspace, fresh_id, reply, stamp

LARGEST = 500 * 1024 * 1024
PIECE = 256 * 1024
LIFETIMES = (3_600, 7_776_000)
OLD_SHAPE = "files-api-2025-04-14"


async def upload(call: Call) -> Answer:
    file: Object | None = None
    lifetime: int | None = None
    if not call.request.content_type.startswith("multipart/"):
        raise invalid("file: the request body must be multipart/form-data")
    try:
        reader = await call.request.multipart()
        async for part in reader:
            if not isinstance(part, BodyPartReader):
                continue
            if part.name == "file":
                file = await receive(call, part)
            elif part.name == "expires_in_seconds":
                lifetime = lifetime_of((await part.read()).decode())
    except (ValueError, AssertionError) as error:
        raise invalid(f"The multipart body is not valid: {error}") from None
    if file is None:
        raise invalid("file: Field required")
    if lifetime is not None:
        file["expires_at"] = stamp(call.now + lifetime)
        file["_expires"] = call.now + lifetime
    call.workspace.of("file")[file["id"]] = file
    return reply(shape(call, file))


async def receive(call: Call, part: BodyPartReader) -> Object:
    keep: IO[bytes] | None = None
    if call.request.headers.get("x-simulator-downloadable"):
        keep = tempfile.SpooledTemporaryFile(max_size=1024 * 1024)  # noqa: SIM115 - lives as long as the file object
    digest = hashlib.sha256()
    size = 0
    while piece := await part.read_chunk(PIECE):
        size += len(piece)
        if size > LARGEST:
            raise ApiError("too_large", "File exceeds the maximum size of 500 MB")
        digest.update(piece)
        if keep:
            keep.write(piece)
    name = part.filename or "file"
    kind = part.headers.get("Content-Type") or mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {
        "id": fresh_id("file"),
        "type": "file",
        "filename": name,
        "mime_type": kind,
        "size_bytes": size,
        "created_at": stamp(call.now),
        "downloadable": keep is not None,
        "expires_at": None,
        "_sha256": digest.hexdigest(),
        "_content": keep,
    }


def generated(workspace: Workspace, now: float, session: str | None = None) -> Object:
    """A file made by a tool, in a message or in a session: the only kind whose content can be downloaded."""
    content = b"written by the simulator\n"
    file: Object = {
        "id": fresh_id("file"),
        "type": "file",
        "filename": "output.txt",
        "mime_type": "text/plain",
        "size_bytes": len(content),
        "created_at": stamp(now),
        "downloadable": True,
        "expires_at": None,
        "_sha256": hashlib.sha256(content).hexdigest(),
        "_content": content,
    }
    if session:
        file["scope"] = {"type": "session", "id": session}
    workspace.of("file")[file["id"]] = file
    return file


def lifetime_of(text: str) -> int:
    least, most = LIFETIMES
    if not text.isdigit() or not least <= int(text) <= most:
        raise invalid(f"expires_in_seconds: Input should be an integer between {least} and {most}")
    return int(text)


def shape(call: Call, file: Object) -> Object:
    seen = public(file)
    if OLD_SHAPE in call.betas:
        del seen["expires_at"]
    return seen


def found(call: Call) -> Object:
    name = call.params["file"]
    file = call.workspace.of("file").get(name)
    if file is None:
        raise not_found(f"File not found: {name}")
    if file.get("_expires", call.now + 1) <= call.now:
        raise not_found(f"File has expired: {name}", code="file_expired")
    return file


def get(call: Call) -> Answer:
    return reply(shape(call, found(call)))


def list_all(call: Call) -> Answer:
    query = call.request.query
    files = call.workspace.of("file")
    ids = query.getall("ids[]", query.getall("ids", []))
    if ids:
        if len(ids) > 100:
            raise invalid(f"ids: List should have at most 100 items, not {len(ids)}")
        return reply({"data": [shape(call, files[name]) for name in ids if name in files], "next_page": None})
    newest = [shape(call, file) for file in reversed(files.values())]
    if OLD_SHAPE in call.betas:
        return reply(by_ids(newest, query, most=1000))
    return reply(by_page(newest, query, most=1000))


def content(call: Call) -> Answer:
    file = found(call)
    if not file["downloadable"]:
        raise invalid(f"File {file['id']} is not downloadable.", code="file_not_downloadable")
    return Live(read(file["_content"]), file["mime_type"], file["size_bytes"])


async def read(kept: IO[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(kept, bytes):
        yield kept
        return
    at = 0
    while True:
        kept.seek(at)  # two downloads of one file may run side by side
        piece = kept.read(PIECE)
        if not piece:
            return
        at += len(piece)
        yield piece


def delete(call: Call) -> Answer:
    file = found(call)
    del call.workspace.of("file")[file["id"]]
    kept: Any = file["_content"]
    if kept is not None and not isinstance(kept, bytes):
        kept.close()
    return reply({"id": file["id"], "type": "file_deleted"})
