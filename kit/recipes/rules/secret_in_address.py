"""An address holds a password or a token.

What stands in a file is in the repository's history, and what stands in a Dockerfile or comes in as a build argument
is in the image's, for everyone who gets it.  pip reads the credentials from ``~/.netrc``, which a build secret can
bring in for one instruction.

Example
-------
Dockerfile:

    FROM python:3.12
    ARG INDEX_TOKEN
    RUN pip install --index-url https://ci:${INDEX_TOKEN}@packages.example.com/simple torch==2.9.1  # <--

Instead
-------
Dockerfile:

    FROM python:3.12
    RUN --mount=type=secret,id=netrc,target=/root/.netrc \\
        pip install --index-url https://packages.example.com/simple torch==2.9.1
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit import redact
from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe, Span
from kit.recipes.rules import Wish

FAILURE = "index-url-malformed"

_ADDRESS = re.compile(r"(?:git\+)?https?://(?P<user>[^\s:/@\"']*)(?::(?P<word>[^\s/@\"']*))?@(?P<host>[\w.${}-]+)")
_QUERY = re.compile(r"https?://[\w.-]+[^\s\"'?]*\?(?:[^\s\"']*&)?(?:access_)?token=(?P<word>[^\s\"'&]+)")
_VARIABLE = re.compile(r"\$\{?(\w+)[^}]*\}?$")
# What people write where the real one belongs.
_PLACEHOLDER = re.compile(
    r"<.*>?$|x{3,}|\*+|\.{3}|\[.*|\{.*|%.*%?|(your|my)?[-_]?(user(name)?|pass(word|wd)?|(access|auth|api)?[-_]?(token|key)|secret)s?",
    re.I,
)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for start, end in _places(recipe):
        for found in (*_ADDRESS.finditer(recipe.text, start, end), *_QUERY.finditer(recipe.text, start, end)):
            said = _said(recipe, found)
            if said is None:
                continue
            host = found.groupdict().get("host")
            yield Problem(
                "secret-in-address",
                FAILURE,
                "warning",
                Span(found.start(), found.end()),
                f"A secret stands in an address. {said}",
                (f"line {recipe.line(found.start())}: {redact.text(found.group())}",),
                (
                    Fix(
                        "fix-url",
                        f"Write the address without it, and the secret into ~/.netrc (machine {host or '...'}), "
                        "which pip reads; in a Dockerfile: RUN --mount=type=secret,id=netrc,target=/root/.netrc",
                    ),
                    Fix("fix-url", "Make the secret invalid and take a new one: it has been written down"),
                ),
                _edits(recipe, found) if host else (),
            )


def _places(recipe: Recipe) -> Iterator[tuple[int, int]]:
    """Where addresses of packages stand: in commands, requirements and settings."""
    spans = [install.span for install in recipe.installs]
    spans += [word.span for install in recipe.installs for word in (*install.options.addresses, *install.local)]
    spans += [package.span for install in recipe.installs for package in install.packages if not package.file]
    spans += [command.span for command in recipe.commands]
    spans += [s.span for s in recipe.settings if re.search(r"INDEX|LINKS|REPO|CHANNEL|URL", s.name, re.I)]
    last = -1
    for start, end in sorted({(span.start, span.end) for span in spans}):
        if end > last:
            yield max(start, last), end
            last = end


def _said(recipe: Recipe, found: "re.Match[str]") -> Optional[str]:
    """What is wrong with an address; None where no secret is in it, or one that stays outside."""
    groups = found.groupdict()
    word, user = groups.get("word") or "", groups.get("user") or ""
    if not word and (redact.text(user) != user or re.match(r"\$\{?\w*(token|secret|passw|_pat)", user, re.I)):
        word = user  # a token alone, as GitHub takes it
    if (groups.get("host") or "").startswith(("localhost", "127.", "0.0.0.0")):
        return None
    if not word or _PLACEHOLDER.fullmatch(word) or word.startswith(("$(", "`")):
        return None
    variable = _VARIABLE.match(word)
    if variable is None:
        return (
            None
            if "$" in word or "{" in word
            else "Whoever gets the file has it, and everyone who ever gets its history."
        )
    if recipe.kind != "dockerfile":
        return None
    settings = [s for s in recipe.settings if s.name == variable[1] and s.how in ("arg", "env")]
    if not settings or re.search(r"type=secret[^\n]*env=" + variable[1], recipe.text):
        return None
    kind = "build argument" if settings[-1].how == "arg" else "variable of the image"
    return f"{variable[1]} is a {kind}, and so stays in the image's history for everyone who gets the image."


def _edits(recipe: Recipe, found: "re.Match[str]") -> tuple[Edit, ...]:
    """The address without it, and the build's secret file for the instruction."""
    if recipe.kind != "dockerfile" or found.group().startswith("git+"):
        return ()
    start = recipe.text.rfind("\nRUN ", 0, found.start()) + 1
    run = re.match(r"RUN[ \t]+", recipe.text[start:])
    if not run or re.search(r"\n[A-Z]+[ \t]", recipe.text[start : found.start()]):
        return ()
    begin, at = found.start("user"), start + run.end()
    secret = Edit(Span(begin, found.start("host")), "")
    if "target=/root/.netrc" in recipe.text[start : found.start()]:
        return (secret,)
    return (Edit(Span(at, at), "--mount=type=secret,id=netrc,target=/root/.netrc "), secret)
