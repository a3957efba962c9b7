"""Failures for real: each made in a throwaway environment, seen, diagnosed, mended, proved, and had again by undo."""

import hashlib
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kit
from kit import failures
from kit.collect import attempt
from kit.errors import KitError
from kit.facts import Attempt
from kit.failures import catalogue, failure
from kit.repair import apply, undo
from kit.repair.plan import plan
from kit.throwaway import Throwaway, reproduce
from kit.throwaway.index import LocalIndex
from kit.verify import Check, Verification

LIVE = [it.id for it in catalogue() if it.reproduce is not None]
# What only a person can mend: no step of the kit's, and the finding says what to do.
BY_HAND = {
    "library-shadowed",
    "wrong-interpreter",
    "python-unsupported",
    "headers-missing",
    "compiler-unsupported",
}
TORCH_ITSELF = {"torch-missing", "torch-broken"}  # torch is installed anew, out of a wheel of the lab's own
# Proved with all of verify's processes; of the others it is enough that torch and what failed are imported.
PROVED = {"extension-torch-mismatch", "torch-missing", "apex-amp-removed"}
CPU_TORCH = {"extension-cuda-mismatch"}
LAB_HAS_CUDA = bool((lab := kit.collect(probes=False)).torch and lab.torch.cuda)


def said(place: Throwaway) -> str:
    return "\n".join(place.shown.said) if isinstance(place.shown, Attempt) else place.show()


def imported(python: str) -> Verification:
    """The first of verify's checks alone: that it really imports."""
    done = subprocess.run([python, "-c", "import torch"], capture_output=True, text=True, timeout=120)
    return Verification((Check("import torch", done.returncode == 0, done.stderr[-200:], 1.0),), python)


def test_enough_failures_are_live() -> None:
    assert len(LIVE) >= 16
    assert {"build-isolation", "sdist-preferred", "index-url-malformed", "wheel-not-published"} <= set(LIVE)
    assert {"python-unsupported", "headers-missing", "compiler-unsupported"} <= set(LIVE)
    assert set(LIVE) >= BY_HAND | TORCH_ITSELF


@pytest.mark.slow
@pytest.mark.parametrize(  # one process makes the wheel of torch
    "id", [pytest.param(id, marks=pytest.mark.xdist_group("torch")) if id in TORCH_ITSELF else id for id in LIVE]
)
def test_a_failure_for_real(id: str, request: pytest.FixtureRequest) -> None:
    if id in CPU_TORCH and LAB_HAS_CUDA:
        pytest.skip("the lab's torch has CUDA, and so the extension fits")
    with reproduce(id) as place:
        assert re.search(failure(id).shows, said(place)), "it really fails"
        findings = kit.diagnose(place.facts())
        assert [f.failure for f in findings if f.severity != "note"] == [id]
        offered = plan(findings)
        if id in BY_HAND:
            assert offered.steps == () and [f.failure for f in offered.left] == [id]
            assert all(fix.why for fix in findings[id].fix)
            return
        assert [step.failure for step in offered.steps] == [id] and offered.left == ()
        if id in TORCH_ITSELF:
            wheel = request.getfixturevalue("torch_wheel")
            place.index.add(wheel)
            # The index of PyTorch, which the command names, is out of reach here: a page beside it has the wheel.
            place.index.add(wheel, "itself")
            place.variables["PIP_FIND_LINKS"] = place.index.page("itself")
        with place.active():
            receipt = apply(offered, lambda plan: True, prove=None if id in PROVED else imported)
            assert receipt.state == "applied", receipt.why
            assert receipt.verification is not None and receipt.verification.verdict == "healthy"
            assert kit.doctor(place.python).verdict == "healthy"
            if not isinstance(place.shown, Attempt):
                assert not re.search(failure(id).shows, place.show())
            assert undo(receipt).state == "undone"
        assert re.search(failure(id).shows, place.show()), "it fails again"


@pytest.fixture(scope="session")
def torch_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lab's torch as a wheel, which only takes time where torch itself is what is to be installed."""
    folder = tmp_path_factory.mktemp("torch")
    with Throwaway() as place:
        made = place.repack("torch")
        return made.rename(folder / made.name)


def test_what_a_person_has_to_do_helps() -> None:
    """The variable that a finding names is the cause: without it the same code works."""
    with reproduce("library-shadowed") as place:
        (fix,) = kit.diagnose(place.facts())["library-shadowed"].fix
        assert fix.argv is not None and fix.argv[:3] == ("env", "-u", "LD_LIBRARY_PATH")
        with place.active():
            done = subprocess.run([os.path.expanduser(word) for word in fix.argv], capture_output=True, timeout=120)
        assert done.returncode == 0


# -- throwaway environments


def snapshot(folder: Path) -> dict[str, tuple[int, int, str]]:
    """Size, time and content of every file, byte code too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if stat.st_size < 1 << 20 else ""
            found[str(path)] = (stat.st_size, stat.st_mtime_ns, digest)
    return found


def test_the_base_stays_as_it_is_whatever_happens_to_what_is_shared() -> None:
    torch = kit.collect(probes=False).torch
    assert torch is not None
    base = Path(os.path.expanduser(torch.location))
    base = base if base.name == "torch" else base / "torch"
    library = base / "lib" / "libtorch_cpu.so"
    before, content = snapshot(base), hashlib.sha256(library.read_bytes()).hexdigest()
    with Throwaway() as place:
        place.share("torch")
        first = place.site / "torch" / "__init__.py"
        if place.site.stat().st_dev == library.stat().st_dev:
            assert (place.site / "torch" / "lib" / "libtorch_cpu.so").samefile(library)
        # Python writes byte code anew where the source has changed: beside the link, never into it.
        place.write(first, "raise SystemExit(3)\n")
        assert place.run("import torch").status == 3
        assert list((place.site / "torch" / "__pycache__").glob("__init__.*.pyc"))
        done = place.pip("uninstall", "--yes", "torch")
        assert done.status == 0 and not first.exists()
        assert "No module named 'torch'" in place.run("import torch").err
        folder = place.folder
    assert not folder.exists()
    assert snapshot(base) == before
    assert hashlib.sha256(library.read_bytes()).hexdigest() == content


def test_what_is_shared_comes_with_all_that_it_requires_and_works() -> None:
    with Throwaway() as place:
        place.share("networkx", "jinja2")
        assert place.run("import networkx, jinja2, markupsafe").status == 0
        names = {dist.key for dist in place.facts().distributions}
        assert names == {"networkx", "jinja2", "markupsafe"}
        assert place.run("import packaging").status != 0
        with pytest.raises(KitError, match="no-such-thing is not installed where the kit runs"):
            place.share("no-such-thing")


def test_a_session_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example.org/simple")
    before, folder = dict(os.environ), os.getcwd()
    with Throwaway() as place:
        place.variables["KIT_TEST"] = "1"
        with pytest.raises(ZeroDivisionError), place.active():
            assert os.environ["KIT_TEST"] == "1" and "PYTHONPATH" not in os.environ
            assert os.environ["VIRTUAL_ENV"] == str(place.folder / "venv")
            assert os.getcwd() == str(place.work)
            raise ZeroDivisionError
        assert (dict(os.environ), os.getcwd()) == (before, folder)
        outcome = place.run("import os, sys; print(os.environ.get('PIP_INDEX_URL'), sys.prefix)")
        assert outcome.out == f"None {place.folder / 'venv'}\n"


def test_its_pip_knows_one_index_and_no_network() -> None:
    with Throwaway() as place:
        place.index.add(place.wheel("kit-spam", "1.0", {"kit_spam.py": "x = 1\n"}))
        assert place.pip("install", "kit-spam").status == 0
        assert place.run("import kit_spam; assert kit_spam.x == 1").status == 0
        log = [(path, status) for _, path, status in place.index.log]
        assert any(path.endswith("/simple/kit-spam/") and status == 200 for path, status in log)
        outside = place.pip("install", "--index-url", "https://pypi.org/simple", "requests")
        assert outside.status == 1
        assert place.index.log[-1][0] == "CONNECT" and place.index.log[-1][2] == 403


def test_no_environment_is_left_behind_where_making_one_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("kit.throwaway.LocalIndex", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Throwaway()
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_the_message_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Throwaway() as place:
        with pytest.raises(KitError, match=r"x\.so was not compiled: .*error"):
            place.compile("no C at all", "x.so")
        monkeypatch.setenv("PATH", str(place.work))
        with pytest.raises(KitError, match="no C compiler"):
            place.compile("int x;", "x.so")


def test_what_cannot_be_reproduced_is_told() -> None:
    with (
        pytest.raises(KitError, match="gpu-arch-missing cannot be reproduced; what can: apex-amp-removed, "),
        reproduce("gpu-arch-missing"),
    ):
        pass


def test_reproduce_and_shows_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    import kit.failures.torch_broken as module

    monkeypatch.delattr(module, "SHOWS")
    with pytest.raises(ValueError, match="torch-broken: reproduce and SHOWS belong together"):
        failures._load(module)


# -- wheels and pages


def test_a_wheel_has_a_true_record_and_is_the_same_each_time() -> None:
    with Throwaway() as place:
        files = {"kit_spam/__init__.py": "x = 1\n", "kit_spam/data.bin": b"\x00\xff"}
        wheels = [place.wheel("kit-spam", "1.0+pt213cpu", files, tag=place.tag, requires=["torch"]) for _ in range(2)]
        assert wheels[0].read_bytes() == wheels[1].read_bytes()
        with zipfile.ZipFile(wheels[0]) as archive:
            record = archive.read("kit_spam-1.0+pt213cpu.dist-info/RECORD").decode().splitlines()
            assert {row.partition(",")[0] for row in record} == set(archive.namelist())
        place.install(wheels[0])
        dist = place.facts().distribution("kit-spam")
        assert dist is not None and (dist.version, dist.requires) == ("1.0+pt213cpu", ("torch",))
        code = "from importlib.metadata import distribution as d; f = d('kit-spam').files; print(all(map(ok, f)))"
        check = "def ok(f): return f.hash is None or f.size == f.locate().stat().st_size\n"
        assert place.run(check + code).out == "True\n"


def test_a_distribution_of_the_base_becomes_a_wheel_again() -> None:
    with Throwaway() as place:
        place.index.add(place.repack("networkx"))
        assert place.pip("install", "networkx").status == 0
        assert place.run("import networkx").status == 0


def test_pages_answer_as_pygs_server_does(tmp_path: Path) -> None:
    index = LocalIndex()
    try:
        wheel = tmp_path / "torch_scatter-2.1.2+pt213cpu-cp311-cp311-linux_x86_64.whl"
        wheel.write_bytes(b"wheel")
        index.add(wheel, "2.13.0+cpu")
        page = "/whl/torch-2.13.0%2Bcpu.html"
        status, text, _ = index.answer(page)
        href = "torch-2.13.0%2Bcpu/torch_scatter-2.1.2%2Bpt213cpu-cp311-cp311-linux_x86_64.whl"
        assert status == 200 and f'href="{href}"'.encode() in text
        assert index.answer(f"/whl/{href}") == (200, b"", str(wheel))
        assert index.answer("/whl/torch-2.13.0+cpu.html")[0] == 200
        for wrong in ("/whl/torch-2.13.0.html", "/whl/torch-2.13.0+${CUDA}.html", "/whl/torch-9.9.0%2Bcpu.html"):
            assert index.answer(wrong)[0] == 403
        assert index.page("2.15.0+cpu").endswith("/whl/torch-2.15.0+cpu.html")
        assert index.answer("/whl/torch-2.15.0+cpu.html")[0] == 200  # empty, as the page of torch 2.13 is for scatter
        assert index.answer("/simple/torch-scatter/")[0] == 404
        assert index.answer("/etc/passwd")[0] == index.answer("/files/..%2F..%2Fetc%2Fpasswd")[0] == 404
    finally:
        index.close()


# -- what is read out of a log is what pip said


def test_a_log_and_the_attempt_itself_give_the_same_finding() -> None:
    with reproduce("build-isolation") as place:
        assert isinstance(place.shown, Attempt)
        log = "\n".join([f"$ {' '.join(place.shown.argv)}", *place.shown.said])
        facts = place.facts()
    from_log = kit.diagnose(type(facts).from_dict({**facts.to_dict(), "attempt": _encoded(attempt.parse(log))}))
    assert [f.failure for f in from_log] == ["build-isolation"]
    assert from_log["build-isolation"].evidence == kit.diagnose(facts)["build-isolation"].evidence


def _encoded(it: Attempt) -> dict[str, object]:
    return {"argv": list(it.argv), "status": it.status, "said": list(it.said)}


@pytest.mark.skipif(sys.platform != "linux", reason="links between devices are looked at on Linux")
def test_files_are_copied_where_they_cannot_be_linked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    with Throwaway() as place:
        place.share("networkx")
        assert place.run("import networkx").status == 0
        own = place.site / "networkx" / "__init__.py"
        assert own.stat().st_nlink == 1


def test_a_process_that_has_imported_distutils_gets_no_warning() -> None:
    code = "import distutils, kit\nwith kit.reproduce('apex-wrong-package') as place: print(place)"
    run = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
