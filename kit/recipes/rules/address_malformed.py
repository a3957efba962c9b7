"""The address of an index or a page of wheels is wrong.

Servers answer such an address with 403 or with an empty list, and pip does not say so: it goes on without the wheels,
finds no version, takes another build of torch from the package index, or compiles for half an hour.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.5.1 --index-url https://download.pytorch.org/whl/cu121
    RUN pip install --only-binary=torch-scatter torch-scatter -f https://data.pyg.org/whl/torch-2.5.0+121.html  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.5.1 --index-url https://download.pytorch.org/whl/cu121
    RUN pip install --only-binary=torch-scatter torch-scatter -f https://data.pyg.org/whl/torch-2.5.0+cu121.html
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Problem, Recipe, Span, Word
from kit.recipes.rules import Wish
from kit.recipes.rules._addresses import Wrong, replaced, wrong
from kit.recipes.rules._torch import torch_at

FAILURE = "index-url-malformed"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    yield from _ignored(recipe)
    for install in recipe.installs:
        if install.tool not in ("pip", "uv"):
            continue
        for word in install.options.addresses:
            if recipe.kind == "pyproject" and word.text in _flat(recipe):
                continue
            name = _emptied(recipe, install, word)
            if name is not None:
                yield _empty(recipe, install, word, name)
                continue
            found = _literal(recipe, word) or wrong(word, install, torch_at(recipe, install))
            if found is None:
                continue
            what = found.what
            yield Problem(
                "address-malformed",
                FAILURE,
                "warning" if found.option == "--extra-index-url" else "error",
                word.span,
                f"An address is wrong that {install.tool} is given. It {what}.",
                evidence=(f"address: {word.text}",),
                fix=(Fix("fix-url", f"Write {f'{found.option} ' if found.option else ''}{found.meant}"),)
                if found.meant
                else (Fix("fix-url", "Write the page as torch-X.Y.0+cuNNN.html, or torch-X.Y.0+cpu.html"),),
                edits=replaced(recipe, install, word, found.meant, found.option) if found.meant else (),
                safe=found.meant is not None and not found.option,
            )


def _flat(recipe: Recipe) -> set[str]:
    """The pages of links that a pyproject.toml calls that to uv: ``format = "flat"``."""
    told = recipe.data
    for key in ("tool", "uv"):
        told = told.get(key) if isinstance(told, dict) else None
    indexes = told.get("index") if isinstance(told, dict) else None
    listed = [one for one in indexes if isinstance(one, dict)] if isinstance(indexes, list) else []
    return {str(one.get("url")) for one in listed if one.get("format") == "flat"}


def _literal(recipe: Recipe, word: Word) -> Optional[Wrong]:
    """A Python expression in braces, which a notebook fills in and a shell does not."""
    held = re.search(r"(?<![${])\{torch\.[\w.]+\}", word.text)
    if held is None or recipe.kind not in ("shell", "dockerfile", "apptainer", "requirements", "workflow"):
        return None
    return Wrong(f"holds {held[0]} as it is written: nothing fills that in here")


# An option of a whole file that stands on a requirement's line.
_BEHIND = re.compile(
    r"^(?P<before>[ \t]*(?:-[ \t]+)?)(?P<wanted>[A-Za-z][^#\n]*?)[ \t]+"
    r"(?P<option>--extra-index-url|--index-url|--find-links|-f|-i)[ \t=]+(?P<address>\S+)[ \t]*(?:#.*)?$",
    re.M,
)


def _ignored(recipe: Recipe) -> Iterator[Problem]:
    """Addresses on a requirement's own line, which pip reads and does not use."""
    listed = recipe.kind == "environment"
    for found in _BEHIND.finditer(recipe.text) if listed or recipe.kind == "requirements" else ():
        name, address = found["option"], found["address"]
        if listed and "- " not in found["before"]:
            continue
        alone = rf"^[ \t]*(?:-[ \t]+)?(?:--[\w-]+|-[fi])[ \t=]+{re.escape(address)}[ \t]*(?:#.*)?$"
        if re.search(alone, recipe.text, re.M) or "--hash" in found["wanted"]:
            continue
        name = "--find-links" if name in ("-f", "--find-links") else "--extra-index-url"
        span = Span(found.start("option"), found.end("address"))
        yield Problem(
            "address-malformed",
            FAILURE,
            "error",
            span,
            f"An address stands behind a requirement. pip ignores {found['option']} there: it belongs on a line of "
            "its own.",
            evidence=(f"address: {address}",),
            fix=(Fix("fix-url", f"Write it above, on a line of its own: {name} {address}"),),
            edits=(
                Edit(Span(found.start("wanted"), found.start("wanted")), f"{name} {address}\n{found['before']}"),
                Edit(Span(found.end("wanted"), found.end("address")), ""),
            ),
        )


def _emptied(recipe: Recipe, install: Install, word: Word) -> Optional[str]:
    """An ARG from before FROM, which is empty behind it: only what the stage declares again has its value."""
    if recipe.kind != "dockerfile" or word.known or install.command is None or not recipe.stages:
        return None
    first = min(stage.span.start for stage in recipe.stages)
    outer = {s.name for s in recipe.settings if s.how == "arg" and s.span.start < first}
    behind = recipe.text[first : word.span.start]
    for name in re.findall(r"\$\{?(\w+)\}?", word.text):
        again = re.search(rf"^\s*(?:ARG|ENV)\b.*\b{name}\b|\b{name}=|\bread\b.*\b{name}\b", behind, re.M | re.I)
        if name in outer and install.command.in_shell(name) is None and not again:
            return str(name)
    return None


def _empty(recipe: Recipe, install: Install, word: Word, name: str) -> Problem:
    end = recipe.text.find("\n", recipe.stages[install.stage].span.end)
    return Problem(
        "address-malformed",
        FAILURE,
        "error",
        word.span,
        f"An address holds a variable that is empty there. ARG {name} stands before FROM, and behind it has to be "
        "declared again.",
        evidence=(f"address: {word.text}",),
        fix=(Fix("fix-url", f"Repeat it in the stage: ARG {name}"),),
        edits=(Edit(Span(end + 1, end + 1), f"ARG {name}\n"),) if end >= 0 else (),
        safe=True,
    )
