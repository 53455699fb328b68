"""A real browser, without a window, that opens a report."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

HOW = "make browser-test installs what it needs"


def missing() -> str:
    """What there is not that a browser test needs; empty if it can run."""
    for name in ("chromium", "chromedriver"):
        if shutil.which(name) is None:
            return f"no {name} here; {HOW}"
    return ""


@contextmanager
def chromium() -> Iterator[Any]:
    """Start Chromium, and end it."""
    if missing():
        pytest.skip(missing())
    webdriver = pytest.importorskip("selenium.webdriver", reason=f"no selenium; {HOW}")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


@attrs.define
class Page:
    """An open report, as somebody sees it who looks at it."""

    driver: Any

    def open(self, path: Path, anchor: str = "") -> None:
        """Open a file anew, whatever was open before."""
        self.driver.get("about:blank")
        self.driver.get(f"{path.as_uri()}{anchor}")

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set how large the window is, and what the system prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        command = self.driver.execute_cdp_cmd
        command("Emulation.setDeviceMetricsOverride", size | {"mobile": width < 600})
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [theme]})

    def press(self, *keys: str) -> None:
        """Press keys, one after the other, wherever the focus is."""
        chains = pytest.importorskip("selenium.webdriver.common.action_chains")
        actions = chains.ActionChains(self.driver, duration=0)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def click(self, selector: str) -> None:
        """Click on the first element of a kind."""
        self.one(selector).click()

    def one(self, selector: str) -> Any:
        """The first element of a kind."""
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[Any]:
        """Every element of a kind."""
        return list(self.driver.find_elements("css selector", selector))

    def count(self, selector: str) -> int:
        """How many elements there are of a kind."""
        return int(self.run("document.querySelectorAll(arguments[0]).length", selector))

    def run(self, expression: str, *arguments: object) -> Any:
        """What an expression is in the page."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    @property
    def step(self) -> int:
        """The step that is chosen."""
        return int(self.one("#step").get_property("value"))

    @property
    def sets(self) -> dict[tuple[int, int], tuple[str, str, bool]]:
        """Slots, generation and whether it is active, of each set that is drawn."""
        return {
            (int(row["as"]), int(row["set"])): (
                row["slots"],
                row["generation"],
                bool(row["active"]),
            )
            for row in self.run(
                "[...document.querySelectorAll('.set-row')].map((row) => ({...row"
                ".dataset, active: row.classList.contains('is-active')}))"
            )
        }

    @property
    def complaints(self) -> list[str]:
        """What the console says since it was last asked."""
        return [each["message"] for each in self.driver.get_log("browser")]
