"""Which files a change of packages touches: those of what is replaced, and those that a wheel brings."""

import configparser
import csv
import os
import zipfile
import zlib
from collections.abc import Iterable

from kit.errors import KitError
from kit.facts import normalise
from kit.record import Record
from kit.repair.installer import Installer
from kit.repair.places import metadata
from kit.repair.tree import placed, walk

_BAD = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, LookupError, RuntimeError, NotImplementedError)


class Wheel(Record):
    """A wheel on disk that was checked: what it is, and the files that pip will make of it."""

    path: str
    name: str
    version: str
    sha256: str
    files: frozenset[str]
    compiled: bool


def wheel(path: str, to: Installer) -> Wheel:
    """The wheel at ``path``, read in full.  Raises KitError where it is damaged or not what its name says."""
    import hashlib

    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    shown = os.path.basename(path)
    try:
        name, version, _, _ = parse_wheel_filename(shown)
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
            if bad is not None:
                raise KitError(f"{shown} is damaged: {bad} is not what it should be; nothing was installed of it")
            items = [item for item in archive.namelist() if not item.endswith("/")]
            info = next(i for i in items if i.count("/") == 1 and i.endswith(".dist-info/METADATA"))
            about = _fields(archive.read(info))
            scripts = _entry_points(archive, info.replace("METADATA", "entry_points.txt"), items)
            pure = _fields(archive.read(info.replace("METADATA", "WHEEL"))).get("root-is-purelib", "") != "false"
        with open(path, "rb") as stream:
            digest = hashlib.sha256()
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
    except InvalidWheelFilename as error:
        raise KitError(f"{shown} is no name of a wheel: {error}") from None
    except StopIteration:
        raise KitError(f"{shown} is no wheel: it has no metadata") from None
    except _BAD as error:
        raise KitError(f"{shown} is damaged: {error}; nothing was installed of it") from None
    said = f"{about.get('name', '')} {about.get('version', '')}"
    if normalise(about.get("name", "")) != name or not _same(about.get("version", ""), str(version)):
        raise KitError(f"{shown} says of itself that it is {said}; it was not installed")
    files = {_target(item, to, name, "purelib" if pure else "platlib", shown) for item in items}
    files |= {os.path.join(to.places["scripts"], script) for script in _script_files(scripts)}
    compiled = any(item.endswith((".so", ".pyd", ".dylib")) for item in items)
    return Wheel(path, name, str(version), digest.hexdigest(), frozenset(map(placed, files)), compiled)


def installed(sites: Iterable[str], names: Iterable[str], scripts: str) -> frozenset[str]:
    """Every file of these distributions that is there, with the lists of paths (``*.pth``) that pip may change."""
    found: set[str] = set()
    for site in filter(os.path.isdir, sites):  # a user's own folder may not be there yet
        found.update(os.path.join(site, item) for item in os.listdir(site) if item.endswith((".pth", ".egg-link")))
        for name in names:
            for about in metadata([site], name):
                found |= _of(site, about)
                commands = _parser()
                try:
                    commands.read(os.path.join(about, "entry_points.txt"), encoding="utf-8")
                except (OSError, configparser.Error, UnicodeDecodeError):
                    continue
                found.update(os.path.join(scripts, file) for file in _script_files(_commands(commands)))
    return frozenset(p for p in map(placed, found) if "__pycache__" not in p.split(os.sep) and os.path.lexists(p))


def _of(site: str, about: str) -> set[str]:
    """The files of the distribution that a metadata folder or file describes."""
    files = {path for path, entry in walk([about]).items() if entry[0] != "folder"}
    for listed, base in (("RECORD", site), ("installed-files.txt", about)):
        try:
            with open(os.path.join(about, listed), encoding="utf-8", errors="replace", newline="") as stream:
                return files | {os.path.join(base, row[0]) for row in csv.reader(stream) if row and row[0]}
        except (OSError, csv.Error):
            continue
    try:  # of old metadata without a list, the packages that it names
        with open(os.path.join(about, "top_level.txt"), encoding="utf-8", errors="replace") as stream:
            names = [name for name in stream.read().split() if name not in (".", "..") and os.sep not in name]
    except OSError:
        return files
    for item in os.listdir(site):
        if item.partition(".")[0] in names:
            files.update(p for p, entry in walk([os.path.join(site, item)]).items() if entry[0] != "folder")
    return files


def _target(item: str, to: Installer, name: str, root: str, shown: str) -> str:
    """Where pip puts a file of a wheel (PEP 427)."""
    parts = item.split("/")
    if ".." in parts or item.startswith("/") or "\\" in item or ":" in parts[0]:
        raise KitError(f"{shown} holds {item!r}, which leads out of the environment; it was not installed")
    if parts[0].endswith(".data") and len(parts) > 2:
        place = to.places.get(parts[1])
        if place is None:
            raise KitError(f"{shown} holds {item!r}, and there is no such place for files; it was not installed")
        return os.path.join(place, *([name] if parts[1] == "headers" else []), *parts[2:])
    return os.path.join(to.places[root], *parts)


def _entry_points(archive: zipfile.ZipFile, item: str, items: Iterable[str]) -> list[str]:
    if item not in items:
        return []
    commands = _parser()
    try:
        commands.read_string(archive.read(item).decode("utf-8", "replace"))
    except configparser.Error as error:
        raise ValueError(f"its entry points cannot be read ({error.args[0].splitlines()[0]})") from None
    return _commands(commands)


def _commands(parsed: configparser.ConfigParser) -> list[str]:
    found = [
        s for part in ("console_scripts", "gui_scripts") if parsed.has_section(part) for s in parsed.options(part)
    ]
    return [script for script in found if script and "/" not in script and "\\" not in script]


def _script_files(scripts: Iterable[str]) -> set[str]:
    """The files of these commands on any system; pip adds Python's version to its own and to easy_install."""
    import sys

    names = set(scripts)
    for own in names & {"pip", "easy_install"}:
        names |= {f"{own}{n}" for n in ("3", "-3")}
        names |= {f"{own}{dash}3.{minor}" for minor in range(8, 20) for dash in ("", "-")}
    endings = ("", ".exe", "-script.py", "-script.pyw", ".exe.manifest") if sys.platform == "win32" else ("",)
    return {name + ending for name in names for ending in endings}


def _fields(text: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.decode("utf-8", "replace").splitlines():
        if not line:
            break
        key, _, value = line.partition(":")
        found.setdefault(key.lower(), value.strip())
    return found


def _same(one: str, other: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _parser() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",), strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # names of commands keep their case
    return parser
