"""Requirements in distribution metadata, held against what is installed."""

import re
from collections.abc import Iterable, Iterator

from kit.facts import Distribution, Facts, normalise


def contradicts(requirements: Iterable[str], facts: Facts) -> list[str]:
    """Those of ``requirements`` (PEP 508) that the environment does not fulfil, each with what is there.

    Markers are evaluated for the interpreter of the facts, not for the one that runs this; requirements
    of extras are left out, and one that cannot be parsed is passed over, as pip does for old metadata.
    """
    requirements = tuple(requirements)
    if not requirements:
        return []
    installed = {dist.key: dist for dist in reversed(facts.distributions) if not dist.leftover}
    return [
        said for text in requirements if not _plainly_met(text, installed) for said in _unmet(text, installed, facts)
    ]


# "sympy", "torch==2.1.0", "torch (==2.1.0)", "networkx>=2.5.1; marker": the forms that nearly all have.
_SIMPLE = re.compile(r"([\w.-]+)\s*\(?(?:(==|>=)\s*(\d[\d.]*))?\)?\s*(?:;.*)?$")


def _plainly_met(text: str, installed: dict[str, Distribution]) -> bool:
    """Whether a requirement is fulfilled at first sight.  Anything less plain is left to ``packaging``, whose
    import alone takes as long as the whole diagnosis of a healthy environment."""
    simple = _SIMPLE.match(text)
    dist = installed.get(normalise(simple.group(1))) if simple else None
    there = dist.version.partition("+")[0] if dist else ""
    if simple is None or not there.replace(".", "").isdecimal() or there[0] == ".":
        return False
    _, operator, wanted = simple.groups()
    if operator == ">=":
        return tuple(map(int, there.split("."))) >= tuple(map(int, wanted.strip(".").split(".")))
    return operator is None or there == wanted


def _unmet(text: str, installed: dict[str, Distribution], facts: Facts) -> Iterator[str]:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return
    if requirement.marker and not requirement.marker.evaluate({**_environment(facts), "extra": ""}):
        return
    dist = installed.get(normalise(requirement.name))
    if dist is None:
        if not (requirement.name == "torch" and facts.torch):
            yield f"{plain(text)}: not installed"
    elif dist.version and not requirement.specifier.contains(_version(dist.version), prereleases=True):
        yield f"{plain(text)}: {dist.version} is installed"


def _environment(facts: Facts) -> dict[str, str]:
    python = facts.python
    return {
        "python_version": ".".join(re.findall(r"\d+", python.version)[:2]),
        "python_full_version": python.version,
        "implementation_name": python.implementation,
        "platform_python_implementation": {"cpython": "CPython", "pypy": "PyPy"}.get(python.implementation, ""),
        "platform_system": facts.host.system,
        "platform_machine": facts.host.machine,
        "sys_platform": {"win": "win32"}.get(python.platform.partition("_")[0], python.platform.partition("_")[0]),
        "os_name": "nt" if facts.host.system == "Windows" else "posix",
    }


def _version(text: str) -> str:
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(text))
    except InvalidVersion:
        return re.match(r"[\d.]*", text).group().rstrip(".") or "0"  # type: ignore[union-attr]


def plain(requirement: str) -> str:
    """A requirement for a person: ``'torch (==2.1.0) ; marker'`` -> ``'torch ==2.1.0'``."""
    return re.sub(r"[()]", "", requirement.partition(";")[0]).strip()
