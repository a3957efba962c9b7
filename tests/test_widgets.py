"""The panels of the notebook: real widgets without a frontend, real repairs of throwaway environments."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import faults
import ipywidgets
import pytest
import repairs
from repairs import difference, install, step

import kit
from kit import widgets
from kit.errors import KitError
from kit.facts import About
from kit.findings import Finding, Findings, Fix
from kit.repair import Interrupted, Receipt, apply, free, undo
from kit.repair.choice import chosen, groups
from kit.repair.journal import Journal
from kit.repair.locking import lock
from kit.repair.plan import Plan, plan
from kit.widgets import kernel

ROOT = Path(__file__).resolve().parent.parent
HOSTILE = "<img src=x onerror=alert(1)>"
LIVE = About("live", "collected")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            patch.delenv(name)
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        made = faults.Bench(tmp_path_factory.mktemp("bench"), modules=3)
        yield made
        made.index.close()


@pytest.fixture
def easy(bench, monkeypatch):
    """Repairs of the bench's environment are judged healthy; the environment is as before after the test."""
    monkeypatch.setattr("kit.repair.examine_with", lambda facts: repairs.healthy)
    monkeypatch.setattr("kit.repair.verify", lambda python, progress=None: repairs.works(python))
    yield bench
    wrong = bench.undone()
    subprocess.run(["rm", "-rf", str(bench.place.folder / ".kit")], check=True)
    os.utime(bench.place.folder, ns=(bench.before["."][1],) * 2)
    assert wrong == []


def live(planned):
    return dataclasses.replace(planned, facts=dataclasses.replace(planned.facts, about=LIVE))


def two_steps(bench):
    """alpha 2.0 in place of 1.0, and gamma goes."""
    python = bench.place.python
    return live(
        repairs.plan(
            python,
            install(python, "--no-deps", "alpha==2.0", index=bench.index),
            step(python, "-m", "pip", "uninstall", "--yes", "gamma", package="gamma"),
        )
    )


def every(widget):
    """The widget and all below it, in the order in which the Tab key reaches them."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from every(child)


def named(panel, description):
    return next(w for w in every(panel) if getattr(w, "description", None) == description)


def html(panel):
    """All the HTML that a panel shows."""
    return "\n".join(w.value for w in every(panel) if isinstance(w, ipywidgets.HTML))


def words(panel):
    return " ".join(re.sub(r"<[^>]+>", " ", html(panel)).split())


def settled(panel, seconds=60):
    panel.thread.join(seconds)
    assert not panel.thread.is_alive()
    return words(panel)


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- every panel


def hostile_findings():
    fix = Fix("change-code-or-data", f"Do {HOSTILE}", (sys.executable, "-m", "pip", "install", HOSTILE), {}, "manual")
    facts = dataclasses.replace(kit.machine("healthy-cpu"), about=About(HOSTILE, "example"))
    python = dataclasses.replace(facts.python, version=f"3.11.7{HOSTILE}", executable=f"/opt/{HOSTILE}\n'/python")
    facts = dataclasses.replace(facts, python=python)
    found = Finding(
        "extension-broken", "error", HOSTILE, f"It is {HOSTILE}. More {HOSTILE}.", (f"{HOSTILE}: {HOSTILE}",), (fix,)
    )
    return Findings(facts, (found, dataclasses.replace(found, package="b")))


def hostile_plan():
    found = hostile_findings()
    one = step("python", "-m", "pip", "install", HOSTILE, package=HOSTILE)
    return Plan(found.facts, (dataclasses.replace(one, why=HOSTILE),), found.findings, (HOSTILE,))


def panels():
    facts = hostile_findings().facts
    return [
        widgets.doctor(hostile_findings()),
        widgets.repair(hostile_plan()),
        widgets.wheels(facts, ("torch-scatter",), offline=True),
        widgets.wheels(facts, (HOSTILE,), offline=True),
        widgets.explain(f"Traceback (most recent call last):\nModuleNotFoundError: No module named '{HOSTILE}'"),
        widgets.explain(f"ImportError: {HOSTILE}.so: undefined symbol: _ZN3c10{HOSTILE}", facts),
    ]


@pytest.mark.parametrize("number", range(6))
def test_hostile_text_is_shown_as_text(number):
    panel = panels()[number]
    for clicked in [
        w for w in every(panel) if isinstance(w, ipywidgets.Button) and w.description != "Restart kernel"
    ]:
        if not clicked.disabled:
            clicked.click()
    assert "<img" not in html(panel) and not re.search(r"<[^>]*\sonerror", html(panel))
    for widget in every(panel):
        assert HOSTILE not in getattr(widget, "description", "")


@pytest.mark.parametrize("number", range(6))
def test_the_text_stands_beside_the_widget(number):
    panel = panels()[number]
    bundle = panel._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
    assert bundle["text/plain"] == panel.text()
    assert "python -m kit" in panel.text() or "not carried out" in panel.text()
    assert ('role="alert"' in html(panel)) == ("\n\nError: " in panel.text()) == (number == 3)


def test_the_text_says_all():
    findings = kit.doctor(machine="gpu-arch-missing")
    text = widgets.doctor(findings).text()
    assert text.startswith(str(findings)) and text.endswith("python -m kit doctor --facts gpu-arch-missing")
    planned = plan(findings)
    assert widgets.repair(planned).text().startswith(str(planned))
    own = live(dataclasses.replace(planned, facts=kit.collect(probes=False)))
    assert widgets.repair(own).text().endswith("The same on the command line: python -m kit repair")
    wheels = widgets.wheels(kit.machine("healthy-gpu"), offline=True)
    wheels.children[0].children[0].value = "2.12"
    wheels.children[0].children[1].value = "cu126"
    named(wheels, "Find the wheel").click()
    assert wheels.text().splitlines()[-1].endswith("--facts healthy-gpu --torch 2.12 --cuda cu126 --offline")
    assert "torch 2.12" in wheels.text()
    said = widgets.explain("ImportError: libcudart.so.13: cannot open shared object file")
    assert said.text().startswith(str(kit.explain(said.area.value))) and "kit explain FILE" in said.text()
    assert "Paste" in widgets.explain().text()


def test_panels_are_made_of_flowing_parts():
    """Nothing has a width of its own in pixels, and every button is named by words."""
    for panel in panels():
        for widget in every(panel):
            layout = getattr(widget, "layout", None)
            for size in ("width", "min_width", "max_width") if layout else ():
                assert "px" not in (getattr(layout, size) or ""), widget
            if isinstance(widget, (ipywidgets.Button, ipywidgets.Checkbox, ipywidgets.Dropdown, ipywidgets.Textarea)):
                assert widget.description.strip()
        assert "background:#" not in html(panel) and not re.search(r"[;\"]color:#", html(panel))


def test_an_error_in_a_callback_is_shown_and_the_panel_stays_usable(monkeypatch):
    panel = widgets.explain()
    panel.area.value = "ImportError: no"
    real = kit.explain

    def broken(*arguments):
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr(kit, "explain", broken, raising=False)
    named(panel, "Explain").click()
    assert "Error: ZeroDivisionError: &lt;img" in html(panel).replace("</strong>", "").replace("<strong>", "")
    assert "please report it" in html(panel) and "in broken" in html(panel) and 'role="alert"' in html(panel)
    monkeypatch.setattr(kit, "explain", lambda *a: (_ for _ in ()).throw(KitError("one line")), raising=False)
    named(panel, "Explain").click()
    assert "Error: one line" in words(panel) and "report" not in words(panel)
    monkeypatch.setattr(kit, "explain", real, raising=False)
    named(panel, "Explain").click()
    assert "Error:" not in words(panel) and panel.said == str(kit.explain("ImportError: no"))


def test_kit_needs_no_widgets():
    code = 'import sys; sys.modules["ipywidgets"] = None; import kit.repair, kit.show, kit.explaining'
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# -- the doctor, the wheels, the explanation


def test_the_doctor_opens_one_finding_at_a_time_and_says_the_severity():
    panel, other = widgets.doctor(hostile_findings()), widgets.doctor(hostile_findings())
    lists = [re.findall(r'<details name="([\w-]+)"( open)?', html(one)) for one in (panel, other)]
    assert [opened for _, opened in lists[0]] == [" open", ""]
    assert len({name for name, _ in lists[0]}) == 1 and lists[0][0][0] != lists[1][0][0], "two panels do not meet"
    assert html(panel).count("error: <strong>") == 2
    assert '<details style="margin:0 0 10px"><summary style="cursor:pointer"><strong>How we know' in html(panel)


def test_the_doctor_leads_to_the_repair(monkeypatch):
    panel = widgets.doctor(kit.doctor(machine="gpu-arch-missing"))
    named(panel, "Plan the repair").click()
    assert "2 steps mend what was found" in words(panel) and named(panel, "Repair").disabled
    assert "2 steps mend" in panel.text() and named(panel, "Look again").disabled
    assert named(widgets.doctor(kit.doctor(machine="healthy-gpu")), "Plan the repair").disabled


def test_the_doctor_looks_again(monkeypatch):
    facts = dataclasses.replace(kit.machine("gpu-arch-missing"), about=LIVE)
    panel = widgets.doctor(kit.diagnose(facts))
    asked = []
    monkeypatch.setattr(
        kit, "doctor", lambda *a, **b: asked.append((a, b)) or kit.diagnose(kit.machine("healthy-gpu"))
    )
    named(panel, "Look again").click()
    assert asked == [((facts.python.executable,), {"gpu": None})] and "healthy" in words(panel)


def test_the_wheels_of_another_python_and_gpu():
    panel = widgets.wheels(kit.machine("healthy-gpu"), offline=True)
    assert "torch-scatter: " in words(panel)
    torch, cuda, python, gpu = panel.children[0].children
    python.value = "3.9"
    named(panel, "Find the wheel").click()
    assert panel.wanted().python.abi == "cp39" and "facts file of that machine" in panel.text()
    gpu.value = next(value for label, value in gpu.options if "5070" in label or value == "12.0")
    assert panel.wanted().host.gpus[0].capability == "12.0"
    torch.value, cuda.value = "1.13", "cu132"
    named(panel, "Find the wheel").click()
    assert "no wheel fits" in words(panel) or "Error" in words(panel)


def test_an_empty_paste_is_no_error():
    panel = widgets.explain()
    named(panel, "Explain").click()
    assert "paste the text first" in words(panel) and "Error" not in words(panel)


# -- the steps of a plan


def test_steps_that_belong_together_have_one_box():
    torch = plan(kit.doctor(machine="gpu-arch-missing"))
    assert groups(torch) == ((0, 1),)
    boxes = [w for w in every(widgets.repair(torch)) if isinstance(w, ipywidgets.Checkbox)]
    assert [box.description for box in boxes] == ["Steps 1 and 2, which belong together"]
    facts, apex = kit.machine("driver-too-old"), kit.machine("apex-wrong-package")
    facts = dataclasses.replace(
        facts,
        modules=(*facts.modules, *(m for m in apex.modules if m.name == "apex")),
        distributions=(*facts.distributions, *(d for d in apex.distributions if d.key == "apex")),
    )
    both = plan(kit.diagnose(facts))
    alone = next(n for n, s in enumerate(both.steps) if s.package == "apex")
    assert {frozenset(group) for group in groups(both)} == {
        frozenset({alone}),
        frozenset(set(range(len(both.steps))) - {alone}),
    }
    part = chosen(both, [alone])
    assert [s.package for s in part.steps] == ["apex"] and ("driver-too-old", "torch") in part.aside
    assert chosen(both, range(len(both.steps))) is both
    assert groups(Plan(facts)) == ()


def test_what_is_set_aside_does_not_count_against_a_repair(bench, easy):
    python = bench.place.python
    other = repairs.finding(package="omega")
    planned = repairs.plan(python, install(python, "--no-deps", "alpha==2.0", index=bench.index))
    examine = lambda python: Findings(repairs.facts(python), (other,))  # noqa: E731
    proofs = []

    def prove(python):
        proofs.append(python)
        return repairs.fails(python)

    refused = apply(planned, repairs.yes, examine=examine, prove=repairs.works)
    assert (refused.state, refused.why) == ("undone", "the repair made a new failure: omega is broken")
    aside = dataclasses.replace(planned, aside=(("extension-broken", "omega"),))
    receipt = apply(aside, repairs.yes, examine=examine, prove=prove)
    assert receipt.state == "applied" and len(proofs) == 2, "the check that fails after it failed before it"


# -- the repair


def test_a_repair_with_progress_verification_and_undo(bench, easy):
    panel = widgets.repair(two_steps(bench))
    assert not named(panel, "Repair").disabled and named(panel, "Undo").disabled and named(panel, "Cancel").disabled
    lines = []
    for state in panel.states:
        state.observe(lambda change: lines.append(re.sub(r"<[^>]+>", "", change["new"])), "value")
    named(panel, "Show the log").click()
    named(panel, "Repair").click()
    named(panel, "Repair").click()  # the second click is nothing
    shown = settled(panel)
    assert panel.receipt.state == "applied" and "repaired and verified" in shown and "import torch" in shown
    assert any(re.match(r"\[1/2\] downloading alpha.*0:0\d", line) for line in lines), lines
    assert any(line.startswith("[2/2] ") for line in lines) and lines.count("done") >= 2
    assert "pip" in panel.record.value and "alpha-2.0" in panel.record.value
    assert "applied: repaired and verified" in panel.text() and "import torch" in panel.text()
    assert named(panel, "Restart kernel").layout.display == "none", "another interpreter's packages"
    assert all(box.disabled for box in panel.boxes.values()) and named(panel, "Repair").disabled
    named(panel, "Undo").click()
    assert "as it was before" in settled(panel)
    assert difference(bench.before, bench.place.picture()) == []
    assert not named(panel, "Repair").disabled and named(panel, "Undo").disabled


def test_only_the_checked_steps_are_done(bench, easy):
    panel = widgets.repair(two_steps(bench))
    panel.boxes[(1,)].value = False
    named(panel, "Dry run").click()
    assert "These steps would be done" in words(panel) and not (bench.place.folder / ".kit").exists()
    named(panel, "Repair").click()
    assert "not chosen" in settled(panel)
    assert [s.argv[-1] for s in panel.receipt.steps] == [f"{bench.index.address}/simple/"]
    assert (bench.place.site / "gamma").exists()
    for box in panel.boxes.values():
        box.value = False
    panel.receipt = None
    named(panel, "Repair").click()
    assert "check at least one" in words(panel)


def test_cancel_takes_everything_back_at_once(bench, easy, monkeypatch):
    """While pip waits for an index that does not answer."""
    waiting, answer = threading.Event(), threading.Event()

    def hang(handler):
        waiting.set()
        answer.wait(30)

    bench.index.pages["/simple/alpha/"] = hang
    planned = two_steps(bench)
    panel = widgets.repair(dataclasses.replace(planned, steps=planned.steps[::-1]))
    named(panel, "Repair").click()
    assert waiting.wait(30), words(panel)
    assert not (bench.place.site / "gamma").exists(), "the first step is done"
    start = time.monotonic()
    named(panel, "Cancel").click()
    assert "Cancelling" in words(panel)
    shown = settled(panel)
    took = time.monotonic() - start
    answer.set()
    bench.index.pages.clear()
    assert took < 3 and panel.receipt.state == "undone" and panel.receipt.why == "cancelled"
    assert "as it was before" in shown and "taken back" in shown and "cancelled" in shown
    assert difference(bench.before, bench.place.picture()) == []
    assert not named(panel, "Repair").disabled


def test_cancel_during_the_verification(bench, easy, monkeypatch, tmp_path):
    """A check that takes long ends with its process."""
    monkeypatch.undo()
    monkeypatch.setattr("kit.repair.examine_with", lambda facts: repairs.healthy)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    torch = bench.place.site / "torch.py"
    torch.write_text(f"open({str(tmp_path / 'began')!r}, 'w').close(); import time; time.sleep(60)")
    try:
        panel = widgets.repair(two_steps(bench))
        named(panel, "Repair").click()
        wait_for((tmp_path / "began").exists)
        wait_for(lambda: "verifying import torch" in words(panel))
        start = time.monotonic()
        named(panel, "Cancel").click()
        settled(panel)
        assert time.monotonic() - start < 5 and panel.receipt.state == "undone"
    finally:
        torch.unlink()
        os.utime(bench.place.site, ns=(bench.before[os.path.relpath(bench.place.site, bench.place.folder)][1],) * 2)


def test_a_step_that_fails_is_told(bench, easy):
    bench.index.pages["/simple/alpha/"] = "<html>nothing</html>"
    panel = widgets.repair(two_steps(bench))
    named(panel, "Repair").click()
    shown = settled(panel)
    bench.index.pages.clear()
    assert panel.receipt.state == "nothing" and "nothing was changed" in shown and "not done" in shown


def test_a_repair_of_another_process_is_shown_not_fought(bench, easy):
    code = f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); from kit.repair.locking import lock\n"
    code += f"with lock({str(bench.place.folder)!r}): print('held', flush=True); time.sleep(60)"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        panel = widgets.repair(two_steps(bench))
        told = re.compile(rf"Error: a repair of this environment is under way \(pid {other.pid}, since \d\d:\d\d\)")
        assert told.search(words(panel))
        named(panel, "Dry run").click()
        assert told.search(words(panel))
        named(panel, "Repair").click()
        assert told.search(settled(panel)) and panel.receipt is None
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    named(panel, "Repair").click()
    assert "repaired and verified" in settled(panel)


def test_two_panels_of_one_kernel_do_not_meet(bench, easy):
    first, second = widgets.repair(two_steps(bench)), widgets.repair(two_steps(bench))
    with lock(str(bench.place.folder)):
        named(second, "Repair").click()
        assert f"under way (pid {os.getpid()}" in settled(second)
    assert "under way" not in words(first)


def test_an_interrupted_repair_can_be_undone(bench, easy):
    assert faults.at_boundary(bench, 6, after=True)
    with pytest.raises(Interrupted):
        free(bench.place.python)
    panel = widgets.repair(two_steps(bench))
    assert "was interrupted" in words(panel) and named(panel, "Repair").disabled
    named(panel, "Undo").click()
    assert "as it was before" in settled(panel) and not named(panel, "Repair").disabled
    assert difference(bench.before, bench.place.picture()) == []


def test_a_plan_of_a_recorded_machine_is_read_only(monkeypatch):
    monkeypatch.setattr(kit, "apply", pytest.fail, raising=False)
    panel = widgets.repair(plan(kit.doctor(machine="gpu-arch-missing")))
    assert named(panel, "Repair").disabled and "not carried out" in words(panel) and "not carried out" in panel.text()
    named(panel, "Dry run").click()
    assert "These steps would be done" in words(panel)


def test_the_thread_ends_with_the_kernel(bench):
    """A kernel that ends in the middle of a repair takes it back first."""
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "import dataclasses, os, repairs, time\n"
        "import kit.repair; from kit import widgets; from kit.facts import About\n"
        "kit.repair.examine_with = lambda facts: (lambda python: time.sleep(1) or repairs.healthy(python))\n"
        "p = {python!r}; plan = repairs.plan(p, repairs.step(p, '-m', 'pip', 'uninstall', '--yes', 'gamma'))\n"
        "facts = dataclasses.replace(plan.facts, about=About('live', 'collected'))\n"
        "panel = widgets.repair(dataclasses.replace(plan, facts=facts)); panel.go.click()\n"
        f"while os.path.exists({str(bench.place.site / 'gamma')!r}): time.sleep(0.01)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code.replace("{python!r}", repr(bench.place.python))], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (bench.place.site / "gamma").exists() and bench.undone() == []
    subprocess.run(["rm", "-rf", str(bench.place.folder / ".kit")], check=True)
    os.utime(bench.place.folder, ns=(bench.before["."][1],) * 2)


# -- the kernel afterwards


def own(monkeypatch, receipt_state="applied", stale=""):
    """The panel of a repair of this very interpreter, which is only played."""
    python = kit.collect(probes=False)
    planned = Plan(python, (step(sys.executable, "-m", "pip", "install", "alpha"),))
    receipt = Receipt("1", "", sys.executable, receipt_state, planned.steps)
    monkeypatch.setattr(kit, "apply", lambda plan, confirm, progress=None: receipt, raising=False)
    monkeypatch.setattr("kit.widgets.repairing.free", lambda python: None)
    monkeypatch.setattr(kernel, "stale", lambda packages: stale)
    return planned


def test_the_restart_is_offered_where_a_loaded_module_was_replaced_and_only_there(monkeypatch):
    planned = own(monkeypatch, stale="torch changed on disk after loading.")
    panel = widgets.repair(planned, retry="json", restart=lambda receipt: f"The kernel restarts {HOSTILE}")
    assert named(panel, "Restart kernel").layout.display == "none"
    named(panel, "Repair").click()
    assert "torch changed on disk after loading. Restart the kernel." in settled(panel)
    assert "import json" not in words(panel)
    assert named(panel, "Restart kernel").layout.display == ""
    named(panel, "Restart kernel").click()
    assert "The kernel restarts &lt;img" in html(panel)
    plain = widgets.repair(planned)
    named(plain, "Repair").click()
    assert "menu Kernel" in settled(plain) and named(plain, "Restart kernel").layout.display == "none"


def test_without_a_restart_the_import_is_tried_again(monkeypatch):
    panel = widgets.repair(own(monkeypatch), retry="json", restart=pytest.fail)
    named(panel, "Repair").click()
    assert "import json works now, in this kernel: run the cell again." in settled(panel)
    assert named(panel, "Restart kernel").layout.display == "none" and "import json works" in panel.text()


def test_an_import_is_tried_again(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    package = tmp_path / "kit_tried"
    package.mkdir()
    (package / "part.py").write_text("works = False\n")
    (package / "__init__.py").write_text(
        "from kit_tried import part\nif not part.works: raise OSError('no symbol')\n"
    )
    told = []
    assert kernel.imported("kit_tried", told.append) == (
        False,
        "import kit_tried still fails, also in a new process: OSError: no symbol",
    )
    assert told == ["Importing kit_tried again", "Importing kit_tried in a new process"]
    (package / "part.py").write_text("works = True  # another length\n")
    restart, said = kernel.imported("kit_tried", told.append)
    assert not restart and "works now" in said, "what was left of the failed import is not used again"
    monkeypatch.setitem(sys.modules, "kit_held", types.ModuleType("kit_held"))
    (tmp_path / "kit_held").mkdir()
    (tmp_path / "kit_held" / "__init__.py").write_text("")
    (tmp_path / "kit_held" / "new.py").write_text("")
    restart, said = kernel.imported("kit_held.new", told.append)
    assert restart and "works in a new process, and still fails in this kernel" in said
    with pytest.raises(KitError, match="not the name of a module"):
        kernel.imported("os; import evil", told.append)
    for name in [name for name in sys.modules if name.startswith("kit_tried")]:
        del sys.modules[name]


def test_a_stale_kernel_is_told(monkeypatch):
    stale = kit.machine("stale-kernel")
    monkeypatch.setattr(kernel, "collect", lambda probes: stale)
    assert "changed on disk after loading" in kernel.stale()
    monkeypatch.setattr(kernel, "collect", lambda probes: kit.machine("healthy-cpu"))
    assert kernel.stale() == ""


def test_the_journal_is_named_where_it_is_json(bench, easy):
    """What the panel holds of a repair is what the command line holds of it."""
    panel = widgets.repair(two_steps(bench))
    named(panel, "Repair").click()
    settled(panel)
    assert json.dumps(panel.receipt.to_dict()) and Journal(panel.receipt.path).state == "applied"
    assert undo(panel.receipt).state == "undone"


def test_what_was_built_anew_with_the_same_version_needs_a_restart_where_it_is_loaded(monkeypatch):
    assert kernel.stale(("kit-never-loaded",)) == ""
    monkeypatch.setitem(sys.modules, "kit_loaded", types.ModuleType("kit_loaded"))
    assert "has loaded the kit_loaded that was replaced" in kernel.stale(("kit-never-loaded", "kit-loaded"))
