"""An extension was built in isolation, where the torch of this environment is not seen.

What it means
-------------
pip builds a source distribution in an environment of its own, with what its ``pyproject.toml`` asks for and nothing
else.  torch-scatter and its siblings import torch in their ``setup.py`` and ask for nothing, so that the build stops
at ``ModuleNotFoundError: No module named 'torch'`` although torch is installed.  A package that does ask for torch
is compiled against a fresh one, of another version or for the CPU.  The same words are said where torch is not
installed at all.

How it is found
---------------
In what an installation said: the build of a source distribution ended with a missing module that is torch, or one
that the build needs, or the compiler read the headers of a torch in ``pip-build-env``.

Example
-------
``pip install torch-scatter`` beside torch 2.13.0.

Fix
---
The wheel that was built for this torch, where there is one; for torch-scatter else the kit's replacement
(``kit shim enable torch_scatter``); else the build without isolation, past pip's cache.  Where torch is not installed
it comes first.

Known limits
------------
A log without its command is taken for an isolated build where the missing module is installed.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _compiled, torch_missing
from kit.failures._installing import cause, compiled, tried, wheel_of
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import pip, replacement
from kit.recorded import recorded

RANK = 34
INSTEAD = "Installing torch again would change nothing: the isolated build does not look at it."

SHOWS = r"No module named 'torch'"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if facts.attempt is None or found is None or found.failure != "build-isolation":
        return
    it, torch, name = tried(facts.attempt), facts.torch, found.package or "the extension"
    evidence = [f"the build of {name}: {found.line}"]
    if torch is not None:
        evidence.append(f"torch/version.py: {torch.version}, of {facts.python.executable}")
    elif found.what == "torch":
        evidence.append("import path: no folder torch and no metadata of torch")
    yield Finding(
        "build-isolation",
        "error",
        found.package or None,
        f"{name} was built where a module that it needs is not seen. {_story(found.what, it.isolated, facts)}",
        tuple(evidence),
        tuple(_fixes(found.what, name, facts)),
    )


def _story(what: str, isolated: bool, facts: Facts) -> str:
    torch = facts.torch
    if what == "another torch":
        return "pip brought a torch of its own into the build, which is not the one that is installed."
    if what == "torch" and torch is None:
        return "It takes torch to compile it, and torch is not installed here: it has to come first."
    if not isolated:
        return f"The build is not isolated: {what} is missing in the Python that this pip belongs to."
    if what == "torch" and torch is not None:
        return (
            f"Its setup.py imports torch; torch {torch.version} is installed, and an isolated build does not see it."
        )
    return f"Its setup.py imports {what}, which the isolated environment of the build does not hold."


def _fixes(what: str, package: str, facts: Facts) -> Iterator[Fix]:
    assert facts.attempt is not None
    if facts.torch is None:
        yield torch_missing.install(facts)
        yield Fix("disable-build-isolation", f"Then install {package} with --no-build-isolation and --no-cache-dir")
        return
    first = wheel_of(package, facts) or replacement(package, facts)
    if first is not None:
        yield first
    if what not in ("torch", "another torch") and facts.distribution(what) is None:
        why = f"Install {what}, then {package} without isolation"
        argv = pip(facts, "install", what)
        yield Fix("change-package-version", why, argv, safety="changes-environment", cost=Cost(seconds=5))
    build = compiled("disable-build-isolation", tried(facts.attempt), facts)
    yield build or Fix("disable-build-isolation", f"Install {package} with --no-build-isolation and --no-cache-dir")


def example() -> Facts:
    facts = recorded("healthy-cpu")
    said = (
        "Collecting torch-spline-conv",
        "  Downloading torch_spline_conv-1.2.2.tar.gz (25 kB)",
        "  Getting requirements to build wheel: finished with status 'error'",
        "  error: subprocess-exited-with-error",
        '        File "<string>", line 8, in <module>',
        "      ModuleNotFoundError: No module named 'torch'",
        "ERROR: Failed to build 'torch-spline-conv' when getting requirements to build wheel",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "torch-spline-conv")
    return dataclasses.replace(facts, attempt=Attempt(argv, 1, said))


def reproduce(place: Place) -> Attempt:
    _compiled.prepared(place)
    _compiled.source(place, "torch-spline-conv")
    return place.pip("install", "torch-spline-conv")
