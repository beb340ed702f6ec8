"""From blobs to what they mean: a flow with its findings, or the digest of a namespace file. Cached by content.

Reading never fails because of what is in a file: every fault is a finding on it.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from namespaces.errors import Problem, Severity
from namespaces.flows.catalog import Catalog
from namespaces.flows.model import Flow, ForEachItem, Subflow
from namespaces.flows.parse import Reading

log = logging.getLogger("lanner.sync.reading")

Read = Callable[[bytes, str | None], Reading]
"""Text and the namespace that stands in when it names none."""

PARSER_VERSION = "1"
"""Raised when the same text may read differently: every file is then read again once."""
CACHED_BYTES = 48 * 1024 * 1024
LFS = b"version https://git-lfs."
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_TOKENS = ("-----BEGIN ", "ghp_", "github_pat_", "glpat-", "AKIA", "xoxb-", "xoxp-", "sk_live_")
_TOKEN = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\b(?:ghp_[A-Za-z0-9]{36}|github_pat_\w{60,}|glpat-[\w-]{20}|AKIA[A-Z0-9]{16}|"
    r"xox[bp]-[\w-]{20,}|sk_live_\w{20,})"
)
_LOOKS_LIKE_A_FLOW = (
    re.compile(r"^[\"']?id[\"']?\s*:", re.MULTILINE),
    re.compile(r"^[\"']?tasks[\"']?\s*:", re.MULTILINE),
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a blob means as a flow.

    ``flow`` holds only what the registry stores beside the text (no tasks); None when an error was found.
    ``namespace`` and ``id`` are what was written, as far as it could be read.
    """

    namespace: str
    id: str
    text: str
    flow: Flow | None
    problems: tuple[Problem, ...]
    references: tuple[tuple[str, str], ...] = ()
    """Literal (namespace, flow id) of the subflows it calls."""
    namespace_at: tuple[int, int] = (1, 1)
    empty: bool = False
    """Nothing in it: ignored with ``G102``."""
    is_flow: bool = True
    """False for a document without ``id`` and ``tasks``, which the flat layout leaves alone."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What is known of a namespace file's content once it has been read."""

    sha256: str
    size: int
    problems: tuple[Problem, ...] = ()


class Reader:
    """Parses flows, remembering results by (blob id, namespace hint)."""

    def __init__(self, read: Read, version: Callable[[], str]) -> None:
        """``version`` is asked for by the first sync: it needs every task type, and a server is ready before."""
        self._read = read
        self._version = version
        self._cache: OrderedDict[tuple[str, str | None], Parsed] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @cached_property
    def version(self) -> str:
        """Changes with the parser, the task types and the settings of reading."""
        return self._version()

    def cached(self, oid: str, namespace: str | None) -> Parsed | None:
        with self._lock:
            found = self._cache.get((oid, namespace))
            if found is not None:
                self._cache.move_to_end((oid, namespace))
            return found

    def parse(self, oid: str, data: bytes, namespace: str | None) -> Parsed:
        """What these bytes mean; ``namespace`` is the folder's, None where the text decides."""
        parsed = self._parse(data, namespace)
        with self._lock:
            self._cache[oid, namespace] = parsed
            self._bytes += len(parsed.text) + 1_000
            while self._bytes > CACHED_BYTES and self._cache:
                _, dropped = self._cache.popitem(last=False)
                self._bytes -= len(dropped.text) + 1_000
        return parsed

    def _parse(self, data: bytes, namespace: str | None) -> Parsed:
        if data.startswith(LFS):
            problem = Problem("G035", "a Git LFS pointer, not a flow", line=1, column=1, hint="keep flows out of LFS")
            return Parsed("", "", "", None, (problem,))
        try:
            reading = self._read(data, namespace)
        except Exception as error:
            # Whatever a file does to the parser stays with that file.
            log.exception("the reader failed", extra={"action": "reader_failed"})
            problem = Problem("G020", f"the reader failed on this file: {type(error).__name__}", line=1, column=1)
            return Parsed("", "", "", None, (problem,))
        text = data.decode("utf-8", "replace")
        value = reading.document.value
        written = value if isinstance(value, dict) else {}
        named, flow_id = written.get("namespace"), written.get("id")
        flow = reading.flow
        problems = tuple(in_git(problem) for problem in reading.problems)
        return Parsed(
            namespace=str(named) if named is not None else namespace or "",
            id=str(flow_id) if flow_id is not None else "",
            text=text,
            flow=slim(flow) if flow is not None else None,
            problems=(*problems, *_lint(text)),
            references=tuple(_references(flow)) if flow is not None else (),
            namespace_at=reading.document.position(("namespace",)) if named not in (None, namespace) else (1, 1),
            empty=value is None and reading.document.ok,
            is_flow=_is_flow(reading, text),
        )


def in_git(problem: Problem) -> Problem:
    """A finding as a Git source reports it: the validator's ``F…`` becomes ``G020`` with the detail behind it."""
    if not problem.code.startswith("F"):
        return problem
    if problem.severity is not Severity.ERROR:
        return problem
    code = "G015" if problem.path == "id" else "G020"
    return replace(problem, code=code, message=f"{problem.constraint()} ({problem.code})", path="")


def slim(flow: Flow) -> Flow:
    """The flow without what the registry reads from the text again: keeps memory flat over 10,000 of them."""
    return replace(
        flow,
        tasks=(),
        errors=(),
        finally_=(),
        after_execution=(),
        inputs=(),
        outputs=(),
        variables={},
        written={},
    )


def digest(data: bytes) -> Digest:
    """SHA-256 and size of a namespace file; an LFS pointer is an error."""
    problems: tuple[Problem, ...] = ()
    if data.startswith(LFS):
        problems = (Problem("G035", "a Git LFS pointer, not the file", line=1, column=1, hint="keep it out of LFS"),)
    elif any(token.encode() in data for token in _TOKENS) and _TOKEN.search(data.decode("utf-8", "replace")):
        problems = (_secret(data.decode("utf-8", "replace")),)
    return Digest(hashlib.sha256(data).hexdigest(), len(data), problems)


def _is_flow(reading: Reading, text: str) -> bool:
    value = reading.document.value
    if isinstance(value, dict):
        return "id" in value and "tasks" in value
    return not reading.document.ok and all(pattern.search(text) for pattern in _LOOKS_LIKE_A_FLOW)


def _references(flow: Flow) -> Iterator[tuple[str, str]]:
    for task in flow.walk():
        if task.disabled:
            continue
        if isinstance(task, Subflow):
            namespace, flow_id = task.namespace, task.flow_id
        elif isinstance(task, ForEachItem):
            namespace, flow_id = str(task.properties.get("namespace") or ""), str(task.properties.get("flowId") or "")
        else:
            continue
        if namespace and flow_id and "{{" not in namespace + flow_id and "{%" not in namespace + flow_id:
            yield namespace, flow_id


def _lint(text: str) -> Iterator[Problem]:
    if not text.isascii():
        found = _BIDI.search(text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            yield Problem(
                "G106", "contains a bidirectional control character", line=line, column=1, severity=Severity.WARNING
            )
    if any(token in text for token in _TOKENS) and _TOKEN.search(text):
        yield _secret(text)


def _secret(text: str) -> Problem:
    found = _TOKEN.search(text)
    line = text.count("\n", 0, found.start()) + 1 if found else 1
    return Problem(
        "G105", "looks like a secret in plain text", line=line, column=1, severity=Severity.WARNING,
        hint="use {{ secret('NAME') }} and revoke this one",
    )  # fmt: skip


def fingerprint(catalog: Catalog, options: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change when the same bytes may read differently."""
    names = sorted(entry.name for entry in catalog)
    try:
        release = version("lanner")
    except PackageNotFoundError:
        release = ""
    facts = [PARSER_VERSION, release, *names, repr(sorted(options.items(), key=lambda item: item[0]))]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
