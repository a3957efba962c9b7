"""What pasted text tells of an installation that found no wheel: whether there is none, whether the Python is the
wrong one, or the address."""

import re
from collections.abc import Iterator
from typing import Optional

from kit.failures._installing import wheels_for, wrong_here
from kit.failures._pages import is_pygs, of_torch
from kit.failures._stops import normal
from kit.gpus import numbers
from kit.published import PYG, PYTORCH_INDEX, python_minor, torch_row
from kit.record import Record
from kit.report import Hit, Report

UNPUBLISHED, PYTHON, ADDRESS = "wheel-not-published", "python-unsupported", "index-url-malformed"


class Verdict(Record):
    """One answer: which failure, how sure, the line, the package, and why, as a sentence."""

    failure: str
    sure: float
    hit: Hit
    package: str
    why: str
    meant: Optional[str] = None


_WORDS = (
    "no matching distribution",
    "satisfies the requirement",
    "find a version that matches",
    "not found in the package registry",
    "no solution found",
    "has no wheels",
    "have no wheels",
    "no wheels are available",
    "only has wheels for",
    "wheel(s) were skipped",
    "missing from",
    "unable to find installation candidates",
    "doesn't match any versions",
    "packagesnotfounderror",
    "resolvepackagenotfound",
    "not available from current channels",
    "nothing provides",
    "unsatisfiable",
    "are incompatible",
    "http error 40",
    "40 client error",
    "403 client error",
    "404 client error",
    "client error (40",
    "error 404",
    "403 error",
    "404 error",
    "error 403",
    "403 forbidden",
    "404 not found",
    "not a supported wheel",
    "different python",
    "no wheels",
    "can't be installed because it doesn't have",
    "invalid wheel",
    "not compatible with this python",
    "is ignored",
    "invalid requirement",
    "bad substitution",
    "seems invalid",
    "precompiled wheel not found",
    "none of the providers",
    "different version in metadata",
    "inconsistent version",
    "inconsistent name",
    "metadata has",
)
_NETWORK = (
    "newconnectionerror",
    "nameresolutionerror",
    "max retries exceeded",
    "readtimeout",
    "connecttimeout",
    "sslerror",
    "certificate_verify_failed",
    "proxyerror",
    "protocolerror",
    "connectionreseterror",
    "no space left on",
    "retrying (retry(",
    "name resolution",
    "getaddrinfo failed",
    "http error 5",
)
# The words that are looked for first, and the pattern.
_NOT_FOUND = (
    ("no matching distribution", r"No matching distribution found for (?P<req>[A-Za-z][^\s;(]{0,200})"),
    ("satisfies the requirement", r"satisfies the requirement (?P<req>[A-Za-z][^\s;(]{0,200})"),
    ("find a version that matches", r"Could not find a version that matches (?P<req>[A-Za-z][^\s;(]{0,200})"),
    ("in the package registry", r"because (?P<req>[\w.-]{1,100}) was not found in the package registry"),
    ("no version", r"there (?:is|are) no versions? of (?P<req>[A-Za-z][^\s;(]{0,200})"),
    ("has no wheels", r"(?<![\w.-])(?P<req>[A-Za-z][\w.-]{0,100}(?:(?:==|>=|<=|[<>~])[^\s,]{1,100})?) has no wheels"),
    (
        "unable to find installation candidates",
        r"Unable to find installation candidates for (?P<req>[\w.-]{1,100} ?\([^)\n]{0,100}\)|[\w.-]{1,100})",
    ),
    ("doesn't match any versions", r"depends on (?P<req>[\w.-]{1,100} ?\([^)\n]{0,100}\)) which doesn't match any"),
    (
        "unusable because no wheels",
        r"(?<![\w.-])(?P<req>[A-Za-z][\w.-]{0,100}(?:==[^\s,]{1,100})?) is unusable because no wheels",
    ),
    (
        "only has wheels for",
        r"but [`'\"](?P<req>[\w.-]{1,100})[`'\"] \([^)\n]{0,100}\) only has wheels for the following\s+plat",
    ),
    (
        "can't be installed because it doesn't have",
        r"Distribution [`'\"]?(?P<req>[\w.=+-]{1,200})[^\n]{0,80} can't be installed because it doesn't have",
    ),
)
# Which Pythons a torch has wheels for: the oldest and the newest, of those that the tables do not list.
_PYTHONS = {
    (0, 4): ((3, 5), (3, 7)),
    (1, 0): ((3, 5), (3, 7)),
    (1, 1): ((3, 5), (3, 7)),
    (1, 2): ((3, 5), (3, 7)),
    (1, 3): ((3, 5), (3, 7)),
    (1, 4): ((3, 5), (3, 8)),
    (1, 5): ((3, 5), (3, 8)),
    (1, 6): ((3, 6), (3, 8)),
    (1, 7): ((3, 6), (3, 9)),
    (1, 8): ((3, 6), (3, 9)),
    (1, 9): ((3, 6), (3, 9)),
    (1, 10): ((3, 6), (3, 10)),
    (1, 11): ((3, 7), (3, 10)),
    (1, 12): ((3, 7), (3, 10)),
}
# The last torch for an old Python.
_LAST = {(1, 10, 2): "3.6", (1, 13, 1): "3.7", (2, 4, 1): "3.8", (2, 8, 0): "3.9"}
# What is on torch's index besides torch's own family.
_ON_TORCHS_INDEX = re.compile(
    r"torch|pytorch-triton|triton|xformers|fbgemm|nvidia-|numpy$|pillow$|networkx$|sympy$|jinja2$|filelock$|fsspec$|"
    r"typing-extensions$|mpmath$|markupsafe$|setuptools$|requests$|certifi$|idna$|urllib3$|charset-normalizer$|"
    r"packaging$|flash-attn|vllm|sgl|executorch|tqdm$|colorama$|intel-|dpcpp|mkl|tbb|umf|onemkl|tcmlib|lit$|cmake$"
)
_FAMILY = ("torch", "torchvision", "torchaudio")
_NEVER_ON = {"triton": ("Windows", "Darwin"), "nvidia": ("Windows", "Darwin"), "xformers": ("Darwin",)}


def verdicts(report: Report) -> list[Verdict]:
    """What the text tells of an installation that found nothing, the surest first."""
    if not report.has(*_WORDS):
        return []
    found = sorted(_verdicts(report), key=lambda v: -v.sure)
    best: dict[str, Verdict] = {}
    for verdict in found:
        best.setdefault(verdict.failure, verdict)
    return list(best.values())


def verdict(report: Report, failure: str) -> Optional[Verdict]:
    return next((v for v in verdicts(report) if v.failure == failure), None)


def _verdicts(report: Report) -> Iterator[Verdict]:
    yield from _words_of_addresses(report)
    yield from _other_python(report)
    yield from _unsupported_wheel(report)
    yield from _conda(report)
    if report.has(*_NETWORK):
        return
    hit = next(
        (hit for word, pattern in _NOT_FOUND if report.has(word) for hit in [report.hit(pattern)] if hit), None
    )
    if hit is not None:
        yield from _not_found(report, hit)
    yield from _gone(report)


# -- Python


def _other_python(report: Report) -> Iterator[Verdict]:
    if report.has("different python"):
        hit = report.hit(r"(?<![\w.-])(?P<req>[\w.-]{1,100})[\"'`]? requires a different Python[^\n]*")
        if hit is not None:
            yield Verdict(PYTHON, 0.95, hit, normal(hit["req"]), "its metadata asks for another Python")
    if report.has(
        "no wheels with a matching python", "python abi tag", "following python tags", "python version tag"
    ):
        hit = report.hit(
            r"(?<![\w.-])(?P<req>[A-Za-z][\w.-]{0,100})(?:(?:==|[<>]=?|~)[^\s,]{1,100})? ha(?:s|ve) no wheels "
            r"with a matching Python"
        ) or report.hit(r"found wheels for `(?P<req>[\w.-]+)`[^\n]*Python")
        if hit is not None:
            yield Verdict(PYTHON, 0.95, hit, normal(hit["req"]), "its wheels are for other Pythons")
    if report.has("abi tags", "python tags"):
        hit = report.hit(
            r"wheel\(s\) were skipped as your project's environment does not support the[^\n]{0,20} (?:abi|python)"
        )
        if hit is not None:
            named = report.hit(r"installation candidates for (?P<req>[\w.-]+)")
            yield Verdict(
                PYTHON, 0.88, hit, normal(named["req"]) if named else "", "its wheels are for other Pythons"
            )
    if report.has("unusable because no wheels"):
        hit = report.hit(
            r"(?<![\w.-])(?P<req>[\w.-]{1,100})(?:==[^\s,]{1,100})? is unusable because no wheels "
            r"are available[^\n]{0,20} Python"
        )
        if hit is not None:
            yield Verdict(PYTHON, 0.93, hit, normal(hit["req"]), "its wheels are for other Pythons")
    if report.has("python requirement", "python range"):
        hit = report.hit(r"current project's (?:supported )?Python (?:requirement|range)[^\n]*")
        if hit is not None:
            named = report.hit(r"- (?P<req>[\w.-]+) requires Python")
            name = normal(named["req"]) if named else "a package"
            yield Verdict(PYTHON, 0.8, hit, name, "it asks for another range of Pythons than the project")


def _unsupported_wheel(report: Report) -> Iterator[Verdict]:
    if report.has("invalid wheel"):
        hit = report.hit(r"(?<![\w.-])(?P<req>[\w.-]{1,100}) has an invalid wheel[^\n]*")
        if hit is not None:
            why = "the wheel that is published there is damaged"
            yield Verdict(UNPUBLISHED, 0.75, hit, normal(hit["req"]), why)
    if report.has("different version in metadata", "inconsistent version", "metadata has"):
        hit = report.hit(
            r"requested (?P<req>[\w.-]{1,100})[^\n]{0,400}has (?:different version in metadata|inconsistent version)"
            r"[^\n]*|inconsistent (?:version|name)[^\n]*|has different version in metadata[^\n]*"
        )
        if hit is not None:
            why = "the wheel that is published there is damaged: its name and its metadata differ"
            yield Verdict(UNPUBLISHED, 0.8, hit, normal(hit.groups.get("req", "")) or _near(report), why)
    if not report.has("not a supported wheel", "not compatible with this python"):
        return
    hit = report.hit(
        r"(?<![\w.])(?P<name>[A-Za-z][\w.]{0,80}?)-(?P<version>\d[\w.+%!]{0,80})-(?P<tag>(?:cp|py|pp)[\w.]+)-"
        r"(?P<abi>[\w.]+)-(?P<platform>\w+)"
        r"(?:\.\w+)*?\.whl\W{0,2} is not (?:a supported wheel|compatible)"
    )
    if hit is None:
        return
    name, here = normal(hit["name"]), python_minor(report.facts)
    of = re.match(r"cp(\d)(\d+)", hit["tag"])
    other = of is not None and here and f"{of.group(1)}.{of.group(2)}" != here
    if not _of_this_system(hit["platform"], report):
        yield Verdict(UNPUBLISHED, 0.85, hit, name, f"the file is for {hit['platform']}")
    elif other and of is not None:
        why = f"the file is for Python {of.group(1)}.{of.group(2)}, and this is Python {here}"
        yield Verdict(PYTHON, 0.92, hit, name, why)
    elif here:
        yield Verdict(PYTHON, 0.6, hit, name, "pip does not take the tags of that file")
        yield Verdict(UNPUBLISHED, 0.5, hit, name, "pip does not take the tags of that file")
    else:
        why = f"the file is for {hit['tag']}: another Python than this one, by all likelihood"
        yield Verdict(PYTHON, 0.78, hit, name, why)


_SYSTEMS = {
    "Windows": ("windows", "c:\\"),
    "Darwin": ("macos", "macbook", "darwin"),
    "Linux": ("ubuntu", "linux-gnu", "debian", "centos"),
}


def _of_this_system(platform: str, report: Report) -> bool:
    """Whether nothing speaks against a wheel for this platform; its name alone stands in the text too."""
    host = report.facts.host
    for start, named in (("win", "Windows"), ("macosx", "Darwin"), ("linux", "Linux"), ("manylinux", "Linux")):
        if platform.startswith(start):
            others = any(report.has(*words) for system, words in _SYSTEMS.items() if system != named)
            if (host.system not in ("", named)) or (others and not report.has(*_SYSTEMS[named])):
                return False
    arm = host.machine in ("aarch64", "arm64") or report.has("aarch64", "jetson", "apple m", "raspberry")
    return not (arm and "x86_64" in platform)


def _pythons(package: str, version: str, report: Report) -> Optional[tuple[tuple[int, int], tuple[int, int]]]:
    """The oldest and the newest Python of a release of torch's family; None where it is not known."""
    minor = numbers(version)[:2]
    if package == "torchvision" and minor and minor[0] == 0 and len(minor) == 2:
        minor = (2, minor[1] - 15) if minor[1] >= 15 else (1, minor[1] - 1) if minor[1] >= 2 else (0, 4)
    if package == "torchaudio" and minor and minor[0] == 0 and len(minor) == 2:
        minor = (1, minor[1])
    if minor in _PYTHONS:
        return _PYTHONS[minor[0], minor[1]]
    row = torch_row(".".join(map(str, minor))) if len(minor) == 2 else None
    listed = sorted(numbers(p)[:2] for p in row["pythons"]) if row else []
    return ((listed[0][0], listed[0][1]), (listed[-1][0], listed[-1][1])) if listed else None


# -- what pip, uv, poetry did not find


def _not_found(report: Report, hit: Hit) -> Iterator[Verdict]:
    said = re.match(
        r"(?P<name>[A-Za-z][\w.-]*?)(?:\[[^\]]*\])?\s*(?:\(|==|===|[<>~!]=?|$)\s*(?P<rest>[^)]*)", hit["req"]
    )
    if said is None:
        return
    name, rest = normal(said["name"]), said["rest"].strip("=, )")
    exact = re.match(r"\d[\w.!]*", rest) if re.search(r"==|\(", hit["req"]) else None
    version, local = (exact.group() if exact else ""), rest.partition("+")[2]
    listed = report.hit(r"from versions: ?(?P<versions>[^)\n]*)")
    versions = [v.strip() for v in listed["versions"].split(",")] if listed else []
    none = versions in (["none"], [""])
    yield from _passed_over(report, name, rest, none)
    if rest.startswith("latest"):
        why = "latest+cuNNN is no version; pages now name torch and its build, such as torch-1.8.0+cu111.html"
        yield Verdict(ADDRESS, 0.85, hit, name, why)
    if _is_32_bit(report):
        if re.match(r"torch|pyg|tensorflow|numpy|xformers|triton", name):
            yield Verdict(PYTHON, 0.9, hit, name, "this is a 32-bit Python, for which there are no wheels")
    system = report.facts.host.system
    for stem, missing in _NEVER_ON.items():
        if name.startswith(stem) and (system in missing or (system != "Linux" and _elsewhere(report, missing))):
            yield Verdict(UNPUBLISHED, 0.9, hit, name, "it is not published for this operating system")
    yield from _bad_address(report, hit, name)
    if name in _FAMILY:
        yield from _family(report, hit, name, version, local, versions, none)
    elif name in PYG or name == "pyg-lib":
        yield from _pyg(report, hit, name, none)
    else:
        around = re.match(
            r"torch|pyg|xformers|flash|apex|detectron2|mmcv|dgl|natten|mamba|causal|triton|nvidia|"
            r"tensorrt|bitsandbytes|spconv|cupy|cudf|cuml|pytorch3d|open3d|faiss|kaolin|nvdiffrast|"
            r"deepspeed|vllm|onnxruntime|mediapipe|tensorflow|scipy|numba|numpy",
            name,
        )
        here = numbers(python_minor(report.facts))[:2]
        sure = 0.78 if around else 0.6
        bare = bool(listed) and (none or not versions or _WITHOUT_SOURCE.match(name) is not None)
        if around and here and (here >= (3, 13) or here < (3, 8)) and bare:
            yield Verdict(PYTHON, 0.7, hit, name, "its wheels are for other Pythons")
            sure = 0.5
        elif bare and (none or not versions) and _WITHOUT_SOURCE.match(name) and not _on_own_page(name, report):
            yield Verdict(PYTHON, 0.6, hit, name, "pip finds no file at all that this Python could use")
            sure = 0.5
        yield Verdict(UNPUBLISHED, sure, hit, name, "the index has no file of it that fits here")


# Of these there are wheels and no source on the package index: where pip finds nothing, the Python or the system is
# another than theirs.
_WITHOUT_SOURCE = re.compile(
    r"(?:spconv|cumm|dgl|open3d|mediapipe|tensorflow|triton|onnxruntime|kaolin|bitsandbytes|tensorrt|decord|"
    r"torchtext|torchdata|torchcodec|faiss-(?:gpu|cpu))(?![a-z])"
)


def _on_own_page(name: str, report: Report) -> bool:
    """Whether an address was given that has the package's name in it."""
    pages, indexes = addresses(report)
    return any(name.partition("-")[0] in page for page in (*pages, *indexes))


def _is_32_bit(report: Report) -> bool:
    """Whether this Python is one of 32 bits, by its banner, its folder (``Python37-32``) or its tag."""
    if report.facts.python.bits == 32 or report.has(
        "32 bit (intel)", "32-bit python", "python 32-bit", "win32", "python (32-bit)", "32 bit python"
    ):
        return True
    return report.has("-32\\", "-32/", "-32>", "(x86)\\python", "i686", "armv7l") and bool(
        report.hit(r"python[\d.-]*-32[\\/>]|\(x86\)[\\/]python|linux_(?:i686|armv7l)|\bi686\b")
    )


def _elsewhere(report: Report, systems: tuple[str, ...]) -> bool:
    words = {
        "Windows": ("windows", "c:\\", "win_amd64"),
        "Darwin": ("macos", "darwin", "mac os", "apple m", "macbook"),
    }
    return any(report.has(*words[system]) for system in systems)


def _passed_over(report: Report, name: str, rest: str, none: bool) -> Iterator[Verdict]:
    if not report.has("require a different python version", "requires-python"):
        return
    hit = report.hit(r"require a different python version: (?P<passed>[^\n]*)") or report.hit(
        r"Link requires a different Python[^\n]*(?P<passed>)"
    )
    if hit is None:
        return
    pinned = bool(rest) and re.search(rf"(?:^|[;,] ?){re.escape(rest)} Requires-Python", hit["passed"])
    if none or pinned:
        yield Verdict(PYTHON, 0.92, hit, name, "pip passes over its releases, as they ask for another Python")
    else:
        yield Verdict(PYTHON, 0.62, hit, name, "pip passes over some releases, as they ask for another Python")


def _family(
    report: Report, hit: Hit, name: str, version: str, local: str, versions: list[str], none: bool
) -> Iterator[Verdict]:
    """torch, torchvision or torchaudio was not found."""
    here = numbers(python_minor(report.facts))[:2]
    span = _pythons(name, version, report) if version else None
    arm = report.has("aarch64", "arm64", "jetson", "raspberry", "armv7")
    pages, indexes = addresses(report)
    index_given = any(PYTORCH_INDEX.rstrip("/") in a for a in (*pages, *indexes)) or report.has(
        "download.pytorch.org"
    )
    if here and span and not span[0] <= here <= span[1]:
        ends = f"{'.'.join(map(str, span[0]))} to {'.'.join(map(str, span[1]))}"
        yield Verdict(PYTHON, 0.92, hit, name, f"{name} {version} has wheels for Python {ends} only")
    if local and not index_given and versions and not none and not any("+" in v for v in versions):
        typed = any("install" in command for command in report.commands)
        mac = report.facts.host.system == "Darwin"
        why = f"builds such as +{local} are not on the package index, and no other address was given"
        yield Verdict(ADDRESS, 0.35 if mac else 0.8 if typed else 0.7, hit, name, why)
        yield Verdict(UNPUBLISHED, 0.75 if mac else 0.5, hit, name, "the package index has no such build")
        return
    if none or (versions and set(versions) <= {"0.1.2", "0.1.2.post1", "0.1.2.post2"}):
        fine = here and span and span[0] <= here <= span[1]
        if arm or (fine and not _too_new(here)):
            yield Verdict(UNPUBLISHED, 0.8, hit, name, "there is none for this platform")
        yield Verdict(
            PYTHON, 0.45 if fine else 0.85, hit, name, "pip finds no file at all that this Python could use"
        )
        yield Verdict(UNPUBLISHED, 0.5, hit, name, "pip finds no file at all that fits here")
        return
    if here and _too_new(here) and not version:
        yield Verdict(PYTHON, 0.8, hit, name, "this Python is newer than what it has wheels for")
    real = [numbers(v) for v in versions if re.match(r"\d", v)]
    wanted = numbers(version)
    if real and wanted:
        newest = max(real)
        plain = tuple(newest[:3])
        if wanted[:3] < min(real)[:3] and min(real)[:2] >= (1, 0):
            why = f"the oldest release that this Python can use is {'.'.join(map(str, min(real)[:3]))}"
            yield Verdict(PYTHON, 0.8, hit, name, why)
        elif wanted[:3] > plain and plain in _LAST and not arm:
            why = f"{'.'.join(map(str, plain))} is the last release for Python {_LAST[plain[0], plain[1], plain[2]]}"
            yield Verdict(PYTHON, 0.8, hit, name, why)
        elif wanted[:3] > plain and plain == (2, 2, 2):
            yield Verdict(UNPUBLISHED, 0.85, hit, name, "2.2.2 is the last release for Intel Macs")
    yield Verdict(UNPUBLISHED, 0.75, hit, name, "there is no such release for this platform and build")


def _too_new(here: tuple[int, ...]) -> bool:
    return here >= (3, 14)


def _pyg(report: Report, hit: Hit, name: str, none: bool) -> Iterator[Verdict]:
    here, pythons = python_minor(report.facts), wheels_for(name, report.facts)
    if here and pythons and here not in pythons:
        yield Verdict(PYTHON, 0.85, hit, name, f"its wheels for this torch are not for Python {here}")
    elif here and numbers(here)[:2] >= (3, 14):
        yield Verdict(PYTHON, 0.7, hit, name, f"its wheels are not for Python {here}")
    yield Verdict(UNPUBLISHED, 0.82, hit, name, "the page lists none that fits this torch, Python and platform")


# -- addresses


_TYPED = (
    r"(?:^|[\s'\"])(?:-f|--find-links)(?:[ =]|\s{1,40}\\?\s{0,40})[\"'“]?"
    r"(?P<address>(?:https?:|file:|www\.|[\w.-]+\.\w+/)[^\s\"'”<>]+)"
)
_INDEX = (
    r"(?:^|[\s'\"])(?P<option>-i|--(?:extra-)?index-url|--index|--default-index)(?:[ =]|\s{1,40}\\?\s{0,40})[\"'“]?"
    r"(?P<address>https?:[^\s\"'”<>]+)"
)


def addresses(report: Report) -> tuple[list[str], list[str]]:
    """The pages of links and the indexes that the text names as given."""
    pages: list[str] = []
    indexes: list[str] = []
    if report.has("-f", "--find-links"):
        pages.extend(hit["address"].rstrip(",;)`") for hit in report.hits(_TYPED))
    if report.has("looking in links"):
        for hit in report.hits(r"Looking in links: (?P<all>[^\n]+)"):
            pages.extend(page.partition(" ")[0] for page in hit["all"].split(", "))
    if report.has("-i ", "index"):
        indexes.extend(hit["address"].rstrip(",;)`") for hit in report.hits(_INDEX))
    if report.has("looking in indexes"):
        for hit in report.hits(r"Looking in indexes: (?P<all>[^\n]+)"):
            indexes.extend(page.partition(" ")[0] for page in hit["all"].split(", "))
    return list(dict.fromkeys(p.strip() for p in pages)), list(dict.fromkeys(i.strip() for i in indexes))


def wrong_address(report: Report) -> Iterator[tuple[str, str, Optional[str], bool]]:
    """What is wrong with the addresses: (the address, what, the one that was meant, whether it is wrong for sure)."""
    pages, indexes = addresses(report)
    torch_too = bool(re.search(r"install [^\n]{0,60}\btorch(?![\w-])(?:==|\s)", report.text))
    for index, listed in ((False, pages), (True, indexes)):
        for address in listed:
            if _old_page(address):
                continue
            found = wrong_here(address, report.facts, index, torch_too)
            if found is not None:
                yield address, found.what, found.meant, not re.match(r"is the page for", found.what)


def _old_page(address: str) -> bool:
    """Pages of torch 1.4 to 1.7 had no build in their names."""
    return bool(
        re.search(r"pytorch-geometric\.com/whl/torch-1\.[4-7]\.\d\.html|geometric\.com/whl/torch-nightly", address)
    )


def _bad_address(report: Report, hit: Hit, name: str) -> Iterator[Verdict]:
    for address, what, meant, sure in wrong_address(report):
        where = report.hit(re.escape(address)) or hit
        yield Verdict(ADDRESS, 0.93 if sure else 0.72, where, name, f"it {what}", meant)
    pages, indexes = addresses(report)
    only = [i for i in indexes if i.startswith(PYTORCH_INDEX.rstrip("/"))]
    replaced = indexes and len(only) == len(indexes) and not report.has("--extra-index-url")
    if replaced and not pages and not _ON_TORCHS_INDEX.match(name):
        why = "torch's own index was given in place of the package index, and does not have it"
        yield Verdict(ADDRESS, 0.88, report.hit(re.escape(only[0])) or hit, name, why)
    elif replaced and not pages and (name in PYG or name == "pyg-lib"):
        why = "torch's index does not have it: its wheels are on pages of their own, given with --find-links"
        yield Verdict(ADDRESS, 0.85, report.hit(re.escape(only[0])) or hit, name, why)
    elif any(is_pygs(i) or re.search(r"\.html?$", i) for i in indexes):
        why = "the page is a list of links, and was given as an index: it belongs behind --find-links"
        yield Verdict(ADDRESS, 0.88, hit, name, why)


def _words_of_addresses(report: Report) -> Iterator[Verdict]:
    if report.has("is ignored", "seems invalid", "bad substitution", "invalid requirement", "no such file"):
        hit = report.hit(
            r"(?:Location|Url|link) '?(?P<address>[^'\n]{1,300}?)'? is ignored[^\n]*|"
            r"index url [^\n]{1,200} seems invalid[^\n]*|"
            r"\$\{[^}\n]{1,60}\}[^\n]{0,80}: bad substitution|Invalid requirement: ['\"]?\+?(?:cu\d+|cpu)[^\n]*|"
            r"Invalid requirement: ['\"][^'\"\n]*(?:latest\+|\$\{|https?:|\.html)[^\n]*"
        )
        if hit is not None:
            yield Verdict(ADDRESS, 0.92, hit, _near(report), "pip cannot read it as an address")


def _near(report: Report) -> str:
    found = re.search(r"install (?:-\S+ )*(?P<name>[A-Za-z][\w.-]*)", report.text)
    return normal(found["name"]) if found else ""


# -- servers and conda


def _gone(report: Report) -> Iterator[Verdict]:
    """A server that has no such page or file."""
    if report.has("pyg.org/whl", "pytorch-geometric.com/whl", "openmmlab", "download.pytorch.org/whl", "dgl.ai"):
        told = report.hit(
            r"\b(?:missing (?:from|on|in|for)|no (?:matching )?wheels?\b|does(?:n't| not) exist|"
            r"(?:page|list) is empty|not (?:there|listed|available))[^\n]{0,100}(?P<url>https?://[^\s'\"<>()]+)"
        )
        if told is not None:
            yield Verdict(UNPUBLISHED, 0.55, told, _near(report), "the server has no such page or file")
    if not report.has("403", "404"):
        return
    hit = report.hit(
        r"(?:HTTP (?:status client )?error:? \(?40[34]|40[34] Client Error|error (?:code )?40[34]\b|40[34] error|"
        r"40[34]:? (?:Forbidden|Not Found))[^\n]{0,80}?(?P<url>https?://[^\s'\"<>()]+)"
    ) or report.hit(
        r"(?P<url>https?://[^\s'\"<>()]+)[^\n]{0,120}(?:HTTP error 40[34]|40[34] (?:Forbidden|Not Found))"
    )
    if hit is None:
        if report.has("precompiled wheel not found"):
            hit = report.hit(r"Precompiled wheel not found")
            if hit is not None:
                sure = 0.78 if report.has("guessing wheel url") else 0.55
                yield Verdict(UNPUBLISHED, sure, hit, _of_file(report), "nobody has published that file")
        return
    url = hit["url"].rstrip(",.;:?!")
    if not re.search(
        r"whl|wheel|/dist/|pypi|simple|download\.pytorch|data\.pyg|pytorch-geometric|releases/download|conda|"
        r"\.tar\.gz|index\.html",
        url,
        re.I,
    ):
        return
    if re.search(r"huggingface\.co|raw\.githubusercontent", url):
        return
    file = re.search(r"/([A-Za-z][\w.]*?)-\d[^/]*\.whl", url)
    name = normal(file.group(1)) if file else _near(report)
    if of_torch(url) and not _old_page(url):
        found = wrong_here(url, report.facts, False, True)
        if found is not None:
            yield Verdict(ADDRESS, 0.9, hit, name, f"it {found.what}", found.meant)
    yield Verdict(UNPUBLISHED, 0.8, hit, name, "the server has no such page or file")


def _of_file(report: Report) -> str:
    """The package of a wheel that was guessed at, by its address."""
    found = re.search(r"/([A-Za-z][\w.]*?)-\d[^/\s]*\.whl", report.text)
    return normal(found.group(1)) if found else _near(report)


def _conda(report: Report) -> Iterator[Verdict]:
    if report.has("existing python installation", "your python: python"):
        hit = report.hit(r"- (?P<req>[\w.-]+)[^\n]{0,40} -> python\[") or report.hit(
            r"existing python installation|Your python: python[^\n]*"
        )
        if hit is not None:
            name = normal(hit.groups.get("req", ""))
            yield Verdict(PYTHON, 0.92, hit, name, "conda has builds of it for other Pythons only")
    if report.has("not available from current channels", "resolvepackagenotfound", "packagesnotfounderror"):
        hit = report.hit(
            r"(?:not available from current channels|ResolvePackageNotFound)[^\n]*\s+-\s*(?P<req>[\w.-]+)"
        )
        hit = hit or report.hit(r"PackagesNotFoundError|ResolvePackageNotFound|not available from current channels")
        if hit is not None:
            name = normal(hit.groups.get("req", "")) or _near(report)
            yield Verdict(UNPUBLISHED, 0.8, hit, name, "no channel has it for this platform")
    if report.has("nothing provides", "are incompatible", "none of the providers", "unsatisfiableerror"):
        python = report.hit(
            r"(?:nothing provides|requires|requested)[^\n]{0,60}\bpython(?:_abi)? [^\n]{0,60}|"
            r"\bpython(?:_abi)? [\d.=><*]+[^\n]{0,80}(?:conflicts|does not exist|can(?:not|'t) be installed)"
        )
        hit = report.hit(r"nothing provides (?:requested )?(?P<req>[\w.-]+)[^\n]*") or report.hit(
            r"none of the providers can be installed|UnsatisfiableError|following packages are incompatible"
        )
        if hit is None:
            return
        name = normal(hit.groups.get("req", "")) or _near(report)
        if python is not None:
            yield Verdict(PYTHON, 0.72, python, name, "conda has builds of it for other Pythons only")
        yield Verdict(UNPUBLISHED, 0.66, hit, name, "conda finds no builds that go together")
