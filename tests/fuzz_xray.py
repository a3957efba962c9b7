"""Fuzzes the X-ray with damaged ELF files, fatbins, wheels and symbols: only the kit's own errors may come out.

    python -m venv /tmp/fuzz && /tmp/fuzz/bin/pip install atheris
    PYTHONPATH=. /tmp/fuzz/bin/python tests/fuzz_xray.py --seeds /tmp/fuzz/corpus
    PYTHONPATH=. /tmp/fuzz/bin/python tests/fuzz_xray.py -timeout=10 -rss_limit_mb=1500 -runs=700000 /tmp/fuzz/corpus

Guided by the coverage of the kit's readers and of ``zipfile``.  Half of the mutations are libFuzzer's own;
the others put 0, all ones, or a huge, near or slightly different number where a header or a table keeps one.  A run
is a finding where another exception comes out, where it takes more than 10 s, or 1.5 GB.  An input is

    an ELF file     read, looked up and judged like ``kit xray``, beside a healthy library that it may need
    ``PK``...       the same of a wheel
    ``_Z``...       a symbol, as it is printed

2026-11-22, Python 3.11.7, atheris 3.0.0, two processes: 1,800,000 runs in 22 minutes on the readers as they are, with
no finding (59 % ELF files, 26 % symbols, 15 % wheels; coverage 1,285, at most 66 MB, no run of a second), after
1,040,000 on their way there, with one: ``zipfile`` fails on a member without a name.

The tests take :func:`elf`, :func:`places` and :class:`Bench` from here.
"""

import contextlib
import json
import os
import random
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "tests" / "fixtures" / "fatbin"
FATBIN, PTX, CUBIN = 0xBA55ED50, 1, 2

# -- files


def elf(
    needed: Sequence[bytes] = (),
    *,
    undefined: Sequence[bytes] = (),
    defined: Sequence[bytes] = (),
    soname: bytes = b"",
    rpath: bytes = b"",
    runpath: bytes = b"",
    needs: Mapping[bytes, Sequence[bytes]] = {},
    defines: Sequence[bytes] = (),
    sections: Mapping[str, bytes] = {},
    hash: str = "gnu",
    tags: Sequence[tuple[int, int]] = (),
) -> bytes:
    """A small shared library for x86-64, whole and loadable but for its code: every table lies where it is loaded.

    ``undefined`` symbols may ask for a version, as ``malloc@GLIBC_2.2.5``; ``needs`` are all versions by library;
    ``hash`` is gnu, sysv or none.
    """
    strings = bytearray(b"\0")

    def string(text: bytes) -> int:
        strings.extend(text + b"\0")
        return len(strings) - len(text) - 1

    dynamic = [(1, string(name)) for name in needed]
    dynamic += [(tag, string(text)) for tag, text in ((14, soname), (15, rpath), (29, runpath)) if text]
    rows = [struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)]
    rows += [struct.pack("<IBBHQQ", string(name.partition(b"@")[0]), 0x10, 0, 0, 0, 0) for name in undefined]
    rows += [struct.pack("<IBBHQQ", string(name), 0x12, 0, 7, 0x40, 0) for name in defined]

    asked = [(library, version) for library, versions in needs.items() for version in versions]
    index = {pair: 2 + len(defines) + i for i, pair in enumerate(asked)}
    number = {version: index[library, version] for library, version in asked}
    versym = [0] + [number.get(name.partition(b"@")[2], 1) for name in undefined]
    versym += [2 + i % len(defines) if defines else 1 for i in range(len(defined))]
    verneed = b""
    for at, (library, versions) in enumerate(needs.items()):
        last = at == len(needs) - 1
        step = 0 if last else 16 + 16 * len(versions)
        verneed += struct.pack("<HHIII", 1, len(versions), string(library), 16, step)
        for i, version in enumerate(versions):
            following = 0 if i == len(versions) - 1 else 16
            verneed += struct.pack("<IHHII", 0, 0, index[library, version], string(version), following)
    verdef = b""
    for at, version in enumerate(defines):
        step = 0 if at == len(defines) - 1 else 28
        verdef += struct.pack("<HHHHIII", 1, 0, 2 + at, 1, 0, 20, step) + struct.pack("<II", string(version), 0)

    first = 1 + len(undefined)
    chain = [gnu_hash(name) & ~1 for name in defined]
    if chain:
        chain[-1] |= 1
    gnu = struct.pack("<IIIIQI", 1, first, 1, 6, 2**64 - 1, first if defined else 0)
    gnu += struct.pack(f"<{len(chain)}I", *chain)
    links = [i + 1 for i in range(len(rows))]  # one bucket, through all of them
    links[-1] = 0
    sysv = struct.pack(f"<III{len(rows)}I", 1, len(rows), 1 if rows[1:] else 0, *links)
    relocations = b"".join(struct.pack("<QQq", 0x40, (1 + i) << 32 | 6, 0) for i in range(len(undefined)))

    parts = [(6, b"".join(rows)), (5, bytes(strings)), (7, relocations)]
    parts += {"gnu": [(0x6FFFFEF5, gnu)], "sysv": [(4, sysv)], "none": []}[hash]
    if asked or defines:
        parts.append((0x6FFFFFF0, struct.pack(f"<{len(versym)}H", *versym)))
    if asked:
        parts.append((0x6FFFFFFE, verneed))
        dynamic.append((0x6FFFFFFF, len(needs)))
    if defines:
        parts.append((0x6FFFFFFC, verdef))
        dynamic.append((0x6FFFFFFD, len(defines)))
    body = bytearray(64 + 3 * 56)
    for tag, content in parts:
        body.extend(bytes(-len(body) % 8))
        dynamic.append((tag, len(body)))
        body += content
    dynamic += [(10, len(strings)), (8, len(relocations)), (9, 24), (11, 24), *tags, (0, 0)]
    body.extend(bytes(-len(body) % 8))
    table, size = len(body), 16 * len(dynamic)
    body += b"".join(struct.pack("<QQ", tag, value) for tag, value in dynamic)

    names, headers = bytearray(b"\0"), [struct.pack("<IIQQQQIIQQ", *[0] * 10)]
    for name, content in {**sections, ".shstrtab": b""}.items():
        at = len(names)
        names += name.encode() + b"\0"
        content = content or bytes(names)
        body.extend(bytes(-len(body) % 8))
        headers.append(struct.pack("<IIQQQQIIQQ", at, 1, 0, 0, len(body), len(content), 0, 0, 8, 0))
        body += content
    body.extend(bytes(-len(body) % 8))
    shoff = len(body)
    body += b"".join(headers)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    counts = (64, 56, 3, 64, len(headers), len(headers) - 1)
    body[:64] = ident + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, shoff, 0, *counts)
    body[64:232] = b"".join(
        struct.pack("<IIQQQQQQ", *row)
        for row in (
            (1, 5, 0, 0, 0, len(body), len(body), 0x1000),
            (2, 6, table, table, table, size, size, 8),
            (0x6474E551, 6, 0, 0, 0, 0, 0, 16),
        )
    )
    return bytes(body)


def gnu_hash(name: bytes) -> int:
    h = 5381
    for c in name:
        h = (h * 33 + c) & 0xFFFFFFFF
    return h


def fatbin(*entries: tuple[int, int, bytes]) -> bytes:
    """A container of device code: (kind, architecture, payload)."""
    inside = b"".join(
        struct.pack("<HHIQI4xHHI8xQ16x", kind, 1, 64, len(content), 0, 0, 9, architecture, 0) + content
        for kind, architecture, content in entries
    )
    return struct.pack("<IHHQ", FATBIN, 1, 16, len(inside)) + inside + bytes(-len(inside) % 8)


def wheel(members: Mapping[str, bytes], path: Any, how: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


NEIGHBOUR = elf(defined=[b"brought", b"_ZN2at5emptyEv"], soname=b"libneighbour.so", defines=[b"NEIGHBOUR_1"])


def seeds() -> Iterator[bytes]:
    """Small healthy files of every kind."""
    code = fatbin((CUBIN, 90, bytes(64)), (PTX, 120, b".version 9.0\0"))
    full = {
        "needed": [b"libneighbour.so", b"libc.so.6"],
        "undefined": [b"brought@NEIGHBOUR_1", b"malloc@GLIBC_2.34", b"_ZN2at5emptyEv", b"_ZN3c104nonePSs"],
        "defined": [b"own", b"second"],
        "runpath": b"$ORIGIN:/nowhere",
        "needs": {b"libc.so.6": [b"GLIBC_2.2.5", b"GLIBC_2.34"], b"libneighbour.so": [b"NEIGHBOUR_1"]},
        "defines": [b"OWN_1", b"OWN_2"],
        "sections": {".nv_fatbin": code + code, "__nv_relfatbin": code},
    }
    for hash in ("gnu", "sysv", "none"):
        yield elf(**full, hash=hash)  # type: ignore[arg-type]
    yield elf([b"libm.so.6"], rpath=b"${ORIGIN}/../lib")
    yield elf()
    for name in ("host-only", "sm90a", "several", "family", "cu118-plain", "ptx-only-plain"):
        yield (FIXTURES / f"{name}.so").read_bytes()
    from io import BytesIO

    for how in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        stream = BytesIO()
        wheel({"a/b.so": NEIGHBOUR, "x-1.data/platlib/c.so": elf(), "../d.so": b"MZ", "e.py": b""}, stream, how)
        yield stream.getvalue()
    for symbol in (
        "_ZN2at4_ops5zeros4callEN3c108ArrayRefINS2_6SymIntEEENS2_8optionalINS2_10ScalarTypeEEENS6_IbEE",
        "_ZSt4moveIRN3c1013intrusive_ptrINS0_10TensorImplEEEEONSt16remove_referenceIT_E4typeEOS6_",
        "_ZNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEC1EPKcRKS3_",
        "_ZN1aB5cxx11cviEv_ZTVN1bE",
        "_ZlsRSoRKN2at6TensorEA3_iM1cFvPKvELi5E",
    ):
        yield symbol.encode()


# -- damage


def places(data: bytes) -> list[tuple[int, int]]:
    """(offset, size) of every number in the headers and tables of an ELF file."""
    found = [(16, 2), (18, 2), (20, 4), (24, 8), (32, 8), (40, 8), (48, 4), *((at, 2) for at in range(52, 64, 2))]
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phnum, _, shnum, names_index = struct.unpack_from("<HHHH", data, 56)
    loads, tags, order = [], {}, []
    for at in range(phoff, phoff + 56 * phnum, 56):
        found += [(at, 4), (at + 4, 4), *((at + i, 8) for i in range(8, 56, 8))]
        kind, _, offset, address, _, size = struct.unpack_from("<IIQQQQ", data, at)
        if kind == 1:
            loads.append((address, size, offset))
        elif kind == 2:
            end = min(offset + size, len(data))
            order = [struct.unpack_from("<QQ", data, row) for row in range(offset, end, 16)]
            found += [(row, 8) for row in range(offset, end, 8)]
    tags = dict(order)

    def where(tag: int) -> Optional[int]:
        address = tags.get(tag)
        return next((o + address - a for a, s, o in loads if a <= address < a + s), None) if address else None

    def words(at: Optional[int], sizes: Sequence[int]) -> None:
        for size in sizes if at is not None else ():
            found.append((at, size))
            at += size  # type: ignore[operator]

    symbol = [4, 1, 1, 2, 8, 8]
    words(where(6), symbol * 6)
    words(where(7), [8, 8, 8] * 4)
    words(where(23), [8, 8, 8] * 4)
    words(where(4), [4] * 8)
    words(where(0x6FFFFEF5), [4] * 12)
    words(where(0x6FFFFFF0), [2] * 8)
    words(where(0x6FFFFFFE), [2, 2, 4, 4, 4, 4, 2, 2, 4, 4] * 3)
    words(where(0x6FFFFFFC), [2, 2, 2, 2, 4, 4, 4, 4, 4] * 2)
    rows = [struct.unpack_from("<IIQQQQ", data, shoff + 64 * i) for i in range(shnum)] if shoff else []
    for i in range(len(rows)):
        words(shoff + 64 * i, [4, 4, 8, 8, 8, 8, 4, 4, 8, 8])
    strings = rows[names_index][4] if rows else 0
    for name, _, _, _, offset, size in rows:
        if data[strings + name : strings + name + 16].startswith((b".nv_fatbin\0", b"__nv_relfatbin\0")):
            at = offset
            while at + 16 <= offset + size and data[at : at + 4] == b"\x50\xed\x55\xba":
                inside = struct.unpack_from("<Q", data, at + 8)[0]
                words(at, [4, 2, 2, 8])
                entry, end = at + 16, min(at + 16 + inside, len(data))
                while entry + 64 <= end:
                    words(entry, [2, 2, 4, 8, 4, 4, 2, 2, 4, 8, 8, 8])
                    header, payload = struct.unpack_from("<IQ", data, entry + 4)
                    entry += max(64, header + payload)
                at = end + -end % 8
    return found


def values(now: int, size: int, length: int) -> list[int]:
    """What a number of ``size`` bytes, now ``now``, is replaced by in a file of ``length`` bytes."""
    top = (1 << 8 * size) - 1
    near = [now + 1, now - 1, now << 1, now << 8, length, length - 1, length - 8, top - now, 1, 4096]
    return [0, top, top >> 1, (top >> 1) + 1, top - 7, *(value & top for value in near)]


def damaged(data: bytes, source: random.Random) -> bytes:
    """A file with some of its numbers replaced."""
    out = bytearray(data)
    try:
        found = places(data)
    except (struct.error, IndexError, MemoryError, OverflowError):
        found = []
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        if not found or len(found) > 50_000:
            break
        at, size = source.choice(found)
        if at + size > len(out):
            continue
        now = int.from_bytes(out[at : at + size], "little")
        new = source.choice(values(now, size, len(out)))
        if source.random() < 0.2 and size >= 4:  # point into the file
            new = source.randrange(len(out))
        out[at : at + size] = new.to_bytes(size, "little")
    return bytes(out)


# -- the X-ray of a file that is not on disk


def loader_steps() -> int:
    from kit.collect import loader

    return loader._STEPS


class Bench:
    """A started Python, and ``kit xray`` of files in memory."""

    def __init__(self) -> None:
        from kit.collect import binary, inside

        self.data = {**inside.collect(), "torch": None}
        self.target = binary.Target.of(self.data)
        assert self.target.process is not None, "needs a Python that glibc's loader starts"
        self.read = set(self.target.files._read)
        self.target.files.exists = lambda path: path in self.target.files.overlay  # type: ignore[method-assign]

    def hold(self, files: Mapping[str, Any]) -> Any:
        """The target, with these files besides what Python has loaded, and nothing remembered of earlier ones."""
        target, process = self.target, self.target.process
        target.files.overlay, target.files.steps = files, loader_steps()
        for path in set(target.files._read) - self.read:
            del target.files._read[path]
        process._bringers.clear()  # type: ignore[union-attr]
        process._likely.clear()  # type: ignore[union-attr]
        return target

    def rows(self, files: Mapping[str, bytes], path: str) -> list[dict[str, Any]]:
        """What :mod:`kit.collect.binary` says of one of these files, next to the others."""
        return [self.hold(files).read(path)]

    def shown(self, rows: list[dict[str, Any]]) -> Any:
        """The X-ray that a user sees."""
        from kit import codec
        from kit.facts import Binary, Gpu
        from kit.symbols import printable
        from kit.xray import XRay, _verdict

        gpu = Gpu("compute capability 9.0", "9.0", wished=True)
        files = [codec.decode(Binary, printable(row), "row") for row in rows]
        return XRay(tuple(_verdict(f, (gpu,), "13.0") for f in files), "here", (gpu,))

    def elf(self, data: bytes) -> list[dict[str, Any]]:
        """The rows of a library; beside it lies a healthy one."""
        return self.rows({"/overlay/x.so": data, "/overlay/libneighbour.so": NEIGHBOUR}, "/overlay/x.so")

    def wheel(self, path: str) -> list[dict[str, Any]]:
        from kit.collect import binary, paths

        of, binary.Target.of = binary.Target.of, lambda _, files: self.hold(files)  # type: ignore
        try:
            return paths._wheel(path, paths.Environment(self.data, "here"))[0]
        finally:
            binary.Target.of = of  # type: ignore[method-assign]


def check(bench: Bench, data: bytes) -> None:
    """One run; what it raises is a finding."""
    from kit import show, symbols
    from kit.errors import KitError

    if data.startswith(b"_Z"):
        symbols.name(data.decode("utf-8", "replace"))
        symbols.clues([data.decode("utf-8", "replace")])
        return
    if data.startswith(b"PK"):
        descriptor = os.memfd_create("wheel")
        try:
            os.write(descriptor, data)
            try:
                rows = bench.wheel(f"/proc/self/fd/{descriptor}")
            except KitError as error:
                assert "\n" not in str(error), error
                return
        finally:
            os.close(descriptor)
    else:
        rows = bench.elf(data)
    if zlib.crc32(data) % 8:  # to print takes longer than to read
        return
    shown = bench.shown(rows)
    text, page = show.text(shown), show.html(shown)
    assert text.replace("\n", "").isprintable(), text
    assert page.isprintable(), page
    json.dumps(shown.to_dict(), allow_nan=False).encode("ascii")


def main() -> None:
    if sys.argv[1:2] == ["--seeds"]:
        folder = Path(sys.argv[2])
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds()):
            (folder / f"seed-{number:02}").write_bytes(seed)
        return
    try:
        import atheris
    except ImportError:
        sys.exit("pip install atheris (it is not a dependency of the kit)")
    del sys.modules["zipfile"]  # the wheel's reader gets one whose coverage counts
    with atheris.instrument_imports(include=["kit.collect", "kit.symbols", "zipfile"]):
        import kit.collect.paths
        import kit.show  # noqa: F401
    bench = Bench()

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        source = random.Random(seed)
        if data.startswith(b"\x7fELF") and source.random() < 0.5:
            return damaged(data, source)[:size]
        out = bytes(atheris.Mutate(data, size))
        # Most of what loses its first bytes is refused at once: nothing is learnt from it.
        keep = data[:2] if source.random() < 0.95 and data[:2] in (b"PK", b"_Z", b"\x7fE") else b""
        return keep + out[len(keep) :]

    atheris.Setup(sys.argv, lambda data: check(bench, data), custom_mutator=mutate)
    with contextlib.suppress(KeyboardInterrupt):
        atheris.Fuzz()


if __name__ == "__main__":
    main()
