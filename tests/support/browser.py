"""A real Chromium, and axe-core in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from zipfile import ZipFile

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.daemon import PATIENCE_S, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver.remote.webelement import WebElement

_OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"),
)
AXE = "axe-playwright-python==0.1.8"
"""Has axe-core, the accessibility checker, unless `WATCHER_TEST_AXE` names its `axe.min.js`."""
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def missing() -> str | None:
    """What is not installed; None: nothing is missing."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return (
        f"{' and '.join(lacking)} not installed; on Debian: apt-get install -y chromium chromium-driver"
        if lacking
        else None
    )


def axe(folder: Path) -> str | None:
    """The program of axe-core; None: it cannot be had."""
    given = os.environ.get("WATCHER_TEST_AXE")
    if given:
        return Path(given).read_text()
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), AXE]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return None
    (wheel,) = folder.glob("*.whl")
    with ZipFile(wheel) as package:
        return package.read("axe_playwright_python/axe.min.js").decode()


@contextmanager
def browser(folder: Path, *, javascript: bool = True) -> Iterator[Chrome]:
    """A browser with a profile of its own, until the end of the block."""
    options = ChromeOptions()
    for option in (*_OPTIONS, f"--user-data-dir={folder}"):
        options.add_argument(option)
    if not javascript:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_window_size(1280, 900)
        driver.set_script_timeout(PATIENCE_S)
        yield driver
    finally:
        driver.quit()


class Reader:
    """Somebody who reads the pages.

    Args:
        driver: their browser.
        url: of the application.
    """

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self._url = url

    def open(self, page: str, **asked: Any) -> None:
        """Go to a page."""
        self.driver.get(f"{self._url}/{page}" + (f"?{urlencode(asked)}" if asked else ""))

    def find(self, selector: str) -> WebElement:
        """The first element of a selector, once it is there."""
        found = eventually(lambda: self.all(selector), f"{selector} in {self.driver.current_url}", 60)
        element: WebElement = found[0]
        return element

    def all(self, selector: str) -> list[WebElement]:
        """All elements of a selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """What they say."""
        script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        found: list[str] = self.driver.execute_script(script, selector)
        return [" ".join(text.split()) for text in found]

    def text(self, selector: str = "main") -> str:
        """What the first one says."""
        return self.texts(selector)[0]

    def follow_link(self, words: str) -> None:
        """Click on a link by what it says."""
        self.driver.find_element(By.PARTIAL_LINK_TEXT, words).click()

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def hover(self, element: WebElement) -> None:
        """Point at an element."""
        ActionChains(self.driver).move_to_element(element).perform()

    def version(self) -> int:
        """Which version of a document is shown."""
        # In one step: the page replaces the element at any moment.
        shown = self.driver.execute_script("return document.getElementById('swap')?.dataset.number")
        return int(shown or 0)

    def waits_for(self, version: int) -> None:
        """Wait until a version is shown."""
        eventually(lambda: self.version() == version, f"version {version}", 60)

    def console(self) -> list[str]:
        """What the browser complained of since this was last asked."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries]

    def emulate(self, *, width: int = 1280, scheme: str = "light") -> None:
        """Have another screen, or another taste."""
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def offences(self, program: str) -> list[str]:
        """What axe-core finds wrong with the page that is shown (WCAG 2.2 AA)."""
        self.driver.execute_script(program)
        asked = json.dumps({"runOnly": _RULES, "resultTypes": ["violations"]})
        found = self.driver.execute_async_script(f"axe.run(document, {asked}).then(arguments[0])")
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary'][:300]}"
            for one in found["violations"]
            for node in one["nodes"][:3]
        ]


ENTER, LEFT, RIGHT, DOWN, TAB = Keys.ENTER, Keys.ARROW_LEFT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.TAB
HOME, END, ESCAPE = Keys.HOME, Keys.END, Keys.ESCAPE
