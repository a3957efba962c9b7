"""A real HTTP server on this machine for the tests: pages, files, and every way in which a server can misbehave."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


class Server:
    """``answers`` maps a path to (status, headers, body) or to a function of the handler; ``asked`` is what came."""

    def __init__(self) -> None:
        self.answers, self.asked = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                outer.asked.append((self.path, dict(self.headers)))
                answer = outer.answers.get(self.path, (404, {}, b"nothing here"))
                if isinstance(answer, list):  # one after the other; the last one stays
                    answer = answer.pop(0) if len(answer) > 1 else answer[0]
                if callable(answer):
                    return answer(self)
                self.reply(*answer)

            def reply(self, status, headers, body, length=None):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 304:
                    self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                if status != 304:
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def page(self, path: str, text: str, **headers: str) -> str:
        named = {"Content-Type": "text/html", **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.answers[path] = (200, named, text.encode())
        return self.url + path

    def paths(self) -> list:
        return [path for path, _ in self.asked]


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()


def drip(body: bytes, seconds: float):
    """One byte at a time; each comes soon, the whole late."""

    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        with contextlib.suppress(OSError):
            for byte in body:
                handler.wfile.write(bytes([byte]))
                handler.wfile.flush()
                time.sleep(seconds)

    return answer


def cut(body: bytes, length: int):
    """Promises ``length`` bytes, sends ``body`` and closes."""

    def answer(handler):
        handler.reply(200, {}, body, length)
        handler.close_connection = True

    return answer


def forward(handler):
    """What an HTTP proxy does with a plain request."""
    parts = urlsplit(handler.path)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=5)
    connection.request("GET", parts.path)
    answer = connection.getresponse()
    handler.reply(answer.status, {}, answer.read())
    connection.close()
