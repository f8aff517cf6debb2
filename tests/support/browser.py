"""A real browser: chromium without a window, driven by Selenium; and axe-core, which finds what keeps people out."""

import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from support.service import LIMIT_S, wait_for

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
WIDE, PHONE = (1280, 900), (320, 640)


def _needed() -> None:
    """Without the browser the test is skipped by name, and fails where CI=true."""
    if not (Path(CHROMIUM).exists() and Path(DRIVER).exists()):
        reason = "chromium is missing: apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def axe_source() -> str:
    """axe-core, as a package of Python carries it; its bindings for another driver are not used."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None:
        reason = "axe-core is missing: pip install --no-deps axe-playwright-python"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    assert found.submodule_search_locations is not None
    return (Path(found.submodule_search_locations[0]) / "axe.min.js").read_text()


class Browser:
    """One tab. `language`: of the reader."""

    def __init__(self, language: str = "en-GB") -> None:
        _needed()
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        options.page_load_strategy = "eager"
        options.add_argument("--headless=new")
        options.add_argument("--no-sandbox")  # a test may run as root
        options.add_argument("--disable-dev-shm-usage")
        options.add_argument("--disable-gpu")
        options.add_argument("--hide-scrollbars")
        options.add_argument(f"--lang={language}")
        options.add_experimental_option("prefs", {"intl.accept_languages": language})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Driver(DRIVER))
        self.driver.set_page_load_timeout(LIMIT_S)
        self._said: list[str] = []
        self._asked: list[str] = []
        self.size(*WIDE)

    def quit(self) -> None:
        self.driver.quit()

    def size(self, width: int, height: int) -> None:
        """Of the page, also smaller than a window can be."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def prefers(self, **features: str) -> None:
        """What the system asks of pages: prefers(color_scheme="dark", reduced_motion="reduce")."""
        wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self._devtools("Emulation.setEmulatedMedia", features=wanted)

    def _devtools(self, command: str, **given: Any) -> None:
        self.driver.execute_cdp_cmd(command, given)

    # -- what is there

    def run(self, script: str, *given: Any) -> Any:
        return self.driver.execute_script(script, *given)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        """Of an element, as it is seen; "" if it is hidden or not there."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait(self, what: Callable[["Browser"], object], limit_s: float = LIMIT_S) -> None:
        """Wait until it holds for the page."""
        try:
            wait_for(lambda: what(self), limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; the page says: {self.text('body')[:3000]}") from None

    def wait_text(self, selector: str, part: str, limit_s: float = LIMIT_S) -> None:
        try:
            wait_for(lambda: part in self.text(selector), limit_s)
        except AssertionError:
            raise AssertionError(f"{selector} says {self.text(selector)!r}, not {part!r}") from None

    # -- what is done

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.one(selector).click()

    def write(self, selector: str, text: str) -> None:
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def press_back(self) -> None:
        ActionChains(self.driver).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()

    # -- what is to be wrong with it

    def axe(self) -> list[str]:
        """The serious and critical faults that axe-core finds on the page as it is now."""
        if not self.run("return 'axe' in window"):
            self.driver.execute_script(axe_source())
        found = self.driver.execute_async_script(
            "axe.run(document, {resultTypes: ['violations']}).then(arguments[0], error => arguments[0](String(error)))"
        )
        assert isinstance(found, dict), found
        return [
            f"{fault['impact']} {fault['id']}: {node['target']} {node.get('failureSummary', '')}"
            for fault in found["violations"]
            if fault["impact"] in ("serious", "critical")
            for node in fault["nodes"]
        ]

    def said(self) -> list[str]:
        """All lines of the console of the browser until now."""
        self._said += [str(line["message"]) for line in self.driver.get_log("browser")]
        return self._said

    def asked(self) -> list[str]:
        """The addresses that were asked for until now, by whatever means."""
        for line in self.driver.get_log("performance"):
            message = json.loads(line["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self._asked.append(message["params"]["request"]["url"])
        return self._asked

    def keep(self, name: str) -> None:
        """A screenshot of the whole page into the folder LEYDEN_ARTEFACTS, if there is to be one."""
        if folder := os.environ.get("LEYDEN_ARTEFACTS"):
            width, height = self.run("return [innerWidth, innerHeight]")
            self.size(width, min(self.run("return document.documentElement.scrollHeight"), 6000))
            path = Path(folder) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(os.fspath(path))
            self.size(width, height)


def elsewhere(asked: Iterable[str], site: str) -> list[str]:
    """The addresses that are not of this site."""
    return [url for url in asked if not url.startswith(f"{site}/") and not re.match(r"data:|blob:|about:|chrome:", url)]
