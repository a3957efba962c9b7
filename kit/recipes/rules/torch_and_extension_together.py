"""torch and a package that is compiled against it are installed by one command.

pip builds a source distribution before it installs anything, in an environment of its own.  The extension's
``setup.py`` imports torch, which is not there yet: the build stops with ``No module named 'torch'``.  The order of
the names changes nothing, nor does ``--no-build-isolation`` alone.  Wheels from PyG's page need no build; where the
page has them, both may stand together.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.9.1 torch-scatter  # <--

Instead
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install --only-binary=torch-scatter -f https://data.pyg.org/whl/torch-2.9.0+cu128.html torch-scatter
"""

from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.published import PYG
from kit.recipes.model import Edit, Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import architectures
from kit.recipes.rules._edits import behind, called, chainable, line_above, without
from kit.recipes.rules._extensions import Extension, page_of, together, unseen_gpu, value
from kit.recipes.rules._torch import Torch, torch_of, with_cuda
from kit.recipes.rules._words import from_page, has_wheels, joined, only_binary, shim, wheels

FAILURE = "build-isolation"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        found = together(recipe, install)
        if not found:
            continue
        names, torch = [one.name for one in found], torch_of(recipe, install)
        where = "file" if install.command is None else "command"
        yield Problem(
            "torch-and-extension-together",
            FAILURE,
            "error",
            found[0].span,
            f"{joined([*names, 'torch'])} stand in one {where}. pip compiles {joined(names)} before it installs "
            "torch, and setup.py imports torch: it stops with \"No module named 'torch'\".",
            fix=(
                Fix(
                    "disable-build-isolation",
                    f"Install torch first, and {joined(names)} by a second call, from a page of wheels or with "
                    "--no-build-isolation",
                ),
                *[*wheels(names, torch), *shim(names, torch)][:2],
            ),
            edits=_edits(recipe, install, found, torch, wish),
            package=names[0],
        )


def _edits(
    recipe: Recipe, install: Install, found: tuple[Extension, ...], torch: Optional[Torch], wish: Wish
) -> tuple[Edit, ...]:
    """The extensions taken out of the call, and a call of their own put behind it."""
    raw = [recipe.at(one.span) for one in found]
    names = [one.name for one in found]
    wheels_for_all = torch is not None and set(names) <= set(PYG) and has_wheels(names, torch)
    if recipe.kind == "requirements" and torch is not None and wheels_for_all and torch.said and found[0].package:
        lines = f"--find-links {page_of(torch)}\n{only_binary(names)}"
        return line_above(recipe, found[0].package, lines)
    if not chainable(recipe, install) or install.command is None or torch is None:
        return ()
    words = install.command.words
    if any(set("<>") & set(recipe.text[a.span.end : b.span.start]) for a, b in zip(words, words[1:])):
        return ()  # a redirection, or a version without quotes
    start = called(install)
    if (
        set(names) <= set(PYG)
        and has_wheels(names, torch)
        and not any(one.package and one.package.specifier for one in found)
    ):
        second = f"{start} {from_page(names, torch)}"
    else:
        second = f"{start} --no-build-isolation {' '.join(raw)}"
        if unseen_gpu(recipe, install) and with_cuda(recipe, install) and value(install, "FORCE_CUDA") == "":
            listing = architectures(wish, torch.cuda)
            own = f'TORCH_CUDA_ARCH_LIST="{listing}" ' if value(install, "TORCH_CUDA_ARCH_LIST") == "" else ""
            second = f"FORCE_CUDA=1 {own}{second}"
    taken = without(install.command, [one.span for one in found])
    last = install.command.words[-1].span.end
    if taken and taken[-1].span.end == last:  # both at one place: one edit
        return (*taken[:-1], Edit(taken[-1].span, f" && {second}"))
    return (*taken, *behind(install, f" && {second}"))
