"""A replacement for every process of an environment: a wheel that pip knows, and that gives back what it covers."""

import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT, Environment, refusal

import kit
from kit import shims
from kit.facts import Module
from kit.shims import installed
from kit.throwaway import Throwaway, reproduce

pytestmark = pytest.mark.slow

ASKS = {
    "apex.amp": "from apex import amp; import apex; assert apex.amp is amp; assert amp.initialize",
    "torch_scatter": """
import torch, torch_scatter
value, arg = torch_scatter.scatter_max(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([0, 0, 1]))
assert arg.tolist() == [1, 2] and torch_scatter.__version__ == "2.1.2+kit"
""",
}
TORCHS_OWN = re.compile(r"(torch|torchgen|functorch)(-.*)?")


def damaged_scatter(place: Throwaway) -> None:
    """The lab's own torch_scatter, without one of its compiled files."""
    place.share("torch-scatter")
    (library,) = place.site.glob("torch_scatter/_scatter_cpu.*")
    library.unlink()


def kit_shim(place: Throwaway, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "kit", "shim", *arguments, "--python", place.python]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)


def pip(place: Throwaway, *arguments: str) -> str:
    command = [sys.executable, "-m", "pip", "--python", place.python, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def files(place: Throwaway) -> dict[str, bytes]:
    """Every file of site-packages but torch's own and byte code."""
    return {
        str(path.relative_to(place.site)): path.read_bytes()
        for path in place.site.rglob("*")
        if path.is_file()
        and path.suffix != ".pyc"
        and not TORCHS_OWN.fullmatch(path.relative_to(place.site).parts[0])
    }


@pytest.mark.parametrize(
    "shim, failure, distribution, cover",
    [
        ("apex.amp", None, "apex 0.1+kit", False),
        ("apex.amp", "apex-amp-removed", "kit-graft-apex 0.1", False),
        ("apex.amp", "apex-wrong-package", "apex 0.1+kit", True),
        ("apex.amp", "apex-version-mismatch", "apex 0.1+kit", True),
        ("torch_scatter", None, "torch_scatter 2.1.2+kit", False),
        ("torch_scatter", "extension-broken", "torch_scatter 2.1.2+kit", True),
    ],
)
def test_installed_listed_taken_back(shim: str, failure: "str | None", distribution: str, cover: bool) -> None:
    of_apex = shim == "apex.amp"
    with reproduce(failure) if failure and of_apex else Throwaway() as place:
        if not (failure and of_apex):
            place.share("torch")
        if not of_apex:
            place.install(place.wheel("client", "1.0", {"client.py": ""}, requires=["torch-scatter>=2"]))
            if failure:
                damaged_scatter(place)
        before = files(place)
        assert place.run(ASKS[shim]).status != 0, "it really fails"
        if cover:
            assert "--cover puts the kit's in its place" in refusal(kit_shim(place, "enable", shim))
            assert files(place) == before
        done = kit_shim(place, "enable", shim, *(["--cover"] if cover else []), "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        checks = json.loads(done.stdout)["verification"]["checks"]
        assert of_apex or {"scatter_max on cpu", "segment_csr on cpu"} <= {c["name"] for c in checks if c["ok"]}
        asked = place.run(ASKS[shim])
        assert asked.status == 0, asked.err
        assert asked.err.count(f"{shim} is the troubleshooting kit's replacement for") == 1
        name, version = distribution.split()
        listed = {row["name"]: row["version"] for row in json.loads(pip(place, "list", "--format=json"))}
        assert listed[name] == version
        assert "No broken requirements" in pip(place, "check")
        assert "troubleshooting kit's replacement" in pip(place, "show", name)
        assert kit.doctor(place.python).verdict == "healthy"
        start = place.run("import sys; print('torch' in sys.modules)")
        assert (start.out, start.err) == ("False\n", ""), "Python itself starts without it"
        assert "is installed in this environment already" in refusal(kit_shim(place, "enable", shim))
        states = {row["name"]: row["state"] for row in json.loads(kit_shim(place, "list", "--json").stdout)["shims"]}
        assert states[shim] == "shim"

        assert kit_shim(place, "disable", shim).returncode == 0
        assert files(place) == before
        assert place.run(ASKS[shim]).status != 0


def test_a_repair_takes_it_where_torch_scatter_is_damaged_and_has_no_wheel() -> None:
    with Throwaway() as place:
        place.share("torch")
        damaged_scatter(place)
        before = files(place)
        plan = kit.plan(kit.diagnose(place.facts()))
        assert [(step.failure, step.kind) for step in plan.steps] == [("extension-broken", "use-replacement")]
        with place.active():
            receipt = kit.apply(plan, lambda plan: True)
            assert receipt.state == "applied", receipt.why
            assert place.run(ASKS["torch_scatter"]).status == 0
            kit.undo(receipt)
        assert files(place) == before


def test_a_repair_takes_it_where_code_asks_for_amp() -> None:
    with reproduce("apex-amp-removed") as place:
        plan = kit.plan(kit.diagnose(place.facts()))
        assert [step.kind for step in plan.steps] == ["use-replacement"]
        assert plan.steps[0].argv[:4] == ("kit", "shim", "enable", "apex.amp")
        with place.active():
            receipt = kit.apply(plan, lambda plan: True)
        assert receipt.state == "applied", receipt.why
        assert place.run(ASKS["apex.amp"]).status == 0
        # What is kept of the repair was dropped: pip alone takes the replacement out.
        from kit.repair import discard

        discard(receipt)
        assert kit_shim(place, "disable", "apex.amp").returncode == 0
        assert place.run(ASKS["apex.amp"]).status != 0 and place.run("import apex").status == 0


def test_it_is_taken_back_where_it_cannot_be_imported() -> None:
    with Throwaway() as place:
        before = files(place)
        done = kit_shim(place, "enable", "apex.amp")
        assert done.returncode == 1
        assert "apex.amp was installed and cannot be imported: ModuleNotFoundError: No module named 'torch'" in (
            " ".join(done.stdout.split())
        )
        assert files(place) == before


def test_a_folder_that_stands_in_front_is_named() -> None:
    with Throwaway() as place:
        facts = place.facts()
        shim = shims.find("apex.amp")
        assert installed.distribution(facts, shim) == "apex"
        for shim in shims.ALL.values():
            path = f"/project/{shim.package}"
            front = Module(shim.package, "package", path, "/project", None, ("__init__.py", "views.py"))
            with pytest.raises(kit.KitError, match=f"{path} stands in front of what is installed; rename it"):
                installed.distribution(replace(facts, modules=(front,)), shim, cover=True)


def test_the_wheels_hold_all_of_it_and_no_more(tmp_path: Path) -> None:
    tree = {
        path.relative_to(shims.find("apex.amp").tree).as_posix()
        for path in Path(shims.find("apex.amp").tree).rglob("*.py")
    }
    for distribution, below in (("apex", "apex"), ("kit-graft-apex", "kit_graft_apex/apex")):
        wheel = installed.wheel(tmp_path, "apex.amp", distribution)
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if ".dist-info/" not in name]
        assert {f"{below}/{file}" for file in tree} <= set(names)
        more = {"kit_graft_apex.pth", "kit_graft_apex/__init__.py", "kit_graft_apex/finder.py"}
        assert set(names) - {f"{below}/{file}" for file in tree} == (more if below != "apex" else set())
        assert wheel.stat().st_size < 300_000


def test_the_wheel_of_a_whole_package_has_its_notice_in_front(tmp_path: Path) -> None:
    root = Path(shims.find("torch_scatter").tree)
    wheel = installed.wheel(tmp_path, "torch_scatter", "torch_scatter")
    assert wheel.name == "torch_scatter-2.1.2+kit-py3-none-any.whl" and wheel.stat().st_size < 100_000
    with zipfile.ZipFile(wheel) as archive:
        assert {f"torch_scatter/{path.relative_to(root).as_posix()}" for path in root.rglob("*.py")} == {
            name for name in archive.namelist() if ".dist-info/" not in name
        }
        marked = [name for name in archive.namelist() if b"kit shim disable" in archive.read(name)]
        assert marked == ["torch_scatter/__init__.py", "torch_scatter-2.1.2+kit.dist-info/METADATA"]


def test_what_is_installed_is_replaced_only_when_told_and_where_pip_can() -> None:
    facts, shim = kit.machine("healthy-gpu"), shims.find("torch_scatter")
    with pytest.raises(kit.KitError, match=r"torch_scatter is there.*; --cover puts the kit's in its place"):
        installed.distribution(facts, shim)
    assert installed.distribution(facts, shim, cover=True) == "torch_scatter"
    for libraries, said in (((), r"without its compiled files; --cover"), (("x_cpu.so",), "torch_scatter is there")):
        gone = replace(facts, modules=(), extensions=(replace(facts.extensions[0], libraries=libraries),))
        with pytest.raises(kit.KitError, match=said):
            installed.distribution(gone, shim)
    rocm = replace(facts.extensions[0], package="torch-scatter-rocm")
    with pytest.raises(kit.KitError, match=r"torch-scatter-rocm .* brings torch_scatter as well; uninstall it first"):
        installed.distribution(replace(facts, extensions=(rocm,)), shim, cover=True)


TRAINER = """
import sys, json, torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed

class Rows(Dataset):
    def __len__(self): return 16
    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        return {"input_ids": torch.randint(1, 50, (8,), generator=g), "labels": torch.tensor(i % 2)}

set_seed(0)
config = BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
                    max_position_embeddings=16, hidden_dropout_prob=0, attention_probs_dropout_prob=0)
model = BertForSequenceClassification(config)
seen = set()
for module in model.modules():
    if isinstance(module, torch.nn.Linear):
        module.register_forward_hook(lambda module, args, out: seen.add(str(out.dtype)))
folder, resume = sys.argv[1], sys.argv[2] == "resume"
arguments = TrainingArguments(output_dir=folder, max_steps=6, save_steps=3, logging_steps=1, report_to=[], seed=0,
    per_device_train_batch_size=4, fp16=True, half_precision_backend="apex", use_cpu=True, disable_tqdm=True,
    save_safetensors=False, learning_rate=1e-3, max_grad_norm=1.0)
trainer = Trainer(model=model, args=arguments, train_dataset=Rows())
if resume:
    load = torch.load
    torch.load = lambda *args, **kwargs: load(*args, **{**kwargs, "weights_only": False})  # NumPy's state of chance
trainer.train(resume_from_checkpoint=f"{folder}/checkpoint-3" if resume else None)
losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
from apex import amp
print(json.dumps({"losses": losses, "seen": sorted(seen), "scale": amp.state_dict()}))
"""


@pytest.mark.network
def test_transformers_of_the_times_of_apex_imports_and_trains(environment: Environment, tmp_path: Path) -> None:
    """The states of an environment in which transformers asks for amp, and a Trainer that really uses it."""
    environment.share("torch")
    environment.pip_install("transformers==4.52.4", "accelerate==1.9.0", "numpy<3")
    site = environment.site

    def enable(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "kit", "shim", "enable", "apex.amp", "--python", str(environment.python)]
        return subprocess.run([*command, *options], capture_output=True, text=True, timeout=300, cwd=ROOT)

    def disable() -> None:
        command = [sys.executable, "-m", "kit", "shim", "disable", "apex.amp", "--python", str(environment.python)]
        subprocess.run(command, check=True, capture_output=True, timeout=300, cwd=ROOT)

    def imported(**options: Path) -> str:
        done = environment.run("-W", "ignore", "-c", "from transformers import Trainer; print('ok')", **options)
        return "ok" if done.returncode == 0 else done.stderr

    def about(name: str, version: str) -> None:
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        rows = [str(path.relative_to(site)) for path in (site / name).rglob("*.py")]
        rows += [f"{info.name}/{file}" for file in ("METADATA", "RECORD")]
        (info / "RECORD").write_text("".join(f"{row},,\n" for row in rows))

    assert imported() == "ok"  # no apex at all
    for state, children, start, message in [
        ("NVIDIA's of today", ("normalization", "optimizers", "contrib"), "", "cannot import name 'amp' from 'apex'"),
        ("the package index's", ("views", "models"), "import pyramid_mailer\n", "Could not import module 'Trainer'"),
    ]:
        for child in ("", *children):
            (site / "apex" / child).mkdir(exist_ok=True)
            (site / "apex" / child / "__init__.py").write_text(start if not child else "")
        about("apex", "0.1")
        assert message in imported(), state
        if children == ("views", "models"):
            (site / "apex" / "forms.py").write_text("")
        options = ["--cover"] if start else []
        done = enable(*options)
        assert done.returncode == 0, f"{state}: {done.stdout}{done.stderr}"
        assert imported() == "ok", state
        disable()
        subprocess.run(
            [sys.executable, "-m", "pip", "--python", str(environment.python), "uninstall", "-yq", "apex"],
            check=True,
            capture_output=True,
        )
        for path in sorted((site / "apex").rglob("*"), reverse=True) if (site / "apex").exists() else []:
            path.rmdir() if path.is_dir() else path.unlink()
    work = environment.folder / "work"
    (work / "apex").mkdir(parents=True)
    assert imported(cwd=work) == "ok"  # an uninstalled clone: this transformers asks for metadata
    assert enable().returncode == 0
    assert imported(cwd=work) == "ok" and imported() == "ok"

    # Its Trainer lost the loss of apex's path in 4.46; the release before trains.
    environment.pip_install("transformers==4.45.2", "accelerate==1.1.1")
    script = tmp_path / "train.py"
    script.write_text(TRAINER)

    def trained(how: str) -> dict[str, object]:
        done = environment.run("-W", "ignore", str(script), str(tmp_path / "out"), how)
        assert done.returncode == 0, done.stderr[-3000:]
        answer: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return answer

    whole, resumed = trained("whole"), trained("resume")
    assert whole["seen"] == ["torch.float16"], "it really runs in half precision"
    assert len(whole["losses"]) == len(resumed["losses"]) == 6  # type: ignore[arg-type]
    assert resumed["losses"] == whole["losses"]
    assert whole["scale"] == {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 6}}


GEOMETRIC = """
import torch, torch_geometric.typing as typing
from torch_geometric.nn import PNAConv
print(typing.WITH_TORCH_SCATTER)
torch.manual_seed(0)
edges = torch.randint(0, 20, (2, 60))
model = PNAConv(4, 4, ["mean", "min", "max", "std"], ["identity"], deg=torch.tensor([0, 5, 15]))
out = model(torch.randn(20, 4), edges)
out.square().sum().backward()
print(out.sum().item(), sum(p.grad.abs().sum().item() for p in model.parameters()))
"""


@pytest.mark.network
def test_torch_geometric_sees_it_and_computes_the_same(environment: Environment) -> None:
    environment.share("torch")
    environment.pip_install("torch_geometric==2.8.1", "numpy<3")

    def asked() -> tuple[str, list[float]]:
        done = environment.run("-W", "error::UserWarning", "-c", GEOMETRIC)
        assert done.returncode == 0, done.stderr
        seen, values = done.stdout.splitlines()
        return seen, list(map(float, values.split()))

    seen, native = asked()
    assert seen == "False"
    command = [sys.executable, "-m", "kit", "shim", "enable", "torch_scatter", "--python", str(environment.python)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    seen, ours = asked()
    assert seen == "True" and ours == pytest.approx(native, rel=1e-4)
