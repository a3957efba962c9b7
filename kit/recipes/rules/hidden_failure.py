"""When torch or an extension cannot be installed, the recipe goes on as if nothing had happened.

``|| pip install torch-scatter`` compiles where the page had no wheel, mostly for the CPU alone; ``|| true`` leaves
the package out.  Either way the build is green, and the program fails later, far from the cause.

Example
-------
Dockerfile:

    FROM python:3.12
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --only-binary=torch-scatter torch-scatter \\
        -f https://data.pyg.org/whl/torch-2.9.0+cu128.html || true  # <--

Instead
-------
Dockerfile:

    FROM python:3.12
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --only-binary=torch-scatter torch-scatter \\
        -f https://data.pyg.org/whl/torch-2.9.0+cu128.html
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.published import PYG
from kit.recipes.model import Command, Edit, Install, Package, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import extensions, pages
from kit.recipes.rules._torch import addresses

FAILURE = "wheel-not-published"

_TORCH = ("torch", "torchvision", "torchaudio", "pytorch")
# Programs that use them do without, more slowly.
_OPTIONAL = ("flash-attn", "xformers", "apex")
_SILENT = ("true", ":", "echo", "printf")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    chained: set[int] = set()
    for install in recipe.installs:
        command = install.command
        name = _name(recipe, install)
        if command is None or name is None or id(command) in chained:
            continue
        rest = _following(recipe, command)
        alternatives = _alternatives(recipe, command, rest)
        if not alternatives or any(_stops(one) for one in alternatives):
            continue
        chained.update(id(one) for one in alternatives)
        again = next((i for i in recipe.installs if any(i.command is one for one in alternatives)), None)
        if again is not None and _name(recipe, again) != name:
            continue
        if again is None and not all(one.program in (*_SILENT, "exit", "pip", "pip3") for one in alternatives):
            continue
        if again is not None and _same(install, again):
            continue
        yield _problem(recipe, install, name, again, alternatives)


def _name(recipe: Recipe, install: Install) -> Optional[str]:
    """The torch package or the extension that an installation is for."""
    package: Optional[Package] = install.package(*_TORCH) if install.tool in ("pip", "uv", "conda") else None
    if package is not None:
        return package.name
    found = extensions(recipe, install)
    return found[0].name if found else None


def _following(recipe: Recipe, command: Command) -> list[Command]:
    """What comes after it in the same shell."""
    index = next(i for i, one in enumerate(recipe.commands) if one is command)
    return [one for one in recipe.commands[index + 1 :] if one.group == command.group and one.stage == command.stage]


def _alternatives(recipe: Recipe, command: Command, rest: list[Command]) -> list[Command]:
    """The commands that run only where the one before has failed, those of a group in braces too."""
    found: list[Command] = []
    end = command.span.end
    for one in rest:
        if one.after == "||" and one.span.start >= end:
            end = max(one.span.end, _group(recipe.text, end, one.span.start))
        elif one.span.start >= end and not (one.after == "|" and found):
            break
        found.append(one)
    return found


def _group(text: str, start: int, end: int) -> int:
    """Where the group ends that is opened between two places; 0 where none is."""
    opened = re.search(r"\|\|\s*(?:\\\n\s*)?([{(])", text[start:end])
    if opened is None:
        return 0
    depth, closing = 0, {"{": "}", "(": ")"}[opened[1]]
    for at in range(start + opened.start(1), len(text)):
        depth += (text[at] == opened[1]) - (text[at] == closing)
        if not depth:
            return at
    return len(text)


def _stops(command: Command) -> bool:
    """Whether a failure ends the build after all."""
    code = command.texts[1] if len(command.texts) > 1 else "0"
    return (command.program in ("exit", "return") and code != "0") or command.program == "false"


def _same(one: Install, other: Install) -> bool:
    """Whether the same is tried again, as after a network's failure, or with another installer."""
    asked = [
        (
            [(p.name, p.specifier, p.url) for p in i.packages],
            addresses(i),
            i.options.pre is None,
            i.options.only_binary,
        )
        for i in (one, other)
    ]
    return asked[0] == asked[1]


def _problem(
    recipe: Recipe, install: Install, name: str, again: Optional[Install], alternatives: list[Command]
) -> Problem:
    command = install.command
    assert command is not None
    span = Span(alternatives[0].span.start, alternatives[-1].span.end)
    if again is None:
        failure = "torch-missing" if name in _TORCH else "wheel-not-published"
        story = (
            f"Where {name} cannot be installed, the recipe goes on without it, and the program that imports it fails."
        )
    elif name in PYG and pages(install) and not pages(again):
        failure = "sdist-preferred"
        story = f"Where the page lists no wheel of {name}, the second call takes its sources and compiles them."
    else:
        failure = "wheel-not-published"
        story = f"Where the first call fails, the second one installs another build of {name}, and nobody is told."
    return Problem(
        "hidden-failure",
        failure,
        "note" if again is None and name in _OPTIONAL else "warning",
        span,
        f"A failed installation of {name} is hidden. {story}",
        (f"line {recipe.line(span.start)}: || {recipe.at(span).splitlines()[0][:80]}",),
        (
            Fix(
                "install-matching-wheel",
                f"Let it fail: take the fallback out, and ask for the one build of {name} that is "
                "published for this torch, Python and system",
            ),
        ),
        _edit(recipe, command, span),
        package=name,
    )


def _edit(recipe: Recipe, command: Command, span: Span) -> tuple[Edit, ...]:
    """Without the fallback, where it is no group of commands."""
    between, end = recipe.text[command.span.end : span.start], recipe.text.find("\n", span.end)
    after = recipe.text[span.end : end if end >= 0 else len(recipe.text)]
    plain = re.fullmatch(r"(\s|\\\n)*\|\|(\s|\\\n)*", between) and re.fullmatch(r"\s*(\\|&&.*|;.*|#.*)?\s*", after)
    return (Edit(Span(command.span.end, span.end), ""),) if plain else ()
