"""kit/collect/fatbin.py on files that nvcc made for known GPUs (fixtures/fatbin), and on sections made by hand."""

import json
import struct
from pathlib import Path

import pytest

from kit.collect import fatbin
from kit.collect.elf import Elf, Malformed

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "fatbin"
EXPECTED = json.loads((FIXTURES / "expected.json").read_text())
NAMED = {row["file"]: row for row in EXPECTED}
PTX, CUBIN, LTO = 1, 2, 16
A, F = 0x100000, 0x200000  # flags of sm_90a and of sm_100f


def regions(elf, *names):
    return [region for name in names or fatbin.SECTIONS for region in elf.sections().get(name, ())]


def read(file, *names):
    elf = Elf((FIXTURES / file).read_bytes())
    return fatbin.read(elf.data, regions(elf, *names))


# -- what nvcc makes


def test_every_fixture_has_its_expectation():
    assert {p.name for p in FIXTURES.iterdir() if p.suffix in (".so", ".o")} == set(NAMED)
    assert len({row["nvcc"].split(".")[0] for row in EXPECTED}) >= 3, "of several generations of nvcc"


@pytest.mark.parametrize("file", NAMED)
def test_what_nvcc_was_asked_for_is_found(file):
    row, code = NAMED[file], read(file)
    assert (list(code.architectures), list(code.ptx), code.ptx_isa) == (
        row["architectures"],
        row["ptx"],
        row["ptx_isa"],
    )
    assert code.partial == (), "each has the same kinds of code for all that it compiles"
    assert bool(code.units) == bool(row["architectures"] or row["ptx"]) and code.units <= row["fatbins"]


@pytest.mark.parametrize("file", NAMED)
def test_the_toolkit_is_told_where_machine_code_is_not_compressed(file):
    row = NAMED[file]
    plain = any(code["kind"] == "elf" and not code["compressed"] for code in row["cuobjdump"]["codes"])
    assert read(file).toolkit == (".".join(row["nvcc"].split(".")[:2]) if plain else None)


@pytest.mark.parametrize("file", NAMED)
def test_cuobjdump_agrees(file):
    """It writes sm_120 where the file has compute_120 or sm_120a: the numbers have to be the same."""
    listed, code = NAMED[file]["cuobjdump"], read(file)
    numbers = {kind: {a.split("_")[1].rstrip("af") for a in listed[kind]} for kind in ("elf", "ptx")}
    assert {a.removeprefix("sm_").rstrip("af") for a in code.architectures} == numbers["elf"]
    ptx = {p.removeprefix("compute_").rstrip("af") for p in code.ptx}
    assert ptx == numbers["ptx"] or NAMED[file]["lto"] or NAMED[file].get("tile")
    versions = [c["version"] for c in listed["codes"] if c["kind"] == "ptx"]
    assert code.ptx_isa == max(versions, key=lambda v: tuple(map(int, v.split("."))), default=None)


def test_code_that_is_linked_later_lies_in_a_section_of_its_own():
    assert NAMED["rdc-no-dlink.so"]["sections"] == {".nv_fatbin": 0, "__nv_relfatbin": 2}
    assert read("rdc-no-dlink.so", ".nv_fatbin").architectures == ()
    assert read("rdc-no-dlink.so", "__nv_relfatbin").architectures == ("sm_90", "sm_120")
    both, linked, relocatable = (read("rdc.so", *names) for names in ((), (".nv_fatbin",), ("__nv_relfatbin",)))
    assert (both.units, linked.units, relocatable.units) == (3, 1, 2)
    assert linked.ptx == () and relocatable.ptx == both.ptx == ("compute_120",)


def test_a_file_without_kernels_holds_nothing():
    assert read("host-only.so") == fatbin.DeviceCode()


@pytest.mark.parametrize("file", ["two-units.so", "rdc.so", "cu118.so", "wide.so"])
def test_a_section_that_was_cut_anywhere_is_said_to_be_cut_off(file):
    """Zeros at its end are nothing but padding; all else is missed."""
    whole, elf = read(file), Elf((FIXTURES / file).read_bytes())
    for number, (offset, size) in enumerate(places := regions(elf)):
        used = len(elf.data[offset : offset + size].rstrip(b"\0"))
        for end in (1, 8, 15, 17, 40, 80, used // 2, used - 1):
            shorter = [*places[:number], (offset, end), *places[number + 1 :]]
            try:
                code = fatbin.read(elf.data, shorter)
            except Malformed:
                continue
            assert end < 16 and code.units < whole.units, (number, end)
    with pytest.raises(Malformed, match="lies outside the file"):
        fatbin.read(elf.data[: places[0][0] + 100], places)


# -- sections made by hand


def entry(kind, number, flags=0, version=(0, 0), compressed=0, payload=b"", header=64):
    """As described in the docstring of the module, put together anew."""
    head = bytearray(header)
    struct.pack_into("<HHIQ", head, 0, kind, 0x101, header, len(payload))
    struct.pack_into("<I", head, 16, compressed)
    struct.pack_into("<HH", head, 24, version[1], version[0])
    struct.pack_into("<I", head, 28, number)
    struct.pack_into("<Q", head, 40, flags)
    return bytes(head) + payload


def container(*entries, header=16, size=None):
    body = b"".join(entries)
    head = b"\x50\xed\x55\xba" + struct.pack("<HHQ", 1, header, len(body) if size is None else size)
    return head + bytes(header - 16) + body


def code_of(*parts):
    data = b"".join(part + bytes(-len(part) % 8) for part in parts)
    return fatbin.read(data, [(0, len(data))])


def test_several_containers_add_up():
    code = code_of(
        container(entry(CUBIN, 90), entry(PTX, 90, version=(8, 4))),
        container(entry(CUBIN, 120), entry(PTX, 120, version=(8, 10))),
        container(entry(CUBIN, 90)),
    )
    assert code.architectures == ("sm_90", "sm_120") and code.ptx == ("compute_90", "compute_120")
    assert (code.ptx_isa, code.units) == ("8.10", 3), "8.10 is newer than 8.4"
    newest_first = container(entry(PTX, 90, version=(9, 0)), entry(PTX, 80, version=(8, 8)))
    assert code_of(newest_first, container(entry(PTX, 90, version=(7, 8)))).ptx_isa == "9.0"


@pytest.mark.parametrize("length", range(9))
def test_containers_begin_at_eight_bytes(length):
    first = container(entry(CUBIN, 80, payload=bytes(length)))
    second = container(entry(CUBIN, 90))
    assert code_of(first, second).architectures == ("sm_80", "sm_90")
    assert code_of(first, bytes(4096), second, bytes(24)).architectures == ("sm_80", "sm_90")


def test_an_empty_section_and_empty_containers():
    assert (
        fatbin.read(b"", [(0, 0)])
        == fatbin.read(bytes(100), [(0, 100)])
        == fatbin.read(b"", [])
        == fatbin.DeviceCode()
    )
    assert code_of(container()) == fatbin.DeviceCode(), (
        "as nvcc's device link leaves it where there is nothing to link"
    )
    code = code_of(container(), container(), container(entry(CUBIN, 75)), container())
    assert (code.architectures, code.units, code.partial) == (("sm_75",), 1, ())


def test_headers_may_grow():
    code = code_of(container(entry(CUBIN, 90, header=80, payload=b"x" * 5), entry(PTX, 90, header=72), header=24))
    assert (code.architectures, code.ptx) == (("sm_90",), ("compute_90",))


def test_other_kinds_of_entries_are_passed_over():
    code = code_of(container(entry(LTO, 100, payload=b"x" * 9), entry(CUBIN, 90), entry(64, 75), entry(4, 75)))
    assert (code.architectures, code.ptx, code.units) == (("sm_90",), (), 1)
    assert code_of(container(entry(LTO, 100))) == fatbin.DeviceCode()


def test_code_for_one_gpu_or_a_family_of_gpus():
    code = code_of(
        container(entry(CUBIN, 90), entry(CUBIN, 90, A), entry(CUBIN, 100, F), entry(CUBIN, 100), entry(PTX, 120, A)),
    )
    assert (code.architectures, code.ptx) == (("sm_90", "sm_90a", "sm_100", "sm_100f"), ("compute_120a",))
    others = 0xFFFFFFFFFF & ~(A | F)
    assert code_of(container(entry(CUBIN, 90, others))).architectures == ("sm_90",), "other flags say nothing of it"


def test_what_a_few_kernels_have_is_told_apart():
    common, rare = entry(CUBIN, 80), entry(CUBIN, 90)
    assert code_of(*[container(common)] * 3, container(common, rare)).partial == ("sm_90",)
    assert code_of(container(common), container(common, rare)).partial == (), "half of them are not few"
    assert code_of(*[container(common, common, rare)] * 3, *[container(common, rare)] * 2).partial == ()
    ptx = entry(PTX, 80, version=(7, 0))
    assert code_of(*[container(common)] * 4, container(ptx)).partial == ("compute_80",)


def test_the_toolkit_in_either_way_of_writing_it():
    text = entry(CUBIN, 90, payload=b"\x7fELF" + b"Cuda compilation tools, release 13.2, V13.2.1\0")
    assert code_of(container(text)).toolkit == "13.2"
    assert code_of(container(entry(CUBIN, 90, compressed=50, payload=text))).toolkit is None, "that is compressed"
    old = b"\x7fELF\x02\x01\x01\x33\x07" + bytes(11) + struct.pack("<I", 118) + bytes(40)
    assert code_of(container(entry(CUBIN, 90, payload=old))).toolkit == "11.8"
    assert code_of(container(entry(CUBIN, 90, compressed=9, payload=old), text)).toolkit == "13.2", (
        "the first plain one"
    )
    assert code_of(container(entry(PTX, 90, payload=text)), container(entry(CUBIN, 90))).toolkit is None
    silent = entry(CUBIN, 90, payload=b"x" * 100)
    assert code_of(container(silent, entry(PTX, 80, payload=text))).toolkit is None, "another entry is not part of it"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"garbage!" * 4, "no fatbin at 0x0"),
        (container(entry(CUBIN, 90)) + b"garbage!" * 4, "no fatbin at 0x50"),
        (container(entry(CUBIN, 90), size=65), "larger than its section"),
        (container(entry(CUBIN, 90), size=2**64 - 1), "larger than its section"),
        (
            container(entry(CUBIN, 90), header=16)[:6] + b"\x08\0" + container(entry(CUBIN, 90))[8:],
            "than its section",
        ),
        (container(entry(CUBIN, 90)[:8] + struct.pack("<Q", 1) + entry(CUBIN, 90)[16:]), "larger than the fatbin"),
        (container(entry(CUBIN, 90)[:8] + b"\xff" * 8 + entry(CUBIN, 90)[16:]), "larger than the fatbin"),
        (container(entry(CUBIN, 90)[:4] + struct.pack("<I", 63) + entry(CUBIN, 90)[8:]), "larger than the fatbin"),
        (container(entry(CUBIN, 90)[:4] + struct.pack("<I", 0) + entry(CUBIN, 90)[8:]), "larger than the fatbin"),
    ],
)
def test_what_is_no_fatbin_is_refused(data, said):
    with pytest.raises(Malformed, match=said):
        fatbin.read(data, [(0, len(data))])


def test_a_region_that_lies_outside_is_refused():
    data = container(entry(CUBIN, 90))
    for region in ((0, len(data) + 1), (8, len(data)), (2**63, 8)):
        with pytest.raises(Malformed, match="outside the file"):
            fatbin.read(data, [region])
