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
found no version, or took a source distribution.  In
pasted text the same, in commands and in what pip looks in.

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
from typing import Optional

from kit.facts import Attempt, Facts
from kit.failures import _compiled, _told_build, _told_wheels
from kit.failures._installing import ONLY, cause, compiled, tried, wheel_of, wrong_here
from kit.failures._pages import Wrong, is_pygs
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import PYTORCH_INDEX, pip, replacement
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 30
INSTEAD = "Retrying would change nothing: that address lists no wheels, and pip does not say so."

SHOWS = r"No matching distribution found for torch-cluster"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if facts.attempt is None or found is None or found.failure != "index-url-malformed":
        return
    it, name = tried(facts.attempt), found.package
    torch_too = any(re.match(r"torch(?![\w-])", r) for r in it.requirements)
    problem = wrong_here(found.line, facts, found.line not in it.pages, torch_too)
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


def told(report: Report) -> Iterator[Told]:
    found = _told_wheels.verdict(report, "index-url-malformed")
    if found is not None:
        yield _answer(found.sure, found.hit, found.package, found.why, found.meant)
        return
    if not report.has("http", "find-links", " -f "):
        return
    building = report.has("tar.gz", "building wheel", "setup.py", "egg_info", "to build wheel", "cannot open")
    for address, what, meant, sure in _told_wheels.wrong_address(report):
        hit = report.hit(re.escape(address))
        if hit is not None and (sure or building):
            level = 0.8 if sure and building else 0.6 if sure else 0.45
            yield _answer(level, hit, _told_build.package(report) or "", f"it {what}", meant)
            return


def _answer(sure: float, hit: Hit, package: str, why: str, meant: Optional[str]) -> Told:
    name = package or "the package"
    which = f": {meant}" if meant else ": in full, with this torch's version and its build, such as +cu121, in quotes"
    if "torch's index does not have it" in why or "torch's own index" in why:
        which = (
            f": for {name} its own page or the package index, and torch's index only for torch (--extra-index-url)"
        )
    elif "package index" in why and not meant:
        which = ": --index-url https://download.pytorch.org/whl/ and the build, such as cu121, behind it"
    return Told(
        sure,
        package or None,
        f"The address that {name} was to come from is wrong. {why[0].upper()}{why[1:]}, so that pip finds no "
        "wheel there.",
        (hit,),
        (Fix("fix-url", f"Give the address that was meant{which}"),),
        over=("wheel-not-published", "sdist-preferred", "python-unsupported") if sure >= 0.85 else (),
    )


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
