"""``kit xray`` of files made to harm it: one clear answer, soon, in little memory, and nothing is run or written.

The command runs in a child with a limit on memory, in which no file can be written and no program started.
"""

import contextlib
import importlib.util
import io
import json
import os
import random
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fuzz_xray import CUBIN, FIXTURES, NEIGHBOUR, PTX, ROOT, Bench, check, damaged, elf, fatbin, places, values, wheel
from fuzz_xray import seeds as healthy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kit
from kit import show, symbols
from kit.collect import inside
from kit.errors import KitError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="ELF files are read where glibc's loader would load them"),
    pytest.mark.filterwarnings("ignore:Duplicate name"),
]
SECONDS, MEMORY = 10, 1500 << 20
quick = settings(
    max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)

# What the child may do is read: it dies of anything else that Python announces.
CHILD = """
import os, resource, sys
kind, memory, files, seconds, *arguments = sys.argv[1:]
resource.setrlimit(getattr(resource, kind), (int(memory), int(memory)))
resource.setrlimit(resource.RLIMIT_NOFILE, (int(files), int(files)))
resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds)))
from kit.__main__ import main
from kit.collect import host, inside
collect = inside.collect
inside.collect = lambda *path: {**collect(*path), "torch": None}  # whose libraries take a part of the memory
host.gpus = lambda: ([], None)  # the driver is asked by a program and a library

FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "ctypes.dlopen",
    "socket.", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod")

def wrong(path, mode, flags):
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
        return True
    return isinstance(path, (str, bytes)) and os.path.exists(path) and not os.path.isfile(path)

def watch(event, arguments):
    if event.startswith(FORBIDDEN) or (event == "open" and arguments[0] != os.devnull and wrong(*arguments)):
        os.write(2, f"FORBIDDEN: {event} {arguments}\\n".encode())
        os._exit(99)

sys.addaudithook(watch)
sys.exit(main(arguments))
"""


class Answer:
    """What the command said."""

    def __init__(self, status, out, err):
        self.status, self.out, self.err = status, out, err

    @property
    def document(self):
        return json.loads(self.out)

    @property
    def why(self):
        return [word for file in self.document["files"] for word in file["why"]]


@contextlib.contextmanager
def soon(seconds=SECONDS):
    """In so much time of the processor: the clock on the wall tells how busy the machine is."""
    start = time.process_time()
    yield
    taken = time.process_time() - start
    assert taken < seconds, f"{taken:.1f} s"


def run(*arguments, limit="RLIMIT_AS", memory=MEMORY, files=1024):
    """``kit xray`` in a child; whatever it was given, this holds."""
    limits = [limit, str(memory), str(files), str(SECONDS)]
    command = [sys.executable, "-B", "-c", CHILD, *limits, "xray", *map(os.fspath, arguments)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environ, timeout=120)
    out, err = done.stdout.decode(), done.stderr.decode()
    assert "FORBIDDEN" not in err, err
    assert done.returncode in (0, 1, 2), (done.returncode, err[-3000:])
    assert harmless(out) and harmless(err), (out, err)
    if done.returncode == 2:
        assert not out and err.startswith("kit: ") and err.count("\n") == 1, (out, err)
    else:
        assert out and not err, err
    return Answer(done.returncode, out, err)


def said(*arguments, **limits):
    """The files of the JSON document."""
    return run(*arguments, "--json", **limits)


def harmless(text):
    """Nothing that steers a terminal, turns the direction of writing, or fits no encoding."""
    return all(line.isprintable() for line in text.split("\n"))


class Page(HTMLParser):
    """Reads the kit's HTML; any element that it does not write itself came out of a file."""

    OWN = ("section", "p", "strong", "table", "tr", "th", "td", "details", "summary", "code", "br", "span", "em")

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)
        assert not self.open, self.open
        assert harmless(text)
        text.encode()

    def handle_starttag(self, tag, attributes):
        assert tag in self.OWN and {name for name, _ in attributes} <= {"style", "open"}, (tag, attributes)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def bench():
    return Bench()


@pytest.fixture(autouse=True, scope="module")
def plain():
    """An environment without torch, read once: what is tested here is what is held against it."""
    with pytest.MonkeyPatch.context() as patch:
        data = {**inside.collect(), "torch": None}
        patch.setattr(inside, "collect", lambda *_: dict(data))
        yield


@pytest.fixture
def put(tmp_path):
    """Write files below a folder of the test."""

    def write(content=b"", name="x.so", size=None, **more):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if size is not None:
            try:
                os.truncate(path, size)
            except OSError as error:
                pytest.skip(f"no sparse file of {size:,} bytes here: {error}")
        for other, inner in more.items():
            (tmp_path / f"{other}.so").write_bytes(inner)
        return path

    write.folder = tmp_path
    return write


def patched(data, *changes):
    """``data`` with (offset, struct format, value) written over it."""
    out = bytearray(data)
    for at, form, value in changes:
        struct.pack_into(form, out, at, value)
    return bytes(out)


MARK = b"<the table begin"

NEEDED, SYMTAB, STRTAB, RELA, RELASZ, HASH, GNU_HASH = 1, 6, 5, 7, 8, 4, 0x6FFFFEF5
VERNEED, VERNEEDNUM, VERDEF, VERDEFNUM = 0x6FFFFFFE, 0x6FFFFFFF, 0x6FFFFFFC, 0x6FFFFFFD
LOAD, DYNAMIC = 64, 120  # where the program headers of elf() lie


def section(data):
    """Where the header of its first section lies."""
    return struct.unpack_from("<Q", data, 40)[0] + 64


# -- damage


def scatter():
    """A library of torch_scatter, the smallest; None where that is not installed."""
    spec = importlib.util.find_spec("torch_scatter")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [file for folder in folders for file in Path(folder).glob("*.so")]
    return min(found, key=lambda file: file.stat().st_size, default=None)


WHOLE = {
    "written": lambda: next(healthy()),
    "sysv": lambda: list(healthy())[1],
    "several": lambda: (FIXTURES / "several.so").read_bytes(),
    "host-only": lambda: (FIXTURES / "host-only.so").read_bytes(),
    "torch_scatter": lambda: scatter().read_bytes() if scatter() else pytest.skip("torch_scatter is not installed"),
}


def test_the_files_that_are_damaged_here_are_whole(bench):
    for name in ("written", "sysv", "several", "host-only"):
        data = WHOLE[name]()
        assert len(places(data)) > 100
        (file,) = bench.shown(bench.elf(data)).files
        assert file.binary.format == "ELF" and "damaged" not in " ".join(file.why), (name, file.why)
    assert bench.elf(WHOLE["several"]())[0]["architectures"]
    assert bench.elf(WHOLE["host-only"]())[0]["loads"]
    (file,) = bench.shown(bench.elf(WHOLE["written"]())).files
    assert [m.what for m in file.binary.missing] == ["_ZN3c104nonePSs"], "all others are found, in the neighbour too"


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_refused(bench, name):
    data = WHOLE[name]()
    loads = [struct.unpack_from("<IIQQQQ", data, 64 + 56 * i) for i in range(struct.unpack_from("<H", data, 56)[0])]
    needed = max(row[2] + row[5] for row in loads if row[0] == 1)
    cuts = {at + i for at, _ in places(data) for i in (0, 1)} | set(range(0, len(data), max(1, len(data) // 200)))
    for cut in sorted(cut for cut in cuts if cut < len(data)):
        (row,) = bench.rows({"/overlay/x.so": data[:cut], "/overlay/libneighbour.so": NEIGHBOUR}, "/overlay/x.so")
        if cut < needed:
            assert row["loads"] is False and row["why"], cut
        if cut % 40 == 0:
            check_shown(bench, [row])


def check_shown(bench, rows):
    shown = bench.shown(rows)
    assert harmless(show.text(shown))
    Page(show.html(shown))
    json.dumps(shown.to_dict()).encode("ascii")


@pytest.mark.parametrize("name", WHOLE)
def test_no_number_in_a_header_or_table_harms(bench, name):
    data = WHOLE[name]()
    slowest = 0.0
    for number, (at, size) in enumerate(places(data)):
        now = int.from_bytes(data[at : at + size], "little")
        fixed = values(now, size, len(data))
        for value in {fixed[number % 2], fixed[number % len(fixed)]}:
            changed = data[:at] + value.to_bytes(size, "little") + data[at + size :]
            start = time.process_time()
            (row,) = bench.rows({"/overlay/x.so": changed, "/overlay/libneighbour.so": NEIGHBOUR}, "/overlay/x.so")
            slowest = max(slowest, time.process_time() - start)
            assert row["loads"] in (True, False), (at, value)
    assert slowest < 2


@quick
@given(st.integers(0, 2**32), st.sampled_from(list(healthy())[:8]))
def test_several_wrong_numbers_at_once_harm_no_more(bench, seed, data):
    check(bench, damaged(data, random.Random(seed)))


@quick
@given(st.binary(max_size=600))
def test_random_bytes_behind_the_magic(bench, data):
    check(bench, b"\x7fELF" + data)
    check(bench, b"\x7fELF\x02\x01\x01" + data)
    whole = elf()
    check(bench, whole[:64] + data + whole[64 + len(data) :])


@quick
@given(st.binary(max_size=300), st.binary(max_size=100))
def test_random_bytes_where_gpu_code_has_to_be(bench, data, more):
    for content in (data, fatbin((CUBIN, 90, data)) + more, fatbin((PTX, 90, b""))[:-8] + data):
        check(bench, elf(sections={".nv_fatbin": content or b"\0"}))


@quick
@given(st.binary(max_size=300), st.integers(0, 2**32))
def test_random_wheels(bench, data, seed):
    stream, source = io.BytesIO(), random.Random(seed)
    wheel({"a.so": NEIGHBOUR, "b/c.so": data}, stream)
    whole = bytearray(stream.getvalue())
    for _ in range(source.randrange(4)):
        whole[source.randrange(2, len(whole))] = source.choice((0, 255, source.randrange(256)))
    check(bench, bytes(whole))
    check(bench, b"PK" + data)
    check(bench, bytes(whole[: source.randrange(2, len(whole))]))


# -- ELF files


def dynamic(*tags, **options):
    """A library whose tables are ours: each value is a table, or a number."""
    tables = [table for _, table in tags if isinstance(table, bytes)]
    content = b"".join(MARK + table + bytes(-len(table) % 16) for table in tables)
    options = {"hash": "none", **options, "sections": {".tail": content}} if content else options
    draft = elf(**options, tags=[(tag, 0) for tag, _ in tags])
    at, places = draft.find(MARK), []
    for table in tables:
        places.append(at + len(MARK))
        at += len(MARK) + len(table) + -len(table) % 16
    values = [places.pop(0) if isinstance(value, bytes) else value for _, value in tags]
    return elf(**options, tags=[(tag, value) for (tag, _), value in zip(tags, values)])


def interpreters(count):
    row = struct.pack("<IIQQQQQQ", 3, 4, 8, 0, 0, 64, 64, 1)
    data = elf(sections={".tail": MARK + row * count})
    return patched(data, (32, "<Q", data.index(MARK) + len(MARK)), (56, "<H", count))


def many_sections():
    """65,000 of them, whose names are the ends of one string."""
    rows = b"".join(struct.pack("<IIQQQQIIQQ", i, 1, 0, 0, 64, 1, 0, 0, 1, 0) for i in range(65_000))
    data = elf(sections={".tail": MARK + rows, ".names": b"B" * 70_000})
    at = data.index(MARK) + len(MARK)
    names = patched(data, (at + 24, "<Q", data.index(b"B" * 100)))
    return patched(names, (40, "<Q", at), (60, "<H", 65_000), (62, "<H", 0))


def many_names(count):
    """As many symbols that others have to bring, whose names are the ends of one string."""
    rows = b"".join(struct.pack("<IBBHQQ", 1 + i % 60_000, 0x10, 0, 0, 0, 0) for i in range(count))
    return dynamic((SYMTAB, rows), (STRTAB, b"\0" + b"A" * 65_000 + b"\0"), (HASH, struct.pack("<II", 1, count)))


def asking(count=3000):
    return elf([b"y.so"], undefined=[b"f%d" % i for i in range(count)], rpath=b"$ORIGIN")


def with_code(*changes):
    """A library with GPU code; the first header of its section table is at 0 of the changes."""
    data = elf(sections={".nv_fatbin": fatbin((CUBIN, 90, b""))})
    return patched(data, *((section(data) + at, form, value) for at, form, value in changes))


# The versions asked of a library, 65,535 of them: the record itself, read as a version, leads to the next record.
RECORD = struct.pack("<HHIII", 1, 65535, 1, 16, 16)
TURNING = struct.pack("<HHIII", 1, 9, 1, 16, 2**32 - 1) + struct.pack("<IHHII", 0, 0, 2, 1, 2**32 - 16) * 9
DEFINITION = struct.pack("<HHHHIII", 1, 0, 2, 1, 0, 0, 20)
GNU_WITHOUT_END = struct.pack("<IIIIQI", 1, 1, 1, 6, 2**64 - 1, 1) + bytes(4_000_000)
SYSV_IN_A_CIRCLE = struct.pack("<III", 1, 900_000, 1) + struct.pack("<I", 1) * 900_000
DEEP = b"_ZN2at" + b"1aI" * 300 + b"i" + b"E" * 301
SPREADING = b"_Z1fI1aI1bS_E" + b"".join(b"1cIS%X_S%X_E" % (i, i) for i in range(60)) + b"E"

# name: (words of the reasons, True where it would load all the same, or None; the file, and libraries beside it)
BOMBS = {
    "magic alone": ("ELF header", lambda: b"\x7fELF"),
    "of no class": ("ELF class 7", lambda: patched(elf(), (4, "B", 7))),
    "needs itself": (True, lambda: elf([b"x.so"], rpath=b"$ORIGIN")),
    "needs one that needs it": (
        True,
        lambda: (elf([b"y.so"], rpath=b"$ORIGIN"), {"y": elf([b"x.so"], rpath=b"$ORIGIN")}),
    ),
    "section outside": ("outside the file", lambda: with_code((24, "<Q", 2**63))),
    "section of all sizes": ("outside the file", lambda: with_code((32, "<Q", 2**64 - 1))),
    "name of a section outside": (True, lambda: with_code((0, "<I", 2**32 - 1))),
    "names of sections outside": (True, lambda: with_code((64 + 24, "<Q", 2**64 - 1))),
    "no such section of names": ("section table", lambda: patched(elf(), (62, "<H", 999))),
    "more sections than there are": ("section table", lambda: patched(elf(), (60, "<H", 65535))),
    "sections far away": ("section table", lambda: patched(elf(), (40, "<Q", 2**64 - 1))),
    "more segments than there are": ("65,535", lambda: patched(elf(), (56, "<H", 65535))),
    "segments far away": ("outside the file", lambda: patched(elf(), (32, "<Q", 2**64 - 1))),
    "dynamic section far away": (None, lambda: patched(elf([b"a.so"]), (DYNAMIC + 8, "<Q", 2**63))),
    "dynamic section of all sizes": ("a table of", lambda: patched(elf([b"a.so"]), (DYNAMIC + 32, "<Q", 2**64 - 1))),
    "1,000 interpreters": ("", lambda: interpreters(1000)),
    "65,000 interpreters": ("65,000", lambda: interpreters(65_000)),
    "65,000 sections": (None, many_sections),
    "names without end": ("has no end", lambda: dynamic((STRTAB, b"A" * 2_000_000), (NEEDED, 5))),
    "library of 1 MB": ("has no end", lambda: elf([b"A" * 1_000_000])),
    "library of 60 kB": ("has no end", lambda: elf([b"A" * 60_000])),
    "RPATH of 1 MB": ("has no end", lambda: elf(rpath=b"/a:" * 333_333)),
    "RPATH of 60 kB": ("", lambda: elf([b"lib%d.so" % i for i in range(200)], rpath=b"/a:" * 20_000)),
    "ORIGIN bomb": ("a.so", lambda: elf([b"a.so"], rpath=b"$ORIGIN" * 9000)),
    "ORIGIN bombs": (
        "a0.so",
        lambda: elf([b"a%d.so" % i for i in range(300)], rpath=b":".join([b"$ORIGIN/" * 260] * 30)),
    ),
    "LIB bomb": ("a.so", lambda: elf([b"a.so"], rpath=b"/$LIB" * 12_000)),
    "dots": (
        "",
        lambda: elf([b"a%d.so" % i for i in range(300)], rpath=b":".join([b"$ORIGIN/" + b"a/../" * 780] * 16)),
    ),
    "ORIGIN in the name": ("0.so", lambda: elf([b"${ORIGIN}/" * 300 + b"%d.so" % i for i in range(300)])),
    "300,000 libraries": ("300,", lambda: elf(tags=[(NEEDED, i % 50) for i in range(300_000)])),
    "60,000 libraries": ("60,000", lambda: elf(tags=[(NEEDED, i) for i in range(60_000)])),
    "60,000 times the same": (True, lambda: elf(soname=b"x.so", tags=[(NEEDED, 1)] * 60_000)),
    "names that steer": (
        r"\x1b[2J.so",
        lambda: elf([b"\x1b]0;owned\x07\x1b[2J.so", b"a\nb.so", b"\xe2\x80\xae.so"], soname=b"\x1bc"),
    ),
    "names of no encoding": (r"\udcff\udcfe\udc80.so", lambda: elf([b"\xff\xfe\x80.so"], soname=b"\xff")),
    "paths as names": (
        "",
        lambda: elf([b"/dev/zero", b"/dev/tty", b"../" * 60 + b"etc/passwd", b"/proc/kcore", b"/"]),
    ),
    "markup": ("<script>", lambda: elf([b"<script>alert(1)</script>.so"], soname=b"<img src=x onerror=y>")),
    "versions of versions": ("a table of", lambda: dynamic((VERNEED, RECORD * 1000), (VERNEEDNUM, 1000))),
    "versions without number": ("a table of", lambda: dynamic((VERNEED, RECORD * 100_000), (VERNEEDNUM, 100_000))),
    "versions that turn back": ("outside the file", lambda: dynamic((VERNEED, TURNING), (VERNEEDNUM, 2))),
    "definitions without number": (
        "100,000",
        lambda: (
            elf([b"y.so"], undefined=[b"f@V"], needs={b"y.so": [b"V"]}, rpath=b"$ORIGIN"),
            {"y": dynamic((VERDEF, DEFINITION * 100_000), (VERDEFNUM, 100_000))},
        ),
    ),
    "chain without end": ("chains", lambda: (asking(), {"y": dynamic((GNU_HASH, GNU_WITHOUT_END))})),
    "chain that bites its tail": ("chains", lambda: (asking(), {"y": dynamic((HASH, SYSV_IN_A_CIRCLE))})),
    "no buckets": ("f0", lambda: (asking(), {"y": dynamic((HASH, bytes(64)))})),
    "no filter": ("hash table", lambda: (asking(), {"y": dynamic((GNU_HASH, struct.pack("<IIII", 1, 1, 0, 0)))})),
    "a filter far away": (
        "hash table",
        lambda: (asking(), {"y": dynamic((GNU_HASH, struct.pack("<IIII", 1, 1, 2**31, 0)))}),
    ),
    "2,147,483,648 symbols": ("2,147,483,648", lambda: dynamic((HASH, struct.pack("<II", 1, 2**31)))),
    "50,000 names in one": ("in sum", lambda: many_names(50_000)),
    "relocations without end": (
        "a table of",
        lambda: dynamic(
            (RELA, struct.pack("<QQq", 0, 1 << 32, 0) * 9), (RELASZ, 2**64 - 1), undefined=[b"absent"], hash="gnu"
        ),
    ),
    "deep symbol": ("at::a", lambda: elf(undefined=[DEEP])),
    "symbol that unfolds": ("symbol f", lambda: elf(undefined=[SPREADING])),
    "symbols that steer": (r"\x1b[", lambda: elf(undefined=[b"_Z3\x1b[2Jv", b"a\x1b[2J\n\xff"])),
    "300,000 containers": ("pieces of GPU code", lambda: elf(sections={".nv_fatbin": fatbin() * 300_000})),
    "5,000 kinds of GPU": (
        "kinds of GPU",
        lambda: elf(sections={".nv_fatbin": fatbin(*[(CUBIN, i, b"") for i in range(5000)])}),
    ),
    "GPU of the largest number": (
        True,
        lambda: elf(sections={".nv_fatbin": fatbin((CUBIN, 2**32 - 1, b""), (PTX, 0, b""))}),
    ),
    "80 MB of padding": ("padding", lambda: elf(sections={".nv_fatbin": bytes(80 << 20)})),
    "GPU code that turns back": (
        "larger",
        lambda: elf(sections={".nv_fatbin": patched(fatbin((CUBIN, 90, b"")), (8, "<Q", 2**64 - 8))}),
    ),
}


def bomb(put, name):
    words, make = BOMBS[name]
    made = make()
    data, beside = made if isinstance(made, tuple) else (made, {})
    return words, put(data, **beside)


@pytest.mark.parametrize("name", BOMBS)
def test_a_hostile_library_is_answered(put, name):
    words, path = bomb(put, name)
    with soon():
        shown = kit.xray(str(path), gpu="9.0")
    (file,) = shown.files
    text = " ".join(file.why)
    assert file.binary.format == "ELF"
    if words is True:
        assert file.binary.loads is True, text
    elif words is not None:
        assert (file.binary.loads is False or "not read" in text) and words in text, text[:2000]
    assert len(json.dumps(shown.to_dict()).encode("ascii")) < 2_000_000
    assert harmless(text) and harmless(show.text(shown))
    Page(show.html(shown))


HEAVY = [
    "RPATH of 60 kB",
    "chain without end",
    "50,000 names in one",
    "80 MB of padding",
    "names that steer",
    "paths as names",
]


@pytest.mark.parametrize("name", HEAVY)
def test_the_command_answers_too(put, name):
    """And takes no more memory than the child has."""
    words, path = bomb(put, name)
    answer = said(path, "--gpu", "9.0", memory=400 << 20)
    (file,) = answer.document["files"]
    assert answer.status == run(path, "--gpu", "9.0").status == int(file["loads"] is False)
    assert words in " ".join(file["why"]) and file["runs_on_gpu"] is not True


SPARSE = 8 << 30
REGIONS = {
    "GPU code": lambda whole, at, size: patched(
        whole, (section(whole) + 24, "<Q", at), (section(whole) + 32, "<Q", size)
    ),
    "dynamic section": lambda whole, at, size: patched(whole, (DYNAMIC + 8, "<Q", at), (DYNAMIC + 32, "<Q", size)),
    "symbols": lambda whole, at, size: elf(
        hash="none", tags=[(SYMTAB, at), (STRTAB, at + size), (HASH, 0)], needed=[b"a.so"], undefined=[b"f"]
    ),
    "relocations": lambda whole, at, size: elf(undefined=[b"f"], tags=[(RELA, at), (RELASZ, size)]),
    "sections": lambda whole, at, size: patched(whole, (40, "<Q", at), (60, "<H", 65535), (62, "<H", 1)),
    "everything": lambda whole, at, size: whole,
}


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("size", [SPARSE, 4 << 40], ids=["8 GB", "4 TB"])
def test_a_sparse_file_with_a_region_of_its_size(put, region, size):
    whole = elf([b"libc.so.6"], undefined=[b"f"], sections={".nv_fatbin": fatbin((CUBIN, 90, b""))})
    data = REGIONS[region](whole, len(whole) + 4096, size - len(whole) - 8192)
    data = patched(data, (LOAD + 32, "<Q", size))  # all of it is loaded
    path = put(data, size=size)
    answer = said(path, limit="RLIMIT_DATA", memory=500 << 20)
    assert answer.status == 1
    assert run(path, limit="RLIMIT_AS").status in (1, 2), "where it cannot even be mapped"


def test_libraries_that_need_each_other(put):
    """More than a process may have files open: each that is mapped holds one."""
    names = [b"lib%d.so" % i for i in range(700)]
    data = elf(names, rpath=b"$ORIGIN", undefined=[b"f", b"_ZN2at1fEv"])
    for name in names:
        put(data, name.decode())
    answer = said(put.folder / "lib0.so")
    assert answer.status == 1 and "libraries" in answer.why[0]


def test_a_folder_of_more_files_than_can_be_open(put):
    """Each with a library of its own, so that they hold each other."""
    for i in range(300):
        put(elf([b"own.so"], rpath=b"$ORIGIN", undefined=[b"brought"]), f"p{i}/x{i}.so")
        put(elf([b"x%d.so" % i], defined=[b"brought"], rpath=b"$ORIGIN"), f"p{i}/own.so")
    answer = said(put.folder, files=450)
    assert [file["path"] for file in answer.document["files"] if not file["loads"]] == []
    assert len(answer.document["files"]) == 600


def test_a_hostile_library_does_not_spoil_the_next(put):
    _, path = bomb(put, "chain without end")
    for number in range(3):
        put(path.read_bytes(), f"a{number}.so")
    put(elf([b"good2.so"], rpath=b"$ORIGIN", undefined=[b"brought"]), "good1.so")
    put(elf(defined=[b"brought"]), "good2.so")
    loads = {Path(file.binary.path).name: file.binary.loads for file in kit.xray(str(put.folder)).files}
    assert loads == {"x.so": False, "y.so": True, "a0.so": False, "a1.so": False, "a2.so": False} | dict.fromkeys(
        ("good1.so", "good2.so"), True
    )


# -- symbols


def test_a_symbol_that_nests_or_unfolds_stays_short():
    for symbol in (
        DEEP,
        SPREADING,
        b"_Z1f" + b"P" * 1500 + b"i",
        b"_ZN900" + b"a" * 900 + b"C1" * 400 + b"E",
        b"_Z" * 40_000,
    ):
        with soon(1):
            assert len(symbols.name(symbol.decode())) <= max(2048, len(symbol))


PIECES = st.sampled_from(
    [
        *"_Z N E I S_ S0_ S1_ T_ T0_ St 1a 3foo P R O K F v i L X J Dp A3_ M C1 D0 cv pl B3tag TV Th0_ Z Ut_".split(),
        *("9", "9999", "0", "²", "\u0663a", "\x1b", "\udcff"),
    ]
)


@quick
@given(st.lists(PIECES, max_size=200))
def test_any_symbol_is_read_soon(pieces):
    symbol = "_Z" + "".join(pieces)
    with soon(1):
        symbols.name(symbol)
        symbols.clues([symbol])


@given(
    st.recursive(
        st.text() | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
@settings(max_examples=100, deadline=None, database=None, derandomize=True)
def test_what_is_printable_says_the_same(value):
    clean = symbols.printable(value)
    assert symbols.printable(clean) == clean
    if isinstance(value, str):
        assert harmless(clean) and "\n" not in clean
        clean.encode()
        assert clean == value or not value.isprintable()


# -- wheels


def archive(*members, count=None, **claims):
    """A zip archive written by hand, so that it can lie: members are (name, packed content, and what it claims)."""
    body, index = bytearray(), bytearray()
    for name, content, *rest in members:
        claim = {"method": 8, "size": len(content), "crc": 0, "flags": 0, "version": 20, **dict(*rest)}
        inner, at = claim.get("inner", name), claim.get("at", len(body))
        fields = struct.pack("<HHHI", *(claim[key] for key in ("version", "flags", "method")), 0)
        fields += struct.pack("<III", claim["crc"], len(content), claim["size"])
        if "at" not in claim:
            body += b"PK\3\4" + fields + struct.pack("<HH", len(inner), 0) + inner + content
        index += b"PK\1\2\x14\0" + fields + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, 0, at) + name
    count = (len(members) if count is None else count) % 65536
    ends = claims.get("size", len(index)), claims.get("at", len(body))
    return bytes(body + index + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, *ends, 0))


def deflated(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def stored(name, content, **claims):
    return (name, content, {"method": 0, "crc": zlib.crc32(content), **claims})


def zeros(megabytes):
    """An ELF magic and zeros, deflated; and what they claim."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    out, crc, size, block = [packer.compress(b"\x7fELF")], zlib.crc32(b"\x7fELF"), 4, bytes(1 << 20)
    for _ in range(megabytes):
        out.append(packer.compress(block))
        crc, size = zlib.crc32(block, crc), size + len(block)
    return b"".join([*out, packer.flush()]), {"crc": crc, "size": size}


def bomb_of_10_gb():
    content, claim = zeros(100)
    return archive(*[(b"a%d.so" % i, content, claim) for i in range(100)])


def overlapping():
    content, claim = zeros(40)
    return archive(
        (b"a.so", content, claim),
        *[(b"a%d.so" % i, content, {**claim, "inner": b"a.so", "at": 0}) for i in range(500)],
    )


def packed(how):
    stream = io.BytesIO()
    wheel({"a.so": b"\x7fELF" + bytes(8 << 20)}, stream, how)
    return stream.getvalue()


def nested():
    inner = archive(stored(b"a.so", NEIGHBOUR))
    return archive(stored(b"inner.whl", inner), stored(b"b.so", inner), stored(b"c.so", NEIGHBOUR))


def many(name, count):
    """So many members by hand; more than 65,535 need the other end of zip64."""
    members = [(name % i, b"", {"at": 0}) for i in range(count)]
    plain = archive(*members)
    index = plain[:-22]
    far = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(index), 0)
    far += b"PK\6\7" + struct.pack("<IQI", 0, len(index), 1)
    return index + far + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)


N = NEIGHBOUR
# name: (words of the error, or of the reasons; None where every file would load; the wheel)
WHEELS = {
    "10 MB that become 10 GB": ("more than are read", bomb_of_10_gb),
    "overlapping": ("", overlapping),
    "nested": ("not a compiled file", nested),
    "packed by bzip2": ("compression", lambda: packed(zipfile.ZIP_BZIP2)),
    "packed by LZMA": ("compression", lambda: packed(zipfile.ZIP_LZMA)),
    "unknown compression": ("compression", lambda: archive(stored(b"a.so", N, method=97))),
    "larger than it says": ("damaged", lambda: archive((b"a.so", deflated(N), {"size": 100, "crc": zlib.crc32(N)}))),
    "smaller than it says": (
        "damaged",
        lambda: archive((b"a.so", deflated(N), {"size": 9000, "crc": zlib.crc32(N)})),
    ),
    "much smaller than it says": ("more than are read", lambda: archive((b"a.so", deflated(N), {"size": 2**32 - 2}))),
    "of no size": ("not a compiled file", lambda: archive((b"a.so", deflated(N), {"size": 0}))),
    "wrong checksum": ("CRC", lambda: archive(stored(b"a.so", N, crc=1))),
    "no deflated data": ("damaged", lambda: archive((b"a.so", b"\xff" * 99, {"size": 99}))),
    "another name inside": ("damaged", lambda: archive(stored(b"a.so", N, inner=b"b.so"))),
    "lies elsewhere": ("damaged", lambda: archive(stored(b"a.so", N), stored(b"b.so", N, at=2**32 - 2))),
    "absolute": ("leads out", lambda: archive(stored(b"/a.so", N))),
    "dots": ("leads out", lambda: archive(stored(b"a/../../b.so", N))),
    "dots inside data": ("leads out", lambda: archive(stored(b"x-1.data/platlib/../../b.so", N))),
    "backslashes": ("leads out", lambda: archive(stored(b"..\\a.so", N))),
    "drive": ("leads out", lambda: archive(stored(b"C:/a.so", N))),
    "twice": (None, lambda: archive(stored(b"a.so", b"\x7fELF"), stored(b"a.so", N))),
    "no name": ("holds no compiled file", lambda: archive(stored(b"", N))),
    "name with NUL": (None, lambda: archive(stored(b"a.so\0.txt", N, inner=b"a.so\0.txt"))),
    "names that steer": (None, lambda: archive(stored(b"\x1b[2J\xe2\x80\xae\n.so", N, flags=0x800))),
    "names of no encoding": ("not a whole wheel", lambda: archive(stored(b"\xff\xfe.so", N, flags=0x800))),
    "a name of 60 kB": ("", lambda: archive(stored(b"a/" * 30_000 + b"a.so", elf([b"b.so"], rpath=b"$ORIGIN")))),
    "100,000 modules": ("holds no compiled file", lambda: many(b"a%d.py", 100_000)),
    "100,000 libraries": ("100,000 compiled files", lambda: many(b"a%d.so", 100_000)),
    "encrypted": ("encrypted", lambda: archive(stored(b"a.so", N, flags=1))),
    "of a later version": ("not a whole wheel", lambda: archive(stored(b"a.so", N, version=99))),
    "index cut off": ("not a whole wheel", lambda: archive(stored(b"a.so", N))[:-40]),
    "index elsewhere": ("", lambda: archive(stored(b"a.so", N), at=2**32 - 2)),
    "index larger than the file": ("not a whole wheel", lambda: archive(stored(b"a.so", N), size=2**31)),
    "too few members": ("", lambda: archive(stored(b"a.so", N), count=0)),
    "text": ("not a whole wheel", lambda: b"torch==2.13.0\n" * 50),
    "an ELF file": ("not a whole wheel", lambda: N),
    "empty": ("not a whole wheel", lambda: b""),
    "nothing in it": ("holds no compiled file", lambda: archive()),
}
LARGE = ("10 MB that become 10 GB", "overlapping", "packed by LZMA", "100,000 libraries", "much smaller than it says")


@pytest.mark.parametrize("name", WHEELS)
def test_a_hostile_wheel_is_answered(put, name):
    words, make = WHEELS[name]
    path = put(make(), "x-1-cp311-cp311-linux_x86_64.whl")
    before = set(os.listdir(put.folder))
    try:
        with soon():
            shown = kit.xray(str(path))
    except KitError as error:
        text = str(error)
        assert words is not None
    else:
        text = " ".join(word for file in shown.files for word in file.why)
        assert words is not None or all(file.binary.loads for file in shown.files)
        assert harmless(show.text(shown))
        Page(show.html(shown))
        json.dumps(shown.to_dict()).encode("ascii")
    assert (words or "") in text and harmless(text), text
    assert set(os.listdir(put.folder)) == before


@pytest.mark.parametrize("name", LARGE)
def test_the_command_reads_a_hostile_wheel_in_little_memory(put, name):
    words, make = WHEELS[name]
    path = put(make(), "x-1-cp311-cp311-linux_x86_64.whl")
    answer = said(path)
    assert words in (answer.err or " ".join(answer.why))


def test_a_sparse_wheel_whose_index_has_its_size(put):
    """zipfile reads the index whole."""
    path = put(name="x.whl", size=6 << 30)
    with open(path, "r+b") as stream:
        stream.seek(-22, os.SEEK_END)
        stream.write(b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 9, 9, 2**32 - 2, 2**31, 0))
    answer = run(path)
    assert answer.status == 2 and "not a whole wheel" in answer.err


# -- what is no file at all


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    before = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)


SPECIAL = {
    "pipe": fifo,
    "socket": unix_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("absent"),
    "folder": lambda path: path.mkdir(),
    "memory of the kernel": lambda path: path.symlink_to("/proc/kcore"),
    "own memory": lambda path: path.symlink_to("/proc/self/mem"),
    "empty": lambda path: path.touch(),
}


@pytest.mark.parametrize("name", ["x.so", "x.whl"])
@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file_is_refused_in_one_line(tmp_path, kind, name):
    SPECIAL[kind](tmp_path / name)
    with pytest.raises(KitError) as error, soon():
        kit.xray(str(tmp_path / name))
    assert harmless(str(error.value)) and "\n" not in str(error.value)


def test_the_command_opens_no_pipe_and_no_device(tmp_path):
    """Neither named to it nor in a folder, nor as what a library needs."""
    for number, make in enumerate(SPECIAL.values()):
        make(tmp_path / f"x{number}.so")
    (tmp_path / "again").symlink_to(tmp_path)
    (tmp_path / "good.so").write_bytes(
        elf([f"x{number}.so".encode() for number in range(len(SPECIAL))], rpath=b"$ORIGIN")
    )
    answer = said(tmp_path)
    files = {Path(file["path"]).name: file for file in answer.document["files"]}
    assert len(files) == len(SPECIAL) and not any(file["loads"] for file in files.values())
    assert "x0.so" in files["good.so"]["why"][0]
    assert run(tmp_path / "x0.so").status == run(tmp_path / "x2.so").status == 2


@pytest.mark.parametrize("path", ["", "a\0b.so", "\ud800.so", "/" * 5000 + "x.so", "a" * 300 + ".so", "\x1b[2J.so"])
def test_what_is_no_path_is_refused_in_one_line(path):
    with pytest.raises(KitError) as error:
        kit.xray(path)
    assert harmless(str(error.value)) and "\n" not in str(error.value)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root reads everything")
def test_a_file_without_permission(put):
    path = put(elf())
    path.chmod(0)
    with pytest.raises(KitError, match="Permission denied"):
        kit.xray(str(path))


def test_a_file_that_disappears(put, monkeypatch):
    """After each step in turn: it was listed, looked at, read."""
    path = put(elf([b"y.so"], rpath=b"$ORIGIN"), y=elf())
    for step in ("stat", "open"):
        real, count = getattr(os, step), [0]

        def then_gone(name, *rest, real=real, count=count, **more):
            if str(name).startswith(str(put.folder)):
                count[0] += 1
                if count[0] > 1:
                    raise FileNotFoundError(2, "No such file or directory", name)
            return real(name, *rest, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, step, then_gone)
            with contextlib.suppress(KitError):
                assert kit.xray(str(path)).files[0].binary.loads is False
            count[0] = 0
            files = kit.xray(str(put.folder)).files
            assert files and not all(file.binary.loads for file in files)


def test_folders_that_are_deep_and_links_that_lead_back(put, monkeypatch):
    monkeypatch.chdir(put.folder)
    for _ in range(1900):
        os.mkdir("d")
        os.chdir("d")
    monkeypatch.chdir(put.folder)
    (put.folder / "loop").symlink_to(put.folder)
    put(elf(), "a.so")
    try:
        assert [Path(file.binary.path).name for file in kit.xray(str(put.folder)).files] == ["a.so"]
    finally:  # pytest's own cleaning follows folders by recursion
        subprocess.run(["rm", "-rf", str(put.folder / "d")], check=True)


def test_a_chain_of_links_longer_than_linux_follows(put):
    for number in range(1500):
        (put.folder / f"l{number}").symlink_to(f"l{number + 1}")
    path = put(elf([b"a.so", b"$ORIGIN/l0/../b.so"], rpath=b"$ORIGIN/l0/../l0"))
    assert kit.xray(str(path)).files[0].binary.loads is False
    with pytest.raises(KitError):
        kit.xray(str(put.folder / "l0"))


ODD = [
    "\x1b[2J.so",
    "a\nb.so",
    "\u202egnp.so",
    "\udcff\udcfe.so",
    "<b>&amp;.so",
    "\x9b31m.so",
    "'\"`$(id).so",
    "-rf.so",
    " .so",
]


def test_names_of_files_that_steer_the_terminal(put):
    for name in ODD:
        put(elf([b"absent.so"]), name)
    shown = kit.xray(str(put.folder))
    assert len(shown.files) == len(ODD)
    assert harmless(show.text(shown)) and harmless(repr(shown))
    Page(show.html(shown))
    paths = [file["path"] for file in json.loads(json.dumps(shown.to_dict()))["files"]]
    assert harmless("".join(paths)) and len(set(paths)) == len(ODD)
    answer = run(put.folder)
    assert answer.status == 1 and r"\x1b[2J.so" in answer.out
    for name in ODD:
        path = put(b"text", "text/" + name)
        with pytest.raises(KitError) as error:
            kit.xray(str(path))
        assert harmless(str(error.value))


def test_the_command_reads_a_real_library_under_the_same_limits(put):
    """The child of these tests forbids nothing that reading needs."""
    answer = said(FIXTURES / "several.so", "--gpu", "8.0")
    assert answer.document["files"][0]["architectures"]
    assert said(put(elf(defined=[b"f"]))).document["files"][0]["loads"] is True
