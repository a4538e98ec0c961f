"""Reading the files a policy comes from, each with the digest of what was read."""

import stat
from hashlib import sha256
from pathlib import Path

# Far above any policy file: the bound guards against the wrong path, such as a log or a device.
MOST_BYTES = 16 * 2**20
UNREADABLE = b""


def read(file: Path) -> bytes:
    """The content of a regular file of bounded size; raises OSError or ValueError."""
    status = file.stat()
    if not stat.S_ISREG(status.st_mode):  # opening a FIFO would wait for ever
        raise OSError(0, "it is not a regular file")
    if status.st_size > MOST_BYTES:
        raise OSError(0, f"it is larger than {MOST_BYTES // 2**20} MiB")
    return file.read_bytes()


def digest_of(file: Path) -> bytes:
    """The digest of what `read` gives; `UNREADABLE` where it gives nothing."""
    try:
        return sha256(read(file)).digest()
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return UNREADABLE
