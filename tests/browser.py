"""A headless Chromium that is led over its DevTools protocol: what a person does, and what the page did."""

import base64
import contextlib
import itertools
import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from served import until
from websockets.sync.client import connect

FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--remote-debugging-port=0", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
]
_QUIT = 60  # seconds


class Tab:
    """A page that is open.

    Attributes:
      asked: addresses of all requests of the page.
      wrong: what it wrote to its console as an error, and exceptions that nobody caught.
    """

    def __init__(self, connection):
        self._connection, self._numbers = connection, itertools.count(1)
        self.asked: list[str] = []
        self.wrong: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **settings) -> Any:
        """Calls a method of the protocol and returns its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": settings}))
        while True:
            said = json.loads(self._connection.recv(timeout=_QUIT))
            if said.get("id") == number:
                assert "error" not in said, said
                return said["result"]
            self._note(said)

    def _note(self, said):
        details = said.get("params", {})
        if said.get("method") == "Network.requestWillBeSent":
            self.asked.append(details["request"]["url"])
        elif said.get("method") == "Runtime.exceptionThrown":
            self.wrong.append(json.dumps(details["exceptionDetails"]))
        elif said.get("method") == "Log.entryAdded" and details["entry"]["level"] == "error":
            self.wrong.append(f"{details['entry']['text']} {details['entry'].get('url', '')}")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete'")

    def wait_for(self, script: str) -> None:
        until(lambda: self.run(f"Boolean({script})"))

    def text(self, selector: str) -> str:
        return self.run(f"document.querySelector({selector!r}).textContent")

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def drop(self, *files: Path) -> None:
        """Drags files from outside to the middle of the page, and drops them."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=200, y=200, data=data)

    def choose(self, selector: str, *files: Path) -> None:
        """Puts files into an input as its dialog would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def window(self, width: int, height: int, *, dark: bool = False) -> None:
        mobile = width < 600
        self.call(
            *("Emulation.setDeviceMetricsOverride",),
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path: Path, **settings) -> None:
        found = self.call("Page.captureScreenshot", **settings)
        path.write_bytes(base64.b64decode(found["data"]))


@contextlib.contextmanager
def tab(place: Path):
    """A new browser with one empty tab; its profile lies in a folder."""
    with (place / "chromium.log").open("wb") as log:
        browser = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={place / 'profile'}", "about:blank"],
            stdout=log,
            stderr=log,
        )
        try:
            said = place / "profile" / "DevToolsActivePort"
            until(lambda: said.exists() and said.read_text().count("\n") >= 1)
            port = said.read_text().split()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as pages:
                (page,) = [one for one in json.load(pages) if one["type"] == "page"]
            with connect(
                page["webSocketDebuggerUrl"], max_size=None, open_timeout=_QUIT, proxy=None
            ) as found:
                yield Tab(found)
        finally:
            browser.terminate()
            browser.wait()
