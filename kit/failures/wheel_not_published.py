"""No wheel of this package is published for this torch, CUDA and platform.

What it means
-------------
``No matching distribution found``, or 403 or 404 for the file: the package has no wheel for a torch that new, that
old, or built for that CUDA, or for this platform; for a nightly there never is one.  A page that is there can be
empty: that of torch 2.13 lists no torch-scatter.

How it is found
---------------
In what an installation said: pip found no version of a package around torch, with an address that is right for the
torch in ``torch/version.py``, and with a Python that wheels are published for.  In pasted text also what
uv, poetry and conda say, servers that answer 403 or 404, and files for another platform.

Example
-------
``pip install --only-binary=:all: torch-scatter`` beside torch 2.13.0, for which there is none.

Fix
---
For torch-scatter the kit's replacement, which needs no wheel (``kit shim enable torch_scatter``).  Else compile it
against this torch, or move to a torch that it has wheels for.

Known limits
------------
A misspelt name, or an index that cannot be reached without saying so, reads the same.
"""

import dataclasses
import re
from collections.abc import Iterator

from kit.facts import Attempt, Facts
from kit.failures import _compiled, _told, _told_prose, _told_wheels
from kit.failures._installing import cause, compiled, tried, wheel_of
from kit.failures._place import Place
from kit.findings import Finding, Fix
from kit.published import PYG, choose_torch, platform, python_minor, replacement, torch_fix
from kit.recorded import recorded
from kit.report import Report, Told

RANK = 32
INSTEAD = "A wheel for another torch can be installed by force, and then does not load."

SHOWS = r"No matching distribution found for torch-spline-conv"


def find(facts: Facts) -> Iterator[Finding]:
    found = cause(facts)
    if facts.attempt is None or found is None or found.failure != "wheel-not-published":
        return
    it, name, torch = tried(facts.attempt), found.package, facts.torch
    asked = next((r for r in it.requirements if r.lower().replace("_", "-").startswith(name)), name)
    beside = f"torch {torch.version}, Python {python_minor(facts)}" if torch else f"Python {python_minor(facts)}"
    listed = re.search(r"\(from versions: (?!none)([^)]+)\)", it.text)
    yield Finding(
        "wheel-not-published",
        "error",
        name,
        f"No wheel of {name} is published for this environment. pip found none of {asked} that fits {beside} on "
        f"{platform(facts)}.",
        (
            f"pip: {found.line}",
            *(f"--find-links: {page}" for page in it.pages[:2]),
            *([f"versions that fit: {listed.group(1)}"] if listed else []),
            *([f"torch/version.py: {torch.version}, {torch.build}"] if torch else []),
        ),
        tuple(_fixes(name, facts))[:3],
    )


def _fixes(name: str, facts: Facts) -> Iterator[Fix]:
    assert facts.attempt is not None
    it = tried(facts.attempt)
    wheel = wheel_of(name, facts)
    if wheel is not None and not (
        wheel.argv and set(wheel.argv) & set(it.pages) and set(wheel.argv) & set(it.requirements)
    ):
        yield wheel
    elif ours := replacement(name, facts):
        yield ours
    if name in PYG:
        build = compiled("rebuild-extension", it, facts)
        if build is not None:
            yield build
        if wheel is None and facts.torch and facts.torch.cuda and choose_torch(facts, True):
            yield torch_fix(facts, f"Move to a torch that has wheels of {name}", needs_pyg=True)
    if name == "torch":
        yield Fix("change-torch", "Install a release of torch that is published for this Python and platform")
    else:
        yield Fix("change-package-version", f"Install a release of {name} that was built for this torch")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "wheel-not-published")
    if plain is not None:
        name = _told.named(report) or ("torch" if report.has("torch") else "the package")
        yield Told(
            plain[0],
            None if name == "the package" else name,
            f"No wheel of {name} fits this environment. That is what is asked for; nothing here is broken.",
            (plain[1],),
            _wanted(name, report) if plain[0] < 0.3 else _advice(name, False, report),
        )
    found = _told_wheels.verdict(report, "wheel-not-published")
    if found is not None:
        name = found.package or "the package"
        damaged = "damaged" in found.why
        title = (
            f"The published wheel of {name} is not usable" if damaged else f"No wheel of {name} fits this environment"
        )
        story = f"{found.why[0].upper()}{found.why[1:]}; nothing that is installed here is broken."
        fixes = _advice(name, damaged, report)
        over = ("not-environment",) if found.sure > 0.75 and report.has("precompiled wheel not found") else ()
        yield Told(found.sure, found.package or None, f"{title}. {story}", (found.hit,), fixes, over=over)
    if report.has("working triton installation", "no module named 'triton'") and (
        _told.windows(report) or report.has("windows")
    ):
        hit = report.hit(r"cannot find a working triton installation[^\n]*|no module named 'triton'[^\n]*")
        if report.has("triton is not available", "just a warning"):
            hit = None
        if hit is not None:
            yield Told(
                0.6,
                "triton",
                "There is no wheel of triton for Windows from its makers. torch.compile needs it to make kernels for "
                "the GPU; all else works without.",
                (hit,),
                (
                    Fix("use-replacement", "Leave torch.compile out (TORCHDYNAMO_DISABLE=1): everything else works"),
                    Fix("change-package-version", "Or install triton-windows in the release that fits this torch"),
                ),
            )
    if report.has("graphbolt", "cannot find dgl") and not report.has("undefined symbol"):
        hit = report.hit(
            r"(?:cannot|can't|can not|could not|unable to|failed to) (?:find|load|open)[^\n]{0,30}"
            r"(?:DGL [^\n]{0,40}library|graphbolt)[^\n]*|no such file[^\n]{0,30}graphbolt_pytorch[^\n]*"
        )
        if hit is not None:
            yield Told(
                0.8,
                "dgl",
                "This dgl was not built for the torch that is installed. Its wheel brings a library for each torch "
                "that it knows, and none for this one.",
                (hit,),
                (
                    Fix("change-torch", "Install a torch that this dgl was built for: 2.4 is the last, 2.2 on macOS"),
                    Fix("change-package-version", "Or a dgl that was built for this torch, from the pages of dgl.ai"),
                ),
                over=("extension-torch-mismatch", "library-not-found", "torch-broken"),
            )


def _wanted(name: str, report: Report) -> tuple[Fix, ...]:
    """What to try where nothing is known but that an installation failed."""
    why = f"Install the {name} that was built for this torch, its build and this Python, with --only-binary=:all:"
    return (wheel_of(name, report.facts) or Fix("install-matching-wheel", why), *_advice(name, False, report)[:2])


def _advice(name: str, damaged: bool, report: Report) -> tuple[Fix, ...]:
    facts = report.facts
    if damaged:
        return (
            Fix("report-upstream", "Tell those who publish the wheel: it is damaged for everybody"),
            Fix("install-matching-wheel", f"Install a {name} for this torch from another source or release"),
        )
    wheel = wheel_of(name, facts)
    if name == "pyg-lib":
        return (
            Fix(
                "use-replacement", "Leave pyg-lib out: torch-geometric works without it, and torch-sparse samples too"
            ),
            *([wheel] if wheel else []),
            Fix("change-torch", "Or install a torch for which the page lists pyg-lib, with its companions"),
        )
    if name in PYG:
        ours = replacement(name, facts)
        moved = Fix("change-torch", f"Install a torch for which a page lists {name}, with its companions")
        build = Fix("rebuild-extension", f"Compile {name} against this torch, without build isolation")
        if wheel is None and report.has(
            "packagesnotfound", "not available from current channels", "resolvepackagenotf"
        ):
            why = f"Install {name} with the pip of that environment, from the page of its torch and build"
            wheel = Fix("install-matching-wheel", why)
        wanted = [wheel, ours, moved, build] if not _alone(report) else [build, ours, moved]
        return tuple(fix for fix in wanted if fix is not None)[:3]
    if name in ("torch", "torchvision", "torchaudio"):
        return (
            Fix("change-torch", f"Install a release of {name} that is published for this Python and platform"),
            Fix("change-package-version", "Loosen the pin: the list behind 'from versions' holds what would fit"),
        )
    if name in _told.FROM_SOURCE or name in ("flash-attn", "causal-conv1d", "mamba-ssm"):
        return (
            Fix("rebuild-extension", f"Compile {name} against this torch, without isolation, with its CUDA's nvcc"),
            Fix("install-matching-wheel", f"Or take a wheel of {name} for this torch and Python, where one exists"),
            Fix("change-torch", f"Or install a torch for which there is a wheel of {name}"),
        )
    return (
        Fix("change-package-version", f"Install a release of {name} that is published for this torch and platform"),
        Fix("install-matching-wheel", f"Or take the wheel of {name} for this torch from its own page of wheels"),
        Fix("report-upstream", "Where its page names the file and the server does not have it, tell its maintainers"),
    )


def _alone(report: Report) -> bool:
    """Whether nobody publishes wheels for this platform, so that only a build is left."""
    arm = report.facts.host.machine in ("aarch64", "arm64") and report.facts.host.system != "Darwin"
    return arm or report.has("aarch64", "jetson")


def example() -> Facts:
    facts = recorded("healthy-cpu")
    page = "https://data.pyg.org/whl/torch-2.13.0+cpu.html"
    said = (
        f"Looking in links: {page}",
        "ERROR: Could not find a version that satisfies the requirement torch-scatter (from versions: none)",
        "ERROR: No matching distribution found for torch-scatter",
    )
    argv = (facts.python.executable, "-m", "pip", "install", "--only-binary=:all:", "torch-scatter", "-f", page)
    return dataclasses.replace(facts, extensions=(), attempt=Attempt(argv, 1, said))


def reproduce(place: Place) -> Attempt:
    place.share("torch")
    _compiled.source(place, "torch-spline-conv")
    return place.pip("install", "--only-binary=:all:", "torch-spline-conv", "--find-links", _compiled.page(place))
