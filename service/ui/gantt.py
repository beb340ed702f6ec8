"""The Gantt of an execution: rows from task runs, a time axis whose idle gaps are folded. Pure.

A row's parts are wait, run (one per attempt) and pause; rows with many children stay folded until asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from service.ui import words

WIDTH = 1000.0
FOLD_ABOVE = 20
"""Children a row may have before they are folded into a summary."""
PAGE = 100
GAP_FACTOR = 10.0
FOLDED_SHARE = 0.04
MIN_WIDTH = 2.5


@dataclass(frozen=True, slots=True)
class Part:
    x: float
    w: float
    look: str
    text: str
    wait: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    run_id: str
    task_id: str
    state: str
    depth: int
    note: str = ""
    start: str = ""
    wait_s: float | None = None
    run_s: float | None = None
    live: bool = False
    parts: tuple[Part, ...] = ()
    children: int = 0
    summary: str = ""
    opened: bool = False
    error: str = ""
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class More:
    """A row that leads to further children of ``parent`` (None: of the execution)."""

    parent: str | None
    shown: str
    previous: int | None
    next: int | None
    depth: int


@dataclass(slots=True)
class Chart:
    rows: list[Row | More] = field(default_factory=list)
    ticks: list[tuple[float, str]] = field(default_factory=list)
    folds: list[tuple[float, str]] = field(default_factory=list)
    total: int = 0


class Axis:
    """Instants to 0…``WIDTH``; gaps in which nothing ran, far longer than what ran, take little room."""

    def __init__(self, start: float, end: float, busy: Sequence[tuple[float, float]]) -> None:
        self.start, self.end = start, max(end, start + 0.001)
        merged = _merged([(max(start, a), min(self.end, b)) for a, b in busy if b > a])
        working = sum(b - a for a, b in merged) or (self.end - self.start)
        gaps = []
        at = start
        for a, b in [*merged, (self.end, self.end)]:
            if a - at > GAP_FACTOR * working and a - at > 1.0:
                gaps.append((at, a))
            at = max(at, b)
        self.gaps = gaps
        kept = self.end - self.start - sum(b - a for a, b in gaps)
        share = min(0.3, FOLDED_SHARE * len(gaps))
        self._fold_w = WIDTH * share / len(gaps) if gaps else 0.0
        self._scale = (WIDTH - self._fold_w * len(gaps)) / (kept or 1.0)

    def x(self, at: float) -> float:
        at = min(max(at, self.start), self.end)
        place, last = 0.0, self.start
        for a, b in self.gaps:
            if at <= a:
                break
            place += (a - last) * self._scale
            place += self._fold_w * (min(at, b) - a) / (b - a)
            last = min(at, b)
        return place + (at - last) * self._scale

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """(x, elapsed) at round distances, outside folded gaps."""
        span = self.end - self.start
        kept = span - sum(b - a for a, b in self.gaps)
        step = next((one for one in _STEPS if kept / one <= most), _STEPS[-1] * max(1, int(kept / _STEPS[-1] / most)))
        found: list[tuple[float, str]] = []
        at = self.start
        for _ in range(500):
            if at > self.end:
                break
            inside = next(((a, b) for a, b in self.gaps if a < at < b), None)
            if inside is not None:
                at = self.start + step * (int((inside[1] - self.start) / step) + 1)
                continue
            place = self.x(at)
            if not found or place - found[-1][0] > 70:
                found.append((round(place, 1), _elapsed(at - self.start)))
            at += step
        return found


_STEPS = (
    0.0001,
    0.0002,
    0.0005,
    0.001,
    0.002,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    21600,
    86400,
)


def _elapsed(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000, 1):g} ms" if seconds > 0 else "0"
    if seconds < 60:
        return f"{seconds:g} s"
    return words.duration(seconds)


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    found: list[tuple[float, float]] = []
    for a, b in sorted(spans):
        if found and a <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], b))
        else:
            found.append((a, b))
    return found


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@dataclass(slots=True)
class _Run:
    shape: Mapping[str, Any]
    start: float
    ran: float | None
    end: float
    spans: list[tuple[float, float, str, str]]
    """(from, to, state, text) of what is drawn; state WAIT before the first start."""


def _read(shape: Mapping[str, Any], now: float) -> _Run:
    history = [(one["state"], _at(one["date"])) for one in shape["state"]["histories"]]
    start = history[0][1] if history else now
    final = shape["state"]["current"] in words.ENDED
    end = history[-1][1] if history and final else now
    ran = next((at for state, at in history if state not in ("CREATED", "SUBMITTED", "QUEUED")), None)
    spans: list[tuple[float, float, str, str]] = []
    if (ran or end) > start:
        spans.append((start, ran if ran is not None else end, "WAIT", "waiting"))
    attempts = [one for one in shape.get("attempts", ()) if one["state"]["histories"]]
    if attempts:
        for number, one in enumerate(attempts, 1):
            begun = _at(one["state"]["histories"][0]["date"])
            state = one["state"]["current"]
            over = _at(one["state"]["histories"][-1]["date"]) if state in words.ENDED else end
            text = (
                f"attempt {number}, {words.state_look(state)[0]}" if len(attempts) > 1 else words.state_look(state)[0]
            )
            spans.append((begun, max(over, begun), state, text))
        paused = [(state, at) for state, at in history if state == "PAUSED"]
        if paused:
            spans += _states(history, end, only="PAUSED")
    else:
        spans += _states(history, end)
    return _Run(shape, start, ran, end, spans)


def _states(
    history: Sequence[tuple[str, float]], end: float, only: str | None = None
) -> list[tuple[float, float, str, str]]:
    found = []
    final = history[-1][0] if history else ""
    for (state, at), (_, until) in zip(history, [*history[1:], ("", end)], strict=True):
        if state in ("CREATED", "SUBMITTED", "QUEUED") or state in words.ENDED:
            continue
        if only is not None and state != only:
            continue
        # What ran until the end is drawn in the look of how it ended.
        shown = final if until == end and final in words.ENDED and state == "RUNNING" else state
        found.append((at, until, shown, words.state_look(shown)[0]))
    return found


def chart(
    runs: Sequence[Mapping[str, Any]],
    *,
    start: datetime,
    end: datetime,
    opened: Collection[str] = (),
    offsets: Mapping[str, int] | None = None,
) -> Chart:
    """``runs`` in order of creation. ``opened``: run ids whose children are shown; ``offsets``: where pages begin.

    The key ``""`` of ``offsets`` pages the rows of the execution itself.
    """
    now = end.timestamp()
    read = [_read(shape, now) for shape in runs]
    leaves = {run.shape["id"] for run in read} - {run.shape.get("parentTaskRunId") for run in read}
    busy = [
        (a, b)
        for run in read
        if run.shape["id"] in leaves
        for a, b, state, _ in run.spans
        if state not in ("WAIT", "PAUSED")
    ]
    axis = Axis(start.timestamp(), now, busy)
    below: dict[str | None, list[_Run]] = {}
    known = {run.shape["id"] for run in read}
    for run in read:
        parent = run.shape.get("parentTaskRunId")
        below.setdefault(parent if parent in known else None, []).append(run)
    made = Chart(total=len(read), ticks=axis.ticks())
    made.folds = [(round(axis.x(a), 1), words.duration(b - a)) for a, b in axis.gaps]
    _rows(made, below, None, 0, axis, frozenset(opened), offsets or {})
    return made


def _rows(
    made: Chart,
    below: Mapping[str | None, list[_Run]],
    parent: str | None,
    depth: int,
    axis: Axis,
    opened: frozenset[str],
    offsets: Mapping[str, int],
) -> None:
    found = below.get(parent, [])
    first = max(0, offsets.get(parent or "", 0))
    for run in found[first : first + PAGE]:
        identity = run.shape["id"]
        inner = below.get(identity, [])
        many = len(inner) > FOLD_ABOVE
        shown = bool(inner) and (not many or identity in opened)
        made.rows.append(_row(run, inner, many, identity in opened, depth, axis))
        if shown:
            _rows(made, below, identity, depth + 1, axis, opened, offsets)
    if len(found) > PAGE:
        last = min(first + PAGE, len(found))
        made.rows.append(
            More(
                parent,
                f"{first + 1:,}–{last:,} of {len(found):,}",
                max(0, first - PAGE) if first else None,
                last if last < len(found) else None,
                depth,
            )
        )


def _row(run: _Run, inner: list[_Run], many: bool, opened: bool, depth: int, axis: Axis) -> Row:
    shape = run.shape
    state = shape["state"]["current"]
    note = str(shape["value"]) if shape.get("value") is not None else ""
    if not note and shape.get("iteration") is not None:
        note = f"#{shape['iteration']}"
    parts = []
    for a, b, drawn, text in run.spans:
        left, right = axis.x(a), axis.x(b)
        width = max(MIN_WIDTH, right - left)
        left = min(left, WIDTH - width)
        looks = "created" if drawn == "WAIT" else words.state_look(drawn)[2]
        label = f"{text} {words.duration(b - a)}"
        parts.append(Part(round(left, 1), round(width, 1), looks, label, drawn == "WAIT"))
    return Row(
        run_id=shape["id"],
        task_id=shape["taskId"],
        state=state,
        depth=min(depth, 5),
        note=note,
        start=shape["state"].get("startDate", ""),
        wait_s=(run.ran if run.ran is not None else run.end) - run.start,
        run_s=None if run.ran is None else max(0.0, run.end - run.ran),
        live=state not in words.ENDED,
        parts=tuple(parts),
        children=len(inner) if many else 0,
        summary=_summary(inner) if many else "",
        opened=opened,
        error=(shape.get("error") or {}).get("message", ""),
        attempts=len(shape.get("attempts", ())),
    )


def _summary(inner: Sequence[_Run]) -> str:
    counts: dict[str, int] = {}
    for run in inner:
        word = words.state_look(run.shape["state"]["current"])[0].lower()
        counts[word] = counts.get(word, 0) + 1
    listed = ", ".join(f"{count:,} {word}" for word, count in sorted(counts.items(), key=lambda item: -item[1]))
    return f"{len(inner):,} task runs: {listed}"
