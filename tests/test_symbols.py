"""kit/symbols.py: names against c++filt, the table against the installed torch, and what missing symbols tell."""

import functools
import re
import shutil
import subprocess
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

from kit import symbols
from kit.collect.elf import Elf, Symbol, gnu_hash
from kit.data import table

LIB = Path(sysconfig.get_path("platlib")) / "torch" / "lib"
with_torch = pytest.mark.skipif(not (LIB / "libtorch_cpu.so").exists(), reason="torch for Linux is not installed")
TABLE = table("torch_symbols")
ROWS = TABLE["symbols"] + TABLE["cuda_symbols"]


@functools.cache
def torch_minor():
    return ".".join(metadata.version("torch").split(".")[:2])


def key(version):
    return tuple(map(int, version.split(".")))


@functools.cache
def libraries():
    import mmap

    names = ("libc10.so", "libtorch_cpu.so", "libtorch_python.so")
    found = []
    for name in names:
        with open(LIB / name, "rb") as stream:
            found.append(Elf(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)))
    return found


def exported(name):
    hash = gnu_hash(name.encode())
    return any(library.defines(Symbol(name.encode()), hash) for library in libraries())


# -- names


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        (
            "_ZN2at4_ops10zeros_like4callERKNS_6TensorEN3c108optionalINS5_10ScalarTypeEEE",
            "at::_ops::zeros_like::call(...)",
        ),
        ("_ZNK2at6Tensor5numelEv", "at::Tensor::numel(...)"),
        ("_ZN3c106detail14torchCheckFailEPKcS2_jS2_", "c10::detail::torchCheckFail(...)"),
        ("_ZN3c105ErrorC1ENS_14SourceLocationESs", "c10::Error::Error(...)"),
        ("_ZN3c105ErrorD0Ev", "c10::Error::~Error(...)"),
        ("_ZTVN3c105ErrorE", "vtable for c10::Error"),
        ("_ZTIN5torch8autograd4NodeE", "typeinfo for torch::autograd::Node"),
        ("_ZN3c10lsERSoNS_10DeviceTypeE", "c10::operator<<(...)"),
        ("_ZN2at11show_configB5cxx11Ev", "at::show_config[abi:cxx11](...)"),
        ("_ZNSt6vectorIiSaIiEE9push_backERKi", "std::vector<...>::push_back(...)"),
        ("_ZSt4cout", "std::cout"),
        ("_Z3foov", "foo(...)"),
        ("PyObject_Call", "PyObject_Call"),
        ("", ""),
        ("_Z", "_Z"),
        ("_ZN", "_ZN"),
        ("_ZN99xE", "_ZN99xE"),
    ],
)
def test_known_names(symbol, name):
    assert symbols.name(symbol) == name


def reduced(name):
    """A name of c++filt with every list of template arguments as ``<...>``."""
    out, depth, at = [], 0, 0
    while at < len(name):
        operator = re.compile(r"operator(<<=|>>=|<=>|<<|>>|<=|>=|->\*|->|<|>|\(\))").match(name, at)
        if operator:
            out += [operator.group()] if not depth else []
            at = operator.end()
            continue
        character = name[at]
        if character == "<":
            out += ["<...>"] if not depth else []
            depth += 1
        elif character == ">":
            depth -= 1
        elif not depth:
            out.append(character)
        at += 1
    return "".join(out).replace(" <...>", "<...>").replace("std::basic_string<...>", "std::string")


@pytest.mark.skipif(shutil.which("c++filt") is None, reason="no c++filt (binutils)")
@with_torch
def test_names_are_those_of_cppfilt():
    """Of the symbols that torch's libraries take and of the table: those are what an extension can miss."""
    taken = {s.name.decode() for library in libraries() for s in library.undefined()}
    asked = sorted(s for s in {*taken, *(row[0] for row in ROWS)} if s.startswith("_Z"))
    assert len(asked) > 1500
    done = subprocess.run(
        ["c++filt", "-p"], input="\n".join(asked), capture_output=True, text=True, timeout=60, check=True
    )
    theirs = dict(zip(asked, done.stdout.splitlines()))
    wrong, unread = {}, []
    for symbol, named in theirs.items():
        ours = symbols.name(symbol)
        if ours == symbol:
            unread.append(symbol)
        elif ours.removesuffix("(...)").replace("std::basic_string<...>", "std::string") != reduced(named):
            wrong[symbol] = (ours, reduced(named))
    assert not wrong
    assert len(unread) < len(asked) / 20, unread
    assert not [row[0] for row in ROWS if row[0].startswith("_Z") and symbols.name(row[0]) == row[0]]


@pytest.mark.parametrize(
    ("symbol", "of_torch"),
    [
        ("_ZN2at6TensorC1Ev", True),
        ("_ZNK3c1010TensorImpl5sizesEv", True),
        ("_ZTVN5torch3jit6ModuleE", True),
        ("_ZTIN3c105ErrorE", True),
        ("_ZN6caffe28TypeMeta4nameEv", True),
        ("_ZN3foo2at3barEv", False),
        ("_ZN4c10d5StoreE", False),
        ("_ZNSt6vectorIN2at6TensorESaIS1_EE9push_backERKS1_", False),
        ("_ZSt4cout", False),
        ("at_something", False),
        ("PyObject_Call", False),
    ],
)
def test_which_symbols_are_torchs(symbol, of_torch):
    assert symbols.of_torch(symbol) is of_torch


@with_torch
def test_the_string_of_every_symbol_of_the_torch_that_is_installed():
    """Its libraries were built with one ABI: no symbol of theirs is taken for one of the other."""
    torchs = [
        s.name.decode() for library in libraries() for s in library.undefined() if b"c10" in s.name or b"at" in s.name
    ]
    torchs = [s for s in torchs if symbols.of_torch(s)]
    found = {symbols.string_abi([s]) for s in torchs}
    assert len(torchs) > 1000 and len(found - {None}) == 1, found


# -- the table


def test_the_table_is_in_order():
    names = [row[0] for row in ROWS]
    assert len(set(names)) == len(names)
    for _, first, last, *abi in ROWS:
        assert all(v is None or re.fullmatch(r"[12]\.\d+", v) for v in (first, last))
        assert not first or not last or key(first) <= key(last)
        assert abi in ([], ["old"], ["new"])
    assert all(first or last or abi for _, first, last, *abi in ROWS), (
        "a row without a bound and an ABI tells nothing"
    )


@with_torch
def test_the_table_agrees_with_the_torch_that_is_installed():
    """Every symbol whose range holds this release is there, and no other one is."""
    here, wrong = key(torch_minor()), []
    old_abi = exported("_ZN2at11show_configEv")
    for name, first, last, *abi in TABLE["symbols"]:
        in_range = (not first or key(first) <= here) and (not last or here <= key(last))
        expected = in_range and (not abi or (abi == ["old"]) == old_abi)
        if exported(name) != expected:
            wrong.append((name, first, last, abi, exported(name)))
    assert not wrong


# -- what they tell

OLD, NEW = "_ZN3c105ErrorC1ENS_14SourceLocationESs", "_ZN2at11show_configB5cxx11Ev"


@pytest.mark.parametrize(
    ("missing", "abi"),
    [
        ([], None),
        (["PyObject_Call", "_ZSt4cout"], None),
        (["_ZN2at6TensorC1Ev"], None),
        ([OLD], "old"),
        ([NEW], "new"),
        (["_ZN3c106detail14torchCheckFailEPKcS2_jRKSs"], "old"),
        (["_ZN3c106detail14torchCheckFailEPKcS2_jRKNSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"], "new"),
        (["_ZN3c104impl9SomethingENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"], "new"),
        (["_ZN3foo3barERKSs"], None),  # of another project
        (["_ZN2at6TensorC1Ev", "_ZN3foo3barERKSs", OLD], "old"),
        (["_ZN2at8somewhatERKSt6vectorISsSaISsEE"], "old"),
        (["_ZN3c107ClassSs3RSsEv", "_ZN2at1fIXLj4EEEEvT0_S1S_A12_C1sS0_"], None),  # Ss in words, and none
        (["_ZN2at99cut_offRKSs"], None),
    ],
)
def test_the_abi_of_strings(missing, abi):
    assert symbols.string_abi(missing) == abi


def row(first=False, last=False, abi=False):
    """A symbol of the table with bounds of that kind."""
    return next(r for r in TABLE["symbols"] if (bool(r[1]), bool(r[2]), len(r) > 3) == (first, last, abi))


def test_the_release_of_one_symbol():
    name, first, last = row(first=True, last=True)
    assert symbols.built_for([name]) == (first, last)
    name, first, _ = row(first=True)
    assert symbols.built_for([name]) == (first, None)
    name, _, last = row(last=True)
    assert symbols.built_for([name]) == (None, last)
    assert symbols.built_for(["_ZN2at9no_such_oneEv"]) == symbols.built_for([]) == (None, None)


def test_the_releases_of_several_symbols_are_those_that_all_have(monkeypatch):
    rows = [["a", "1.8", None], ["b", "1.10", "2.6"], ["c", None, "2.10"], ["d", "2.11", None], ["e", "2.6", "2.6"]]
    small = {
        "symbols": [*rows, ["s", "1.9", "2.8", "old"], ["n", "1.9", "2.8", "new"]],
        "cuda_symbols": [["g", "2.1", None]],
    }
    monkeypatch.setattr(symbols, "table", lambda _: {**small, "abi": {"old": {"last": "2.6"}, "new": {}}})
    assert symbols.built_for("ab") == ("1.10", "2.6"), "as numbers: 1.10 is later than 1.8"
    assert symbols.built_for("ac") == ("1.8", "2.10")
    assert symbols.built_for("bc") == ("1.10", "2.6")
    assert symbols.built_for("bd") == (None, None), "no release has both: they tell nothing together"
    assert symbols.built_for("cg") == ("2.1", "2.10"), "CUDA's symbols count too"
    assert symbols.built_for("s") == ("1.9", "2.6"), "the old ABI ended with 2.6 where this function went on"
    assert symbols.built_for("n") == ("1.9", "2.8"), "the new one is no sign of a release"
    assert symbols.clues("e") == ["only torch 2.6 has all of those symbols"]
    assert symbols.clues("ab") == ["torch 1.10 to 2.6 have all of those symbols"]
    assert symbols.clues("a") == ["torch has those symbols from 1.8 on"]
    assert symbols.clues("c") == ["torch had those symbols up to 2.10"]
    assert symbols.clues("ab", "2.13") and symbols.clues("ab", "1.9") and not symbols.clues("bd")
    for inside in ("1.10", "2.0", "2.6"):
        assert symbols.clues("ab", inside) == [], "this torch has them, so another thing is wrong"
    assert symbols.clues("a", "2.13") == [] and symbols.clues("a", "1.7") != [] and symbols.clues("c", "2.9") == []


def test_the_clues_of_the_real_table():
    assert symbols.clues([OLD], "2.13")[0] == "it was built with the old C++ string ABI, this torch with the new one"
    assert symbols.clues([NEW], "2.5")[0] == "it was built with the new C++ string ABI, this torch with the old one"
    assert symbols.clues(["nothing"], "2.13") == symbols.clues([]) == []
    assert symbols.clues(iter(["_ZN2at6TensorC1Ev"])) == []
