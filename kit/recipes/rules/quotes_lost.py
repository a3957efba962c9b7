"""A shell takes a part of a value for its own, as it stands without quotes.

``pip install torch>=2.1`` installs any torch and writes a file called ``=2.1``; ``torch<2.9`` reads from a file.
``TORCH_CUDA_ARCH_LIST=8.6;8.9`` sets 8.6, and runs a command called ``8.9``.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch>=2.9  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install "torch>=2.9"
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import NAME

FAILURE = "version-conflict"

_REDIRECT = re.compile(r"[<>]=?\d[\w.]*(?:,[<>=!~]=?\d[\w.*]*)*(?![^\s;&|)\\])")
_ENTRY = re.compile(r"\d{1,2}\.\d[af]?(\+PTX)?")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        for package in install.packages if install.command is not None else ():
            rest = _REDIRECT.match(recipe.text, package.span.end)
            own = recipe.at(package.span)
            if rest is None or own[:1] in "\"'" or not re.fullmatch(r"[\w.\[\],-]+", own):
                continue
            reads = rest.group()[0] == "<"
            does = (
                "reads from a file of that name, which is not there" if reads else "writes into a file of that name"
            )
            yield Problem(
                "quotes-lost",
                FAILURE,
                "error" if reads else "warning",
                Span(package.span.start, rest.end()),
                f"The version of {package.name} is taken for a redirection. Without quotes the shell {does}"
                + ("." if reads else f", and any {package.name} is installed."),
                fix=(Fix("change-package-version", f'Put it into quotes: "{own}{rest.group()}"'),),
                edits=(Edit(Span(package.span.start, rest.end()), f'"{own}{rest.group()}"'),),
                package=package.name,
            )
    yield from _lists(recipe)


def _lists(recipe: Recipe) -> Iterator[Problem]:
    """Architectures that became commands."""
    for setting in recipe.settings:
        if setting.name != NAME or setting.value is None or not _ENTRY.fullmatch(setting.value):
            continue
        rest = re.match(r"(?:[ \t]*;[ \t]*\d{1,2}\.\d[af]?(?:\+PTX)?)+(?=[\s;&|]|$)", recipe.text[setting.span.end :])
        written = recipe.at(setting.span)
        if rest is None or not written.endswith(setting.value) or setting.how not in ("export", "shell"):
            continue
        start, end = setting.span.end - len(setting.value), setting.span.end + rest.end()
        listing = re.sub(r"[ \t]", "", recipe.text[start:end])
        yield Problem(
            "quotes-lost",
            "gpu-arch-missing",
            "error",
            setting.span,
            f"The list of architectures ends at the first semicolon. Without quotes the shell sets {setting.value}, "
            "and takes the next one for a command.",
            fix=(Fix("rebuild-extension", f'Put it into quotes: {NAME}="{listing}"'),),
            edits=(Edit(Span(start, end), f'"{listing}"'),),
            safe=True,
        )
