"""Requirements in distribution metadata, held against what is installed."""

import re
from collections.abc import Iterable

from kit.facts import Facts


def contradicts(requirements: Iterable[str], facts: Facts) -> list[str]:
    """Those of ``requirements`` (PEP 508) that the environment does not fulfil, each with what is there.

    Markers are evaluated for the interpreter of the facts, not for the one that runs this; requirements
    of extras are left out, and one that cannot be parsed is passed over, as pip does for old metadata.
    """
    requirements = list(requirements)
    if not requirements:
        return []
    # Imported here: parsing requirements is the slowest import of the kit, and most environments need none.
    from packaging.requirements import InvalidRequirement, Requirement

    problems = []
    for text in requirements:
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if requirement.marker and not requirement.marker.evaluate({**_environment(facts), "extra": ""}):
            continue
        dist = facts.distribution(requirement.name)
        if dist is None:
            if not (requirement.name == "torch" and facts.torch):
                problems.append(f"{plain(text)}: not installed")
        elif dist.version and not requirement.specifier.contains(_version(dist.version), prereleases=True):
            problems.append(f"{plain(text)}: {dist.version} is installed")
    return problems


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
