"""Why an installation failed, or compiled what nobody wanted compiled: one failure, from what the attempt said.

What a program says is translated; file names, options, addresses, the names of exceptions and the sentences of pip
are not, so that only those are read.
"""

import dataclasses
import re
from functools import lru_cache
from typing import Optional

from kit.data import table
from kit.facts import Attempt, Extension, Facts, normalise
from kit.failures import _stops
from kit.failures._pages import Wrong, is_pygs, of_torch, wrong
from kit.findings import Fix
from kit.gpus import numbers
from kit.published import PYG_VERSIONS, matching_wheel, pip, platform, pyg_row, python_minor, rebuild
from kit.published import token as token_of
from kit.record import Record

# Options of pip, uv and conda that are followed by a value.
_VALUED = frozenset(
    "-f --find-links -i --index-url --extra-index-url --index --default-index -r --requirement -c --constraint "
    "-t --target --python -p --prefix --root --platform --python-version --implementation --abi --cache-dir "
    "--timeout --retries --trusted-host --proxy --cert -C --config-settings --config-setting --no-binary "
    "--only-binary --progress-bar "
    "--upgrade-strategy --src --log --report --channel --name -n".split()
)
# Packages around torch: only of those is it told that a wheel was not published.
_AROUND_TORCH = (
    r"torch|pyg[-_]?lib$|pytorch|xformers|flash-attn|apex|detectron2|mmcv|dgl|natten|mamba-ssm|causal-conv1d"
)
# The network, a proxy or a server failed: the addresses and the installation may be right.
_NETWORK = (
    r"NewConnectionError|NameResolutionError|Max retries exceeded|ReadTimeoutError|ConnectTimeout|SSLError|"
    r"CERTIFICATE_VERIFY_FAILED|ProxyError|ProtocolError|ConnectionResetError|HTTP error 5\d\d|No space left on"
)
_NOT_FOUND = (
    r"No matching distribution found for|Could not find a version that satisfies the requirement|"
    r"No solution found when resolving|HTTP error 40[34]\b|HTTP status client error \(40[34]|"
    r"PackagesNotFoundError|ResolvePackageNotFound"
)
_SOURCE = (
    r"[\w.]+-[\w.]+\.(?:tar\.gz|zip) \(|Running setup\.py|setup\.py (?:egg_info|install|bdist_wheel)|"
    r"subprocess-exited-with-error|metadata-generation-failed|"
    r"Getting requirements to build wheel|Preparing (?:wheel )?metadata|Building wheels? for|build_wheel"
)
_FAILED = (
    r"\berror: |^\s*ERROR\b|\.\.\. error|exit(?:ed with)? (?:error|(?:code|status):? [1-9])|× |"
    r"^\w*Error: |Traceback \(most recent"
)
_ABSENT = r"(?:ModuleNotFoundError|ImportError): No module named '?\"?([\w.]+)"


class Cause(Record):
    """The one failure of an attempt: which package, the line that says it, and what it names.

    ``succeeded`` is set where the installation ended well all the same, and only took a way that was not meant.
    """

    failure: str
    package: str
    line: str
    what: str = ""
    succeeded: bool = False


class Tried(Record):
    """An attempt, taken apart: what was to be installed, from where, and whether it failed."""

    requirements: tuple[str, ...]
    pages: tuple[str, ...]
    indexes: tuple[str, ...]
    options: frozenset[str]
    package: str
    text: str
    failed: bool
    version: Optional[str]  # of the source distribution that was taken

    @property
    def isolated(self) -> bool:
        return "--no-build-isolation" not in self.options

    @property
    def wants_source(self) -> bool:
        """Whether it was asked to compile."""
        return "--no-binary" in self.options or any(re.search(r"^\.|[/\\]|\+http|@", r) for r in self.requirements)


@lru_cache(maxsize=8)
def tried(attempt: Attempt) -> Tried:
    """What was tried, by the command where it is known and by what it said."""
    text = "\n".join(attempt.said)
    words = list(attempt.argv)
    verbs = [at for at, word in enumerate(words) if word in ("install", "wheel", "download", "add", "sync")]
    words = words[verbs[0] + 1 :] if verbs else []
    requirements: list[str] = []
    pages: list[str] = []
    indexes: list[str] = []
    options: set[str] = set()
    while words:
        word = words.pop(0)
        option, _, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if not word.startswith("-"):
            requirements.append(word)
            continue
        options.add(option)
        if option in _VALUED:
            value = value or (words.pop(0) if words else "")
        if option in ("-f", "--find-links"):
            pages.append(value)
        elif option in ("-i", "--index-url", "--extra-index-url", "--index", "--default-index"):
            indexes.append(value)
    for kind, found in re.findall(r"Looking in (links|indexes): (.+)", text):
        (pages if kind == "links" else indexes).extend(found.split(", "))
    failed = (
        attempt.status != 0 if attempt.status is not None else bool(re.search(f"{_FAILED}|{_NOT_FOUND}", text, re.M))
    )
    package = _package(requirements, text)
    stem = re.escape(package).replace("\\-", "[-_.]")
    taken = re.search(rf"\b{stem}-(\d[\w.!]*?)\.(?:tar\.gz|zip)\b", text, re.I) if package else None
    return Tried(
        tuple(requirements),
        tuple(dict.fromkeys(pages)),
        tuple(dict.fromkeys(indexes)),
        frozenset(options),
        package,
        text,
        failed,
        taken.group(1) if taken else None,
    )


_NAMED = (
    r"No matching distribution found for ([\w.-]+)",
    r"satisfies the requirement ([\w.-]+)",
    r"Failed to build '?`?([A-Za-z][\w.-]*)",
    r"Failed building wheel for ([\w.-]+)",
    r"Building wheels? for (?:collected packages: )?([\w.-]+)",
    r"Running setup\.py \w+ for ([\w.-]+)",
    r"Package '([\w.-]+)' requires a different Python",
    r"because ([\w.-]+) (?:was not found|has no wheels)",
    r"([A-Za-z][\w.]*?)-[\w.+]+-cp\w+-\w+-\w+\.whl is not a supported wheel",
    r"- ([\w.-]+) -> python\[version",
)


def _package(requirements: list[str], text: str) -> str:
    """The package that the attempt stopped at, normalised; '' where nothing tells."""
    for pattern in _NAMED:
        found = re.search(pattern, text)
        if found and found.group(1) != "installable":
            return normalise(found.group(1))
    # The last one that was collected is the one whose build began.
    found_all = re.findall(
        r"^(?:Collecting|Processing (?:.*[/\\])?)\s?([A-Za-z][\w.-]*?)/?(?=[\s=<>~!\[]|$)", text, re.M
    )
    names = [re.match(r"[A-Za-z][\w.-]*(?=$|[\[=<>~!;])", r) for r in requirements]
    known = [normalise(name.group()) for name in names if name]
    last = normalise(found_all[-1]) if found_all else ""
    if last and (last in known or not known):
        return last
    # A folder with its setup.py, which pip names after the package where it made it itself.
    folder = re.search(r"[/\\]([A-Za-z][\w.-]*?)(?:_[0-9a-f]{16,})?[/\\]setup\.py", text)
    return known[0] if known else normalise(folder.group(1)) if folder else ""


# -- the cause


def cause(facts: Facts) -> Optional[Cause]:
    """The one failure of the installation that was tried; None where none was, or nothing is known about it."""
    if facts.attempt is None:
        return None
    it = tried(facts.attempt)
    if re.search(_NETWORK, it.text):
        return None
    source = bool(re.search(_SOURCE, it.text))
    if not it.failed:
        return _succeeded(it, facts) if source and it.package else None
    missing = _line(it.text, _NOT_FOUND)
    if it.package:
        for found in (_other_python(it, facts, bool(missing)), _address(it, facts, source or bool(missing))):
            if found is not None:
                return found
    if missing:
        around = it.pages or re.match(_AROUND_TORCH, it.package)
        return Cause("wheel-not-published", it.package, missing) if around else None
    return _build(it, facts, source)


def _succeeded(it: Tried, facts: Facts) -> Optional[Cause]:
    """Compiled, although nobody asked for it: the page that was meant was not, or what it lists was older."""
    if it.wants_source:
        return None
    found = _address(it, facts, True) or _preferred(it, facts)
    return None if found is None else dataclasses.replace(found, succeeded=True)


def _line(text: str, *patterns: str) -> str:
    """The first line in which one of these stands; '' where none does."""
    for pattern in patterns:
        found = re.search(pattern, text, re.M)
        if found:
            start = text.rfind("\n", 0, found.end()) + 1
            end = text.find("\n", found.end())
            return text[start : end if end >= 0 else None].strip()[:300]
    return ""


def _address(it: Tried, facts: Facts, matters: bool) -> Optional[Cause]:
    if not matters:
        return None
    torch_too = any(re.match(r"torch(?![\w-])", r) for r in it.requirements)
    for index, addresses in ((False, it.pages), (True, it.indexes)):
        for address in addresses:
            found = wrong_here(address, facts, index, torch_too)
            if found is not None:
                return Cause("index-url-malformed", it.package, address, found.what)
    return None


def build_known(facts: Facts) -> bool:
    """Whether it is known for which CUDA torch was built.  Pasted text often names its version alone."""
    torch = facts.torch
    if torch is None or not torch.version:
        return False
    return bool(torch.cuda or torch.hip or "+" in torch.version) or facts.about.name != "pasted text"


def wrong_here(address: str, facts: Facts, index: bool, torch_too: bool) -> Optional[Wrong]:
    """What is wrong with an address, as :func:`wrong`, by what is known of torch."""
    if facts.torch is not None and not facts.torch.version:
        facts = dataclasses.replace(facts, torch=None)
    found = wrong(address, facts, index, torch_too)
    if found is None or build_known(facts):
        return found
    if re.match(r"is the page for (?!torch)", found.what):
        return None
    return dataclasses.replace(found, meant=None)


def _other_python(it: Tried, facts: Facts, missing: bool) -> Optional[Cause]:
    here = python_minor(facts)
    said = _line(it.text, r"requires a different Python: ", r"Your python: python=")
    wheel = re.search(r"-cp(\d)(\d+)-(?:cp\w+|abi3|none)-\w+\.whl is not a supported wheel", it.text)
    if wheel and here and f"{wheel.group(1)}.{wheel.group(2)}" != here:
        said = _line(it.text, r"is not a supported wheel")
    if not said and missing:
        said = _line(it.text, r"no wheels with a matching Python (?:ABI|version|implementation) tag")
        pin = next((r.partition("==")[2] for r in it.requirements if "==" in r), "")
        passed = rf": (?:.*; )?{re.escape(pin)} Requires-Python" if pin else ": .*Requires-Python"
        if pin or "(from versions: none)" in it.text:
            said = said or _line(it.text, r"require a different python version" + passed)
        if not said and facts.python.bits == 32 and re.match(r"torch|pyg", it.package):
            said = f"{facts.python.executable}: a 32-bit Python"
        pythons = wheels_for(it.package, facts)
        if not said and here and pythons and here not in pythons:
            said = f"{facts.python.executable}: Python {facts.python.version}"
    return Cause("python-unsupported", it.package, said) if said else None


def wheels_for(package: str, facts: Facts) -> tuple[str, ...]:
    """The Pythons that a package of PyG's has wheels for, for the torch that is here, or torch itself; () where the
    tables do not know it."""
    torch = facts.torch
    if package == "torch":
        rows = table("torch_builds")["torch"]
        return tuple(dict.fromkeys(python for row in rows for python in row["pythons"]))
    row = pyg_row(package, torch.minor, token_of(torch.cuda)) if torch and not torch.hip else None
    return tuple(row["pythons"]) if row else ()


def _preferred(it: Tried, facts: Facts) -> Optional[Cause]:
    """Whether a source distribution was taken although a wheel is there that fits."""
    torch = facts.torch
    if it.wants_source or it.version is None or torch is None or not build_known(facts):
        return None
    if torch.hip or not torch.released:
        return None
    pages = [page for page in it.pages if of_torch(page)]
    line = _line(it.text, rf"{re.escape(it.version)}\.(?:tar\.gz|zip)")
    if any(not is_pygs(page) for page in pages):  # a mirror: what it lists is in no table
        return Cause("sdist-preferred", it.package, line)
    row = pyg_row(it.package, torch.minor, token_of(torch.cuda), python_minor(facts), platform(facts))
    if row is not None and (not pages or numbers(it.version) > numbers(row["version"])):
        return Cause("sdist-preferred", it.package, line, str(row["version"]))
    return None


def _build(it: Tried, facts: Facts, source: bool) -> Optional[Cause]:
    """What a build from source stopped at; ``source``: the installation says itself that it builds."""
    absent = re.search(_ABSENT, it.text) if source or "setup.py" in it.text or "build backend" in it.text else None
    name = absent.group(1) if absent else ""
    if name == "torch":
        with_page = _preferred(it, facts) if it.pages and facts.torch is not None else None
        return with_page or Cause("build-isolation", it.package, _line(it.text, _ABSENT), "torch")
    overlay = _line(it.text, r"pip-build-env-\w+[/\\]overlay[/\\]\S*site-packages[/\\]torch[/\\]")
    if overlay:
        return Cause("build-isolation", it.package, overlay, "another torch")
    if re.search(r"Cannot import '?setuptools", it.text) and not it.isolated:
        return Cause("build-isolation", it.package, _line(it.text, r"Cannot import '?setuptools"), "setuptools")
    stop = _stop(it)
    if stop is not None:
        return stop
    name = name.partition(".")[0]
    if (
        absent
        and name not in ("pkg_resources", "distutils", "torch")
        and re.search(r"setup\.py|to build wheel", it.text)
    ):
        return Cause("build-isolation", it.package, _line(it.text, _ABSENT), name)
    return None


# Sentences that are less sure than this may stand in a build that stopped at something else.
_SURE = 0.8


def _stop(it: Tried) -> Optional[Cause]:
    """What compilers and nvcc said; a header that is missing comes before the sentences that are less sure."""
    said = list(
        _stops.stops(it.text, ("nvcc-torch-mismatch", "nvcc-arch-unsupported", "compiler-unsupported"), _SURE)
    )
    said += _stops.stops(it.text, ("nvcc-not-found",), _SURE)
    for stop, found in said:
        if stop.kind != "tool":
            what = _stops.what(found.groupdict())
            line = _line(it.text, re.escape(found.group().strip().partition("\n")[0]))
            return Cause(stop.failure, it.package, line, f"{stop.kind}: {what}" if what else stop.kind)
    for _, pattern in _stops.HEADERS:
        for found in re.finditer(pattern, it.text, re.M):
            name = found.group("what").replace("\\", "/")
            owner = _stops.header(name)
            if owner == "nvcc":
                return Cause("nvcc-not-found", it.package, found.group().strip()[:300], f"header: {name}")
            if owner not in ("torch", "c++17", "omp") and re.search(r"\.h\w*$", name):
                return Cause("headers-missing", it.package, found.group().strip()[:300], name)
    return None


# -- what helps

ONLY = ("--no-deps", "--no-cache-dir", "--only-binary=:all:")


def wheel_of(package: str, facts: Facts) -> Optional[Fix]:
    """The wheel of a package that is not installed yet, where the table lists one."""
    if not build_known(facts):
        return None
    return matching_wheel(Extension(package, "", "", "", ()), facts)


def compiled(kind: str, it: Tried, facts: Facts, why: str = "") -> Optional[Fix]:
    """Its build from source against the torch that is here: without isolation, past the cache; None without torch."""
    build = rebuild(Extension(it.package, "", "", "", ()), facts) if build_known(facts) else None
    if build is None:
        return None
    if it.package == "apex":
        options, env = ("-v", "--no-build-isolation", "--no-cache-dir", "."), ("APEX_CPP_EXT", "APEX_CUDA_EXT")
        argv: Optional[tuple[str, ...]] = pip(facts, "install", *options)
        return Fix(kind, why or "Build it in its clone, without isolation", argv, dict.fromkeys(env, "1"))
    asked = [r for r in it.requirements if normalise(re.split(r"[\[=<>~!]", r)[0]) == it.package]
    exact = re.search(r"==\s*([\w.!]+)", asked[0]) if asked else None
    version = exact.group(1) if exact else it.version or PYG_VERSIONS.get(it.package)
    if version is None or (it.wants_source and not asked):  # a folder, a repository: no command fits all
        again = f"{why or build.why}: the same command with --no-build-isolation --no-cache-dir"
        return Fix(kind, again, env=build.env)
    options = ("--no-deps", "--no-build-isolation", "--no-cache-dir", f"--no-binary={it.package}")
    argv = pip(facts, "install", *options, f"{it.package}=={version}")
    return Fix(kind, why or build.why, argv, build.env, "changes-environment", build.cost)
