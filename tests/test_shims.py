"""Switching a replacement on and off: in this process, and what the import system answers meanwhile."""

import importlib
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, refusal

import kit
from kit import shims
from kit.errors import KitError
from kit.shims.finder import Finder

torch = pytest.importorskip("torch")

REAL = {  # what stands where, by what lies in a folder called apex
    "lacking": ("__init__.py", "normalization/__init__.py", "optimizers/__init__.py"),
    "empty": ("__init__.py",),
    "namespace": ("normalization/x.txt",),
    "other": ("__init__.py", "models.py", "views.py"),
    "working": ("__init__.py", "amp/__init__.py", "normalization/__init__.py"),
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> str:
    """An apex of one kind on the import path of this process."""
    for file in REAL[request.param]:
        path = tmp_path / "apex" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    if request.param == "other":
        (tmp_path / "apex" / "__init__.py").write_text("import no_such_module_of_a_web_toolkit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return str(request.param)


def ours(name: str = "apex") -> list[str]:
    return [module for module in sys.modules if module == name or module.startswith(f"{name}.")]


def test_nothing_is_there_then_it_is_then_it_is_gone() -> None:
    path, modules = list(sys.meta_path), set(sys.modules)
    assert shims.shims().to_dict()["shims"][0]["state"] == "absent"
    assert importlib.util.find_spec("apex") is None
    with shims.enabled("apex.amp") as shim:
        spec = importlib.util.find_spec("apex")
        assert (
            spec is not None
            and spec.origin is not None
            and list(spec.submodule_search_locations or ()) == [shim.tree]
        )
        assert ours() == [], "nothing is imported before it is asked for"
        assert importlib.util.find_spec("apex.amp") is not None
        assert importlib.util.find_spec("apex.amp.scaler") is not None
        assert importlib.util.find_spec("apex.nothing") is None
        import apex
        from apex import amp

        assert apex.__path__ == [shim.tree] and amp.__spec__.name == "apex.amp" and apex.amp is amp
        assert importlib.reload(amp) is amp
        assert importlib.metadata.version("apex") == "0.1+kit"
        assert "apex" in importlib.metadata.packages_distributions()
        assert shims.shims().to_dict()["shims"][0]["state"] == "shim"
        assert shims.enable("apex.amp") is shim
    assert sys.meta_path == path and ours() == []
    assert {m for m in set(sys.modules) - modules if m.startswith(("apex", "amp"))} == set()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("apex")
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.version("apex")


@pytest.mark.parametrize("installed", ["lacking", "empty"], indirect=True)
@pytest.mark.parametrize("before", [False, True])
def test_the_part_is_added_to_an_apex_that_lacks_it(installed: str, before: bool) -> None:
    real = importlib.import_module("apex") if before else None
    with pytest.raises(ImportError):
        importlib.import_module("apex.amp")
    with shims.enabled("apex.amp") as shim:
        import apex
        import apex.parallel
        from apex import amp

        assert real is None or apex is real
        assert not apex.__file__.startswith(shim.tree) and amp.__file__.startswith(shim.tree)
        assert apex.amp is amp, "also for scripts that only import apex"
        normalization = importlib.import_module("apex.normalization")
        assert normalization.__file__.startswith(shim.tree) == (installed == "empty"), "what is installed goes first"
    kept = sys.modules["apex"]
    assert not hasattr(kept, "amp") and not hasattr(kept, "parallel")
    with pytest.raises(ImportError, match="cannot import name 'amp' from 'apex'"):
        from apex import amp as gone  # noqa: F401
    for name in ours():
        del sys.modules[name]


@pytest.mark.parametrize("installed", ["other", "working"], indirect=True)
def test_what_works_or_is_another_is_covered_only_when_told(installed: str, tmp_path: Path) -> None:
    with pytest.raises(KitError, match="cover=True") as refused:
        shims.enable("apex.amp")
    assert str(tmp_path) in str(refused.value)
    with shims.enabled("apex.amp", cover=True) as shim:
        from apex import amp

        assert amp.__file__.startswith(shim.tree)
    if installed == "working":
        assert str(importlib.import_module("apex.amp").__file__).startswith(str(tmp_path))
        real = sys.modules["apex"]
        with shims.enabled("apex.amp", cover=True):
            assert importlib.import_module("apex") is not real
        assert sys.modules["apex"] is real
    else:
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            importlib.import_module("apex")
    for name in ours():
        del sys.modules[name]


@pytest.mark.parametrize("installed", ["namespace"], indirect=True)
def test_an_uninstalled_clone_stands_behind_it(installed: str) -> None:
    with shims.enabled("apex.amp"):
        from apex import amp

        assert amp.initialize
    assert importlib.util.find_spec("apex") is not None
    assert ours() == []


SCATTER = {  # by what lies in and beside a folder called torch_scatter
    "working": ("torch_scatter/scatter.py", "torch_scatter/_scatter_cpu.so"),
    "lacking": ("torch_scatter/scatter.py", "torch_scatter/segment_csr.py"),
    "other": ("torch_scatter/views.py",),
    "empty": (),
    "shim": ("torch_scatter/scatter.py", "torch_scatter-2.1.2+kit.dist-info/METADATA"),
}


@pytest.mark.parametrize("kind", SCATTER)
def test_a_whole_package_is_covered_only_when_told(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("torch_scatter/__init__.py", *SCATTER[kind]):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = {name: sys.modules.pop(name) for name in ours("torch_scatter")}
    try:
        shim = shims.find("torch_scatter")
        assert shims.state(shim) == shims.State(kind, str(tmp_path / "torch_scatter"))
        damaged = importlib.import_module("torch_scatter")
        if kind in ("working", "lacking", "other"):
            with pytest.raises(KitError, match=f"{tmp_path}.*; cover=True has the kit's stand in front of it"):
                shims.enable("torch_scatter")
        elif kind == "shim":
            with shims.enabled("torch_scatter"):
                assert importlib.import_module("torch_scatter") is damaged, "installed for every process already"
        with shims.enabled("torch_scatter", cover=kind != "empty"):
            import torch_scatter

            assert torch_scatter.__path__ == [shim.tree] and torch_scatter.__version__ == shim.version
            for name in ("torch_scatter", "torch-scatter", "Torch.Scatter"):
                assert importlib.metadata.version(name) == "2.1.2+kit"
            value, arg = torch_scatter.scatter_max(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 1]))
            assert (value.tolist(), arg.tolist()) == ([3, 2], [1, 2])
        assert sys.modules["torch_scatter"] is damaged
        # An import that fails leaves submodules behind: they are none of the shim's.
        monkeypatch.setitem(sys.modules, "torch_scatter.utils", damaged)
        del sys.modules["torch_scatter"]
        with shims.enabled("torch_scatter", cover=True):
            assert importlib.import_module("torch_scatter.utils") is not damaged
        assert ours("torch_scatter") == ["torch_scatter.utils"]
    finally:
        for name in ours("torch_scatter"):
            del sys.modules[name]
        sys.modules.update(before)


def test_who_looked_for_it_before_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric", sys)
    with (
        pytest.warns(UserWarning, match="torch_geometric was imported before, and goes on with the torch_scatter"),
        shims.enabled("torch_scatter", cover=True),
    ):
        pass


BOTH_WAYS = """
import sys, torch
from kit import shims
src, index = torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 1])
def version():
    import torch_scatter
    assert torch_scatter.scatter_max(src, index)[1].tolist() == [1, 2]
    assert torch.ops.torch_scatter.scatter_max(src, index, 0, None, None)[1].tolist() == [1, 2]
    assert torch.jit.script(torch_scatter.segment_csr)(src, torch.tensor([0, 2, 3])).tolist() == [4, 2]
    return torch_scatter.__version__
said = [version()] if sys.argv[1] == "before" else []
for _ in range(2):
    with shims.enabled("torch_scatter", cover=True):
        said.append(version())
    said.append(version())
print(*said)
"""


@pytest.mark.parametrize("compiled", ["before", "afterwards"])
def test_the_compiled_one_goes_aside_and_comes_back(compiled: str) -> None:
    """Its operators are in torch's registry, where those of the shim are until it is switched off."""
    if importlib.util.find_spec("torch_scatter._version_cpu") is None:
        pytest.skip("torch_scatter is not compiled here: make test compiles it")
    done = subprocess.run([sys.executable, "-c", BOTH_WAYS, compiled], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    said = ["2.1.2"] if compiled == "before" else []
    assert [version.partition("+pt")[0] for version in done.stdout.split()] == said + ["2.1.2+kit", "2.1.2"] * 2


def test_switching_torch_scatter_on_takes_no_twentieth_of_a_second() -> None:
    code = """
import time, torch, kit.shims
start = time.process_time()
kit.shims.enable("torch_scatter", cover=True)
import torch_scatter
print(time.process_time() - start)
"""
    command = [sys.executable, "-c", code]
    took = [subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout for _ in range(3)]
    assert min(map(float, took)) < 0.05


def test_what_it_refuses() -> None:
    with pytest.raises(KitError, match=r"there is no shim for apex; there are: apex\.amp, torch_scatter"):
        shims.enable("apex")
    with pytest.raises(KitError, match="is not switched on in this process"):
        shims.disable("apex.amp")


def test_a_failed_import_leaves_nothing_switched_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "apex").mkdir()
    (tmp_path / "apex" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("apex")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="torch"):
        shims.enable("apex.amp")
    assert not any(isinstance(finder, Finder) for finder in sys.meta_path)
    for name in ours():
        del sys.modules[name]


def test_what_is_not_covered_says_so() -> None:
    with shims.enabled("apex.amp"):
        for name in ("apex.contrib", "apex.contrib.xentropy", "apex.transformer", "apex.mlp", "apex.RNN"):
            with pytest.raises(ImportError, match=r"torch|native"):
                importlib.import_module(name)


def test_switching_on_imports_no_torch() -> None:
    code = "import sys, kit.shims; kit.shims.enable('apex.amp'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "False\n", "")


def test_the_command_line() -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "kit", "shim", *arguments], capture_output=True, text=True, cwd=ROOT
        )

    done = run("list", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["shims"][0]["name"] == "apex.amp"
    assert "apex.amp: " in run("list").stdout
    assert "kit shim enable NAME" in refusal(run("enable"))
    assert "there is no shim for nothing" in refusal(run("enable", "nothing"))
    assert "is not installed in this environment" in refusal(run("disable", "apex.amp"))
    assert kit.__version__
