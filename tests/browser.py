"""Pages in a headless Chromium, spoken to through a pipe: no driver is needed, only the browser.

To look at a page by eye:

    python -m tests.browser PAGE.html PICTURE.png 390
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REASON = "needs chromium, as of `apt-get install chromium`"
SECONDS = 120  # that an answer may take on a busy machine
DESKTOP, PHONE = 1280, 390
# elements that stick out of the page and lie in nothing that scrolls
WIDE = """
Array.from(document.body.querySelectorAll("*")).filter(element => {
  const box = element.getBoundingClientRect();
  if (box.width === 0 || box.right <= document.documentElement.clientWidth + 1) return false;
  if (box.left >= document.documentElement.clientWidth) return false;
  for (let e = element; e !== document.body; e = e.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return false;
  return true;
}).map(element => element.outerHTML.slice(0, 100))
"""


class Page:
    """A tab.

    Attributes:
        errors: what its console was told, and exceptions.
    """

    def __init__(self, browser: Browser, url: str, width: int, height: int) -> None:
        self.browser, self.errors = browser, []
        target = browser.ask("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = browser.ask("Target.attachToTarget", {"targetId": target, "flatten": True})
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.ask("Emulation.setDeviceMetricsOverride", size)
        self.ask("Page.navigate", {"url": url})
        browser.wait(lambda message: message.get("method") == "Page.loadEventFired")

    def ask(self, method: str, parameters: dict[str, Any] | None = None) -> Any:
        return self.browser.ask(method, parameters, self)

    def evaluate(self, expression: str) -> Any:
        options = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.ask("Runtime.evaluate", options)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Its value, as soon as that is true."""
        stop = time.monotonic() + SECONDS
        while not (value := self.evaluate(expression)):
            if time.monotonic() > stop:
                raise TimeoutError(f"{expression} did not become true")
            time.sleep(0.05)
        return value

    def sticking_out(self) -> list[str]:
        """Elements that are wider than the page, with nothing around them that scrolls."""
        scroll = self.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return self.evaluate(WIDE) + ([f"the page, by {scroll} pixels"] if scroll > 0 else [])

    def screenshot(self, path: Path) -> None:
        """The whole page."""
        options = {"format": "png", "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot", options)["data"]))


class Browser:
    """A running Chromium; see `browser`."""

    def __init__(self, process: subprocess.Popen, commands: int, answers: int) -> None:
        self.process, self.commands, self.answers = process, commands, answers
        self.count, self.buffer = 0, b""
        self.pages: dict[str, Page] = {}

    def open(self, url: str, width: int = DESKTOP, height: int = 900) -> Page:
        return Page(self, url, width, height)

    def ask(
        self, method: str, parameters: dict[str, Any] | None = None, page: Page | None = None
    ) -> Any:
        self.count += 1
        number = self.count
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters or {}}
        if page is not None:
            self.pages[page.session] = page
            message["sessionId"] = page.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        answer = self.wait(lambda message: message.get("id") == number)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def wait(self, wanted: Any) -> dict[str, Any]:
        """The next message that is wanted; errors of pages are kept."""
        stop = time.monotonic() + SECONDS
        while True:
            while b"\0" not in self.buffer:
                ready, _, _ = select.select([self.answers], [], [], stop - time.monotonic())
                piece = os.read(self.answers, 1 << 20) if ready else b""
                if not piece:
                    raise TimeoutError("the browser does not answer")
                self.buffer += piece
            text, _, self.buffer = self.buffer.partition(b"\0")
            message = json.loads(text)
            self._keep_errors(message)
            if wanted(message):
                return message

    def _keep_errors(self, message: dict[str, Any]) -> None:
        page, what = self.pages.get(message.get("sessionId", "")), message.get("params", {})
        if page is None:
            return
        match message.get("method"):
            case "Runtime.exceptionThrown":
                page.errors.append(json.dumps(what["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if what["type"] in ("error", "assert"):
                page.errors.append(json.dumps(what["args"]))
            case "Log.entryAdded" if what["entry"]["level"] == "error":
                page.errors.append(what["entry"]["text"] + " " + what["entry"].get("url", ""))


@contextmanager
def browser() -> Iterator[Browser]:
    """A Chromium that ends with the context."""
    read_commands, commands = os.pipe()
    answers, write_answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = (
            "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --no-first-run "
            f"--disable-background-networking --remote-debugging-pipe --user-data-dir={profile}"
        )
        # which reads descriptor 3 and writes to 4
        line = f"exec {CHROMIUM} {options} 3<&{read_commands} 4>&{write_answers}"
        process = subprocess.Popen(
            ["bash", "-c", line],
            pass_fds=(read_commands, write_answers),
            stderr=subprocess.DEVNULL,
        )
        os.close(read_commands)
        os.close(write_answers)
        try:
            yield Browser(process, commands, answers)
        finally:
            process.terminate()
            process.wait()
            os.close(commands)
            os.close(answers)


if __name__ == "__main__":
    source, picture, width = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    with browser() as chromium:
        page = chromium.open(Path(source).resolve().as_uri(), width)
        page.screenshot(picture)
        sys.stdout.write(f"{picture}: {page.sticking_out()} {page.errors}\n")
