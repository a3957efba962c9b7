"""Edits that rules share: an option added to an installer's call, a word taken out of it, a call put behind it."""

import re
from collections.abc import Iterable
from typing import Optional

from kit.recipes.model import Command, Edit, Install, Package, Recipe, Span, Word

_VERBS = ("install", "add", "wheel", "download")
_KEPT = ("--no-cache-dir", "--no-cache", "--break-system-packages", "--system", "--user", "-q", "--quiet")
_PROGRAMS = re.compile(r"!?(pip|uv|python|py)[\d.]*$")


def editable(recipe: Recipe, install: Install) -> bool:
    """Whether words can be put into the call as into a shell's line: it is a command, and no list in JSON."""
    command = install.command
    if command is None or not command.words or install.tool not in ("pip", "uv"):
        return False
    first = command.words[0]
    if first.raw[:1] in "\"'[" or not any(word.text in _VERBS for word in command.words):
        return False
    if not _PROGRAMS.match(command.program):  # sudo, conda run, a variable: what follows is not ours to repeat
        return False
    return recipe.text[max(0, first.span.start - 1) : first.span.start] not in ('"', "[")


def insertable(recipe: Recipe, install: Install) -> bool:
    """Whether an option can be put behind its verb: in a shell's line, whatever the call begins with."""
    command = install.command
    if command is None or not command.words or install.tool not in ("pip", "uv"):
        return False
    verb = next((word for word in command.words if word.text in _VERBS), None)
    return verb is not None and verb.raw == verb.text and recipe.text[verb.span.end : verb.span.end + 1] in " \t\\\n"


def chainable(recipe: Recipe, install: Install) -> bool:
    """Whether another call can be put behind it with ``&&``: not behind IPython's ``%pip``."""
    if not editable(recipe, install) or install.command is None:
        return False
    start = min(install.command.span.start, install.command.words[0].span.start)
    return recipe.text[max(0, start - 1) : start] != "%" and not install.command.words[0].raw.startswith("%")


def called(install: Install) -> str:
    """The call up to its verb as it is written, with what every call here needs: ``python -m pip install --user``."""
    words: list[str] = []
    verb = False
    for word in install.command.words if install.command else ():
        if not verb or word.text in _KEPT:
            words.append(word.raw)
        verb = verb or word.text in _VERBS
    return " ".join(words)


def added(install: Install, options: str) -> tuple[Edit, ...]:
    """Options behind the verb of a call."""
    for word in install.command.words if install.command else ():
        if word.text in _VERBS:
            return (Edit(Span(word.span.end, word.span.end), f" {options}"),)
    return ()


def behind(install: Install, text: str) -> tuple[Edit, ...]:
    """Text behind a call's last word."""
    end = install.command.words[-1].span.end if install.command else install.span.end
    return (Edit(Span(end, end), text),)


def in_front(recipe: Recipe, install: Install, text: str) -> tuple[Edit, ...]:
    """Text in front of a call's first word, behind the variables that are set for it."""
    if install.command is None or not install.command.words or install.command.words[0].raw[:1] in "\"'[!%":
        return ()
    start = install.command.words[0].span.start
    return (Edit(Span(start, start), text),)


def without(command: Command, spans: Iterable[Span]) -> tuple[Edit, ...]:
    """A command without some of its words, each with the space before it."""
    edits = []
    for previous, word in zip(command.words, command.words[1:]):
        if any(span.start < word.span.end and word.span.start < span.end for span in spans):
            edits.append(Edit(Span(previous.span.end, word.span.end), ""))
    return tuple(edits)


def option(recipe: Recipe, install: Install, word: Word) -> Optional[Span]:
    """Where an option and its value stand: ``-f ADDRESS`` or ``--find-links=ADDRESS``.  None where it cannot be told
    apart, as in a file of another format."""
    if install.command is not None:
        for previous, one in zip(install.command.words, install.command.words[1:]):
            if one.span.start <= word.span.start < one.span.end:
                own = one.raw.lstrip("\"'").startswith("-")
                return one.span if own else Span(previous.span.start, one.span.end)
        return None
    if recipe.kind != "requirements":
        return None
    start = recipe.text.rfind("\n", 0, word.span.start) + 1
    return Span(start, word.span.end) if recipe.text[start : word.span.start].lstrip().startswith("-") else None


def line_above(recipe: Recipe, package: Package, text: str) -> tuple[Edit, ...]:
    """A line of a requirements file put above the one of a package."""
    if recipe.kind != "requirements" or package.file not in (None, recipe.file):
        return ()
    start = recipe.text.rfind("\n", 0, package.span.start) + 1
    return (Edit(Span(start, start), text + "\n"),)
