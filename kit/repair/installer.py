"""Which pip serves an environment, and whether the environment may be changed at all.

In this order: the environment's own pip; the one that its Python's ensurepip brings (an environment that ``venv``
made without pip, or uv); the kit's own with ``--python``.  None of them sees what this process has in ``PIP_*`` and
``PYTHON*``, but for indexes, proxies and certificates.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Optional

from kit.collect import interpreter, redactor
from kit.collect.run import run
from kit.errors import KitError
from kit.facts import normalise
from kit.record import Record
from kit.repair.places import LIMIT, ask, metadata, sources

REPORTS = (22, 2)  # since then pip has --dry-run and --report
POINTS = (22, 3)  # since then pip has --python
TWIN = "make an environment of its own: kit repair --into PATH"


class Installer(Record):
    """``argv`` begins a pip command; ``root`` is the folder that holds the environment, ``sites`` where its packages
    lie, ``places`` where pip puts a wheel's parts (``purelib``, ``platlib``, ``scripts``, ``data``, ``headers``).

    ``kind`` is ``venv``, ``uv``, ``conda``, ``user`` or ``system``; ``version`` that of pip, ``why`` which one it is.
    """

    python: str
    argv: tuple[str, ...]
    kind: str
    root: str
    sites: tuple[str, ...]
    places: Mapping[str, str]
    version: tuple[int, ...]
    why: str

    def refuse(self, names: Iterable[str]) -> None:
        """Raise KitError where one of these packages is not pip's to change."""
        if self.kind != "conda":
            return
        for name in names:
            for folder in metadata(self.sites, name):
                if _read(os.path.join(folder, "INSTALLER")).strip() not in ("pip", "uv") and _of_conda(self, folder):
                    raise KitError(
                        f"{name} was installed by conda in {redactor()(self.root)}, and pip would break what conda "
                        f"knows of it; let conda change it: conda install -p {redactor()(self.root)} {name}=VERSION"
                    )

    def unpacked(self, folder: str) -> tuple[str, ...]:
        """``argv``, with a pip that is a wheel unpacked into ``folder``: from a zip archive it takes three times as
        long to start.  Raises OSError."""
        wheel = os.path.dirname(self.argv[-1])
        if not wheel.endswith(".whl"):
            return self.argv
        import zipfile

        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        return (*self.argv[:-1], os.path.join(folder, "pip"))

    def environment(self, sources: Optional[Mapping[str, str]] = None, **more: str) -> dict[str, str]:
        """Variables for a pip command; without ``sources`` it reaches no index and reads no configuration."""
        kept = {k: v for k, v in os.environ.items() if not re.match(r"PIP_|PYTHON|__PYVENV|VIRTUAL_ENV$|UV_", k)}
        if self.kind == "user" and "PYTHONUSERBASE" in os.environ:
            kept["PYTHONUSERBASE"] = os.environ["PYTHONUSERBASE"]
        fixed = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONUTF8": "1",
            "PYTHONNOUSERSITE": "" if self.kind == "user" else "1",
        }
        return {**kept, **(sources or {}), **fixed, **more}

    def sources(self) -> dict[str, str]:
        """Where pip's configuration and variables have packages come from, as ``PIP_*`` variables."""
        own = {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        env = {k: v for k, v in self.environment().items() if k != "PIP_CONFIG_FILE"}
        outcome = run([*self.argv, "config", "list"], LIMIT, {**env, **own})
        return sources(outcome.out, own)


def choose(python: str, names: Iterable[str] = ()) -> Installer:
    """The pip for the environment of ``python``, in which the packages ``names`` are to be changed.

    Raises KitError with the reason, and what to do instead, where that must not or cannot be.
    """
    executable, names = interpreter(python), tuple(map(normalise, names))
    said = ask(executable)
    root, kind = os.path.realpath(said["prefix"]), "venv" if said["venv"] else "system"
    places = dict(said["paths"])
    if os.path.isdir(os.path.join(root, "conda-meta")):
        kind = "conda"
    elif kind == "venv" and re.search(r"^uv\s*=", _read(os.path.join(root, "pyvenv.cfg")), re.M):
        kind = "uv"
    shown = redactor()(executable)
    if said["managed"] is not None and kind == "system":
        raise KitError(f"{shown} belongs to the system, which manages its packages (PEP 668); {TWIN}")
    if kind == "system" and not _writable(places["purelib"]):
        _only_in_user_site(said, names, shown)
        kind, places = "user", dict(said["user"]["paths"])
    root = os.path.realpath(places["data"])
    for folder in (places["purelib"], places["platlib"], root):
        if not _writable(folder):
            raise KitError(
                f"{redactor()(folder)} cannot be written by this user, so nothing in it can be mended; {TWIN}"
            )
    within = os.path.join(root, "include", "site", f"python{said['minor']}")
    places["headers"] = within if kind in ("venv", "uv") else places.get("include", within)
    places = {name: os.path.realpath(place) for name, place in places.items()}
    argv, version, why = _pip(executable, said, kind)
    sites = tuple(dict.fromkeys((places["purelib"], places["platlib"])))
    chosen = Installer(executable, argv, kind, root, sites, places, version, why)
    chosen.refuse(names)
    return chosen


def _only_in_user_site(said: Mapping[str, Any], names: Iterable[str], shown: str) -> None:
    """Raise KitError unless this user's own folder is in use and none of the packages lies in the system's."""
    system = [said["paths"]["purelib"], said["paths"]["platlib"]]
    theirs = [name for name in names if metadata(system, name)]
    if theirs:
        where = redactor()(system[0])
        raise KitError(
            f"{', '.join(theirs)} lies in {where}, which only the system's administrator may change; {TWIN}"
        )
    if not said["user"]["on"]:
        raise KitError(f"the packages of {shown} belong to the system's administrator; {TWIN}")


def _pip(executable: str, said: Mapping[str, Any], kind: str) -> tuple[tuple[str, ...], tuple[int, ...], str]:
    alone = () if kind == "user" else ("-I",)  # its own packages only; of a user's Python, the user's as well
    own, bundled, choices = said["pip"], said["bundled"], []
    if own:
        choices.append(((executable, *alone, "-m", "pip"), _numbers(own[0]), f"pip {own[0]} of the environment"))
    if bundled:
        version = os.path.basename(bundled).split("-")[1]
        why = f"pip {version} that Python {said['minor']} brings" + ("" if own else ": the environment has none")
        choices.append(((executable, *alone, os.path.join(bundled, "pip")), _numbers(version), why))
    import importlib.metadata  # slow to import

    try:
        about = importlib.metadata.metadata("pip")
        version, wanted = about["Version"], _numbers(about["Requires-Python"] or "")
        if _numbers(version) >= POINTS and wanted <= _numbers(said["minor"]):
            argv = (sys.executable, "-I", "-m", "pip", "--python", executable)
            choices.append((argv, _numbers(version), f"pip {version} of the kit's own Python"))
    except importlib.metadata.PackageNotFoundError:
        pass
    if not choices:
        raise KitError(
            f"neither {redactor()(executable)} nor the kit's Python has pip; try {executable} -m ensurepip"
        )
    # An old pip cannot say beforehand what it would install; one that can is better.
    return next((choice for choice in choices if choice[1] >= REPORTS), choices[0])


def _of_conda(it: Installer, folder: str) -> bool:
    listed, name = os.path.join(it.root, "conda-meta"), os.path.basename(folder)
    return any(f.endswith(".json") and name in _read(os.path.join(listed, f)) for f in os.listdir(listed))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def _writable(folder: str) -> bool:
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK | os.X_OK)


def _read(file: str) -> str:
    try:
        with open(file, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""
