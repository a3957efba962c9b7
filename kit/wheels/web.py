"""Reads pages and files over HTTP: time limits, retries, redirects within one host, a cache that tells its age.

Credentials go to the host that they belong to and stand in no message, no cache and no result.
"""

import hashlib
import http.client
import json
import math
import os
import queue
import ssl
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any, Callable, Optional, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from kit import redact
from kit.errors import KitError
from kit.record import Record
from kit.wheels.network import Network, bare, origin, split

FRESH = 600  # seconds for which a page is not asked for again
LARGEST_PAGE = 50 << 20
SLOWEST = 20_000  # bytes a second below which a download is given up
RETRIES, PAUSE = 3, 0.25  # the first pause in seconds, doubled each time
REDIRECTS = 5
_ANSWERS = {
    401: "it wants a user name and a password: put them into pip's index-url or into ~/.netrc (401)",
    403: "there is no such page, or it is not for you (403)",
    404: "there is no such page (404)",
    407: "the proxy wants a user name and a password (407)",
}
_T = TypeVar("_T")


class WebError(KitError):
    """An address that cannot be read.  ``status`` is what the server answered, None where it did not;
    ``again`` tells whether another try may help, ``pause`` for how many seconds the server asks to wait."""

    def __init__(self, message: str, status: Optional[int] = None, again: bool = False, pause: float = 0) -> None:
        super().__init__(message)
        self.status, self.again, self.pause = status, again, pause


class Page(Record):
    """A page; ``url`` is where it really lies, ``age`` in seconds how long ago its server was asked for it.

    ``note`` says why an old copy has to do.
    """

    url: str
    text: str
    age: float = 0
    note: str = ""


class Web:
    """Reads as the pip of the interpreter with this ``sys.prefix`` would.

    ``limit`` bounds in seconds the whole time that a page may take, retries included; by default pip's ``timeout``.
    """

    def __init__(self, prefix: Optional[str] = None, limit: Optional[float] = None, fresh: float = FRESH) -> None:
        self._network = network = Network(prefix)
        self._fresh, self._limit = fresh, limit or network.number(("timeout", "default-timeout"), 15) or 15
        self._retries = min(RETRIES, int(network.number(("retries",), RETRIES)))
        self._unreachable: dict[tuple[Any, ...], WebError] = {}

    def page(self, url: str) -> Page:
        """The page at ``url``.  WebError where there is none, or where nobody answers and no copy is at hand."""
        url, account = self._address(url)
        file = os.path.join(cache_folder(), hashlib.sha256(url.encode()).hexdigest()[:32])
        about, copy = _held(file)
        now = time.time()
        age = now - about["read"] if about else -1
        if 0 <= age < self._fresh:
            return Page(about["url"], copy, age)
        asked = {"Accept": "text/html", "Accept-Encoding": "gzip"}
        asked.update({name: about[name] for name in ("If-None-Match", "If-Modified-Since") if about.get(name)})
        try:
            page, told = self._patiently(url, lambda limit: self._page(url, account, asked, limit), self._limit)
        except WebError as error:
            if about and error.status == 304:
                page, told = Page(about["url"], copy), about
            elif about and (error.status is None or error.status == 429 or error.status >= 500):
                return Page(about["url"], copy, max(age, 0), f"{error}; this is the copy of {ago(age)} ago")
            else:
                raise
        _keep(file, {**told, "url": page.url, "read": now}, page.text)
        return page

    def _page(self, url: str, account: str, asked: dict[str, str], limit: float) -> tuple[Page, dict[str, Any]]:
        content, place, headers = bytearray(), url, {}
        for item in self._read(url, account, asked, limit):
            if isinstance(item, tuple):
                place, headers = item
            else:
                content += item
                if len(content) > LARGEST_PAGE:
                    raise self._error(url, f"it has more than {LARGEST_PAGE >> 20} MB")
        if headers.get("content-encoding") == "gzip":
            unpacker = zlib.decompressobj(31)
            try:
                content = bytearray(unpacker.decompress(content, LARGEST_PAGE))
            except zlib.error as error:
                raise self._error(url, f"it is damaged: {error}", again=True) from None
            if not unpacker.eof:
                raise self._error(url, "its end is missing, or it is too large", again=True)
        told = {"If-None-Match": headers.get("etag"), "If-Modified-Since": headers.get("last-modified")}
        return Page(place, content.decode("utf-8", "replace")), told

    def download(
        self,
        url: str,
        path: str,
        sha256: Optional[str] = None,
        progress: Optional[Callable[[int, Optional[int]], None]] = None,
    ) -> str:
        """Bring the file at ``url`` to ``path``, whole or not at all; its SHA-256.

        ``sha256``, by default the one in the address (``#sha256=``), has to be that of the file.  ``progress`` is
        called with the bytes that are there and, where the server tells it, with their final number.
        """
        named = urlsplit(url).fragment
        wanted = sha256 or (named[7:] if named.startswith("sha256=") else None)
        url, account = self._address(url)
        part = f"{path}.{os.getpid()}.part"

        def once(limit: float) -> str:
            digest, total, done = hashlib.sha256(), None, 0
            with open(part, "wb") as stream:
                for item in self._read(url, account, {"Accept-Encoding": "identity"}, limit, SLOWEST):
                    if isinstance(item, tuple):
                        total = _length(item[1])
                        continue
                    stream.write(item)
                    digest.update(item)
                    done += len(item)
                    if progress:
                        progress(done, total)
            found = digest.hexdigest()
            if wanted and found != wanted.lower():
                raise self._error(url, f"its SHA-256 is {found}, not {wanted.lower()}: it is not kept")
            os.replace(part, path)
            return found

        try:
            return self._patiently(url, once, self._limit, overall=False)
        except OSError as error:
            raise KitError(f"{path} cannot be written: {error.strerror or error}") from None
        finally:
            if os.path.exists(part):
                os.unlink(part)

    def _patiently(self, url: str, once: Callable[[float], _T], limit: float, overall: bool = True) -> _T:
        """``once``, tried again where that may help; ``overall``: all tries together within ``limit`` seconds."""
        host, end = origin(split(url)), time.monotonic() + limit if overall else math.inf
        if host in self._unreachable:
            raise self._unreachable[host]
        for attempt in range(self._retries + 1):
            try:
                return once(min(limit, end - time.monotonic()))
            except WebError as error:
                pause = max(error.pause, PAUSE * 2**attempt)
                if not error.again or attempt == self._retries or pause > min(limit, end - time.monotonic()):
                    if overall and error.status is None:
                        self._unreachable[host] = error  # another page of it would take as long to fail
                    raise
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _read(
        self, url: str, account: str, headers: dict[str, str], limit: float, rate: Optional[int] = None
    ) -> Iterator[Any]:
        """(address, headers) of the answer, then its bytes, until it is whole.

        It is read in a thread, as looking up a name can hang past any time limit.  The answer has ``limit`` seconds,
        and where a ``rate`` is given one more for so many bytes that have come.
        """
        items: queue.Queue[Any] = queue.Queue(maxsize=64)
        left = threading.Event()  # nobody waits any longer

        def put(item: Any) -> None:
            while not left.is_set():
                try:
                    return items.put(item, timeout=0.1)
                except queue.Full:
                    pass

        def work() -> None:
            try:
                with self._open(url, account, headers, limit) as answer:
                    put((answer.url, {name.lower(): value for name, value in answer.headers.items()}))
                    while not left.is_set():
                        block = answer.read1(1 << 16)
                        put(block)
                        if not block:
                            return
            except (OSError, http.client.HTTPException, ValueError, KitError) as error:
                put(error)

        threading.Thread(target=work, daemon=True).start()
        start, done, total = time.monotonic(), 0, None
        try:
            while True:
                allowed = start + limit + (done / rate if rate else 0) - time.monotonic()
                try:
                    item = items.get(timeout=max(allowed, 0.001))
                except queue.Empty:
                    item = TimeoutError()
                if isinstance(item, TimeoutError):
                    some = f"; {done:,} bytes came" if done else ""
                    raise self._error(url, f"it does not answer within {limit:.0f} s{some}", again=rate is not None)
                if isinstance(item, BaseException):
                    raise self._failure(url, item) from None
                if item == b"":
                    break
                if isinstance(item, tuple):
                    total = _length(item[1])
                else:
                    done += len(item)
                yield item
            if total is not None and done != total:
                raise self._error(url, f"the connection was cut after {done:,} of {total:,} bytes", again=True)
        finally:
            left.set()

    def _open(self, url: str, account: str, headers: dict[str, str], limit: float) -> Any:
        parts = split(url)
        for _ in range(REDIRECTS + 1):
            named = {"User-Agent": "jupyter-troubleshooting-kit", **headers}
            request = urllib.request.Request(urlunsplit(parts), headers=named)
            if account:
                request.add_unredirected_header("Authorization", account)
            try:
                return self._network.opener(parts).open(request, timeout=limit)
            except urllib.error.HTTPError as error:
                place = error.headers.get("Location")
                if not place or error.code not in (301, 302, 303, 307, 308):
                    raise
                error.close()
            there = bare(split(urljoin(urlunsplit(parts), place)))
            upgraded = parts.scheme == "http" and there.scheme == "https" and parts.hostname == there.hostname
            if origin(there) != origin(parts) and not upgraded:
                where = f"{there.scheme}://{there.netloc}"
                raise self._error(url, f"it redirects to another host ({where}), which is not followed", 300)
            parts = there
        raise self._error(url, "it redirects without end", 300)

    def _address(self, url: str) -> tuple[str, str]:
        """``url`` without credentials and fragment, and the Authorization that belongs to it."""
        parts = split(url)
        account, parts = self._network.account(parts), bare(parts)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise self._error(urlunsplit(parts), "only http and https addresses are read", 400)
        if not self._network.allows(parts):
            why = "pip reads no http without encryption: use https, or make its host a trusted-host"
            raise self._error(urlunsplit(parts), why, 400)
        return urlunsplit(parts), account

    def _error(self, url: str, why: str, status: Optional[int] = None, **more: Any) -> WebError:
        return WebError(f"{redact.text(url)} cannot be read: {self._network.hide(why)}", status, **more)

    def _failure(self, url: str, error: BaseException) -> WebError:
        """What happened, in words."""
        if isinstance(error, WebError):
            return error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
            asked = (error.headers.get("Retry-After") or "") if error.headers else ""
            why, again = _ANSWERS.get(error.code, f"it answers {error.code}"), error.code == 429 or error.code >= 500
            return self._error(url, why, error.code, again=again, pause=int(asked) if asked.isdecimal() else 0)
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted ({reason.verify_message}); name the right bundle in pip's `cert`"
            return self._error(url, why)
        why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        never = isinstance(error, (KitError, ValueError, http.client.InvalidURL))
        return self._error(url, why, again=not never)


def cache_folder() -> str:
    """Where pages are kept: the kit's own folder in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "jupyter-troubleshooting-kit", "pages")


def ago(seconds: float) -> str:
    """A time in words: ``'3 hours'``."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


def _length(headers: dict[str, str]) -> Optional[int]:
    text = headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


def _held(file: str) -> tuple[dict[str, Any], str]:
    """What the cache holds: about the page, and the page.  Anything damaged counts as nothing."""
    try:
        with open(file, "rb") as stream:
            about, content = json.loads(stream.readline()), stream.read()
        whole = about["sha256"] == hashlib.sha256(content).hexdigest()
        return (
            ({**about, "url": str(about["url"]), "read": float(about["read"])}, content.decode())
            if whole
            else ({}, "")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return {}, ""


def _keep(file: str, about: dict[str, Any], text: str) -> None:
    """Put a page into the cache, whole or not at all.  Where that cannot be, nothing is kept."""
    part = None
    try:
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=os.path.dirname(file), suffix=".part")
        with open(handle, "wb") as stream:
            digest = hashlib.sha256(text.encode()).hexdigest()
            stream.write(json.dumps({**about, "sha256": digest}).encode() + b"\n" + text.encode())
        os.replace(part, file)
    except OSError:
        if part and os.path.exists(part):
            os.unlink(part)
