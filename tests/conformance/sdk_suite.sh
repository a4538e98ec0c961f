#!/bin/sh
# The Python SDK's own tests, from its source archive, at a mock and through the gateway: both have to come to the same.
# A few minutes and not part of `make test`; run it when the SDK's pin moves or the relay changes.
#
# usage: tests/conformance/sdk_suite.sh [TESTS ...]      (after `make test`, which makes .venv-dev)
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-$root/.venv-dev/bin/python}
version=$("$python" -c 'import importlib.metadata; print(importlib.metadata.version("anthropic"))')
folder=$root/.venv-sdk-suite
source=$folder/anthropic-$version

if [ ! -e "$folder/made-from-$version" ]; then
    echo "Fetching the source of anthropic $version and what its tests need into $folder ..." >&2
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip download --quiet --no-deps --no-binary anthropic --dest "$folder" "anthropic==$version"
    tar -xzf "$folder/anthropic-$version.tar.gz" -C "$folder"
    # The SDK itself comes from its source; its lock pins the rest.
    grep -v '^-e' "$source/requirements-dev.lock" >"$folder/requirements.txt"
    "$folder/bin/python" -m pip install --quiet --requirement "$folder/requirements.txt" "$source[aiohttp]"
    touch "$folder/made-from-$version"
fi

cd "$root"
exec "$python" -m tests.conformance.sdk_suite "$source" "$folder/bin/python" "$@"
