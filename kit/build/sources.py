"""Source distributions and folders: unpacked where they cannot write elsewhere, and told apart by their content."""

import hashlib
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterable

from kit.build.nvcc import CannotBuild

DAMAGED = (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, zlib.error)


def copy(source: str, target: str) -> str:
    """The project in a folder or an sdist, copied to ``target``; its own folder there.  Raises :data:`DAMAGED`."""
    if os.path.isdir(source):
        shutil.copytree(source, target, symlinks=True, ignore=_ignored)
        return target
    unpack(source, target)
    inner = [entry.path for entry in os.scandir(target) if entry.is_dir()]
    return inner[0] if len(inner) == 1 else target


def unpack(file: str, target: str) -> None:
    """Unpack an sdist.  Raises ValueError where it would write elsewhere, else those of :data:`DAMAGED`."""
    os.makedirs(target)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return archive.extractall(target)  # it keeps names below the target
    with tarfile.open(file) as tar:
        for member in tar.getmembers():
            name = os.path.normpath(member.name)
            if os.path.isabs(name) or name.split(os.sep)[0] == os.pardir or not (member.isfile() or member.isdir()):
                raise ValueError(f"it holds {member.name!r}")
        tar.extractall(target, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]


def digest(source: str) -> str:
    """The sha256 of a file; of a folder that of all names and contents."""
    if not os.path.isdir(source):
        return _sha256(source)
    rows = []
    for root, folders, files in os.walk(source):
        folders[:] = sorted(set(folders) - _ignored(root, folders))
        rows += [f"{os.path.relpath(os.path.join(root, f), source)}\0{_sha256(os.path.join(root, f))}" for f in files]
    return hashlib.sha256("\n".join(sorted(rows)).encode()).hexdigest()


def _sha256(file: str) -> str:
    try:
        with open(file, "rb") as stream:
            digest = hashlib.sha256()
            for block in iter(lambda: stream.read(1 << 20), b""):
                digest.update(block)
        return digest.hexdigest()
    except OSError as error:
        raise CannotBuild(f"{file} cannot be read: {error.strerror}; name an sdist or a folder") from None


def _ignored(folder: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if name in (".git", "__pycache__", "build", "dist") or name.endswith(".egg-info")}
