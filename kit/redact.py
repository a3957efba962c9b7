"""Takes out of facts what must not leave the machine: user and host names, credentials, tokens."""

import re
from functools import cache
from typing import Any, Callable

# Forms of tokens that services publish so that scanners can find them (GitHub, GitLab, Hugging Face, AWS, Slack).
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{10,}|hf_\w{10,}|AKIA[0-9A-Z]{12,}|xox[a-z]-[\w-]{10,}"
    r"|pypi-AgE[\w-]{16,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
)
SHORTEST_TOKEN = 13  # hf_ and ten characters
_CREDENTIALS = re.compile(r"(?P<scheme>[a-zA-Z][\w+.-]*://)[^/\s]+@")
_QUERY = re.compile(r"(?P<address>[a-zA-Z][\w+.-]*://[^\s?#]*)\?[^\s#]*")
# An absolute path, which may be that of an address or stand behind -I, or user@host; then its components.
_PLACE = re.compile(r"(?<![\w.-])(?:-[A-Z])?[/\\][^\s:;,'\"]*|[^\s/\\:;,='\"(]+@[^\s/\\:;,'\"]+")
_COMPONENT = re.compile(r"<\w+>|[^/\\@=<>()\[\]{}]+")
_PACKAGES = re.compile(r"(?<=[/\\])(site|dist)-packages(?=[/\\])")


def text(value: str) -> str:
    """``value`` without credentials and query strings in addresses, and without known tokens."""
    if "://" in value:
        value = _CREDENTIALS.sub(r"\g<scheme>****@", value)
        value = _QUERY.sub(r"\g<address>?****", value)
    return _TOKEN.sub("****", value)


def redactor(home: str, user: str, host: str) -> Callable[[Any], Any]:
    """A function that redacts every string of a JSON-like value.

    The home folder becomes ``~``; the user's name becomes ``<user>`` and the host's ``<host>`` where they
    are a whole component of an absolute path or an address.  A name that says nothing of a person (root) is
    kept, and so are words, relative paths, and what lies in ``site-packages``: a machine called ``torch``
    does not rename a package.
    """
    names = {}
    if host and host not in ("localhost", "localhost.localdomain"):
        names.update({host: "<host>", host.partition(".")[0]: "<host>"})
    if user and user != "root":
        names[user] = "<user>"
    home = home.rstrip("/\\")
    at_home = re.compile(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])")

    def redact_text(value: str) -> str:
        placed = "/" in value or "\\" in value or "@" in value
        if not placed and len(value) < SHORTEST_TOKEN:
            return value  # most strings are names and versions
        value = text(value)
        if not placed:
            return value
        if home and home in value:
            value = at_home.sub("~", value)
        return _PLACE.sub(redact_place, value)

    def redact_place(match: re.Match[str]) -> str:
        place = match.group()
        end = _PACKAGES.search(place)
        return redact_components(place[: end.start()]) + place[end.start() :] if end else redact_components(place)

    @cache  # hundreds of distributions lie in one folder
    def redact_components(place: str) -> str:
        return _COMPONENT.sub(lambda m: names.get(m.group(), m.group()), place)

    def redact(value: Any) -> Any:
        if isinstance(value, str):
            return redact_text(value)
        if isinstance(value, dict):
            return {key: redact(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [redact(item) for item in value]
        return value

    return redact
