"""The same distribution, or the same networkx backend, is declared twice.

What it means
-------------
An interrupted pip leaves a folder whose name begins with ``~``; a copied or partly removed install leaves a second
``dist-info``.  Tools that read metadata then see a package twice, or in two versions: networkx warns ``networkx
backend defined more than once: nx-loopback``, and pip may uninstall the wrong one.

How it is found
---------------
In one folder of the import path: leftover metadata (``~...``), or two versions of one name.  Over the whole
path: one networkx backend declared by distributions of different names; in Python 3.9 and older, which lists
every copy, also by copies of the same one.  Newer Pythons take the first of several copies, so plain copies in
several folders are no finding there.  In text: networkx's own words, a failure of its configuration of backends,
pip's ``Ignoring invalid distribution``, a version that metadata gives as None, or a listing with two metadata
folders of one name.

Example
-------
A leftover ``~etworkx-3.6.1.dist-info`` beside networkx.

Fix
---
Remove the leftover folder: pip ignores it, and nothing imports it.  So with metadata that no installer has signed
(``INSTALLER``) beside some that one has.  For a second real distribution, uninstall the one that is not meant.
``lib`` and ``lib64`` both on the path of a Python 3.9 are one folder, and harmless.

Known limits
------------
Only metadata is compared, not the files that it lists.
"""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Optional

from kit.facts import Distribution, Facts, normalise
from kit.failures._place import Place
from kit.failures._told_python import building, each, failing, version
from kit.findings import Cost, Finding, Fix
from kit.gpus import numbers
from kit.published import pip
from kit.recorded import recorded
from kit.report import Hit, Report, Told

RANK = 60
SHOWS = r"networkx backend defined more than once: nx_loopback"
INSTEAD = "Reinstalling networkx would not remove the second declaration."


def find(facts: Facts) -> Iterator[Finding]:
    explained: set[str] = set()
    for group in _same_folder(facts):
        explained.update(d.path for d in group)
        yield _finding(group, facts)
    for name, group in sorted(_backends(facts).items()):
        if not {d.path for d in group} <= explained:
            explained.update(d.path for d in group)
            yield _backend_finding(name, group, facts)


def _same_folder(facts: Facts) -> Iterator[list[Distribution]]:
    """Metadata of one name in one real folder, leftovers first."""
    groups: dict[object, list[Distribution]] = defaultdict(list)
    seen = set()
    for dist in facts.distributions:
        real = dist.real_path or dist.path
        if real not in seen:
            seen.add(real)
            groups[(real.rpartition("/")[0], dist.key)].append(dist)
    for group in groups.values():
        # Of one version twice (Debian ships a dist-info and an egg-info of some packages) either will do.
        if len({d.version for d in group}) > 1 or any(d.leftover for d in group):
            yield sorted(group, key=lambda d: (not d.leftover, d.path))


def _backends(facts: Facts) -> dict[str, list[Distribution]]:
    """networkx backend -> the distributions that declare it, as this Python's entry_points() lists them."""
    declared: dict[str, list[Distribution]] = defaultdict(list)
    first_only = numbers(facts.python.version)[:2] >= (3, 10)
    names = set()
    for dist in facts.distributions:
        # importlib.metadata names a distribution by its folder, so a leftover counts as one of its own.
        name = "~" + dist.key if dist.leftover else dist.key
        if first_only and name in names:
            continue
        names.add(name)
        for backend in dist.networkx_backends:
            declared[backend].append(dist)
    return {backend: dists for backend, dists in declared.items() if len(dists) > 1}


def _finding(group: list[Distribution], facts: Facts) -> Finding:
    first = group[0]
    if first.leftover:
        title = f"A leftover of {first.name} lies beside the installed packages"
        story = f"An interrupted pip left {_folder(first)} behind; tools that read metadata count it as a package."
    else:
        title = f"{first.name} is installed twice in one folder"
        versions = " and ".join(d.version or "no version" for d in group)
        story = f"There is metadata of {versions}; which one counts is chance."
    backends = sorted({b for d in group for b in d.networkx_backends})
    if backends:
        story += f" networkx warns that its backend {backends[0]} is defined more than once."
    others = [d for d in facts.distributions if d not in group and set(d.networkx_backends) & set(backends)]
    evidence = [f"{d.path}: {d.name} {d.version or '(metadata unreadable)'}" for d in [*group, *others]]
    return Finding(
        "duplicate-metadata",
        "warning",
        first.name,
        f"{title}. {story}",
        tuple(evidence),
        tuple(_fixes(group, facts)),
    )


def _fixes(group: list[Distribution], facts: Facts) -> Iterator[Fix]:
    stale = _stale(group)
    if stale:  # one at a time: the next diagnosis names the next
        why = f"Delete {_folder(stale[0])}, a rest or a copy: {_folder(_kept(group)[0])} has an INSTALLER file"
        argv = ("rm", "-r", stale[0].path)
        yield Fix("uninstall-package", why, argv, safety="changes-environment", cost=Cost(seconds=1))
    yield _remove(group, facts)


def _kept(group: list[Distribution]) -> list[Distribution]:
    return [dist for dist in group if dist.installer and dist.complete]


def _stale(group: list[Distribution]) -> list[Distribution]:
    """The metadata that a copy or a partly removed install left: of all of them one alone is whole and signed."""
    whole = _kept(group)
    if group[0].leftover or len(whole) != 1:
        return []
    return [dist for dist in group if dist is not whole[0]]


def _remove(group: list[Distribution], facts: Facts) -> Fix:
    first, name = group[0], group[0].name
    if first.leftover:
        why = f"Delete the leftover folder {_folder(first)}; nothing imports it"
        argv = ("rm", "-r", first.path)
        return Fix("uninstall-package", why, argv, safety="changes-environment", cost=Cost(seconds=1))
    if first.key in ("torch", "apex") or facts.extension(name):  # which build, from which page: no command fits all
        why = f"Uninstall {name} until pip no longer finds it, then install it once, the build that this torch needs"
        return Fix("uninstall-package", why, cost=Cost(restart=True))
    why = f"Install {name} again, so that one of the two remains"
    again = pip(facts, "install", "--force-reinstall", "--no-deps", f"{name}=={group[-1].version}")
    return Fix("change-package-version", why, again, safety="changes-environment")


def _backend_finding(name: str, group: list[Distribution], facts: Facts) -> Finding:
    evidence = [f"{d.path}: {d.name} {d.version} declares the networkx backend {name}" for d in group]
    real = {d.real_path or d.path for d in group}
    if len(real) == 1 or len({d.key for d in group}) == 1:
        same = "one folder under two names" if len(real) == 1 else "copies of one package"
        return Finding(
            "duplicate-metadata",
            "note",
            group[0].name,
            f"networkx warns of a backend defined more than once, harmlessly. The two declarations are {same}; "
            "Python 3.9 and older list both.",
            tuple(evidence),
            (Fix("nothing", "Nothing needs to change; Python 3.10 and newer do not warn", safety="safe"),),
        )
    last = group[-1]
    argv = pip(facts, "uninstall", "--yes", last.name)
    return Finding(
        "duplicate-metadata",
        "warning",
        last.name,
        f"Two packages declare the networkx backend {name}. networkx takes one of them and warns that it is defined "
        "more than once.",
        tuple(evidence),
        (
            Fix(
                "uninstall-package",
                f"Uninstall the one that is not meant, probably {last.name}",
                argv,
                safety="changes-environment",
                cost=Cost(seconds=2),
            ),
        ),
    )


def _folder(dist: Distribution) -> str:
    return dist.path.rpartition("/")[2]


# words, pattern, confidence, of the words alone where a failure follows that is not theirs, package, what it is
_SAID = (
    (
        ("defined more than once",),
        r"backend defined more than once:?\s*(?P<what>[\w-]*)",
        0.95,
        0.3,
        "networkx",
        "networkx finds a backend declared twice",
    ),
    (
        ("is not a valid python identifier",),
        r"backend name '?[\w-]*'? is not a valid Python identifier",
        0.88,
        0.88,
        "networkx",
        "networkx stumbles over a backend that is left from another installation",
    ),
    (
        ("networkx/utils/configs", "networkx\\utils\\configs", "_set_configs_from_environment", "_get_backends("),
        r"networkx[/\\]utils[/\\](?:configs|backends)\.py[^\n]*|_set_configs_from_environment",
        0.88,
        0.88,
        "networkx",
        "networkx stumbles over the metadata of a backend that is left from another installation",
    ),
    (
        ("this is unusual. consider reinstalling",),
        r"Unable to compare versions for (?P<name>[\w.-]+)[^\n]*found=None",
        0.92,
        0.92,
        "",
        "The metadata of {name} gives no version",
    ),
    (
        ("invalid distribution",),
        r"Ignoring invalid distribution [-~]?(?P<name>[\w.-]*)",
        0.8,
        0.3,
        "",
        "An interrupted pip left a folder behind that it now passes over",
    ),
    (
        ("metadata entry 'name'",),
        r"Skipping (?P<what>\S+) due to invalid metadata entry 'name'",
        0.75,
        0.35,
        "",
        "The metadata of an installed package cannot be read",
    ),
    (
        (
            "record file was not found",
            "no-record-file",
            "distutils installed project",
            "no record file",
            "record file not found",
        ),
        r"(?:Cannot|Can't) uninstall '?(?P<name>[\w.-]+?)'?(?: [\d.]+)?[.,]? |uninstall-no-record-file",
        0.65,
        0.65,
        "",
        "pip cannot remove what it did not install, or whose list of files is gone",
    ),
    (
        ("invalid version: 'none'", "no files were found to uninstall", "was already imported from"),
        r"Invalid version: 'None'|Can't uninstall '(?P<name>[\w.-]+)'\. No files were found|Module (?P<pkg>\w+) "
        r"was already "
        r"imported from[^\n]*",
        0.72,
        0.72,
        "",
        "The metadata of an installed package is a leftover or there twice",
    ),
    (
        ("no package metadata was found for", "packagenotfounderror", "distributionnotfound"),
        r"No package metadata was found for '?(?P<name>[\w.-]+)|PackageNotFoundError: (?P<pkg>[\w.-]+)\s*$",
        0.55,
        0.5,
        "",
        "The metadata of an installed package is not there",
    ),
    (
        ("expected string or bytes-like object",),
        r"importlib\.?_?metadata\.version\([^\n]*",
        0.6,
        0.6,
        "",
        "The metadata of a package gives no version",
    ),
    (
        ("multiple .dist-info", "found multiple distributions", "multiple distributions"),
        r"multiple (?:\.dist-info director\w+|distributions)[^\n]*",
        0.8,
        0.6,
        "",
        "The metadata of one package is there more than once",
    ),
)


# Two folders of metadata in a listing: the names and versions are compared.
_FOLDER = (
    r"(?<![\w.~-])(?P<name>~?[A-Za-z][\w.]{0,60})-(?P<version>\d[\w.!+]{0,30}?)[.-](?:dist-info|"
    r"(?:py[\d.]+\.)?egg-info)\b"
)


def _twice(report: Report) -> Optional[tuple[str, Hit, Hit]]:
    """A package of which two metadata folders are listed, with the lines."""
    seen: dict[str, tuple[str, Hit]] = {}
    for found in islice(report.hits(_FOLDER), 500):
        name = normalise(found["name"])
        version, before = seen.setdefault(name, (found["version"], found))
        apart = _listed_in(before) != _listed_in(found)  # of two environments
        if version != found["version"] and not apart:
            return name, before, found
    return None


def _listed_in(found: Hit) -> str:
    """The folder that a listed name stands in, as far as the line shows it."""
    before = found.line[:2000].partition(f"{found['name']}-{found['version']}")[0]
    return before.rpartition(" ")[2]


def told(report: Report) -> Iterator[Told]:
    if report.has(".dist-info", ".egg-info") and not building(report):
        twice = _twice(report)
        if twice is not None:
            name, *lines = twice
            yield Told(
                0.6 if report.has("successfully uninstalled", "error:") else 0.85,
                name,
                f"The metadata of {name} is there twice. Two releases left a folder each, so that pip and "
                "importlib.metadata name another version than the one whose code runs.",
                tuple(lines),
                _help("", name, f"Remove the older metadata folder of {name}"),
            )
            return
    for (_, _, confidence, beside, package, title), said in each(report, _SAID):
        name = said.groups.get("name") or said.groups.get("pkg") or ""
        if package == "networkx" and confidence == beside and not report.has("error"):
            continue
        bare = re.sub(r"^[-~]", "", name)
        # pip's leftover of torch is called ~orch, and -orch in older versions.
        whole = {"orch": "torch", "umpy": "numpy", "ip": "pip", "ransformers": "transformers"}.get(bare, bare)
        leads = package or whole
        of = f" of {leads}" if leads else ""
        remove = f"Remove the metadata folder that is left over{of} (~..., a second dist-info)"
        yield Told(
            beside if failing(report) else confidence,
            leads or None,
            f"{title.format(name=leads or 'a package')}. Distribution metadata is there twice or is a "
            f"leftover, so what "
            "reads it sees a package that is not the one in use.",
            (said,),
            _help(title, leads, remove),
            "warning" if "backend declared twice" in title or "passes over" in title else "error",
        )
        return


def _help(title: str, package: str, remove: str) -> tuple[Fix, ...]:
    if "declared twice" in title:  # one of the two is taken, and all works
        why = "Nothing needs to change: networkx takes one of the two; a leftover (~...) can be deleted at leisure"
        return (Fix("nothing", why, safety="safe"),)
    return (
        Fix("uninstall-package", f"{remove}, or uninstall until pip finds no more of it, then install once"),
        version(f"Or install {package or 'the package'} again, so that one of the two remains"),
    )


def example() -> Facts:
    facts = recorded("healthy-cpu")
    whole = facts.distribution("networkx")
    assert whole is not None
    path = whole.path.replace("/networkx-", "/~etworkx-")
    leftover = dataclasses.replace(whole, path=path, leftover=True, installer=None)
    return dataclasses.replace(facts, distributions=(*facts.distributions, leftover))


def reproduce(place: Place) -> str:
    place.share("torch")
    whole = next(place.site.glob("networkx-*.dist-info"))
    place.copy(whole, place.site / f"~{whole.name[1:]}")  # what an interrupted pip leaves
    return "import networkx"
