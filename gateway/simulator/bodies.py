"""Reads a request body as the API does: up to the route's limit, gzip and deflate unpacked under the same limit."""

from __future__ import annotations

import zlib

from aiohttp import web

from gateway.simulator.errors import ApiError, invalid

WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}
TOO_LARGE = "Request exceeds the maximum size"


async def read_body(request: web.Request, limit: int) -> bytes:
    declared = request.content_length
    if declared is not None and declared > limit:
        raise ApiError("too_large", TOO_LARGE, headers={"connection": "close"})
    if not request.body_exists:
        return b""
    body = bytearray()
    while piece := await request.content.readany():
        body += piece
        if len(body) > limit:
            raise ApiError("too_large", TOO_LARGE, headers={"connection": "close"})
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    return bytes(body) if coding in ("", "identity") else decoded(bytes(body), coding, limit)


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    window = WINDOWS.get(coding)
    if window is None:
        raise invalid(f"Unsupported Content-Encoding: {coding}", code="request_body_encoding_unsupported")
    unpacker = zlib.decompressobj(window)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise invalid(
            f"The request body is not valid {coding}: {error}", code="request_body_encoding_invalid"
        ) from None
    if len(plain) > limit:
        raise ApiError("too_large", TOO_LARGE, code="request_body_too_large_after_decoding")
    if not unpacker.eof:
        raise invalid(f"The request body is not valid {coding}: it ends early", code="request_body_encoding_invalid")
    return plain
