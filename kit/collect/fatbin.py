"""Reads which GPUs a compiled file holds code for: NVIDIA's fatbins, in ELF sections.  Nothing is decompressed.

NVIDIA does not document the format, and no library reads it.  What stands here was found on files that nvcc
built for known architectures, and agrees with ``cuobjdump`` on all of them (tests/fixtures/fatbin)::

    section    containers, aligned to 8 bytes, one for each translation unit
    container  u32 magic BA55ED50, u16 version, u16 header size, u64 size of the entries that follow
    entry      64 bytes or more: u16 kind, u16 version, u32 header size, u64 payload size, u32 compressed size (at 16;
               0: plain), u16 PTX minor, u16 PTX major (24), u32 architecture (28), u64 flags (40); then the payload
"""

import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Optional

from kit.collect.elf import Buffer, Malformed

SECTIONS = (".nv_fatbin", "__nv_relfatbin")  # the second holds relocatable device code, linked later or by nvlink
_MAGIC = b"\x50\xed\x55\xba"
_CONTAINER = struct.Struct("<4sHHQ")
_ENTRY = struct.Struct("<HHIQI4xHHI8xQ16x")
_PTX, _CUBIN = 1, 2
_EXACT, _FAMILY = 0x100000, 0x200000  # flags: sm_90a, sm_100f
_VARIANT = _EXACT | _FAMILY
_RELEASE = b"Cuda compilation tools, release "
_ASKED, _LARGEST = 2, 1 << 23  # so many entries, and bytes of each, are searched for it
# So much is read of a hostile file: containers and entries (a libtorch_cuda.so has tens of thousands), different
# kinds of code, and bytes of padding in sum.
_MOST, _MOST_KINDS, _MOST_PADDING = 1 << 18, 1 << 10, 1 << 26

Code = tuple[int, int, int]  # kind, architecture, variant


class DeviceCode(NamedTuple):
    """What the fatbins of a file hold: ``sm_90`` machine code, ``compute_120`` PTX, and the newest PTX version.

    ``toolkit`` is the CUDA that compiled it, as the machine code says (``'13.0'``); None where that is compressed.
    ``units`` counts the containers that hold code, about one for each source file that nvcc compiled, and ``partial``
    are those of ``architectures`` and ``ptx`` for which fewer than half of them have code.
    """

    architectures: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    ptx_isa: Optional[str] = None
    toolkit: Optional[str] = None
    units: int = 0
    partial: tuple[str, ...] = ()


def read(data: Buffer, regions: "list[tuple[int, int]]") -> DeviceCode:
    """The device code in these (offset, size) regions.  Raises Malformed where a container is cut off."""
    reader = _Reader(data)
    for offset, size in regions:
        if offset + size > len(data):
            raise Malformed("the section of GPU code lies outside the file: it was cut off")
        for start, end in reader.containers(offset, offset + size):
            reader.read(start, end)
    held = reader.held
    return DeviceCode(
        _named(code for code in held if code[0] == _CUBIN),
        _named(code for code in held if code[0] == _PTX),
        "{}.{}".format(*reader.isa) if reader.isa[0] else None,
        reader.toolkit,
        reader.units,
        _named(code for code, count in held.items() if 2 * count < reader.units),
    )


def _named(codes: Iterable[Code]) -> tuple[str, ...]:
    suffixes = {_EXACT: "a", _FAMILY: "f", _VARIANT: "a"}
    ordered = sorted(codes, key=lambda code: (code[0] == _PTX, code))
    names = [("compute_" if kind == _PTX else "sm_", number, suffixes.get(v, "")) for kind, number, v in ordered]
    return tuple(f"{prefix}{number}{suffix}" for prefix, number, suffix in names)


class _Reader:
    """Adds up what the containers of one file hold."""

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.held: Counter[Code] = Counter()  # by the number of containers
        self.isa = (0, 0)
        self.units = self.asked = 0
        self.toolkit: Optional[str] = None
        self.pieces, self.padding = _MOST, _MOST_PADDING  # how many more are read

    def containers(self, at: int, end: int) -> "Iterator[tuple[int, int]]":
        """Where the entries of each container begin and end."""
        data = self.data
        while at + _CONTAINER.size <= end:
            magic, _, header, size = _CONTAINER.unpack_from(data, at)
            if magic != _MAGIC:
                at = self._after_padding(magic, at, end)
                continue
            start, at = at + header, at + header + size
            if header < _CONTAINER.size or at > end:
                raise Malformed("a fatbin is larger than its section")
            self._take(1)
            yield start, at
            at += -at % 8

    def _after_padding(self, magic: bytes, at: int, end: int) -> int:
        if magic != b"\0\0\0\0":
            raise Malformed(f"no fatbin at {at:#x}, where one has to begin")
        stop = min(end, at + self.padding + 4)
        found = self.data.find(_MAGIC, at, stop)
        if found < 0 and stop == end:
            return end
        self.padding -= found - at
        if found < 0 or self.padding < 0:
            raise Malformed("a section of GPU code that is nearly all padding")
        return found

    def _take(self, pieces: int) -> None:
        self.pieces -= pieces
        if self.pieces < 0:
            raise Malformed(f"more than {_MOST:,} pieces of GPU code")

    def read(self, at: int, end: int) -> None:
        """The entries of one container."""
        held: set[Code] = set()
        plain: Optional[tuple[int, int]] = None  # machine code that is not compressed
        unpack, smallest, entries = _ENTRY.unpack_from, _ENTRY.size, 0  # tens of thousands in a libtorch_cuda.so
        while at + smallest <= end:
            kind, _, header, size, compressed, minor, major, architecture, flags = unpack(self.data, at)
            payload, at = at + header, at + header + size
            entries += 1
            if header < smallest or at > end or entries > self.pieces:
                raise Malformed("an entry of a fatbin is larger than the fatbin, or there are too many")
            if kind == _CUBIN:
                held.add((kind, architecture, flags & _VARIANT))
                plain = plain or (None if compressed else (payload, at))
            elif kind == _PTX:
                held.add((kind, architecture, flags & _VARIANT))
                self.isa = max(self.isa, (major, minor))
        self._take(entries)
        self.units += bool(held)
        self.held.update(held)
        if len(self.held) > _MOST_KINDS:
            raise Malformed(f"more than {_MOST_KINDS:,} kinds of GPU code")
        if plain and self.toolkit is None and self.asked < _ASKED:
            self.asked += 1
            self.toolkit = self._compiled_by(*plain)

    def _compiled_by(self, start: int, end: int) -> Optional[str]:
        """The CUDA release that the machine code names: it is an ELF file, which nvcc seldom compresses.  Up to CUDA
        12.9 its version field is ten times the release (for sm_100 and later not), later there is a note of text."""
        data = self.data
        if end - start >= 64 and data[start : start + 4] == b"\x7fELF" and data[start + 8] == 7:
            release = int.from_bytes(data[start + 20 : start + 24], "little")
            return f"{release // 10}.{release % 10}" if 60 <= release < 200 else None
        at = data.find(_RELEASE, start, min(end, start + _LARGEST))
        found = re.match(rb"\d+\.\d+", data[at + len(_RELEASE) : at + len(_RELEASE) + 8]) if at >= 0 else None
        return found.group().decode() if found else None
