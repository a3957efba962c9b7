"""What a command would make of an environment, on its facts alone: nothing here reads or changes a machine.

Simulated facts are those that are known before anything is downloaded: versions, build tags, which files go.  What a
wheel really holds is read (X-rayed) once it is there, and before it is installed.
"""

import dataclasses
import posixpath
import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, Optional

from kit.errors import KitError
from kit.facts import Binary, Distribution, Extension, Facts, Module, Torch, normalise
from kit.findings import Finding
from kit.published import PYG, PYTORCH_INDEX, cuda_of, token, torch_row
from kit.record import Record
from kit.shims import Shim, find
from kit.shims.installed import distribution, grafting

# Options of `pip install` whose value is an argument of its own.
_VALUED = frozenset("--index-url -i --extra-index-url --find-links -f --constraint -c --config-settings".split())
# What is an extension of torch even where it was not installed before.
_EXTENSIONS = (*PYG, "pyg-lib", "torchvision", "torchaudio")


class Pin(Record):
    """One requirement of a command: the normalised name, and the version that it leads to (None: any)."""

    name: str
    version: Optional[str]


class Change(Record):
    """What one command does.  ``index`` is its package index or page of links, ``source`` whether it
    compiles, ``shim`` a replacement of the kit's."""

    installs: tuple[Pin, ...] = ()
    uninstalls: tuple[str, ...] = ()
    moves: Optional[tuple[str, str]] = None
    removes: Optional[str] = None
    index: Optional[str] = None
    source: bool = False
    shim: Optional[str] = None


def change(argv: Sequence[str]) -> Optional[Change]:
    """What a fix's command does, or None where it is none that the kit can carry out and undo."""
    if argv[:1] == ("mv",) and len(argv) == 3:
        return Change(moves=(argv[1], argv[2]))
    if argv[:2] == ("rm", "-r") and len(argv) == 3:
        return Change(removes=argv[2])
    if tuple(argv[:3]) == ("kit", "shim", "enable") and len(argv) > 3:
        return Change(shim=argv[3])
    if tuple(argv[1:3]) != ("-m", "pip") or len(argv) < 5:
        return None
    verb, words = argv[3], list(argv[4:])
    if verb == "uninstall":
        return Change(uninstalls=tuple(normalise(word) for word in words if word[0] != "-"))
    if verb != "install":
        return None
    pins, index, source = [], None, False
    while words:
        word = words.pop(0)
        option, _, value = word.partition("=") if word.startswith("--") else (word, "", "")
        if option in _VALUED:
            value = value or (words.pop(0) if words else "")
            index = value if option in ("--index-url", "-i", "--find-links", "-f") else index
        elif option == "--no-binary":
            source = True
        elif not word.startswith("-"):
            pin = _pin(word)
            if pin is None:
                return None  # a folder, an address, a file: its content is not known
            pins.append(pin)
    return Change(tuple(pins), index=index, source=source) if pins else None


def _pin(requirement: str) -> Optional[Pin]:
    match = re.fullmatch(r"(\w[\w.-]*?)(?:\[[\w,.-]+\])?\s*((?:[=<>~!]=?|===).*)?", requirement)
    if match is None:
        return None
    version, clauses = None, re.findall(r"(==|>=|~=|<=|<)\s*([\w.+*]+)", match.group(2) or "")
    for operator, number in clauses:
        exact = number[:-2] if number.endswith(".*") else number
        if operator == "<" and version is None and exact.isdigit():
            version = f"{int(exact) - 1}.999"
        elif operator in ("==", ">=", "~="):
            version = exact
    return Pin(normalise(match.group(1)), version)


def simulate(facts: Facts, argv: Sequence[str], env: Mapping[str, str], finding: Finding) -> Optional[Facts]:
    """The facts after a command that mends ``finding``; None where the command is not one of the kit's."""
    what = change(argv)
    if what is None:
        return None
    if what.moves:
        return dataclasses.replace(facts, modules=tuple(m for m in facts.modules if m.path != what.moves[0]))
    if what.removes:
        path = what.removes.rstrip("/")
        kept = tuple(d for d in facts.distributions if d.path.rstrip("/") != path)
        return dataclasses.replace(facts, distributions=kept)
    if what.shim:
        shim = find(what.shim)
        after = _shimmed(facts, shim, "--cover" in argv)
        return None if after is None else _over(after, {normalise(shim.package)}, finding)
    for name in what.uninstalls:
        facts = _without(facts, name)
    for pin in what.installs:
        facts = _with(facts, pin, what, env)
    return _libraries_found(_over(facts, {pin.name for pin in what.installs}, finding), finding)


def _over(facts: Facts, names: Set[str], finding: Finding) -> Facts:
    """The attempt to install one of these packages is over: it is there."""
    attempt = facts.attempt
    asked = {normalise(re.split(r"[\[=<>~!@ ]", word)[0]) for word in attempt.argv} if attempt else set()
    if names & {*asked, normalise(finding.package or "")}:
        return dataclasses.replace(facts, attempt=None)
    return facts


def _shimmed(facts: Facts, shim: Shim, cover: bool) -> Optional[Facts]:
    """The replacement is there: beside the installed package, or in its place."""
    try:
        name = normalise(distribution(facts, shim, cover))
    except KitError:
        return None
    if name == grafting(shim):
        return _distribution(facts, Pin(name, shim.version.partition("+")[0]))
    facts = _distribution(_without(facts, name), Pin(name, shim.version))
    location = facts.torch.location if facts.torch else posixpath.dirname(facts.distributions[0].path)
    children = tuple(sorted({"__init__.py", shim.part, *shim.genuine} - {""}))
    module = Module(shim.package, "package", f"{location}/{shim.package}", location, name, children)
    return dataclasses.replace(facts, modules=(*(m for m in facts.modules if m.name != shim.package), module))


def _without(facts: Facts, name: str) -> Facts:
    extension = facts.extension(name)
    modules = {m.name for m in facts.modules if m.distribution and normalise(m.distribution) == name}
    modules.update(extension.modules if extension else ())
    return dataclasses.replace(
        facts,
        distributions=tuple(d for d in facts.distributions if d.key != name or d.leftover),
        extensions=tuple(e for e in facts.extensions if e.key != name),
        modules=tuple(m for m in facts.modules if m.name not in modules),
        probes=tuple(p for p in facts.probes if p.imports not in modules),
        torch=None if name == "torch" else facts.torch,
    )


def _with(facts: Facts, pin: Pin, what: Change, env: Mapping[str, str]) -> Facts:
    facts = _distribution(facts, pin)
    if pin.name == "torch":
        return _torch(facts, pin, what.index)
    extension = facts.extension(pin.name)
    if extension is None and pin.name in _EXTENSIONS and facts.torch is not None:
        module = pin.name.replace("-", "_")
        origin = f"{module}-{pin.version}.dist-info"
        extension = Extension(pin.name, pin.version or "", origin, facts.torch.location, (module,))
        facts = dataclasses.replace(facts, extensions=(*facts.extensions, extension))
    if extension is not None:
        return _extension(facts, extension, pin, what, env)
    return dataclasses.replace(facts, probes=tuple(p for p in facts.probes if p.imports == "torch"))


def _distribution(facts: Facts, pin: Pin) -> Facts:
    """One distribution of this name, in the version of the pin."""
    there = next((d for d in facts.distributions if d.key == pin.name and not d.leftover), None)
    if there is None:
        place = posixpath.dirname(facts.distributions[0].path) if facts.distributions else facts.python.prefix
        there = Distribution(pin.name, "", f"{place}/{pin.name.replace('-', '_')}-{pin.version or 0}.dist-info")
    now = dataclasses.replace(
        there, version=pin.version or there.version, requires=(), compiled=None, complete=True, installer="pip"
    )
    folder = posixpath.dirname(there.path)
    others = [
        d for d in facts.distributions
        if d.key != pin.name or d.leftover or posixpath.dirname(d.path) != folder
    ]  # fmt: skip
    return dataclasses.replace(facts, distributions=(*others, now))


def _torch(facts: Facts, pin: Pin, index: Optional[str]) -> Facts:
    """Another torch.  What was compiled for the one before stays as it is, and is for the one before."""
    before, version = facts.torch, (pin.version or "").partition("+")[0]
    row = torch_row(version)
    name = pin.version.partition("+")[2] if pin.version else ""
    if not name and index:
        name = index.rstrip("/").rpartition("/")[2] if index.startswith(PYTORCH_INDEX) or "/whl/" in index else ""
    if not name:
        name = row["default"] if row else token(before.cuda if before else None)
    architectures = ["sm_" + c.replace(".", "") for c in (row["cuda"].get(name, []) if row else [])]
    location = before.location if before else posixpath.dirname(facts.distributions[-1].path)
    now = Torch(
        location,
        f"{version}+{name}",
        metadata_version=version,
        cuda=cuda_of(name),
        architectures=tuple(architectures),
    )
    extensions = facts.extensions
    if before is not None and (before.minor, before.cuda) != (now.minor, now.cuda):
        extensions = tuple(e if facts.replacement(e.key) else _left_behind(e, before) for e in extensions)
    return dataclasses.replace(facts, torch=now, extensions=extensions, probes=())


def _left_behind(extension: Extension, before: Torch) -> Extension:
    """An extension whose torch was changed: without a tag it counts as made for the torch that was there."""
    cuda: Any = extension.built_for_cuda
    if cuda is None and any("_cuda" in name or "cudart" in name for b in extension.binaries for name in b.needs):
        cuda = before.cuda
    return dataclasses.replace(
        extension,
        built_for_torch=extension.built_for_torch or before.minor,
        built_for_cuda=cuda,
        binaries=(),
    )


def _extension(facts: Facts, extension: Extension, pin: Pin, what: Change, env: Mapping[str, str]) -> Facts:
    """An extension installed anew, from a wheel with its tag or compiled against the torch that is there."""
    torch, version = facts.torch, pin.version or extension.version
    tag = re.search(r"\+pt(\d)(\d+)(cpu|cu\d+)?$", version)
    built_torch, built_cuda = (f"{tag.group(1)}.{tag.group(2)}", tag.group(3)) if tag else (None, None)
    binaries: tuple[Binary, ...] = ()
    if what.source and torch is not None:
        cuda = torch.cuda if env.get("FORCE_CUDA") == "1" else None
        asked = [part for part in re.split(r"[;\s]+", env.get("TORCH_CUDA_ARCH_LIST", "")) if part] if cuda else []
        codes = tuple("sm_" + re.sub(r"\.|\+PTX", "", part) for part in asked)
        ptx = tuple("compute_" + part[:-4].replace(".", "") for part in asked if part.endswith("+PTX"))
        stem = extension.modules[0] if extension.modules else pin.name.replace("-", "_")
        name = f"{stem}/_C_{'cuda' if cuda else 'cpu'}.so"
        binaries = (Binary(name, machine=facts.host.machine, cuda=cuda, architectures=codes, ptx=ptx, loads=True),)
    elif not tag and torch is not None:
        # From an index of PyTorch's: in step with the torch of that index.
        built_torch = torch.minor
        name = (what.index or "").rstrip("/").rpartition("/")[2]
        built_cuda = name if re.fullmatch(r"cpu|cu\d+", name) else token(torch.cuda)
    now = dataclasses.replace(
        extension,
        version=version,
        origin=f"{posixpath.basename(extension.origin).partition('-')[0]}-{version}.dist-info",
        libraries=tuple(binary.path for binary in binaries),
        missing_files=(),
        built_for_torch=built_torch,
        built_for_cuda="cpu" if built_cuda == "cpu" else cuda_of(built_cuda) if built_cuda else None,
        requires_torch=(),
        wheel_tags=(f"{facts.python.abi}-linux_{facts.host.machine}",) if what.source else (),
        older_than_torch=False,
        binaries=binaries,
    )
    others = tuple(e for e in facts.extensions if e.key != extension.key)
    probes = tuple(p for p in facts.probes if p.imports not in extension.modules)
    return dataclasses.replace(facts, extensions=(*others, now), probes=probes)


def _libraries_found(facts: Facts, finding: Finding) -> Facts:
    """The libraries that the finding names are there now."""
    named = set(re.findall(r"[\w.+-]+\.so[\w.]*", " ".join(finding.evidence)))

    def found(binary: Binary) -> Binary:
        missing = tuple(m for m in binary.missing if m.kind != "library" or m.what not in named)
        if missing == binary.missing:
            return binary
        return dataclasses.replace(binary, missing=missing, loads=None if not missing else binary.loads, why=())

    torch = facts.torch
    if torch is not None and finding.failure in ("library-not-found", "library-shadowed"):
        torch = dataclasses.replace(torch, binaries=tuple(map(found, torch.binaries)))
        extensions = [dataclasses.replace(e, binaries=tuple(map(found, e.binaries))) for e in facts.extensions]
        return dataclasses.replace(facts, torch=torch, extensions=tuple(extensions), probes=())
    return facts
