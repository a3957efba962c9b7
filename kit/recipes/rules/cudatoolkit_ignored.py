"""cudatoolkit is asked for beside a torch that takes no notice of it.

Up to 1.12 the version of ``cudatoolkit`` chose the build of torch on the conda channel ``pytorch``.  From 1.13 on it
is ``pytorch-cuda``, and without it conda takes whichever build it likes: one for another CUDA, or for the CPU.

Example
-------
environment.yml:

    name: gnn
    channels:
      - pytorch
      - nvidia
    dependencies:
      - python=3.11
      - pytorch=2.1.2
      - cudatoolkit=11.8  # <--

Instead
-------
environment.yml:

    name: gnn
    channels:
      - pytorch
      - nvidia
    dependencies:
      - python=3.11
      - pytorch=2.1.2
      - pytorch-cuda=11.8
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.gpus import numbers
from kit.published import cuda_of, torch_row
from kit.recipes.model import Edit, Package, Problem, Recipe, Span
from kit.recipes.rules import Wish

FAILURE = "torch-cpu-only"

FIRST_PYTORCH_CUDA, LAST_ON_CHANNEL = (1, 13), (2, 5)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for install in recipe.installs:
        torch, toolkit = install.package("pytorch"), install.package("cudatoolkit")
        if install.tool != "conda" or torch is None or toolkit is None or not torch.known or not torch.pinned:
            continue
        channels = {word.text.rstrip("/").rpartition("/")[2] for word in install.options.channels}
        beside = install.package("pytorch-cuda", "pytorch-mutex", "cpuonly", "cuda-version", "pytorch-gpu")
        if "pytorch" not in channels or "conda-forge" in channels or beside is not None or "cuda" in torch.specifier:
            continue
        if not FIRST_PYTORCH_CUDA <= numbers(torch.pinned)[:2] <= LAST_ON_CHANNEL:
            continue
        builds = _builds(torch)
        named = ", ".join(builds)
        yield Problem(
            "cudatoolkit-ignored",
            FAILURE,
            "warning",
            toolkit.span,
            f"cudatoolkit does not choose torch's CUDA here. pytorch {torch.pinned} of the channel pytorch is chosen "
            "by pytorch-cuda; without it conda may take a build for another CUDA, or for the CPU.",
            (f"line {recipe.line(torch.span.start)}: pytorch{torch.specifier}", f"cudatoolkit{toolkit.specifier}"),
            (
                Fix(
                    "change-torch",
                    f"Ask for pytorch-cuda in its place, with -c pytorch -c nvidia; of this torch there are builds "
                    f"for CUDA {named}",
                ),
            ),
            _edit(recipe, toolkit, builds) if "nvidia" in channels else (),
            package="pytorch",
        )


def _builds(torch: Package) -> tuple[str, ...]:
    """The CUDA releases that this torch is published for."""
    row = torch_row(torch.pinned or "")
    return tuple(filter(None, map(cuda_of, row["cuda"]))) if row else ()


def _edit(recipe: Recipe, toolkit: Package, builds: tuple[str, ...]) -> tuple[Edit, ...]:
    """The package that chooses, where there is a build for the CUDA that is asked for."""
    asked = re.match(r"\d+\.\d+", toolkit.pinned or "")
    at = recipe.at(toolkit.span).find("cudatoolkit")
    if asked is None or asked.group() not in builds or at < 0:
        return ()
    place = Span(toolkit.span.start + at, toolkit.span.start + at + len("cudatoolkit"))
    return (Edit(place, "pytorch-cuda"),)
