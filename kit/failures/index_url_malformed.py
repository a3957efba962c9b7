"""An address that pip was given is wrong: of the page of wheels, or of the package index.

What it means
-------------
``torch-2.8.0+${CUDA}.html``, whose variable nobody filled in; ``+121`` where ``+cu121`` was meant; a page without
its build; the page of another torch than the installed one.  Servers answer 403, pip says nothing of it, and goes on
without the wheels: it finds no version, or compiles for half an hour.

How it is found
---------------
The addresses in the command, or those that pip says it looks in, are read: what is not filled in, the form
``torch-X.Y.0+BUILD.html``, and whether torch and build are those of ``torch/version.py``.  It is a finding where pip
found no version, or took a source distribution.

Example
-------
``--find-links https://data.pyg.org/whl/torch-2.12.0+${CUDA}.html`` beside torch 2.12.1.

Fix
---
The page for this very torch on the same server, with source forbidden.  Where that lists no torch-scatter: the kit's
replacement (``kit shim enable torch_scatter``), or a build.

Known limits
------------
Addresses in a requirements file or in pip's configuration are only seen where pip names them.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _compiled
from kit.failures._installing import ONLY, cause, compiled, tried, wheel_of
from kit.failures._pages import Wrong, is_pygs, wrong
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import PYTORCH_INDEX, pip, replacement
from kit.recorded import recorded

RANK = 30
INSTEAD = "Retrying would change nothing: that address lists no wheels, and pip does not say so."

SHOWS = r"No matching distribution found for torch-cluster"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if facts.attempt is None or found is None or found.failure != "index-url-malformed":
        return
    it, name = tried(facts.attempt), found.package
    torch_too = any(re.match(r"torch(?![\w-])", r) for r in it.requirements)
    problem = wrong(found.line, facts, found.line not in it.pages, torch_too)
    assert problem is not None
    came = "so pip compiled it instead" if found.succeeded else "so pip found no wheel of it there"
    yield Finding(
        "index-url-malformed",
        "warning" if found.succeeded else "error",
        name,
        f"The address that {name} was to come from is wrong. It {problem.what}, {came}.",
        (
            f"{'--find-links' if found.line in it.pages else '--index-url'}: {found.line}",
            *([f"torch/version.py: {facts.torch.version}, {facts.torch.build}"] if facts.torch else []),
        ),
        tuple(_fixes(name, problem, facts))[:3],
    )


def _fixes(name: str, problem: Wrong, facts: Facts) -> Iterator[Fix]:
    assert facts.attempt is not None
    it = tried(facts.attempt)
    wheel, cost = wheel_of(name, facts), Cost(restart=True)
    if problem.meant is None:
        yield wheel or Fix(
            "fix-url", "Write the address in full, and in quotes: it has to name this torch and its build"
        )
    elif wheel is not None and wheel.argv and problem.meant in wheel.argv:
        yield dataclasses.replace(wheel, kind="fix-url", why=f"Install {name} from the page that was meant")
    elif problem.meant.startswith(PYTORCH_INDEX):
        what = [r for r in it.requirements if re.match(r"torch(vision|audio)?(?![\w-])", r)] or [name]
        argv = pip(facts, "install", *what, "--index-url", problem.meant)
        yield Fix("fix-url", "Install from the index that was meant", argv, safety="changes-environment", cost=cost)
    elif is_pygs(problem.meant):  # the table knows of no wheel there
        yield Fix("fix-url", f"The page of this torch would be {problem.meant}; by the table it lists no {name}")
        yield from filter(None, (replacement(name, facts), compiled("rebuild-extension", it, facts)))
    else:
        argv = pip(facts, "install", *ONLY, name, "--find-links", problem.meant)
        why = f"Install {name} from the page that was meant, {problem.meant}"
        yield Fix("fix-url", why, argv, safety="changes-environment", cost=cost)


def example() -> Facts:
    facts = recorded("healthy-cpu")
    assert facts.torch is not None
    torch = dataclasses.replace(facts.torch, version="2.12.1+cpu", metadata_version="2.12.1+cpu", binaries=())
    dists = tuple(
        dataclasses.replace(d, version="2.12.1+cpu") if d.key == "torch" else d for d in facts.distributions
    )
    page = "https://data.pyg.org/whl/torch-2.12.0+${CUDA}.html"
    said = (
        f"Looking in links: {page}",
        "ERROR: Could not find a version that satisfies the requirement torch-cluster (from versions: none)",
        "ERROR: No matching distribution found for torch-cluster",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-index", "torch-cluster", "-f", page)
    return dataclasses.replace(facts, torch=torch, distributions=dists, extensions=(), attempt=Attempt(argv, 1, said))


def reproduce(place: Place) -> Attempt:
    place.share("torch")
    minor, token = _compiled.build_of(place)
    page = _compiled.page(place)
    fitting = _compiled.wheel(place, "torch-cluster", f"+pt{minor.replace('.', '')}{token}", _compiled.library(place))
    place.index.add(fitting, f"{minor}.0+{token}")
    return place.pip("install", "torch-cluster", "--find-links", page.replace(f"+{token}", "+${CUDA}"))
