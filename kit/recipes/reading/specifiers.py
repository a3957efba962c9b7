"""One requirement as pip, conda and their files write it."""

import re
from typing import Optional

from kit.facts import normalise
from kit.recipes.model import Package, Span, Word

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_BEGINNING = re.compile(rf"\s*({_NAME})\s*(?:\[[^\]]*\])?\s*(?=([<>=!~@;(].*)?$)", re.S)
_ARCHIVES = (".whl", ".tar.gz", ".zip", ".tar.bz2", ".tgz", ".tar.xz")
_WHEEL = re.compile(rf"({_NAME})-([^-]+)(?:-\d[^-]*)?-[^-]+-[^-]+-[^-]+\.whl$")


def place_of_source(text: str) -> bool:
    """Whether pip takes this for a folder, a file or an address, not for a name."""
    bare = text.partition(";")[0].strip()
    bare = re.sub(r"\[[^\]]*\]$", "", bare).partition("#")[0]
    if " @ " in bare or re.match(rf"{_NAME}(\[[^\]]*\])?@", bare):
        return False
    if bare in (".", "..") or "/" in bare or bare.endswith(_ARCHIVES):
        return not re.match(rf"\s*{_NAME}\s*(\[[^\]]*\])?\s*[<>=!~]", bare)
    return False


def requirement(word: Word, file: Optional[str] = None) -> Optional[Package]:
    """The package that a word names, also as a wheel or with ``#egg=``; None for any other place of a source."""
    text = word.text.strip()
    if place_of_source(text):
        return _from_place(word, text, file)
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        found = Requirement(text)
    except InvalidRequirement:
        return _loose(word, text, file)
    return Package(
        normalise(found.name),
        word.raw,
        word.span,
        _specifier(text, str(found.specifier)),
        found.url,
        str(found.marker) if found.marker else "",
        file,
        word.known and "$" not in text,
    )


def _specifier(text: str, parsed: str) -> str:
    """The specifier in the order in which it is written; ``packaging`` sorts it."""
    written = text.partition(";")[0]
    start = re.search(r"[<>=!~]", re.sub(r"\[[^\]]*\]", lambda found: " " * len(found[0]), written))
    if not parsed or start is None:
        return parsed
    return re.sub(r"\s+", "", written[start.start() :]).strip("()").rstrip(",")


def _loose(word: Word, text: str, file: Optional[str]) -> Package:
    """What is no requirement by the rules, kept as it is: its name where one can be told."""
    found = _BEGINNING.match(text)
    if found is None:
        return Package(text, word.raw, word.span, file=file, known=False)
    rest, _, marker = (found.group(2) or "").partition(";")
    url = rest[1:].strip() if rest.startswith("@") else None
    return Package(
        normalise(found.group(1)),
        word.raw,
        word.span,
        "" if url is not None else rest.strip().strip("()").strip(),
        url,
        marker.strip(),
        file,
        False,
    )


def _from_place(word: Word, text: str, file: Optional[str]) -> Optional[Package]:
    address = text if "://" in text else None
    egg = re.search(rf"[#&]egg=({_NAME})", text)
    if egg:
        return Package(normalise(egg.group(1)), word.raw, word.span, "", address or text, file=file, known=word.known)
    name = text.partition(";")[0].strip().partition("#")[0].rpartition("/")[2]
    wheel = _WHEEL.match(name.replace("%2B", "+").replace("%2b", "+"))
    if wheel is None:
        return None
    known = word.known and "*" not in name
    version = wheel.group(2).replace("_", "+", 1) if known else ""
    return Package(
        normalise(wheel.group(1)),
        word.raw,
        word.span,
        f"=={version}" if known else "",
        address or text,
        "",
        file,
        known,
    )


_CONDA = re.compile(r"(?:(?P<channel>[^\s=<>!~\[]+)::)?(?P<name>[^\s=<>!~\[]+)\s*(?P<rest>.*)$", re.S)


def conda_package(word: Word, file: Optional[str] = None) -> tuple[Package, Optional[Word]]:
    """A conda specification (``pytorch::pytorch=2.1=py3.11*``), and its channel where it names one."""
    found = _CONDA.match(word.text.strip())
    if found is None:
        return Package(word.text, word.raw, word.span, file=file, known=False), None
    rest = found["rest"].strip()
    bracket = re.search(r"version\s*=\s*[\"']?([^\"'\]]+)", rest) if rest.startswith("[") else None
    if bracket:
        rest = bracket[1].strip()
    if rest and rest[0] not in "=<>!~":
        rest = "=" + re.sub(r"\s+", "=", rest)  # `pytorch 2.1 py311_0`
    name = found["name"]
    name = normalise(name) if name[0] != "_" else "_" + normalise(name[1:])  # of conda's own: _libgcc_mutex
    package = Package(name, word.raw, word.span, rest, file=file, known=word.known)
    channel = found["channel"]
    if channel is None:
        return package, None
    at = word.raw.find(channel)
    if at < 0:
        return package, Word(channel, word.raw, word.span, word.known)
    return package, Word(
        channel, channel, Span(word.span.start + at, word.span.start + at + len(channel)), word.known
    )
