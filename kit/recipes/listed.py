"""Packages of another file, ``pip install -r FILE``: their place in a recipe is where it names that file."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kit.recipes.model import Edit, Install, Package, Recipe, Span, Word

# Where the name of a file begins: where it ends, and the file's path.
Named = Mapping[int, "tuple[int, str]"]


def here(recipe: Recipe) -> "tuple[Recipe, Named]":
    """The recipe with places in its own text alone, and the places that stand for what is listed elsewhere."""
    named: dict[int, tuple[int, str]] = {}
    installs = tuple(_here(install, recipe.file, named) for install in recipe.installs)
    return (replace(recipe, installs=installs) if named else recipe), named


def _here(install: Install, own: str, named: "dict[int, tuple[int, str]]") -> Install:
    words = install.options.requirement_files
    if not words or all(package.file in (None, own) for package in install.packages):
        return install
    packages = []
    for package in install.packages:
        if package.file not in (None, own):
            word = _word(package, words)
            named.setdefault(word.span.start, (word.span.end, str(package.file)))
            package = replace(package, span=Span(word.span.start, word.span.start))
        packages.append(package)
    return replace(install, packages=tuple(packages))


def _word(package: Package, words: "tuple[Word, ...]") -> Word:
    """Which of the named files it stands in; one that is named by another counts for the first."""
    name = os.path.basename(str(package.file))
    return next((word for word in words if os.path.basename(word.text) == name), words[0])


def elsewhere(span: Span, named: Named) -> str:
    """The file that a place stands for, '' where it is one of this text."""
    return named[span.start][1] if span.start == span.end and span.start in named else ""


def edited_elsewhere(edits: Iterable[Edit], named: Named) -> bool:
    """Whether an edit is meant for another file: here it would be put into that one's name."""
    return any(start <= edit.span.start < end for edit in edits for start, (end, _) in named.items())
