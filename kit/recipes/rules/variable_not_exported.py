"""A variable for the build is set in the shell, and the build does not see it.

``FORCE_CUDA=1 && pip install ...`` sets a variable of the shell and exports nothing: pip starts without it, and the
extension is compiled without CUDA.  The same holds for ``FORCE_CUDA=1;`` and a line of its own.  An ``export`` ends
with its RUN, as the next one starts another shell.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.6;8.9;9.0;12.0"
    RUN FORCE_CUDA=1 && pip install --no-build-isolation --no-binary=torch-scatter torch-scatter  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    ENV TORCH_CUDA_ARCH_LIST="8.6;8.9;9.0;12.0"
    RUN FORCE_CUDA=1 pip install --no-build-isolation --no-binary=torch-scatter torch-scatter
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.recipes.model import Command, Edit, Install, Problem, Recipe, Span
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import compiled, extensions, unseen_gpu

FAILURE = "extension-cpu-only"

_READ = {
    "FORCE_CUDA": "What is compiled where no GPU is visible gets no CUDA code.",
    "FORCE_ONLY_CUDA": "What is compiled where no GPU is visible gets no CUDA code.",
    "TORCH_CUDA_ARCH_LIST": "The build does not learn for which GPUs to compile.",
    "APEX_CPP_EXT": "apex is installed without its extensions.",
    "APEX_CUDA_EXT": "apex is installed without its extensions.",
    "CUDA_HOME": "The build looks for the CUDA toolkit elsewhere.",
}


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    seen: set[Span] = set()
    for install in recipe.installs:
        if install.command is None or install.tool not in ("pip", "uv", "setup.py"):
            continue
        if not (extensions(recipe, install) or install.local):
            continue
        for name, says in _READ.items():
            if install.command.variable(name) is not None:
                continue
            setting = install.command.in_shell(name)
            found = setting.span if setting is not None else _elsewhere(recipe, install.command, name)
            if found is None or found in seen:
                continue
            seen.add(found)
            why = "Nothing exports it" if setting else "An export ends with its own shell, and this is another one"
            yield Problem(
                "variable-not-exported",
                FAILURE if name.startswith("FORCE") else _failure(name),
                _severity(recipe, install, name),
                found,
                f"{name} is set, and {install.command.program} does not see it. {why}. {says}",
                fix=(
                    Fix("rebuild-extension", f"Set it for the command itself: {name}=... {install.command.program}"),
                ),
                edits=_edits(recipe, found, bool(setting)),
                safe=True,
            )


def _severity(recipe: Recipe, install: Install, name: str) -> str:
    """A note where nothing is compiled for sure, so that the variable may not be needed."""
    if not install.local and all(compiled(recipe, install, one) is None for one in extensions(recipe, install)):
        return "note"
    return "error" if unseen_gpu(recipe, install) or not name.startswith("FORCE") else "warning"


def _elsewhere(recipe: Recipe, command: Command, name: str) -> Optional[Span]:
    """Where a shell that has ended exported it: another RUN, another line of a notebook."""
    if recipe.kind not in ("dockerfile", "notebook"):
        return None
    stages, found = set(recipe.lineage(command.stage)), None
    for earlier in recipe.commands:
        if earlier is command:
            break
        if earlier.program == "export" and earlier.group != command.group and earlier.stage in stages:
            found = next((w.span for w in earlier.words[1:] if w.raw.startswith(f"{name}=")), found)
    return found


def _failure(name: str) -> str:
    known = {"TORCH_CUDA_ARCH_LIST": "gpu-arch-missing", "CUDA_HOME": "nvcc-not-found"}
    return known.get(name, "apex-extension-missing")


def _edits(recipe: Recipe, span: Span, in_shell: bool) -> tuple[Edit, ...]:
    """``export`` in front of it, where it begins its statement; ENV for a RUN that exports and does nothing else."""
    before = recipe.text[: span.start]
    if not in_shell:
        start = before.rfind("\n") + 1
        rest = recipe.text[span.end :].partition("\n")[0].strip()
        alone = recipe.kind == "dockerfile" and re.fullmatch(r"\s*RUN\s+export\s+", before[start:], re.I) and not rest
        return (Edit(Span(start, span.start), "ENV "),) if alone else ()
    if before.rstrip(" \t").endswith(("&&", ";", "\n", "RUN", "!", "\\\n", "|", "run:", '"', "-")) or not before:
        return (Edit(Span(span.start, span.start), "export "),)
    return ()
