"""Finds the compiled files that a path stands for, and the environment in which they would load; reads them."""

import glob
import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from kit.collect import binary, inside, read_inside, wheel
from kit.errors import KitError
from kit.symbols import printable

Json = dict[str, Any]
_WHEEL, _ARCHIVES = (".whl", ".zip"), (".gz", ".bz2", ".xz", ".conda", ".tar", ".egg")


class Environment(NamedTuple):
    """What :mod:`kit.collect.inside` said of the environment, and ``words`` for it."""

    data: Json
    words: str


def read(path: str, against: Optional[str]) -> tuple[list[Json], Environment]:
    """Every compiled file of ``path`` as the dictionary of :class:`kit.facts.Binary`, and the environment.

    ``against`` names an interpreter or a folder; None is the environment that ``path`` lies in, else the one that
    runs this.  Raises KitError where ``path`` is nothing that can be read.  The names in files, and those of files,
    may hold anything: what comes back is printable.
    """
    try:
        rows, environment = _read(path, against)
    except KitError as error:
        raise KitError(printable(str(error))) from None
    return printable(rows), environment._replace(words=printable(environment.words))


def _read(path: str, against: Optional[str]) -> tuple[list[Json], Environment]:
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        raise KitError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        if _python_of(path):
            environment = environment_of(path, against)
            return _whole(path, environment), environment
        environment = environment_of(path, against)
        found = [os.path.join(root, name) for root, name in _walk(path)]
        if not found:
            raise KitError(f"{path} holds no compiled file (.so, .pyd, .dll, .dylib)")
        target = binary.Target.of(environment.data)
        return [target.read(os.path.abspath(f), f) for f in found], environment
    if not stat.S_ISREG(mode):
        raise KitError(f"{path} is no file, wheel or folder")
    if path.endswith(_WHEEL):
        return _wheel(path, environment_of(None, against))
    return [_file(path, environment := environment_of(path, against))], environment


def _whole(path: str, environment: Environment) -> list[Json]:
    """Of an environment: what links against torch or holds GPU code.  NVIDIA's own libraries are judged with torch,
    for which they are there; among them are plug-ins for networks and schedulers that few machines have."""
    site, target = _site(environment.data), binary.Target.of(environment.data)
    nvidia = os.path.join(site, "nvidia")
    found = [os.path.join(root, name) for root, name in _walk(site) if not root.startswith(nvidia)]
    rows = [row for file in found for row in target.extension(file, file)]
    if not rows:
        raise KitError(f"{path} holds no compiled file that links against torch or holds GPU code")
    return rows


def _file(path: str, environment: Environment) -> Json:
    row = binary.Target.of(environment.data).read(os.path.abspath(path), path)
    if row.get("format") == "unknown":
        hint = "; unpack it, and X-ray the folder" if path.endswith(_ARCHIVES) else ""
        raise KitError(f"{path} is no compiled file or wheel: {row['why'][0]}{hint}")
    return row


def _wheel(path: str, environment: Environment) -> tuple[list[Json], Environment]:
    archive, site = wheel.read(path), _site(environment.data)
    overlay = {os.path.join(site, *name.split("/")): content for name, content in archive.files.items()}
    target = binary.Target.of(environment.data, overlay)
    rows = [target.read(file, f"{path}/{name}") for file, name in zip(overlay, archive.files)]
    for row in rows:
        row["python_tag"] = row["python_tag"] or archive.python_tag
    for name, why in archive.unread:
        loads = False if why.startswith("damaged") else None
        rows.append({"path": f"{path}/{name}", "format": "unknown", "loads": loads, "why": [why]})
    if not rows:
        raise KitError(f"{path} holds no compiled file: a wheel of Python code alone fits every torch")
    return rows, environment


def environment_of(path: Optional[str], against: Optional[str]) -> Environment:
    """The environment that is meant: the one that ``path`` is or lies in (None: a wheel, which lies in none).

    A folder without an interpreter is put in front of the import path.

    Only what ``against`` names is run, to ask it for its import path.  An environment that merely has ``path`` in it
    is read: who unpacks an archive to look into it does not want its ``bin/python`` started.
    """
    if against is None:
        around = next(filter(_python_of, _parents(path)), None) if path else None
        return _described(_unrun(around) if around else inside.collect())
    if not os.path.isdir(os.path.expanduser(against)):
        return _described(read_inside(against))
    folder = os.path.abspath(os.path.expanduser(against))
    python = _python_of(folder)
    if python is None and not os.path.isdir(os.path.join(folder, "torch")):
        raise KitError(f"{against} is no environment: it has neither bin/python nor a torch folder")
    return _described(read_inside(python) if python else inside.collect([folder, *inside.import_path(sys.path)]))


def _unrun(folder: str) -> Json:
    """An environment as its files describe it; its interpreter is not started."""
    sites = sorted(glob.glob(os.path.join(glob.escape(folder), "lib*", "python3.*", "site-packages")))
    found = re.search(r"python3\.(\d+)(t?)$", os.path.dirname(sites[0])) if sites else None
    data: Json
    if found is None:
        data = inside.collect()
        return data
    minor, threads = found.groups()
    try:
        with open(os.path.join(folder, "pyvenv.cfg"), encoding="utf-8", errors="replace") as stream:
            told = dict(re.findall(r"^\s*([\w-]+)\s*=\s*(.*?)\s*$", stream.read(1 << 16), re.M))
    except OSError:
        told = {}  # conda has none
    if told.get("include-system-site-packages", "").lower() == "true" and told.get("home"):
        base = os.path.dirname(told["home"])
        for name in (f"lib*/python3.{minor}{threads}/site-packages", "lib/python3/dist-packages"):
            sites += sorted(glob.glob(os.path.join(glob.escape(base), name)))
    data = inside.collect(sites)
    data["python"].update(
        executable=os.path.join(folder, "bin", "python"),
        version=told.get("version") or told.get("version_info") or f"3.{minor}",
        abi=f"cp3{minor}{threads}",
        prefix=folder,
    )
    return data


def _described(data: Json) -> Environment:
    python, torch = data["python"], data["torch"]
    version = f"torch {torch['version']}" if torch else "no torch"
    return Environment(data, f"Python {python['version']}, {version}, {python['executable']}")


def _python_of(folder: str) -> Optional[str]:
    """The interpreter of a virtual or conda environment's folder; None where it is none."""
    if any(os.path.exists(os.path.join(folder, name)) for name in ("pyvenv.cfg", "conda-meta")):
        python = os.path.join(folder, "bin", "python")
        return python if os.path.exists(python) else None
    return None


def _parents(path: str) -> Iterator[str]:
    """``path`` and the folders around it, the nearest first."""
    current = os.path.abspath(path)
    yield current
    while current != os.path.dirname(current):
        current = os.path.dirname(current)
        yield current


def _site(data: Json) -> str:
    """The folder into which packages are installed: torch's, else the first site-packages of the import path."""
    if data["torch"]:
        location: str = data["torch"]["location"]
        return os.path.dirname(location)
    folders: list[str] = [
        entry for entry in data["python"]["path"] if entry.endswith(("site-packages", "dist-packages"))
    ]
    return folders[0] if folders else str(data["python"]["prefix"])


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    waiting = [folder]  # not os.walk, which before Python 3.12 calls itself for each level and gives up at a thousand
    while waiting:
        root = waiting.pop()
        try:
            with os.scandir(root) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError:
            continue
        # Links to folders are not followed: they may lead back.
        waiting += [os.path.join(root, name) for name, is_folder in reversed(found) if is_folder]
        yield from ((root, name) for name, is_folder in found if not is_folder and binary.LIBRARY.search(name))
