"""One bare mirror on local disk: a cache of a remote's objects, always disposable, shared by sources of one remote.

Everything asked of git for a sync is a method here; processes are run by ``sync.git``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from sync.commits import parse_commit
from sync.credentials import access, base_environment, prepare_folder
from sync.errors import MirrorBroken, Stopped, SyncFailed
from sync.git import Finished, Objects, classify, find_git, run
from sync.inventory import Change, Entry
from sync.model import Commit, GitSource, Settings

log = logging.getLogger("lanner.sync.mirror")

LOCAL_TIMEOUT_S = 300.0
READY = "lanner-ready"
_STALE = re.compile(r".*\.lock|.*\.tmp|tmp_(pack|idx|rev|obj)_.*|.*\.tmp-.*")
_LOCATION = re.compile(r"(?im)location: *(\S+)")


class Mirror:
    """The mirror of one source's remote. Methods raise ``SyncFailed``, ``MirrorBroken`` and ``Stopped``."""

    def __init__(self, settings: Settings, source: GitSource, stop: threading.Event | None = None) -> None:
        self._settings = settings
        self._source = source
        self._stop = stop
        self._git = find_git(settings.git_program)
        credential = source.auth.token or source.auth.private_key
        key = "\x00".join((source.url, source.auth.type, credential.reference if credential else ""))
        self.folder = settings.mirror_dir / hashlib.sha256(key.encode()).hexdigest()[:20]
        self.in_ref = f"refs/lanner/{source.name}/in"
        self.applied_ref = f"refs/lanner/{source.name}/applied"

    # -- where it is ------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The mirror in use: the highest number that was finished, None before the first fetch."""
        try:
            numbers = [
                int(entry.name[:-4]) for entry in os.scandir(self.folder) if re.fullmatch(r"\d+\.git", entry.name)
            ]
        except FileNotFoundError:
            return None
        for number in sorted(numbers, reverse=True):
            path = self.folder / f"{number}.git"
            if (path / READY).exists():
                return path
        return None

    @property
    def exists(self) -> bool:
        return self.path is not None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the mirror's lock: needed for everything that writes into it."""
        prepare_folder(self._settings)
        self.folder.mkdir(exist_ok=True, mode=0o700)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        waiting = threading.Event()
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EACCES):
                        raise
                if self._stop is not None and self._stop.is_set():
                    raise Stopped("the sync service is stopping")
                (self._stop or waiting).wait(0.05)
            yield
        finally:
            os.close(descriptor)

    # -- the remote -------------------------------------------------------------------------------------------

    def probe(self) -> tuple[str, int]:
        """The commit (a tag's is peeled) that the remote's ref names now, and the length of its ids.

        Raises ``SyncFailed`` with reason ``RefMissing`` when the ref does not exist.
        """
        name = self._source.ref.full_name
        assert name is not None
        prepare_folder(self._settings)
        finished = self._remote(["ls-remote", "--exit-code", "--end-of-options", self._source.url, name, name + "^{}"])
        if finished.status == 2:
            raise SyncFailed(
                "RefMissing",
                f"the repository has no {name}",
                hint="create it again, or change `ref`; nothing is deleted here meanwhile",
            )
        if finished.status != 0:
            raise self._failure(finished, "git ls-remote")
        # Patterns match tails too: refs/heads/x/refs/heads/main answers for refs/heads/main.
        refs: dict[str, str] = {}
        for line in finished.output.decode("utf-8", "replace").splitlines():
            oid_seen, _, ref = line.partition("\t")
            refs[ref] = oid_seen
        oid = refs.get(name + "^{}") or refs.get(name)
        if oid is None:
            raise SyncFailed("RefMissing", f"the repository has no {name}", hint="create it again, or change `ref`")
        return oid, len(oid)

    def fetch(self, id_length: int) -> str:
        """Fetch the source's ref; returns the id of the commit that is there now. Call it under ``locked``.

        A damaged mirror is rebuilt once.
        """
        path = self.path
        if path is not None and self._format(path) != id_length:
            log.warning("object format changed, making a new mirror", extra={"action": "mirror_rebuilt"})
            path = None
        if path is None:
            return self.rebuild(id_length)
        self._clear_stale(path)
        try:
            self._fetch_into(path)
            return self._fetched_commit(path)
        except MirrorBroken as broken:
            log.warning("mirror is damaged, rebuilding: %s", broken.message, extra={"action": "mirror_rebuilt"})
            return self.rebuild(id_length)

    def rebuild(self, id_length: int) -> str:
        """Fetch into a fresh mirror, check it, switch to it and delete the old ones. Call it under ``locked``."""
        old = [self.folder / entry.name for entry in os.scandir(self.folder) if entry.name.endswith(".git")]
        number = max((int(path.name[:-4]) for path in old), default=0) + 1
        fresh = self.folder / f"{number}.git"
        try:
            self._init(fresh, id_length)
            self._fetch_into(fresh)
            commit = self._fetched_commit(fresh)
            (fresh / READY).touch()
        except BaseException as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if isinstance(error, OSError):
                raise MirrorBroken(f"a new mirror cannot be made: {error.strerror}") from error
            raise
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        return commit

    def _init(self, path: Path, id_length: int) -> None:
        kind = "sha256" if id_length == 64 else "sha1"
        finished = self._local(
            ["init", "--quiet", "--bare", "--template=", f"--object-format={kind}", "--end-of-options", str(path)],
            mirror=None,
        )
        if finished.status != 0:
            raise classify(finished, "git init")
        path.chmod(0o700)

    def _format(self, path: Path) -> int:
        try:
            config = (path / "config").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return 0
        return 64 if re.search(r"objectformat\s*=\s*sha256", config, re.IGNORECASE) else 40

    def _fetch_into(self, path: Path) -> None:
        source = self._source
        wanted = source.ref.full_name or source.ref.value
        depth = [f"--depth={source.fetch.depth}"] if source.fetch.depth else []
        finished = self._remote(
            [
                "fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance",
                *depth, "--end-of-options", source.url, f"+{wanted}:{self.in_ref}",
            ],
            mirror=path,
        )  # fmt: skip
        if finished.status != 0:
            failure = self._failure(finished, "git fetch")
            self._clear_stale(path)
            if failure.reason == "Unreachable" and self._damaged(path):
                raise MirrorBroken(failure.message)
            raise failure

    def _fetched_commit(self, path: Path) -> str:
        with self.objects(path) as objects:
            info = objects.info([f"{self.in_ref}^{{commit}}"])[0]
            if info is None:
                if objects.info([self.in_ref])[0] is None:
                    raise MirrorBroken(f"{self.in_ref} cannot be read after the fetch")
                raise SyncFailed("NotACommit", f"{self._source.ref.value} names a tree or a blob, not a commit")
            # Reads the commit and its tree: a fetch into a damaged mirror can report success.
            tree = objects.info([f"{info.oid}^{{tree}}"])[0]
            if tree is None:
                raise MirrorBroken(f"the tree of {info.oid} is missing")
            return info.oid

    def _damaged(self, path: Path) -> bool:
        if not (path / "HEAD").exists():
            return True
        finished = self._local(["rev-parse", "--verify", "--quiet", "--end-of-options", self.applied_ref], mirror=path)
        if finished.status != 0:
            return False
        checked = self._local(["rev-list", "--objects", "--quiet", "--end-of-options", self.applied_ref], mirror=path)
        return checked.status != 0

    def _clear_stale(self, path: Path) -> None:
        """We hold the only lock: a lock or temporary file in the mirror was left by a process that was killed."""
        folders = [path, path / "objects", path / "objects" / "pack", path / "objects" / "info", path / "info"]
        folders += [Path(root) for root, _, _ in os.walk(path / "refs")]
        for folder in folders:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                for entry in os.scandir(folder):
                    if _STALE.fullmatch(entry.name) and not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.path)
                        log.warning("removed stale %s", entry.name, extra={"action": "stale_lock_removed"})

    # -- what is in it ----------------------------------------------------------------------------------------

    def objects(self, path: Path | None = None) -> Objects:
        """A reader of objects; close it."""
        mirror = path or self._path()
        environment = base_environment(self._settings, mirror, [])
        return Objects(self._git, environment, self._settings.mirror_dir / "home", timeout_s=LOCAL_TIMEOUT_S)

    def commit(self, objects: Objects, oid: str) -> Commit | None:
        """The commit, None when the mirror does not have it."""
        info = objects.info([f"{oid}^{{commit}}"])[0]
        if info is None:
            return None
        return parse_commit(info.oid, next(iter(objects.read([info.oid]))))

    def subtree(self, objects: Objects, commit: str, path: str) -> str:
        """The id of the folder ``path`` in the commit. Raises ``SyncFailed`` (``PathMissing``)."""
        info = objects.info([f"{commit}:{path}" if path else f"{commit}^{{tree}}"])[0]
        if info is None or info.type != "tree":
            what = "does not exist" if info is None else "is not a folder"
            raise SyncFailed(
                "PathMissing",
                f"'{path}' {what} in {commit[:10]}",
                hint="correct `path` of the source, or the repository; nothing is deleted here meanwhile",
            )
        return info.oid

    def entries(self, tree: str, max_entries: int) -> list[Entry]:
        """All files below the tree with their sizes. Raises ``SyncFailed`` (``Limit``) above ``max_entries``."""
        finished = self._local(
            ["ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree],
            max_output=max(max_entries * 1024, 1024 * 1024),
        )
        if finished.status != 0:
            raise classify(finished, "git ls-tree")
        found: list[Entry] = []
        records = finished.output.decode("utf-8", "surrogateescape").split("\0")
        for record in records:
            if record:
                head, path = record.split("\t", 1)
                mode, _, oid, size = head.split(None, 3)
                found.append(Entry(path, mode, oid, int(size) if size.strip() != "-" else -1))
        return found

    def changes(self, old_tree: str, new_tree: str) -> list[Change] | None:
        """What differs between two trees; None when the old one is no longer in the mirror."""
        finished = self._local(
            ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-commit-id", "--end-of-options", old_tree, new_tree]
        )
        if finished.status != 0:
            return None
        return [Change(path, entry) for _, path, entry in _raw(finished.output)]

    def renames(self, old_tree: str, new_tree: str, paths: Sequence[str]) -> dict[str, str]:
        """New path to old path where git sees at least 60 % likeness, among these paths."""
        if len(paths) > 500:
            return {}
        finished = self._local(
            [
                "diff-tree", "-r", "-z", "--raw", "-M60%", "--diff-filter=R",
                "--no-commit-id", "--end-of-options", old_tree, new_tree, "--", *paths,
            ]
        )  # fmt: skip
        if finished.status != 0:
            return {}
        fields = finished.output.decode("utf-8", "surrogateescape").split("\0")
        return {fields[i + 2]: fields[i + 1] for i in range(0, len(fields) - 2, 3) if fields[i].startswith(":")}

    def is_ancestor(self, older: str, newer: str) -> bool | None:
        """Whether ``older`` is in the history of ``newer``; None when that cannot be told."""
        finished = self._local(["merge-base", "--is-ancestor", "--end-of-options", older, newer])
        return {0: True, 1: False}.get(finished.status)

    def count(self, older: str, newer: str) -> int | None:
        """How many commits ``newer`` is ahead, None when that cannot be told."""
        finished = self._local(["rev-list", "--count", "--end-of-options", f"{older}..{newer}"])
        return int(finished.output) if finished.status == 0 else None

    def log(self, objects: Objects, commit: str, path: str, limit: int) -> list[Commit]:
        """The newest commits up to ``commit`` that changed something below ``path``, newest first."""
        listed = self._local(
            ["rev-list", f"--max-count={limit}", "--end-of-options", commit, "--", *([path] if path else [])]
        )
        if listed.status != 0:
            return []
        oids = listed.output.decode("ascii").split()
        return [parse_commit(oid, raw) for oid, raw in zip(oids, objects.read(oids), strict=True)]

    def authors(self, old: str | None, new: str, path: str, limit: int) -> dict[tuple[str, str], str]:
        """(path below ``path``, blob id) to the newest of ``limit`` commits that brought exactly this content."""
        span = f"{old}..{new}" if old else new
        listed = self._local(
            ["rev-list", f"--max-count={limit}", "--end-of-options", span, "--", *([path] if path else [])]
        )
        if listed.status != 0 or not listed.output:
            return {}
        finished = self._local(
            [
                "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-renames", "--root", "-m",
                *([f"--relative={path}"] if path else []),
            ],
            stdin=listed.output,
        )  # fmt: skip
        if finished.status != 0:
            return {}
        found: dict[tuple[str, str], str] = {}
        for commit, changed, entry in _raw(finished.output):
            if entry is not None:
                found.setdefault((changed, entry.oid), commit)
        return found

    # -- after an apply ---------------------------------------------------------------------------------------

    def keep_applied(self, commit: str) -> None:
        """Keep the applied commit reachable. Call it under ``locked``; losing it costs a full comparison only."""
        finished = self._local(["update-ref", "--end-of-options", self.applied_ref, commit])
        if finished.status != 0:
            log.warning("%s was not moved: %s", self.applied_ref, finished.errors.strip(), extra={"action": "ref_lost"})

    def tidy(self) -> None:
        """Join packs when there are many. Call it under ``locked``, never during a sync."""
        path = self._path()
        packs = len(list((path / "objects" / "pack").glob("*.pack")))
        if packs > 50:
            self._local(["repack", "-d", "--quiet", "--geometric=2"])

    def size_bytes(self) -> int:
        path = self.path
        if path is None:
            return 0
        return sum(entry.stat().st_size for entry in os.scandir(path / "objects" / "pack") if entry.is_file())

    # -- running git ------------------------------------------------------------------------------------------

    def _path(self) -> Path:
        path = self.path
        if path is None:
            raise MirrorBroken("there is no mirror")
        return path

    def _local(
        self,
        arguments: Sequence[str],
        *,
        mirror: Path | bool | None = True,
        stdin: bytes = b"",
        max_output: int = 512 * 1024 * 1024,
    ) -> Finished:
        path = self._path() if mirror is True else mirror or None
        return run(
            [self._git, *arguments],
            environment=base_environment(self._settings, path, []),
            cwd=self._settings.mirror_dir / "home",
            timeout_s=LOCAL_TIMEOUT_S,
            stdin=stdin,
            max_output=max_output,
            stop=self._stop,
        )

    def _remote(self, arguments: Sequence[str], *, mirror: Path | None = None, trace: bool = False) -> Finished:
        settings, source = self._settings, self._source
        with access(settings, source, mirror) as granted:
            environment = granted.environment | ({"GIT_TRACE_CURL": "1"} if trace else {})
            return run(
                [self._git, *arguments],
                environment=environment,
                cwd=settings.mirror_dir / "home",
                timeout_s=source.timeout.total_seconds(),
                max_output=64 * 1024 * 1024,
                file_bytes=source.fetch.max_pack_bytes,
                pass_fds=granted.pass_fds,
                secrets=granted.secrets,
                stop=self._stop,
            )

    def _failure(self, finished: Finished, what: str) -> SyncFailed:
        failure = classify(finished, what)
        if finished.status in (128 + signal.SIGXFSZ, -signal.SIGXFSZ) or "signal 25" in finished.errors:
            return SyncFailed("Limit", f"{what}: the pack is larger than fetch.max_pack_bytes")
        if failure.reason == "Redirect":
            name = self._source.ref.full_name or "HEAD"
            traced = self._remote(["ls-remote", "--end-of-options", self._source.url, name], trace=True)
            target = _LOCATION.search(traced.errors)
            if target:
                where = target[1].removesuffix("/info/refs?service=git-upload-pack")
                return SyncFailed("Redirect", f"the repository has moved to {where}", hint="change `url` of the source")
        return failure


def _raw(output: bytes) -> Iterator[tuple[str, str, Entry | None]]:
    """(commit, path, entry) of ``diff-tree -z --raw``; commit is empty unless it read commits from stdin."""
    fields = output.decode("utf-8", "surrogateescape").split("\0")
    commit = ""
    index = 0
    while index < len(fields):
        head = fields[index]
        if not head.startswith(":"):
            # With --stdin each commit's id stands alone before its changes.
            if head.strip():
                commit = head.strip()
            index += 1
            continue
        _, mode, _, oid, status = head.split(" ")
        path = fields[index + 1]
        yield commit, path, None if status == "D" else Entry(path, mode, oid)
        index += 2
