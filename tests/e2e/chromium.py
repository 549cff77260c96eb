"""Chromium without a screen, driven over its DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).

It listens on no port: commands and answers go through two pipes, which it finds as descriptors 3 and 4.
"""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from tests.waiting import wait_for

PATIENCE = 60.0

# put the pipes where the browser looks for them, and become the browser
_BECOME = """
import fcntl, os, sys
ends = [fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]]
for end, place in zip(ends, (3, 4)):
    os.dup2(end, place)
    os.close(end)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class ChromiumError(AssertionError):
    """The browser did not do what it was told."""


class Chromium:
    """One browser with one page."""

    def __init__(self, program: str, profile: Path, width: int = 1400, height: int = 1000) -> None:
        read, self._out = os.pipe()
        self._in, write = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        options += ["--remote-debugging-pipe", f"--user-data-dir={profile}", f"--window-size={width},{height}"]
        words = [sys.executable, "-c", _BECOME, str(read), str(write), program, *options, "about:blank"]
        self.process = subprocess.Popen(
            words, pass_fds=(read, write), env={**os.environ, "HOME": str(profile)}, stderr=subprocess.DEVNULL
        )
        os.close(read)
        os.close(write)
        self._unread = b""
        self._number = 0
        self.events: list[dict[str, object]] = []
        try:
            targets = wait_for(self._pages, "a page of the browser", PATIENCE)
            attached = self._call("Target.attachToTarget", "", targetId=targets[0], flatten=True)
            self._session = str(attached["sessionId"])
            for domain in ("Page", "Runtime", "Log"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _pages(self) -> list[object]:
        infos = self._call("Target.getTargets", "")["targetInfos"]
        assert isinstance(infos, list)
        return [info["targetId"] for info in infos if info["type"] == "page"]

    def call(self, method: str, **parameters: object) -> dict[str, object]:
        """A command to the page, and its result."""
        return self._call(method, self._session, **parameters)

    def _call(self, method: str, session: str, **parameters: object) -> dict[str, object]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._receive(deadline)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise ChromiumError(f"{method}: {answer['error']}")
                result = answer["result"]
                assert isinstance(result, dict)
                return result
            self.events.append(answer)

    def _receive(self, deadline: float) -> dict[str, object]:
        while b"\0" not in self._unread:
            if not select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ChromiumError("no answer")
            more = os.read(self._in, 1 << 20)
            if not more:
                raise ChromiumError("the browser has gone")
            self._unread += more
        message, _, self._unread = self._unread.partition(b"\0")
        answer: dict[str, object] = json.loads(message)
        return answer

    def open(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> object:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise ChromiumError(f"{script}: {answer['exceptionDetails']}")
        result = answer["result"]
        assert isinstance(result, dict)
        return result.get("value")

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.run(f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText"))

    def wait_for(self, script: str, what: str) -> object:
        """The value of an expression as soon as it is something."""
        try:
            return wait_for(lambda: self.run(script), what, PATIENCE)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; {self.troubles()} on this page:\n{self.text('body')}") from None

    def troubles(self) -> list[str]:
        """What the console has of errors and exceptions."""
        found = []
        for event in self.events:
            params = event.get("params")
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(json.dumps(params))
            elif isinstance(params, dict) and params.get("entry", {}).get("level") == "error":
                found.append(json.dumps(params["entry"]))
        return found

    def screenshot(self) -> bytes:
        """The whole page as PNG."""
        return base64.b64decode(str(self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]))

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        os.close(self._out)
        os.close(self._in)
