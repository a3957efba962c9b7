"""An extension is compiled in an image build without FORCE_CUDA=1, and gets no CUDA code.

Its ``setup.py`` compiles CUDA code where ``torch.cuda.is_available()``, and while an image is built no GPU is
visible, whatever toolkit is there.  The build succeeds, the package imports, and the first operator on a GPU tensor
raises ``Not compiled with CUDA support``.  Only ``FORCE_CUDA=1`` in the environment of the build prevents it.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.6;8.9;9.0;12.0"
    RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.6;8.9;9.0;12.0" FORCE_CUDA=1
    RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter
"""

from collections.abc import Iterator

from kit.recipes.model import Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._builds import toolkit_at
from kit.recipes.rules._edits import in_front
from kit.recipes.rules._extensions import forced_builds, reasons, value
from kit.recipes.rules._torch import torch_at
from kit.recipes.rules._words import build, fitting, joined, shim, verb, wheels

FAILURE = "extension-cpu-only"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install, found in forced_builds(recipe):
        set_to = value(install, "FORCE_CUDA")
        if set_to is None or set_to == "1" or value(install, "FORCE_ONLY_CUDA") != "":
            continue
        shell = install.command.in_shell("FORCE_CUDA") if install.command else None
        if shell is not None and shell.how == "shell":
            continue  # set, and not exported: a rule of its own
        torch, toolkit = torch_at(recipe, install), toolkit_at(recipe, install)
        names = [one.name for one in found]
        said = f"FORCE_CUDA is {set_to!r}, and only '1' counts" if set_to else "FORCE_CUDA=1 is not set"
        yield Problem(
            "built-without-force-cuda",
            FAILURE,
            "error",
            found[0].span,
            f"{joined(names)} {verb(names)} compiled without CUDA. No GPU is visible while an image is built, and "
            f"{said}.",
            evidence=reasons(recipe, install, found),
            fix=tuple([*wheels(names, torch), build(names, torch, wish, cuda=True), *shim(names, torch)][:3]),
            edits=in_front(recipe, install, "FORCE_CUDA=1 ") if toolkit.there and not set_to else (),
            safe=fitting(torch, toolkit.version),
            package=names[0],
        )
