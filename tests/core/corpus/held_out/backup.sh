#!/usr/bin/env bash
# Copies the database to the archive host and keeps fourteen days.
set -euo pipefail

readonly TARGET="${1:?usage: backup.sh TARGET_DIR}"
readonly STAMP="$(date --utc +%Y%m%dT%H%M%SZ)"
readonly WORK="$(mktemp -d)"
trap 'rm -rf -- "$WORK"' EXIT

log() { printf '%s %s\n' "$(date --utc +%FT%TZ)" "$*" >&2; }

dump() {
    local name="$1"
    log "dumping ${name}"
    pg_dump --format=custom --no-owner --file="${WORK}/${name}.dump" "$name"
    sha256sum "${WORK}/${name}.dump" | awk '{print $1}' > "${WORK}/${name}.sha256"
}

for database in $(psql -Atc "select datname from pg_database where not datistemplate"); do
    if [[ "$database" == postgres ]]; then
        continue
    fi
    dump "$database"
done

tar -C "$WORK" -cf - . | zstd -T0 -19 > "${TARGET}/backup-${STAMP}.tar.zst"
find "$TARGET" -name 'backup-*.tar.zst' -mtime +14 -print -delete | while read -r old; do
    log "deleted ${old##*/}"
done
log "done: $(du -h "${TARGET}/backup-${STAMP}.tar.zst" | cut -f1)"
