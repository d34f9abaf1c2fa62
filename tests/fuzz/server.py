"""A server on loopback that answers as a file of the current case says."""

from __future__ import annotations

import json
import multiprocessing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

from darwin_mri.children import end_with_parent


def start_server(folder: Path) -> str:
    """Start it in a process of its own, which ends with this one.

    Args:
        folder: where ``answer.json`` (status, headers) and ``answer.body`` will lie.

    Returns:
        The address of its API.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=_serve, args=(folder, there), daemon=True).start()
    return f"http://127.0.0.1:{here.recv()}/v1"


def _serve(folder: Path, pipe: Connection) -> None:
    end_with_parent()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.answer()

        def answer(self) -> None:
            how, body = json.loads((folder / "answer.json").read_text()), (folder / "answer.body").read_bytes()
            self.send_response(how["status"])
            for name, value in {"Content-Length": str(len(body)), **how["headers"]}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_address[1])
    server.serve_forever()
