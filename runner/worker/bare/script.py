"""The supervisor of one script: owns its processes, pipes, time limit, log and result."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import time
from typing import Any, NoReturn

from runner.worker.bare.processes import (
    boot_id,
    cpu_seconds,
    descendants,
    ended_cpu_seconds,
    marked,
    oom_kills,
    process_start,
    resident,
    send,
)
from runner.worker.bare.spool import STDERR, STDOUT, Lines, Spool, replace_file

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
CLONE_NEWNS, CLONE_NEWPID = 0x00020000, 0x20000000
MS_REC, MS_PRIVATE, MS_NOSUID_NODEV_NOEXEC = 0x4000, 0x40000, 0x2 | 0x4 | 0x8
DEFAULT_SIGNALS = [
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGQUIT,
]
AFTER_END_S = 1.0
FIRST_TICK_S = 0.25
TICK_S = 0.5
BOUND_TICK_S = 0.1
"""How often a script with a bound on memory or processor time is looked at."""
RECORDED_WITHIN_S = 0.1
LIBC = ctypes.CDLL(None, use_errno=True)
BOOT = boot_id()


def ignore(*_: object) -> None:
    pass


def candidates(name: str, env: dict[str, str]) -> list[str]:
    """Where a program may be: the path itself, or each folder of the script's own PATH."""
    if "/" in name:
        return [name]
    return [os.path.join(folder or ".", name) for folder in env.get("PATH", os.defpath).split(":")]


def explained(name: str, error: OSError) -> str:
    """One line for a process that could not be started."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"not found: {name}"
    if error.errno == errno.EACCES:
        return f"not executable: {name}"
    if error.errno == errno.ENOEXEC:
        return f"exec format error: {name}"
    if error.errno == errno.E2BIG:
        return f"argument list too long: {name}"
    return f"{name}: {error.strerror}"


class Home:
    """What a supervising process prepares once, before it is known what to run."""

    def __init__(self) -> None:
        os.setsid()
        gc.disable()
        LIBC.prctl(PR_SET_NAME, b"lanner-script", 0, 0, 0)
        adopts = LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        self.isolation = "subreaper" if adopts else "process group"
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, ignore)
        signal.signal(signal.SIGINT, ignore)
        signal.signal(signal.SIGHUP, ignore)
        self.start_time = process_start(os.getpid())


class Supervisor:
    """Runs one script to its end and sees to its result."""

    spec: dict[str, Any]
    limits: dict[str, int]
    spool: Spool
    streams: list[Lines]

    def __init__(self, home: Home, folder: str, owner: socket.socket) -> None:
        self.home = home
        self.folder = folder
        self.owner: socket.socket | None = owner
        self.wake = home.wake
        self.isolation = home.isolation
        self.reason = "exit"
        self.error: str | None = None
        self.status: int | None = None
        self.term_at: float | None = None
        self.kill_at: float | None = None
        self.stopping = False
        self.child: int | None = None
        self.main_ended: float | None = None
        self.oom_before: int | None = None
        self.ended_cpu = ended_cpu_seconds()
        self.started = time.time()
        self.begun = time.monotonic()

    def run(self) -> bool:
        """From the spec to the result. Whether this process may serve another script: nothing of this one is left."""
        signal.signal(signal.SIGTERM, lambda *_: self.stop("killed"))
        with open(os.path.join(self.folder, "spec.json"), "rb") as file:
            self.spec = json.loads(file.read())
        self.limits = self.spec["limits"]
        self.spool = Spool(os.path.join(self.folder, "log"), self.limits)
        out, out_write = os.pipe()
        err, err_write = os.pipe()
        self.start(out_write, err_write)
        os.close(out_write)
        os.close(err_write)
        self.streams = [
            Lines(out, STDOUT, self.spool, self.limits["line"]),
            Lines(err, STDERR, self.spool, self.limits["line"]),
        ]
        self.register()
        self.loop()
        return self.finish()

    def register(self) -> None:
        """Tell whoever adopts this attempt which process to look for."""
        data = {"pid": os.getpid(), "start": self.home.start_time, "boot": BOOT, "child": self.child}
        fd = os.open(os.path.join(self.folder, "pid"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, json.dumps(data).encode())
        os.close(fd)

    def start(self, out: int, err: int) -> None:
        if self.spec.get("pid_namespace") or self.spec.get("uid") is not None:
            self.start_by_fork(out, err)
        else:
            self.start_by_spawn(out, err)

    def start_by_spawn(self, out: int, err: int) -> None:
        """The fast way: everything a script inherits is set in this process, which exists for this script alone."""
        self.restrict()
        files = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, out, 1),
            (os.POSIX_SPAWN_DUP2, err, 2),
        ]
        argv, env = self.spec["argv"], self.spec["env"]
        try:
            os.chdir(self.spec["cwd"])
        except OSError as error:
            self.fault("the working folder", error)
            return
        last: OSError = FileNotFoundError(errno.ENOENT, "")
        for path in candidates(argv[0], env):
            try:
                self.child = os.posix_spawn(
                    path, argv, env, file_actions=files, setsid=True, setsigmask=[], setsigdef=DEFAULT_SIGNALS
                )
                os.chdir("/")
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                    last = error
        self.fault(argv[0], last)

    def restrict(self) -> None:
        os.umask(0o077)
        if self.limits.get("fsize"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limits["fsize"], self.limits["fsize"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def fault(self, name: str, error: OSError) -> None:
        self.reason, self.error, self.status = "start_failed", explained(name, error), 127 << 8

    def start_by_fork(self, out: int, err: int) -> None:
        fault_read, fault_write = os.pipe()
        namespace = self.spec.get("pid_namespace") and LIBC.unshare(CLONE_NEWPID) == 0
        child = os.fork()
        if child == 0:
            try:
                if namespace:
                    self.become_init(out, err, fault_write)
                else:
                    self.execute(out, err, fault_write)
            finally:
                os._exit(127)
        os.close(fault_write)
        if namespace:
            self.isolation = "pid namespace"
        self.child = child
        with os.fdopen(fault_read, "rb") as file:
            fault = file.read()
        if fault:
            self.reason, self.error = "start_failed", fault.decode(errors="replace")

    def become_init(self, out: int, err: int, fault: int) -> NoReturn:
        """First process of a new PID namespace: when it goes, the kernel ends everything below it."""
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if LIBC.unshare(CLONE_NEWNS) == 0:
            LIBC.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
            LIBC.mount(b"proc", b"/proc", b"proc", MS_NOSUID_NODEV_NOEXEC, None)
        signal.set_wakeup_fd(-1)
        main = os.fork()
        if main == 0:
            self.execute(out, err, fault)
        os.closerange(0, 3)
        os.closerange(3, 256)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: send([main], received))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == main:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)

    def execute(self, out: int, err: int, fault: int) -> NoReturn:
        """Between fork and exec: the process becomes the script."""
        spec, stage = self.spec, "start"
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for number in DEFAULT_SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDONLY)
            os.dup2(nothing, 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            fault = fcntl.fcntl(fault, fcntl.F_DUPFD_CLOEXEC, 3)
            os.closerange(3, fault)
            os.closerange(fault + 1, max(256, fault + 64))
            self.restrict()
            if spec.get("uid") is not None:
                os.setgroups([])
                os.setgid(spec["gid"])
                os.setuid(spec["uid"])
                if self.limits.get("processes"):
                    resource.setrlimit(resource.RLIMIT_NPROC, (self.limits["processes"], self.limits["processes"]))
            if not spec.get("pid_namespace"):
                LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            stage = "the working folder"
            os.chdir(spec["cwd"])
            stage = spec["argv"][0]
            os.execvpe(spec["argv"][0], spec["argv"], spec["env"])  # noqa: S606 - an argument list, no shell
        except OSError as error:
            os.write(fault, explained(stage, error).encode(errors="replace"))
        os._exit(127)

    # -- watching ------------------------------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the script: TERM now, KILL after the grace time. The first reason stays."""
        if self.stopping:
            return
        self.stopping = True
        self.reason = reason
        self.term_at = time.monotonic()

    def loop(self) -> None:
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        for stream in self.streams:
            poll.register(stream.fd, select.POLLIN | select.POLLHUP)
        owner = -1 if self.owner is None else self.owner.fileno()
        poll.register(owner, select.POLLIN | select.POLLHUP)
        by_fd = {stream.fd: stream for stream in self.streams}
        heartbeat = self.spec.get("heartbeat")
        beat: int | None = None
        beat_seen = time.monotonic()
        tick = FIRST_TICK_S
        while True:
            for fd, _ in poll.poll(tick * 1000):
                if fd == self.wake:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self.wake, 512)
                elif fd == owner:
                    if not self.hear():
                        poll.unregister(owner)
                        owner = -1
                elif fd in by_fd:
                    stream = by_fd[fd]
                    stream.read()
                    if not stream.open:
                        poll.unregister(fd)
                        del by_fd[fd]
            if self.spool.flush():
                self.tell(b"L")
            now = time.monotonic()
            if self.over(self.reap(), now):
                break
            tick = self.pace(now)
            if heartbeat:
                seen = modified(heartbeat)
                if seen != beat:
                    beat, beat_seen = seen, now
                elif now - beat_seen > self.spec.get("orphan_after", 60):
                    self.stop("abandoned")
        for stream in list(by_fd.values()):
            while stream.open and stream.read():
                pass
            if stream.open:
                stream.end()

    def recorded(self) -> bool:
        """Whether the owner says at once that it has recorded the end: then no file has to outlive this process."""
        if self.owner is None:
            return False
        self.owner.settimeout(RECORDED_WITHIN_S)
        try:
            return b"D" in self.owner.recv(16)
        except OSError:
            return False

    def hear(self) -> bool:
        """A word from the owner; False when it is gone."""
        assert self.owner is not None
        try:
            word = self.owner.recv(16)
        except OSError:
            word = b""
        if not word:
            self.owner.close()
            self.owner = None
            return False
        if b"K" in word:
            self.stop("killed")
        return True

    def over(self, alone: bool, now: float) -> bool:
        """True when the script and all it started are gone; on the way there, ask and then force them."""
        if self.status is not None and self.main_ended is None:
            self.main_ended = now
        if self.main_ended is not None:
            if alone:
                return True
            if self.stopping or now - self.main_ended > 2 * AFTER_END_S:
                self.kill_everything()
                return True
            if self.term_at is None and now - self.main_ended > AFTER_END_S:
                self.term_at = now
        limit = self.spec.get("timeout")
        if limit is not None and now - self.begun >= limit and self.main_ended is None:
            self.stop("timeout")
        if self.term_at is not None and self.kill_at is None:
            self.kill_at = self.term_at + self.spec.get("grace", 10)
            if self.isolation == "process group" and self.child is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.child, signal.SIGTERM)
            else:
                send(descendants(os.getpid()), signal.SIGTERM)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_everything()
            return True
        return False

    def pace(self, now: float) -> float:
        """Seconds until this loop wants to look again when nothing happens."""
        if self.main_ended is not None or self.term_at is not None:
            return 0.05
        if now - self.begun < FIRST_TICK_S:
            tick = FIRST_TICK_S
        else:
            if self.oom_before is None:
                self.oom_before = oom_kills()
            self.check_processes()
            tick = BOUND_TICK_S if self.limits.get("memory") or self.limits.get("cpu") else TICK_S
        limit = self.spec.get("timeout")
        return tick if limit is None else max(0.001, min(tick, self.begun + limit - now))

    def tell(self, word: bytes) -> None:
        if self.owner is not None:
            with contextlib.suppress(OSError):
                self.owner.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def reap(self) -> bool:
        """Collect ended children; True when none is left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.child:
                self.status = status

    def check_processes(self) -> None:
        """End a script that has more processes, memory or processor time than it may."""
        below = descendants(os.getpid())
        processes, memory, cpu = (self.limits.get(name) for name in ("processes", "memory", "cpu"))
        reason = None
        if processes and len(below) > processes:
            reason = "pids"
        elif memory and resident(below) > memory:
            reason = "oom"
        elif cpu and cpu_seconds(below) + ended_cpu_seconds() - self.ended_cpu > cpu:
            reason = "cpu"
        if reason:
            self.reason, self.stopping = reason, True
            self.kill_everything()

    def kill_everything(self) -> None:
        """SIGKILL everything that descends from this process, again and again until nothing is left.

        Everything is stopped first: a fork bomb must not be faster than its end.
        """
        for _ in range(2000):
            if self.reap():
                break
            below = descendants(os.getpid())
            if not below and self.isolation == "process group":
                below = marked(self.spec["task_run_id"], self.spec["epoch"])
            send(below, signal.SIGSTOP)
            send(below, signal.SIGKILL)
            if not below and self.child is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.child, signal.SIGKILL)
            time.sleep(0.002)

    # -- end -----------------------------------------------------------------------------------------------------

    def finish(self) -> bool:
        self.spool.close()
        code = None if self.status is None else os.waitstatus_to_exitcode(self.status)
        number = -code if code is not None and code < 0 else None
        if number == signal.SIGKILL and self.reason == "exit" and self.oom_before is not None:
            after = oom_kills()
            if after is not None and after > self.oom_before:
                self.reason = "oom"
        if number == signal.SIGXFSZ and self.reason == "exit":
            self.reason = "fsize"
        result = {
            "epoch": self.spec["epoch"],
            "reason": self.reason,
            "code": 128 + number if number else code,
            "signal": number,
            "error": self.error,
            "started": self.started,
            "ended": time.time(),
            "dropped": self.spool.dropped,
            "met": sorted(self.spool.met),
            "frames": self.spool.number,
            "isolation": self.isolation,
        }
        data = json.dumps(result).encode()
        self.tell(b"E" + data)
        if not self.recorded():
            with contextlib.suppress(FileNotFoundError):  # the owner has recorded the result already, or gave it up
                replace_file(self.folder, "result.json", data)
            return False
        if self.owner is not None:
            self.owner.close()
        # From here on this process is no longer the supervisor of that folder.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self.folder, "pid"))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        changed = self.spec.get("pid_namespace") or self.spec.get("uid") is not None
        return not changed and not self.stopping


def modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None
