"""pip is asked to install into the system's Python, which does not let it.

From Debian 12 and Ubuntu 23.04 on the distribution's Python is marked as externally managed (PEP 668): pip stops with
``error: externally-managed-environment``.  A virtual environment that comes first on ``PATH`` is what the message
asks for, and keeps the distribution's own packages whole.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
    RUN apt-get update && apt-get install -y python3-pip python3-venv
    RUN pip3 install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128  # <--

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu24.04
    RUN apt-get update && apt-get install -y python3-venv
    RUN python3 -m venv /opt/venv
    ENV PATH=/opt/venv/bin:$PATH
    RUN pip3 install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._image import image_at
from kit.recipes.rules._python import python_at

FAILURE = "wrong-interpreter"

# What lifts the mark, or may.
_LIFTED = re.compile(r"EXTERNALLY-MANAGED|break[-_]system[-_]packages|pip\.conf|PIP_CONFIG_FILE", re.I)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind not in ("dockerfile", "apptainer") or _LIFTED.search(recipe.text):
        return
    told: set[int] = set()
    for install in recipe.installs:
        image, python = image_at(recipe, install.stage), python_at(recipe, install)
        if image is None or not image.managed or python is None or python.kind != "system" or install.stage in told:
            continue
        if install.options.break_system_packages or not _installs(install):
            continue
        if install.tool != "uv" and not _apt(recipe, install, "python3-pip"):
            continue  # of a pip that is not the distribution's
        told.add(install.stage)
        venv = _venv(recipe, install)
        yield Problem(
            "externally-managed",
            FAILURE,
            "error",
            install.span,
            f"pip may not install into the system's Python. {python.said} is externally managed: pip stops with "
            "externally-managed-environment.",
            (f"{image.name}: {python.said}, marked by its distribution (PEP 668)",),
            (
                Fix(
                    "change-python",
                    "Make a virtual environment and put it first on PATH: python3 -m venv /opt/venv "
                    "(package python3-venv), then ENV PATH=/opt/venv/bin:$PATH",
                ),
            ),
            venv,
        )


def _installs(install: Install) -> bool:
    """Whether it installs something into that Python: not into another folder, not on trial."""
    texts = install.command.texts if install.command else ()
    aside = any(
        t.partition("=")[0] in ("--target", "-t", "--prefix", "--root", "--dry-run", "--python") for t in texts
    )
    return not aside and bool(install.packages or install.local or install.options.requirement_files)


def _apt(recipe: Recipe, install: Install, *names: str) -> bool:
    return any(earlier.package(*names) for earlier in recipe.before(install) if earlier.tool == "apt")


def _venv(recipe: Recipe, install: Install) -> tuple[Edit, ...]:
    """A virtual environment before the instruction, where the distribution's package for it is installed."""
    venv = _apt(recipe, install, "python3-venv", "python3-full")
    if recipe.kind != "dockerfile" or install.tool != "pip" or not venv:
        return ()
    start = recipe.text.rfind("\nRUN", 0, install.span.start) + 1
    if not start or re.search(r"^[A-Z]+[ \t]", recipe.text[start + 3 : install.span.start], re.M):
        return ()
    return (Edit(Span(start, start), "RUN python3 -m venv /opt/venv\nENV PATH=/opt/venv/bin:$PATH\n"),)
