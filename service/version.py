"""The version of this release; `pyproject.toml` says the same (tested)."""

VERSION = "0.1.0"
