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
assumed that it lists some.  In
pasted text also a build that succeeded, or that takes without end.

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
import re
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _compiled, _stops, _told, _told_prose, _told_wheels
from kit.failures._installing import ONLY, cause, compiled, tried, wheel_of
from kit.failures._pages import is_pygs, of_torch
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import pip
from kit.recorded import recorded
from kit.report import Hit, Report, Told

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


_TAKEN = (
    r"(?:Downloading|Using cached|Saved|Collecting)[^\n]{0,200}?"
    r"(?P<package>(?:torch|pyg)[-_](?:scatter|sparse|cluster|spline[-_]conv|lib)|flash[-_]attn|xformers|mmcv(?:[-_]full)?|"
    r"natten|causal[-_]conv1d|mamba[-_]ssm|detectron2|torchvision|dgl|numpy|pyg_lib)"
    r"-(?P<version>\d[\w.]*?)\.(?:tar\.gz|zip)"
)
_WAITING = (
    r"Building wheels? for (?P<package>[\w.-]+) \((?:setup\.py|pyproject\.toml)\)[^\n]*|"
    r"(?:Failed (?:building wheel for|to build)|Could not build wheels for) '?(?P<failed>[\w.-]+)"
)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "sdist-preferred")
    if plain is not None and (
        _told.asking(report) or report.has("pyg", "torch_geometric", "torch-geom", "whl", "sdist")
    ):
        name = _told.asking(report) or "the extension"
        known = wheel_of(name, report.facts)
        why = f"Install the {name} that the page of this torch and build lists, pinned, with --only-binary=:all:"
        yield Told(
            plain[0],
            _told.asking(report),
            f"pip compiles {name} instead of taking a wheel. A wheel is there in seconds; what takes hours "
            "is a build from source, as no page was given, or one that lists no wheel for this torch.",
            (plain[1],),
            (known or Fix("install-matching-wheel", why),),
        )
    if not report.has(".tar.gz", "building wheel", "failed to build", "not build wheels"):
        return
    taken = report.hit(_TAKEN)
    waiting = report.hit(_WAITING) if report.has("building wheel", "failed to build", "not build wheels") else None
    if taken is None and (waiting is None or not _of_torchs(_named(waiting))):
        return
    hit = taken or waiting
    assert hit is not None
    name = _stops.normal(_named(hit))
    pages = [page for page in _told_wheels.addresses(report)[0] if of_torch(page)]
    wrong = any(sure for *_, sure in _told_wheels.wrong_address(report))
    failed = report.has(
        "error: ", "... error", "exit code", "exit status", "traceback", "failed building", "failed to build"
    )
    done = report.has("... done", "created wheel", "successfully built", "status 'done'")
    stuck = report.has("stuck", "hang", "forever", "hours", "minutes", "takes", "slow", "still running")
    sure = (
        0.35 if wrong or (failed and taken is None) else 0.5 if failed else 0.88 if pages or done or stuck else 0.72
    )
    if taken is None and not stuck:
        sure = min(sure, 0.6)
    if not failed and any(not error.warning for error in report.errors):
        sure = min(sure, 0.45)  # something else failed, later
    version = hit.groups.get("version", "")
    title = (
        f"pip compiled {name} instead of taking a wheel" if done else f"pip compiles {name} instead of taking a wheel"
    )
    why = f"It took the source of {version}" if version else "It took a source distribution"
    wheel = wheel_of(name, report.facts)
    yield Told(
        sure,
        name,
        f"{title}. {why}, which is newer than the wheel on the page, or no page was given; a build takes long, "
        "and is for the CPU where no GPU is visible.",
        tuple(h for h in (hit, waiting) if h is not None and (h is hit or h.at != hit.at)),
        (
            wheel
            or Fix(
                "install-matching-wheel",
                f"Install the {name} that the page of this torch and build lists, pinned, with --only-binary=:all:",
            ),
            Fix("change-package-version", f"Pin the version of {name} whose wheel the page lists"),
        ),
        severity="error" if failed else "warning",
    )


def _named(hit: Hit) -> str:
    return hit.groups.get("package") or hit.groups.get("failed") or ""


def _of_torchs(package: str) -> bool:
    return bool(re.match(r"torch[-_]|pyg|flash|xformers|mmcv|natten|mamba|causal", package.lower()))


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
