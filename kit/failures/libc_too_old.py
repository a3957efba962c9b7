"""The system's C library is older than a compiled file needs: GLIBC not found.

What it means
-------------
A wheel runs on systems as new as the one it was built on, or newer.  Where this system's glibc is older, loading
stops at ``version `GLIBC_2.33' not found``.  PyG's wheels carry the plain tag ``linux_x86_64``, with which pip does
not compare versions: those for torch 2.7 and newer need glibc 2.32, pyg-lib 0.5 needs 2.33.

How it is found
---------------
The versions that each compiled file asks of ``libc.so.6`` and ``libm.so.6`` are held against those that the
installed ones define.  Where another copy of them wins over the system's own, library-shadowed says so.
In text: the version that is not found, and the file that asks for it.

Example
-------
pyg-lib 0.5.0 on Debian 11, whose glibc is 2.31.

Fix
---
Compile the extension on this system, take a release that was built on an older one, or leave it out where it is
optional; for torch-scatter there is the kit's replacement, which has no compiled code (``kit shim enable
torch_scatter``).  Else a newer system or base image.

Known limits
------------
Only torch and the files of extensions that link against it are read.
"""

import dataclasses
import re
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from kit.facts import Binary, Extension, Facts, Missing, Probe
from kit.failures import _compiled, _told
from kit.failures._loading import Concerned, concerned
from kit.failures._place import Place
from kit.findings import Cost, Finding, Fix
from kit.gpus import numbers
from kit.published import rebuild, replacement
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 14
SHOWS = r"version `GLIBC_9\.99' not found"
INSTEAD = "A glibc of your own beside the system's would break every program, and reinstalling brings the same file."

# Systems that have a version, to name one that is new enough.
SYSTEMS = {
    "GLIBC_2.28": "Debian 10, RHEL 8",
    "GLIBC_2.31": "Debian 11, Ubuntu 20.04",
    "GLIBC_2.34": "RHEL 9",
    "GLIBC_2.35": "Ubuntu 22.04",
    "GLIBC_2.36": "Debian 12",
    "GLIBC_2.39": "Ubuntu 24.04, RHEL 10",
    "GLIBC_2.41": "Debian 13",
}
# torch_geometric works without them (its typing.py turns each off where it cannot be imported).
_OPTIONAL = ("pyg-lib", "torch-sparse", "torch-cluster", "torch-spline-conv", "torch-scatter")


def find(facts: Facts) -> Iterator[Finding]:
    return findings("libc-too-old", "C library", ("GLIBC_",), SYSTEMS, facts)


def newest(it: Concerned, families: tuple[str, ...]) -> Missing:
    """The newest version of these families that is missing."""
    versions = [m for m in it.missing if m.what.startswith(families)]
    return max(versions, key=lambda m: numbers(m.what.partition("_")[2]))


def findings(
    failure: str, library: str, families: tuple[str, ...], instead: "dict[str, str]", facts: Facts
) -> Iterator[Finding]:
    """One finding for torch or for each extension that asks for more.  ``instead`` names systems that have it:
    version -> systems."""
    for it in concerned(failure, facts):
        missing = newest(it, families)
        here = missing.here or _installed(missing, facts)
        system = f" of this system ({facts.host.os})" if facts.host.os and not facts.python.conda else ""
        yield Finding(
            failure,
            it.severity,
            it.package,
            f"The {library} is too old for {it.package}. {missing.by} needs {missing.what}; {missing.of}{system} "
            f"{f'ends at {here}' if here else 'does not have it'}. {it.consequence}",
            tuple(it.evidence),
            tuple(_fixes(it, missing, library, instead, facts))[:3],
        )


def _installed(missing: Missing, facts: Facts) -> Optional[str]:
    here = facts.host.libc if missing.what.startswith("GLIBC_") else facts.host.libstdcxx
    family = missing.what.partition("_")[0]
    if family == "GLIBC" and here:
        return here.replace("glibc ", "GLIBC_")
    return here if here and here.startswith(family) else None


def _fixes(it: Concerned, missing: Missing, library: str, instead: "dict[str, str]", facts: Facts) -> Iterator[Fix]:
    if facts.python.conda and not missing.what.startswith("GLIBC_"):
        argv = (
            "conda",
            "install",
            "--prefix",
            facts.python.prefix,
            "--channel",
            "conda-forge",
            "libstdcxx",
            "libgcc",
        )
        why = f"Bring a newer {library} into this conda environment"
        yield Fix("change-package-version", why, argv, safety="changes-environment", cost=Cost(restart=True))
    if it.extension is None:
        # PyTorch's own wheels: manylinux1 with glibc 2.17 up to 2.6, manylinux_2_28 since; GLIBCXX_3.4.22 in 2.13.
        older = "2.6 is the last that asks for glibc 2.17, later ones ask for 2.28"
        less = older if missing.what.startswith("GLIBC_") else "they ask for GLIBCXX_3.4.22 and older"
        yield Fix("change-torch", f"Install one of PyTorch's own wheels: {less}", cost=Cost(restart=True))
    else:
        ours, again = replacement(it.extension.key, facts), rebuild(it.extension, facts)
        if ours is not None:
            yield ours
        if again is None:
            again = Fix("rebuild-extension", f"Compile {it.package} on this system, against this torch")
        yield again
        if it.package in _OPTIONAL and facts.distribution("torch-geometric"):
            yield Fix(
                "uninstall-package",
                f"Uninstall {it.package}, where only torch_geometric uses it: there it is optional",
                (facts.python.executable, "-m", "pip", "uninstall", "--yes", it.package),
                safety="changes-environment",
                cost=Cost(seconds=2, restart=True),
            )
        yield Fix(
            "change-package-version", f"Install a release of {it.package} whose wheel was built on an older system"
        )
    yield Fix("change-package-version", f"Move to a newer system or base image{_systems(missing, instead)}")


def _systems(missing: Missing, instead: "dict[str, str]") -> str:
    family, _, wanted = missing.what.partition("_")
    if not re.fullmatch(r"[\d.]+", wanted):
        return ""
    for version, systems in instead.items():
        there, _, number = version.partition("_")
        if there == family and numbers(number) >= numbers(wanted):
            return f": {systems} has {version}"
    return ""


def told(report: Report) -> Iterator[Told]:
    if report.has("glibc_"):
        hits = list(islice(report.hits(r"version [`'\"‘]?(?P<version>GLIBC_[\d.]+)[`'\"’]?\s+not\s+found[^\n]*"), 20))
        hits = hits or list(
            islice(
                report.hits(r"(?P<version>GLIBC_[\d.]+)[`'\"’]?\s*(?:not found|が見つかりません|未找到|找不到)"), 20
            )
        )
        hits = hits or list(
            islice(
                report.hits(
                    r"\b(?:not|n't|cannot|unable to|missing|lacks?|without|no|needs?|requires?|older? than)\b"
                    r"[^\n]{0,40}?"
                    r"(?P<version>GLIBC_[\d.]*\d)"
                ),
                5,
            )
        )
        if hits:
            yield _older(report, hits)
            return
    if report.has("glibc ", "libc6"):
        hit = report.hit(
            r"(?:requires?|needs?|need|wants?|require) (?:at least )?glibc[ >=]{1,4}(?P<version>2\.\d+)[^\n]*|"
            r"glibc[ >=]{1,4}(?P<v2>2\.\d+)[^\n]{0,30}(?:required|not found|missing)"
        )
        if hit:
            said = "GLIBC_" + (hit.groups.get("version") or hit["v2"])
            found = _older(report, [dataclasses.replace(hit, groups={"version": said})])
            yield dataclasses.replace(found, confidence=0.75)
            return
    if report.has("error relocating", "ld-linux", "musl"):
        hit = report.hit(
            r"error relocating \S+|(?:error loading shared library )?ld-linux-x86-64\.so\.2: (?:no such|cannot)[^\n]*"
        )
        if hit:
            package = _told.owner(hit.line) or _told.around(report, hit.at, linked=False)
            yield Told(
                0.7,
                package,
                "Compiled files need glibc, and this system has musl. Alpine's C library does not have "
                "what they ask for, and torch publishes no wheels for it.",
                (hit,),
                (
                    _told.fix("change-package-version", "Move to a base image with glibc, such as python:3.12-slim"),
                    _told.fix("rebuild-extension", "Compile it on this system"),
                ),
            )
            return
    if report.has("built for newer macos", "was built for macos", "built for mac os x"):
        hit = report.hit(r"built for newer macos version|was built for (?:macos|mac os x) [\d.]+")
        if hit:
            package = _told.owner(hit.line) or _told.around(report, hit.at, linked=False)
            yield Told(
                0.7,
                package,
                "This macOS is older than the compiled file needs. Wheels are built for one release of "
                "macOS and those after it.",
                (hit,),
                (
                    _told.fix("change-package-version", f"Install an older release of {package or 'the package'}"),
                    _told.fix("rebuild-extension", "Compile it on this system"),
                ),
            )


def _older(report: Report, hits: "list[Hit]") -> Told:
    newest = max(hits, key=lambda hit: numbers(hit["version"][6:]))
    package = asks(report, newest)
    return Told(
        0.95,
        package,
        f"The C library of this system is too old for {package or 'a compiled file'}. It was built on a system with "
        f"{newest['version']}, and this one has an older glibc{_systems_of(newest['version'])}.",
        (newest,),
        tuple(_for_older(package)),
    )


def _systems_of(version: str) -> str:
    there = next((names for name, names in SYSTEMS.items() if numbers(name[6:]) >= numbers(version[6:])), "")
    return f" ({there} would do)" if there else ""


def asks(report: Report, hit: Hit) -> Optional[str]:
    """The package whose file asks for a version of a library."""
    by = re.search(r"required by\s*\(?([^\s)]+)", hit.line)
    found = _told.owner(by.group(1)) if by else None
    return found or _told.around(report, hit.at) or _told.around(report, hit.at, linked=False)


def _for_older(package: Optional[str]) -> Iterator[Fix]:
    newer = _told.fix("change-package-version", f"Install a release of {package} that was built on an older system")
    again = _told.fix("rebuild-extension", f"Compile {package} on this system, against this torch")
    if package in ("pyg-lib", "torch-spline-conv"):
        yield _told.fix("uninstall-package", f"Uninstall {package}: torch_geometric does without it")
        yield newer
        yield again
    elif package == "torch":
        older = "2.6 is the last whose wheels ask for glibc 2.17, later ones ask for 2.28"
        yield _told.fix("change-torch", f"Install one of PyTorch's own wheels: {older}")
        yield _told.fix("change-package-version", "Move to a newer system or base image")
    elif package in _told.LINKED:
        yield again
        yield newer
    else:
        yield _told.fix(
            "change-package-version", "Install a release for older systems, or move to a newer base image"
        )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    missing = Missing("version", "GLIBC_2.33", "libpyg.so", "libc.so.6", "GLIBC_2.31")
    library = Binary(
        "libpyg.so",
        machine="x86_64",
        needs=("libtorch.so", "libtorch_cpu.so", "libc10.so", "libc.so.6"),
        missing=(missing,),
        glibc="2.33",
        loads=False,
        why=("needs GLIBC_2.33 of libc.so.6, which ends at GLIBC_2.31",),
    )
    pyg = Extension(
        package="pyg-lib",
        version="0.5.0+pt213cpu",
        origin="pyg_lib-0.5.0+pt213cpu.dist-info",
        location=facts.extensions[0].location,
        modules=("pyg_lib", "libpyg"),
        libraries=("libpyg.so",),
        built_for_torch="2.13",
        built_for_cuda="cpu",
        binaries=(library,),
    )
    host = dataclasses.replace(facts.host, os="Debian GNU/Linux 11 (bullseye)", libc="glibc 2.31")
    said = "OSError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.33' not found (required by libpyg.so)"
    return dataclasses.replace(
        facts,
        host=host,
        extensions=(*facts.extensions, pyg),
        probes=(Probe("torch", 0), Probe("pyg_lib", 1, said)),
    )


def reproduce(place: Place) -> str:
    place.share("torch")
    file = _compiled.library(place, _compiled.CALLS, _compiled.stub(place, "libc.so.6", "GLIBC_9.99"))
    return _compiled.installed(place, "torch-cluster", "", file)
