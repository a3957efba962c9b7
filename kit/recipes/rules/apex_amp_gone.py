"""apex is installed for its amp, which it no longer has.

NVIDIA removed ``apex.amp`` on 2025-05-08.  A clone without a revision is newer, with all its extensions too:
``cannot import name 'amp' from 'apex'``.  ``torch.amp`` has taken its place; for code that cannot be changed there is
the kit's ``apex.amp``, on top of it.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN APEX_CPP_EXT=1 APEX_CUDA_EXT=1 pip install --no-build-isolation git+https://github.com/NVIDIA/apex  # <--
    RUN python -c "from apex import amp"

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-devel
    RUN python -c "from torch import amp"
"""

import re
from collections.abc import Iterator

from kit.findings import Fix
from kit.recipes.model import Problem, Recipe
from kit.recipes.rules import Wish
from kit.recipes.rules._extensions import extensions

FAILURE = "apex-amp-removed"

_NEEDS = re.compile(r"from\s+apex\s+import\s+[^\n;#]*\bamp\b|\bapex\.amp\b")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    needed = next((c for c in recipe.commands if any(_NEEDS.search(text) for text in c.texts)), None)
    for install in recipe.installs if needed is not None else ():
        for one in extensions(recipe, install):
            if one.name != "apex" or (one.revision and one.revision not in ("master", "main")):
                continue
            yield Problem(
                "apex-amp-gone",
                FAILURE,
                "error",
                one.span,
                "Today's apex has no amp. NVIDIA removed it on 2025-05-08, and no revision is named here.",
                evidence=(f"line {recipe.line(needed.span.start)}: imports apex.amp",) if needed else (),
                fix=(
                    Fix("change-code-or-data", "Use torch.amp: autocast and GradScaler do what apex.amp did"),
                    Fix("use-replacement", "For code that cannot be changed: kit shim enable apex.amp"),
                ),
                package="apex",
            )
