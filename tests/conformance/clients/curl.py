"""What curl sees: the answer as bytes on the wire, heads included.

usage: python -m tests.conformance.clients.curl SCRATCH_DIRECTORY
"""

import gzip
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.conformance.clients.serve import serve

MODEL = "claude-sonnet-5-5"
SCRATCH = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


def answered(url: str, *options: str, body: bytes | None = None) -> dict[str, Any]:
    """A call that has to go well: two equal failures would prove nothing."""
    seen = curl(url, *options, body=body)
    if seen["exit"] != 0 or seen["statuses"][-1] != 200:
        raise AssertionError(f"{url} gave {seen}")
    return seen


def curl(url: str, *options: str, body: bytes | None = None) -> dict[str, Any]:
    """One call: curl's own verdict, every status line (100 Continue too), the last head's fields, the body as text."""
    head, content = SCRATCH / "head", SCRATCH / "content"
    content.write_bytes(b"")
    data = ["--data-binary", "@-"] if body is not None else []
    command = [
        "curl",
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "--noproxy",
        "*",
        "-D",
        str(head),
        "-o",
        str(content),
    ]
    done = subprocess.run([*command, *options, *data, url], input=body, capture_output=True, check=False)
    blocks = [block for block in head.read_bytes().decode("latin-1").split("\r\n\r\n") if block]
    fields: dict[str, list[str]] = {}
    for line in blocks[-1].split("\r\n")[1:]:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip())
    return {
        "exit": done.returncode,
        "statuses": [int(block.split(" ", 2)[1]) for block in blocks],
        "headers": dict(sorted(fields.items())),
        "body": content.read_bytes().decode("utf-8", "surrogateescape"),
    }


def bearer(key: str) -> list[str]:
    return ["-H", f"authorization: Bearer {key}", "-H", "anthropic-version: 2023-06-01"]


def x_api_key(key: str) -> list[str]:
    return ["-H", f"x-api-key: {key}", "-H", "anthropic-version: 2023-06-01", "-H", "content-type: application/json"]


def prompt(text: str = "Grüße! 你好 🎉", **more: Any) -> bytes:
    asked = {"model": MODEL, "max_tokens": 60, "messages": [{"role": "user", "content": text}], **more}
    return json.dumps(asked, ensure_ascii=False).encode()


def message(base_url: str, key: str) -> Any:
    """By either header, by both at once, and over HTTP/1.0."""
    url = f"{base_url}/v1/messages"
    return {
        "x-api-key": answered(url, *x_api_key(key), body=prompt()),
        "bearer": answered(url, *bearer(key), "-H", "content-type: application/json", body=prompt()),
        "both": answered(url, *x_api_key(key), "-H", f"authorization: Bearer {key}", body=prompt()),
        "query": answered(f"{url}?beta=true&x=%2F", *x_api_key(key), body=prompt()),
        # Which head a server of HTTP/1.1 writes for a client of HTTP/1.0 is its own affair.
        "http/1.0": answered(url, "--http1.0", *x_api_key(key), body=prompt())["body"],
    }


def stream(base_url: str, key: str) -> Any:
    """Every byte of a stream, pings included."""
    body = prompt("[[simulate output=60 pings=5]]", stream=True)
    return answered(f"{base_url}/v1/messages", "--no-buffer", *x_api_key(key), body=body)


def compressed(base_url: str, key: str) -> Any:
    """Answers that arrive gzipped: unpacked by curl, their heads as they came."""
    fault = ["-H", "x-simulator-fault: gzip", "--compressed"]
    url = f"{base_url}/v1/messages"
    return [
        answered(url, *x_api_key(key), *fault, body=prompt()),
        answered(url, *x_api_key(key), *fault, body=prompt(stream=True)),
    ]


def gzipped_request(base_url: str, key: str) -> Any:
    encoded = ["-H", "content-encoding: gzip"]
    url = f"{base_url}/v1/messages"
    return {
        "gzip": answered(url, *x_api_key(key), *encoded, body=gzip.compress(prompt(), mtime=0)),
        "not gzip": curl(url, *x_api_key(key), *encoded, body=prompt())["statuses"],
        "unknown": curl(url, *x_api_key(key), "-H", "content-encoding: rot13", body=prompt())["statuses"],
    }


def chunked_request(base_url: str, key: str) -> Any:
    return answered(f"{base_url}/v1/messages", *x_api_key(key), "-H", "transfer-encoding: chunked", body=prompt())


def expecting(base_url: str, key: str) -> Any:
    """A body that waits for `100 Continue`, as curl sends every large one."""
    text = "lorem ipsum " * 200_000
    return answered(f"{base_url}/v1/messages", *x_api_key(key), "-H", "expect: 100-continue", body=prompt(text))


def upload(base_url: str, key: str) -> Any:
    """A file of 40 MB as a form that waits for `100 Continue`."""
    file = SCRATCH / "file.bin"
    file.write_bytes(bytes(range(256)) * (40 << 12))
    options = [*bearer(key), "-H", "expect: 100-continue", "-F", f"file=@{file};type=application/octet-stream"]
    return answered(f"{base_url}/v1/files", *options)


def errors(base_url: str, key: str, fault: str) -> Any:
    """An error's head and body byte for byte."""
    return curl(f"{base_url}/v1/messages", *x_api_key(key), "-H", f"x-simulator-fault: {fault}", body=prompt())


def long_headers(base_url: str, key: str) -> Any:
    """A header value of 30 KB, as a long list of betas or a token of another system makes one."""
    return answered(f"{base_url}/v1/messages", *x_api_key(key), "-H", f"x-token: {'x' * 30_000}", body=prompt())


def hello(base_url: str, key: str) -> Any:
    """What Claude Code asks before its first message, without a key."""
    return {
        "HEAD /": answered(f"{base_url}/", "--head")["statuses"],
        "HEAD /api/hello": answered(f"{base_url}/api/hello", "--head")["statuses"],
        "GET /api/hello": answered(f"{base_url}/api/hello")["statuses"],
    }


def batch_results(base_url: str, key: str) -> Any:
    """The address of the results stays on the host that was asked, so that the key goes nowhere else."""
    params = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
    requests = json.dumps({"requests": [{"custom_id": "a", "params": params}]}).encode()
    url = f"{base_url}/v1/messages/batches"
    batch = json.loads(answered(url, *x_api_key(key), body=requests)["body"])
    for _ in range(200):
        if batch["processing_status"] == "ended":
            break
        time.sleep(0.1)
        batch = json.loads(answered(f"{url}/{batch['id']}", *x_api_key(key))["body"])
    return {"address": batch["results_url"], "results": answered(batch["results_url"], *x_api_key(key))}


PROBES = {
    probe.__name__: probe
    for probe in (
        message,
        stream,
        compressed,
        gzipped_request,
        chunked_request,
        expecting,
        upload,
        errors,
        long_headers,
        hello,
        batch_results,
    )
}

if __name__ == "__main__":
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    serve(version, PROBES)
