"""pip took a source distribution although a wheel exists, and compiled it.

What it means
-------------
With ``--find-links`` pip looks at the page and at the package index, and takes the newest version: a source
distribution of 0.6.18 wins over the wheel of 0.6.17 on the page.  Without the page it knows of no wheel at all.  It
then compiles without asking: for half an hour, for the CPU where no GPU is visible, or until it fails.

How it is found
---------------
In what an installation said: a source distribution was taken, and the page of this torch lists a wheel, by the table
``kit/data/pyg_wheels.json``, that is older or was not asked for.  Of another server's page for this torch it is
assumed that it lists some.

Example
-------
torch-sparse 0.6.19, as source, although the page lists the wheel of 0.6.18.

Fix
---
The version that the page lists, with source forbidden: ``--only-binary``.

Known limits
------------
What was compiled in an earlier installation, whose log is not there, is not told from what was meant to be.
"""

import dataclasses
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _compiled
from kit.failures._installing import ONLY, cause, compiled, tried, wheel_of
from kit.failures._pages import is_pygs, of_torch
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import pip
from kit.recorded import recorded

RANK = 33
INSTEAD = "Waiting for the build to end would bring a package without GPU code wherever no GPU is visible."

SHOWS = r"torch_cluster-1\.6\.3\.tar\.gz"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if facts.attempt is None or found is None or found.failure != "sdist-preferred":
        return
    it, name = tried(facts.attempt), found.package
    pages = [page for page in it.pages if of_torch(page)]
    listed = f"the wheel of {found.what}" if found.what else "wheels for this torch"
    where = f"The page lists {listed}" if pages else f"There is {listed}, on a page that was not asked for"
    yield Finding(
        "sdist-preferred",
        "warning" if found.succeeded else "error",
        name,
        f"pip compiled {name} instead of taking a wheel. {where}, and pip took the source of {it.version}"
        + (", compiled it and installed that." if found.succeeded else ", whose build failed."),
        (
            f"pip: {found.line}",
            *(f"--find-links: {page}" for page in pages[:1]),
            *([f"kit/data/pyg_wheels.json: {name} {found.what} has a wheel for this torch"] if found.what else []),
        ),
        tuple(_fixes(name, pages, facts)),
    )


def _fixes(name: str, pages: list[str], facts: Facts) -> Iterator[Fix]:
    assert facts.attempt is not None
    mirror = next((page for page in pages if not is_pygs(page)), None)
    wheel = wheel_of(name, facts)
    if mirror is not None:
        argv = pip(facts, "install", *ONLY, name, "--find-links", mirror)
        why = f"Install the newest wheel of {name} on that page"
        yield Fix("install-matching-wheel", why, argv, safety="changes-environment", cost=Cost(restart=True))
    elif wheel is not None:
        yield wheel
    build = compiled("rebuild-extension", tried(facts.attempt), facts)
    if build is not None:
        yield build


def example() -> Facts:
    facts = recorded("healthy-cpu")
    assert facts.torch is not None
    torch = dataclasses.replace(facts.torch, version="2.12.1+cpu", metadata_version="2.12.1+cpu", binaries=())
    dists = tuple(
        dataclasses.replace(d, version="2.12.1+cpu") if d.key == "torch" else d for d in facts.distributions
    )
    page = "https://data.pyg.org/whl/torch-2.12.0+cpu.html"
    said = (
        f"Looking in links: {page}",
        "Collecting torch-sparse",
        "  Downloading torch_sparse-0.6.19.tar.gz (210 kB)",
        "  Getting requirements to build wheel: finished with status 'error'",
        "      ModuleNotFoundError: No module named 'torch'",
        "ERROR: Failed to build 'torch-sparse' when getting requirements to build wheel",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "torch-sparse", "-f", page)
    return dataclasses.replace(facts, torch=torch, distributions=dists, extensions=(), attempt=Attempt(argv, 1, said))


def reproduce(place: Place) -> Attempt:
    _compiled.prepared(place)
    page = _compiled.page(place)
    minor, token = _compiled.build_of(place)
    older = place.wheel(
        "torch-cluster",
        f"1.6.2+pt{minor.replace('.', '')}{token}",
        {"torch_cluster/__init__.py": "import torch\n", "torch_cluster/_version_cpu.so": _compiled.library(place)},
        tag=place.tag,
    )
    place.index.add(older, f"{minor}.0+{token}")
    _compiled.source(place, "torch-cluster")
    return place.pip("install", "torch-cluster", "--find-links", page)
