"""The program of the spawner and of the supervisors it forks: bare interpreter, standard library only.

``python -I -S supervisor_bare.py <fd>`` waits on a socket for spool folders and forks one supervisor for each. A
supervisor owns the script: process tree, pipes, log file, time limit, result. Nothing of Lanner is imported here.
"""

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
import struct
import sys
import time
from collections import deque

FRAME = struct.Struct("<IQBI")
"""A line in the spool: number, microseconds since 1970, stream, length of the bytes that follow."""
STDOUT, STDERR, MARKER = 1, 2, 3
"""``MARKER``: the bytes are the count of dropped lines, in ASCII."""

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
PROTOCOL_BYTES = 32 << 20
AFTER_END_S = 1.0
IDLE = 2
"""Supervisors that wait, forked already, for their script."""
FIRST_TICK_S = 0.25
TICK_S = 0.5


def process_start(pid):
    """Start time of a process in clock ticks since boot, as text; None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return None


def boot_id():
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def descendants(root):
    """Process ids below ``root``, without itself, deepest last."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop(0)
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue
        for thread in threads:
            try:
                with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                    children = [int(word) for word in file.read().split()]
            except OSError:
                continue
            found += children
            queue += children
    return found


def marked(task_run_id, epoch):
    """Processes whose environment says that they belong to this attempt."""
    run = f"LANNER_TASKRUN_ID={task_run_id}".encode()
    turn = f"LANNER_EPOCH={epoch}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if run in words and turn in words:
            found.append(int(name))
    return found


def send(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def replace_file(folder, name, data):
    """Write ``folder/name`` so that it is there whole or not at all, also after a power cut."""
    temporary = os.path.join(folder, name + ".tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, os.path.join(folder, name))
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


LIBC = ctypes.CDLL(None, use_errno=True)
BOOT = boot_id()


def ignore(*_):
    pass


class Spool:
    """The log file of one attempt: everything up to ``head`` bytes, then only the last ``tail`` bytes.

    Lines of the ``::{…}::`` protocol are results, not log: they are kept beyond the limits, up to 32 MiB.
    """

    def __init__(self, path, limits):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.head, self.tail, self.rate = limits["head"], limits["tail"], limits["rate"]
        self.number = 0
        self.written = 0
        self.protocol = 0
        self.dropped = 0
        self.kept = deque()
        self.kept_bytes = 0
        self.tokens = float(self.rate * 10)
        self.refilled = time.monotonic()
        self.pending = []

    def line(self, stream, data):
        stamp = time.time_ns() // 1000
        if data[:3] == b"::{" and self.protocol + len(data) <= PROTOCOL_BYTES:
            self.protocol += len(data)
            self.frame(stamp, stream, data)
            return
        if self.tokens < 1:
            now = time.monotonic()
            self.tokens = min(self.rate * 10.0, self.tokens + (now - self.refilled) * self.rate)
            self.refilled = now
            if self.tokens < 1:
                self.dropped += 1
                return
        self.tokens -= 1
        if self.written + len(data) <= self.head and not self.kept:
            self.written += len(data)
            self.frame(stamp, stream, data)
            return
        self.kept.append((stamp, stream, data))
        self.kept_bytes += len(data)
        while self.kept_bytes > self.tail:
            self.kept_bytes -= len(self.kept.popleft()[2])
            self.dropped += 1

    def frame(self, stamp, stream, data):
        self.pending.append(FRAME.pack(self.number, stamp, stream, len(data)))
        self.pending.append(data)
        self.number += 1

    def flush(self):
        """Hand pending lines to the file; True when there were any. A full disk drops them, never ends the script."""
        if not self.pending:
            return False
        data = b"".join(self.pending)
        self.pending.clear()
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self.fd, view) :]
        except OSError:
            self.dropped += 1
        return True

    def close(self):
        if self.dropped:
            self.frame(time.time_ns() // 1000, MARKER, str(self.dropped).encode())
        for stamp, stream, data in self.kept:
            self.frame(stamp, stream, data)
        self.kept.clear()
        self.flush()
        os.close(self.fd)


class Lines:
    """Cuts one stream into lines. A line beyond ``limit`` bytes is cut and says so; protocol lines may be long."""

    def __init__(self, fd, stream, spool, limit):
        self.fd, self.stream, self.spool, self.limit = fd, stream, spool, limit
        self.rest = b""
        self.cut = 0
        self.open = True
        os.set_blocking(fd, False)

    def read(self):
        """Take what is there, at most 1 MiB; False when nothing more can come now."""
        for _ in range(16):
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return False
            except OSError:
                data = b""
            if not data:
                self.end()
                return False
            self.feed(data)
        return True

    def feed(self, data):
        *whole, last = data.split(b"\n")
        for part in whole:
            if self.cut:
                self.emit(self.rest, self.cut + len(part))
            elif self.rest:
                self.emit(self.rest + part, 0)
            else:
                self.emit(part, 0)
            self.rest, self.cut = b"", 0
        if self.cut:
            self.cut += len(last)
            return
        self.rest += last
        bound = PROTOCOL_BYTES if self.rest[:3] == b"::{" else self.limit
        if len(self.rest) > bound:
            self.cut = len(self.rest) - bound
            self.rest = self.rest[:bound]

    def emit(self, data, cut):
        if data[-1:] == b"\r":
            data = data[:-1]
        if len(data) > self.limit and data[:3] != b"::{":
            cut += len(data) - self.limit
            data = data[: self.limit]
        if cut:
            data += b" \xe2\x80\xa6 [%d bytes cut]" % cut
        self.spool.line(self.stream, data)

    def end(self):
        if self.rest or self.cut:
            self.emit(self.rest, self.cut)
        self.rest, self.cut, self.open = b"", 0, False
        os.close(self.fd)


def candidates(name, env):
    """Where a program may be: the path itself, or each folder of the script's own PATH."""
    if "/" in name:
        return [name]
    return [os.path.join(folder or ".", name) for folder in env.get("PATH", os.defpath).split(":")]


def explained(name, error):
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


class Supervisor:
    """Runs one script to its end and writes ``result.json``."""

    def __init__(self):
        """Everything that can be done before it is known what to run."""
        os.setsid()
        gc.disable()
        self.reason = "exit"
        self.error = None
        self.status = None
        self.term_at = None
        self.kill_at = None
        self.stopping = False
        self.child = None
        self.main_ended = None
        self.isolation = "process group"
        self.oom_before = None
        LIBC.prctl(PR_SET_NAME, b"lanner-script", 0, 0, 0)
        if LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0:
            self.isolation = "subreaper"
        self.wake, wake_write = os.pipe()
        os.set_blocking(self.wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, ignore)
        signal.signal(signal.SIGINT, ignore)
        signal.signal(signal.SIGHUP, ignore)
        self.out, self.out_write = os.pipe()
        self.err, self.err_write = os.pipe()
        self.start_time = process_start(os.getpid())

    def run(self, folder, owner):
        self.folder = folder
        self.owner = owner
        self.started = time.time()
        self.begun = time.monotonic()
        signal.signal(signal.SIGTERM, lambda *_: self.stop("killed"))
        with open(os.path.join(folder, "spec.json"), "rb") as file:
            self.spec = json.loads(file.read())
        self.limits = self.spec["limits"]
        self.spool = Spool(os.path.join(self.folder, "log"), self.limits)
        self.start(self.out_write, self.err_write)
        os.close(self.out_write)
        os.close(self.err_write)
        self.streams = [
            Lines(self.out, STDOUT, self.spool, self.limits["line"]),
            Lines(self.err, STDERR, self.spool, self.limits["line"]),
        ]
        self.register()
        self.loop()
        self.finish()

    def register(self):
        """Tell whoever adopts this attempt which process to look for."""
        data = {"pid": os.getpid(), "start": self.start_time, "boot": BOOT, "child": self.child}
        fd = os.open(os.path.join(self.folder, "pid"), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(fd, json.dumps(data).encode())
        os.close(fd)

    def start(self, out, err):
        if self.spec.get("pid_namespace") or self.spec.get("uid") is not None:
            self.start_by_fork(out, err)
        else:
            self.start_by_spawn(out, err)

    def start_by_spawn(self, out, err):
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
        last = FileNotFoundError(errno.ENOENT, "")
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

    def restrict(self):
        os.umask(0o077)
        if self.limits.get("fsize"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.limits["fsize"], self.limits["fsize"]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def fault(self, name, error):
        self.reason, self.error, self.status = "start_failed", explained(name, error), 127 << 8

    def start_by_fork(self, out, err):
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

    def become_init(self, out, err, fault):
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
            signal.signal(number, lambda number, _: send([main], number))
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == main:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)

    def execute(self, out, err, fault):
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
            os.execvpe(spec["argv"][0], spec["argv"], spec["env"])
        except OSError as error:
            os.write(fault, explained(stage, error).encode(errors="replace"))
        os._exit(127)

    # -- watching ------------------------------------------------------------------------------------------------

    def stop(self, reason):
        """End the script: TERM now, KILL after the grace time. The first reason stays."""
        if self.stopping:
            return
        self.stopping = True
        self.reason = reason
        self.term_at = time.monotonic()

    def loop(self):
        poll = select.poll()
        poll.register(self.wake, select.POLLIN)
        for stream in self.streams:
            poll.register(stream.fd, select.POLLIN | select.POLLHUP)
        owner = self.owner.fileno()
        poll.register(owner, select.POLLIN | select.POLLHUP)
        by_fd = {stream.fd: stream for stream in self.streams}
        heartbeat = self.spec.get("heartbeat")
        beat, beat_seen = None, time.monotonic()
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

    def hear(self):
        """A word from the owner; False when it is gone."""
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

    def over(self, alone, now):
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
            if self.isolation == "process group":
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.child, signal.SIGTERM)
            else:
                send(descendants(os.getpid()), signal.SIGTERM)
        if self.kill_at is not None and now >= self.kill_at:
            self.kill_everything()
            return True
        return False

    def pace(self, now):
        """Seconds until this loop wants to look again when nothing happens."""
        if self.main_ended is not None or self.term_at is not None:
            return 0.05
        if now - self.begun < FIRST_TICK_S:
            tick = FIRST_TICK_S
        else:
            if self.oom_before is None:
                self.oom_before = oom_kills()
            self.check_processes()
            tick = TICK_S
        limit = self.spec.get("timeout")
        return tick if limit is None else max(0.001, min(tick, self.begun + limit - now))

    def tell(self, word):
        if self.owner is not None:
            try:
                self.owner.send(word, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
            except OSError:
                pass

    def reap(self):
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

    def check_processes(self):
        limit = self.limits.get("processes")
        if limit and len(descendants(os.getpid())) > limit:
            self.reason, self.stopping = "pids", True
            self.kill_everything()

    def kill_everything(self):
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
            if not below:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.child, signal.SIGKILL)
            time.sleep(0.002)

    # -- end -----------------------------------------------------------------------------------------------------

    def finish(self):
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
            "frames": self.spool.number,
            "isolation": self.isolation,
        }
        data = json.dumps(result).encode()
        self.tell(b"E" + data)
        try:
            replace_file(self.folder, "result.json", data)
        except FileNotFoundError:
            pass  # the owner has recorded the result already, or gave the attempt up


def modified(path):
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def oom_kills():
    try:
        with open("/proc/vmstat", "rb") as file:
            for line in file:
                if line.startswith(b"oom_kill "):
                    return int(line.split()[1])
    except OSError:
        pass
    return None


def supervise(control, taken):
    """In the forked process: wait for one request, carry it out, end. Never returns."""
    code, folder = 1, ""
    try:
        supervisor = Supervisor()
        data, fds, _, _ = socket.recv_fds(control, 65536, 1)
        if not data:
            os._exit(0)
        with contextlib.suppress(OSError):
            os.write(taken, b".")
        os.close(taken)
        control.close()
        folder = data.decode()
        os.set_inheritable(fds[0], False)
        supervisor.run(folder, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fds[0]))
        code = 0
    except BaseException as error:
        with contextlib.suppress(OSError), open(os.path.join(folder, "crash"), "w") as file:
            file.write(f"{type(error).__name__}: {error}\n")
            import traceback

            traceback.print_exc(file=file)
    finally:
        os._exit(code)


def main():
    """The spawner: keeps two forked supervisors waiting on the socket.

    One request is one datagram: a folder's path, with the attempt's socket attached.
    """
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    LIBC.prctl(PR_SET_NAME, b"lanner-spawner", 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    taken_read, taken_write = os.pipe()
    poll = select.poll()
    poll.register(control, 0)
    poll.register(taken_read, select.POLLIN)
    gc.collect()
    gc.freeze()
    missing = IDLE
    while True:
        for _ in range(missing):
            if os.fork() == 0:
                os.close(taken_read)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                supervise(control, taken_write)
        missing = 0
        for fd, event in poll.poll():
            if fd == taken_read:
                missing += len(os.read(taken_read, 64))
            elif event & select.POLLHUP:
                return


if __name__ == "__main__":
    main()
