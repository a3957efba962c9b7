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


def test_what_it_refuses() -> None:
    with pytest.raises(KitError, match=r"there is no shim for apex; there are: apex\.amp"):
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


def test_the_magic_of_a_notebook() -> None:
    from IPython.testing.globalipapp import start_ipython

    shell = start_ipython()
    shell.run_line_magic("load_ext", "kit")
    try:
        shell.run_line_magic("kit", "shim enable apex.amp")
        assert importlib.util.find_spec("apex") is not None
        assert "apex.amp: switched on" in str(shell.run_line_magic("kit", "shim list"))
        shell.run_line_magic("kit", "shim disable apex.amp")
        assert importlib.util.find_spec("apex") is None
        with pytest.raises(KitError, match="not understood; there are %kit shim list"):
            shell.run_line_magic("kit", "shim frobnicate")
    finally:
        shell.run_line_magic("unload_ext", "kit")
    assert "kit" not in shell.magics_manager.magics["line"]


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
