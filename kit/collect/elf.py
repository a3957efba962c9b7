"""Reads what decides whether an ELF file loads: needed libraries, versions, symbols.  Nothing of it is run.

Written for a reader that is asked for a few hundred symbols of files with a hundred thousand: the file is mapped,
tables are indexed where they lie, and a symbol is found through the hash table, as the dynamic loader finds it.
pyelftools, the usual library, builds an object for every entry: 43 ms to import and 3 ms for a small extension
(measured with 0.33), which is more than the doctor may take in all; the tests hold this reader against it.

Sources: System V gABI (www.sco.com/developers/gabi), "Linux Standard Base Core", symbol versioning, and for
``DT_GNU_HASH`` glibc's ``elf/dl-lookup.c``.
"""

import mmap
import re
import struct
from collections.abc import Iterator
from operator import mul
from typing import NamedTuple, Optional, Union

Buffer = Union[bytes, mmap.mmap]

MACHINES = {3: "i386", 20: "ppc", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
_MACHINES_BIG = {21: "ppc64"}

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_GNU_STACK = 1, 2, 3, 0x6474E551
_NEEDED, _HASH, _STRTAB, _SYMTAB, _RELA, _RELASZ, _SONAME, _RPATH = 1, 4, 5, 6, 7, 8, 14, 15
_JMPREL, _PLTRELSZ, _RUNPATH, _GNU_HASH, _FLAGS_1 = 23, 2, 29, 0x6FFFFEF5, 0x6FFFFFFB
_VERSYM, _VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
# Symbols that others see: global, weak, unique; of no type, object, function, common, thread-local, IFUNC.
_BINDINGS, _TYPES, _SHN_ABS, _STT_TLS = (1, 2, 10), (0, 1, 2, 5, 6, 10), 0xFFF1, 6
_LONGEST = 1 << 16  # bytes of one string; C++ symbols of torch stay below 4,000
_LONGEST_PATH, _LONGEST_VERSION, _LONGEST_SECTION = 4096, 256, 64
# So many of each are read, so that a hostile file costs no more than a large one.  In 2,700 real libraries the
# largest counts are 9 segments, 28 tags, 56 libraries, 79 versions, 5,931 symbols, and 381,663 relocations.
_SEGMENTS, _DYNAMIC, _LIBRARIES, _VERSIONS = 1 << 10, 1 << 16, 1 << 10, 1 << 15
_SYMBOLS, _RELOCATIONS = 1 << 20, 1 << 22
_NAMES = 1 << 26  # bytes of all names of symbols
_CHAIN, _PATIENCE = 16, 1 << 20  # steps along one chain of a hash table, and all further ones
_POWERS = [1]
for _ in range(511):
    _POWERS.append(_POWERS[-1] * 33 & 0xFFFFFFFF)


class Malformed(ValueError):
    """The file breaks its own format; the message says where."""


class Symbol(NamedTuple):
    """A symbol that a file takes from others: its name, and the version it asks for (b'' for none)."""

    name: bytes
    version: bytes = b""


class Need(NamedTuple):
    """A version that a file asks of a library: ``GLIBC_2.34`` of ``libc.so.6``; weak ones may be absent."""

    library: str
    version: str
    weak: bool


def is_elf(data: Buffer) -> bool:
    return bytes(data[:4]) == b"\x7fELF"


def gnu_hash(name: bytes) -> int:
    """The hash of ``DT_GNU_HASH``: h = h * 33 + c from 5381, here as one sum that runs in C."""
    if len(name) >= len(_POWERS):
        h = 5381
        for c in name:
            h = (h * 33 + c) & 0xFFFFFFFF
        return h
    total: int = sum(map(mul, name[::-1], _POWERS)) + 5381 * _POWERS[len(name)]
    return total & 0xFFFFFFFF


def _sysv_hash(name: bytes) -> int:
    h = 0
    for c in name:
        h = (h << 4) + c
        h ^= (h & 0xF0000000) >> 24
        h &= 0x0FFFFFFF
    return h


class Elf:
    """One ELF file in a buffer (bytes or a memory map), 64-bit; of a 32-bit one only the header is read.

    Raises :class:`Malformed` where tables lie outside the file.  Nothing larger than the file is ever allocated.
    """

    def __init__(self, data: Buffer) -> None:
        self.data = data
        if not is_elf(data) or len(data) < 52:
            raise Malformed("cut off within the ELF header" if is_elf(data) else "not an ELF file")
        self.bits = {1: 32, 2: 64}.get(data[4], 0)
        order = {1: "<", 2: ">"}.get(data[5])
        if not self.bits or order is None:
            raise Malformed(f"ELF class {data[4]}, byte order {data[5]}: no such kinds are defined")
        self.big = order == ">"
        self._order = order
        self.type, number = struct.unpack_from(order + "HH", data, 16)
        self.machine = (_MACHINES_BIG.get(number) if self.big else None) or MACHINES.get(number, f"machine {number}")
        self.needed: list[str] = []
        self.soname = self.rpath = self.runpath = self.interpreter = ""
        self.has_runpath = self.has_dynamic = self.pie = self.no_dlopen = self.cut_off = False
        self.executable_stack = number in (3, 62)  # x86: what is not denied is asked for
        self._segments: list[tuple[int, int, int]] = []
        self._tags: dict[int, int] = {}
        self._versions: Optional[tuple[dict[int, bytes], list[Need]]] = None
        self._defined: Optional[dict[int, bytes]] = None
        self._tables: dict[int, int] = {}
        self._patience = _PATIENCE
        self._hash: Optional[tuple[int, int, int, int, int, int, int]] = None
        if self.bits == 64:
            self._word = struct.Struct(order + "I").unpack_from
            self._half = struct.Struct(order + "H").unpack_from
            self._long = struct.Struct(order + "Q").unpack_from
            self._symbol = struct.Struct(order + "IBBHQQ").unpack_from
            self._read_header()

    # -- layout

    def _unpack(self, form: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(self._order + form, self.data, at)
        except (struct.error, OverflowError):
            raise Malformed(f"a table at {at:#x} lies outside the file of {len(self.data):,} bytes") from None

    def _read_header(self) -> None:
        header = self._unpack("IQQQIHHHHHH", 20)
        phoff, self._shoff, phentsize, phnum = header[2], header[3], header[6], header[7]
        self._sections = header[8:11]
        if phnum and phentsize != 56:
            raise Malformed(f"program headers of {phentsize} bytes, they have 56")
        self._limit(phnum, 56, _SEGMENTS)
        dynamic, interpreter = (0, 0), 0
        for at in range(phoff, phoff + 56 * phnum, 56):
            kind, flags, offset, address, _, size = self._unpack("IIQQQQ", at)
            if kind == _PT_LOAD:
                self._segments.append((address, address + size, offset))
                self.cut_off |= offset + size > len(self.data)
            elif kind == _PT_DYNAMIC:
                dynamic = (offset, size)
            elif kind == _PT_INTERP:
                interpreter = offset
            elif kind == _PT_GNU_STACK:
                self.executable_stack = bool(flags & 1)
        if interpreter:
            self.interpreter = self._text(interpreter, _LONGEST_PATH)
        self.has_dynamic = bool(dynamic[1])
        if self.has_dynamic:
            self._read_dynamic(*dynamic)

    def _read_dynamic(self, offset: int, size: int) -> None:
        self._limit(size // 16, 1, _DYNAMIC)
        table = self.data[offset : offset + size]
        needed: dict[int, None] = {}
        named: dict[int, int] = {}
        for tag, value in struct.iter_unpack(self._order + "qQ", table[: len(table) // 16 * 16]):
            if tag == 0:
                break
            if tag == _NEEDED:
                needed[value] = None
            elif tag in (_SONAME, _RPATH, _RUNPATH):
                named[tag] = value  # the last one counts
            else:
                self._tags[tag] = value
        if (needed or named) and _STRTAB not in self._tags:
            raise Malformed("names of libraries without a table of names")
        self._limit(len(needed), 1, _LIBRARIES)
        names = self._table(_STRTAB) or 0
        self.needed = [self._text(names + value, _LONGEST_PATH) for value in needed]
        for tag, value in named.items():
            text = self._text(names + value, _LONGEST_PATH if tag == _SONAME else _LONGEST)
            setattr(self, {_SONAME: "soname", _RPATH: "rpath", _RUNPATH: "runpath"}[tag], text)
        self.has_runpath = _RUNPATH in named  # an empty one too, as patchelf leaves it
        if self.has_runpath:
            self.rpath = ""  # the loader ignores it then
        flags = self._tags.get(_FLAGS_1, 0)
        self.pie, self.no_dlopen = bool(flags & 0x08000000), bool(flags & 0x40)

    def _offset(self, address: int) -> int:
        """Where in the file the byte lies that is loaded to ``address``."""
        for start, end, offset in self._segments:
            if start <= address < end:
                return offset + address - start
        raise Malformed(f"address {address:#x} belongs to no part of the file that is loaded")

    def _table(self, tag: int) -> Optional[int]:
        at = self._tables.get(tag)
        if at is None and tag in self._tags:
            at = self._tables[tag] = self._offset(self._tags[tag])
        return at

    def _bytes(self, at: int, longest: int = _LONGEST) -> bytes:
        """The string that begins here; the first block nearly always holds it all."""
        for size in (128, min(2048, longest), longest):
            block = bytes(self.data[at : at + size])
            end = block.find(b"\0")
            if end >= 0:
                return block[:end]
        raise Malformed(f"a name at {at:#x} has no end")

    def _text(self, at: int, longest: int) -> str:
        return self._bytes(at, longest).decode("utf-8", "surrogateescape")

    def sections(self) -> dict[str, list[tuple[int, int]]]:
        """(offset, size) of the sections by name, a long one cut; empty where the section table was stripped."""
        size, count, names_index = self._sections if self.bits == 64 else (0, 0, 0)
        if not count or not self._shoff:
            return {}
        if size != 64:
            raise Malformed(f"section headers of {size} bytes, they have 64")
        table = self.data[self._shoff : self._shoff + 64 * count]
        if len(table) < 64 * count or names_index >= count:
            raise Malformed("the section table lies outside the file: it was cut off")
        rows = list(struct.iter_unpack(self._order + "IIQQQQIIQQ", table))
        names = rows[names_index][4]
        found: dict[str, list[tuple[int, int]]] = {}
        for name, kind, _, _, offset, length, *_ in rows:
            if kind not in (0, 8):  # SHT_NULL, SHT_NOBITS: nothing in the file
                text = bytes(self.data[names + name : names + name + _LONGEST_SECTION]).partition(b"\0")[0]
                found.setdefault(text.decode("utf-8", "replace"), []).append((offset, length))
        return found

    # -- versions

    def _read_versions(self) -> tuple[dict[int, bytes], list[Need]]:
        """(version by its index in ``.gnu.version``, needs), of what this file takes from others."""
        if self._versions is None:
            by_index: dict[int, bytes] = {}
            needs: list[Need] = []
            at = self._table(_VERNEED) or 0
            names = (self._table(_STRTAB) or 0) if at else 0
            for _ in range(self._limit(self._tags.get(_VERNEEDNUM, 0), 16, _VERSIONS) if at else 0):
                _, count, file, first, step = self._unpack("HHIII", at)
                library, entry = self._text(names + file, _LONGEST_VERSION), at + first
                self._limit(len(needs) + count, 1, _VERSIONS)
                for _ in range(count):
                    _, flags, index, name, following = self._unpack("IHHII", entry)
                    version = self._bytes(names + name, _LONGEST_VERSION)
                    by_index[index & 0x7FFF] = version
                    needs.append(Need(library, version.decode("utf-8", "replace"), bool(flags & 2)))
                    if not following:
                        break
                    entry += following
                if not step:
                    break
                at += step
            self._versions = by_index, needs
        return self._versions

    @property
    def needs(self) -> list[Need]:
        """The versions that it asks of its libraries."""
        return self._read_versions()[1]

    @property
    def has_versions(self) -> bool:
        """Whether it says of its symbols which version they have, be it none."""
        return _VERSYM in self._tags

    def defined_versions(self) -> dict[int, bytes]:
        """The versions that it defines, by their index; empty for a library without versions, as torch's are."""
        if self._defined is None:
            found: dict[int, bytes] = {}
            at = self._table(_VERDEF) or 0
            names = (self._table(_STRTAB) or 0) if at else 0
            for _ in range(self._limit(self._tags.get(_VERDEFNUM, 0), 20, _VERSIONS) if at else 0):
                _, flags, index, _, _, first, step = self._unpack("HHHHIII", at)
                name = self._unpack("II", at + first)[0]
                if not flags & 1:  # VER_FLG_BASE names the file itself
                    found[index & 0x7FFF] = self._bytes(names + name, _LONGEST_VERSION)
                if not step:
                    break
                at += step
            self._defined = found
        return self._defined

    def _limit(self, count: int, size: int, most: int = _SYMBOLS) -> int:
        if count > most or count * size > len(self.data):
            raise Malformed(f"a table of {count:,} entries in a file of {len(self.data):,} bytes")
        return count

    # -- symbols

    def undefined(self, without: tuple[bytes, ...] = ()) -> Iterator[Symbol]:
        """The symbols that others have to bring, but no weak ones, and none whose version begins with ``without``.

        ``DT_GNU_HASH`` keeps them in front of what the file defines, so that only they are read.
        """
        symbols, names, versym = self._table(_SYMTAB), self._table(_STRTAB), self._table(_VERSYM)
        if symbols is None or names is None:
            return
        count = self._limit(self._undefined_count(), 24)
        table = self.data[symbols : symbols + 24 * count]
        indices: tuple[int, ...] = (0,) * count
        if versym is not None:
            indices = self._unpack(f"{count}H", versym)
        known, room = self._read_versions()[0], min(_NAMES, len(self.data))
        left_out = {i for i, version in known.items() if without and version.startswith(without)}
        left_out -= {i for i in left_out if known[i].endswith(b"_PRIVATE")}  # these come and go
        for (name, info, _, section, _, _), index in zip(
            struct.iter_unpack(self._order + "IBBHQQ", table[: len(table) // 24 * 24]), indices
        ):
            if section == 0 and name and info >> 4 == 1 and index & 0x7FFF not in left_out:  # SHN_UNDEF, STB_GLOBAL
                text = self._bytes(names + name)
                room -= len(text)
                if room < 0:
                    raise Malformed("the names of its symbols are longer in sum than the file")
                yield Symbol(text, known.get(index & 0x7FFF, b""))

    def _undefined_count(self) -> int:
        if _GNU_HASH in self._tags:
            first = self._gnu_hash_table()[1]
            # GNU ld writes first = 1 where nothing is defined: then the table does not tell how many there are.
            if first > 1:
                return first
        if _HASH in self._tags:
            return self._unpack("II", self._offset(self._tags[_HASH]))[1]
        try:
            sections = self.sections()
        except Malformed:
            sections = {}  # the loader has no use for them
        for offset, size in sections.get(".dynsym", ()):
            if offset == self._table(_SYMTAB):
                return size // 24
        return max(0, (self._table(_STRTAB) or 0) - (self._table(_SYMTAB) or 0)) // 24  # they follow each other

    def relocated(self) -> Iterator[Symbol]:
        """The symbols of the relocations, in the order in which the loader binds them."""
        symbols, names, versym = self._table(_SYMTAB), self._table(_STRTAB), self._table(_VERSYM)
        if symbols is None or names is None:
            return
        by_index, seen, room = self._read_versions()[0], {0}, min(_NAMES, len(self.data))
        for start, size in ((_RELA, _RELASZ), (_JMPREL, _PLTRELSZ)):
            at, length = self._table(start), self._tags.get(size, 0)
            if at is None:
                continue
            table = self.data[at : at + 24 * self._limit(length // 24, 1, _RELOCATIONS)]
            for _, info, _ in struct.iter_unpack(self._order + "QQq", table[: len(table) // 24 * 24]):
                index = info >> 32
                if index not in seen:
                    seen.add(index)
                    name = self._unpack("I", symbols + 24 * index)[0]
                    version = self._unpack("H", versym + 2 * index)[0] & 0x7FFF if versym is not None else 0
                    text = self._bytes(names + name)
                    room -= len(text)
                    if room < 0:
                        raise Malformed("the names of its symbols are longer in sum than the file")
                    yield Symbol(text, by_index.get(version, b""))

    def _gnu_hash_table(self) -> tuple[int, int, int, int, int, int, int]:
        """(buckets, first symbol, bloom words - 1, bloom shift, and where bloom, buckets and chains lie)."""
        if self._hash is None:
            at = self._offset(self._tags[_GNU_HASH])
            buckets, first, words, shift = self._unpack("IIII", at)
            if not words or words & (words - 1) or not buckets:
                raise Malformed("a symbol hash table without buckets, or with a filter of a wrong size")
            bloom = at + 16
            chains = bloom + 8 * words + 4 * buckets - 4 * first
            self._hash = buckets, first, words - 1, shift & 63, bloom, bloom + 8 * words, chains
        return self._hash

    def defines(self, symbol: Symbol, hash: int) -> bool:
        """Whether it brings this symbol; ``hash`` is the :func:`gnu_hash` of its name."""
        try:
            return self._find(symbol, hash)
        except (struct.error, OverflowError):
            raise Malformed("the symbol hash table lies outside the file") from None

    def _find(self, symbol: Symbol, hash: int) -> bool:
        if _SYMTAB not in self._tags or _STRTAB not in self._tags:
            return False
        if _GNU_HASH not in self._tags:
            return _HASH in self._tags and any(self._is(i, symbol) for i in self._sysv_chain(symbol.name))
        data, word = self.data, self._word
        buckets, first, mask, shift, bloom, bucket, chains = self._hash or self._gnu_hash_table()
        filter = self._long(data, bloom + 8 * (hash >> 6 & mask))[0]
        if not filter >> (hash & 63) & filter >> (hash >> shift & 63) & 1:
            return False
        index = start = word(data, bucket + 4 * (hash % buckets))[0]
        while index >= first > 0 or index > 0 == first:
            value = word(data, chains + 4 * index)[0]
            if (value | 1) == (hash | 1) and self._is(index, symbol):
                return True
            if value & 1:
                break
            index += 1
            if index - start > _CHAIN:
                self._wait()
        return False

    def _wait(self) -> None:
        self._patience -= 1
        if self._patience < 0:
            raise Malformed("the chains of its symbol hash table are too long for one")

    def _sysv_chain(self, name: bytes) -> Iterator[int]:
        at = self._offset(self._tags[_HASH])
        buckets, chains = self._unpack("II", at)
        if not buckets:
            return
        index = self._word(self.data, at + 8 + 4 * (_sysv_hash(name) % buckets))[0]
        for step in range(self._limit(chains, 4)):  # a chain that bites its tail ends here
            if not index:
                return
            if step > _CHAIN:
                self._wait()
            yield index
            index = self._word(self.data, at + 8 + 4 * (buckets + index))[0]

    def _is(self, index: int, symbol: Symbol) -> bool:
        """Whether entry ``index`` of the symbol table defines ``symbol`` in its version: dl-lookup.c, check_match."""
        name, info, visibility, section, value, _ = self._symbol(self.data, (self._table(_SYMTAB) or 0) + 24 * index)
        if section == 0 or visibility & 3 in (1, 2) or info >> 4 not in _BINDINGS or info & 15 not in _TYPES:
            return False  # undefined here, or internal or hidden, or for the file itself
        if not value and section != _SHN_ABS and info & 15 != _STT_TLS:
            return False
        at = (self._table(_STRTAB) or 0) + name
        end = at + len(symbol.name)
        if self.data[at:end] != symbol.name or self.data[end : end + 1] != b"\0":
            return False
        if _VERSYM not in self._tags:
            return True
        version = self._half(self.data, (self._table(_VERSYM) or 0) + 2 * index)[0]
        hidden, version = version & 0x8000, version & 0x7FFF
        if not symbol.version:  # the oldest version is for all who ask for none, a later one where it is the default
            return version < 3 or not hidden
        defined = self.defined_versions().get(version)
        return defined == symbol.version or (defined is None and not hidden)


def newest(needs: "list[Need]", family: str) -> Optional[str]:
    """The newest version of a family that is asked for: ``'2.29'`` of ``GLIBC``; None where none is."""
    found = [n.version.partition("_")[2] for n in needs if n.version.partition("_")[0] == family]
    numbered = [v for v in found if re.fullmatch(r"\d+(\.\d+)*", v)]
    return max(numbered, key=lambda v: tuple(map(int, v.split(".")))) if numbered else None
