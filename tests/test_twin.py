"""A twin has what its patient has, mended; the patient stays as it is, and a twin that fails leaves nothing."""

import json
import os
import subprocess

import pytest
import repairs
from repairs import fails, finding, healthy, install, package, step, wheel, works, yes

from kit.errors import KitError
from kit.facts import Distribution, Extension, Torch
from kit.findings import Findings
from kit.repair.kernelspec import register
from kit.repair.plan import Plan
from kit.repair.twin import MARK, contents, twin


def dist(name, version, **more):
    return Distribution(name, version, f"/site/{name}-{version}.dist-info", **more)


def patient(python, *steps, left=(), distributions=(), **more):
    return Plan(repairs.facts(python, distributions=tuple(distributions), **more), tuple(steps), tuple(left))


@pytest.fixture
def index(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pip.conf").write_text("")
    shelf = tmp_path / "shelf"
    for name, version in (("alpha", "1.0"), ("alpha", "2.0"), ("delta", "1.0")):
        package(shelf, name, version)
    wheel(shelf, "ipykernel", "6.0", {"ipykernel_launcher.py": ""})
    made = repairs.Index(shelf)
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {made.address}/simple/\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    yield made
    made.close()


def test_what_a_twin_gets():
    torch = Torch("/site", "2.13.0+cpu")
    scatter = Extension("torch-cluster", "1.6.3+pt213cpu", "", "/site", ("torch_cluster",))
    own = Extension(
        "torch-scatter", "2.1.2", "", "/site", ("torch_scatter",), wheel_tags=("cp311-cp311-linux_x86_64",)
    )
    rows = (
        dist("torch", "2.13.0+cpu"),
        dist("torch_cluster", "1.6.3+pt213cpu"),
        dist("torch-scatter", "2.1.2"),
        dist("Alpha", "1.0"),
        dist("alpha", "0.9"),
        dist("gone", "1.0"),
        dist("pip", "26.0"),
        dist("~orch", "2.0", leftover=True),
        dist("mine", "1.0", direct_url="file:///home/me/mine", editable=True),
        dist("named", "1.0", direct_url="https://example.org/named-1.0-py3-none-any.whl"),
        dist("broken", "", complete=False),
        dist("delta", "3.0"),
    )
    plan = patient(
        "python",
        step("rm", "-r", "/site/~orch", failure="duplicate-metadata", package="torch"),
        install("python", "alpha==2.0"),
        step("python", "-m", "pip", "uninstall", "--yes", "gone"),
        distributions=rows,
        torch=torch,
        extensions=(scatter, own),
    )
    within = contents(plan)
    assert within.pins == (
        "delta==3.0",
        "named @ https://example.org/named-1.0-py3-none-any.whl",
        "torch-cluster==1.6.3+pt213cpu",
        "torch==2.13.0+cpu",
    )
    assert [s.argv[-1] for s in within.steps] == ["torch-scatter==2.1.2", "alpha==2.0"]
    assert "--no-binary=torch-scatter" in within.steps[0].argv
    assert within.options == (
        "--extra-index-url",
        "https://download.pytorch.org/whl/cpu",
        "--find-links",
        "https://data.pyg.org/whl/torch-2.13.0+cpu.html",
    )
    assert [(f.failure, f.package) for f in within.left] == [("duplicate-metadata", "torch")]
    assert within.out == ("mine 1.0",)


def test_the_kits_replacements_are_in_the_twin_as_well():
    enable = ("kit", "shim", "enable", "torch_scatter", "--python", "python")
    rows = (dist("torch", "2.13.0+cpu"), dist("torch_scatter", "2.1.2"), dist("kit-graft-apex", "0.1"))
    covered = step(*enable, "--cover", failure="extension-broken", package="torch_scatter")
    plan = patient("python", covered, distributions=rows, torch=Torch("/site", "2.13.0+cpu"))
    within = contents(plan)
    assert within.pins == ("torch==2.13.0+cpu",)
    assert [s.argv[3] for s in within.steps] == ["apex.amp", "torch_scatter"]
    rows = (dist("torch", "2.13.0+cpu"), dist("torch_scatter", "2.1.2+kit"))
    ours = Extension("torch_scatter", "2.1.2+kit", "", "/site", ("torch_scatter",), wheel_tags=("py3-none-any",))
    plan = patient("python", distributions=rows, extensions=(ours,), torch=Torch("/site", "2.13.0+cpu"))
    within = contents(plan)
    assert (within.pins, [s.argv for s in within.steps]) == (("torch==2.13.0+cpu",), [enable])


@pytest.mark.slow
def test_a_twin_is_made_and_offered_to_jupyter(tmp_path, index):
    place = repairs.Place(tmp_path / "sick", index.folder / "alpha-1.0-py3-none-any.whl")
    before = place.picture()
    rows = (
        dist("alpha", "1.0"),
        dist("delta", "1.0"),
        dist("ipykernel", "6.0"),
        dist("mine", "1", direct_url="file:///x"),
    )
    plan = patient(place.python, install(place.python, "--no-deps", "alpha==2.0"), distributions=rows)
    path, ticks = tmp_path / "My Twin", []
    session = finding("wrong-interpreter", None)
    receipt = twin(
        plan, str(path), yes, ticks.append, examine=lambda p: Findings(repairs.facts(p), (session,)), prove=works
    )
    assert (receipt.state, receipt.why) == ("applied", "")
    assert receipt.notes == (
        "left out, for it was installed from a folder: mine 1",
        "Jupyter offers it as the kernel 'my-twin'",
    )
    python = path / "bin" / "python"
    code = "import alpha, delta, ipykernel_launcher; print(alpha.__version__, delta.__version__)"
    said = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert said.stdout == "2.0 1.0\n"
    assert repairs.difference(before, place.picture()) == []
    assert not (path / MARK).exists()
    kernel = json.loads((tmp_path / "jupyter" / "kernels" / "my-twin" / "kernel.json").read_text())
    assert kernel["argv"] == [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    assert kernel["display_name"] == "Python (My Twin)"
    assert "3 packages" not in {t.detail for t in ticks} and "2 packages" in {t.detail for t in ticks}
    with pytest.raises(KitError, match="is there already"):
        twin(plan, str(path), pytest.fail)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["check", "package", "step"])
def test_nothing_is_left_of_a_twin_that_fails(tmp_path, index, how):
    place = repairs.Place(tmp_path / "sick")
    wanted = "alpha==99" if how == "step" else "alpha==2.0"
    rows = (dist("delta", "99" if how == "package" else "1.0"),)
    plan = patient(place.python, install(place.python, "--no-deps", wanted), distributions=rows)
    path = tmp_path / "twin"
    receipt = twin(plan, str(path), yes, examine=healthy, prove=fails if how == "check" else works)
    said = {"check": "matmul on cpu: wrong values", "package": "delta==99", "step": "alpha==99"}[how]
    assert receipt.state == "nothing" and said in receipt.why and receipt.why.endswith("the twin was removed")
    assert not path.exists() and not (tmp_path / "jupyter").exists()


def test_a_twin_that_nobody_wants(tmp_path, index):
    place = repairs.Place(tmp_path / "sick")
    plan = patient(place.python, install(place.python, "alpha"))
    receipt = twin(plan, str(tmp_path / "twin"), lambda plan: False)
    assert receipt.state == "nothing" and not (tmp_path / "twin").exists()


@pytest.mark.slow
def test_a_twin_that_was_killed_is_made_anew(tmp_path, index):
    place = repairs.Place(tmp_path / "sick")
    plan = patient(place.python, install(place.python, "--no-deps", "alpha==2.0"))
    path = tmp_path / "twin"
    path.mkdir()
    (path / MARK).write_text("")
    (path / "half").write_text("")
    assert twin(plan, str(path), yes, examine=healthy, prove=works).state == "applied"
    assert not (path / "half").exists()


def test_kernels_do_not_overwrite_each_other(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert [register("/x/python", "Lab") for _ in range(3)] == ["lab", "lab-2", "lab-3"]
    monkeypatch.delenv("JUPYTER_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    register("/x/python", "Ü b")
    assert (tmp_path / "data" / "jupyter" / "kernels" / "--b" / "kernel.json").exists()
