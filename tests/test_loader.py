"""kit/collect/loader.py against the real loader: what it predicts, and what a child process is told by dlopen."""

import ast
import functools
import importlib.util
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import ClassVar

import pytest
from elftools.elf.elffile import ELFFile

from kit.collect import loader, startup
from kit.collect.elf import Elf
from kit.facts import Shadow

COMPILER = shutil.which("gcc") or shutil.which("cc")
pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the loader of glibc"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler: the libraries are compiled here"),
]
LOADS = ()
# Modes as in <dlfcn.h>: RTLD_NOW alone is RTLD_LOCAL.
NOW, GLOBAL = 2, 0x102
CHILD = "import ctypes, sys\nfor a in sys.argv[1:]: ctypes.CDLL(a[1:], mode=2 if a[0] == 'l' else 0x102)"
CASES = {}


class Bench:
    """A folder in which libraries are compiled, and the question that is asked about them."""

    compiled: ClassVar = {}

    def __init__(self, root):
        self.root, self.env, self.before = root, {}, []

    def library(self, name, source="", *options, soname=None, needs=()):
        """Compile a shared library without libc into ``name``, which may lead into a folder; its path."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soname = path.name if soname is None else soname
        named = [f"-Wl,-soname,{soname}"] if soname else []
        command = ["-shared", "-fPIC", "-nostdlib", "-Wl,-z,lazy,--no-as-needed", *named]
        self.gcc(source, path, *command, *options, *map(str, needs))
        return path

    def gcc(self, source, path, *options):
        made = self.compiled.get(key := (source, *map(self._content, options)))
        if made:  # the same sources stand in most cases
            path.write_bytes(made)
            path.chmod(0o755)
            return
        command = [COMPILER, "-w", "-x", "c", "-", "-x", "none", "-o", str(path), *options]
        done = subprocess.run(command, input=source, capture_output=True, text=True, cwd=self.root, timeout=120)
        if done.returncode:
            if "unrecognized option" in done.stderr or "unknown -z" in done.stderr:
                pytest.skip(f"this linker cannot make the file: {done.stderr.strip()}")
            raise AssertionError(done.stderr)
        if "-L." not in options:
            self.compiled[key] = path.read_bytes()

    def _content(self, option):
        """An option, or what is in the file that it names: the same of two folders."""
        file = self.root / option.rpartition("=")[2]
        return file.read_bytes() if file.is_file() else option

    def uses_b(self, name="a.so", *options, needs=None, **values):
        """A library that calls b() of libb.so, which is made in passing where none is given."""
        needs = [self.library("build/libb.so", "int b(void) { return 1; }")] if needs is None else needs
        return self.library(name, "int b(void); int a(void) { return b(); }", *options, needs=needs, **values)

    def brings_b(self, name="lib/libb.so", *options, **values):
        return self.library(name, "int b(void) { return 1; }", *options, **values)

    def lacks_b(self, name, **values):
        return self.library(name, "int other(void) { return 1; }", **values)


def case(*expected):
    """Register a question with its answer: nothing where the file loads, else (kind, what, base name of by)."""

    def register(build):
        name = build.__name__
        CASES[name] = (build, expected)
        return build

    return register


def environment(env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LD_")}
    return {**clean, **{name: str(value) for name, value in env.items()}}


def predicted(bench, path, executable=sys.executable):
    process = startup.start(executable, environment(bench.env), loader.Files())
    for before, mode in bench.before:
        assert process.open(str(before), everywhere=mode == GLOBAL) == []
    return process.open(str(path))


def answered(bench, path, command=(sys.executable, "-I", "-S", "-c", CHILD)):
    """(None, '') where a child process could load the file, else (status, what the loader said)."""
    files = [("l" if mode == NOW else "g") + str(file) for file, mode in [*bench.before, (path, NOW)]]
    done = subprocess.run([*command, *files], env=environment(bench.env), capture_output=True, text=True, timeout=60)
    said = done.stderr.strip().splitlines()
    return (done.returncode, said[-1] if said else "") if done.returncode else (None, "")


def same_complaint(complaint, status, said):
    """Whether the loader's words name what was predicted."""
    kind, what, by, of = complaint
    if kind == "library":
        return f"{what}: cannot open shared object file" in said or f"{what}: wrong ELF class" in said
    if kind == "version":
        return f"version `{what}' not found (required by {by})" in said or "check_match: Assertion" in said
    if kind == "symbol":
        return f"{by}: undefined symbol: {what}{f', version {of}' if of else ''}" in f"{said} "
    return f"{by}: " in said or f"{os.path.basename(by)}: " in said or status == -signal.SIGBUS


def agree(bench, path, expected, **how):
    missing = predicted(bench, path, **({"executable": how["executable"]} if how else {}))
    status, said = answered(bench, path, **({"command": [how["executable"]]} if how else {}))
    found = (missing[0].kind, missing[0].what, os.path.basename(missing[0].by)) if missing else ()
    assert (status is None) == (not expected), f"the real loader: {said!r}; predicted: {missing}"
    assert found[: len(expected)] == expected and bool(found) == bool(expected), f"the real loader: {said!r}"
    if missing:
        assert same_complaint(missing[0], status, said), f"predicted {missing[0]}, the loader says {said!r}"


# -- where libraries are looked for


@case("library", "libb.so", "a.so")
def beside_without_a_path(bench):
    bench.brings_b("libb.so")
    return bench.uses_b()


@case()
def rpath(bench):
    bench.brings_b()
    return bench.uses_b("a.so", f"-Wl,--disable-new-dtags,-rpath,{bench.root}/lib")


@case()
def runpath(bench):
    bench.brings_b()
    return bench.uses_b("a.so", f"-Wl,--enable-new-dtags,-rpath,{bench.root}/lib")


@case("library", "libb.so", "a.so")
def runpath_elsewhere(bench):
    bench.brings_b()
    return bench.uses_b("a.so", f"-Wl,--enable-new-dtags,-rpath,{bench.root}/no:{bench.root}")


@case()
def second_folder_of_the_runpath(bench):
    bench.brings_b()
    return bench.uses_b("a.so", f"-Wl,--enable-new-dtags,-rpath,{bench.root}/no:{bench.root}/lib")


@case()
def origin(bench):
    bench.brings_b("libb.so")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def origin_in_braces_and_upwards(bench):
    bench.brings_b("libs/libb.so")
    return bench.uses_b("package/a.so", "-Wl,-rpath,${ORIGIN}/../libs")


@case("library", "libb.so", "a.so")
def origin_is_where_the_file_was_opened_not_where_a_link_leads(bench):
    bench.brings_b("libb.so")
    bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")
    (bench.root / "other").mkdir()
    (bench.root / "other" / "a.so").symlink_to(bench.root / "a.so")
    return bench.root / "other" / "a.so"


@case("library", "libb.so", "a.so")
def upwards_out_of_a_linked_folder_is_where_the_link_leads(bench):
    """``link/../lib`` is beside the folder, not beside the link."""
    bench.brings_b("site/lib/libb.so")
    bench.uses_b("source/package/a.so", "-Wl,-rpath,$ORIGIN/../lib")
    (bench.root / "site" / "package").symlink_to(bench.root / "source" / "package")
    return bench.root / "site" / "package" / "a.so"


@case()
def upwards_out_of_a_linked_folder(bench):
    bench.brings_b("source/lib/libb.so")
    bench.uses_b("source/package/a.so", "-Wl,-rpath,$ORIGIN/../lib")
    (bench.root / "site").mkdir()
    (bench.root / "site" / "package").symlink_to(bench.root / "source" / "package")
    return bench.root / "site" / "package" / "a.so"


@case()
def lib_is_the_folder_of_this_systems_libraries(bench):
    folders = ("lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu")
    for folder in folders:
        bench.lacks_b(f"{folder}/libb.so")
    libc = next(f for f in folders[::-1] if Path("/", f, "libc.so.6").exists())
    bench.brings_b(f"{libc}/libb.so")
    return bench.uses_b("a.so", f"-Wl,-rpath,{bench.root}/$LIB")


@case()
def an_empty_folder_of_a_runpath_is_the_working_directory(bench):
    bench.brings_b("libb.so")
    return bench.uses_b("sub/a.so", f"-Wl,-rpath,{bench.root}/no:")


@case()
def ld_library_path(bench):
    bench.brings_b()
    bench.env["LD_LIBRARY_PATH"] = f"{bench.root}/no:{bench.root}/lib"
    return bench.uses_b()


@case()
def ld_library_path_with_a_semicolon(bench):
    bench.brings_b()
    bench.env["LD_LIBRARY_PATH"] = f"{bench.root}/no;{bench.root}/lib"
    return bench.uses_b()


@case()
def an_empty_folder_of_ld_library_path_is_the_working_directory(bench):
    bench.brings_b("libb.so")
    bench.env["LD_LIBRARY_PATH"] = "/no/such/folder:"
    return bench.uses_b("sub/a.so")


@case("library", "libb.so", "a.so")
def ld_library_path_without_content_is_none(bench):
    bench.brings_b("libb.so")
    bench.env["LD_LIBRARY_PATH"] = ""
    return bench.uses_b("sub/a.so")


@case()
def origin_in_ld_library_path_is_that_of_the_program(bench):
    bench.brings_b()
    program = os.path.dirname(os.path.realpath(sys.executable))
    bench.env["LD_LIBRARY_PATH"] = "$ORIGIN/" + os.path.relpath(bench.root / "lib", program)
    return bench.uses_b("much/" * 20 + "deeper/a.so")


@case("symbol", "b", "a.so")
def ld_library_path_goes_before_runpath(bench):
    bench.lacks_b("bad/libb.so")
    bench.brings_b("libb.so")
    bench.env["LD_LIBRARY_PATH"] = bench.root / "bad"
    return bench.uses_b("a.so", "-Wl,--enable-new-dtags,-rpath,$ORIGIN")


@case()
def rpath_goes_before_ld_library_path(bench):
    bench.lacks_b("bad/libb.so")
    bench.brings_b("libb.so")
    bench.env["LD_LIBRARY_PATH"] = bench.root / "bad"
    return bench.uses_b("a.so", "-Wl,--disable-new-dtags,-rpath,$ORIGIN")


def _chain(bench, first, second=()):
    """a.so needs libb.so needs libc1.so; these are in lib, with the options of a.so and of libb.so."""
    c = bench.library("lib/libc1.so", "int c(void) { return 1; }")
    b = bench.library("lib/libb.so", "int c(void); int b(void) { return c(); }", *second, needs=[c])
    return bench.uses_b("a.so", *first, "-Wl,--allow-shlib-undefined", needs=[b])


@case()
def rpath_is_inherited(bench):
    return _chain(bench, [f"-Wl,--disable-new-dtags,-rpath,{bench.root}/lib"])


@case("library", "libc1.so", "libb.so")
def runpath_is_not_inherited(bench):
    return _chain(bench, [f"-Wl,--enable-new-dtags,-rpath,{bench.root}/lib"])


@case("library", "libc1.so", "libb.so")
def rpath_is_not_inherited_by_a_library_with_a_runpath(bench):
    rpath = f"-Wl,--disable-new-dtags,-rpath,{bench.root}/lib"
    return _chain(bench, [rpath], [f"-Wl,--enable-new-dtags,-rpath,{bench.root}/no"])


@case()
def origin_of_an_inherited_rpath_is_that_of_its_own_file(bench):
    return _chain(bench, ["-Wl,--disable-new-dtags,-rpath,$ORIGIN/lib"])


@case("library", "libb.so", "a.so")
def rpath_is_ignored_beside_a_runpath(bench):
    """No linker writes both: the soname is turned into the RPATH."""
    bench.brings_b()
    a = bench.uses_b("a.so", f"-Wl,--enable-new-dtags,-rpath,{bench.root}/no", soname=f"{bench.root}/lib")
    assert Elf(a.read_bytes()).soname == f"{bench.root}/lib"
    _retag(a, "DT_SONAME", 15)
    assert (Elf(a.read_bytes()).rpath, Elf(a.read_bytes()).runpath) == ("", f"{bench.root}/no")
    return a


@case("library", "libc1.so", "libb.so")
def an_empty_runpath_is_one_too(bench):
    """As patchelf leaves it: the RPATH of a.so is not for libb.so then."""
    a = _chain(bench, [f"-Wl,--disable-new-dtags,-rpath,{bench.root}/lib"], ["-Wl,--enable-new-dtags,-rpath,/no"])
    b = bench.root / "lib" / "libb.so"
    b.write_bytes(b.read_bytes().replace(b"\0/no\0", b"\0\0no\0"))
    assert Elf(b.read_bytes()).runpath == ""
    return a


@case()
def the_system_has_it(bench):
    """libz.so.1 or libm.so.6, in the cache or in a default folder."""
    return bench.library("a.so", "double cos(double); double a(double x) { return cos(x); }", needs=["-lm", "-lc"])


# -- names that are loaded already


@case()
def soname_that_is_loaded(bench):
    bench.before = [(bench.brings_b(), NOW)]
    return bench.uses_b()


@case()
def file_name_differs_from_the_soname_that_is_loaded(bench):
    bench.before = [(bench.brings_b("lib/whatever.so", soname="libb.so"), NOW)]
    return bench.uses_b()


@case("library", "libb.so", "a.so")
def a_file_without_soname_is_not_known_by_its_file_name(bench):
    bench.before = [(bench.brings_b("lib/libb.so", soname=""), NOW)]
    return bench.uses_b()


@case("symbol", "b", "a.so")
def the_loaded_one_goes_before_a_better_one(bench):
    bench.before = [(bench.lacks_b("lib/other.so", soname="libb.so"), NOW)]
    bench.brings_b("libb.so")
    return bench.uses_b("a.so", "-Wl,--disable-new-dtags,-rpath,$ORIGIN")


@case()
def absolute_needed(bench):
    b = bench.brings_b("lib/libb.so", soname="")
    a = bench.uses_b("a.so", needs=[b])
    assert Elf(a.read_bytes()).needed == [str(b)], "the case itself"
    return a


@case("library", "/no/such/folder/libb.so", "a.so")
def absolute_needed_that_is_gone(bench):
    return bench.uses_b("a.so", needs=[bench.brings_b("lib/libb.so", soname="/no/such/folder/libb.so")])


@case()
def needed_with_origin(bench):
    return bench.uses_b("a.so", needs=[bench.brings_b("lib/libb.so", soname="$ORIGIN/lib/libb.so")])


@case()
def relative_needed_is_below_the_working_directory(bench):
    return bench.uses_b("sub/a.so", needs=[bench.brings_b("lib/libb.so", soname="lib/libb.so")])


@case()
def links_of_versions(bench):
    b = bench.brings_b("libb.so.1.2", soname="libb.so.1")
    (bench.root / "libb.so.1").symlink_to("libb.so.1.2")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN", needs=[b])


@case("library", "libb.so", "a.so")
def a_link_that_leads_nowhere(bench):
    (bench.root / "libb.so").symlink_to("gone.so")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def two_names_of_one_file(bench):
    one = bench.brings_b("libone.so", soname="")
    os.link(one, bench.root / "libtwo.so")
    library = "int b(void); int {}(void) {{ return b(); }}".format
    bench.library("liba.so", library("a1"), "-L.", "-l:libone.so", "-Wl,-rpath,$ORIGIN", soname="")
    return bench.library("a.so", library("a"), "-L.", "-l:libtwo.so", "-l:liba.so", "-Wl,-rpath,$ORIGIN")


@case("file", "data encoding (byte order) is not that of this machine", "a.so")
def another_byte_order(bench):
    """Nothing but the header, so that nothing else is wrong with it."""
    a = bench.brings_b("a.so")
    head = bytearray(a.read_bytes()[:64])
    head[5] = 2
    struct.pack_into(">HHIQQQIHHHHHH", head, 16, 3, 62, 1, 0, 0, 0, 0, 64, 56, 0, 64, 0, 0)
    a.write_bytes(head)
    return a


@case("symbol", "b", "a.so")
def a_second_library_of_one_soname_is_mapped_for_its_path_alone(bench):
    """libb.so is taken from the loaded one though dlopen of another file of that soname made a second one."""
    bench.before = [(bench.lacks_b("one/libb.so"), NOW), (bench.brings_b("two/libb.so"), NOW)]
    return bench.uses_b()


@case()
def circle(bench):
    build = bench.brings_b("build/libb.so")
    a = bench.uses_b("liba.so", "-Wl,-rpath,$ORIGIN", needs=[build])
    source = "int a(void); int b(void) { return (int)(long) &a; }"
    bench.library("libb.so", source, "-Wl,-rpath,$ORIGIN", needs=[a])
    return a


@case()
def needed_name_and_soname_differ(bench):
    """The versions are asked of the name that is needed."""
    old = _versioned(bench, "build/libb.so", "V1 { global: b; };", soname="libb.so.1")
    _versioned(bench, "libb.so.1", "V1 { global: b; };", soname="libb.so.9")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN", needs=[old])


# -- files that are passed over, and files that end the search


def _patched(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)
    return path


def _retag(path, old, new):
    """Turn one entry of the dynamic section into another."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".dynamic")
        index = next(i for i, tag in enumerate(section.iter_tags()) if tag["d_tag"] == old)
    _patched(path, section["sh_offset"] + 16 * index, struct.pack("<q", new))


_I386, _ARM = struct.pack("<H", 3), struct.pack("<H", 183)


@case()
def another_machine_first_on_the_path(bench):
    _patched(bench.brings_b("foreign/libb.so"), 18, _ARM)
    bench.brings_b("libb.so")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN/foreign:$ORIGIN")


@case()
def another_class_first_on_the_path(bench):
    _patched(bench.brings_b("foreign/libb.so"), 4, b"\1")
    bench.brings_b("libb.so")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN/foreign:$ORIGIN")


@case("library", "libb.so", "a.so")
def another_machine_alone_on_the_path(bench):
    _patched(bench.brings_b("foreign/libb.so"), 18, _ARM)
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN/foreign")


@case("library", "libb.so", "a.so")
def another_class_alone_on_the_path(bench):
    _patched(bench.brings_b("foreign/libb.so"), 4, b"\1")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN/foreign")


def _in_front(bench, content):
    (bench.root / "bad").mkdir()
    (bench.root / "bad" / "libb.so").write_bytes(content)
    bench.brings_b("libb.so")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN/bad:$ORIGIN")


@case("file", "invalid ELF file: not an ELF file", "libb.so")
def text_first_on_the_path(bench):
    """A linker script, as /usr/lib/x86_64-linux-gnu/libc.so is: the loader does not look further."""
    return _in_front(bench, b"/* GNU ld script */ GROUP ( /lib64/libc.so.6 ) " * 3)


@case("file", "invalid ELF file: the file is empty", "libb.so")
def an_empty_file_first_on_the_path(bench):
    return _in_front(bench, b"")


@case("file")
def another_byte_order_first_on_the_path(bench):
    bad = _patched(bench.brings_b("build/bad.so"), 5, b"\2")
    return _in_front(bench, bad.read_bytes())


@case("file")
def a_relocatable_object_first_on_the_path(bench):
    bench.gcc("int b(void) { return 1; }", bench.root / "b.o", "-c", "-fPIC")
    return _in_front(bench, (bench.root / "b.o").read_bytes())


@case("file")
def a_dependency_that_is_a_program(bench):
    source = "int b(void) { return 1; } int main(void) { return 0; }"
    bench.gcc(source, bench.root / "program", "-pie", "-fPIE", "-rdynamic")
    return _in_front(bench, (bench.root / "program").read_bytes())


@case("file")
def a_dependency_that_was_cut(bench):
    return _in_front(bench, bench.brings_b("build/libb.so").read_bytes()[:0x1080])


@case("file")
def a_file_that_is_not_there(bench):
    return bench.root / "gone.so"


@case("file")
def a_folder(bench):
    (bench.root / "a.so").mkdir()
    return bench.root / "a.so"


@case("file")
def a_text(bench):
    (bench.root / "a.so").write_text("version https://git-lfs.github.com/spec/v1\n" * 3)
    return bench.root / "a.so"


@case("file")
def an_empty_file(bench):
    (bench.root / "a.so").touch()
    return bench.root / "a.so"


@case("file")
def cut_within_the_header(bench):
    a = bench.brings_b("a.so")
    a.write_bytes(a.read_bytes()[:40])
    return a


@case("file")
def cut_behind_the_header(bench):
    a = bench.brings_b("a.so")
    a.write_bytes(a.read_bytes()[:0x100])
    return a


@case("file")
def cut_in_the_middle(bench):
    """The loader maps what is not there, and the process dies of SIGBUS."""
    a = bench.library("a.so", "int b(void) { return 1; } long many[20000] = {1}; long *p = many;")
    a.write_bytes(a.read_bytes()[:0x2000])
    return a


@case()
def cut_in_the_table_of_sections(bench):
    """A section table is nothing to the loader."""
    a = bench.brings_b("a.so")
    a.write_bytes(a.read_bytes()[:-8])
    return a


@case("file")
def another_machine(bench):
    return _patched(bench.brings_b("a.so"), 18, _ARM)


@case("file")
def another_class(bench):
    return _patched(bench.brings_b("a.so"), 4, b"\1")


@case("file")
def a_program(bench):
    bench.gcc("int main(void) { return 0; }", bench.root / "a.so", "-pie", "-fPIE")
    return bench.root / "a.so"


@case("file")
def a_program_at_a_fixed_address(bench):
    bench.gcc("int main(void) { return 0; }", bench.root / "a.so", "-no-pie")
    return bench.root / "a.so"


@case("file")
def a_relocatable_object(bench):
    bench.gcc("int a(void) { return 0; }", bench.root / "a.so", "-c")
    return bench.root / "a.so"


@case("file", "object file has no dynamic section: is it the debug data of a library?", "a.so")
def debug_data_alone(bench):
    """As of Debian's -dbgsym packages: it has the headers of the library and nothing in them."""
    bench.library("whole.so", "int a(void) { return 0; }", "-g")
    subprocess.run(["objcopy", "--only-keep-debug", "whole.so", "a.so"], cwd=bench.root, check=True, timeout=60)
    return bench.root / "a.so"


@case("file")
def a_library_that_forbids_dlopen(bench):
    return bench.library("a.so", "int a(void) { return 0; }", "-Wl,-z,nodlopen")


@case("file")
def a_dependency_that_forbids_dlopen(bench):
    bench.brings_b("libb.so", "-Wl,-z,nodlopen")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


def executable_stack(bench):
    return bench.library("a.so", "int a(void) { return 0; }", "-Wl,-z,execstack")


GLIBC = tuple(map(int, os.confstr("CS_GNU_LIBC_VERSION").split()[1].split("."))) if sys.platform == "linux" else (0,)
CASES["executable_stack"] = (executable_stack, ("file",) if GLIBC >= (2, 41) else LOADS)


# -- symbols


@case("symbol", "nowhere", "a.so")
def a_function_that_nobody_has(bench):
    return bench.library("a.so", "int nowhere(void); int a(void) { return nowhere(); }")


@case("symbol", "nowhere", "a.so")
def data_that_nobody_has(bench):
    return bench.library("a.so", "extern int nowhere; int a(void) { return nowhere; }")


@case("symbol", "nowhere", "a.so")
def an_address_that_nobody_has(bench):
    return bench.library("a.so", "int nowhere(void); void *a = &nowhere;")


@case("symbol", "nowhere", "a.so")
def a_thread_local_that_nobody_has(bench):
    return bench.library("a.so", "extern __thread int nowhere; int a(void) { return nowhere; }")


@case()
def a_thread_local_of_a_dependency(bench):
    b = bench.library("libb.so", "__thread int there = 7;")
    source = "extern __thread int there; int a(void) { return there; }"
    return bench.library("a.so", source, "-Wl,-rpath,$ORIGIN", needs=[b])


@case()
def data_of_a_dependency(bench):
    b = bench.library("libb.so", "int there = 7;")
    return bench.library("a.so", "extern int there; int *a = &there;", "-Wl,-rpath,$ORIGIN", needs=[b])


@case("symbol", "b", "a.so")
def a_dependency_that_no_longer_has_it(bench):
    bench.lacks_b("libb.so")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case("symbol", "deep", "libb.so")
def a_dependency_lacks_one(bench):
    bench.library("libb.so", "int deep(void); int b(void) { return deep(); }")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case("symbol", "deep", "libb.so")
def what_a_dependency_lacks_is_said_first(bench):
    b = bench.library("libb.so", "int deep(void); int b(void) { return deep(); }")
    source = "int b(void); int nowhere(void); int a(void) { return nowhere() + b(); }"
    return bench.library("a.so", source, "-Wl,-rpath,$ORIGIN,--allow-shlib-undefined", needs=[b])


@case("symbol", "second", "libtwo.so")
def of_two_dependencies_the_last_one_is_bound_first(bench):
    one = bench.library("libone.so", "int first(void); int one(void) { return first(); }")
    two = bench.library("libtwo.so", "int second(void); int two(void) { return second(); }")
    source = "int one(void), two(void); int a(void) { return one() + two(); }"
    return bench.library("a.so", source, "-Wl,-rpath,$ORIGIN,--allow-shlib-undefined", needs=[one, two])


@case("symbol", "first", "libone.so")
def a_dependency_of_a_dependency_is_bound_before_it(bench):
    """Whatever the order in which a.so names them."""
    one = bench.library("libone.so", "int first(void); int one(void) { return first(); }")
    source = "int second(void); int two(void) { return second(); }"
    two = bench.library("libtwo.so", source, "-Wl,-rpath,$ORIGIN", needs=[one])
    source = "int one(void), two(void); int a(void) { return one() + two(); }"
    return bench.library("a.so", source, "-Wl,-rpath,$ORIGIN,--allow-shlib-undefined", needs=[one, two])


@case("symbol", "data", "a.so")
def data_is_bound_before_functions(bench):
    return bench.library("a.so", "int function(void); extern int data; int a(void) { return function() + data; }")


@case()
def a_library_brings_it_to_its_sibling(bench):
    """libb.so calls what only a.so's other dependency has: all of one dlopen see each other."""
    b = bench.library("libb.so", "int there(void); int b(void) { return there(); }")
    other = bench.library("libother.so", "int there(void) { return 1; }")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN", needs=[b, other])


@case("symbol", "b", "a.so")
def loaded_for_itself_alone(bench):
    bench.before = [(bench.brings_b(), NOW)]
    return bench.uses_b("a.so", needs=[])


@case()
def loaded_for_everybody(bench):
    bench.before = [(bench.brings_b(), GLOBAL)]
    return bench.uses_b("a.so", needs=[])


@case()
def loaded_for_itself_and_then_for_everybody(bench):
    bench.before = [(b := bench.brings_b(), NOW), (b, GLOBAL)]
    return bench.uses_b("a.so", needs=[])


@case()
def dependency_of_one_that_was_loaded_for_everybody(bench):
    b = bench.brings_b("libb.so")
    top = bench.library("top.so", "int top;", "-Wl,-rpath,$ORIGIN", needs=[b])
    bench.before = [(top, GLOBAL)]
    return bench.uses_b("a.so", needs=[])


@case()
def of_python_itself(bench):
    return bench.library("a.so", "void *PyLong_FromLong(long); void *a(void) { return PyLong_FromLong(1); }")


@case()
def weak(bench):
    source = "__attribute__((weak)) int nowhere(void); int a(void) { return nowhere ? nowhere() : 0; }"
    return bench.library("a.so", source)


@case()
def weak_definition(bench):
    bench.library("libb.so", "__attribute__((weak)) int b(void) { return 1; }")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def undefined_but_not_used(bench):
    """No linker lists one without a use of it: the use is taken away."""
    a = bench.library("a.so", "int nowhere(void); int a(void) { return nowhere(); }")
    with a.open("rb") as stream:
        at = ELFFile(stream).get_section_by_name(".rela.plt")["sh_offset"]
    _patched(a, at + 8, bytes(8))
    assert b"nowhere" in [s.name for s in Elf(a.read_bytes()).undefined()], "the case itself"
    return a


@case("symbol", "b", "a.so")
def hidden_definition(bench):
    b = bench.brings_b("libb.so")
    _hide(b, "b")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


def _hide(path, name, at=5, value=b"\2"):
    """Set the visibility of an exported symbol to STV_HIDDEN, which no linker exports, or another byte of it."""
    with path.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".dynsym")
        index = next(i for i, s in enumerate(section.iter_symbols()) if s.name == name)
    _patched(path, section["sh_offset"] + 24 * index + at, value)


@case("symbol", "b", "a.so")
def local_definition(bench):
    _hide(bench.brings_b("libb.so"), "b", 4, b"\x02")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case("symbol", "b", "a.so")
def definition_that_is_the_name_of_a_file(bench):
    _hide(bench.brings_b("libb.so"), "b", 4, b"\x14")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case("symbol", "b", "a.so")
def definition_without_a_value(bench):
    _hide(bench.brings_b("libb.so"), "b", 8, bytes(8))
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def unique_definition(bench):
    source = '__asm__(".globl u; .type u, @gnu_unique_object; .data; u: .quad 1; .size u, 8");'
    b = bench.library("libb.so", source)
    return bench.library("a.so", "extern long u; long *a = &u;", "-Wl,-rpath,$ORIGIN", needs=[b])


@case()
def absolute_definition(bench):
    b = bench.library("libb.so", "int c;", "-Wl,--defsym,b=0")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN", needs=[b])


@case()
def protected_definition(bench):
    bench.library("libb.so", '__attribute__((visibility("protected"))) int b(void) { return 1; }')
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def indirect_function(bench):
    source = "static int one(void) { return 1; } static void *pick(void) { return one; }"
    bench.library("libb.so", source + ' int b(void) __attribute__((ifunc("pick")));')
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def symbolic(bench):
    source = "int b(void) { return 1; } int a(void) { return b(); }"
    return bench.library("a.so", source, "-Wl,-Bsymbolic")


@case()
def hash_table_of_system_v(bench):
    bench.brings_b("libb.so", "-Wl,--hash-style=sysv")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN,--hash-style=sysv")


@case("symbol", "b", "a.so")
def hash_table_of_system_v_without_it(bench):
    bench.library("libb.so", "int other(void) { return 1; }", "-Wl,--hash-style=sysv")
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN,--hash-style=sysv")


@case()
def without_table_of_sections(bench):
    a = bench.library("a.so", "int a(void) { return 0; } int b(void) { return a(); }")
    _patched(a, 0x28, bytes(8))
    return _patched(a, 0x3A, bytes(6))


@case("symbol", "nowhere", "a.so")
def without_table_of_sections_and_without_what_it_needs(bench):
    a = bench.library("a.so", "int nowhere(void); void a(void) { nowhere(); }")
    _patched(a, 0x28, bytes(8))
    return _patched(a, 0x3A, bytes(6))


@case()
def packed_relative_relocations(bench):
    source = "int x; int *a = &x; int **c = &a; extern int environ; int *d = &environ;"
    a = bench.library("a.so", source, "-Wl,-z,pack-relative-relocs", needs=["-lc"])
    if "GLIBC_ABI_DT_RELR" not in [need.version for need in Elf(a.read_bytes()).needs]:
        pytest.skip("this linker writes no DT_RELR")
    return a


if GLIBC < (2, 36):
    CASES["packed_relative_relocations"] = (packed_relative_relocations, ("version", "GLIBC_ABI_DT_RELR", "a.so"))


@case()
def preloaded(bench):
    bench.env["LD_PRELOAD"] = bench.brings_b()
    return bench.uses_b("a.so", needs=[])


@case()
def preloaded_second(bench):
    bench.env["LD_PRELOAD"] = f"/no/such/lib.so {bench.lacks_b('lib/libc1.so')}:{bench.brings_b()}"
    return bench.uses_b("a.so", needs=[])


@case()
def preloaded_by_its_name(bench):
    bench.brings_b()
    bench.env.update(LD_PRELOAD="libb.so", LD_LIBRARY_PATH=bench.root / "lib")
    return bench.uses_b("a.so", needs=[])


@case()
def preloaded_by_a_relative_path(bench):
    bench.brings_b()
    bench.env["LD_PRELOAD"] = "lib/libb.so"
    return bench.uses_b("a.so", needs=[])


# -- versions


def _versioned(bench, name, script, source="int b(void) { return 1; }", *options, **values):
    file = bench.root / f"{Path(name).name}.map"
    file.write_text(script)
    return bench.library(name, source, f"-Wl,--version-script={file}", *options, **values)


TWO = "V1 { global: old; }; V2 { global: b; } V1;"
SOURCE_OF_TWO = "int old(void) { return 1; } int b(void) { return 2; }"


def _asks_for_v2(bench, *options, source="int b(void); int a(void) { return b(); }"):
    build = _versioned(bench, "build/libb.so", TWO, SOURCE_OF_TWO)
    a = bench.library("a.so", source, "-Wl,-rpath,$ORIGIN", *options, needs=[build])
    assert [n.version for n in Elf(a.read_bytes()).needs if n.library == "libb.so"] == ["V2"]
    return a


@case()
def version_is_there(bench):
    _versioned(bench, "libb.so", TWO, SOURCE_OF_TWO)
    return _asks_for_v2(bench)


@case("version", "V2", "a.so")
def version_is_absent(bench):
    _versioned(bench, "libb.so", "V1 { global: old; b; };", SOURCE_OF_TWO)
    return _asks_for_v2(bench)


@case("version", "V2", "libb2.so")
def version_is_absent_for_a_dependency(bench):
    _versioned(bench, "libb.so", "V1 { global: old; b; };", SOURCE_OF_TWO)
    build = _versioned(bench, "build/libb.so", TWO, SOURCE_OF_TWO)
    b2 = bench.library("libb2.so", "int b(void); int b2(void) { return b(); }", "-Wl,-rpath,$ORIGIN", needs=[build])
    return bench.library("a.so", "int b2(void); int a(void) { return b2(); }", "-Wl,-rpath,$ORIGIN", needs=[b2])


@case()
def version_is_absent_but_weak(bench):
    """Linkers that know VER_FLG_WEAK set it where every use is weak; this one is set by hand."""
    a = version_is_absent_of_a_weak_symbol(bench)
    with a.open("rb") as stream:
        at = ELFFile(stream).get_section_by_name(".gnu.version_r")["sh_offset"]
    _patched(a, at + 16 + 4, b"\2")
    assert [n.weak for n in Elf(a.read_bytes()).needs] == [True], "the case itself"
    return a


@case("version", "V2", "a.so")
def version_is_absent_of_a_weak_symbol(bench):
    _versioned(bench, "libb.so", "V1 { global: old; };", SOURCE_OF_TWO)
    return _asks_for_v2(bench, source="__attribute__((weak)) int b(void); int a(void) { return b ? b() : 0; }")


@case("symbol", "b", "a.so")
def version_is_there_but_the_symbol_has_another(bench):
    _versioned(bench, "libb.so", "V1 { global: b; }; V2 { global: old; } V1;", SOURCE_OF_TWO)
    return _asks_for_v2(bench)


@case()
def symbol_without_version_in_a_library_with_versions(bench):
    """It fits every version that is asked for."""
    file = _versioned(bench, "libb.so", "V1 { global: old; }; V2 { global: old2; } V1;", "int old2, old, b;")
    names = {s.decode(): v for s, v in _exports(file)}
    assert names["b"] == 1, "the case itself: b has no version"
    return _asks_for_v2(bench)


def _exports(path):
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        versions = elf.get_section_by_name(".gnu.version")
        for i, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
            index = versions.get_symbol(i)["ndx"]
            yield symbol.name.encode(), {"VER_NDX_GLOBAL": 1, "VER_NDX_LOCAL": 0}.get(index, index)


@case()
def version_of_a_library_that_has_none(bench):
    """It needs libc, so that it has a table of versions with none in it."""
    b = bench.library("libb.so", "int rand(void); int b(void) { return rand(); }", needs=["-lc"])
    assert not Elf(b.read_bytes()).defined_versions()
    return _asks_for_v2(bench)


@case("version", "V2", "a.so")
def version_of_a_library_without_a_table_of_versions(bench):
    """glibc does not foresee it: an assertion fails, and ends the process."""
    b = bench.brings_b("libb.so")
    assert not Elf(b.read_bytes()).has_versions, "the case itself"
    return _asks_for_v2(bench)


@case()
def plain_reference_to_a_default_version(bench):
    _versioned(bench, "libb.so", TWO, SOURCE_OF_TWO)
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


HIDDEN = '__asm__(".symver b_old, b@V2"); int b_old(void) { return 1; } int old(void) { return 2; }'


@case("symbol", "b", "a.so")
def plain_reference_to_a_hidden_version(bench):
    """b@V2 is there for those that ask for V2 alone."""
    _versioned(bench, "libb.so", "V1 { global: old; }; V2 { } V1;", HIDDEN)
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def plain_reference_to_the_oldest_version_though_it_is_hidden(bench):
    _versioned(bench, "libb.so", "V1 { }; V2 { global: old; } V1;", HIDDEN.replace("b@V2", "b@V1"))
    return bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN")


@case()
def versioned_reference_to_a_hidden_version(bench):
    _versioned(bench, "libb.so", "V1 { global: old; }; V2 { } V1;", HIDDEN)
    return _asks_for_v2(bench)


@case("version", "GLIBC_9.99", "a.so")
def a_newer_libc(bench):
    stub = _versioned(bench, "build/libc.so.6", "GLIBC_9.99 { global: b; };")
    return bench.uses_b("a.so", needs=[stub])


@case("symbol", "b", "a.so")
def a_private_symbol_of_another_libc(bench):
    stub = _versioned(bench, "build/libc.so.6", "GLIBC_PRIVATE { global: b; };")
    return bench.uses_b("a.so", needs=[stub])


@case("library", "libnone.so", "a.so")
def libraries_are_complained_of_before_versions_and_symbols(bench):
    none = bench.library("build/libnone.so", "int none;")
    _versioned(bench, "libb.so", "V1 { global: old; };", SOURCE_OF_TWO)
    return _asks_for_v2(bench, str(none))


@case("version", "V2", "a.so")
def versions_are_complained_of_before_symbols(bench):
    _versioned(bench, "libb.so", "V1 { global: old; };", SOURCE_OF_TWO)
    return _asks_for_v2(bench, source="int nowhere(void), b(void); int a(void) { return nowhere() + b(); }")


# -- the tests


@pytest.mark.parametrize("name", CASES)
def test_what_is_predicted_is_what_the_loader_answers(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    build, expected = CASES[name]
    bench = Bench(tmp_path)
    agree(bench, build(bench), expected)


# The program that asks: its RPATH counts for all that it loads, its RUNPATH for nothing but its own needs.

PROGRAM = """
#include <dlfcn.h>
#include <stdio.h>
void *ask(const char *, int);
int main(int count, char **argument) {
    for (int i = 1; i < count; i++)
        if (!ask(argument[i] + 1, argument[i][0] == 'l' ? RTLD_NOW : RTLD_NOW | RTLD_GLOBAL)) {
            fprintf(stderr, "%s\\n", dlerror());
            return 1;
        }
    return 0;
}
"""
ASK = "#include <dlfcn.h>\nvoid *ask(const char *path, int mode) { return dlopen(path, mode); }"


@pytest.mark.parametrize(
    ("of_program", "of_libpython", "expected"),
    [
        ((), (), ("library", "libb.so", "a.so")),
        (("--disable-new-dtags", "-rpath,$ORIGIN/lib"), (), LOADS),
        (("--enable-new-dtags", "-rpath,$ORIGIN/lib:$ORIGIN"), (), ("library", "libb.so", "a.so")),
        ((), ("--disable-new-dtags", "-rpath,$ORIGIN/lib"), ("library", "libb.so", "a.so")),
        ((), ("--enable-new-dtags", "-rpath,$ORIGIN/lib"), ("library", "libb.so", "a.so")),
        (("--disable-new-dtags", "-rpath,$ORIGIN/lib"), ("--enable-new-dtags", "-rpath,/no"), LOADS),
    ],
)
def test_the_rpath_of_an_interpreter_and_of_its_libpython(tmp_path, monkeypatch, of_program, of_libpython, expected):
    """A Python that is a program with a libpython, which calls dlopen: what it has for itself is not inherited."""
    monkeypatch.chdir(tmp_path)
    bench = Bench(tmp_path)
    libpython = ["-shared", "-fPIC", "-Wl,-soname,libpython3.99.so.1.0", *(f"-Wl,{o}" for o in of_libpython)]
    bench.gcc(ASK, tmp_path / "libpython3.99.so.1.0", *libpython, "-ldl")
    finds_it = [f"-Wl,{o}:$ORIGIN" if "rpath" in o else f"-Wl,{o}" for o in of_program or ("-rpath,$ORIGIN",)]
    bench.gcc(PROGRAM, tmp_path / "python", "./libpython3.99.so.1.0", *finds_it)
    bench.brings_b()
    agree(bench, bench.uses_b(), expected, executable=str(tmp_path / "python"))


# -- what a person is told of a failure


def opened(bench, path, folders=()):
    """The process in which ``path`` was opened, and what is missing."""
    process = startup.start(sys.executable, environment(bench.env), loader.Files(), folders)
    return process, process.open(str(path))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path)


def test_a_library_that_lies_where_nobody_looks(bench):
    wheel = bench.brings_b("site/nvidia/cublas/lib/libb.so")
    of_torch = bench.brings_b("site/torch/lib/libb.so")
    process, missing = opened(bench, bench.uses_b(), [str(bench.root / "site")])
    assert [m.kind for m in missing] == ["library"]
    assert process.elsewhere("libb.so") == [str(wheel), str(of_torch)]
    wheel.write_bytes(b"no library")
    _patched(of_torch, 18, _ARM)
    process, _ = opened(bench, bench.root / "a.so", [str(bench.root / "site")])
    assert process.elsewhere("libb.so") == [], "neither can be loaded"


@pytest.mark.parametrize("how", ["LD_LIBRARY_PATH", "RPATH"])
def test_a_shadow_that_lacks_a_symbol(bench, how):
    bad, good = bench.lacks_b("bad/libb.so"), bench.brings_b("good/libb.so")
    if how == "RPATH":
        a = bench.uses_b("a.so", f"-Wl,--disable-new-dtags,-rpath,{bad.parent}:{good.parent}")
    else:
        bench.env["LD_LIBRARY_PATH"] = bad.parent
        a = bench.uses_b("a.so", f"-Wl,--enable-new-dtags,-rpath,{good.parent}")
    process, missing = opened(bench, a)
    assert process.shadows(missing) == [Shadow("libb.so", str(bad), how, str(good))]
    good.unlink()
    process, missing = opened(bench, a)
    assert missing and process.shadows(missing) == [], "nothing stands behind it"
    os.link(bad, good)
    process, missing = opened(bench, a)
    assert missing and process.shadows(missing) == [], "the same file stands behind it"


def test_a_shadow_that_lacks_a_version(bench):
    bad = _versioned(bench, "bad/libb.so", "V1 { global: old; b; };", SOURCE_OF_TWO)
    good = _versioned(bench, "libb.so", TWO, SOURCE_OF_TWO)
    bench.env["LD_LIBRARY_PATH"] = bad.parent
    process, missing = opened(bench, _asks_for_v2(bench))
    assert process.shadows(missing) == [Shadow("libb.so", str(bad), "LD_LIBRARY_PATH", str(good))]


def test_the_newest_version_of_a_library(bench):
    process, missing = opened(bench, a_newer_libc(bench))
    assert [m.of for m in missing] == ["libc.so.6"]
    assert process.newest("libc.so.6", "GLIBC") == "GLIBC_" + ".".join(map(str, GLIBC))
    assert process.newest("libc.so.6", "NOSUCH") is None and process.newest("libnone.so", "GLIBC") is None


def test_of_a_library_that_was_not_loaded_in_the_end_too(bench):
    _versioned(bench, "libb.so", "FAMILY_1.9 { global: old; }; FAMILY_1.10 { global: b; };", SOURCE_OF_TWO)
    new = _versioned(bench, "build/libb.so", "FAMILY_2.0 { global: b; };")
    process, missing = opened(bench, bench.uses_b("a.so", "-Wl,-rpath,$ORIGIN", needs=[new]))
    assert process.newest(missing[0].of, "FAMILY") == "FAMILY_1.10"


def test_one_file_is_mapped_once_whatever_it_is_called(bench):
    process, missing = opened(bench, two_names_of_one_file(bench))
    assert missing == []
    maps = "import ctypes, sys; ctypes.CDLL(sys.argv[1], mode=2); print(open('/proc/self/maps').read())"
    command = [sys.executable, "-I", "-S", "-c", maps, str(bench.root / "a.so")]
    said = subprocess.run(command, env=environment({}), capture_output=True, text=True, timeout=60, check=True).stdout
    mapped = {line.split()[-1] for line in said.splitlines() if str(bench.root) in line}
    assert {o.path for o in process.objects if o.path.startswith(str(bench.root))} == mapped


def test_an_open_that_fails_leaves_nothing_behind(bench):
    """What it brought is gone again, as after a dlopen that failed: the next library does not find it."""
    b = bench.brings_b("libb.so")
    source = "int b(void), nowhere(void); int a(void) { return b() + nowhere(); }"
    fails = bench.library("fails.so", source, "-Wl,-rpath,$ORIGIN", needs=[b])
    process, missing = opened(bench, fails)
    assert [m.what for m in missing] == ["nowhere"]
    assert [m.what for m in process.open(str(bench.uses_b()))] == ["libb.so"]


def test_a_copy_leaves_its_original_alone(bench):
    bench.brings_b("libb.so")
    first = startup.start(sys.executable, environment({}), loader.Files())
    twin = first.copy()
    assert twin.open(str(bench.root / "libb.so"), everywhere=True) == []
    a = bench.uses_b("a.so", needs=[])
    assert twin.copy().open(str(a)) == []
    assert [m.what for m in first.open(str(a))] == ["b"] and [m.what for m in first.copy().open(str(a))] == ["b"]


def test_a_python_that_glibc_does_not_start(bench):
    script = bench.root / "python"
    script.write_text("#!/bin/sh\n")
    assert startup.start(str(script), {}, loader.Files()) is None
    assert startup.start(str(bench.root / "gone"), {}, loader.Files()) is None
    musl = bench.root / "musl"
    bench.gcc("int main(void) { return 0; }", musl, "-pie", "-fPIE", "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")
    assert startup.start(str(musl), {}, loader.Files()) is None
    assert startup.start(str(bench.brings_b()), {}, loader.Files()) is None, "it names no loader"


# -- the cache of ldconfig


def test_the_cache_is_read_as_ldconfig_reads_it():
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if ldconfig is None or not os.path.exists("/etc/ld.so.cache"):
        pytest.skip("no ldconfig here")
    listed = {}
    printed = subprocess.run([ldconfig, "-p"], capture_output=True, text=True, timeout=60, check=True).stdout
    for name, path in re.findall(r"^\t(\S+) \(.*\) => (.+)$", printed, re.M):
        listed.setdefault(name, []).append(path)
    assert listed
    files = loader.Files()
    assert {name: files.cached(name) for name in listed} == listed
    assert files.cached("libnosuch.so") == []
    assert len(loader.read_cache(Path("/etc/ld.so.cache").read_bytes())) == len(listed)


def test_a_cache_of_another_format_and_one_that_was_cut():
    assert loader.read_cache(b"") == loader.read_cache(b"ld.so-1.7.0\0" + bytes(200)) == {}
    one = struct.pack("=iIIIQ", 0x0303, 72, 80, 0, 0) + b"libb.so\0/lib/libb.so\0"
    head = b"glibc-ld.so.cache1.1" + struct.pack("=II", 1, 30) + bytes(20)
    assert loader.read_cache(head + one) == {b"libb.so": [b"/lib/libb.so"]}
    # The old format may stand in front; places count from where the new one begins.
    assert loader.read_cache(b"ld.so-1.7.0\0" + bytes(36) + head + one) == {b"libb.so": [b"/lib/libb.so"]}
    for end in range(len(head + one)):
        loader.read_cache((head + one)[:end])


# -- import torch


class FakeTorch:
    """A torch of tiny libraries, whose ``import`` runs torch's own code for them."""

    def __init__(self, bench):
        self.bench, self.site = bench, bench.root / "site"
        self.folder = self.site / "torch"
        self.folder.mkdir(parents=True)
        self.options = ()

    def write(self, needs=(), libraries=(), options=()):
        """torch, which needs CUDA's ``needs`` and whose wheels bring ``libraries``."""
        libtorch = self.bench.library("site/torch/lib/libtorch.so", "int of_torch(void) { return 1; }")
        named = [self.bench.library(f"build/{name}", "int of_cuda(void) { return 1; }") for name in needs]
        self.bench.library("site/torch/lib/libtorch_global_deps.so", "int deps;", *options, needs=named)
        source = "int of_torch(void), of_cuda(void); int f(void) { return of_torch(); } "
        source += "void *PyModule_Create2(void *, int); static long module[13] = {1}; "
        source += "void *PyInit__C(void) { static struct { long a[5]; const char *name; void *rest[8]; } m; "
        source += 'm.a[0] = 1; m.name = "_C"; return PyModule_Create2(&m, 1013); }'
        options = ["-Wl,-rpath,$ORIGIN/lib"]
        suffix = EXTENSION_SUFFIXES[0]
        self.bench.library(f"site/torch/_C{suffix}", source, *options, needs=[libtorch, *named])
        for folder, name in libraries:
            self.bench.library(f"site/nvidia/{folder}/lib/{name}", "int of_cuda(void) { return 1; }")
        (self.folder / "version.py").write_text("cuda = '12.6'\n")
        (self.folder / "__init__.py").write_text(OF_TORCH())

    def predicted(self):
        files = loader.Files()
        self.process = startup.start(sys.executable, environment(self.bench.env), files, [str(self.site)])
        return startup.import_torch(self.process, str(self.folder), [str(self.site)])

    def answered(self, then=""):
        code = f"import sys; sys.path.insert(0, {str(self.site)!r}); import torch; {then}"
        env = environment(self.bench.env)
        command = [sys.executable, "-I", "-S", "-c", code]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        return done.stderr.strip().rpartition("\n")[2]


@functools.cache
def OF_TORCH():
    """The part of the installed torch that loads its libraries, without the rest of it."""
    torch = importlib.util.find_spec("torch")
    if torch is None:
        pytest.skip("torch is not installed")
    wanted = {"_get_cuda_dep_paths", "_preload_cuda_lib", "_preload_cuda_deps", "_load_global_deps"}
    text = Path(torch.origin).read_text(encoding="utf-8")
    found = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name in wanted]
    assert {n.name for n in found} == wanted, "torch loads its libraries in another way now: look at import_torch"
    functions = "\n".join(ast.unparse(node) for node in found)
    return f"import ctypes, glob, os, platform, sys\n{functions}\n_load_global_deps()\nfrom torch import _C\n"


WHEELS = [(folder, name.replace("*[0-9]", "12")) for folder, name in startup._PRELOADED]


def test_the_libraries_of_nvidias_wheels_are_those_of_this_torch():
    listed = re.findall(r"\('(\w+)', '(lib[\w-]+\.so\.\*\[0-9\])'\)", OF_TORCH())
    assert tuple(listed) == startup._PRELOADED


def _no_cuda(torch):
    torch.write()


def _no_libtorch(torch):
    torch.write()
    (torch.folder / "lib" / "libtorch.so").unlink()


def _found_by_runpath(torch):
    torch.write(["libcudart.so.12"], WHEELS, ["-Wl,-rpath,$ORIGIN/../../nvidia/cuda_runtime/lib"])


def _found_in_wheels(torch):
    torch.write(["libcudart.so.12"], WHEELS)


def _found_in_wheels_of_an_older_layout(torch):
    torch.write(["libcudart.so.12"], WHEELS)
    (torch.site / "nvidia" / "cuda_runtime").rename(torch.site / "cuda_runtime")


def _found_in_wheels_of_cuda_13(torch):
    torch.write(["libcudart.so.13"], [("cu13", name.replace(".12", ".13")) for _, name in WHEELS])
    (torch.folder / "version.py").write_text("cuda = '13.0'\n")


def _one_wheel_is_missing(torch):
    torch.write(["libcudart.so.12"], [w for w in WHEELS if w[0] != "cufft"])


def _one_wheel_is_missing_but_the_runpath_suffices(torch):
    runpath = ["-Wl,-rpath,$ORIGIN/../../nvidia/cuda_runtime/lib"]
    torch.write(["libcudart.so.12"], [w for w in WHEELS if w[0] != "cufft"], runpath)


def _one_library_of_a_wheel_is_damaged(torch):
    _found_in_wheels(torch)
    (torch.site / "nvidia" / "cufft" / "lib" / "libcufft.so.12").write_bytes(b"\x7fELF" + bytes(100))


def _no_wheels(torch):
    torch.write(["libcudart.so.12"])


def _another_library_is_missing(torch):
    torch.write(["libnowhere.so.1"], WHEELS)


def _an_older_wheel(torch):
    """The files of the wheels have another major, and so another name than torch asks for."""
    torch.write(["libcudart.so.12"], [(folder, name.replace(".12", ".11")) for folder, name in WHEELS])


def _no_global_dependencies(torch):
    torch.write()
    (torch.folder / "lib" / "libtorch_global_deps.so").unlink()


@pytest.mark.parametrize(
    ("arrange", "lacks"),
    [
        (_no_cuda, None),
        (_no_libtorch, "libtorch.so"),
        (_found_by_runpath, None),
        (_found_in_wheels, None),
        (_found_in_wheels_of_an_older_layout, None),
        (_found_in_wheels_of_cuda_13, None),
        (_one_wheel_is_missing, "libcudart.so.12"),
        (_one_wheel_is_missing_but_the_runpath_suffices, None),
        (_one_library_of_a_wheel_is_damaged, "libcufft.so.12"),
        (_no_wheels, "libcudart.so.12"),
        (_another_library_is_missing, "libnowhere.so.1"),
        (_an_older_wheel, "libcudart.so.12"),
        (_no_global_dependencies, "libtorch_global_deps.so"),
    ],
)
def test_what_import_torch_loads(bench, arrange, lacks):
    torch = FakeTorch(bench)
    arrange(torch)
    missing, said = torch.predicted(), torch.answered()
    assert (missing == []) == (said == ""), f"predicted {missing}, Python says {said!r}"
    first = missing[0] if missing else None
    assert (first and os.path.basename(first.by if first.kind == "file" else first.what)) == lacks
    if missing and "not found in the system path" not in said:
        assert lacks in said


@pytest.mark.parametrize("arrange", [_found_by_runpath, _found_in_wheels, _no_cuda])
def test_an_extension_finds_the_libraries_that_torch_loaded(bench, arrange):
    """libcufft of NVIDIA's wheel is nothing that this torch needs, and no search path leads to it."""
    torch = FakeTorch(bench)
    arrange(torch)
    cufft = bench.library("build/libcufft.so.12", "int of_cuda(void) { return 1; }")
    a = bench.library("a.so", "int of_cuda(void); int a(void) { return of_cuda(); }", needs=[cufft])
    assert torch.predicted() == []
    missing = torch.process.open(str(a))
    said = torch.answered(f"import ctypes; ctypes.CDLL({str(a)!r}, mode=2)")
    assert (missing == []) == (said == "") == (arrange is not _no_cuda), said


def test_of_a_large_library_only_what_came_from_elsewhere_is_looked_up(bench):
    """conda's MKL is found by torch's own RUNPATH, and is a package of its own (iJIT_NotifyEvent)."""
    old = "int mkl_solve(void) { return 1; } int iJIT_NotifyEvent(void) { return 1; }"
    for name, known in (("libmkl_x.so.2", False), ("libplain.so.2", True)):
        stub = bench.library(f"build/{name}", old)
        source = "int iJIT_NotifyEvent(void); int solve(void) { return iJIT_NotifyEvent(); }"
        large = bench.library(f"lib_of_{name}/libtorch_cpu.so", source, "-Wl,-rpath,$ORIGIN", needs=[stub])
        bench.library(f"lib_of_{name}/{name}", "int mkl_solve(void) { return 1; }")
        process = startup.start(sys.executable, environment(bench.env), loader.Files())
        missing = process.open(str(large), symbols=False)
        assert [m.what for m in missing] == ([] if known else ["iJIT_NotifyEvent"])
        status, said = answered(bench, large)
        assert status is not None and "undefined symbol: iJIT_NotifyEvent" in said
