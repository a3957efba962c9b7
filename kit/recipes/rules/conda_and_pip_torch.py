"""torch comes from conda and from pip into one environment.

pip does not know what conda has linked: it replaces some of the files and leaves the others, or finds its torch
fulfilled by conda's and installs nothing.  conda-forge's torch has another C++ interface than the wheels of PyG's
pages, so that these do not load beside it.

Example
-------
environment.yml:

    name: gnn
    channels:
      - conda-forge
    dependencies:
      - python=3.12
      - pytorch=2.8.0
      - pip
      - pip:
          - torch==2.9.1  # <--

Instead
-------
environment.yml:

    name: gnn
    channels:
      - conda-forge
    dependencies:
      - python=3.12
      - pip
      - pip:
          - torch==2.9.1
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYG
from kit.recipes.model import Install, Package, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import pages

FAILURE = "torch-broken"

_CONDA = ("pytorch", "pytorch-gpu", "pytorch-cpu")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        if install.tool not in ("pip", "uv"):
            continue
        for earlier in recipe.before(install) if recipe.kind != "environment" else iter(recipe.installs):
            conda = earlier.package(*_CONDA) if earlier.tool == "conda" else None
            if conda is None or not _one(recipe, earlier, install):
                continue
            torch = install.package("torch")
            if torch is not None and _differs(conda, torch):
                yield _twice(recipe, conda, torch)
            if _forge(earlier) and install.package("torch") is None and pages(install):
                yield from _wheels(recipe, install, conda)
            break


def _one(recipe: Recipe, conda: Install, pip: Install) -> bool:
    """Whether both go into one environment, by what is written."""
    if recipe.kind == "environment":
        return True
    if pip.python or pip.command is None or conda.command is None:
        return pip.python == conda.python
    named = conda.python
    made = any(c.texts[1:2] in (("create",), ("env",)) for c in recipe.commands if c.program in ("conda", "mamba"))
    return not named and not made


def _differs(conda: Package, pip: Package) -> bool:
    """Whether pip has to replace conda's torch: it is asked for a version that conda was not asked for."""
    wanted = pip.pinned if pip.known and conda.known else None
    if wanted is None:
        return False
    plain, _, build = wanted.partition("+")
    asked = re.fullmatch(r"={1,2}\s*(\d+(?:\.\d+)*)(?:\.?\*)?(?:=.*)?", conda.specifier.strip())
    if conda.specifier and asked is None:
        return bool(build)  # a range: whether it holds this version is left to conda
    there = numbers(asked[1]) if asked else ()
    return not there or numbers(plain)[: len(there)] != there or bool(build)


def _forge(conda: Install) -> bool:
    """Whether conda's torch is conda-forge's for certain."""
    channels = [re.sub(r"^https?://conda\.anaconda\.org/", "", w.text).rstrip("/") for w in conda.options.channels]
    return channels == ["conda-forge"]


def _twice(recipe: Recipe, conda: Package, torch: Package) -> Problem:
    line = recipe.line(conda.span.start)
    return Problem(
        "conda-and-pip-torch",
        "torch-broken",
        "error",
        torch.span,
        f"torch is installed by conda and again by pip. conda links {conda.name}{conda.specifier} (line {line}), and "
        f"pip puts torch{torch.specifier} over it: files of both stay, and conda goes on with the wrong record.",
        (f"line {line}: conda's {conda.name}{conda.specifier}", f"pip: torch{torch.specifier}"),
        (
            Fix(
                "uninstall-package",
                f"Let one of them bring torch: leave {conda.name} and pytorch-cuda out of conda's "
                "packages, and keep pip's torch with its index",
            ),
            Fix(
                "install-matching-wheel",
                "Or take torch and what is compiled for it from conda-forge, and nothing of them from pip",
            ),
        ),
        package="torch",
    )


def _wheels(recipe: Recipe, install: Install, conda: Package) -> Iterator[Problem]:
    package = install.package(*PYG, "pyg-lib")
    if package is None:
        return
    yield Problem(
        "conda-and-pip-torch",
        "extension-torch-mismatch",
        "error",
        package.span,
        f"{package.name} of PyG's page does not fit conda-forge's torch. The wheels there are compiled against the "
        f"torch of the package index; conda-forge builds its {conda.name} with another compiler and other libraries.",
        (
            f"line {recipe.line(conda.span.start)}: {conda.name} of conda-forge",
            f"{package.name}: from a page of wheels",
        ),
        (
            Fix(
                "install-matching-wheel",
                "Take conda-forge's own build of it, e.g. pytorch_scatter, pytorch_sparse, pytorch_cluster, pyg-lib",
            ),
            Fix("change-torch", "Or install torch with pip too, from https://download.pytorch.org/whl/"),
        ),
        package=package.name,
    )
