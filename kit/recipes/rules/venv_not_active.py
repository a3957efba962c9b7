"""A virtual environment is made and then not used: what follows is installed elsewhere.

Each RUN starts a new shell, in which an ``activate`` of an earlier one is forgotten.  Unless the environment's
folder comes first on ``PATH``, pip is again that of the system, and the environment stays empty.

Example
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y python3-pip python3-venv
    RUN python3 -m venv /opt/venv && . /opt/venv/bin/activate  # <--
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128

Instead
-------
Dockerfile:

    FROM nvidia/cuda:12.8.1-runtime-ubuntu22.04
    RUN apt-get update && apt-get install -y python3-pip python3-venv
    RUN python3 -m venv /opt/venv
    ENV PATH=/opt/venv/bin:$PATH
    RUN pip install torch==2.9.1 --index-url https://download.pytorch.org/whl/cu128
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Edit, Install, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._python import Venv, path_at, venvs

FAILURE = "wrong-interpreter"

# Another way to enter it, for every shell.
_ELSEWHERE = re.compile(r"BASH_ENV|\.bashrc|\.profile|\.bash_profile|^\s*SHELL\b", re.M)


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    if recipe.kind != "dockerfile" or _ELSEWHERE.search(recipe.text):
        return
    for stage in range(len(recipe.stages)):
        for venv in venvs(recipe, stage):
            if venv.command.stage != stage or not venv.path.startswith("/") or _used(recipe, venv):
                continue
            missed = [i for i in recipe.installs if i.tool == "pip" and not i.python and _after(recipe, i, venv)]
            if not missed:
                continue
            line = recipe.line(missed[0].span.start)
            yield Problem(
                "venv-not-active",
                FAILURE,
                "error",
                venv.span,
                f"The virtual environment {venv.path} is made and not used. pip at line {line} is not that of "
                f"{venv.path}: its bin folder is not on PATH there, and an activation ends with its RUN.",
                (f"line {line}: {recipe.at(missed[0].span).splitlines()[0][:80]}", f"PATH: without {venv.path}/bin"),
                (
                    Fix(
                        "use-kernel-pip", f"Put it first on PATH for all that follows: ENV PATH={venv.path}/bin:$PATH"
                    ),
                ),
                _edit(recipe, venv),
            )


def _used(recipe: Recipe, venv: Venv) -> bool:
    """Whether anything but ``activate`` in the same shell reaches into the environment."""
    places = re.findall(re.escape(venv.path) + r"/bin\b(?!/activate)", recipe.text)
    variable = re.search(r"^\s*(ENV|ARG)\b.*=?\s*[\"']?" + re.escape(venv.path) + r"[\"']?\s*$", recipe.text, re.M)
    return bool(places) or bool(variable)


def _after(recipe: Recipe, install: Install, venv: Venv) -> bool:
    """Whether it is installed in a later shell that does not enter the environment."""
    command = install.command
    if (
        command is None
        or command.group == venv.command.group
        or venv.command.stage not in recipe.lineage(command.stage)
    ):
        return False
    if command.span.start < venv.span.start or not (install.packages or install.options.requirement_files):
        return False
    entered = any(c.group == command.group and c.program in ("source", ".") for c in recipe.commands)
    known = all("$" not in place for place in path_at(recipe, command))
    return not entered and known and venv.path + "/bin" not in path_at(recipe, command)


def _edit(recipe: Recipe, venv: Venv) -> tuple[Edit, ...]:
    """``ENV PATH`` behind the instruction that makes it."""
    at = venv.span.end
    while True:
        end = recipe.text.find("\n", at)
        if end < 0 or "<<" in recipe.text[venv.span.start : end]:
            return ()
        if not recipe.text[:end].rstrip(" \t").endswith("\\"):
            return (Edit(Span(end, end), f"\nENV PATH={venv.path}/bin:$PATH"),)
        at = end + 1
