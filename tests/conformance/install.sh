#!/bin/sh
# Makes DIRECTORY hold the clients that the conformance tests drive and the development environment does not: the last
# 0.x of the Python SDK with what it needs, and from npm the TypeScript SDK and Claude Code. Returns at once when each
# was made from the locks as they stand: a copy of the lock is the last file written.
#
# usage: tests/conformance/install.sh PYTHON DIRECTORY
set -eu

python=$1
mkdir -p "$2"
directory=$(cd "$2" && pwd)
locks=$(cd "$(dirname "$0")" && pwd)

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Wheels fit one Python only, so its version is part of what the folder was made from.
python_sdk() {
    target=$directory/anthropic-0x
    made_from=$directory/anthropic-0x.made-from
    wanted=$("$python" -c 'import sys; print("# for", sys.implementation.cache_tag)' && cat "$locks/requirements-anthropic-0x.lock")
    [ "$wanted" = "$(cat "$made_from" 2>/dev/null)" ] && return
    echo "Installing the Python SDK 0.x into $target ..." >&2
    rm -rf "$target" "$made_from"
    "$python" -m pip install --quiet --quiet --disable-pip-version-check --no-input --no-deps \
        --require-hashes --only-binary :all: --target "$target" --requirement "$locks/requirements-anthropic-0x.lock" ||
        fail "Installing the Python SDK 0.x failed (see above). Run the same command again once it is mended."
    printf '%s\n' "$wanted" >"$made_from"
}

# `npm ci` installs the lock to the letter and checks each package's hash; it asks whatever registry npm is set to.
# Scripts of packages stay unrun: no client here needs one.
npm_clients() {
    made_from=$directory/package-lock.made-from
    cmp -s "$locks/package-lock.json" "$made_from" && return
    if ! command -v npm >/dev/null 2>&1; then
        echo "Node.js is not installed: the tests with the TypeScript SDK and Claude Code will skip." >&2
        return
    fi
    echo "Installing the TypeScript SDK and Claude Code into $directory/node_modules ..." >&2
    rm -f "$made_from"
    cp "$locks/package.json" "$locks/package-lock.json" "$directory"
    (cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null) ||
        fail "Installing the npm clients failed (see above). Run the same command again once it is mended." \
            "Behind a proxy or a mirror, npm's own settings are honoured (npm config, HTTPS_PROXY)."
    cp "$locks/package-lock.json" "$made_from"
}

npm_clients &
npm_job=$!
python_sdk
wait "$npm_job"
