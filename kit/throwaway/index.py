"""A package index of this machine alone: real HTTP, simple pages (PEP 503) and find-links pages as PyG serves them.

It also is the HTTP proxy of whoever asks it to be: every other host is refused at once, so that an environment which
has this index and this proxy reaches no network.
"""

import hashlib
import os
import re
import shutil
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional
from xml.etree import ElementTree

from kit.facts import normalise

_DENIED = b"<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>\n"


class LocalIndex:
    """Serves files on 127.0.0.1 from a thread, until ``close``.

    ``log`` holds (method, path, status) of each request, in order.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, str, int]] = []
        self._projects: dict[str, dict[str, str]] = {}
        self._pages: dict[str, dict[str, str]] = {}
        self._python: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"index": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.address = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def simple(self) -> str:
        """The address for ``--index-url``."""
        return f"{self.address}/simple/"

    def page(self, build: str) -> str:
        """The address for ``--find-links`` of the wheels for one torch, such as ``'2.13.0+cpu'``.

        The page is there from now on, empty at first.  Of every other page the answer is 403, as PyG's server says
        it of a page that does not exist.
        """
        self._pages.setdefault(build, {})
        return f"{self.address}/whl/torch-{build}.html"

    def add(self, file: "os.PathLike[str]", build: Optional[str] = None, requires_python: str = "") -> None:
        """Serve a wheel or a source distribution on the simple index, or on the page of one torch."""
        path = os.fspath(file)
        name = os.path.basename(path)
        if build is not None:
            self.page(build)
            self._pages[build][name] = path
        else:
            self._python[name] = requires_python
            self._projects.setdefault(normalise(re.split(r"-(?=\d)", name)[0]), {})[name] = path

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> tuple[int, bytes, Optional[str]]:
        """(status, text, file to send in its place) of what is asked for."""
        parts = [urllib.parse.unquote(part) for part in path.partition("?")[0].strip("/").split("/")]
        kind, names = parts[0], parts[1:]
        if kind == "simple" and len(names) == 1 and normalise(names[0]) in self._projects:
            return 200, self._listing(self._projects[normalise(names[0])], "../../files/", digests=True), None
        if kind == "files" and len(names) == 1:
            for files in self._projects.values():
                if names[0] in files:
                    return 200, b"", files[names[0]]
        if kind == "whl" and names:
            build = re.sub(r"^torch-|\.html$", "", names[0])
            files = self._pages.get(build, {})
            if len(names) == 1 and build in self._pages:
                return 200, self._listing(files, f"torch-{urllib.parse.quote(build)}/", digests=False), None
            return (200, b"", files[names[-1]]) if names[-1] in files else (403, _DENIED, None)
        return 404, b"not found\n", None

    def _listing(self, files: dict[str, str], folder: str, digests: bool) -> bytes:
        page = ElementTree.Element("html")
        body = ElementTree.SubElement(page, "body")
        for name, path in sorted(files.items()):
            address = folder + urllib.parse.quote(name, safe="")
            link = ElementTree.SubElement(
                body, "a", href=address + (f"#sha256={self._digest(path)}" if digests else "")
            )
            link.text = name
            if self._python.get(name):
                link.set("data-requires-python", self._python[name])
            ElementTree.SubElement(body, "br")
        return b"<!DOCTYPE html>\n" + ElementTree.tostring(page, method="html")

    def _digest(self, path: str) -> str:
        if path not in self._digests:
            digest = hashlib.sha256()
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
            self._digests[path] = digest.hexdigest()
        return self._digests[path]


class _Handler(BaseHTTPRequestHandler):
    index: LocalIndex

    def do_GET(self) -> None:
        path, here = self.path, self.index.address
        if "://" in path:  # asked as a proxy
            if not path.startswith(here + "/"):
                return self._send(403, b"this index reaches no other host\n")
            path = path[len(here) :]
        self._send(*self.index.answer(path))

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        self._send(403, b"this index reaches no other host\n")

    def _send(self, status: int, text: bytes, file: Optional[str] = None) -> None:
        self.index.log.append((self.command, self.path, status))
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if file else "text/html")
        self.send_header("Content-Length", str(os.path.getsize(file) if file else len(text)))
        self.end_headers()
        if self.command == "GET" and file:
            with open(file, "rb") as stream:
                shutil.copyfileobj(stream, self.wfile, 1 << 20)
        elif self.command == "GET":
            self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: ``log`` has it."""
