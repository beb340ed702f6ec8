"""The languages of script tasks: file extension and the command that runs a file. Nothing is started here."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """``command`` runs a file whose path follows; ``extension`` is the file's. Shell texts need no file."""

    extension: str
    command: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    """Other names of the program, tried in order."""
    head: str = ""
    """Put before the script's text."""
    env: Mapping[str, str] = field(default_factory=dict)


LANGUAGES: Mapping[str, Language] = {
    "shell": Language(extension=".sh"),
    "python": Language(
        extension=".py",
        command=("python",),
        alternatives=("python3",),
        head="true, false, null = True, False, None",
        env={"PYTHONUNBUFFERED": "true"},
    ),
    "node": Language(extension=".mjs", command=("node",)),
    "powershell": Language(extension=".ps1", command=("pwsh", "-NoProfile", "-NonInteractive", "-File")),
    "r": Language(extension=".R", command=("Rscript",)),
    "ruby": Language(extension=".rb", command=("ruby",)),
    "julia": Language(extension=".jl", command=("julia",)),
    "go": Language(extension=".go", command=("go", "run")),
    "php": Language(extension=".php", command=("php",)),
    "perl": Language(extension=".pl", command=("perl",)),
    "lua": Language(extension=".lua", command=("lua",), alternatives=("lua5.4", "lua5.3")),
    "bun": Language(extension=".ts", command=("bun", "run")),
    "deno": Language(extension=".ts", command=("deno", "run", "--allow-all")),
    "dotnet": Language(extension=".csx", command=("dotnet", "script")),
    "groovy": Language(extension=".groovy", command=("groovy",)),
    "jbang": Language(extension=".java", command=("jbang", "--quiet")),
}

DEFAULT_INTERPRETER = ("/bin/sh", "-c")
POWERSHELL = ("pwsh", "-NoProfile", "-NonInteractive", "-Command")


def interpreter(language: str, written: Sequence[str] | None) -> list[str]:
    """The shell that runs commands: the task's own, else the language's."""
    if written:
        return list(written)
    return list(POWERSHELL if language == "powershell" else DEFAULT_INTERPRETER)


def fail_fast_line(shell: Sequence[str]) -> str:
    return '$ErrorActionPreference = "Stop"' if "pwsh" in shell[0] or "powershell" in shell[0] else "set -e"


def program(language: Language, path: str) -> str:
    """The program that runs files of the language, by the script's own PATH; its plain name when none is found."""
    for name in (language.command[0], *language.alternatives):
        found = shutil.which(name, path=path)
        if found:
            return _behind_shim(found, path)
    return language.command[0]


def _behind_shim(found: str, path: str) -> str:
    """Version managers put a shell script in place of Python, which costs more than starting Python itself."""
    if os.path.basename(os.path.dirname(found)) != "shims" or "python" not in os.path.basename(found):
        return found
    return _real_python(found, path)


@functools.lru_cache(maxsize=16)
def _real_python(shim: str, path: str) -> str:
    try:
        asked = subprocess.run(
            [shim, "-c", "import sys; print(sys.executable)"],
            env={"PATH": path, "HOME": os.environ.get("HOME", "/")},
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return shim
    real = asked.stdout.strip()
    return real if os.access(real, os.X_OK) else shim
