#!/bin/sh
# Makes DIRECTORY a virtual environment that holds exactly what LOCK pins, or returns at once when it already does:
# the last step of a set-up leaves a copy of the lock inside, so a half-made environment is made anew.
#
# usage: scripts/venv.sh DIRECTORY LOCK      (PYTHON=… chooses the interpreter)
set -eu

directory=$1
lock=$2
made_from=$directory/made-from.lock

if cmp -s "$lock" "$made_from" && "$directory/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail \
    "The gateway needs Python 3.11 or newer; tried: ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}." \
    "On Debian 12 or later and Ubuntu 24.04 or later: apt install python3 python3-venv" \
    "Or name one: make PYTHON=/path/to/python3.11 ..."

# Debian splits ensurepip from Python; without it `venv` fails half-way with an empty environment.
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail \
    "$("$python" -V) cannot make virtual environments: its ensurepip module is missing." \
    "On Debian and Ubuntu: apt install python3-venv" \
    "Or name another Python: make PYTHON=/path/to/python3.11 ..."

echo "Setting up $directory with $("$python" -V) from $lock ..." >&2
"$python" -m venv --clear "$directory"
# Wheels only: an archive would run code of its own, with tools that no hash pins.
"$directory/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: --requirement "$lock" || fail \
    "Setting up $directory failed (see above). Nothing else was changed; run the same command again once it is mended." \
    "Behind a proxy or a package mirror, pip's own settings are honoured (pip config, PIP_INDEX_URL, HTTPS_PROXY)."
cp "$lock" "$made_from"
