"""axe-core, which says of a page in a browser what keeps people from using it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome

from tests.integration.chromium import Browser

AXE = Path(__file__).parent / "node" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (360, 768, 1280)
SCHEMES = ("light", "dark")
RUN = """
const done = arguments[arguments.length - 1];
axe.run(document, {resultTypes: ["violations"]}).then(
    found => done(JSON.stringify(found.violations.map(one => [one.id, one.nodes.map(node => node.html).slice(0, 3)]))),
    error => done(JSON.stringify([["failed", String(error)]])));
"""


async def findings(window: Browser) -> list[Any]:
    """What axe-core finds on the page in each width and scheme, and whether the page is wider than the window."""
    source = AXE.read_text("utf-8")

    def look(driver: Chrome) -> list[Any]:
        found: list[Any] = []
        for width in WIDTHS:
            for scheme in SCHEMES:
                screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
                driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
                features = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
                driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)
                driver.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
                driver.execute_script(source)
                told = json.loads(driver.execute_async_script(RUN))
                if driver.execute_script("return document.documentElement.scrollWidth") > width:
                    told.append("wider than the window")
                found += [(driver.current_url, width, scheme, one) for one in told]
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        return found

    return await window.run(look)
