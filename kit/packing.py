"""Packs wheels and source distributions out of a few files: with true metadata, the same bytes at any time."""

import base64
import csv
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Union

Content = Union[str, bytes, Path]  # text, bytes, or a file that holds them

_WHEN = (2026, 1, 1, 0, 0, 0)


def content(of: Content) -> bytes:
    if isinstance(of, Path):
        return of.read_bytes()
    return of.encode() if isinstance(of, str) else of


def wheel(
    folder: Path, name: str, version: str, files: Mapping[str, Content], tag: str, requires: Sequence[str] = ()
) -> Path:
    """A wheel of these files and their metadata, in ``folder``."""
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    pure = str(tag.endswith("none-any")).lower()
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    modules = dict.fromkeys(file.partition("/")[0].partition(".")[0] for file in files)
    about = {
        "METADATA": "\n".join([*metadata, ""]),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: kit\nRoot-Is-Purelib: {pure}\nTag: {tag}\n",
        "top_level.txt": "\n".join([*modules, ""]),
    }
    return pack(folder, name, version, tag, {**files, **{f"{info}/{k}": v for k, v in about.items()}}.items())


def pack(folder: Path, name: str, version: str, tag: str, files: Iterable[tuple[str, Content]]) -> Path:
    """A wheel of files that hold their metadata already; the RECORD is added."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-{tag}.whl"
    rows = io.StringIO()
    record = csv.writer(rows, lineterminator="\n")
    with zipfile.ZipFile(path, "w") as archive:  # not compressed: it is not sent far
        for file, of in files:
            data = content(of)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.writerow((file, f"sha256={digest}", len(data)))
            archive.writestr(zipfile.ZipInfo(file, _WHEN), data)
        record.writerow((f"{stem}.dist-info/RECORD", "", ""))
        archive.writestr(zipfile.ZipInfo(f"{stem}.dist-info/RECORD", _WHEN), rows.getvalue())
    return path


def sdist(folder: Path, name: str, version: str, files: Mapping[str, Content]) -> Path:
    """A source distribution of these files, a ``setup.py`` among them, and its PKG-INFO, in ``folder``."""
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}.tar.gz"
    about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for file, of in {**files, "PKG-INFO": about}.items():
            data = content(of)
            member = tarfile.TarInfo(f"{stem}/{file}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path
