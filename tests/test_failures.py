"""kit/failures: every file is whole, finds its own example and nothing else, and advises nothing harmful."""

import dataclasses
import json
import re

import pytest

import kit
from kit.diagnose import CRASHED, diagnose
from kit.facts import (
    Distribution,
    Driver,
    Extension,
    Facts,
    Gpu,
    Kernel,
    Loaded,
    Module,
    OtherPython,
    Probe,
    Unread,
)
from kit.failures import SECTIONS, catalogue, failure
from kit.findings import FIX_KINDS, SAFETIES
from kit.recorded import names, recorded

# The ids of the contract that can be found without reading binaries, and two of our own.
IDS = [
    "extension-broken",
    "extension-cpu-only",
    "extension-cuda-mismatch",
    "extension-torch-mismatch",
    "torch-cpu-only",
    "torch-broken",
    "torch-missing",
    "driver-too-old",
    "gpu-not-visible",
    "gpu-arch-missing",
    "apex-wrong-package",
    "apex-amp-removed",
    "apex-extension-missing",
    "shadowed-package",
    "duplicate-metadata",
    "wrong-interpreter",
    "stale-kernel",
    "numpy-abi",
]

# What harms: (pattern over one command as typed and its sentence, why it is never advised).
NEVER = [
    (r"pip install (-\S+ )*apex(\W|$)", "PyPI's apex is another package"),
    (r"--global-option|--config-settings.*--global", "pip has forgotten how"),
    (r"-c pyg\b", "conda's extension over a pip torch"),
    (r"LD_PRELOAD|LD_LIBRARY_PATH=|patchelf|\bln -s|symlink", "another library for the loader"),
    (r"--pre\b|/nightly|\bnightly build", "a nightly where a stable release serves"),
    (r"TORCH_DONT_CHECK|check_cuda_version|comment(ing)? out", "switching a check off"),
    (r"apt(-get)? (purge|remove)|rm -rf|--purge", "removing the driver or the system's CUDA"),
    (r"device='cpu'|\.to\('cpu'\)|CUDA_VISIBLE_DEVICES=($|''| )", "doing without the GPU"),
    (r"torch(==|<=?)(0\.|1\.[0-7]\b)", "a torch of years ago"),
    (r"sudo |--break-system-packages|curl |wget ", "changing the system"),
]
OPERATORS = {"&&", "||", ";", "|", ">", ">>", "<", "&"}


def found(facts):
    return [f.failure for f in diagnose(facts)]


def change(facts, **values):
    return dataclasses.replace(facts, **values)


def host(facts, **values):
    return change(facts, host=dataclasses.replace(facts.host, **values))


def torch(facts, **values):
    return change(facts, torch=dataclasses.replace(facts.torch, **values))


def extension(facts, **values):
    """The machine with its torch-scatter changed."""
    return change(facts, extensions=(dataclasses.replace(facts.extensions[0], **values),))


def gpu_machine():
    return kit.machine("healthy-gpu")


def cpu_machine():
    return kit.machine("healthy-cpu")


def site(facts):
    return next(p for p in facts.python.path if p.endswith("site-packages"))


def with_distribution(facts, name, version, **values):
    dist = Distribution(name, version, f"{site(facts)}/{name.replace('-', '_')}-{version}.dist-info", **values)
    return change(facts, distributions=(*(d for d in facts.distributions if d.key != name), dist))


def with_apex(facts, children, libraries=(), summary="", kind="package"):
    facts = with_distribution(facts, "apex", "0.1", summary=summary)
    module = Module("apex", kind, f"{site(facts)}/apex", site(facts), "apex", tuple(children))
    built = Extension("apex", "0.1", "apex-0.1.dist-info", site(facts), ("apex",), tuple(libraries))
    return change(facts, modules=(*facts.modules, module), extensions=(*facts.extensions, built))


APEX = ("__init__.py", "amp", "contrib", "multi_tensor_apply", "normalization", "optimizers")
APEX_LIBRARIES = ("amp_C.so", "fused_layer_norm_cuda.so")


def test_the_catalogue_has_the_contracts_ids():
    assert sorted(f.id for f in catalogue()) == sorted(IDS)


@pytest.mark.parametrize("id", [f.id for f in catalogue()])
def test_a_failure_file_is_whole(id):
    it = failure(id)
    # its page
    text = str(kit.page(id))
    headings = re.findall(r"^(.+)\n-{3,}$", text, re.M)
    assert tuple(headings) == SECTIONS
    sections = re.split(r"^.+\n-{3,}$", text, flags=re.M)
    assert all(section.strip().endswith(".") or "``" in section for section in sections), "a section is empty"
    assert text.splitlines()[0] == it.title + "." and 10 < len(it.title) < 120
    assert "TODO" not in text and text.endswith("\n")
    assert it.title in kit.page(id)._repr_mimebundle_()["text/markdown"]
    # what would not help
    assert it.instead == "" or re.fullmatch(r"[A-Za-z].*\.", it.instead)
    assert ". " not in it.instead, "one sentence"
    # its example
    example = it.example()
    assert Facts.from_json(example.to_json()) == example
    findings = diagnose(example)
    assert [f.failure for f in findings] == [id]
    assert diagnose(Facts.from_json(example.to_json())).to_dict() == findings.to_dict()
    for finding in findings:
        check_finding(finding)


def check_finding(finding):
    assert re.match(r"[A-Z`a-z][^\n]{10,110}?\. \S", finding.summary), "a title sentence, then more"
    assert finding.summary.endswith(".") and "None" not in finding.summary and "  " not in finding.summary
    assert finding.evidence
    for evidence in finding.evidence:
        what, _, said = evidence.partition(": ")
        assert what.strip() and said.strip(), f"not 'what: said': {evidence!r}"
        assert "\n" not in evidence
    assert 1 <= len(finding.fix) <= 3
    for fix in finding.fix:
        assert fix.kind in FIX_KINDS and fix.safety in SAFETIES
        assert fix.why and "\n" not in fix.why and "None" not in fix.why
        if fix.safety == "changes-environment":
            assert fix.argv, f"{fix.why}: nothing that could be run"
        if fix.argv is not None:
            assert isinstance(fix.argv, tuple) and all(isinstance(word, str) and word for word in fix.argv)
            assert not OPERATORS & set(fix.argv)
            assert not [word for word in fix.argv if "$" in word or "`" in word or "\n" in word]
        assert all(isinstance(k, str) and isinstance(v, str) and v for k, v in fix.env.items())
    json.dumps(finding.to_dict())


# -- recorded machines


@pytest.mark.parametrize("name", [n for n in names() if n.startswith("healthy")])
def test_a_healthy_machine_yields_nothing(name):
    assert found(recorded(name)) == []
    assert diagnose(recorded(name)).verdict == "healthy"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("rtx5070ti-cpu-only-scatter", [("extension-cpu-only", "error")]),
        ("hpc-py39-apex-without-amp", [("apex-amp-removed", "error"), ("duplicate-metadata", "note")]),
        ("torchaudio-of-another-torch", [("extension-torch-mismatch", "error")]),
    ],
)
def test_a_machine_of_a_report_yields_what_was_wrong(name, expected):
    findings = diagnose(recorded(name))
    assert [(f.failure, f.severity) for f in findings] == expected
    for finding in findings:
        check_finding(finding)


def test_the_report_without_a_wheel_is_told_to_compile_for_its_gpu():
    rebuild, move = diagnose(recorded("rtx5070ti-cpu-only-scatter"))["extension-cpu-only"].fix
    assert rebuild.env == {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "12.0"}
    assert "--no-build-isolation" in rebuild.argv and "--no-cache-dir" in rebuild.argv
    assert move.kind == "change-torch" and "torch==2.10.0" in move.argv and move.argv[-1].endswith("/cu128")


# -- what is advised, over everything at hand


def variants():
    """Examples and recorded machines, and each with another GPU, driver, Python or torch."""
    for name in kit.machines():
        facts = kit.machine(name)
        yield name, facts
        for capability in ("7.0", "8.9", "12.0"):
            yield f"{name} on {capability}", facts.with_gpu(capability)
        yield f"{name}, old driver", host(facts, driver=Driver("470.57.02", "11.4", "NVML"))
        yield f"{name}, Python 3.9", change(facts, python=dataclasses.replace(facts.python, version="3.9.18"))
        if facts.torch:
            yield f"{name}, nightly", torch(facts, version="2.15.0.dev20261101+cu130", cuda="13.0")
            yield (
                f"{name}, vendor",
                torch(facts, version="2.6.0a0+ecf3bae40a.nv25.01", cuda="12.8", readable=False),
            )
            yield f"{name}, ROCm", torch(facts, version="2.13.0+rocm7.1", cuda=None, hip="7.1")
        doubled = [
            dataclasses.replace(d, path=d.path.replace(".dist-info", ".9.dist-info")) for d in facts.distributions
        ]
        yield f"{name}, everything twice", change(facts, distributions=(*facts.distributions, *doubled))


def test_nothing_harmful_is_ever_advised():
    seen = 0
    for name, facts in variants():
        for finding in diagnose(facts):
            assert finding.failure != CRASHED, f"{name}: {finding.evidence}"
            check_finding(finding)
            for fix in finding.fix:
                seen += 1
                advice = f"{fix.why} :: {fix.command() or ''}"
                for pattern, why in NEVER:
                    assert not re.search(pattern, advice), f"{name}, {finding.failure}: {advice} ({why})"
                check_install(fix, facts, f"{name}, {finding.failure}: {advice}")
    assert seen > 200


def check_install(fix, facts, message):
    argv = fix.argv or ()
    pins = [word for word in argv if re.match(r"[\w-]+==", word)]
    extensions = [p for p in pins if p.partition("==")[0].lower() in {e.key for e in facts.extensions}]
    if "--force-reinstall" in argv and extensions:
        assert "--no-cache-dir" in argv, message
        assert "--find-links" in argv or "--index-url" in argv or any(a.startswith("--no-binary") for a in argv), (
            message
        )
    if extensions and not any(a.startswith("--no-binary") for a in argv):
        assert "--only-binary=:all:" in argv and "--no-deps" in argv, f"pip could compile instead: {message}"
    if "install" in argv and "apex" in " ".join(argv):
        assert "--no-build-isolation" in argv and fix.env.get("APEX_CUDA_EXT") == "1", message
    for word in argv:
        if word.startswith("https://"):
            assert re.fullmatch(
                r"https://download\.pytorch\.org/whl/(cpu|cu\d{3}|rocm[\d.]+)"
                r"|https://data\.pyg\.org/whl/torch-\d\.\d+\.0\+(cpu|cu\d{3})\.html",
                word,
            ), message


def test_no_advice_names_a_torch_that_does_not_serve_the_gpu():
    v100 = host(gpu_machine(), gpus=(Gpu("Tesla V100-SXM2-16GB", "7.0"),))
    (fix,) = diagnose(v100)["gpu-arch-missing"].fix
    assert fix.argv[-1].endswith("/cu126")


# -- a check that raises


def test_a_failure_that_raises_is_a_finding_and_the_others_still_run():
    facts = failure("extension-cpu-only").example()

    def crash(facts):
        raise ZeroDivisionError("of all things")
        yield

    broken = dataclasses.replace(failure("stale-kernel"), find=crash)
    others = [f for f in catalogue() if f.id != "stale-kernel"]
    findings = diagnose(facts, [broken, *others])
    assert {f.failure for f in findings} == {CRASHED, "extension-cpu-only"}
    crashed = findings[CRASHED]
    assert crashed.severity == "warning" and "stale-kernel" in crashed.summary
    assert "ZeroDivisionError: of all things" in crashed.evidence[0] and "line" in crashed.evidence[0]
    assert crashed.fix[0].kind == "report-upstream"
    assert diagnose(facts, others)["extension-cpu-only"] == findings["extension-cpu-only"]


def test_what_a_failure_found_before_it_raised_is_kept():
    first = failure("extension-cpu-only")

    def half(facts):
        yield from first.find(facts)
        raise ValueError("then")

    findings = diagnose(first.example(), [dataclasses.replace(first, find=half)])
    assert {f.failure for f in findings} == {"extension-cpu-only", CRASHED}


def test_errors_come_first_and_causes_before_what_follows():
    facts = failure("torch-broken").example()
    facts = change(facts, kernel=Kernel("notebook", (Loaded("torch", "1.0", "2.13.0+cpu"),)))
    facts = change(
        facts,
        distributions=(*facts.distributions, *failure("duplicate-metadata").example().distributions[-1:]),
    )
    assert found(facts) == ["stale-kernel", "torch-broken", "duplicate-metadata"]


# -- near misses: one healthy neighbour of every rule.  (name, facts, the failure that must not be found)


def torch_and_audio(**values):
    """torch 2.13 with a torchaudio, which is compiled and named after its torch."""
    facts = gpu_machine()
    audio = Extension(
        "torchaudio",
        "2.11.0",
        "torchaudio-2.11.0.dist-info",
        site(facts),
        ("torchaudio",),
        ("torchaudio/lib/_a.so",),
    )
    return change(facts, extensions=(*facts.extensions, dataclasses.replace(audio, **values)))


def networkx_copies(version, paths, real=None):
    facts = cpu_machine()
    copies = tuple(
        Distribution("networkx", "3.2.1", f"{p}/networkx-3.2.1.dist-info", real, networkx_backends=("nx-loopback",))
        for p in paths
    )
    python = dataclasses.replace(facts.python, version=version, path=(*paths, *facts.python.path))
    return change(
        facts,
        python=python,
        distributions=(*copies, *(d for d in facts.distributions if d.key != "networkx")),
    )


def near_misses():
    gpu, cpu = gpu_machine(), cpu_machine()
    cwd = cpu.python.cwd
    yield "8.6 code serves an 8.9 GPU", torch(gpu, architectures=("sm_80", "sm_86")), "gpu-arch-missing"
    yield (
        "PTX serves a newer GPU",
        torch(gpu, architectures=("sm_80", "compute_80")).with_gpu("12.0"),
        "gpu-arch-missing",
    )
    yield "a list that cannot be read", torch(gpu, architectures=()), "gpu-arch-missing"
    yield "a GPU nobody knows", host(gpu, gpus=(Gpu("NVIDIA Mystery 1"),)), "gpu-arch-missing"

    oldest = Driver("525.60.13", "12.0", "NVML")
    yield (
        "the oldest driver for CUDA 12",
        host(torch(gpu, version="2.9.1+cu128", cuda="12.8"), driver=oldest),
        "driver-too-old",
    )
    yield "no driver seen", host(gpu, driver=None), "driver-too-old"
    yield "a CPU torch needs no driver", host(cpu, driver=Driver("390.1", "9.1", "NVML")), "driver-too-old"

    scatter = {"version": "2.1.2+pt213cu126", "built_for_torch": "2.13", "built_for_cuda": "12.6"}
    cu128 = torch(gpu, version="2.13.0+cu128", cuda="12.8")
    yield "cu126 on cu128", extension(cu128, **scatter), "extension-cuda-mismatch"
    yield (
        "cu12 without a minor",
        extension(cu128, **{**scatter, "built_for_cuda": "12"}),
        "extension-cuda-mismatch",
    )
    yield (
        "ROCm calls itself cuda nowhere",
        host(extension(torch(gpu, cuda=None, hip="7.1"), **scatter), gpus=()),
        "extension-cuda-mismatch",
    )

    yield (
        "a patch release of its torch",
        extension(
            torch(gpu, version="2.7.1+cu128", cuda="12.8"),
            version="2.1.2+pt27cu128",
            built_for_torch="2.7",
            built_for_cuda="12.8",
        ),
        "extension-torch-mismatch",
    )
    yield "torchaudio on torch's stable ABI", torch_and_audio(), "extension-torch-mismatch"
    yield (
        "an import that fails for another reason",
        change(
            gpu,
            probes=(
                Probe("torch", 0),
                Probe("torch_scatter", 1, "ModuleNotFoundError: No module named 'scipy'"),
            ),
        ),
        "extension-torch-mismatch",
    )

    yield (
        "an extension that loads, although a file of its RECORD is gone",
        change(
            extension(gpu, missing_files=("torch_scatter/_unused_cpu.so",)),
            probes=(Probe("torch", 0), Probe("torch_scatter", 0)),
        ),
        "extension-broken",
    )

    yield "CPU libraries on a CPU torch", cpu, "extension-cpu-only"
    yield "one file for CPU and GPU", extension(gpu, libraries=("libpyg.so",)), "extension-cpu-only"

    yield "a CPU torch where no GPU is", cpu, "torch-cpu-only"
    yield "a ROCm torch", torch(cpu, hip="7.1").with_gpu("8.9"), "torch-cpu-only"
    yield "a torch that cannot be read", torch(cpu, readable=False).with_gpu("8.9"), "torch-cpu-only"

    # A CPU-only machine with a CUDA torch, as pip installs it by default, and nothing that speaks of a GPU.
    bare = host(gpu, gpus=(), driver=None, device_nodes=(), pci_gpus=0)
    bare = change(bare, unread=(Unread("GPUs", "no NVIDIA driver here"),))
    yield "no sign of a GPU", bare, "gpu-not-visible"
    yield "in a job of the scheduler", host(bare, scheduler="slurm", job=True), "gpu-not-visible"
    yield "in a plain container", host(bare, container="docker"), "gpu-not-visible"
    yield "one GPU chosen", change(gpu, variables={"CUDA_VISIBLE_DEVICES": "0"}), "gpu-not-visible"
    yield "asked for", change(bare, variables={"CUDA_VISIBLE_DEVICES": ""}).with_gpu("8.9"), "gpu-not-visible"

    yield (
        "a loader that says it loads",
        change(torch(cpu, changed_files=("torch/lib/x.so",)), probes=(Probe("torch", 0),)),
        ("torch-broken"),
    )
    yield (
        "the build in the metadata only",
        torch(cpu, version="2.13.0", metadata_version="2.13.0+cpu"),
        "torch-broken",
    )

    yield (
        "NumPy 2 with torch 2.3",
        torch(with_distribution(cpu, "numpy", "2.2.6"), version="2.3.0"),
        "numpy-abi",
    )
    yield (
        "NumPy 1 with torch 2.1",
        torch(with_distribution(cpu, "numpy", "1.26.4"), version="2.1.2"),
        "numpy-abi",
    )
    yield "a torch whose version cannot be read", torch(cpu, version="", readable=False), "numpy-abi"
    yield (
        "a package without compiled code",
        with_distribution(cpu, "pure", "1", requires=("numpy<2",)),
        "numpy-abi",
    )
    later = with_distribution(cpu, "pinned", "1", requires=("numpy<3,>=1.21",), compiled=True)
    yield "a limit that is not about 2", later, "numpy-abi"

    # An editable install resolves in the working directory; a namespace folder never wins over a package.
    editable = Module("torch_scatter", "package", f"{cwd}/torch_scatter", cwd, "torch-scatter")
    yield "an editable install", change(cpu, modules=(editable,)), "shadowed-package"
    real = Module("apex", "package", f"{site(cpu)}/apex", site(cpu), "apex", APEX, hides=())
    yield "a folder apex beside a real apex", change(cpu, modules=(*cpu.modules, real)), "shadowed-package"
    owned = Module("torch_geometric", "namespace", f"{site(cpu)}/torch_geometric", site(cpu), "torch-geometric")
    yield "a namespace folder that a distribution owns", change(cpu, modules=(owned,)), "shadowed-package"

    three = [f"/opt/{n}/lib/python3.11/site-packages" for n in "abc"]
    yield "three plain copies on Python 3.11", networkx_copies("3.11.4", three), "duplicate-metadata"
    yield (
        "lib and lib64 on Python 3.11",
        networkx_copies(
            "3.11.4",
            ["/v/lib64/python3.11/site-packages", "/v/lib/python3.11/site-packages"],
            "/v/lib/python3.11/x",
        ),
        "duplicate-metadata",
    )

    yield (
        "an interpreter that was named, while the session's own has torch",
        change(failure("wrong-interpreter").example(), kernel=None),
        "wrong-interpreter",
    )
    yield (
        "a command line that was not started by the python on PATH",
        change(
            failure("wrong-interpreter").example(),
            others=(OtherPython("python on PATH", "/v/bin/python", "2.13.0+cpu"),),
            kernel=Kernel("process"),
        ),
        "wrong-interpreter",
    )
    debian = "/usr/lib/python3/dist-packages/cryptography"
    yield (
        "a dist-info and an egg-info of one version, as Debian ships them",
        change(
            cpu,
            distributions=(
                *cpu.distributions,
                Distribution("cryptography", "38.0.4", f"{debian}-38.0.4.dist-info"),
                Distribution("cryptography", "38.0.4", f"{debian}.egg-info"),
            ),
        ),
        "duplicate-metadata",
    )
    yield (
        "another Python without torch",
        change(failure("wrong-interpreter").example(), others=(OtherPython("VIRTUAL_ENV", "/v/bin/python"),)),
        "wrong-interpreter",
    )
    yield (
        "torch in both",
        change(cpu, others=(OtherPython("VIRTUAL_ENV", "/v/bin/python", "2.13.0"),)),
        "wrong-interpreter",
    )
    yield (
        "a source folder on the path",
        change(cpu, python=dataclasses.replace(cpu.python, path=("/src/python3.9/lib", *cpu.python.path))),
        "wrong-interpreter",
    )

    bare_cpu = change(failure("torch-missing").example(), extensions=())
    bare_cpu = change(bare_cpu, distributions=tuple(d for d in bare_cpu.distributions if not d.requires))
    yield "nothing needs torch", bare_cpu, "torch-missing"
    yield (
        "torch's namesake",
        with_distribution(bare_cpu, "pytorch-lightning", "2", requires=("torchmetrics>0.7",)),
        "torch-missing",
    )

    def kernel(loaded, disk):
        return change(cpu, kernel=Kernel("notebook", (Loaded("torch", loaded, disk),)))

    yield "the version without its build", kernel("2.13.0", "2.13.0+cpu"), "stale-kernel"
    yield "nothing to compare", kernel(None, "2.13.0"), "stale-kernel"
    yield "not this process", cpu, "stale-kernel"

    yield "apex with amp", with_apex(gpu, APEX, APEX_LIBRARIES), "apex-amp-removed"
    yield (
        "amp as one file",
        with_apex(gpu, ("__init__.py", "amp.py", "optimizers"), APEX_LIBRARIES),
        "apex-amp-removed",
    )
    yield "PyPI's apex has its own page", failure("apex-wrong-package").example(), "apex-amp-removed"
    yield "apex with its libraries", with_apex(gpu, APEX, APEX_LIBRARIES), "apex-extension-missing"
    yield "PyPI's apex needs no libraries", failure("apex-wrong-package").example(), "apex-extension-missing"
    yield (
        "one module of the same name",
        with_apex(gpu, (*APEX, "views.py"), APEX_LIBRARIES),
        "apex-wrong-package",
    )


@pytest.mark.parametrize(("facts", "id"), [pytest.param(f, i, id=n) for n, f, i in near_misses()])
def test_a_healthy_neighbour_is_not_found(facts, id):
    assert id not in found(facts)
    assert CRASHED not in found(facts)


def test_every_failure_has_a_near_miss():
    assert {id for _, _, id in near_misses()} == set(IDS)


# -- the other side of some of these lines


def test_the_driver_just_below_the_minimum():
    facts = torch(gpu_machine(), version="2.9.1+cu128", cuda="12.8")
    finding = diagnose(host(facts, driver=Driver("525.60.11", "12.0", "NVML")))["driver-too-old"]
    assert "525.60.13" in finding.summary and finding.fix[-1].kind == "update-driver"


def test_another_cuda_major_is_found_from_the_tag_alone():
    finding = diagnose(
        extension(gpu_machine(), version="2.1.2+pt213cu126", built_for_torch="2.13", built_for_cuda="12.6")
    )
    assert [f.failure for f in finding] == ["extension-cuda-mismatch"]


@pytest.mark.parametrize(
    ("probe", "id"),
    [
        (
            Probe("torch_scatter", 1, "OSError: _scatter_cuda.so: undefined symbol: _ZN2at"),
            "extension-torch-mismatch",
        ),
        (Probe("torch_scatter", -11, ""), "extension-torch-mismatch"),
        (
            Probe("torch_scatter", 1, "OSError: [WinError 127] The specified procedure"),
            "extension-torch-mismatch",
        ),
        (
            Probe("torch_scatter", 1, "RuntimeError: operator torchvision::nms does not exist"),
            "extension-torch-mismatch",
        ),
        (
            Probe("torch_scatter", 1, "OSError: libcudart.so.12: cannot open shared object"),
            "extension-cuda-mismatch",
        ),
    ],
)
def test_what_an_import_says_decides_where_no_tag_does(probe, id):
    facts = change(extension(gpu_machine(), version="2.1.2", built_for_torch=None, built_for_cuda=None))
    facts = change(facts, probes=(Probe("torch", 0), probe))
    assert found(facts) == [id]
    said = diagnose(facts)[id].evidence[-1]
    assert ("SIGSEGV" if probe.status == -11 else probe.error[:20]) in said


def test_a_requirement_that_does_not_fit_is_a_warning_while_the_import_works():
    facts = torch_and_audio(version="2.1.0", requires_torch=("torch (==2.1.0)",))
    probes = (Probe("torch", 0), Probe("torchaudio", 0))
    assert diagnose(change(facts, probes=probes))["extension-torch-mismatch"].severity == "warning"
    failed = (Probe("torch", 0), Probe("torchaudio", 1, "OSError: x.so: undefined symbol: y"))
    assert diagnose(change(facts, probes=failed))["extension-torch-mismatch"].severity == "error"


@pytest.mark.parametrize(("version", "severity"), [("4.52.4", "error"), ("4.28.1", "error"), ("4.53.3", "warning")])
def test_apex_without_amp_is_an_error_only_where_something_asks_for_it(version, severity):
    facts = with_apex(gpu_machine(), [c for c in APEX if c != "amp"], APEX_LIBRARIES)
    finding = diagnose(with_distribution(facts, "transformers", version))["apex-amp-removed"]
    assert finding.severity == severity
    moves = [f for f in finding.fix if f.kind == "change-package-version"]
    assert bool(moves) == (version == "4.52.4")  # from long before, doing without apex asks less


def test_apex_without_amp_is_told_apart_from_an_empty_folder():
    cpu = cpu_machine()
    empty = change(cpu, modules=(Module("apex", "namespace", f"{cpu.python.cwd}/apex", cpu.python.cwd),))
    assert found(empty) == ["shadowed-package"]


def test_lib_and_lib64_are_only_a_note_on_python_39():
    facts = networkx_copies(
        "3.9.18",
        ["/v/lib64/python3.9/site-packages", "/v/lib/python3.9/site-packages"],
        "/v/lib/python3.9/site-packages/n",
    )
    facts = change(facts, python=dataclasses.replace(facts.python, path=()))
    findings = diagnose(facts)
    assert [(f.failure, f.severity) for f in findings] == [("duplicate-metadata", "note")]
    assert findings.verdict == "healthy" and findings["duplicate-metadata"].fix[0].kind == "nothing"


def test_two_packages_with_one_backend_are_a_warning_that_names_both():
    facts = with_distribution(cpu_machine(), "networkx-fork", "1.0", networkx_backends=("nx-loopback",))
    facts = with_distribution(facts, "networkx", "3.4.2", networkx_backends=("nx-loopback",))
    finding = diagnose(facts)["duplicate-metadata"]
    assert finding.severity == "warning" and len(finding.evidence) == 2
    assert any("networkx_fork-1.0.dist-info" in e for e in finding.evidence)


def test_an_extension_that_is_installed_twice_is_not_reinstalled_blindly():
    facts = gpu_machine()
    twice = dataclasses.replace(
        facts.distribution("torch-scatter"),
        version="2.1.1",
        path=f"{site(facts)}/torch_scatter-2.1.1.dist-info",
    )
    finding = diagnose(change(facts, distributions=(*facts.distributions, twice)))["duplicate-metadata"]
    assert [f.argv for f in finding.fix] == [None]


@pytest.mark.parametrize(
    "requirement", ["torch", "torch>=2.0", "torch<3", "torch (>=1.9)", "Torch!=2.1; os_name=='posix'"]
)
def test_whatever_requires_torch_misses_it(requirement):
    bare = change(failure("torch-missing").example(), extensions=())
    bare = change(bare, distributions=tuple(d for d in bare.distributions if not d.requires))
    assert found(with_distribution(bare, "timm", "1.0", requires=(requirement,))) == ["torch-missing"]


@pytest.mark.parametrize(
    ("values", "variables", "word"),
    [
        ({"pci_gpus": 1}, {}, "modprobe"),
        ({"pci_gpus": 1, "container": "docker"}, {}, "--gpus all"),
        ({"device_nodes": ("/dev/nvidia0",)}, {}, "modprobe"),
        ({}, {"CUDA_VISIBLE_DEVICES": "-1"}, "CUDA_VISIBLE_DEVICES"),
        ({"container": "docker"}, {"NVIDIA_VISIBLE_DEVICES": "all"}, "--gpus all"),
        ({"container": "docker"}, {"NVIDIA_DRIVER_CAPABILITIES": "utility,video"}, "compute"),
        ({"scheduler": "slurm"}, {}, "slurm"),
    ],
)
def test_a_gpu_that_should_be_there(values, variables, word):
    facts = host(gpu_machine(), **{"gpus": (), "driver": None, "device_nodes": (), "pci_gpus": 0, **values})
    finding = diagnose(change(facts, variables=variables))["gpu-not-visible"]
    assert word in finding.fix[0].why
    check_finding(finding)


def test_a_damaged_torch_of_a_vendor_is_not_sent_to_pytorchs_pages():
    facts = torch(gpu_machine(), version="2.6.0a0+ecf3bae40a.nv25.01", missing_files=("torch/lib/libc10.so",))
    (fix,) = diagnose(facts)["torch-broken"].fix
    assert fix.argv is None and "nv25.01" in fix.why


def test_a_build_with_gpu_code_beside_a_cpu_torch_is_told_by_its_files():
    facts = change(cpu_machine(), extensions=gpu_machine().extensions)
    (finding,) = diagnose(facts)
    assert finding.failure == "extension-cuda-mismatch"
    assert "torch_scatter/_scatter_cuda.so: GPU code" in finding.evidence
    said = "RuntimeError: operator torch_scatter::scatter_max does not exist"
    (finding,) = diagnose(change(facts, probes=(Probe("torch", 0), Probe("torch_scatter", 1, said))))
    assert finding.failure == "extension-cuda-mismatch"  # one card for one cause
    assert any(said in line for line in finding.evidence)
