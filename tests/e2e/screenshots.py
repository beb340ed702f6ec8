"""`make screenshots`: pictures of the pages for docs/images, both themes, wide and as on a phone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.e2e.browsing import CHROMIUM, chromium
from tests.e2e.demo import Demo
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "images"
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 760}
L, D, PL, PD = "-light", "-dark", "-phone-light", "-phone-dark"


def scenes(demo: Demo) -> dict[str, tuple[str, tuple[str, ...]]]:
    """File name to (address, in which variants the documentation keeps it)."""
    good = demo.run("shop.sales/orders", {"limit": "120"})
    for _ in range(4):
        demo.run("shop.sales/orders")
    demo.run("shop.warehouse/nightly_import")
    bad = demo.run("shop.warehouse/nightly_import", {"table": "sales"})
    waiting = demo.start("shop.platform/release")
    long = demo.run("shop.platform/long_log")
    until(lambda: demo.state(waiting) == "PAUSED", "the pause")
    demo.start("shop.sales/slow", {"seconds": "60"})
    demo.break_a_file()
    orders = f"/ui/executions/shop.sales/orders/{good}"
    return {
        "flows": ("/ui/flows", (L, D, PL)),
        "flow": ("/ui/flows/shop.sales/orders", (L,)),
        "topology": ("/ui/flows/shop.sales/orders/topology", (L,)),
        "source": ("/ui/flows/shop.sales/orders/source", (D,)),
        "execute": ("/ui/flows/shop.sales/orders/execute", (L, PL)),
        "executions": ("/ui/executions", (L,)),
        "gantt": (f"{orders}/gantt", (L, PD)),
        "run-topology": (f"{orders}/topology", (D,)),
        "failed": (f"/ui/executions/shop.warehouse/nightly_import/{bad}", (L, D, PD)),
        "logs": (f"/ui/executions/shop.platform/long_log/{long}/logs", (D,)),
        "sync": ("/ui/sync/flows", (L, PL)),
    }


def take(browser: Any, demo: Demo, found: dict[str, tuple[str, tuple[str, ...]]], names: set[str]) -> None:
    """``names`` chooses scenes and takes each of them in every variant; none: all, as the documentation keeps them."""
    for theme in ("light", "dark"):
        for size, suffix in ((WIDE, ""), (PHONE, "-phone")):
            context = browser.new_context(
                base_url=demo.server.url, viewport=size, color_scheme=theme, reduced_motion="reduce", timezone_id="UTC"
            )
            page = context.new_page()
            for name, (path, variants) in found.items():
                if name not in names if names else f"{suffix}-{theme}" not in variants:
                    continue
                page.goto(path)
                page.wait_for_timeout(400)
                page.screenshot(path=OUT / f"{name}{suffix}-{theme}.png")
            context.close()


def main(names: set[str]) -> int:
    if not CHROMIUM.exists():
        print(f"{CHROMIUM} is not there: apt-get install chromium", file=sys.stderr)
        return 1
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        demo = Demo(Path(folder))
        try:
            take(browser, demo, scenes(demo), names)
        finally:
            demo.close()
    print(f"{len(list(OUT.glob('*.png')))} pictures in {OUT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(set(sys.argv[1:])))
