"""Reads the compiled files of a wheel in memory, as if it were installed; nothing is unpacked to disk."""

import io
import mmap
import posixpath
import re
import struct
import zipfile
import zlib
from typing import NamedTuple, Optional

from kit.collect.binary import LIBRARY
from kit.collect.elf import Buffer
from kit.errors import KitError

LARGEST = 1 << 30  # bytes of one file; libtorch_cuda.so of torch 2.13 has 470 MB
LARGEST_SUM = 2 << 30  # bytes of all that are held in memory
# Of a small wheel less is held: a zip bomb grows a thousandfold, compiled files three- to tenfold.
GROWTH, SMALL_SUM = 50, 64 << 20
MOST = 5000  # compiled files
_LARGEST_INDEX = 16 << 20  # bytes; that of a torch wheel has 1 MB
_STEP = 1 << 20
_COMPILED = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


class Wheel(NamedTuple):
    """``files``: content by the path below site-packages; ``unread``: (path in the wheel, why); its Python tag."""

    files: dict[str, Buffer]
    unread: list[tuple[str, str]]
    python_tag: Optional[str]


def read(path: str) -> Wheel:
    """The shared libraries of the wheel at ``path``.  Raises KitError where it is no zip archive."""
    files: dict[str, Buffer] = {}
    unread: list[tuple[str, str]] = []
    try:
        with _Bounded(path, "rb") as stream, zipfile.ZipFile(stream) as archive:
            room = min(LARGEST_SUM, max(SMALL_SUM, GROWTH * stream.seek(0, io.SEEK_END)))
            members = [member for member in archive.infolist() if LIBRARY.search(member.filename)]
            if len(members) > MOST:
                raise KitError(f"{path} holds {len(members):,} compiled files, more than {MOST:,}: unpack it")
            for member in members:
                name = _installed(member.filename)
                if name is None:
                    unread.append((member.filename, "its path leads out of the wheel: not read"))
                elif member.file_size > min(LARGEST, room):
                    why = f"{member.file_size:,} bytes, more than are read from a wheel: install it and X-ray that"
                    unread.append((member.filename, why))
                else:
                    room -= member.file_size
                    content = _content(archive, member)
                    if isinstance(content, str):
                        unread.append((member.filename, content))
                    else:
                        files[name] = content
    except _BAD as error:
        raise KitError(f"{path} is not a whole wheel: {error}") from None
    except OSError as error:
        raise KitError(f"{path} cannot be read: {error.strerror or error}") from None
    return Wheel(files, unread, _python_tag(path))


class _Bounded(io.FileIO):
    """A file of which no large part is read at once, whatever length its index claims to have."""

    def read(self, size: Optional[int] = -1) -> bytes:
        if size is None or size < 0:
            size = _LARGEST_INDEX  # zipfile looks for the end of the archive in the last 64 KiB
        if size > _LARGEST_INDEX:
            raise zipfile.BadZipFile("its index is too large")
        return super().read(size) or b""


# What zipfile raises for a damaged archive, and (RuntimeError) for an encrypted one and one of a later format.
_BAD = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, LookupError, OverflowError, RuntimeError)


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> "Buffer | str":
    """The file, or why it is not read.  What the index says of its size is not believed."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "its compression is none that wheels use: not read"  # of the others, zipfile bounds no memory
    try:
        with archive.open(member) as stream:
            block = stream.read(_STEP)
            if not block.startswith(_COMPILED):
                return "not a compiled file"
            content = mmap.mmap(-1, member.file_size)  # memory of its own, without a copy at the end
            while block:
                if content.tell() + len(block) > len(content):
                    return "larger than the wheel says: damaged"
                content.write(block)
                block = stream.read(_STEP)
            return content if content.tell() == len(content) else "smaller than the wheel says: damaged"
    except _BAD as error:
        return f"damaged: {error}"
    except (OSError, MemoryError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or 'not enough memory'}"


def _installed(name: str) -> Optional[str]:
    """Where an installer puts a file, below site-packages; None where that is elsewhere."""
    name = re.sub(r"^[^/]+\.data/(platlib|purelib)/", "", name)
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ":" in parts[0] or ".." in parts or ".data" in parts[0][-5:]:
        return None
    return posixpath.normpath(name)


def _python_tag(path: str) -> Optional[str]:
    """``cp311`` or ``abi3`` of a wheel's file name (PEP 427); None for ``py3``, which no compiled code asks for."""
    parts = re.sub(r"\.whl$", "", posixpath.basename(path)).split("-")
    if len(parts) < 5:
        return None
    return "abi3" if "abi3" in parts[-2] else parts[-3] if re.fullmatch(r"cp\d+", parts[-3]) else None
