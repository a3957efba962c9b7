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
that the build needs, or the compiler read the headers of a torch in ``pip-build-env``.  In pasted text: the same
words below a traceback of a setup.py or of a build's backend, and uv's hint.

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
import re
from collections.abc import Iterator
from typing import Optional

from kit.facts import Attempt, Facts
from kit.failures import _compiled, _told, _told_build, _told_prose, torch_missing
from kit.failures._installing import cause, compiled, tried, wheel_of
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.published import pip, replacement
from kit.recorded import recorded
from kit.report import Hit, Report, Told

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


# What a setup.py imports, and an isolated build does not have unless it is asked for.
_TOOLS = frozenset(
    "packaging numpy wheel setuptools pkg_resources pip cython Cython pybind11 ninja cmake psutil".split()
)
_HINT = r"depends on `?(?P<what>torch)`?, but doesn't declare it as a build dependency"
_WITHOUT_TORCH = (
    r"pre-compile ops without (?P<what>torch) installed|requires (?P<w2>Py)?Torch being installed|"
    r"(?:Py)?[Tt]orch (?:must|needs to|has to|should) be (?:pre-?)?installed (?:before|first|to build)|"
    r"please install (?:Py)?torch (?:first|before)"
)


# What follows from it, where it is sure.
_FOLLOW = ("torch-missing", "wrong-interpreter", "sdist-preferred", "wheel-not-published", "not-environment")


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "build-isolation")
    if plain is not None:
        name = _told_build.called(report)
        story = f"The build of {name} does not see torch. That is what the text speaks of."
        fixes = (_unisolated(report, "torch", name), *_told_build.prebuilt(report))
        yield Told(plain[0], _told_build.package(report), story, (plain[1],), fixes)
    package = _told_build.package(report) or (_told.asking(report) if report.has("no module named") else None)
    name = package or "the extension"
    bare = _while_installing(report) if report.has("no module named") else None
    missing = bare if bare is not None and bare[1] > 0.8 else _missing(report) or bare
    if missing is not None:
        what, sure, hit = missing
        if what == "torch":
            yield Told(
                sure,
                package,
                f"The build of {name} does not see torch. Its setup.py imports torch, and an isolated build holds "
                "only what its metadata asks for; nor is torch there where the same command installs it later.",
                (hit,),
                (_unisolated(report, "torch", name), *_told_build.prebuilt(report)),
                over=_FOLLOW if sure > 0.8 else _FOLLOW[2:4],
            )
        else:
            yield _tool(report, what, sure, hit, name, package)
        return
    yield from _without_reason(report, name, package)
    overlay = _told_build.overlay(report)
    if overlay is not None and report.has("cuda", "undefined", "error", "mismatch"):
        yield Told(
            0.88,
            package,
            f"The build of {name} was given another torch. pip builds in an environment of its own, with a torch "
            "that it downloads for it: another version, or a build without CUDA, than the one that is installed.",
            (overlay,),
            (_unisolated(report, "torch", name), *_told_build.prebuilt(report)),
            over=("nvcc-not-found", "nvcc-torch-mismatch", "torch-cpu-only", "harmless-warning", "numpy-abi"),
        )
    if report.has("cannot import 'setuptools", "bdist_wheel'"):
        other = report.hit(r"Cannot import '?(?P<what>setuptools)[^\n]*|invalid command '(?P<w2>bdist_wheel)'")
        if other is not None:
            yield _tool(report, "setuptools" if other.groups.get("what") else "wheel", 0.85, other, name, package)


def _missing(report: Report) -> Optional[tuple[str, float, Hit]]:
    """The module that a build misses, how sure that is the cause, and the line."""
    if report.has("build dependency"):
        hint = report.hit(_HINT)
        if hint is not None:
            return "torch", 0.96, report.hit(r"No module named '?torch\b[^\n]*") or hint
    if report.has("no module named") and _told_build.in_build(report):
        absent = [hit for hit in report.hits(_told_build.ABSENT + r"[^\n]*") if not re.search("warn", hit.line, re.I)]
        for hit in sorted(absent[:20], key=lambda hit: not hit["what"].startswith("torch")):
            name = hit["what"].rstrip(".")
            level = _told_build.at_build(report, hit.at) if name == "torch" or name in _TOOLS else 0.0
            if level:
                return name, level * (0.94 if name == "torch" else 0.86 if name != "pip" else 0.75), hit
    if report.has("without torch", "being installed", "torch first", "torch before", "be installed"):
        asked = report.hit(_WITHOUT_TORCH)
        if asked is not None:
            return "torch", 0.85, asked
    return None


_REASONS = (
    *(
        "traceback",
        "error c",
        "fatal error",
        "no such file",
        "not found",
        "no module",
        "cuda_home",
        "mismatch",
        "ninja",
    ),
    *("unsupported", "killed", "cannot find", "undefined", "required", "requires", "http", "winerror", "nvcc", "gcc"),
)


def _without_reason(report: Report, name: str, package: Optional[str]) -> Iterator[Told]:
    """The metadata of a package could not be made, and the text does not show why: most often its setup.py needs
    torch."""
    if not report.has("egg_info", "metadata-generation-failed", "requirements to build", "prepare_metadata"):
        return
    package = package or _told.asking(report)
    if package is None or report.has(*_REASONS):
        return
    hit = report.hit(
        r"(?:egg_info[^\n]{0,80}(?:did not run|failed|exit)|metadata-generation-failed|"
        r"requirements to build wheel[^\n]*(?:did not run|error)|prepare_metadata\w*[^\n]*(?:error|failed))[^\n]*"
    )
    if hit is not None:
        story = (
            f"The build of {package} stops at its start. Why is not in this text; most often its setup.py needs torch"
        )
        fixes = (_unisolated(report, "torch", package), *_told_build.prebuilt(report))
        yield Told(0.4, package, f"{story}, which an isolated build does not have.", (hit,), fixes)


# What pip says, and what people say, while an installation runs.
_INSTALLING = re.compile(
    r"(?:^|\W)(?:pip3?|uv|conda|poetry|pdm) (?:-\S+ )*(?:pip )?(?:install|add|sync)\b|Collecting |Cloning https?|"
    r"Running command git|Requirement already satisfied|Downloading \S+|Using cached \S|"
    r"Installing build dependencies|"
    r"Getting requirements|Preparing metadata|Building wheel|setup\.py|requirements\.txt|install\w*\b|安装|設置|설치|"
    r"установ|インストール",
    re.I,
)


def _while_installing(report: Report) -> Optional[tuple[str, float, Hit]]:
    """A module that is missed where no program ran: no frame of a file that is not an installer's, and the text
    speaks of an installation, or of nothing but a package that is compiled against torch."""
    if any(not _installers(frame.file) for error in report.errors for frame in error.frames):
        return None
    for hit in report.hits(_told_build.ABSENT + r"[^\n]*"):
        name = hit["what"].rstrip(".")
        if (name != "torch" and name not in _TOOLS) or name == "numpy" or re.search("warn", hit.line, re.I):
            continue
        named = _told.asking(report) is not None or report.has(
            "git+http", "setup.py", "requirements.txt", "build_ext"
        )
        if any(re.match(r"\W*(?:import|from) \w|>>> ", line) for line in report.lines[max(0, hit.at - 8) : hit.at]):
            return None
        spoken = any(_INSTALLING.search(line[:500]) for line in report.lines[max(0, hit.at - 30) : hit.at + 3])
        if spoken and named:
            return name, 0.85 if name == "torch" else 0.7, hit
        if not named and name == "packaging":
            return name, 0.3, hit
        if named and name in ("packaging", "wheel", "torch"):
            return name, 0.5 if name != "torch" else 0.3, hit
    return None


def _installers(file: str) -> bool:
    own = r"setup\.py|<string>|pip[-_/\\]|pep517|setuptools|build_meta|pyproject_hooks|[/\\]te?mp[/\\]"
    return re.search(own, file) is not None


def _tool(report: Report, what: str, sure: float, hit: Hit, name: str, package: Optional[str]) -> Told:
    module = "setuptools" if what == "pkg_resources" else what.lower()
    install = "setuptools below 81, which still holds pkg_resources" if what == "pkg_resources" else module
    return Told(
        sure,
        package,
        f"The build of {name} does not find {what}. Its setup.py imports {what}, which the environment of the build "
        "does not hold: in isolation, nothing but what its metadata asks for.",
        (hit,),
        (
            Fix("disable-build-isolation", f"Install {install}, then {name} with --no-build-isolation"),
            Fix("change-package-version", f"Or take a release of {name} whose metadata asks for {module}"),
        ),
        over=("module-moved", "version-conflict", "not-environment", "wrong-interpreter"),
    )


def _unisolated(report: Report, what: str, name: str) -> Fix:
    why = f"Install {what} first, in a command of its own; then {name} with --no-build-isolation and --no-cache-dir"
    return _told_build.without_isolation(report, why)


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
