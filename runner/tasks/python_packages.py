"""Python requirements that are installed once and used by many runs (``flows.md`` 6.7, ``dependencyCacheEnabled``).

The script's own Python runs this file in front of the script (``python -I``), for only it knows its version: nothing
but the standard library is imported. What a run uses is linked from its own folder, which says that it is in use.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence

KEPT = 32
"""Sets of packages that are kept; beyond, those go first that were not used for longest, and none that is in use."""

_GONE = ".gone-"
_PLAIN = re.compile(r"[A-Za-z0-9][\w.-]*\s*(\[[^\]]*\]\s*)?([<>=!~;(].*)?")
_ARCHIVES = (".whl", ".gz", ".zip", ".bz2", ".xz", ".tar")


def may_be_kept(wanted: Sequence[str]) -> bool:
    """Whether the requirements alone say what is installed: no option, no file, no URL, whose content may change."""
    return all(_PLAIN.fullmatch(text.strip()) and not text.strip().endswith(_ARCHIVES) for text in wanted)


def key_of(manager: str, wanted: Sequence[str], env: Mapping[str, str]) -> str:
    """Digest of what is asked for and where from: other indexes may give other packages of the same name."""
    told = sorted(f"{name}={value}" for name, value in env.items() if name.startswith(("PIP_", "UV_")))
    return _digest([manager, *sorted(text.strip() for text in wanted), "", *told])


def main(cache: str, target: str, key: str, command: Sequence[str]) -> int:
    """Let ``target`` be a link to the packages; ``command``, which installs into ``target``, runs if there are none.

    Returns the exit code of ``command``. Harmless when several do it at once: the first that is ready is kept.
    """
    os.makedirs(cache, mode=0o700, exist_ok=True)
    kept = os.path.join(cache, _digest([key, sys.version, sys.platform]))
    with _lock(cache):
        if _link(kept, target):
            return 0
    code = subprocess.call(command)
    if code or not os.path.isdir(target):
        return code if code >= 0 else 128 - code
    with _lock(cache):
        if os.path.isdir(kept):
            shutil.rmtree(target)
        else:
            os.rename(target, kept)
        _link(kept, target)
        _set_aside(cache)
    for gone in glob.glob(os.path.join(glob.escape(cache), _GONE + "*")):
        shutil.rmtree(gone, ignore_errors=True)
    return 0


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _lock(cache: str) -> Iterator[None]:
    with open(os.path.join(cache, ".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _link(kept: str, target: str) -> bool:
    try:
        os.utime(kept)
    except FileNotFoundError:
        return False
    os.symlink(kept, target)
    return True


def _set_aside(cache: str) -> None:
    """Rename what is too many; it is removed when others need not wait for it."""
    # Attempts of all workers of this data folder: <spools>/<worker>/<attempt>/packages, beside the cache.
    links = glob.glob(os.path.join(glob.escape(os.path.dirname(cache)), "*", "*", "packages"))
    used = {os.path.realpath(link) for link in links if os.path.islink(link)}
    found = [os.path.join(cache, name) for name in os.listdir(cache) if not name.startswith(".")]
    for path in sorted(found, key=os.path.getmtime, reverse=True)[KEPT:]:
        if os.path.realpath(path) not in used:
            os.rename(path, os.path.join(cache, _GONE + os.path.basename(path)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
