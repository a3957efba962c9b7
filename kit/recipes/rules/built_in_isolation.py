"""An extension is compiled in isolation, where the torch that is installed is not seen.

pip, from 25.3 on always, and uv build a source distribution in an environment of its own.  A ``setup.py`` that
imports torch stops there with ``No module named 'torch'``; a package that asks for torch is compiled against the
newest one instead of yours, and does not load.  ``--no-build-isolation`` shows the build the torch that is there.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN pip install git+https://github.com/facebookresearch/detectron2.git  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV FORCE_CUDA=1 TORCH_CUDA_ARCH_LIST="8.6;8.9;9.0"
    RUN pip install --no-build-isolation git+https://github.com/facebookresearch/detectron2.git
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.published import PYG
from kit.recipes.model import Install, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import added, insertable
from kit.recipes.rules._extensions import (
    ANOTHER,
    HIDDEN,
    Extension,
    asks_for_torch,
    compiled,
    extensions,
    other_value,
    reasons,
)
from kit.recipes.rules._pip import newest_pip
from kit.recipes.rules._torch import Torch, torch_before
from kit.recipes.rules._words import has_wheels, joined, missing, shim, verb

FAILURE = "build-isolation"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch = torch_before(recipe, install)
        if (
            torch is None
            or recipe.kind == "pyproject"
            or install.tool not in ("pip", "uv")
            or install.options.no_build_isolation
        ):
            continue
        if not missing(install, "--no-use-pep517") or other_value(
            install, "PIP_NO_BUILD_ISOLATION", "UV_NO_BUILD_ISOLATION", "UV_NO_BUILD_ISOLATION_PACKAGE"
        ):
            continue
        if not missing(install, "--no-build-isolation-package"):
            continue
        sure = True if install.tool == "uv" else newest_pip(recipe, install)
        found = [
            one
            for one in extensions(recipe, install)
            if _alone(recipe, install, one, torch) and (sure is not False or (_always(one) and not one.revision))
        ]
        if not found:
            continue
        names = [one.name for one in found]
        certain = sure or any(_always(one) and not one.revision for one in found)
        hidden = any(one.name in HIDDEN and not asks_for_torch(one) for one in found)
        yield Problem(
            "built-in-isolation",
            FAILURE,
            "error" if certain else "warning",
            found[0].span,
            f"{joined(names)} {verb(names)} compiled where the installed torch is not seen. "
            + (
                "Its setup.py imports torch, and an isolated build has none: \"No module named 'torch'\""
                if hidden
                else "An isolated build has no torch, or the newest of the index where the package asks for one"
            )
            + ("." if certain else "; pip before 25.3 did not isolate it where setuptools and wheel are installed."),
            evidence=reasons(recipe, install, found),
            fix=(
                Fix(
                    "disable-build-isolation",
                    "Compile against the torch that is there: add --no-build-isolation",
                ),
                *shim(names, torch),
            ),
            edits=added(install, "--no-build-isolation") if insertable(recipe, install) else (),
            safe=hidden and len(install.packages) + len(install.local) == len(found) and not any(map(_always, found)),
            package=names[0],
        )


def _always(one: Extension) -> bool:
    """Whether its sources have a pyproject.toml: every pip builds them in isolation."""
    return one.name == "apex" or asks_for_torch(one)


def _alone(recipe: Recipe, install: Install, one: Extension, torch: Torch) -> bool:
    """Whether it is compiled, and this is no extension that only lacks its page of wheels."""
    if one.name not in HIDDEN | ANOTHER or compiled(recipe, install, one) is None:
        return False
    if asks_for_torch(one) and not (torch.version or torch.said or torch.ngc):
        return False  # the newest, as the build's
    bare = one.source == "index" and not {one.name, ":all:"} & set(install.options.no_binary)
    return not bare or one.name not in PYG or has_wheels([one.name], torch) is False
