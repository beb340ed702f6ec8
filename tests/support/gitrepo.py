"""Real Git repositories in a temporary folder: a work tree to commit in, and the bare remote it pushes to."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "LC_ALL": "C",
}


class GitRepo:
    """``remote`` is bare, ``work`` is a clone of it. Every method leaves both in the same state unless it says so.

    Both keep their objects in one folder, that of the remote: what is committed needs no transfer, so that pushing a
    branch is moving a ref. Hundreds of tests push.
    """

    def __init__(self, folder: Path, branch: str = "main", object_format: str = "sha1") -> None:
        self.remote = folder / "remote.git"
        self.work = folder / "work"
        self.branch = branch
        init = ["git", "init", "--quiet", f"--initial-branch={branch}", f"--object-format={object_format}"]
        self._run([*init, "--bare", str(self.remote)], folder)
        self._run([*init, str(self.work)], folder)
        shutil.rmtree(self.work / ".git" / "objects")
        (self.work / ".git" / "objects").symlink_to(self.remote / "objects")
        self.git("remote", "add", "origin", str(self.remote))

    @property
    def url(self) -> str:
        return self.remote.as_uri()

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git in the work tree; returns its output without the last newline."""
        return self._run(["git", *arguments], self.work)

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file without committing it."""
        target = self.work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def commit(
        self, files: dict[str, str | bytes | None] | None = None, message: str = "change", *, push: bool = True
    ) -> str:
        """Write (None: remove) the files, commit everything, push; returns the commit's SHA."""
        for path, content in (files or {}).items():
            if content is None:
                (self.work / path).unlink()
            else:
                self.write(path, content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        return self.push() if push else self.head

    def push(self) -> str:
        """Let the remote's branch be what HEAD is, whatever it was; returns that commit's SHA."""
        head = self.head
        self._run(["git", "update-ref", f"refs/heads/{self.branch}", head], self.remote)
        return head

    @staticmethod
    def _run(command: list[str], folder: Path) -> str:
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, **IDENTITY}, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise AssertionError(f"{' '.join(command)} failed: {done.stderr}")
        return done.stdout.rstrip("\n")
