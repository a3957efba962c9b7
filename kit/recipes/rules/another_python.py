"""A Python is installed beside the system's, and pip is still the system's.

``apt-get install python3.11`` adds a program called ``python3.11``.  ``pip``, ``pip3`` and ``python3`` stay those of
the distribution's own Python, so that torch goes into that one and ``python3.11`` has none.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y software-properties-common && add-apt-repository ppa:deadsnakes/ppa
    RUN apt-get install -y python3.11 python3-pip
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128  # <--

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y software-properties-common && add-apt-repository ppa:deadsnakes/ppa
    RUN apt-get install -y python3.11 python3.11-venv
    RUN python3.11 -m venv /opt/venv
    ENV PATH=/opt/venv/bin:$PATH
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._python import python_at

FAILURE = "wrong-interpreter"


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "apptainer"):
        return
    told: set[int] = set()
    for install in recipe.installs:
        package = install.package("torch", "torchvision", "torch-scatter", "flash-attn")
        if install.tool != "pip" or package is None or install.stage in told:
            continue
        python = python_at(recipe, install)
        apt = [p for earlier in recipe.before(install) if earlier.tool == "apt" for p in earlier.packages]
        extra = next((p for p in apt if p.known and re.fullmatch(r"python3\.\d+", p.name)), None)
        pip = any(p.name == "python3-pip" for p in apt)
        if (
            python is None
            or python.kind != "system"
            or not pip
            or extra is None
            or extra.name == f"python{python.version}"
        ):
            continue
        told.add(install.stage)
        line = recipe.line(extra.span.start)
        yield Problem(
            "another-python",
            FAILURE,
            "warning",
            install.span,
            f"{package.name} does not go into {extra.name}. {extra.name} is installed at line {line}, and this pip "
            f"is that of {python.said}, Python {python.version}.",
            (f"line {line}: {extra.raw}", f"pip: {python.said}, Python {python.version}"),
            (
                Fix(
                    "use-kernel-pip",
                    f"Make a virtual environment of it and put it first on PATH: {extra.name} -m venv "
                    f"/opt/venv (package {extra.name}-venv), then ENV PATH=/opt/venv/bin:$PATH",
                ),
                Fix("use-kernel-pip", f"Or call its own pip: {extra.name} -m pip install ..."),
            ),
            package=package.name,
        )
