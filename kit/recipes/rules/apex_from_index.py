"""``pip install apex`` brings another project.

``apex`` on the package index is a toolkit for the web framework Pyramid.  NVIDIA's apex is on no index: it is built
from its repository.  ``from apex import amp`` then fails with ``cannot import name``, or with a syntax error of a
package that has nothing to do with it.

Example
-------
requirements.txt:

    torch==2.9.1
    apex  # <--

Instead
-------
requirements.txt:

    torch==2.9.1
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Package, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._edits import editable, without
from kit.recipes.rules._torch import addresses

FAILURE = "apex-wrong-package"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        package = install.package("apex") if install.tool in ("pip", "uv") else None
        places, known = addresses(install)
        if package is None or package.url or not package.known or install.options.no_index or places or not known:
            continue
        yield Problem(
            "apex-from-index",
            FAILURE,
            "error",
            package.span,
            "PyPI's apex is another project. It is a toolkit for the web framework Pyramid; NVIDIA's apex is built "
            "from its repository alone.",
            fix=(
                Fix(
                    "use-replacement",
                    "Leave it out. torch.amp does what apex.amp did; for code that imports apex.amp: "
                    "kit shim enable apex.amp",
                ),
                Fix(
                    "rebuild-extension",
                    "Where its fused kernels are needed, with nvcc of torch's CUDA: APEX_CPP_EXT=1 APEX_CUDA_EXT=1 "
                    "pip install --no-build-isolation git+https://github.com/NVIDIA/apex",
                ),
            ),
            edits=_edits(recipe, install, package),
            package="apex",
        )


def _edits(recipe: Recipe, install: Install, package: Package) -> tuple[Edit, ...]:
    """Without it, where something else is left to install."""
    if editable(recipe, install) and install.command is not None:
        others = len(install.packages) + len(install.local) + len(install.options.requirement_files) > 1
        return without(install.command, [package.span]) if others else ()
    if recipe.kind != "requirements":
        return ()
    start = recipe.text.rfind("\n", 0, package.span.start) + 1
    end = recipe.text.find("\n", package.span.end)
    return (Edit(Span(start, len(recipe.text) if end < 0 else end + 1), ""),)
