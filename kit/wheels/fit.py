"""Whether a wheel of some file name fits an environment and its torch, and in words why it does not.

The tags are those of the interpreter under test, computed from facts; those of the one that runs this play no part.
"""

import functools
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from kit import gpus, published
from kit.data import table
from kit.facts import Facts, Torch

if TYPE_CHECKING:
    from packaging.tags import Tag

# The glibc on which wheels labelled plainly linux_x86_64 were built; manylinux labels tell theirs.  PyG's extensions:
# ubuntu-20.04 for torch up to 2.6, 22.04 from 2.7 on; pyg-lib before 0.6; torch before 2.7 (manylinux2014).
_LABEL_GLIBC = {"pyg-lib": (2, 33), "torch": (2, 17)}
_OLD_GLIBC, _NEW_GLIBC = (2, 29), (2, 32)
_ALIASES = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}
_SYSTEMS = {"win": "Windows", "macosx": "macOS", "linux": "Linux", "manylinux": "Linux", "musllinux": "Linux"}


class Target(NamedTuple):
    """The torch that a wheel has to fit; ``exact`` where its patch release was named, ``note`` why it is this one."""

    torch: Torch
    token: str
    exact: bool = True
    note: str = ""

    @property
    def minor(self) -> str:
        return self.torch.minor

    @property
    def version(self) -> str:
        """Without the build: ``'2.12.1'``."""
        return self.torch.version.partition("+")[0]

    @property
    def nightly(self) -> bool:
        return ".dev" in self.torch.version

    def refuses(self, package: str) -> Optional[str]:
        """Why published wheels do not fit this torch at all."""
        version = self.torch.version
        if self.torch.hip or self.token.startswith("rocm"):
            return None if package == "torch" else f"torch {version} is built for ROCm, this for CUDA or the CPU"
        if self.torch.released or (self.nightly and package in ("pyg-lib", "torch")):
            return None
        if re.search(r"\drc\d", version) and package == "torch":
            return None
        own = "a build of its own, such as NVIDIA's containers have"
        kind = "a nightly" if self.nightly else "a release candidate" if re.search(r"\drc\d", version) else own
        return f"torch {version} is {kind}; this is built against a release, whose ABI differs"


class Reading(NamedTuple):
    """A wheel's file name, taken apart."""

    version: Any
    build: Any
    tags: "frozenset[Tag]"

    @classmethod
    def of(cls, filename: str) -> "Optional[Reading]":
        from packaging.utils import InvalidWheelFilename, parse_wheel_filename
        from packaging.version import InvalidVersion

        try:
            return cls(*parse_wheel_filename(filename)[1:])
        except (InvalidWheelFilename, InvalidVersion, ValueError):
            return None


@functools.lru_cache(maxsize=8)
def _tags(version: tuple[int, ...], abi: str, platforms: tuple[str, ...]) -> "dict[Tag, int]":
    from packaging.tags import compatible_tags, cpython_tags

    own = [] if not abi.startswith("cp") else list(cpython_tags(version, [abi], platforms))
    if abi.endswith("t"):  # older releases of packaging do not know that abi3 is not for free-threaded builds
        own = [tag for tag in own if tag.abi != "abi3"]
    every = [*own, *compatible_tags(version, abi if abi.startswith("cp") else None, platforms)]
    return {tag: place for place, tag in enumerate(dict.fromkeys(every))}


def tags(facts: Facts) -> "dict[Tag, int]":
    """The tags that the interpreter under test accepts, each with its place in pip's order."""
    return _tags(gpus.numbers(facts.python.version)[:2], facts.python.abi, platforms(facts))


def platforms(facts: Facts) -> tuple[str, ...]:
    """The platforms of the interpreter under test, best first."""
    machine, bits = _machine(facts)
    if facts.host.system == "Windows":
        return ("win32",) if bits == 32 else (f"win_{machine}",)
    if facts.host.system == "Darwin":
        from packaging.tags import mac_platforms

        return tuple(mac_platforms(_macos(facts), machine))
    found = []
    kind, version = _libc(facts)
    if kind == "musl":
        found = [f"musllinux_1_{minor}_{machine}" for minor in range(version[1], -1, -1)]
    else:
        oldest = 5 if machine in ("x86_64", "i686") else 17
        names = {level: name for name, level in _ALIASES.items()}
        for minor in range(version[1], oldest - 1, -1):
            found.append(f"manylinux_2_{minor}_{machine}")
            found += [f"{names[(2, minor)]}_{machine}"] if (2, minor) in names else []
    return (f"linux_{machine}", *found)


def _machine(facts: Facts) -> tuple[str, int]:
    machine = facts.python.platform.partition("_")[2] or facts.host.machine.lower()
    smaller = {"x86_64": "i686", "amd64": "x86", "aarch64": "armv7l"} if facts.python.bits == 32 else {}
    return smaller.get(machine, machine), facts.python.bits


def _macos(facts: Facts) -> tuple[int, int]:
    darwin = (gpus.numbers(facts.host.os) or gpus.numbers(facts.host.kernel) or (24,))[0]
    return (darwin + 1, 0) if darwin >= 25 else (max(darwin - 9, 11), 0)


def _libc(facts: Facts) -> tuple[str, tuple[int, int]]:
    """``("glibc", (2, 36))`` or ``("musl", (1, 2))``; a glibc that is not known is taken to be a new one."""
    said = facts.host.libc or ""
    kind = "musl" if said.startswith("musl") else "glibc"
    version = gpus.numbers(said)[:2]
    return kind, (version[0], version[1]) if len(version) == 2 else (1, 2) if kind == "musl" else (2, 99)


def reasons(package: str, filename: str, target: Target, facts: Facts, page_token: Optional[str] = None) -> list[str]:
    """Why the wheel does not fit; empty where it does.  ``page_token`` is the build that its page is for."""
    reading = Reading.of(filename)
    if reading is None:
        return ["its name is not that of a wheel"]
    refused = target.refuses(package)
    why = [*_python(reading, facts), *_platform(package, reading, target, facts)]
    why += _torch(reading, target, facts, page_token) if package == "torch" else _built_for(reading, target)
    if reading.version.is_prerelease and target.torch.released:
        why.append("a nightly or a candidate, and your torch is a release")
    return [*why, *_gpu(reading, target, facts), *([refused] if refused else [])]


def _python(reading: Reading, facts: Facts) -> list[str]:
    known = {(tag.interpreter, tag.abi) for tag in tags(facts)}
    if any((tag.interpreter, tag.abi) in known for tag in reading.tags):
        return []
    mine, built = facts.python.abi, []
    for tag in sorted(reading.tags, key=str):
        since = re.fullmatch(r"cp3(\d+)", tag.interpreter)
        if tag.abi == "abi3" and since:
            built.append(
                f"CPython 3.{since[1]} and newer (abi3)" + (", not free-threaded" if mine[-1] == "t" else "")
            )
        else:
            built.append(tag.abi if tag.abi not in ("none", "abi3") else tag.interpreter)
    words = [f"{name} (free-threaded)" if re.fullmatch(r"cp\d+t", name) else name for name in dict.fromkeys(built)]
    yours = f"{mine} (free-threaded)" if re.fullmatch(r"cp\d+t", mine) else mine
    return [f"built for {' or '.join(words)}, yours is {yours}"]


def _platform(package: str, reading: Reading, target: Target, facts: Facts) -> list[str]:
    """The platform alone: whatever the Python."""
    known, asked = set(platforms(facts)), sorted({tag.platform for tag in reading.tags})
    kind, version = _libc(facts)
    here = f"musl {version[0]}.{version[1]}" if kind == "musl" else f"{version[0]}.{version[1]}"
    fitting = [name for name in asked if name == "any" or name in known]
    plain = [name for name in fitting if name.startswith("linux_")]
    if fitting and fitting == plain:  # the label says nothing of the libc, so pip would take it
        floor = _label_glibc(package, reading, target)
        if kind == "musl" or version < floor:
            return [f"{plain[0]} built on glibc {floor[0]}.{floor[1]}, yours is {here}"]
    if fitting:
        return []
    machine = _machine(facts)[0]
    own = {"Darwin": "macOS"}.get(facts.host.system, facts.host.system)
    name = asked[0]
    system = _SYSTEMS.get(re.split(r"[_\d]", name)[0], name)
    if system != own:
        return [f"built for {system} ({name}), yours is {own} {machine}"]
    if not name.endswith((machine, "universal2")):
        return [
            f"built for {re.sub('^(manylinux|musllinux|macosx|linux|win)(_?[0-9]+)*_', '', name)}, yours is {machine}"
        ]
    needed = gpus.numbers(name)[:2]
    if name.startswith("macosx"):
        yours = ".".join(map(str, _macos(facts)))
        return [f"built for macOS {needed[0]}.{needed[1]} and newer, yours is {yours}"]
    if name.startswith("musllinux"):
        return [f"built on musl {needed[0]}.{needed[1]} ({name}), yours is glibc {here}"]
    level = next((v for alias, v in _ALIASES.items() if name.startswith(alias + "_")), needed)
    return [f"built on glibc {level[0]}.{level[1]} ({name}), yours is {here}"]


def _label_glibc(package: str, reading: Reading, target: Target) -> tuple[int, int]:
    if package in _LABEL_GLIBC:
        return _LABEL_GLIBC[package]
    made = re.match(r"pt(\d)(\d+?)(?:cpu|cu\d+)?$", reading.version.local or "")
    minor = (int(made[1]), int(made[2])) if made else gpus.numbers(target.minor)
    return _OLD_GLIBC if minor <= (2, 6) else _NEW_GLIBC


def _built_for(reading: Reading, target: Target) -> Iterator[str]:
    """PyG's local versions: ``pt28cu126``, ``pt210cpu``; on macOS none, or ``pt213`` of pyg-lib."""
    local, mac = reading.version.local, all(tag.platform.startswith("macosx") for tag in reading.tags)
    match = re.fullmatch(r"pt(\d)(\d+?)(cpu|cu\d+)?", local or "")
    if match is None:
        if local or not mac:
            yield "its name does not tell for which torch it was built"
    elif f"{match[1]}.{match[2]}" != target.minor:
        yield f"+{local} against torch {target.minor}"
    elif match[3] != target.token and not (mac and match[3] is None):
        yield f"+{local} against torch {target.minor} built for {target.token}"


def _torch(reading: Reading, target: Target, facts: Facts, page_token: Optional[str]) -> Iterator[str]:
    version = reading.version
    wanted = target.version if target.exact else target.minor
    if version.public != wanted if target.exact else version.public.split(".")[:2] != wanted.split("."):
        yield f"torch {version.public} against {wanted}"
    built = version.local or page_token or default_build(f"{version.major}.{version.minor}", facts)
    if built != target.token:
        yield f"built for {built}, asked for {target.token}"


def default_build(minor: str, facts: Facts) -> str:
    """The build that the package index serves this machine: CUDA on Linux, on aarch64 since torch 2.11."""
    row = next((r for r in table("torch_builds")["torch"] if r["minor"] == minor), None)
    cpu = facts.host.system != "Linux" or (_machine(facts)[0] != "x86_64" and gpus.numbers(minor) < (2, 11))
    return "cpu" if cpu or row is None else str(row["default"])


def _gpu(reading: Reading, target: Target, facts: Facts) -> Iterator[str]:
    """Whether this torch would run here at all: the driver and every GPU, as the tables know them."""
    if not target.token.startswith("cu") or published.serves(target.minor, target.token, facts) is not False:
        return
    driver, cuda = facts.host.driver, published.cuda_of(target.token) or ""
    if driver and gpus.driver_runs(driver.version, cuda, facts.host.system) is False:
        oldest = gpus.minimum_driver(cuda, facts.host.system)
        yield f"{target.token} needs driver {oldest} or newer, yours is {driver.version}"
        return
    names = ", ".join(f"{g.name} ({c})" for c, g in gpus.capabilities(facts.host.gpus).items())
    yield f"torch {target.minor} for {target.token} has no code for {names}"


def order(filename: str, facts: Facts) -> tuple[Any, ...]:
    """For sorting, pip's best last: the version, the tag, the build number."""
    from packaging.version import Version

    reading = Reading.of(filename)
    if reading is None:
        return (Version("0.dev0"), -1 << 30, (), filename)
    known = tags(facts)
    place = min((known[tag] for tag in reading.tags if tag in known), default=1 << 30)
    return (reading.version, -place, reading.build, filename)
