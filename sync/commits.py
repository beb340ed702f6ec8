"""Reads a raw commit object. Pure; what people wrote is made safe to show: replaced, stripped, shortened."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sync.model import Commit

_PERSON = re.compile(r"(?P<name>.*?) ?<(?P<email>[^<>]*)>(?: (?P<at>-?\d{1,18}) [+-]\d{4,})?.*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MESSAGE_LIMIT = 10_000


def parse_commit(oid: str, raw: bytes) -> Commit:
    """Never raises: a commit with odd headers has empty fields."""
    header, _, message = raw.partition(b"\n\n")
    tree, parents, author, committer = "", [], "", ""
    for line in header.decode("utf-8", "replace").split("\n"):
        word, _, rest = line.partition(" ")
        if word == "tree" and not tree:
            tree = rest
        elif word == "parent":
            parents.append(rest)
        elif word == "author" and not author:
            author = rest
        elif word == "committer" and not committer:
            committer = rest
    who, when = _PERSON.fullmatch(author), _PERSON.fullmatch(committer)
    return Commit(
        id=oid,
        tree=tree,
        parents=tuple(parents),
        author_name=clean(who["name"])[:200] if who else "",
        author_email=clean(who["email"])[:200] if who else "",
        committed_at=_instant(when["at"]) if when else None,
        message=clean(message.decode("utf-8", "replace")).strip()[:MESSAGE_LIMIT],
    )


def clean(text: str) -> str:
    """Without control characters and direction marks, which could fool a terminal or a reader."""
    return _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def _instant(seconds: str | None) -> datetime | None:
    try:
        return _EPOCH + timedelta(seconds=int(seconds)) if seconds is not None else None
    except OverflowError:
        return None
