"""A pytest plugin for the SDK's own tests: each request names, in a header, an answer that fits the type it expects.

The SDK's tests want a mock server made from the API's schema, which its source does not carry; its types do. Answers go
through files, named by their digest, so that the mock needs no SDK and a header stays short.
"""

import datetime as dt
import functools
import hashlib
import inspect
import json
import os
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from anthropic._base_client import AsyncAPIClient, SyncAPIClient
from anthropic._models import BaseModel

FOLDER = Path(os.environ["SDK_SUITE_SAMPLES"])
RESULTS = Path(os.environ["SDK_SUITE_RESULTS"])
LEFT_OUT = Path(os.environ["SDK_SUITE_LEFT_OUT"])
SCALARS: dict[Any, Any] = {
    str: "string",
    bytes: "string",
    bool: True,
    int: 1,
    float: 1.5,
    dt.datetime: "2026-01-02T03:04:05Z",
    dt.date: "2026-01-02",
    object: {},
    Any: {},
    None: None,
    types.NoneType: None,
}
# Types contain each other; optional parts end at this depth, lists at the next one.
DEEPEST = 3

running = ""


def sample(kind: Any, depth: int = 0, bound: dict[Any, Any] | None = None) -> Any:
    """A value that the type accepts; the first choice where there is one."""
    bound = bound or {}
    kind = bound.get(kind, kind) if isinstance(kind, typing.TypeVar) else getattr(kind, "__value__", kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return sample(arguments[0], depth, bound)
    if origin is typing.Literal:
        return arguments[0]
    if origin in (typing.Union, types.UnionType):
        if types.NoneType in arguments and depth >= DEEPEST:
            return None
        return sample(next(one for one in arguments if one is not types.NoneType), depth, bound)
    if origin is list:
        return [sample(arguments[0], depth + 1, bound)] if depth < 2 * DEEPEST else []
    if origin is dict:
        return {"key": sample(arguments[1], depth + 1, bound)}
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        return sample_of_model(kind, depth, bound)
    return SCALARS.get(kind, "string")


def sample_of_model(model: Any, depth: int, bound: dict[Any, Any]) -> dict[str, Any]:
    """Every field; a list that is read by pages has one page."""
    generic = getattr(model, "__pydantic_generic_metadata__", None) or {}
    if generic.get("args"):
        parameters = generic["origin"].__pydantic_generic_metadata__["parameters"]
        bound = bound | dict(zip(parameters, generic["args"], strict=True))
    found = {
        field.alias or name: sample(field.annotation, depth + 1, bound)
        for name, field in model.model_fields.items()
        if field.is_required() or depth <= DEEPEST
    }
    return found | {name: value for name, value in (("has_more", False), ("next_page", None)) if name in found}


@functools.cache
def stored(cast_to: Any) -> str:
    text = json.dumps(sample(cast_to))
    name = hashlib.sha256(text.encode()).hexdigest()[:24]
    draft = FOLDER / f"{name}.{os.getpid()}"
    draft.write_text(text)
    draft.rename(FOLDER / name)
    return name


def marked(options: Any, cast_to: Any, *, stream: bool) -> Any:
    headers = dict(options.headers) if options.headers else {}
    headers["x-sample"] = "stream" if stream else stored(cast_to)
    headers["x-test"] = running
    return options.model_copy(update={"headers": headers})


def patch(client: Any) -> None:
    """One `_request` for both kinds of client: what it returns is passed on, awaitable or not."""
    original = client._request

    @functools.wraps(original)
    def request(self: Any, cast_to: Any, options: Any, *, stream: bool = False, **more: Any) -> Any:
        return original(self, cast_to, marked(options, cast_to, stream=stream), stream=stream, **more)

    client._request = request


patch(SyncAPIClient)
patch(AsyncAPIClient)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the tests that are not to be compared."""
    left_out = set(LEFT_OUT.read_text().splitlines())
    items[:] = [item for item in items if item.nodeid not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    global running  # noqa: PLW0603 - one test at a time, and the client has no other way to know which
    running = hashlib.sha256(item.nodeid.encode()).hexdigest()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line per test, from the process that hears of all of them."""
    if "PYTEST_XDIST_WORKER" in os.environ or (report.when != "call" and report.passed):
        return
    said = "" if report.passed else str(report.longrepr)[-400:]
    with RESULTS.open("a") as results:
        results.write(json.dumps({"test": report.nodeid, "outcome": report.outcome, "said": said}) + "\n")
