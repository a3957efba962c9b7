"""There is no wheel for this Python: it is too new, too old, or a 32-bit one.

What it means
-------------
A compiled wheel is for one Python version (``cp312``).  Where a package has none for the Python that runs, pip says
``No matching distribution found``, without a word of Python; or ``requires a different Python``; or that a wheel
``is not a supported wheel on this platform``.  torch has wheels for no 32-bit Python.

How it is found
---------------
In what an installation said: pip names the versions that it passed over for their ``Requires-Python``, or the tag
of the wheel that it was given is another Python's; or it found none, and the tables ``kit/data/torch_builds.json``
and ``pyg_wheels.json`` list the package for other Pythons than the one that runs.  In pasted text also
what uv, poetry and conda say, and code that this Python cannot read.

Example
-------
``pip install torch-scatter`` for torch 2.9, whose wheels end at Python 3.13, with Python 3.14.

Fix
---
For torch-scatter the kit's replacement, which is for any Python from 3.9 on (``kit shim enable torch_scatter``).
Else an environment with a Python that there are wheels for; torch-scatter and its siblings can be compiled for any.

Known limits
------------
pip 20 and older do not say which versions they passed over.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _told_build, _told_prose, _told_wheels
from kit.failures._installing import cause, compiled, tried, wheels_for
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.gpus import numbers
from kit.published import PYG, python_minor, replacement
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 31
INSTEAD = "Renaming a wheel for another Python lets pip install it, and Python cannot load it."

SHOWS = r"Requires-Python >=3\.99"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if facts.attempt is None or found is None or found.failure != "python-unsupported":
        return
    it, name, here = tried(facts.attempt), found.package, python_minor(facts)
    pythons = tuple(p for p in wheels_for(name, facts) if p != here)
    bits = ", a 32-bit one" if facts.python.bits == 32 else ""
    torch = f" and torch {facts.torch.version}" if facts.torch and name != "torch" else ""
    asks = re.search(r"Requires-Python ([^;\n]+)|not in '([^']+)'", it.text)
    story = f"This is Python {facts.python.version}{bits}"
    if asks:
        story += f"; it asks for {asks.group(1) or asks.group(2)}."
    elif pythons:
        story += f"; wheels of it{'' if name == 'torch' else ' for this torch'} are for {_span(pythons)}."
    else:
        story += f", for which{torch} it has none."
    yield Finding(
        "python-unsupported",
        "error",
        name,
        f"{name} has no wheel for this Python. {story}",
        (f"pip: {found.line}", f"{facts.python.executable}: Python {facts.python.version}{bits}"),
        tuple(_fixes(name, pythons, it.package, facts))[:3],
    )


def _span(pythons: tuple[str, ...]) -> str:
    ordered = sorted(pythons, key=numbers)
    return f"Python {ordered[0]} to {ordered[-1]}" if len(ordered) > 1 else f"Python {ordered[0]}"


def _fixes(name: str, pythons: tuple[str, ...], package: str, facts: Facts) -> Iterator[Fix]:
    assert facts.attempt is not None
    ours = replacement(name, facts)
    if ours is not None:
        yield ours
    here = numbers(facts.python.version)[1:2] or (0,)
    nearest = min(pythons, key=lambda p: abs(numbers(p)[1] - here[0]), default="") if facts.python.version else ""
    kind = "64-bit Python" if facts.python.bits == 32 else "Python"
    which = f"{kind} {nearest}".strip() if nearest else f"{kind} that {name} has wheels for"
    yield Fix("change-python", f"Make an environment with a {which}, and install torch and {name} there")
    if name in PYG and facts.python.bits != 32 and "Requires-Python" not in tried(facts.attempt).text:
        build = compiled("rebuild-extension", tried(facts.attempt), facts)
        if build is not None:
            yield build
    if name != "torch":
        yield Fix("change-package-version", f"Or install a release of {name} that is published for this Python")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "python-unsupported")
    if plain is not None:
        yield _code(plain[0], plain[1], report)
    found = _told_wheels.verdict(report, "python-unsupported")
    if found is not None:
        name, here = found.package or "the package", python_minor(report.facts)
        story = f"{found.why[0].upper()}{found.why[1:]}." + (f" This is Python {here}." if here else "")
        pythons = wheels_for(name, report.facts)
        which = f"Python {max(pythons, key=numbers)}" if pythons else f"a Python that {name} has wheels for"
        if report.facts.python.bits == 32 or "32-bit" in found.why:
            which = "a 64-bit Python"
        yield Told(
            found.sure,
            found.package or None,
            f"{name} has no wheel for this Python. {story}",
            (found.hit,),
            (
                Fix("change-python", f"Make an environment with {which}, and install torch and {name} there"),
                Fix("change-package-version", f"Or install a release of {name} that is published for this Python"),
            ),
            over=("wheel-not-published",) if found.sure >= 0.78 else (),
        )
    if report.has("'distutils'", "'imp'", "impimporter") and _told_build.in_build(report):
        hit = report.hit(r"No module named '(?:distutils|imp)'[^\n]*|has no attribute 'ImpImporter'[^\n]*")
        if hit is not None and _told_build.at_build(report, hit.at):
            yield _code(0.74, hit, report)
            return
    for words, sure, pattern in _TOO_OLD_OR_NEW:
        hit = report.hit(pattern) if report.has(*words) else None
        if hit is not None:
            yield _code(sure, hit, report)
            return


_ASKS = (
    r"(?:requires|needs|only supports?) Python ?(?:version )?(?:>=|<|==|3\.)[^\n]{0,60}|"
    r"Python (?:version )?3\.\d+(?:\.\d+)? (?:or (?:later|newer|above) )?is (?:required|not supported)[^\n]{0,60}|"
    r"(?:unsupported|incompatible) Python version[^\n]{0,60}"
)
# What code says that was written for a newer Python, or for an older one.
_TOO_OLD_OR_NEW = (
    (("future feature annotations",), 0.9, r"future feature annotations is not defined[^\n]*"),
    (("impimporter",), 0.72, r"has no attribute 'ImpImporter'[^\n]*"),
    (
        ("torch.compile", "dynamo"),
        0.88,
        r"(?:Dynamo|torch\.compile)[^\n]{0,40}(?:is )?not (?:yet )?supported (?:on|for) Python[^\n]*|"
        r"Python [\d.]+\+? (?:is )?not (?:yet )?supported for torch\.compile[^\n]*",
    ),
    (
        ("unsupported operand type(s) for |",),
        0.72,
        r"unsupported operand type\(s\) for \|: '(?:type|_\w+|\w*Meta\w*)'[^\n]*",
    ),
    (("object is not subscriptable",), 0.66, r"TypeError: '(?:type|ABCMeta)' object is not subscriptable"),
    (
        ("from 'typing'", "from 'functools'", "from 'importlib'", "from 'enum'", "from 'inspect'"),
        0.72,
        r"cannot import name '\w+' from '(?:typing|functools|importlib|enum|inspect)'[^\n]*",
    ),
    (("'dataclasses'", "'tomllib'", "'zoneinfo'"), 0.7, r"No module named '(?:dataclasses|tomllib|zoneinfo)'"),
    (("requires python", "python version", "or later is required", "or newer is required"), 0.7, _ASKS),
)


def _code(sure: float, hit: Hit, report: Report) -> Told:
    here = python_minor(report.facts)
    return Told(
        sure,
        None,
        "This code is not for this Python. What it uses is not in "
        f"{f'Python {here}' if here else 'the Python that runs'}: that is too old for it, or too new.",
        (hit,),
        (
            Fix("change-python", "Make an environment with a Python that this package names, and install it there"),
            Fix("change-package-version", "Or install a release of the package that is meant for this Python"),
        ),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    assert facts.torch is not None
    path = tuple(entry.replace("python3.11", "python3.14") for entry in facts.python.path)
    python = dataclasses.replace(facts.python, version="3.14.1", abi="cp314", path=path)
    torch = dataclasses.replace(facts.torch, version="2.8.0+cpu", metadata_version="2.8.0+cpu", binaries=())
    dists = tuple(dataclasses.replace(d, version="2.8.0+cpu") if d.key == "torch" else d for d in facts.distributions)
    page = "https://data.pyg.org/whl/torch-2.8.0+cpu.html"
    said = (
        f"Looking in links: {page}",
        "ERROR: Could not find a version that satisfies the requirement torch-scatter (from versions: none)",
        "ERROR: No matching distribution found for torch-scatter",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--no-index", "torch-scatter", "-f", page)
    return dataclasses.replace(
        facts, python=python, torch=torch, distributions=dists, extensions=(), attempt=Attempt(argv, 1, said)
    )


def reproduce(place: Place) -> Attempt:
    place.share("torch")
    files = {"torch_cluster/__init__.py": "import torch\n"}
    place.index.add(place.wheel("torch-cluster", "1.6.3", files), requires_python=">=3.99")
    return place.pip("install", "torch-cluster")
