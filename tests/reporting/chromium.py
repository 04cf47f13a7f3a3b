"""A browser for tests: headless Chromium by its debugging protocol, over the standard library alone."""

import base64
import json
import os
import re
import shutil
import socket
import subprocess
import time
import zlib

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 30.0


def read_pdf(content):
    """The text of each page, without white space; of Chromium's own files alone, as it writes one glyph after the other."""
    found = re.finditer(rb"(?ms)^(\d+) 0 obj\n(.*?)\nendobj", content)
    objects = {int(each[1]): each[2] for each in found}
    pages = [each for each in objects.values() if re.match(rb"<</Type /Page\b", each)]
    return [_read_page(page, objects) for page in pages]


def _read_page(page, objects):
    fonts = {
        name: _read_font(objects[int(place)], objects) for name, place in re.findall(rb"/(F\d+) (\d+)", page)
    }
    drawn = _read_stream(objects, re.search(rb"/Contents (\d+)", page))
    text, font = "", {}
    for name, glyphs in re.findall(rb"/(F\d+) \S+ Tf|<([0-9A-F]+)> Tj", drawn):
        font = fonts[name] if name else font
        text += "".join(font.get(glyphs[at : at + 4], "") for at in range(0, len(glyphs), 4))
    return "".join(text.split())


def _read_font(font, objects):
    """The text of each glyph (PDF 1.7, 9.10.3)."""
    found = {}
    table = _read_stream(objects, re.search(rb"/ToUnicode (\d+)", font))
    mapped = table.partition(b"endcodespacerange")[2]
    for first, last, text in re.findall(rb"(?m)^<(\w+)> (?:<(\w+)> )?<(\w+)>$", mapped):
        start = int(first, 16)
        for glyph in range(start, int(last or first, 16) + 1):
            code = int(text, 16) + glyph - start
            found[b"%04X" % glyph] = code.to_bytes(len(text) // 2).decode("utf-16-be")
    return found


def _read_stream(objects, place):
    return zlib.decompress(objects[int(place[1])].partition(b"stream\n")[2])


class Browser:
    """One headless Chromium with one page; `events` holds all that it said since the last `open`."""

    def __init__(self, profile):
        command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
        command += [
            "--no-first-run",
            "--disable-background-networking",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        for line in self.process.stderr:
            if found := re.search(r"ws://127\.0\.0\.1:(\d+)(/\S+)", line):
                break
        else:
            raise RuntimeError("Chromium ended before it listened.")
        self.socket = socket.create_connection(("127.0.0.1", int(found[1])), timeout=PATIENCE)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {found[2]} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.stream = self.socket.makefile("rb")
        while self.stream.readline().strip():
            pass
        self.number, self.events, self.session = 0, [], None
        (page,) = [each for each in self.call("Target.getTargets")["targetInfos"] if each["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Send a command and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        self._send(json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode())
        while (answer := self._receive()).get("id") != self.number:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, path, *, width=1280):
        """Load a file and wait until it is there."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )
        self.call("Page.navigate", url=path.as_uri())
        limit = time.monotonic() + PATIENCE
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            if time.monotonic() > limit:
                raise TimeoutError(path)
            self.events.append(self._receive())

    def run(self, script):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, userGesture=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def print(self):
        """The text of each page on paper, without white space."""
        return read_pdf(base64.b64decode(self.call("Page.printToPDF")["data"]))

    def press(self, key, code):
        """A key, pressed and released, as from the keyboard."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **extra
            )

    def said(self, *methods):
        return [event["params"] for event in self.events if event["method"] in methods]

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stderr.close()

    def _send(self, payload):
        """One masked text frame (RFC 6455, 5.2)."""
        size, mask = len(payload), os.urandom(4)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        self.socket.sendall(b"\x81" + length + mask + masked)

    def _receive(self):
        """One message; a server's frames are not masked."""
        payload = b""
        while True:
            first, size = self.stream.read(2)
            if size >= 126:
                size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
            part = self.stream.read(size)
            if first & 0x0F in (0, 1):
                payload += part
                if first & 0x80:
                    return json.loads(payload)
