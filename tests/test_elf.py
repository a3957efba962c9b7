"""kit/collect/elf.py against pyelftools, on the libraries of the lab and of the system, and on files made by hand."""

import functools
import glob
import mmap
import os
import random
import shutil
import struct
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from kit.collect import elf as reader
from kit.collect.elf import Elf, Malformed, Need, Symbol, gnu_hash, newest

COMPILER = shutil.which("gcc") or shutil.which("cc")
compiled = pytest.mark.skipif(COMPILER is None or sys.platform != "linux", reason="no C compiler that makes ELF")
LARGE = 300  # symbols; of a table that holds more a sample is looked at


@functools.cache
def libraries():
    """Every real shared library of the lab and of the system, by what it is, so that the sample holds all kinds."""
    site = sysconfig.get_path("platlib")
    found = {os.path.realpath(p) for p in glob.glob(f"{site}/**/*.so*", recursive=True)}
    system = {os.path.realpath(p) for p in glob.glob("/lib/*-linux-gnu/*.so*") + glob.glob("/lib64/*.so*")}
    return [sorted(p for p in group if _is_elf(p)) for group in (found, system)]


def _is_elf(path):
    try:
        with open(path, "rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False


@functools.cache
def sample():
    """About 80 of them: torch's and NumPy's with their large tables, and every so many-th of the others."""
    lab, system = libraries()
    named = ("libtorch", "libc10", "_C.", "libgomp", "torch_scatter", "_multiarray_umath", "openblas", "libstdc++.so")
    named = (*named, "libc.so", "ld-linux", "libm.so", "libz.so")
    chosen = [p for p in lab + system if any(n in p for n in named)][:40]
    for group in (lab, system):
        chosen += group[:: max(1, len(group) // 20)]
    return list(dict.fromkeys(chosen))


def each(check):
    """Run ``check(ours, theirs)`` on the sample, all of it, and tell of every file that differs."""
    files = sample()
    if not files:
        pytest.skip("no ELF files here")
    differ = []
    for path in files:
        with open(path, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            try:
                check(Elf(data), ELFFile(stream))
            except AssertionError as error:
                differ.append(f"{path}: {error}")
    assert not differ, "\n".join(differ)


def dynamic(theirs):
    return next((s for s in theirs.iter_segments() if s["p_type"] == "PT_DYNAMIC"), None)


def test_the_sample_holds_what_the_tests_are_about():
    if not libraries()[1]:
        pytest.skip("no ELF files here")
    read = [Elf(Path(path).read_bytes()) for path in sample() if os.path.getsize(path) < 1 << 24]
    assert len(read) > 30
    assert any(e.runpath for e in read) or any(e.rpath for e in read)
    assert (
        any(e.interpreter for e in read) and any(e.soname for e in read) and any(e.defined_versions() for e in read)
    )


def test_headers_and_the_dynamic_section():
    def check(ours, theirs):
        tags = {}
        for tag in dynamic(theirs).iter_tags():
            tags.setdefault(tag.entry.d_tag, []).append(tag)
        assert ours.needed == [t.needed for t in tags.get("DT_NEEDED", [])]
        assert ours.soname == (tags["DT_SONAME"][0].soname if "DT_SONAME" in tags else "")
        runpath = tags["DT_RUNPATH"][0].runpath if "DT_RUNPATH" in tags else ""
        assert ours.runpath == runpath and ours.has_runpath == ("DT_RUNPATH" in tags)
        assert ours.rpath == (tags["DT_RPATH"][0].rpath if "DT_RPATH" in tags and not runpath else "")
        names = [s.get_interp_name() for s in theirs.iter_segments() if s["p_type"] == "PT_INTERP"]
        assert ours.interpreter == (names[0] if names else "")
        assert (ours.bits, ours.big) == (theirs.elfclass, not theirs.little_endian)
        assert ours.machine == {"x64": "x86_64", "AArch64": "aarch64"}.get(theirs.get_machine_arch(), ours.machine)
        assert {"ET_DYN": 3, "ET_EXEC": 2}[theirs["e_type"]] == ours.type
        stack = [s["p_flags"] for s in theirs.iter_segments() if s["p_type"] == "PT_GNU_STACK"]
        assert ours.executable_stack == bool(stack[0] & 1 if stack else ours.machine == "x86_64")
        flags = tags["DT_FLAGS_1"][0]["d_val"] if "DT_FLAGS_1" in tags else 0
        assert (ours.pie, ours.no_dlopen) == (bool(flags & 0x08000000), bool(flags & 0x40))
        assert ours.has_dynamic and not ours.cut_off

    each(check)


def test_sections():
    def check(ours, theirs):
        expected = {}
        for section in theirs.iter_sections():
            if section["sh_type"] not in ("SHT_NULL", "SHT_NOBITS"):
                expected.setdefault(section.name, []).append((section["sh_offset"], section["sh_size"]))
        assert ours.sections() == expected and ".dynsym" in expected

    each(check)


def test_versions_that_are_asked_for_and_that_are_defined():
    def check(ours, theirs):
        needs, defined = [], {}
        section = theirs.get_section_by_name(".gnu.version_r")
        for library, versions in section.iter_versions() if section else ():
            needs += [Need(library.name, v.name, bool(v["vna_flags"] & 2)) for v in versions]
        section = theirs.get_section_by_name(".gnu.version_d")
        for version, names in section.iter_versions() if section else ():
            if not version["vd_flags"] & 1:
                defined[version["vd_ndx"] & 0x7FFF] = next(names).name.encode()
        assert ours.needs == needs
        assert ours.defined_versions() == defined
        assert ours.has_versions == (theirs.get_section_by_name(".gnu.version") is not None)

    each(check)


def symbols(theirs, step=1):
    """(index, symbol, version index with the bit that hides it) of the dynamic symbols, every ``step``-th."""
    table, versions = (theirs.get_section_by_name(n) for n in (".dynsym", ".gnu.version"))
    names = {"VER_NDX_LOCAL": 0, "VER_NDX_GLOBAL": 1}
    for i in range(1, table.num_symbols(), step):
        version = versions.get_symbol(i)["ndx"] if versions else 1
        yield i, table.get_symbol(i), names.get(version, version)


def test_symbols_that_others_have_to_bring():
    def check(ours, theirs):
        found = list(ours.undefined())
        count = theirs.get_section_by_name(".dynsym").num_symbols()
        step = max(1, count // LARGE)
        known = ours._read_versions()[0]
        expected = [
            Symbol(s.name.encode(), known.get(version & 0x7FFF, b""))
            for _, s, version in symbols(theirs, step)
            if s["st_shndx"] == "SHN_UNDEF" and s["st_info"]["bind"] == "STB_GLOBAL" and s.name
        ]
        if step == 1:
            assert found == expected
        assert set(expected) <= set(found) and len(set(found)) == len(found)
        left = [s for s in found if not s.version.startswith((b"GLIBC_", b"GCC_")) or s.version == b"GLIBC_PRIVATE"]
        assert list(ours.undefined(without=(b"GLIBC_", b"GCC_"))) == left

    each(check)


def test_symbols_that_it_brings():
    seen = dict.fromkeys(("default", "hidden", "plain"), 0)

    def check(ours, theirs):
        count = theirs.get_section_by_name(".dynsym").num_symbols()
        defined, brought = ours.defined_versions(), {}
        for _, symbol, index in symbols(theirs, max(1, count // LARGE)):
            exported = symbol["st_shndx"] != "SHN_UNDEF" and symbol["st_info"]["bind"] != "STB_LOCAL"
            visible = symbol["st_other"]["visibility"] in ("STV_DEFAULT", "STV_PROTECTED")
            if symbol.name and exported and visible:
                brought.setdefault(symbol.name.encode(), []).append(index)
        for name, indices in brought.items():
            hash = gnu_hash(name)
            for index in indices:
                version = defined.get(index & 0x7FFF)
                seen["plain" if version is None else "hidden" if index & 0x8000 else "default"] += 1
                assert ours.defines(Symbol(name, version or b""), hash), (name, version)
            if all(i & 0x7FFF > 1 for i in indices) and count <= LARGE:
                assert not ours.defines(Symbol(name, b"NO_SUCH_VERSION"), hash), name
            for absent in (name + b"_no_such_symbol", name[:-1] + b"\x7f"):
                assert not ours.defines(Symbol(absent), gnu_hash(absent)), absent
        for undefined in list(ours.undefined())[:200]:
            if undefined.name not in brought and count <= LARGE:
                assert not ours.defines(undefined, gnu_hash(undefined.name)), undefined

    each(check)
    assert min(seen.values()) > 50 or not libraries()[1], f"the sample lacks a kind: {seen}"


def test_symbols_of_the_relocations_in_their_order():
    def check(ours, theirs):
        tables = [theirs.get_section_by_name(name) for name in (".rela.dyn", ".rela.plt")]
        if sum(t.num_relocations() for t in tables if t) > 5 * LARGE:
            return  # pyelftools takes seconds for them
        names = theirs.get_section_by_name(".dynsym")
        indices = dict.fromkeys(r["r_info_sym"] for t in tables if t for r in t.iter_relocations())
        indices.pop(0, None)
        assert [s.name for s in ours.relocated()] == [names.get_symbol(i).name.encode() for i in indices]
        assert {s for s in ours.relocated() if s.version} <= {Symbol(s.name, s.version) for s in ours.relocated()}

    each(check)


# -- hashes


def test_known_hashes():
    """Values of the GNU hash and of System V's that others printed."""
    for name, value in {b"": 0x1505, b"printf": 0x156B2BB8, b"exit": 0x7C967E3F, b"syscall": 0xBAC212A0}.items():
        assert gnu_hash(name) == value
    assert gnu_hash(b"flapenguin.me") == 0x8AE9F18E
    known = {b"": 0, b"printf": 0x077905A6, b"exit": 0x0006CF04, b"syscall": 0x0B09985C, b"flapenguin.me": 0x03987915}
    assert {name: reader._sysv_hash(name) for name in known} == known


def test_names_of_any_length_and_any_bytes_are_hashed_the_same_way():
    rng = random.Random(0)
    for length in (*range(1, 20), 255, 510, 511, 512, 513, 514, 4000, 70000):
        name, h = rng.randbytes(length), 5381
        for c in name:
            h = (h * 33 + c) % 2**32
        assert gnu_hash(name) == h, length


# -- headers of other machines, made by hand


def header(bits=64, order="<", machine=62, type=3, size=None):
    """An ELF file that is nothing but its header, and zeros."""
    ident = b"\x7fELF" + bytes([{32: 1, 64: 2}[bits], {"<": 1, ">": 2}[order], 1]) + bytes(9)
    word = "I" if bits == 32 else "Q"
    sizes = (52, 32, 0, 40, 0, 0) if bits == 32 else (64, 56, 0, 64, 0, 0)
    made = ident + struct.pack(f"{order}HHI3{word}I6H", type, machine, 1, 0, 0, 0, 0, *sizes)
    return made + bytes((size or len(made)) - len(made))


@pytest.mark.parametrize(
    ("bits", "order", "number", "machine"),
    [
        (64, "<", 62, "x86_64"),
        (64, "<", 183, "aarch64"),
        (64, ">", 183, "aarch64"),
        (64, "<", 243, "riscv64"),
        (64, "<", 21, "ppc64le"),
        (64, ">", 21, "ppc64"),
        (64, ">", 22, "s390x"),
        (32, "<", 3, "i386"),
        (32, "<", 40, "arm"),
        (32, ">", 20, "ppc"),
        (64, "<", 258, "machine 258"),
    ],
)
def test_other_machines(bits, order, number, machine):
    elf = Elf(header(bits, order, number))
    assert (elf.bits, elf.big, elf.machine, elf.type) == (bits, order == ">", machine, 3)
    assert (elf.needed, elf.needs, elf.sections(), list(elf.undefined()), list(elf.relocated())) == (
        [],
        [],
        {},
        [],
        [],
    )
    assert not elf.defines(Symbol(b"x"), gnu_hash(b"x")) and not elf.has_dynamic


def test_what_is_no_elf_file():
    for data in (b"", b"MZ\x90\0", b"\x7fEL", b"PK\x03\x04" * 50, bytes(100)):
        with pytest.raises(Malformed, match="not an ELF file"):
            Elf(data)
    with pytest.raises(Malformed, match="cut off within the ELF header"):
        Elf(header()[:40])
    for at, value in ((4, 0), (4, 3), (5, 0), (5, 3)):
        broken = bytearray(header())
        broken[at] = value
        with pytest.raises(Malformed, match="no such kinds"):
            Elf(bytes(broken))


def built(order, rows, extra=b""):
    """A 64-bit file of one loaded segment, whose dynamic section holds ``rows``; ``extra`` lies at 0x400."""
    table = b"".join(struct.pack(order + "qQ", *row) for row in (*rows, (0, 0)))
    body = bytearray(0x400) + extra
    body[:64] = header(order=order, machine=62 if order == "<" else 22)
    struct.pack_into(order + "Q", body, 32, 64)
    struct.pack_into(order + "H", body, 56, 2)
    struct.pack_into(order + "IIQQQQQQ", body, 64, 1, 5, 0, 0x10000, 0, len(body), len(body), 0x1000)
    struct.pack_into(order + "IIQQQQQQ", body, 120, 2, 6, 0x200, 0x10200, 0, len(table), len(table), 8)
    body[0x200 : 0x200 + len(table)] = table
    return bytes(body)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_dynamic_section_of_either_byte_order(order):
    names = b"\0libone.so\0libtwo.so\0$ORIGIN\0libme.so\0"
    rows = [(5, 0x10400), (1, names.index(b"libone")), (1, names.index(b"libtwo")), (14, names.index(b"libme"))]
    elf = Elf(built(order, [*rows, (15, names.index(b"$"))], names))
    assert (elf.needed, elf.soname, elf.rpath, elf.runpath) == (["libone.so", "libtwo.so"], "libme.so", "$ORIGIN", "")
    elf = Elf(built(order, [*rows, (15, names.index(b"$")), (29, names.index(b"libone"))], names))
    assert (elf.rpath, elf.runpath, elf.has_runpath) == ("", "libone.so", True)
    elf = Elf(built(order, [*rows, (15, names.index(b"$")), (29, 0)], names))
    assert (elf.rpath, elf.runpath, elf.has_runpath) == ("", "", True), "an empty one hides the RPATH as well"


def test_names_that_are_no_text():
    elf = Elf(built("<", [(5, 0x10400), (1, 1)], b"\0lib\xff\xfe.so\0"))
    assert elf.needed == ["lib\udcff\udcfe.so"] and os.fsencode(elf.needed[0]) == b"lib\xff\xfe.so"


@pytest.mark.parametrize(
    ("rows", "extra", "said"),
    [
        ([(1, 1)], b"", "without a table of names"),
        ([(5, 0x90000), (1, 1)], b"\0a\0", "belongs to no part"),
        ([(5, 0x10400), (1, 0)], b"a" * 10, "has no end"),
    ],
)
def test_a_dynamic_section_that_leads_nowhere(rows, extra, said):
    with pytest.raises(Malformed, match=said):
        Elf(built("<", rows, extra))


# -- tables that only special options of the linker make


@pytest.fixture
def library(tmp_path):
    def make(source, *options):
        path = tmp_path / "made.so"
        command = [COMPILER, "-w", "-shared", "-fPIC", "-nostdlib", "-x", "c", "-", "-o", str(path), *options]
        done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=tmp_path, timeout=120)
        assert done.returncode == 0, done.stderr
        return path.read_bytes()

    return make


MANY = "\n".join(f"int function_{i}(void) {{ return {i}; }}" for i in range(100, 400))
USES = "int absent(void); extern int data; int *p = &data; int f(void) { return absent(); }"


def _has(elf, name, version=b""):
    return elf.defines(Symbol(name, version), gnu_hash(name))


@compiled
@pytest.mark.parametrize("style", ["sysv", "gnu", "both"])
def test_each_kind_of_hash_table(library, style):
    elf = Elf(library(MANY + USES, f"-Wl,--hash-style={style}"))
    assert ("gnu" if style != "sysv" else "sysv") == ("gnu" if reader._GNU_HASH in elf._tags else "sysv")
    assert all(_has(elf, f"function_{i}".encode()) for i in range(100, 400))
    assert not any(_has(elf, f"function_{i}".encode()) for i in range(400, 900))
    assert not any(_has(elf, f"function_{i}".encode()) for i in range(10, 40)), "those are beginnings of names"
    assert not _has(elf, b"absent"), "it is listed, and undefined"
    assert sorted(s.name for s in elf.undefined()) == [b"absent", b"data"]
    assert [s.name for s in elf.relocated() if not _has(elf, s.name)] == [b"data", b"absent"], "functions come last"


@compiled
@pytest.mark.parametrize("style", ["sysv", "gnu"])
def test_a_library_that_defines_nothing(library, style):
    """GNU ld writes a hash table then that does not tell how many symbols there are."""
    source = "int absent(void); static int f(void) { return absent(); } "
    source += '__attribute__((visibility("hidden"))) int (*p)(void) = f;'
    data = library(source, f"-Wl,--hash-style={style}")
    assert [s.name for s in Elf(data).undefined()] == [b"absent"]
    without = bytearray(data)
    without[0x28:0x30], without[0x3A:0x40] = bytes(8), bytes(6)  # no section table
    assert [s.name for s in Elf(bytes(without)).undefined() if s.name] == [b"absent"]


@compiled
def test_versions_of_symbols(library, tmp_path):
    script = tmp_path / "map"
    script.write_text("V1 { global: first; }; V2 { global: second; } V1;")
    source = '__asm__(".symver old_one, first@V2"); int old_one, first, second, plain;'
    elf = Elf(library(source, f"-Wl,--version-script={script}"))
    assert set(elf.defined_versions().values()) == {b"V1", b"V2"}
    asked = {(n, v): _has(elf, n, v) for n in (b"first", b"second", b"plain") for v in (b"", b"V1", b"V2", b"V3")}
    assert {key for key, brings in asked.items() if brings} == {
        (b"first", b""),
        (b"first", b"V1"),
        (b"first", b"V2"),
        (b"second", b""),
        (b"second", b"V2"),
        (b"plain", b""),
        (b"plain", b"V1"),
        (b"plain", b"V2"),
        (b"plain", b"V3"),
    }


@pytest.mark.parametrize(
    ("versions", "family", "expected"),
    [
        (["GLIBC_2.4", "GLIBC_2.34", "GLIBC_2.17", "GLIBC_PRIVATE"], "GLIBC", "2.34"),
        (["GLIBCXX_3.4.9", "GLIBCXX_3.4.29", "GLIBCXX_3.4", "CXXABI_1.3.13"], "GLIBCXX", "3.4.29"),
        (["CXXABI_1.3.9", "CXXABI_1.3.13", "CXXABI_TM_1"], "CXXABI", "1.3.13"),
        (["GLIBCXX_3.4.29"], "GLIBC", None),
        (["GLIBC_PRIVATE", "GLIBC_ABI_DT_RELR"], "GLIBC", None),
        ([], "GLIBC", None),
    ],
)
def test_the_newest_version_of_a_family(versions, family, expected):
    assert newest([Need("lib", version, False) for version in versions], family) == expected


# -- broken files


def everything(data):
    """Ask a file all that can be asked; how many of the answers were refused."""
    elf = Elf(data)
    if elf.bits == 32:
        return 0
    questions = [elf.sections, lambda: elf.needs, elf.defined_versions, lambda: list(elf.undefined())]
    questions += [lambda: list(elf.relocated())]
    for name in (b"first", b"absent", b"nowhere"):
        questions += [functools.partial(_has, elf, name, version) for version in (b"", b"V1", b"V9")]
    refused = 0
    for question in questions:
        try:
            question()
        except Malformed:
            refused += 1
    return refused


@pytest.fixture
def specimens(library, tmp_path):
    script = tmp_path / "map"
    script.write_text("V1 { global: first; }; V2 { global: f; } V1;")
    source = f"{USES} int first;"
    options = [[f"-Wl,--version-script={script},--hash-style=both"], ["-Wl,--hash-style=sysv"], []]
    made = [library(source, "-Wl,-rpath,$ORIGIN,-z,noseparate-code", *o) for o in options]
    assert [everything(data) for data in made] == [0, 0, 0]
    return made


@compiled
def test_a_file_that_is_cut_anywhere_is_refused_or_read(specimens):
    for data in specimens:
        refused = 0
        for end in range(0, len(data), 7):
            try:
                refused += everything(data[:end]) > 0
            except Malformed:
                refused += 1
        assert refused > 100


@compiled
@pytest.mark.parametrize("seed", range(3))
def test_a_file_with_broken_bytes_is_refused_or_read(specimens, seed):
    """Never another exception, and never an answer that takes long."""
    rng = random.Random(seed)
    words = [b"\xff" * 8, bytes(8), b"\xff" * 7 + b"\x7f", b"\xff" * 4 + bytes(4), b"\0" * 7 + b"\x80"]
    refused = 0
    for _ in range(1000):
        data = bytearray(rng.choice(specimens))
        for _ in range(rng.choice([1, 1, 2, 6])):
            at = rng.choice([rng.randrange(64), rng.randrange(0x400), rng.randrange(len(data))])
            if rng.random() < 0.5:
                data[at] = rng.randrange(256)
            else:
                data[at & ~7 : (at & ~7) + 8] = rng.choice([*words, rng.randbytes(8)])
        try:
            refused += everything(bytes(data)) > 0
        except Malformed:
            refused += 1
    assert refused > 100
