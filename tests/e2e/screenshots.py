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
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def scenes(demo: Demo) -> dict[str, tuple[str, bool]]:
    """File name to (address, whether it is also taken on a phone)."""
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
        "flows": ("/ui/flows", True),
        "flow": ("/ui/flows/shop.sales/orders", False),
        "topology": ("/ui/flows/shop.sales/orders/topology", False),
        "source": ("/ui/flows/shop.sales/orders/source", False),
        "execute": ("/ui/flows/shop.sales/orders/execute", True),
        "executions": ("/ui/executions", True),
        "gantt": (f"{orders}/gantt", True),
        "run-topology": (f"{orders}/topology", False),
        "failed": (f"/ui/executions/shop.warehouse/nightly_import/{bad}", True),
        "logs": (f"/ui/executions/shop.platform/long_log/{long}/logs", True),
        "sync": ("/ui/sync/flows", True),
    }


def take(browser: Any, demo: Demo, found: dict[str, tuple[str, bool]], names: set[str]) -> None:
    for theme in ("light", "dark"):
        for size, suffix in ((WIDE, ""), (PHONE, "-phone")):
            context = browser.new_context(
                base_url=demo.server.url, viewport=size, color_scheme=theme, reduced_motion="reduce", timezone_id="UTC"
            )
            page = context.new_page()
            for name, (path, phone) in found.items():
                if (suffix and not phone) or (names and name not in names):
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
