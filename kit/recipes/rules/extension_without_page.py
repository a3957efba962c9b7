"""An extension of PyTorch Geometric is installed without its page of wheels.

The package index has torch-scatter, torch-sparse, torch-cluster and torch-spline-conv as sources alone.  Without the
page, pip compiles them: for up to half an hour, without CUDA where no GPU is visible, or until the build fails.  The
wheels lie on a page for each torch and CUDA, and every patch release uses the page of its ``.0``.  From torch 2.13 on
there are none: then a build, or the kit's replacement, is what there is.

Example
-------
Dockerfile:

    FROM python:3.11
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN pip install torch-scatter  # <--

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
from kit.published import PYG, pyg_row
from kit.recipes.model import Edit, Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import added, insertable, line_above
from kit.recipes.rules._extensions import Extension, compiled, extensions, page_of, pages, together
from kit.recipes.rules._torch import Torch, addresses, configured, torch_at
from kit.recipes.rules._words import build, has_wheels, joined, only_binary, shim, verb, wheels

FAILURE = "sdist-preferred"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind == "pyproject":  # says what a package needs; where it comes from is said elsewhere
        return
    for install in recipe.installs:
        yield from _nowhere(recipe, install)
        torch = torch_at(recipe, install)
        found = [one for one in extensions(recipe, install) if _bare(recipe, install, one)]
        names = [one.name for one in found]
        if not found or has_wheels(names, torch) is False or together(recipe, install) or configured(recipe):
            continue
        known = torch is not None and has_wheels(names, torch)
        where = f"the page of {torch}" if known else "a page for each torch and CUDA"
        yield Problem(
            "extension-without-page",
            FAILURE,
            "warning",
            found[0].span,
            f"{joined(names)} {verb(names, 'has', 'have')} no page of wheels, and {verb(names)} compiled. The "
            f"package index has the sources alone; the wheels are on {where}, which pip has to be told.",
            fix=_fixes(names, torch, wish),
            edits=_edits(recipe, install, found, torch) if torch and known else (),
            safe=bool(torch and known and torch.said),
            package=names[0],
        )


def _nowhere(recipe: Recipe, install: Install) -> Iterator[Problem]:
    """pyg-lib, which is not on the package index at all."""
    package = install.package("pyg-lib") if install.tool in ("pip", "uv") else None
    places, known = addresses(install)
    local = any("pyg_lib" in word.text for word in install.local)
    elsewhere = any("download.pytorch.org" not in place and "pypi.org" not in place for place in places)
    if package is None or package.url or not package.known or not known or elsewhere or local or configured(recipe):
        return
    torch = torch_at(recipe, install)
    page = page_of(torch) or "https://data.pyg.org/whl/torch-X.Y.0+cuNNN.html"
    yield Problem(
        "extension-without-page",
        "wheel-not-published",
        "error" if install.command is not None else "warning",
        package.span,
        "pyg-lib has no page of wheels, and is not on the package index. Without its page pip finds no matching "
        "distribution.",
        fix=(Fix("install-matching-wheel", f'Name the page of torch and its build: -f "{page}"'),),
        package="pyg-lib",
    )


def _bare(recipe: Recipe, install: Install, one: Extension) -> bool:
    """Whether it is compiled only as nothing else is offered, and not because somebody wants it so."""
    options = install.options
    return (
        one.name in PYG
        and one.source == "index"
        and not options.no_build_isolation
        and not pages(install)
        and not {one.name, ":all:"} & set(options.no_binary)
        and compiled(recipe, install, one) is not None
    )


def _fixes(names: list[str], torch: Optional[Torch], wish: Wish) -> tuple[Fix, ...]:
    return tuple([*wheels(names, torch), *shim(names, torch), build(names, torch, wish, cuda=True)][:3])


def _edits(recipe: Recipe, install: Install, found: list[Extension], torch: Torch) -> tuple[Edit, ...]:
    """The page and --only-binary; nothing where a version is asked for that the page does not list."""
    for one in found:
        row = pyg_row(one.name, torch.minor or "", torch.cuda or "")
        if one.package is None or row is None or one.package.specifier not in ("", f"=={row['version']}"):
            return ()
    names, page = [one.name for one in found], page_of(torch)
    if insertable(recipe, install):
        return added(install, f'{only_binary(names)} -f "{page}"')
    if found[0].package is not None:
        return line_above(recipe, found[0].package, f"--find-links {page}\n{only_binary(names)}")
    return ()
