"""How an interpreter's pip reaches the network: its configuration, proxies, certificates, trusted hosts, credentials.

What is secret in it leaves this file in two ways only: in a request, or as ``****``.
"""

import base64
import configparser
import netrc
import os
import ssl
import sys
import urllib.request
from functools import cached_property
from typing import Any, Optional
from urllib.parse import SplitResult, unquote, urlsplit

from kit import redact
from kit.errors import KitError


class Network:
    """The network as the pip of one interpreter sees it; ``prefix`` is that interpreter's ``sys.prefix``."""

    def __init__(self, prefix: Optional[str] = None) -> None:
        self.options = pip_options(prefix)
        self._trusted = frozenset(self.options.get("trusted-host", "").split())
        self._secrets: set[str] = set()
        self._accounts: dict[tuple[Any, ...], str] = {}
        for name in ("find-links", "extra-index-url", "index-url"):
            for address in self.options.get(name, "").split():
                parts = split(address) if "://" in address else None
                if parts and parts.username is not None:
                    self._accounts[origin(parts)] = self._basic(parts.username, parts.password)

    def number(self, names: tuple[str, ...], otherwise: float) -> float:
        """The first of these options that holds a number."""
        for name in names:
            try:
                return max(0.0, float(self.options.get(name, "")))
            except ValueError:
                continue
        return otherwise

    def allows(self, parts: SplitResult) -> bool:
        """Whether pip would read the address: it is encrypted, or on this machine, or its host is trusted."""
        local = parts.hostname in ("localhost", "::1") or (parts.hostname or "").startswith("127.")
        return parts.scheme == "https" or local or self._is_trusted(parts)

    def account(self, parts: SplitResult) -> str:
        """The Authorization that belongs to an address: its own, that of pip's indexes, or that of ~/.netrc."""
        if parts.username is not None:
            return self._basic(parts.username, parts.password)
        return self._accounts.get(origin(parts)) or self._netrc(parts.hostname or "")

    def opener(self, parts: SplitResult) -> urllib.request.OpenerDirector:
        """Opens http and https alone (no file:, no ftp:, no data:), and follows no redirect."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(self._proxies),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=self._unverified if self._is_trusted(parts) else self._verified),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            opener.add_handler(handler)
        return opener

    def hide(self, text: str) -> str:
        """``text`` without anything secret."""
        for secret in sorted((s for s in self._secrets if len(s) > 3), key=len, reverse=True):
            text = text.replace(secret, "****")
        return redact.text(text)

    def _is_trusted(self, parts: SplitResult) -> bool:
        return bool({parts.hostname, f"{parts.hostname}:{parts.port}"} & self._trusted)

    @cached_property
    def _proxies(self) -> dict[str, str]:
        found, own = urllib.request.getproxies(), self.options.get("proxy")
        chosen = {scheme: own or found.get(scheme) or found.get("all") for scheme in ("http", "https")}
        for proxy in filter(None, chosen.values()):
            parts = split(proxy if "://" in proxy else "http://" + proxy)
            self._secrets |= {s for s in (parts.password, unquote(parts.password or "")) if s}
            if parts.scheme.startswith("socks"):
                raise KitError(
                    f"the proxy {redact.text(proxy)} speaks SOCKS, which is not supported: name an HTTP proxy"
                )
        return {scheme: proxy for scheme, proxy in chosen.items() if proxy}

    @cached_property
    def _verified(self) -> ssl.SSLContext:
        usual = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or None
        bundle = self.options.get("cert") or usual
        folder = bundle is not None and os.path.isdir(bundle)
        try:
            context = ssl.create_default_context(cafile=None if folder else bundle, capath=bundle if folder else None)
            if "client-cert" in self.options:
                context.load_cert_chain(self.options["client-cert"])
        except OSError as error:
            raise KitError(f"the certificates that pip is told to use cannot be read: {error}") from None
        return context

    @cached_property
    def _unverified(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _netrc(self, host: str) -> str:
        names = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
        for name in map(os.path.expanduser, names):
            try:
                found = netrc.netrc(name).authenticators(host)
            except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
                continue
            return self._basic(found[0] or "", found[2], quoted=False) if found else ""
        return ""

    def _basic(self, user: str, password: Optional[str], quoted: bool = True) -> str:
        plain = (unquote(user), unquote(password or "")) if quoted else (user, password or "")
        code = base64.b64encode(":".join(plain).encode()).decode()
        self._secrets |= {s for s in (password or user, plain[1] or plain[0], code) if s}
        return f"Basic {code}"


def pip_options(prefix: Optional[str] = None) -> dict[str, str]:
    """pip's options as its configuration files and variables give them, in pip's order; names as in ``proxy``.

    A file that cannot be read says nothing.
    """
    given = os.environ.get("PIP_CONFIG_FILE")
    common, own, name = _folders()
    files = [os.path.join(folder, name) for folder in common]
    files += [] if given and os.path.exists(given) else [os.path.join(folder, name) for folder in own]
    files += [os.path.join(prefix, name)] if prefix else []
    files += [given] if given else []
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}}
    for file in [] if given == os.devnull else files:
        parser = configparser.RawConfigParser()
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue
        for section, found in sections.items():
            if parser.has_section(section):
                found.update({_option(key): value for key, value in parser.items(section)})
    variables = {_option(key[4:]): value for key, value in os.environ.items() if key.startswith("PIP_")}
    ordered = (sections["global"], sections["install"], variables)
    return {key: value for found in ordered for key, value in found.items() if value}


def _folders() -> tuple[list[str], list[str], str]:
    """The folders of pip's configuration for all users and for this one, the stronger last, and the file's name."""
    env, home = os.environ, os.path.expanduser("~")
    if sys.platform == "win32":
        common, own = env.get("PROGRAMDATA", "C:\\ProgramData"), env.get("APPDATA", home)
        return [os.path.join(common, "pip")], [os.path.join(home, "pip"), os.path.join(own, "pip")], "pip.ini"
    user = os.path.join(env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "pip")
    shared = [os.path.join(d, "pip") for d in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")] + ["/etc"]
    if sys.platform == "darwin":
        support = "/Library/Application Support/pip"
        user, shared = home + support if os.path.isdir(home + support) else user, [support]
    return shared, [os.path.join(home, ".pip"), user], "pip.conf"


def _option(name: str) -> str:
    return name.lower().replace("_", "-").lstrip("-")


def split(url: str) -> SplitResult:
    """The parts of an address.  KitError where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
        return parts
    except ValueError as error:
        raise KitError(f"{redact.text(url)} is no address: {error}") from None


def bare(parts: SplitResult) -> SplitResult:
    """Without user name, password and fragment."""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="")


def origin(parts: SplitResult) -> tuple[Any, ...]:
    """Scheme, host and port: to whom credentials belong."""
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
