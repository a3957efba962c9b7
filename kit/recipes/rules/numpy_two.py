"""A torch that was built for NumPy 1 gets NumPy 2.

torch is built for NumPy 2 from 2.3 on.  An older one warns at its import, and ``tensor.numpy()`` raises ``Numpy is
not available``.  A requirement without an upper limit brings the newest NumPy.

Example
-------
requirements.txt:

    torch==2.1.2
    numpy>=1.24  # <--

Instead
-------
requirements.txt:

    torch==2.1.2
    numpy>=1.24,<2
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.gpus import numbers
from kit.recipes.model import Edit, Install, Package, Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._python import python_at
from kit.recipes.rules._torch import torch_at

FAILURE = "numpy-abi"

FIRST_TORCH_FOR_NUMPY_2 = (2, 3)  # pytorch/pytorch release notes 2.3.0
# Their releases of that time say themselves that they need NumPy 1.
_LIMITED = frozenset(
    "tensorflow tensorflow-cpu tensorflow-gpu scipy numba librosa pandas spacy thinc gensim mxnet jax jaxlib "
    "onnxruntime umap-learn pytorch-lightning scikit-image rasterio numpy-quaternion chumpy transformers langchain "
    "gradio streamlit".split()
)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        numpy = install.package("numpy") if install.tool in ("pip", "uv") else None
        torch = torch_at(recipe, install) if numpy is not None else None
        if numpy is None or torch is None or torch.version is None or not numpy.known or numpy.marker or numpy.url:
            continue
        if not (2, 0) <= numbers(torch.version)[:2] < FIRST_TORCH_FOR_NUMPY_2 or torch.conda:
            continue
        sure = _two(numpy)
        python = python_at(recipe, install)
        old = python is not None and python.version is not None and numbers(python.version) < (3, 9)
        if sure is None or old or (not sure and (torch.image or _limited(recipe, install, numpy))):
            continue
        yield Problem(
            "numpy-two",
            FAILURE,
            "error" if sure else "warning",
            numpy.span,
            f"torch {torch.version} meets NumPy 2. It was built for NumPy 1, as every torch before 2.3, and "
            f"{'numpy' + numpy.specifier if numpy.specifier else 'numpy without a version'} brings NumPy 2.",
            (f"torch: {torch.version}", f"numpy: {numpy.specifier or 'the newest'}"),
            (
                Fix("change-package-version", 'Ask for the newest NumPy 1: "numpy<2"'),
                Fix("change-torch", "Or move to torch 2.3 or newer"),
            ),
            _edit(recipe, numpy),
            package="numpy",
        )


def _two(numpy: Package) -> Optional[bool]:
    """Whether NumPy 2 is asked for (True), is what comes (False), or is kept out (None)."""
    specifier = numpy.specifier.replace(" ", "")
    if re.search(r"<|!=|~=|===|\*", specifier):
        return None
    pinned = re.match(r"==(\d+)", specifier)
    if pinned:
        return True if int(pinned[1]) >= 2 else None
    return bool(re.match(r">=?2", specifier))


def _limited(recipe: Recipe, install: Install, numpy: Package) -> bool:
    """Whether another package, or another line, may keep NumPy 2 out."""
    beside = [p for one in recipe.installs for p in one.packages if one.tool in ("pip", "uv")]
    asked = install.options.requirement_files or install.options.constraint_files
    return (
        bool(asked)
        or any(p.name in _LIMITED and (p.specifier or p.name in ("tensorflow", "numba")) for p in beside)
        or any(p.name == "numpy" and p is not numpy and p.specifier for p in beside)
    )


def _edit(recipe: Recipe, numpy: Package) -> tuple[Edit, ...]:
    if numpy.file not in (None, recipe.file) or recipe.kind not in (
        "requirements",
        "dockerfile",
        "shell",
        "notebook",
    ):
        return ()
    raw = recipe.at(numpy.span)
    bare = re.fullmatch(r"(numpy)\s*((?:>=?)\s*1[\d.]*)?", raw)
    if bare is None:
        return ()
    limited = f"{bare[1]}{bare[2]},<2" if bare[2] else "numpy<2"
    return (Edit(numpy.span, limited if recipe.kind == "requirements" else f'"{limited}"'),)
