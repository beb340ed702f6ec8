"""What a measure gives back and how it is printed: a figure, the baseline of the same run, the goal."""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``baseline`` is in the same unit and from the same run; ``goal`` is the most allowed, or the least for rates."""

    workload: str
    name: str
    value: float
    unit: str
    baseline: float | None = None
    against: str = ""
    goal: float | None = None
    more_is_better: bool = False
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


class Report:
    """Prints each figure as soon as it is there: a run takes minutes, and may be stopped."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.figures: list[Figure] = []
        self._quiet = quiet

    def title(self, text: str) -> None:
        if self._quiet:
            print(text, file=sys.stderr, flush=True)
            return
        print(f"\n{text}")
        print(f"  {'':38}{'measured':>11} {'':10}{'baseline':>10}  {'ratio':>6}  {'goal':>9}  {'':4} load", flush=True)

    def add(self, figure: Figure) -> None:
        self.figures.append(figure)
        if not self._quiet:
            print(line(figure), flush=True)

    def note(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr if self._quiet else sys.stdout, flush=True)

    def json(self) -> str:
        return json.dumps([{**asdict(one), "reached": one.reached} for one in self.figures], indent=1)


def line(figure: Figure) -> str:
    base = ratio = goal = word = ""
    if figure.baseline is not None:
        base = number(figure.baseline)
        ratio = f"{figure.value / figure.baseline:.2f}x" if figure.baseline else ""
    if figure.goal is not None:
        goal = f"{'≥' if figure.more_is_better else '≤'} {number(figure.goal)}"
        word = "ok" if figure.reached else "MISS"
    return (
        f"  {figure.name:<38}{number(figure.value):>11} {figure.unit:<10}{base:>10}  {ratio:>6}  {goal:>9}  {word:<4} "
        f"{figure.load:4.1f}  {figure.against}"
    ).rstrip()


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` (0 to 1) of the values lie; NaN for none."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
