"""The command line. This module is the fast path: it imports nothing that `lanner --version` does not need."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the command ``lanner``; ends the process with the command's exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        from service.version import VERSION

        print(f"lanner {VERSION}")
        return
    if given[:1] in (["serve"], ["worker"]):
        # Starting makes a million objects that stay: looking through them again and again is a seventh of the time.
        # `processes.serve` turns the collector on again.
        gc.disable()
    from service.cli.app import run

    sys.exit(run(given))
