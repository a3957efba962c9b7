"""Versions and hashes from the package index, asked through pip: its configuration, mirrors and proxies count.

``pip install --dry-run --report`` installs nothing; it answers which file pip would take for each requirement, with
its SHA-256.  Where pip cannot answer (no network, a Python that is not here) the reason is kept and told.
"""

import dataclasses
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any, Optional

from kit.collect.run import run
from kit.errors import KitError
from kit.facts import normalise
from kit.recipes.writing.wish import PYPI, Pin, Wishes
from kit.record import Record

_BUILDS = ("torch", "torchvision", "torchaudio")
LIMIT = 600.0  # seconds: an index without metadata files makes pip fetch whole wheels
_MOST_MISSING = 8  # packages that pip does not find, before it is taken to find none
_GLIBC = 28  # torch's own wheels need 2.28
_OLDER = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


class NotLocked(KitError):
    """pip gave no answer; the message says why."""


class File(Record):
    """The file that pip would take for one package."""

    name: str
    version: str
    sha256: Optional[str]
    address: str


def newest(name: str, python: str, offline: bool, below: str = "") -> str:
    """The newest release that pip would install for this Python.  KitError where nobody can be asked."""
    name_it = f"name a version: --package {name}==VERSION"
    if offline:
        raise KitError(f"the newest {name} is not known offline: {name_it}")
    try:
        (found,) = _files([name + below], python, (), ["--no-deps"])
    except NotLocked as error:
        raise KitError(f"the newest {name} cannot be had ({error}): {name_it}") from None
    return found.version


def locked(wishes: Wishes) -> Wishes:
    """The same with all that the packages require among the pins, and a hash for each where one can be had.

    What cannot be had is told in the notes; the wishes stay right without it.
    """
    pins, notes = list(wishes.pins), []
    if not wishes.complete:
        try:
            pins = _closed(wishes)
            wishes = dataclasses.replace(wishes, complete=True)
        except NotLocked as error:
            return _noted(wishes, [f"what these packages require is not pinned: {error}"])
    asked = [pin for pin in pins if not pin.sha256 and pin.source not in ("address", "compiled")]
    hashes, reasons = _hashes(asked, wishes)
    for pin in pins:
        if pin.source == "compiled" and not pin.sha256:
            found, why = _source_hash(pin)
            hashes.update({pin.name: found} if found else {})
            reasons.update({} if found else {pin.name: why})
        elif pin.source == "address":
            reasons[pin.name] = "it is named by its address"
    pins = [dataclasses.replace(p, sha256=(hashes[p.name],)) if p.name in hashes else p for p in pins]
    by_reason: dict[str, list[str]] = {}
    for name, why in reasons.items():
        by_reason.setdefault(why, []).append(name)
    notes += [f"no hash for {', '.join(names)}: {why}" for why, names in by_reason.items()]
    return _noted(dataclasses.replace(wishes, pins=tuple(pins)), notes)


def _noted(wishes: Wishes, notes: Sequence[str]) -> Wishes:
    return dataclasses.replace(wishes, notes=(*wishes.notes, *notes))


def _closed(wishes: Wishes) -> list[Pin]:
    """The pins and, after them, what they require.  Its markers are read by the pip that runs, so by its Python."""
    if not _here(wishes.python, wishes.system):
        where = f"Python {wishes.python} on {wishes.system}"
        raise NotLocked(f"that takes a pip of {where}, and this kit runs on Python {platform.python_version()}")
    compiled = {pin.name for pin in wishes.compiled}
    asked = [_exact(pin) for pin in wishes.pins if pin.name not in compiled]
    files = {file.name: file for file in _files(asked, wishes.python, _places(wishes), [], wishes.system)}
    known = {pin.name: pin for pin in wishes.pins}
    pins = [
        dataclasses.replace(pin, sha256=(files[pin.name].sha256 or "",)) if _hashed(files.get(pin.name)) else pin
        for pin in wishes.pins
    ]
    for name in sorted(set(files) - set(known)):
        file = files[name]
        source = "torch" if re.search(r"\+(cpu|cu\d+)$", file.version) else "index"
        pins.append(Pin(name, file.version, source, named=False, sha256=(file.sha256,) if file.sha256 else ()))
    return pins


def _hashed(file: Optional[File]) -> bool:
    return file is not None and file.sha256 is not None


def _hashes(pins: Sequence[Pin], wishes: Wishes) -> tuple[dict[str, str], dict[str, str]]:
    """({name: hash}, {name: why there is none}).  pip refuses all where it cannot find one: then without that one."""
    reasons: dict[str, str] = {}
    files: list[File] = []
    while len(reasons) < len(pins):
        specs = [_exact(pin) for pin in pins if pin.name not in reasons]
        try:
            files = _files(specs, wishes.python, _places(wishes), ["--no-deps"], wishes.system)
            break
        except NotLocked as error:
            missing = re.search(r"No matching distribution found for ([\w.-]+)", str(error))
            name = normalise(missing[1]) if missing else ""
            known = any(pin.name == name for pin in pins) and name not in reasons
            if not known or len(reasons) >= _MOST_MISSING:
                reasons.update({pin.name: str(error) for pin in pins if pin.name not in reasons})
            else:
                reasons[name] = str(error)
    found = {file.name: file.sha256 for file in files if file.sha256}
    reasons.update({pin.name: "its index tells none" for pin in pins if pin.name not in {**found, **reasons}})
    return found, reasons


def _exact(pin: Pin) -> str:
    """``==2.13.0`` would also take 2.13.0+cpu, another build, where a folder of wheels has it."""
    return pin.spec if "+" in pin.version or pin.name not in _BUILDS else f"{pin.name}==={pin.version}"


def _places(wishes: Wishes) -> tuple[str, ...]:
    """Where pip is to look besides the package index."""
    words: tuple[str, ...] = ("--extra-index-url", wishes.torch_index) if wishes.of("torch") else ()
    return (*words, "--find-links", wishes.pyg_page) if wishes.of("pyg") else words


_NO_PIP = "the Python that runs the kit has no pip that can report (22.2 and newer can)"


def _files(
    specs: Iterable[str], python: str, places: Sequence[str], options: Sequence[str], system: str = "Linux"
) -> list[File]:
    """What pip would install.  NotLocked with pip's own words."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    with tempfile.TemporaryDirectory() as folder:
        other = [] if _here(python, system) else _tags(python, system, folder)
        outcome = run([*pip, "--retries", "1", *options, *other, *places, *specs], LIMIT, _quiet())
    if outcome.status is None:
        raise NotLocked(f"pip did not answer within {LIMIT:.0f} s")
    if outcome.status != 0:
        raise NotLocked(_said(outcome.err))
    try:
        report = json.loads(outcome.out)
    except ValueError:
        raise NotLocked(_NO_PIP) from None
    return [_file(item) for item in report["install"]]


def _file(item: dict[str, Any]) -> File:
    about, where = item["metadata"], item["download_info"]
    digest = where.get("archive_info", {}).get("hashes", {}).get("sha256")
    return File(normalise(about["name"]), about["version"], digest, where["url"])


def _said(stderr: str) -> str:
    """The reason among pip's lines: the last error, without what only pip's developers need."""
    if "No module named pip" in stderr or "no such option: --report" in stderr:
        return _NO_PIP
    errors = [line[7:].strip() for line in stderr.splitlines() if line.startswith("ERROR: ")]
    lines = errors or stderr.strip().splitlines() or ["pip failed without a word"]
    from kit import redact

    return "pip says: " + redact.text(re.sub(r"\s*\(from versions: .*\)", "", lines[-1]))[:200]


def _here(python: str, system: str) -> bool:
    """Whether the files for this interpreter are those that the recipe is for."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    same = (own, platform.system(), sys.implementation.name) == (python, system, "cpython")
    return same and (system != "Linux" or platform.machine() == "x86_64")


def _tags(python: str, system: str, folder: str) -> list[str]:
    """pip's options for another Python than its own: wheels alone, and nothing is put into ``folder`` either."""
    if system != "Linux":
        raise NotLocked(f"which wheels fit Python {python} on {system}, its own pip tells: run the kit there")
    short = "cp" + python.replace(".", "")
    words = ["--python-version", python, "--implementation", "cp", "--abi", short, "--abi", "abi3", "--abi", "none"]
    for minor in range(_GLIBC, 4, -1):
        words += ["--platform", f"manylinux_2_{minor}_x86_64"]
        words += ["--platform", f"{_OLDER[minor]}_x86_64"] if minor in _OLDER else []
    return [*words, "--platform", "linux_x86_64", "--only-binary=:all:", "--target", folder]


def _quiet() -> dict[str, str]:
    """The variables without those that would have pip install elsewhere or ask for hashes."""
    dropped = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_REQUIRE_HASHES", "PIP_CONSTRAINT", "PIP_REQUIREMENT")
    named = {name: value for name, value in os.environ.items() if name not in dropped}
    return {**named, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PIP_REQUIRE_VIRTUALENV": "0"}


def _source_hash(pin: Pin) -> tuple[Optional[str], str]:
    """(hash, '') of a source distribution, or (None, why not).  pip would run its setup.py to answer: the index's
    page is read instead."""
    from kit.wheels.network import pip_options
    from kit.wheels.web import Web

    index = pip_options(sys.prefix).get("index-url", PYPI).rstrip("/")
    try:
        page = Web(sys.prefix).page(f"{index}/{pin.name}/")
    except KitError as error:
        return None, str(error)
    wanted = re.escape(pin.name).replace(r"\-", "[-_.]") + "-" + re.escape(pin.version)
    found = re.search(rf'[">/]{wanted}\.(?:tar\.gz|zip)#sha256=([0-9a-f]{{64}})"', page.text, re.IGNORECASE)
    return (found[1], "") if found else (None, "its source is not on the package index")
