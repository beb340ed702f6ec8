"""Small values several pages draw: bars of the last runs, a flow's Git state, the filters of lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import request

from namespaces.errors import LannerError
from namespaces.filters import Filters, Page
from namespaces.store.base import to_micros
from service.api import filters as api_filters
from service.api.context import lanner
from service.ui import words
from service.ui.site import url

SIZES = (25, 50, 100)


def bars(flow: tuple[str, str], runs: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
    """The last runs as bars, oldest first: height by duration on a square-root scale."""
    clock = to_micros(now)
    lasting = [max(0, (run["end"] or clock) - run["start"]) / 1e6 for run in runs]
    longest = math.sqrt(max(lasting, default=0.0)) or 1.0
    found = []
    for index, (run, seconds) in enumerate(zip(reversed(runs), reversed(lasting), strict=True)):
        word = words.state_look(run["state"])[0]
        height = 24.0 if run["state"] == "FAILED" else max(4.0, round(22 * math.sqrt(seconds) / longest, 1))
        ago = words.relative(_instant(run["start"]), now)
        found.append(
            {
                "state": run["state"],
                "x": index * 6,
                "height": height,
                "url": url("execution", namespace=flow[0], flow_id=flow[1], execution_id=run["id"]),
                "text": f"{word}, {words.duration(seconds)}, {ago}",
            }
        )
    return found


def _instant(micros: int) -> datetime:
    from namespaces.store.base import from_micros

    return from_micros(micros)


def instant(micros: int | None) -> datetime | None:
    return None if micros is None else _instant(micros)


class Sparse(dict[str, Any]):
    """A shape of the API, which leaves out what has no value: here that is None."""

    def __missing__(self, key: str) -> None:
        return None


@dataclass(frozen=True, slots=True)
class ListFilters:
    """What a list is filtered by, and what of the URL could not be understood (and is ignored)."""

    filters: Filters
    ignored: tuple[str, ...]
    active: bool


def read_filters(names: Mapping[str, str], flat: api_filters.Flat) -> ListFilters:
    """The URL's parameters (``names``: ours to the API's) as filters; a bad one is reported and left out."""
    now = lanner().clock.now()
    found: list[Any] = []
    ignored: list[str] = []
    active = False
    for own, theirs in names.items():
        values = [value.strip() for value in request.args.getlist(own) if value.strip()]
        if not values:
            continue
        active = True
        try:
            pairs = [(theirs, ",".join(values) if theirs == "state" else value) for value in values]
            found += api_filters.from_pairs(pairs[:1] if theirs == "state" else pairs, flat, now)
        except LannerError as error:
            ignored.append(f"{own} “{values[0][:80]}”: {error.message}")
    bracketed = [(name, value) for name, value in request.args.items(multi=True) if name.startswith("filters[")]
    if bracketed:
        active = True
        try:
            found += api_filters.from_pairs(bracketed, flat, now)
        except LannerError as error:
            ignored.append(error.message)
    return ListFilters(found, tuple(ignored), active)


def page_of(sortable: Sequence[str], default: str = "") -> Page:
    """``page``, ``size`` and ``sort`` (``field`` or ``-field``) of the URL; nonsense counts as the default."""
    sort = request.args.get("sort", default)
    name = sort.removeprefix("-")
    order = ((name, sort.startswith("-")),) if name in sortable else ()
    size = _number("size", 50)
    return Page(max(1, _number("page", 1)), size if size in SIZES else 50, order)


def _number(name: str, default: int) -> int:
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else default


HELD_ALONG = "G061"
"""The finding of a file that has no fault of its own: another one of its namespace holds it."""


def own_problems(item: Any) -> list[Any]:
    """The findings of a held file that are about the file itself."""
    return [problem for problem in item.problems if problem.code != HELD_ALONG]


def broken_flows(source: str | None = None) -> dict[tuple[str, str], Any]:
    """Flows whose newest file is held back, by key: the item of the inventory with its problems."""
    found: dict[tuple[str, str], Any] = {}
    sync = lanner().sync
    for status in sync.list():
        if (source is not None and status.name != source) or not status.counts.get("flow.held"):
            continue
        for item in sync.items(status.name, "held"):
            if item.kind == "flow":
                found[item.namespace, item.key] = (status, item)
    return found
