"""Plans: which steps are offered, in which order, and which are not because of what they would leave or make."""

import dataclasses

import pytest

import kit
from kit.agreement import agreement
from kit.diagnose import diagnose
from kit.errors import KitError
from kit.facts import Attempt, Driver, Extension, Gpu
from kit.findings import Finding, Findings, Fix
from kit.repair.plan import key, plan
from kit.repair.simulate import Change, Pin, change, simulate

EXE = "/opt/venv/bin/python"


def pip(*words):
    return (EXE, "-m", "pip", *words)


def trouble(facts):
    return {key(f) for f in diagnose(facts) if f.severity != "note"}


def replay(offered):
    """The facts after the steps of a plan."""
    facts = offered.facts
    for step in offered.steps:
        found = next(f for f in diagnose(facts) if (f.failure, f.package) == (step.failure, step.package))
        facts = simulate(facts, step.argv, step.env, found)
        assert key(found) not in trouble(facts)
    return facts


@pytest.mark.parametrize("name", kit.machines())
def test_a_plan_leaves_only_what_it_says_that_it_leaves(name):
    findings = kit.doctor(machine=name)
    offered = plan(findings)
    assert trouble(replay(offered)) == {key(f) for f in offered.left}
    assert {key(f) for f in offered.left} <= trouble(findings.facts)
    for step in offered.steps:
        assert step.cost.undo and step.safety != "manual" and step.argv


def test_a_healthy_machine_needs_no_step():
    offered = plan(kit.doctor(machine="healthy-gpu"))
    assert (offered.steps, offered.left) == ((), ())
    assert "nothing to mend" in str(offered)


def test_torch_first_then_what_was_compiled_for_the_one_before():
    offered = plan(kit.doctor(machine="gpu-arch-missing"))
    assert [step.package for step in offered.steps] == ["torch", "torch_scatter"]
    torch, scatter = offered.steps
    assert torch.argv[-1].endswith("/cu126")  # a V100: no build for CUDA 13 has its code
    assert "torch-scatter==2.1.2+pt212cu126" in scatter.argv and "--only-binary=:all:" in scatter.argv
    assert any("torch-2.12.0+cu126.html" in word for word in scatter.argv)


def test_a_fix_that_leaves_its_finding_is_not_taken():
    offered = plan(kit.doctor(machine="apex-amp-removed"))
    assert [step.kind for step in offered.steps] == ["uninstall-package"]
    assert any("transformers" in reason and "still be found" in reason for reason in offered.refused)


def test_a_torch_that_would_strand_an_extension_is_not_offered():
    """Nothing is known that brings `spam` in line with another torch: so torch stays, and the finding is left."""
    facts = kit.machine("gpu-arch-missing")
    location = facts.torch.location
    spam = Extension(
        "spam", "1.0", "spam-1.0.dist-info", location, ("spam",), built_for_torch="2.13", built_for_cuda="13.0"
    )
    facts = dataclasses.replace(facts, extensions=(*facts.extensions, spam))
    offered = plan(diagnose(facts))
    assert offered.steps == ()
    assert [finding.failure for finding in offered.left] == ["gpu-arch-missing"]


def test_only_one_failure_and_what_its_steps_bring_about():
    facts = kit.machine("driver-too-old")
    wrong = kit.machine("apex-wrong-package")
    apex = [m for m in wrong.modules if m.name == "apex"]
    dist = [d for d in wrong.distributions if d.key == "apex"]
    facts = dataclasses.replace(facts, modules=(*facts.modules, *apex), distributions=(*facts.distributions, *dist))
    findings = diagnose(facts)
    assert {f.failure for f in findings} >= {"driver-too-old", "apex-wrong-package"}
    assert [s.package for s in plan(findings, "driver-too-old").steps] == ["torch", "torch_scatter"]
    assert [s.package for s in plan(findings, "apex-wrong-package").steps] == ["apex"]
    assert plan(findings, "apex-wrong-package").left == ()
    with pytest.raises(KitError, match=r"numpy-abi was not found here.*driver-too-old"):
        plan(findings, "numpy-abi")


def test_where_a_wheel_cannot_be_had_the_next_fix_is_taken():
    findings = kit.doctor(machine="torchaudio-of-another-torch")
    assert plan(findings).steps[0].kind == "install-matching-wheel"
    offered = plan(findings, refuse=lambda facts, fix: "not on the page" if "wheel" in fix.kind else None)
    assert all(step.kind != "install-matching-wheel" for step in offered.steps)
    assert any("not on the page" in reason for reason in offered.refused)
    assert [f.failure for f in offered.left] == ["extension-torch-mismatch"]


def test_where_torch_scatter_has_no_wheel_the_kits_own_is_the_first_step():
    facts = kit.machine("rtx5070ti-cpu-only-scatter")
    offered = plan(diagnose(facts))
    assert [(s.failure, s.kind) for s in offered.steps] == [("extension-cpu-only", "use-replacement")]
    assert offered.steps[0].argv[-1] == "--cover" and offered.left == ()
    after = replay(offered)
    assert after.replacement("torch-scatter").version == "2.1.2+kit" and after.extension("torch-scatter") is None
    ours = plan(diagnose(facts), refuse=lambda facts, fix: "not ours" if fix.kind == "use-replacement" else None)
    assert [step.kind for step in ours.steps] == ["rebuild-extension"]


def test_the_kits_own_ends_an_attempt_to_install_torch_scatter_and_of_no_sibling():
    facts = dataclasses.replace(kit.machine("wheel-not-published"), distributions=(), modules=())
    (step,) = plan(diagnose(facts)).steps
    assert step.kind == "use-replacement" and "--cover" not in step.argv
    said = tuple(line.replace("torch-scatter", "torch-sparse") for line in facts.attempt.said)
    argv = tuple(word.replace("torch-scatter", "torch-sparse") for word in facts.attempt.argv)
    sparse = dataclasses.replace(facts, attempt=dataclasses.replace(facts.attempt, argv=argv, said=said))
    assert [step.kind for step in plan(diagnose(sparse)).steps] == ["rebuild-extension"]


def with_ours(facts):
    """The machine with the kit's torch_scatter in place of its own, as it is collected."""
    old = facts.extension("torch-scatter")
    dists = [
        dataclasses.replace(d, version="2.1.2+kit", compiled=None) if d.key == "torch-scatter" else d
        for d in facts.distributions
    ]
    ours = Extension(
        old.package,
        "2.1.2+kit",
        "torch_scatter-2.1.2+kit.dist-info",
        old.location,
        old.modules,
        requires_torch=("torch",),
        wheel_tags=("py3-none-any",),
    )
    return dataclasses.replace(facts, distributions=tuple(dists), extensions=(ours,))


@pytest.mark.parametrize("name", ["healthy-cpu", "healthy-gpu"])
def test_the_kits_own_is_healthy_and_fits_every_torch(name):
    facts = with_ours(kit.machine(name))
    assert list(diagnose(facts)) == []
    assert not [pair for pair in agreement(facts).pairs if "scatter" in pair.what]
    v100 = facts.with_gpu("7.0") if facts.torch.cuda else facts
    steps = plan(diagnose(v100)).steps
    assert [step.package for step in steps] == (["torch"] if facts.torch.cuda else [])


def built(facts, env):
    finding = next(f for f in diagnose(facts) if f.failure == "extension-cpu-only")
    argv = pip("install", "--no-deps", "--no-build-isolation", "--no-binary=torch-scatter", "torch-scatter==2.1.2")
    return trouble(simulate(facts, argv, env, finding))


def test_a_build_without_force_cuda_or_for_another_gpu_is_seen_before_it_is_made():
    facts = kit.machine("extension-cpu-only")
    assert built(facts, {}) == {("extension-cpu-only", "torch_scatter")}
    wrong = {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "9.0"}
    assert built(facts, wrong) == {("gpu-arch-missing", "torch_scatter")}
    assert built(facts, {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "8.6;9.0"}) == set()
    assert built(facts, {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "8.0+PTX"}) == set()


def test_a_wheel_of_another_cuda_or_torch_is_seen_before_it_is_downloaded():
    facts = kit.machine("extension-cpu-only")
    finding = next(iter(diagnose(facts)))
    for tag, failure in (("+pt213cu126", "extension-cuda-mismatch"), ("+pt212cu130", "extension-torch-mismatch")):
        after = simulate(facts, pip("install", f"torch-scatter==2.1.2{tag}"), {}, finding)
        assert trouble(after) == {(failure, "torch_scatter")}
    assert trouble(simulate(facts, pip("install", "torch-scatter==2.1.2+pt213cu130"), {}, finding)) == set()


def test_the_torch_of_a_simulated_install_is_that_of_its_index():
    facts, finding = kit.machine("driver-too-old"), None
    finding = next(iter(diagnose(facts)))
    for word, version, cuda in (("cu126", "2.12.1+cu126", "12.6"), ("cpu", "2.12.1+cpu", None)):
        url = f"https://download.pytorch.org/whl/{word}"
        after = simulate(facts, pip("install", "torch==2.12.1", "--index-url", url), {}, finding)
        assert (after.torch.version, after.torch.cuda) == (version, cuda)
        assert after.distribution("torch").version == "2.12.1"
    assert "sm_70" in simulate(facts, pip("install", "torch==2.12.1+cu126"), {}, finding).torch.architectures


def test_a_driver_that_no_torch_suits_is_left_to_a_person():
    facts = kit.machine("driver-too-old")
    host = dataclasses.replace(
        facts.host, driver=Driver("440.33.01", "10.2", "NVML"), gpus=(Gpu("NVIDIA B200", "10.0"),)
    )
    offered = plan(diagnose(dataclasses.replace(facts, host=host)))
    assert offered.steps == () and "driver-too-old" in {f.failure for f in offered.left}
    assert "left to you" in str(offered)


@pytest.mark.parametrize(
    ("argv", "what"),
    [
        (pip("install", "numpy<2"), Change((Pin("numpy", "1.999"),))),
        (pip("install", "numpy>=2,<3"), Change((Pin("numpy", "2"),))),
        (pip("install", "torchaudio==2.11.*", "--index-url", "X"), Change((Pin("torchaudio", "2.11"),), index="X")),
        (pip("install", "-f", "P", "Torch_Scatter==1"), Change((Pin("torch-scatter", "1"),), index="P")),
        (pip("install", "--no-binary=a", "a==1"), Change((Pin("a", "1"),), source=True)),
        (pip("install", "cuda-toolkit[cublas]==13.0.3"), Change((Pin("cuda-toolkit", "13.0.3"),))),
        (pip("uninstall", "--yes", "apex"), Change(uninstalls=("apex",))),
        (("mv", "/a/apex", "/a/apex.aside"), Change(moves=("/a/apex", "/a/apex.aside"))),
        (("rm", "-r", "/a/~umpy.dist-info"), Change(removes="/a/~umpy.dist-info")),
        (pip("install", "."), None),
        (pip("install", "https://example.org/a.whl"), None),
        (pip("download", "torch"), None),
        (("conda", "install", "torch"), None),
        ((EXE, "-c", "import os"), None),
        (("rm", "-rf", "/"), None),
    ],
)
def test_what_a_command_does(argv, what):
    assert change(argv) == what


def test_an_attempt_is_over_when_its_package_is_there():
    facts = dataclasses.replace(
        kit.machine("healthy-cpu"), attempt=Attempt(("pip", "install", "torch-scatter[all]==2.1.2"), 1, ("error",))
    )
    finding = Finding("build-isolation", "error", "torch-scatter", "Not built")
    assert simulate(facts, pip("install", "torch-scatter==2.1.2"), {}, finding).attempt is None
    assert simulate(facts, pip("install", "numpy==2.0"), {}, finding).attempt is not None


def test_fixes_by_hand_and_commands_of_others_are_never_steps():
    facts = kit.machine("healthy-cpu")
    fixes = (
        Fix("change-code-or-data", "By hand"),
        Fix(
            "install-toolchain", "A system's package manager", ("apt", "install", "g++"), safety="changes-environment"
        ),
        Fix("expose-gpu", "A job", pip("install", "numpy==2"), safety="manual"),
    )
    offered = plan(Findings(facts, (Finding("shadowed-package", "error", "x", "Broken. Yes.", (), fixes),)))
    assert offered.steps == () and len(offered.left) == 1
    data = offered.to_dict()
    assert (data["schema"], data["steps"], data["left"][0]["failure"]) == (1, [], "shadowed-package")
