"""The Python of the environment has no wheels of the torch that is asked for.

Each release of torch is published for a handful of Python versions: older ones are dropped, and a new one is served
only by the releases after it.  pip then says ``No matching distribution found for torch``.  PyG's pages have their
own list, and where it lacks this Python pip compiles from source instead.

Example
-------
Dockerfile:

    FROM python:3.13-slim
    RUN pip install torch==2.2.2 --index-url https://download.pytorch.org/whl/cu121  # <--

Instead
-------
Dockerfile:

    FROM python:3.12-slim
    RUN pip install torch==2.2.2 --index-url https://download.pytorch.org/whl/cu121
"""

import re
from collections.abc import Iterator
from typing import Any, Optional

from kit.data import table
from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYG, pyg_row
from kit.recipes.model import Edit, Install, Package, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import pages
from kit.recipes.rules._image import written
from kit.recipes.rules._python import Python, python_at
from kit.recipes.rules._torch import addresses, torch_of

FAILURE = "python-unsupported"

# Wheels for one more Python than the table proposes.
_ALSO = {"1.13": ["3.11"], "2.5": ["3.13"]}


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        if install.tool not in ("pip", "uv"):
            continue
        python = python_at(recipe, install)
        if python is None or python.version is None or _elsewhere(install):
            continue
        package = install.package("torch")
        if package is not None and package.known and not package.url and not package.marker:
            yield from _torch(recipe, install, package, python)
        yield from _extensions(recipe, install, python)


def _torch(recipe: Recipe, install: Install, package: Package, python: Python) -> Iterator[Problem]:
    rows = [row for row in table("torch_builds")["torch"] if _asked(row, package)]
    torch = torch_of(recipe, install)
    newest = table("torch_builds")["torch"][-1]
    if torch is not None and torch.nightly and not package.specifier and torch.cuda in ("cpu", *newest["cuda"]):
        rows = [newest]  # a nightly comes after the newest release
    version = python.version or ""
    if not rows or any(version in _pythons(row) for row in rows):
        return
    served = sorted({p for row in rows for p in _pythons(row)}, key=numbers)
    if numbers(version) > numbers(served[-1]):
        best = served[-1]
    elif numbers(version) < numbers(served[0]):
        best = served[0]
    else:
        return
    asked = (
        f"torch{package.specifier}" if not (torch and torch.nightly and not package.specifier) else "nightly torch"
    )
    yield Problem(
        "python-without-wheels",
        FAILURE,
        "error",
        package.span,
        f"There is no wheel of {asked} for Python {version}. It is published for Python {served[0]} to {served[-1]}; "
        f"here it goes into {python.said}, Python {version}.",
        (f"{python.said}: Python {version}", f"{asked}: Python {', '.join(served)}"),
        (
            Fix("change-python", f"Use Python {best}"),
            Fix("change-torch", f"Or a torch that is published for Python {version}: {_for(version)}"),
        ),
        _edits(recipe, install, python, best),
        package="torch",
    )


def _elsewhere(install: Install) -> bool:
    """Whether it may come from somebody else's index, with wheels of its own (NVIDIA's for Jetson)."""
    places, known = addresses(install)
    ours = ("download.pytorch.org", "data.pyg.org", "pypi.org", "download-r2.pytorch.org")
    return not known or any(not re.match(rf"https?://({'|'.join(ours)})/", place) for place in places)


def _asked(row: dict[str, Any], package: Package) -> bool:
    """Whether a release is among those that a requirement allows."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if not package.specifier:
        return False
    try:
        allowed = SpecifierSet(re.sub(r"\+[\w.]+", "", package.specifier))
    except InvalidSpecifier:
        return False
    last = numbers(row["newest"])[2]
    return any(f"{row['minor']}.{patch}" in allowed for patch in range(last + 1))


def _pythons(row: dict[str, Any]) -> list[str]:
    return [*row["pythons"], *_ALSO.get(row["minor"], [])]


def _for(python: str) -> str:
    """The releases that are published for a Python, as words."""
    minors = [row["minor"] for row in table("torch_builds")["torch"] if python in _pythons(row)]
    return f"{minors[0]} to {minors[-1]}" if minors else "there is none"


def _extensions(recipe: Recipe, install: Install, python: Python) -> Iterator[Problem]:
    """PyG's packages, from a page that lists them, and not for this Python."""
    if install.options.no_binary:
        return
    of_pyg = [page for page in pages(install) if page.minor and page.cuda and not page.nightly]
    for package in install.packages:
        if package.name not in PYG or len(of_pyg) != 1 or not package.known:
            continue
        row = pyg_row(package.name, of_pyg[0].minor or "", of_pyg[0].cuda or "")
        if row is None or row["confidence"] != "high" or python.version in row["pythons"]:
            continue
        yield Problem(
            "python-without-wheels",
            FAILURE,
            "error",
            package.span,
            f"PyG's page has no wheel of {package.name} for Python {python.version}. For torch {of_pyg[0].minor} it "
            f"lists wheels for Python {row['pythons'][0]} to {row['pythons'][-1]}; pip takes the sources instead, "
            "and compiles.",
            (f"{python.said}: Python {python.version}", f"the page: Python {', '.join(row['pythons'])}"),
            (Fix("change-python", f"Use Python {row['pythons'][-1]}"),),
            _edits(recipe, install, python, row["pythons"][-1]),
            package=package.name,
        )


def _edits(recipe: Recipe, install: Install, python: Python, best: str) -> tuple[Edit, ...]:
    """Another Python, where the recipe names the one that it has in one place."""
    if python.kind == "image" and python.version:
        span: Optional[Span] = written(recipe, install.stage, f":{python.version}")
        return (Edit(span, f":{best}"),) if span and recipe.at(Span(span.end, span.end + 1)) != "." else ()
    return ()
