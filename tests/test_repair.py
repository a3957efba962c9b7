"""A repair mends, or leaves the environment exactly as it was: real pip, real wheels, a local index, real faults."""

import contextlib
import dataclasses
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import faults
import pytest
import repairs
from repairs import difference, fails, finding, healthy, install, package, picture, plan, step, wheel, works, yes

from kit import build as build_module
from kit.errors import KitError
from kit.facts import Binary
from kit.findings import Findings
from kit.repair import Tick, apply, discard, undo
from kit.repair.journal import Journal, journals
from kit.xray import File, XRay

pytestmark = pytest.mark.slow
NEVER = pytest.fail


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        made = faults.Bench(tmp_path_factory.mktemp("bench"), modules=10)
        yield made
        made.index.close()


@pytest.fixture(autouse=True)
def as_before(bench):
    """Every test leaves the environment as it was, and its index without pages of its own."""
    yield
    bench.index.pages.clear()
    for journal in journals(str(bench.place.folder)):
        journal.undo(force=True)
    wrong = difference(bench.before, bench.place.picture())
    shutil.rmtree(bench.place.folder / ".kit", ignore_errors=True)
    time_of_prefix = bench.before["."][1]
    os.utime(bench.place.folder, ns=(time_of_prefix, time_of_prefix))
    if wrong:
        restore(bench)
    assert wrong == []


def run(bench, *steps, **more):
    more = {"examine": healthy, "prove": works, **more}
    return apply(plan(bench.place.python, *steps, left=more.pop("left", ())), more.pop("confirm", yes), **more)


def to_alpha_2(bench, **more):
    return run(bench, install(bench.place.python, "--no-deps", "alpha==2.0", index=bench.index), **more)


def version(bench, name):
    code = f"import {name}; print({name}.__version__)"
    return subprocess.run([bench.place.python, "-I", "-c", code], capture_output=True, text=True).stdout.strip()


def test_a_plan_is_carried_out_and_taken_back(bench):
    ticks = []
    receipt = bench.apply(progress=ticks.append)
    assert (receipt.state, receipt.why, len(receipt.steps)) == ("applied", "", 5)
    site = bench.place.site
    assert (version(bench, "alpha"), version(bench, "beta"), version(bench, "gamma")) == ("2.0", "1.0", "")
    assert (site / "stray.aside" / "mine.txt").exists() and not (site / "stray").exists()
    assert not (site / "~lpha-0.9.dist-info").exists() and (site / "~lpha").exists()
    assert not (site / "alpha-2.0.dist-info" / "direct_url.json").exists(), "as if it came from the index"
    assert [t.step for t in ticks] == sorted(t.step for t in ticks) and {t.steps for t in ticks} == {5}
    assert {t.what for t in ticks} >= {"resolving", "downloading", "checking", "keeping", "installing", "verifying"}
    data = receipt.to_dict()
    assert (data["state"], data["verification"]["verdict"], data["steps"][2]["package"]) == (
        "applied",
        "healthy",
        "alpha",
    )
    kept = {p.name for p in os.scandir(receipt.path)}
    assert not kept & {"wheels", "tmp", "reserve", "pip"}

    taken = undo(receipt)
    assert (taken.state, taken.why, taken.notes) == ("undone", "", ())
    assert difference(bench.before, bench.place.picture()) == []
    assert undo(receipt).why == "it was undone before"
    assert "Uninstalling alpha-1.0" in Path(receipt.log).read_text()


def test_a_dry_run_writes_nothing(bench):
    asked = []
    receipt = bench_plan_no(bench, asked)
    assert (receipt.state, receipt.path) == ("nothing", "")
    assert [type(one).__name__ for one in asked] == ["Plan"]
    assert not (bench.place.folder / ".kit").exists()
    assert run(bench, confirm=NEVER).why == "the plan has no steps"


def bench_plan_no(bench, asked):
    return to_alpha_2(bench, confirm=lambda shown: asked.append(shown) is not None)


@pytest.mark.parametrize("how", ["dependencies", "uninstall"])
def test_steps_of_other_kinds(bench, how):
    python = bench.place.python
    if how == "dependencies":
        wheel(bench.index.folder, "needs", "1.0", {"needs.py": ""}, requires=["alpha>=2", "delta"])
        receipt = run(bench, install(python, "needs", index=bench.index, package="needs"))
        assert version(bench, "alpha") == "2.0"
        assert {p.name for p in bench.place.site.glob("delta-*")} == {"delta-1.0.dist-info"}
        changed = next(e for e in Journal(receipt.path).events() if e["event"] == "change")
        assert sorted(changed["packages"]) == ["alpha", "needs"], "delta was there"
    else:
        receipt = run(bench, step(python, "-m", "pip", "uninstall", "--yes", "alpha", "not-there"))
        assert version(bench, "alpha") == ""
    assert receipt.state == "applied"
    undo(python=python)


def test_a_repair_that_does_not_help_is_taken_back(bench):
    cases = {
        "the repair did not help: alpha is broken": {"examine": lambda p: Findings(healthy(p).facts, (finding(),))},
        "the repair made a new failure: omega is broken": {
            "examine": lambda p: Findings(healthy(p).facts, (finding(package="omega"),))
        },
        "a check fails after the repair: matmul on cpu: wrong values": {"prove": fails},
    }
    for why, judges in cases.items():
        receipt = to_alpha_2(bench, **judges)
        assert (receipt.state, receipt.why) == ("undone", why)
        assert difference(bench.before, bench.place.picture()) == []
    assert [c.name for c in receipt.verification.checks if c.ok is False] == ["matmul on cpu"]


def test_what_is_left_to_a_person_does_not_count_against_a_repair(bench):
    left = (finding("driver-too-old", None),)
    receipt = to_alpha_2(bench, left=left, examine=lambda p: Findings(healthy(p).facts, left), prove=fails)
    assert receipt.state == "applied"
    undo(receipt)
    answers = iter([works, fails])
    receipt = to_alpha_2(bench, left=left, prove=lambda python: next(answers)(python))
    assert (receipt.state, receipt.why) == ("undone", "a check fails after the repair: matmul on cpu: wrong values")
    note = (finding("some-note", "omega", "note"),)
    assert to_alpha_2(bench, examine=lambda p: Findings(healthy(p).facts, note)).state == "applied"


def test_a_step_that_fails_takes_back_those_before_it(bench):
    python = bench.place.python
    receipt = run(
        bench,
        install(python, "--no-deps", "alpha==2.0", index=bench.index),
        install(python, "--no-deps", "alpha==99", index=bench.index),
    )
    assert receipt.state == "undone" and len(receipt.steps) == 1
    assert "No matching distribution found for alpha==99" in receipt.why


def page(bench, body):
    bench.index.pages["/simple/alpha/"] = f"<!DOCTYPE html><html><body>{body}</body></html>"


def link(bench, name="alpha-2.0-py3-none-any.whl", sha256=None, address=None):
    digest = sha256 or hashlib.sha256((bench.index.folder / "alpha-2.0-py3-none-any.whl").read_bytes()).hexdigest()
    return f'<a href="{address or "/" + name}#sha256={digest}">{name}</a>'


def cut(handler):
    """A connection that breaks off in the middle of a wheel."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"PK" * 2000)
    handler.wfile.flush()
    handler.connection.close()


def hostile(bench, kind, tmp_path):
    whole = (bench.index.folder / "alpha-2.0-py3-none-any.whl").read_bytes()
    served = "/alpha-2.0-py3-none-any.whl"

    def serve(body):
        def answer(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)

        bench.index.pages[served] = answer

    if kind == "wrong hash":
        page(bench, link(bench, sha256="0" * 64))
    elif kind == "corrupt":
        broken = bytearray(whole)
        middle = whole.index(b"PK\x03\x04", 500) + 60
        broken[middle : middle + 8] = b"\xff" * 8
        serve(bytes(broken))
        page(bench, link(bench, sha256=hashlib.sha256(bytes(broken)).hexdigest()))
    elif kind == "no zip":
        serve(b"<html>sign in to the network</html>")
        page(bench, f'<a href="{served}">{served[1:]}</a>')
    elif kind == "cut":
        bench.index.pages[served] = cut
    elif kind == "another's metadata":
        other = wheel(
            tmp_path, "alpha", "2.0", {"a.py": ""}, metadata="Metadata-Version: 2.1\nName: beta\nVersion: 3\n"
        )
        serve(other.read_bytes())
        page(bench, f'<a href="{served}">{served[1:]}</a>')
    elif kind == "leads out":
        other = wheel(tmp_path, "alpha", "2.0", {"../../../../evil.py": ""})
        serve(other.read_bytes())
        page(bench, f'<a href="{served}">{served[1:]}</a>')
    elif kind == "javascript and file links":
        local = wheel(tmp_path, "alpha", "3.0", {"a.py": ""})
        page(
            bench,
            link(bench, "alpha-2.0-py3-none-any.whl", address="javascript:alert(1)//alpha-2.0-py3-none-any.whl")
            + link(bench, "alpha-2.0-py3-none-any.whl", address=f"file://{local}"),
        )
    elif kind == "source only":
        page(bench, '<a href="/alpha-2.0.tar.gz">alpha-2.0.tar.gz</a>')
    elif kind == "no such page":
        bench.index.pages["/simple/alpha/"] = lambda handler: handler.send_error(403)
    elif kind == "redirect":
        other = repairs.Index(tmp_path)

        def answer(handler):
            handler.send_response(302)
            handler.send_header("Location", f"{other.address}/alpha-2.0-py3-none-any.whl")
            handler.end_headers()

        bench.index.pages[served] = answer


HOSTILE = {
    "wrong hash": "DO NOT MATCH THE HASHES|Expected sha256 0000",
    "corrupt": "is damaged|has an invalid|bad|Error",
    "no zip": "is damaged|invalid|zip",
    "cut": "pip download failed",
    "another's metadata": "inconsistent|says of itself that it is beta 3|beta",
    "leads out": "leads out of the environment",
    "javascript and file links": "pip download failed",
    "source only": "No matching distribution",
    "no such page": "No matching distribution",
    "redirect": "404",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_an_index_may_do(bench, kind, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_RETRIES", "0")
    hostile(bench, kind, tmp_path)
    receipt = to_alpha_2(bench, examine=NEVER, prove=NEVER)
    assert receipt.state == "nothing"
    assert repairs.re_search(HOSTILE[kind], receipt.why), receipt.why
    assert "Traceback" not in receipt.why and len(receipt.why) < 600
    assert difference(bench.before, bench.place.picture()) == []
    assert not (bench.place.folder.parent / "evil.py").exists()


def test_boundaries_at_which_it_is_killed(bench):
    """Some of what ``python tests/faults.py`` does in full."""
    for number in (1, 3, 5, 7, 9, 12, 15):
        assert faults.at_boundary(bench, number, after=True)
        assert bench.undone() == [], f"killed after line {number}"


@pytest.mark.parametrize("whom, times", [("all", 4), ("kit", 1), ("pip", 1)])
def test_instants_at_which_it_is_killed(bench, whom, times):
    for name, left in faults.instants(bench, times, random.Random(times), whom):
        assert left == [], f"killed after {name}"


def test_undo_that_is_killed_is_done_again(bench):
    for name, left in (*faults.undo_boundaries(bench), *faults.undo_instants(bench, 1, random.Random(5))):
        assert left == [], name


def test_after_a_kill_the_next_repair_asks_for_undo(bench):
    assert faults.at_boundary(bench, 5, after=True)
    with pytest.raises(
        KitError, match=r"was interrupted \(\d{8}-.*\); restore it first: kit undo --python .*/bin/python"
    ):
        to_alpha_2(bench, confirm=NEVER)
    with pytest.raises(KitError, match="interrupted"):
        discard(python=bench.place.python)
    assert undo(python=bench.place.python).state == "undone"
    assert to_alpha_2(bench).state == "applied"


def test_a_kill_before_any_change_is_in_nobodys_way(bench):
    assert faults.at_boundary(bench, 2, after=True)
    assert journals(str(bench.place.folder))[0].state == "nothing"
    assert to_alpha_2(bench).state == "applied"
    assert len(journals(str(bench.place.folder))) == 1, "what was left of the first one is gone"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_to_end_takes_the_repair_back_first(bench, number):
    def work():
        def once(tick):
            if tick.what == "installing" and not asked:
                asked.append(tick)
                os.kill(os.getpid(), number)

        asked = []
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            bench.apply(progress=once)
        except KeyboardInterrupt:
            os._exit(77)

    status = os.waitpid(bench.child(work), 0)[1]
    assert (os.WTERMSIG(status) if number == signal.SIGTERM else os.WEXITSTATUS(status)) in (signal.SIGTERM, 77)
    assert [journal.state for journal in journals(str(bench.place.folder))] == ["undone"]
    assert difference(bench.before, bench.place.picture()) == []


def test_two_repairs_cannot_meet(bench):
    going, met = threading.Event(), []

    def second(tick):
        if tick.what == "installing" and not going.is_set():
            going.set()
            done = subprocess.run(
                [sys.executable, "-c", other.format(bench.place.python)], capture_output=True, text=True, env=environ
            )
            met.append(done.stdout)

    other = """
import repairs
from kit.repair import apply, undo
from kit.errors import KitError
plan = repairs.plan({0!r}, repairs.step("rm", "-r", "/nowhere"))
for work in (lambda: apply(plan, None), lambda: undo(python={0!r})):
    try:
        work()
    except KitError as error:
        print(error)
"""
    folders = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    assert bench.apply(progress=second).state == "applied"
    lines = met[0].splitlines()
    assert len(lines) == 2 and all(f"is under way (pid {os.getpid()}, since " in line for line in lines)


def test_undo_refuses_to_lose_what_was_done_since(bench):
    receipt = to_alpha_2(bench)
    mine = bench.place.site / "alpha" / "m0.py"
    mine.write_text("my own change")
    with pytest.raises(KitError, match=r"changed since the repair: .*alpha/m0\.py; .*--force"):
        undo(receipt)
    assert mine.read_text() == "my own change"
    assert undo(receipt, force=True).state == "undone"


def test_repairs_are_taken_back_latest_first(bench):
    first = to_alpha_2(bench)
    middle = bench.place.picture()
    time.sleep(1.1)  # the name of a repair counts seconds
    second = run(bench, install(bench.place.python, "--no-deps", "beta", index=bench.index))
    assert undo(python=bench.place.python).id == second.id
    assert difference(middle, bench.place.picture()) == []
    assert undo(python=bench.place.python).id == first.id
    assert undo(python=bench.place.python).why == "it was undone before"


def test_what_is_kept_can_be_dropped(bench):
    receipt = to_alpha_2(bench)
    after = bench.place.picture()
    discard(receipt)
    assert not os.path.exists(receipt.path)
    with pytest.raises(KitError, match="nothing to undo"):
        undo(python=bench.place.python)
    with pytest.raises(KitError, match="was discarded"):
        undo(receipt)
    assert difference(after, bench.place.picture()) == []
    again = run(bench, install(bench.place.python, "--no-deps", "alpha==1.0", index=bench.index))
    assert again.state == "applied"
    restore(bench)


def restore(bench):
    """Make everything anew."""
    bench.close()
    bench.__init__(bench.folder, modules=10)


def test_variables_and_configuration_do_not_lead_an_installation_elsewhere(bench, tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text(
        f"[install]\ntarget = {tmp_path}/elsewhere\n[global]\nindex-url = {bench.index.address}/simple/\n"
        "require-virtualenv = true\nuser = true\n"
    )
    (tmp_path / "alpha.py").write_text("raise SystemExit('imported from PYTHONPATH')")
    (tmp_path / "pip.py").write_text("raise SystemExit('imported from PYTHONPATH')")
    for name, value in {
        "PIP_CONFIG_FILE": tmp_path / "pip.conf",
        "PIP_TARGET": tmp_path / "elsewhere",
        "PIP_PREFIX": tmp_path / "elsewhere",
        "PIP_USER": "1",
        "PYTHONPATH": tmp_path,
        "PIP_NO_BINARY": ":all:",
        "PIP_DRY_RUN": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }.items():
        monkeypatch.setenv(name, str(value))
    receipt = run(bench, install(bench.place.python, "--no-deps", "alpha==2.0"))
    assert receipt.why == "" and receipt.state == "applied"
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.delenv("PYTHONPATH")
    assert version(bench, "alpha") == "2.0"


def test_credentials_stay_out_of_the_log_and_of_messages(bench, monkeypatch):
    secret = bench.index.address.replace("http://", "http://me:s3cret@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{secret}/simple/")
    receipt = run(bench, install(bench.place.python, "--no-deps", "alpha==2.0"))
    assert receipt.state == "applied"
    bad = run(bench, install(bench.place.python, "--no-deps", "alpha==98", "--extra-index-url", f"{secret}/simple/"))
    assert bad.state == "nothing"
    for text in (Path(receipt.log).read_text(), bad.why):
        assert "s3cret" not in text and text


def test_a_step_for_a_person_is_refused_before_anything(bench):
    python = bench.place.python
    for argv, said in (
        (("conda", "install", "x"), "for a person"),
        ((python, "-m", "pip", "install", "-r", "x.txt"), "cannot be undone"),
        ((python, "-m", "pip", "install", "--target", "/x", "y"), "cannot be undone"),
        (("mv", "/home/<user>/project/torch.py", "/tmp/aside"), "not a whole path"),
    ):
        with pytest.raises(KitError, match=said):
            run(bench, step(*argv), confirm=NEVER)


def test_paths_that_must_not_be_moved(bench, tmp_path):
    site, prefix = bench.place.site, str(bench.place.folder)
    (tmp_path / "there").write_text("")
    for argv, said in (
        (("rm", "-r", prefix), "holds the environment itself"),
        (("rm", "-r", str(site)), "holds the environment itself"),
        (("rm", "-r", os.path.expanduser("~")), "holds the environment itself"),
        (("mv", str(site / "stray"), str(tmp_path / "there")), "exists"),
        (("mv", str(site / "nowhere"), str(tmp_path / "new")), "is not there any more"),
    ):
        receipt = run(bench, step(*argv))
        assert receipt.state == "nothing" and said in receipt.why


def test_a_home_folder_stands_for_itself(bench, monkeypatch):
    monkeypatch.setenv("HOME", str(bench.folder))
    relative = "~/" + os.path.relpath(bench.place.site / "stray", bench.folder)
    receipt = apply(
        plan("~/venv/bin/python", step("mv", relative, relative + ".aside")), yes, examine=healthy, prove=works
    )
    assert receipt.state == "applied" and receipt.python == "~/venv/bin/python"
    assert (bench.place.site / "stray.aside").exists()
    undo(receipt, python=receipt.python)


def test_what_progress_says(bench):
    big = wheel(bench.index.folder, "big", "1.0", {"big.bin": os.urandom(4_000_000)})
    ticks = []
    receipt = run(bench, install(bench.place.python, "--no-deps", "big", index=bench.index), progress=ticks.append)
    assert receipt.state == "applied"
    assert all(isinstance(tick, Tick) and tick.elapsed >= 0 for tick in ticks)
    down = [tick for tick in ticks if tick.what == "downloading"]
    assert {tick.unit for tick in down} == {"bytes"}
    assert max(tick.total or 0 for tick in down) in (0, pytest.approx(os.path.getsize(big), rel=0.1))
    keeping = [tick for tick in ticks if tick.what == "keeping"]
    assert keeping and {tick.unit for tick in keeping} == {"files"}
    undo(receipt)
    big.unlink()


def test_a_progress_function_that_fails_takes_the_repair_back(bench):
    def broken(tick):
        if tick.what == "verifying":
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        to_alpha_2(bench, progress=broken)
    assert difference(bench.before, bench.place.picture()) == []
    assert journals(str(bench.place.folder))[0].state == "undone"


@contextlib.contextmanager
def small_disk(folder, megabytes):
    folder.mkdir()
    size = f"size={megabytes}m"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(bench, tmp_path):
    """The disk is nearly full at the start, by less and less, so that it fills at every place in turn."""
    alpha = package(tmp_path, "alpha", "1.0", size=200_000)
    package(bench.index.folder, "alpha", "3.0", modules=8, size=300_000)
    states = set()
    with small_disk(tmp_path / "disk", 24):
        place = repairs.Place(tmp_path / "disk" / "venv", alpha)
        shutil.rmtree(place.folder / "include", ignore_errors=True)
        before = picture(place.folder)
        the_plan = plan(place.python, install(place.python, "--no-deps", "alpha==3.0", index=bench.index))
        filler = tmp_path / "disk" / "filler"
        room = shutil.disk_usage(tmp_path / "disk").free
        for left in (0, 100_000, 2_000_000, 11_500_000, 12_500_000, 13_500_000, room):
            with open(filler, "wb") as stream:
                stream.write(b"x" * max(0, shutil.disk_usage(tmp_path / "disk").free - left))
            receipt = apply(the_plan, yes, examine=healthy, prove=works)
            states.add(receipt.state)
            if receipt.state == "applied":
                with open(filler, "ab") as stream, contextlib.suppress(OSError):
                    stream.write(b"x" * shutil.disk_usage(tmp_path / "disk").free)
                receipt = undo(receipt)
                assert receipt.notes == ()
            else:
                assert repairs.re_search("[Nn]o space|failed", receipt.why), receipt.why
            assert receipt.state in ("nothing", "undone") and difference(before, picture(place.folder)) == []
            filler.unlink()
    assert states >= {"nothing", "applied"}, states


def wheel_of_c(bench, tmp_path):
    """A wheel with a compiled file of no meaning, which X-ray is told about."""
    wheel(bench.index.folder, "alpha", "4.0", {"alpha/_c.so": b"\x7fELF" + b"\0" * 60, "alpha/__init__.py": ""})


@pytest.mark.parametrize(
    "needs, loads, code, runs, said",
    [
        (("libtorch.so",), False, (), None, "would not load here (undefined symbol x)"),
        ((), None, ("sm_50",), False, "has no code for this GPU (undefined symbol x)"),
        (("libtorch.so",), True, ("sm_90",), True, ""),
        ((), False, (), None, ""),
    ],
)
def test_a_wheel_is_xrayed_before_it_is_installed(bench, tmp_path, monkeypatch, needs, loads, code, runs, said):
    wheel_of_c(bench, tmp_path)
    binary = Binary("alpha/_c.so", needs=needs, loads=loads, architectures=code, why=("undefined symbol x",))
    asked = []

    def xray(path, against, gpu):
        asked.append((os.path.basename(path), against, gpu))
        return XRay((File(binary, runs, binary.why),), "torch")

    monkeypatch.setattr("kit.repair.change.xray", xray)
    receipt = run(bench, install(bench.place.python, "--no-deps", "alpha==4.0", index=bench.index))
    assert asked == [("alpha-4.0-py3-none-any.whl", bench.place.python, None)]
    assert (receipt.state == "applied") is not bool(said)
    assert said in receipt.why


def test_a_build_goes_through_the_kits_own_function(bench, tmp_path, monkeypatch):
    built = wheel(tmp_path, "alpha", "2.5", {"alpha/__init__.py": "__version__ = '2.5'\n"})
    asked, ticks = [], []

    def build(package, version, python, *, env, architectures, origin, pip, progress, log):
        asked.append((package, version, python, env["FORCE_CUDA"], architectures))
        assert bench.index.address in origin, "a wheel made of another index's source is another wheel"
        progress(build_module.Moment("compiling", 1, 3, 2.0, 30.0))
        return build_module.Built(str(built), 2.0, False)

    monkeypatch.setattr(build_module, "build", build)
    monkeypatch.setenv("PIP_INDEX_URL", f"{bench.index.address}/simple/")
    python = bench.place.python
    argv = (python, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-binary=alpha", "alpha==2.5")
    one = dataclasses.replace(step(*argv), env={"FORCE_CUDA": "1"})
    receipt = run(bench, one, progress=ticks.append)
    assert (receipt.state, version(bench, "alpha")) == ("applied", "2.5")
    assert asked == [("alpha", "2.5", python, "1", [])]
    (compiling,) = [tick for tick in ticks if tick.what == "compiling"]
    assert (compiling.done, compiling.total, compiling.usual) == (1, 3, 30.0)
    assert built.exists()
    vague = step(*argv[:-1], "alpha>=2")
    assert "of an exact version" in run(bench, vague).why


def test_a_receipt_can_be_named(bench):
    receipt = to_alpha_2(bench)
    with pytest.raises(KitError, match="is called 20200101-000000-aaaa"):
        undo("20200101-000000-aaaa", bench.place.python)
    with pytest.raises(KitError, match="of no repair that is kept"):
        undo(str(bench.folder / "nowhere"))
    assert undo(receipt.id, bench.place.python).id == receipt.id
    second = to_alpha_2(bench)
    assert undo(second.path).state == "undone"
