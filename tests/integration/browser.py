"""Headless Chromium, driven over the WebDriver protocol: a handful of its verbs."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# Without the background flags, Chromium keeps calling hosts that are not there.
_FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1100,900", "--hide-scrollbars"),
]


def is_installed() -> bool:
    """Whether Debian's packages `chromium` and `chromium-driver` are there."""
    return bool(shutil.which("chromium") and shutil.which("chromedriver"))


class Browser:
    """One window."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        """Go to an address and wait until its document is loaded."""
        self._post("url", url=url)

    @property
    def title(self) -> str:
        """The document's."""
        return str(self._get("title"))

    def text(self) -> str:
        """What can be read on the page."""
        return str(self._script("return document.body ? document.body.innerText : ''"))

    def wait_for(self, text: str, seconds: float = 30) -> None:
        """Until the page says ``text``."""
        until = time.monotonic() + seconds
        while text not in (seen := self.text()):
            assert time.monotonic() < until, f"no {text!r} in:\n{seen}"
            time.sleep(0.1)

    def fill(self, selector: str, text: str) -> None:
        """Replace what stands in an input, and press Enter."""
        found = self._post("element", using="css selector", value=selector)[_ELEMENT]
        select_all, enter = "\ue009a\ue000", "\ue007"
        self._post(f"element/{found}/value", text=f"{select_all}{text}{enter}")

    def screenshot(self, path: Path) -> bytes:
        """The window as a PNG, kept at ``path``."""
        image = base64.b64decode(self._get("screenshot"))
        path.write_bytes(image)
        return image

    def _script(self, source: str) -> Any:
        return self._post("execute/sync", script=source, args=[])

    def _get(self, verb: str) -> Any:
        return _value(self._session.get(verb))

    def _post(self, verb: str, **body: Any) -> Any:
        return _value(self._session.post(verb, json=body))


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with an empty profile, ended with the block."""
    driver, port = _driver()
    profile = tempfile.mkdtemp(prefix="callmesh-chromium-")
    try:
        base = f"http://127.0.0.1:{port}"
        options = {
            "binary": shutil.which("chromium"),
            "args": [*_FLAGS, f"--user-data-dir={profile}"],
        }
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
        begun = _value(httpx.post(f"{base}/session", json=wanted, timeout=60))
        session = f"{base}/session/{begun['sessionId']}"
        with httpx.Client(base_url=f"{session}/", timeout=60) as client:
            try:
                yield Browser(client)
            finally:
                client.delete(session)
    finally:
        driver.terminate()
        driver.wait(10)
        shutil.rmtree(profile, ignore_errors=True)


def _driver() -> tuple[subprocess.Popen[str], int]:
    """Chromedriver, and the port where it listens.

    It takes a port that is free on 127.0.0.1, and ends if it is not free on ::1.
    """
    said = ""
    for _attempt in range(5):
        driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert driver.stdout is not None
        for line in driver.stdout:
            said += line
            if found := re.search(r"started successfully on port (\d+)", line):
                return driver, int(found[1])
        driver.wait(10)
    raise AssertionError(f"chromedriver ended before it was ready:\n{said}")


def _value(answer: httpx.Response) -> Any:
    told = answer.json()["value"]
    assert answer.status_code == 200, told
    return told
