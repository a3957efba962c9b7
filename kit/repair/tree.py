"""What lies in folders (kind, mode, time, size), and how a file is kept beside them and brought back.

Byte code (``__pycache__``) is left out: Python writes it anew.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Optional

FOLDER = ".kit"  # what the kit keeps in an environment; no part of it
LEFT_OUT = frozenset(["__pycache__", FOLDER])
_KEPT_AS_COPY = (".pth", ".egg-link")  # pip writes these in place, and a hard link would change with them

Entry = list[Any]


def look(path: str) -> Optional[Entry]:
    """What lies at ``path``: kind, mode or target, mtime in ns, then size and inode of a file.  None: nothing."""
    try:
        return _entry(path, os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _entry(path: str, found: os.stat_result) -> Entry:
    if stat.S_ISLNK(found.st_mode):
        return ["link", os.readlink(path), found.st_mtime_ns]
    kind = "file" if stat.S_ISREG(found.st_mode) else "folder" if stat.S_ISDIR(found.st_mode) else "other"
    size = [found.st_size, found.st_ino] if kind == "file" else []
    return [kind, stat.S_IMODE(found.st_mode), found.st_mtime_ns, *size]


def walk(tops: Iterable[str]) -> dict[str, Entry]:
    """Every path in these folders, with what lies there; a link to a folder is not followed."""
    tree: dict[str, Entry] = {}
    waiting = []
    for top in tops:
        entry = look(top)
        if entry is not None:
            tree[top] = entry
            waiting += [top] if entry[0] == "folder" else []
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for item in entries:
                if item.name not in LEFT_OUT and item.path not in tree:
                    tree[item.path] = entry = _entry(item.path, item.stat(follow_symlinks=False))
                    waiting += [item.path] if entry[0] == "folder" else []
    return tree


def same(one: Optional[Entry], other: Optional[Entry]) -> bool:
    """Whether two entries are alike as far as kind, mode, time and size tell; the inode may differ."""
    return (one is None) == (other is None) and (one or [])[:4] == (other or [])[:4]


def ancestors(path: str) -> Iterator[str]:
    """The folders above ``path``, the nearest first."""
    above = os.path.dirname(path)
    while above != path:
        yield above
        path, above = above, os.path.dirname(above)


def inside(path: str, top: str) -> bool:
    """Whether ``path`` is the folder ``top`` or lies in it."""
    return path == top or path.startswith(top + os.sep)


def strays(paths: Iterable[str], root: str) -> set[str]:
    """Where pip holds what it removes until all is well: ``~orch`` beside ``torch``, or beside any folder above."""
    found = set()
    for folder in {above for path in paths for above in ancestors(path) if inside(above, root)}:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found |= {os.path.join(folder, name) for name in os.listdir(folder) if name.startswith("~")}
    return found


def placed(path: str) -> str:
    """``path`` in the form that :func:`walk` has: its folder without links, itself not followed."""
    path = os.path.abspath(path)
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def keep(path: str, kept: str) -> None:
    """Keep a file as a hard link, which needs no room; as a copy where a link cannot be."""
    if not path.endswith(_KEPT_AS_COPY):
        with contextlib.suppress(OSError):
            os.link(path, kept)
            return
    shutil.copy2(path, kept)


def bring_back(kept: str, path: str, entry: Entry) -> list[str]:
    """Bring back a kept file; may be done again.  Returns what went wrong, in words."""
    now, held = look(path), look(kept)
    if held is None:  # brought back before, or never changed
        return [] if same(now, entry) else [f"{path} cannot be brought back: what was kept of it is gone"]
    notes = []
    if held[2:4] != entry[2:4]:
        notes.append(f"{path} was written in place meanwhile: it is there, not as it was")
        entry = [*entry[:2], *held[2:]]
    if now is None or now[0] != "file" or now[4] != held[4]:
        if now is not None and now[0] == "folder":
            remove(path)
        try:
            os.replace(kept, path)  # needs no room either
        except OSError:  # another device
            shutil.copy2(kept, path + FOLDER)
            os.replace(path + FOLDER, path)
    restamp(path, entry)
    return notes


def restamp(path: str, entry: Entry) -> None:
    """Give a file or folder its mode and its time where it has others."""
    now = look(path)
    if now is not None and now[0] == entry[0] != "link" and now[:3] != entry[:3]:
        os.chmod(path, entry[1])
        os.utime(path, ns=(entry[2], entry[2]))


def move_back(source: str, target: str, times: Mapping[str, Optional[Entry]]) -> list[str]:
    """Move ``target`` back to ``source``; may be done again.  Returns what went wrong, in words."""
    if os.path.lexists(target):
        if os.path.lexists(source):
            return [f"{target} stays there: something new lies at {source}"]
        os.rename(target, source)
    for folder, entry in times.items():
        if entry is not None:
            restamp(folder, entry)
    return []


def remove(path: str) -> None:
    """Remove what lies at ``path``, whatever it is."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(path)


def sync(folder: str) -> None:
    """Have the names in a folder on the disk, where the system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def append(file: str, line: bytes) -> None:
    """Add a line to a file, all of it or nothing, on the disk when this returns; one that was torn stays apart."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
    try:
        size = os.fstat(descriptor).st_size
        os.lseek(descriptor, max(0, size - 1), os.SEEK_SET)
        torn = size > 0 and os.read(descriptor, 1) != b"\n"
        text = b"\n" * torn + line + b"\n"
        try:
            while text:
                text = text[os.write(descriptor, text) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
