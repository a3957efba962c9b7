"""An extension is compiled for a Python whose headers are not there.

``apt-get install python3.11`` from a package archive brings the interpreter alone; ``Python.h`` is in
``python3.11-dev``.  Every extension that is compiled for it stops at ``fatal error: Python.h: No such file``.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-devel-ubuntu22.04
    ENV TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9"
    RUN apt-get update && apt-get install -y software-properties-common && add-apt-repository ppa:deadsnakes/ppa
    RUN apt-get install -y python3.11 python3.11-venv  # <--
    RUN python3.11 -m venv /opt/venv
    ENV PATH=/opt/venv/bin:$PATH
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN FORCE_CUDA=1 pip install --no-build-isolation --no-binary=torch-scatter torch-scatter

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-devel-ubuntu22.04
    ENV TORCH_CUDA_ARCH_LIST="8.0;8.6;8.9"
    RUN apt-get update && apt-get install -y software-properties-common && add-apt-repository ppa:deadsnakes/ppa
    RUN apt-get install -y python3.11 python3.11-venv python3.11-dev
    RUN python3.11 -m venv /opt/venv
    ENV PATH=/opt/venv/bin:$PATH
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
    RUN FORCE_CUDA=1 pip install --no-build-isolation --no-binary=torch-scatter torch-scatter
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._builds import FETCHED, may_bring_unseen
from kit.recipes.rules._extensions import compiled, extensions
from kit.recipes.rules._image import image_at
from kit.recipes.rules._python import python_at

FAILURE = "headers-missing"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "apptainer"):
        return
    told: set[int] = set()
    for install in recipe.installs:
        made = [
            e
            for e in extensions(recipe, install)
            if e.name not in (*FETCHED, "apex") and compiled(recipe, install, e) is not None
        ]
        python, image = python_at(recipe, install), image_at(recipe, install.stage)
        if not made or python is None or python.version is None or image is None or python.kind in ("image", "conda"):
            continue
        name = f"python{python.version}"
        apt = [p for earlier in recipe.before(install) if earlier.tool == "apt" for p in earlier.packages]
        named = next((p for p in apt if p.name == name), None)
        headers = re.compile(rf"(lib)?python{re.escape(python.version)}-(dev|full)|(lib)?python3?-(dev|full|all-dev)")
        enough = any(not p.known or headers.match(p.name) for p in apt)
        system = python.version == image.system_python
        if named is None or enough or system or install.stage in told or may_bring_unseen(recipe, install):
            continue
        told.add(install.stage)
        yield Problem(
            "headers-missing",
            FAILURE,
            "error",
            named.span,
            f"{made[0].name} is compiled for {name} without its headers. {name}-dev has Python.h and is missing.",
            (f"line {recipe.line(made[0].span.start)}: {recipe.at(made[0].span)}", f"apt: {name}, and no {name}-dev"),
            (Fix("install-toolchain", f"Install {name}-dev beside {name}"),),
            (Edit(Span(named.span.end, named.span.end), f" {name}-dev"),),
            safe=True,
            package=made[0].name,
        )
