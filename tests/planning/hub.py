"""A server with as much of the hub's protocol as fetching files takes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "a" * 40


class Handler(BaseHTTPRequestHandler):
    """Answers for the folders under ``root``, and notes in ``fetched`` which bytes it has sent."""

    root: Path
    fetched: list[tuple[str, int]]

    def answer(self, body: bool) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[0] == "api":
            return self.list_folder(parts[3], "tree" in parts, body)
        path = self.root / parts[1] / parts[4]
        if not path.is_file():
            return self.reply(404, b"", body, {"X-Error-Code": "EntryNotFound"})
        content, status, headers = path.read_bytes(), 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{path.name}"'}
        if span := self.headers.get("Range"):
            first, last = span.removeprefix("bytes=").split("-")
            size = len(content)
            content, status = content[int(first) : int(last or size) + 1], 206
            headers["Content-Range"] = f"bytes {first}-{int(first) + len(content) - 1}/{size}"
        if body:
            self.fetched.append((path.name, len(content)))
        return self.reply(status, content, body, headers)

    def list_folder(self, name: str, tree: bool, body: bool) -> None:
        paths = list((self.root / name).iterdir())
        document: object = {"id": f"o/{name}", "sha": COMMIT, "siblings": [{"rfilename": path.name} for path in paths]}
        if tree:
            document = [
                {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": path.name} for path in paths
            ]
        self.reply(200, json.dumps(document).encode(), body)

    def reply(self, status: int, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(content)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def do_GET(self) -> None:
        self.answer(True)

    def do_HEAD(self) -> None:
        self.answer(False)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serve_hub(root: Path) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """Serve the model folders under ``root`` as repositories of the owner ``o``.

    Yields:
        (address, (file name, bytes) of everything sent so far).
    """
    fetched: list[tuple[str, int]] = []
    handler = type("HubHandler", (Handler,), {"root": root, "fetched": fetched})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", fetched
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
