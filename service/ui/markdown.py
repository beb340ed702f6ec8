"""Descriptions as HTML: Markdown without raw HTML, links to web addresses only, no pictures from elsewhere."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any

from markupsafe import Markup

TAGS = {"p", "em", "strong", "code", "pre", "ul", "ol", "li", "blockquote", "h3", "h4", "br", "hr", "a", "table",
        "thead", "tbody", "tr", "th", "td", "del"}  # fmt: skip


@cache
def _reader() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").disable("image")


@lru_cache(maxsize=256)
def rendered(text: str) -> Markup:
    """Safe HTML of a description."""
    import nh3

    made = _reader().render(text[:100_000])
    for level in ("1", "2"):
        made = made.replace(f"<h{level}>", "<h3>").replace(f"</h{level}>", "</h3>")
    clean = nh3.clean(
        made,
        tags=TAGS,
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return Markup(clean)  # noqa: S704  - cleaned one line above
