"""Runs the git program: fixed argument lists behind ``env -i``, own watchdog, redacted errors. Imports GitPython alone.

What is asked of git, and what the answers mean, is in ``sync.mirror``. See ``docs/adr/0006-git-and-revisions.md``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sync.addresses import redact
from sync.errors import MirrorBroken, Stopped, SyncFailed

ENV_PROGRAM = "/usr/bin/env"
SEARCH = ("/usr/bin", "/usr/local/bin", "/bin")
STDERR_LIMIT = 64 * 1024
OUTPUT_LIMIT = 256 * 1024 * 1024
ADDRESS_SPACE = 16 * 1024**3
CHUNK = 300
"""Requests written to ``cat-file`` at a time. Two such lots fit into a pipe, so that neither side waits for ever."""
PIPE_BYTES = 1024 * 1024
F_SETPIPE_SZ = 1031


@dataclass(frozen=True, slots=True)
class Finished:
    status: int
    output: bytes
    errors: str


def find_git(program: str = "") -> str:
    """The absolute path of the git program. Raises ``SyncFailed`` when there is none."""
    for candidate in [program] if program else [f"{folder}/git" for folder in SEARCH]:
        if os.access(candidate, os.X_OK):
            return candidate
    raise SyncFailed("Mirror", "no git program was found", hint=f"install git 2.39 or later in one of {SEARCH}")


def spawn(arguments: Sequence[str], environment: dict[str, str], cwd: Path, **options: Any) -> subprocess.Popen[bytes]:
    """Start git with this environment and no other; ``arguments[0]`` is its absolute path.

    GitPython adds our process's environment to the child's, so ``env -i`` throws it away again. None of the values
    is a secret: those travel through pipes.
    """
    import git.cmd  # heavy, and only needed when something is synced

    command = [ENV_PROGRAM, "-i", *(f"{name}={value}" for name, value in environment.items()), *arguments]
    started = git.cmd.Git(str(cwd)).execute(command, as_process=True, start_new_session=True, close_fds=True, **options)
    process: subprocess.Popen[bytes] = started.proc
    # Taken out of its wrapper: that would only ever kill the one process, and check the status in its own way.
    started.proc = None
    return process


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End git and everything it started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def limit(process: subprocess.Popen[bytes], *, file_bytes: int, cpu_s: int) -> None:
    """Bound what the child may write and burn; it has just been started, its own children inherit the limits."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
        resource.prlimit(process.pid, resource.RLIMIT_CPU, (cpu_s, cpu_s))
        resource.prlimit(process.pid, resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))


def run(
    arguments: Sequence[str],
    *,
    environment: dict[str, str],
    cwd: Path,
    timeout_s: float,
    stdin: bytes = b"",
    max_output: int = OUTPUT_LIMIT,
    file_bytes: int = 8 * 1024**3,
    pass_fds: Collection[int] = (),
    secrets: Collection[str] = (),
    stop: threading.Event | None = None,
    watch: Callable[[], None] | None = None,
) -> Finished:
    """Run one git command to its end. The status is the caller's to judge.

    Raises ``SyncFailed`` (``Timeout``, ``Limit``) and ``Stopped`` after killing the whole process group. ``watch``
    is called a few times a second and may raise to end the command.
    """
    process = spawn(
        arguments,
        environment,
        cwd,
        istream=subprocess.PIPE if stdin else subprocess.DEVNULL,
        pass_fds=tuple(pass_fds),
    )
    try:
        limit(process, file_bytes=file_bytes, cpu_s=int(timeout_s) + 60)
        output, errors = _collect(process, stdin, time.monotonic() + timeout_s, max_output, stop, watch)
        status = process.wait()
    except BaseException:
        kill_group(process)
        process.wait()
        raise
    finally:
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
    return Finished(status, output, redact(errors.decode("utf-8", "replace"), secrets))


def _collect(
    process: subprocess.Popen[bytes],
    stdin: bytes,
    deadline: float,
    max_output: int,
    stop: threading.Event | None,
    watch: Callable[[], None] | None,
) -> tuple[bytes, bytes]:
    assert process.stdout is not None
    assert process.stderr is not None
    output, errors = bytearray(), bytearray()
    exited_at: float | None = None
    rest = memoryview(stdin)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while any(key.events & selectors.EVENT_READ for key in selector.get_map().values()):
            now = time.monotonic()
            if now >= deadline:
                raise SyncFailed("Timeout", "git did not finish in time and was ended with everything it started")
            if stop is not None and stop.is_set():
                raise Stopped("the sync service is stopping")
            if watch is not None:
                watch()
            ready = selector.select(min(0.2, deadline - now))
            for key, _ in ready:
                if key.fileobj is process.stdin:
                    try:
                        rest = rest[os.write(key.fd, rest[: 64 * 1024]) :]
                    except BrokenPipeError:
                        rest = rest[:0]
                    if not rest:
                        selector.unregister(key.fileobj)
                        process.stdin.close()
                    continue
                data = os.read(key.fd, 256 * 1024)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    output += data
                    if len(output) > max_output:
                        raise SyncFailed("Limit", f"git answered with more than {max_output:,} bytes")
                elif len(errors) < STDERR_LIMIT:
                    errors += data[: STDERR_LIMIT - len(errors)]
            if not ready and process.poll() is not None:
                # Something git started keeps its pipe open after git has gone.
                exited_at = exited_at or now
                if now - exited_at > 1:
                    kill_group(process)
                    break
    return bytes(output), bytes(errors)


_CLASSES: tuple[tuple[str, str], ...] = (
    ("HostKey", r"host key verification failed|remote host identification has changed|no .* host key is known"),
    ("NotAllowed", r"transport '.*' not allowed|strange (pathname|hostname).* blocked"),
    ("Redirect", r"returned error: 30[1278]|unable to update url base from redirection"),
    (
        "AuthFailed",
        r"authentication failed|could not read (username|password)|returned error: 40[13]|permission denied \(|"
        r"invalid credentials|access denied|terminal prompts disabled|incorrect passphrase|error in libcrypto",
    ),
    ("RefMissing", r"couldn't find remote ref|not our ref|no such remote ref|upload-pack: not our ref"),
    (
        "NotFound",
        r"repository (not found|'.*' not found)|returned error: 404|does not appear to be a git repository",
    ),
    ("TLS", r"ssl certificate problem|certificate verif|gnutls_handshake|ssl_connect|ssl routines|self[- ]signed"),
    ("Mirror", r"no space left on device|read-only file system|disk quota exceeded|unable to write file"),
    ("Limit", r"file size limit exceeded|signal 25|file too large"),
    ("BadObjects", r"fsck error|error in object|fsck.*failed|badtree|hasdot|treenotsorted|malformed"),
    (
        "Unreachable",
        r"could not resolve|connection refused|connection timed out|unreachable|early eof|unexpected disconnect|"
        r"too slow|connection reset|hung up|returned error: (429|5\d\d)|failed to connect|timed out|empty reply|"
        r"index-pack failed|invalid index-pack output|could not read from remote|rpc failed|protocol error|closed by",
    ),
)
_PATTERNS = tuple((reason, re.compile(pattern, re.IGNORECASE)) for reason, pattern in _CLASSES)
_BROKEN = re.compile(
    r"loose object .* corrupt|packfile .* (cannot be accessed|is corrupt|does not match)|bad object|"
    r"pack has bad object|inflate: data stream error|object file .* is empty|unable to (unpack|read) .* header|"
    r"bad pack|file .* is not a git packfile|fatal: bad (tree|config)|missing (blob|tree|commit)|"
    r"index file .*(corrupt|too small|bad)|fatal: not a git repository: ",
    re.IGNORECASE,
)


def classify(finished: Finished, what: str) -> SyncFailed:
    """The failure behind a command that ended badly; the first lines of git's own words are the message."""
    lines = [line.strip() for line in finished.errors.splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(("hint:", "warning: redirecting"))]
    shown = "; ".join(lines)[:500] or f"git ended with status {finished.status}"
    if finished.status == -signal.SIGXFSZ:
        return SyncFailed("Limit", f"{what}: the pack is larger than fetch.max_pack_bytes")
    for reason, pattern in _PATTERNS:
        if pattern.search(finished.errors):
            return SyncFailed(reason, f"{what}: {shown}")
    if _BROKEN.search(finished.errors):
        return MirrorBroken(f"{what}: {shown}")
    return SyncFailed("Unreachable", f"{what}: {shown}")


@dataclass(frozen=True, slots=True)
class Info:
    oid: str
    type: str
    size: int


class Objects:
    """One ``cat-file --batch-command`` process: answers any number of questions about a mirror's objects."""

    def __init__(self, program: str, environment: dict[str, str], cwd: Path, *, timeout_s: float) -> None:
        self._process = spawn(
            [program, "cat-file", "--batch-command", "--buffer"], environment, cwd, istream=subprocess.PIPE
        )
        limit(self._process, file_bytes=1024 * 1024, cpu_s=int(timeout_s) + 60)
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):  # a wish: many users may have used up their share
            fcntl.fcntl(self._process.stdout, F_SETPIPE_SZ, PIPE_BYTES)
        # The reader below blocks: a mirror on a hung disk must not hold the lease for ever.
        self._watchdog = threading.Timer(timeout_s, kill_group, (self._process,))
        self._watchdog.daemon = True
        self._watchdog.start()

    def close(self) -> None:
        self._watchdog.cancel()
        kill_group(self._process)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def info(self, names: Sequence[str]) -> list[Info | None]:
        """Id, type and size of each object; None for one that does not exist."""
        return [self._header() for _ in self._asked("info", names)]

    def read(self, oids: Sequence[str]) -> Iterator[bytes]:
        """The content of each object, in order, one at a time in memory. Raises ``MirrorBroken``."""
        stdout = self._process.stdout
        assert stdout is not None
        for oid in self._asked("contents", oids):
            header = self._header()
            if header is None:
                raise MirrorBroken(f"object {oid} is missing from the mirror")
            data = stdout.read(header.size + 1)
            if len(data) != header.size + 1:
                raise MirrorBroken(f"object {oid} cannot be read: {self._last_words()}")
            yield data[:-1]

    def _asked(self, command: str, names: Sequence[str]) -> Iterator[str]:
        """Each name when its answer is due; the next lot is asked for before, so that git reads while we parse."""
        lots = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
        for index, lot in enumerate(lots):
            if index == 0:
                self._ask(command, lot)
            if index + 1 < len(lots):
                self._ask(command, lots[index + 1])
            yield from lot

    def _ask(self, command: str, names: Sequence[str]) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        lines = "".join(f"{command} {name}\n" for name in names) + "flush\n"
        try:
            stdin.write(lines.encode("utf-8", "surrogateescape"))
            stdin.flush()
        except BrokenPipeError:
            raise MirrorBroken(f"objects cannot be read: {self._last_words()}") from None

    def _header(self) -> Info | None:
        stdout = self._process.stdout
        assert stdout is not None
        line = stdout.readline()
        if not line:
            raise MirrorBroken(f"objects cannot be read: {self._last_words()}")
        words = line.decode("utf-8", "replace").rstrip("\n").rsplit(" ", 2)
        if len(words) != 3 or not words[2].isdigit():
            return None
        return Info(words[0], words[1], int(words[2]))

    def _last_words(self) -> str:
        kill_group(self._process)
        stderr = self._process.stderr
        return redact((stderr.read(STDERR_LIMIT) if stderr else b"").decode("utf-8", "replace").strip())[:300]
