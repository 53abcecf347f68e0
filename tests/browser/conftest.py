"""A headless Chromium: Debian's chromium and chromium-driver, and selenium to speak to them.

Where they are missing the tests are skipped, or fail with TINYGRAD_LLM_REQUIRE_BROWSER=1.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

NARROW, WIDE = (390, 800), (1280, 900)  # a phone, a laptop


def open_browser(size: tuple[int, int] = WIDE, dark: bool = False) -> Any:
    """A browser with a window whose page area has the size given."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
        options.add_argument(f"--{argument}")
    options.add_argument(f"--window-size={size[0]},{size[1]}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    return driver


@pytest.fixture(scope="session")
def browsers() -> Iterator[Callable[..., Any]]:
    """A function that opens a browser; all are closed at the end."""
    missing = [f"{p} (apt-get install chromium chromium-driver)"
               for p in ("chromium", "chromedriver") if not shutil.which(p)]  # fmt: skip
    if importlib.util.find_spec("selenium") is None:
        missing.append("selenium (pip install selenium)")
    if missing:
        words = f"the tests of pages in a browser lack {' and '.join(missing)}"
        if os.environ.get("TINYGRAD_LLM_REQUIRE_BROWSER"):
            pytest.fail(words)
        pytest.skip(words)
    opened: dict[Any, Any] = {}

    def browser(size: tuple[int, int] = WIDE, dark: bool = False) -> Any:
        if (size, dark) not in opened:
            opened[size, dark] = open_browser(size, dark)
        return opened[size, dark]

    yield browser
    for driver in opened.values():
        driver.quit()
