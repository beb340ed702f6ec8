"""The owner's side of scripts: start a supervisor, follow its log, stop it, read its result, adopt it after a restart.

What happens between fork and the result is in ``bare``; what a script task is, in ``runner.tasks.scripts``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from namespaces import crash
from namespaces.errors import Unavailable
from runner.worker.bare import processes, spool
from runner.worker.limits import Limits

log = logging.getLogger(__name__)

Frame = tuple[int, int, int, bytes]
"""Number, microseconds since 1970, stream (1 stdout, 2 stderr, 3 marker of dropped lines), the line's bytes."""

OnFrames = Callable[[list[Frame]], None]

POLL_S = 0.1
"""How often an adopted attempt is looked at: nothing tells us of its news."""

_SOURCES = Path(__file__).resolve().parents[2]
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from runner.worker.bare.program import main; main(int(sys.argv[2]))"
)

_READ = 256 << 10
"""Bytes of log read at once: with the shortest lines still fewer than may wait for the database."""
_TRASH = ".gone-"
_USUAL_FILES = ("spec.json", "pid", "log", "result.json", "result.json.tmp")
_USUAL_FOLDERS = ("work", "tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptSpec:
    """One process to run. ``after`` is kept in the spool for whoever adopts the attempt; JSON values only."""

    task_run_id: str
    epoch: int
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    timeout_s: float | None = None
    after: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """How a script ended. ``reason``: exit, timeout, killed, abandoned, start_failed, oom, cpu, pids, fsize or lost."""

    epoch: int
    reason: str
    code: int | None = None
    signal: int | None = None
    error: str | None = None
    dropped: int = 0
    met: tuple[str, ...] = ()
    """Limits of the log (``limits.*``) that cost a line or a part of one."""
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class User:
    """Who scripts run as, when the server is root and is told so."""

    uid: int
    gid: int


class Script:
    """A script that runs (or ran) under its supervisor; ``folder`` is its spool."""

    def __init__(self, folder: Path, spec: Mapping[str, Any], owner: socket.socket | None) -> None:
        self.folder = folder
        self.spec = spec
        self._owner = owner
        self._offset = 0
        self._lock = threading.Lock()
        self._told = b""

    @property
    def key(self) -> tuple[str, int]:
        return str(self.spec["task_run_id"]), int(self.spec["epoch"])

    def stop(self) -> None:
        """Ask for the end: TERM, grace time, KILL. Returns at once; the result says ``killed``."""
        with self._lock:
            if self._owner is not None:
                try:
                    self._owner.send(b"K", socket.MSG_NOSIGNAL)
                    return
                except OSError:
                    pass
        self._signal(signal.SIGTERM)

    def follow(
        self, on_frames: OnFrames, idle: Callable[[], bool] = lambda: False, ready: Callable[[], bool] = lambda: True
    ) -> None:
        """Hand every new line on until the script has ended.

        ``idle`` is called after each look, and again within 0.1 s as long as it says True. While ``ready`` says no,
        lines wait in the spool.
        """
        if self._owner is not None:
            self._follow_socket(self._owner, on_frames, idle, ready)
        else:
            self._follow_files(on_frames, idle, ready)
        while True:
            if not ready():
                time.sleep(POLL_S)
                idle()
            elif frames := self._read():
                on_frames(frames)
            else:
                return

    def _follow_socket(
        self, owner: socket.socket, on_frames: OnFrames, idle: Callable[[], bool], ready: Callable[[], bool]
    ) -> None:
        poll = select.poll()
        poll.register(owner, select.POLLIN | select.POLLHUP)
        behind = False
        while True:
            if poll.poll(POLL_S * 1000 if behind else None):
                try:
                    words = owner.recv(65536)
                except OSError:
                    words = b""
                _, end, data = words.partition(b"E")
                if end:
                    self._told = data
                if not words or end:
                    return
            behind = idle()
            if not ready():
                behind = True
            elif frames := self._read():
                on_frames(frames)
                behind = True

    def _follow_files(self, on_frames: OnFrames, idle: Callable[[], bool], ready: Callable[[], bool]) -> None:
        begun = time.monotonic()
        while not (self.folder / "result.json").exists():
            if ready() and (frames := self._read()):
                on_frames(frames)
            registered = (self.folder / "pid").exists()
            if not self.alive() and (registered or time.monotonic() - begun > 1):
                return
            time.sleep(POLL_S)
            idle()

    def _read(self, size: int = _READ) -> list[Frame]:
        """Whole frames that nobody has read yet, about ``size`` bytes of them."""
        try:
            fd = os.open(self.folder / "log", os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            data = os.pread(fd, size, self._offset)
        finally:
            os.close(fd)
        frames: list[Frame] = []
        at, head = 0, spool.FRAME.size
        while len(data) - at >= head:
            number, micros, stream, length = spool.FRAME.unpack_from(data, at)
            if len(data) - at - head < length:
                break
            frames.append((number, micros, stream, data[at + head : at + head + length]))
            at += head + length
        self._offset += at
        if not frames and len(data) == size:
            return self._read(2 * size)  # one frame is longer than what was read
        return frames

    def alive(self) -> bool:
        """Whether the supervisor's process still exists (same host boot, same pid, same start time)."""
        pid = self._pid()
        return pid is not None

    def _pid(self) -> int | None:
        try:
            data = json.loads((self.folder / "pid").read_bytes())
        except (OSError, ValueError):
            return None
        pid = int(data["pid"])
        if data["boot"] != processes.boot_id() or processes.process_start(pid) != data["start"]:
            return None
        return pid

    def _signal(self, number: int) -> None:
        pid = self._pid()
        if pid is not None:
            processes.send([pid], number)

    def result(self) -> ScriptResult:
        """How it ended; ``lost`` when the supervisor died without a word (what it left behind is killed here)."""
        try:
            data = json.loads(self._told or (self.folder / "result.json").read_bytes())
        except (OSError, ValueError):
            self._kill_marked()
            return ScriptResult(epoch=self.key[1], reason="lost", error=self._crash())
        return ScriptResult(
            epoch=data["epoch"],
            reason=data["reason"],
            code=data["code"],
            signal=data["signal"],
            error=data["error"],
            dropped=data["dropped"],
            met=tuple(data.get("met", ())),
            isolation=data["isolation"],
        )

    def _crash(self) -> str | None:
        try:
            text = (self.folder / "crash").read_text()
        except OSError:
            return None
        log.error("the supervisor of attempt %s failed: %s", self.key, text)
        return text.splitlines()[0] if text else None

    def _kill_marked(self) -> None:
        for _ in range(500):
            pids = processes.marked(*self.key)
            if not pids:
                return
            processes.send(pids, signal.SIGSTOP)
            processes.send(pids, signal.SIGKILL)
            time.sleep(0.01)

    def close(self) -> None:
        with self._lock:
            if self._owner is not None:
                self._owner.close()
                self._owner = None

    def recorded(self) -> None:
        """The end is in the database: the supervisor need not keep it."""
        with self._lock:
            if self._owner is not None:
                with contextlib.suppress(OSError):
                    self._owner.send(b"D", socket.MSG_NOSIGNAL)

    def discard(self) -> None:
        """Remove the spool with everything in it; the result has been recorded."""
        self.recorded()
        self.close()
        remove_folder(self.folder)

    def kill(self) -> None:
        """End a script nobody wants any more, without waiting for its manners, and remove its spool."""
        pid = self._pid()
        if pid is not None:
            processes.send([pid], signal.SIGSTOP)
            below = processes.descendants(pid)
            processes.send(below, signal.SIGSTOP)
            processes.send([*below, *processes.descendants(pid), pid], signal.SIGKILL)
        self._kill_marked()
        self.discard()


class Spawner:
    """Starts supervisors through one small forking interpreter, so that the server itself never forks.

    ``root`` is the spool of this worker: no other worker may use it. Start is lazy; ``warm`` does it early.
    """

    def __init__(
        self,
        root: Path,
        limits: Limits | None = None,
        *,
        user: User | None = None,
        pid_namespace: bool = False,
        python: str | None = None,
    ) -> None:
        self.root = root
        self.limits = limits or Limits()
        self.user = user
        self.pid_namespace = pid_namespace
        self._python = python or sys.executable
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = threading.Event()
        self._heart: threading.Thread | None = None

    @property
    def heartbeat(self) -> Path:
        return self.root / "heartbeat"

    def folder(self, task_run_id: str, epoch: int) -> Path:
        """The private folder of one attempt: spool, ``work`` and ``tmp`` inside. Made here, mode 0700."""
        folder = self.root / f"{task_run_id}-{epoch}"
        mode = 0o711 if self.user else 0o700
        try:
            os.mkdir(folder, mode)
        except FileExistsError:
            pass
        except FileNotFoundError:
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
        return folder

    def warm(self) -> None:
        """Have the spawner ready before the first script needs it."""
        with self._lock:
            self._ensure()

    def spawn(self, spec: ScriptSpec) -> Script:
        """Start the process and return at once. Raises ``Unavailable`` when no supervisor can be started."""
        folder = self.root / f"{spec.task_run_id}-{spec.epoch}"
        written = self._write_spec(folder, spec)
        if self.user is not None:
            self._give_away(folder, self.user)
        mine, theirs = socket.socketpair()
        try:
            with self._lock:
                for last in (False, True):
                    control = self._ensure()
                    try:
                        socket.send_fds(control, [str(folder).encode()], [theirs.fileno()])
                        break
                    except OSError as error:
                        self._drop()
                        if last:
                            raise Unavailable(f"no supervisor could be started: {error}") from error
        except BaseException:
            mine.close()
            raise
        finally:
            theirs.close()
        crash.reach("spawn.after_fork")
        return Script(folder, written, mine)

    def _give_away(self, folder: Path, user: User) -> None:
        """The script's own folders belong to the user it runs as; spool files stay ours."""
        for top in folder.iterdir():
            if top.is_dir():
                for place, folders, files in os.walk(top):
                    for name in (".", *folders, *files):
                        os.chown(os.path.join(place, name), user.uid, user.gid, follow_symlinks=False)

    def _write_spec(self, folder: Path, spec: ScriptSpec) -> dict[str, Any]:
        limits = self.limits
        written = {
            "task_run_id": spec.task_run_id,
            "epoch": spec.epoch,
            "argv": list(spec.argv),
            "env": dict(spec.env),
            "cwd": str(spec.cwd),
            "timeout": spec.timeout_s,
            "grace": limits.kill_grace_s,
            "heartbeat": str(self.heartbeat),
            "orphan_after": limits.orphan_after_s,
            "pid_namespace": self.pid_namespace,
            "uid": self.user.uid if self.user else None,
            "gid": self.user.gid if self.user else None,
            "limits": {
                "head": limits.log_head,
                "tail": limits.log_tail,
                "line": limits.log_line,
                "rate": limits.log_rate,
                "processes": limits.processes,
                "memory": limits.memory,
                "cpu": limits.cpu_s,
                "fsize": limits.written_file,
            },
            "after": dict(spec.after),
        }
        path = folder / "spec.json"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(json.dumps(written).encode())
        return written

    def _ensure(self) -> socket.socket:
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        self._drop()
        if self._closed.is_set():
            raise Unavailable("the worker is stopping")
        self.root.mkdir(mode=0o711 if self.user else 0o700, parents=True, exist_ok=True)
        self._start_heart()
        mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [self._python, "-I", "-S", "-c", _PROGRAM, str(_SOURCES), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                cwd="/",
                start_new_session=True,
            )
        self._control = mine
        return mine

    def _drop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def _start_heart(self) -> None:
        if self._heart is None:
            self.beat()
            self._heart = threading.Thread(target=self._beat_on, name="spool-heartbeat", daemon=True)
            self._heart.start()

    def _beat_on(self) -> None:
        while not self._closed.wait(self.limits.heartbeat_s):
            try:
                self.beat()
            except OSError as error:
                log.warning("cannot renew %s: %s", self.heartbeat, error)

    def beat(self) -> None:
        """Tell the supervisors that their owner lives."""
        self.heartbeat.touch()
        os.utime(self.heartbeat)

    def adoptable(self) -> list[Script]:
        """The attempts found in the spool at start-up, running or ended; call before anything is spawned."""
        if not self.root.is_dir():
            return []
        self._start_heart()
        found = []
        for folder in sorted(self.root.iterdir()):
            if not folder.is_dir():
                continue
            if folder.name.startswith(_TRASH):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                spec = json.loads((folder / "spec.json").read_bytes())
            except (OSError, ValueError):
                if (folder / "block.json").exists():
                    continue
                shutil.rmtree(folder, ignore_errors=True)
                continue
            found.append(Script(folder, spec, None))
        return found

    def close(self) -> None:
        """Let go: running scripts live on for adoption; the spawner ends when its socket closes."""
        self._closed.set()
        with self._lock:
            self._drop()


def remove_folder(folder: Path) -> None:
    """Remove an attempt's folder. It is renamed first: a supervisor that still writes its result finds nothing."""
    trash = f"{folder.parent}/{_TRASH}{folder.name}"
    try:
        os.rename(folder, trash)
    except FileNotFoundError:
        return
    except OSError:
        trash = str(folder)
    try:
        for name in _USUAL_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{trash}/{name}")
        for name in _USUAL_FOLDERS:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(f"{trash}/{name}")
        os.rmdir(trash)
    except OSError:  # there is more than a short script leaves
        for _ in range(2):
            shutil.rmtree(trash, ignore_errors=True)
