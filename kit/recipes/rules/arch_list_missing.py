"""CUDA code is compiled in an image build, and nothing says for which GPUs.

Without ``TORCH_CUDA_ARCH_LIST`` torch compiles for the GPUs that it sees.  While an image is built it sees none: with
``FORCE_CUDA=1`` the build stops with ``IndexError: list index out of range``, without it no CUDA code is compiled at
all.  Name the compute capabilities of your GPUs, such as 8.6 (RTX 30), 8.9 (RTX 40), 9.0 (H100), 12.0 (RTX 50).

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV FORCE_CUDA=1
    RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV FORCE_CUDA=1
    ENV TORCH_CUDA_ARCH_LIST="8.6;8.9;9.0;12.0"
    RUN pip install --no-build-isolation --no-binary=torch-scatter torch-scatter
"""

from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._arches import architectures
from kit.recipes.rules._builds import toolkit_at
from kit.recipes.rules._edits import in_front
from kit.recipes.rules._extensions import forced_builds, other_value, value
from kit.recipes.rules._torch import torch_at
from kit.recipes.rules._words import fitting, joined, verb

FAILURE = "gpu-arch-missing"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install, found in forced_builds(recipe):
        torch = torch_at(recipe, install)
        if other_value(install, "TORCH_CUDA_ARCH_LIST", "NVCC_FLAGS") or (torch is not None and torch.ngc):
            continue
        shell = install.command.in_shell("TORCH_CUDA_ARCH_LIST") if install.command else None
        if shell is not None and shell.how == "shell":
            continue  # set, and not exported: a rule of its own
        toolkit, names = toolkit_at(recipe, install), [one.name for one in found]
        listing = architectures(wish, toolkit.version or (torch.cuda if torch else None))
        if toolkit.there is False:
            continue  # no nvcc: it compiles no CUDA code, whatever is set
        forced = value(install, "FORCE_CUDA") == "1" or value(install, "FORCE_ONLY_CUDA") == "1"
        yield Problem(
            "arch-list-missing",
            FAILURE,
            "error" if forced else "warning",
            found[0].span,
            f"Nothing says for which GPUs {joined(names)} {verb(names)} compiled. TORCH_CUDA_ARCH_LIST is "
            "not set, and no GPU is visible: "
            + (
                "torch's build code stops with an IndexError."
                if forced
                else "once FORCE_CUDA=1 makes it compile CUDA code, torch's build code stops with an IndexError."
            ),
            fix=(
                Fix(
                    "rebuild-extension",
                    f'Name the GPUs that it is to run on, before the build: ENV TORCH_CUDA_ARCH_LIST="{listing}"',
                ),
            ),
            edits=in_front(recipe, install, f'TORCH_CUDA_ARCH_LIST="{listing}" ') if toolkit.there else (),
            safe=fitting(torch, toolkit.version),
            package=names[0],
        )
