"""kit/failures: every file is whole, finds its own example and nothing else, and advises nothing harmful."""

import dataclasses
import json
import re

import pytest

import kit
from kit.collect.probe import doubts, import_name
from kit.diagnose import CRASHED, diagnose
from kit.facts import (
    Attempt,
    Binary,
    Distribution,
    Driver,
    Extension,
    Facts,
    Gpu,
    Kernel,
    Loaded,
    Missing,
    Module,
    OtherPython,
    Probe,
    Shadow,
    Unread,
)
from kit.failures import SECTIONS, catalogue, failure
from kit.findings import FIX_KINDS, SAFETIES
from kit.recorded import names, recorded

# What facts of an environment cannot show: it is read in text alone, and has no example.
TEXT_ONLY = [
    "module-moved",
    "version-conflict",
    "harmless-warning",
    "not-environment",
]
# The ids of the contract, and two of our own.
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
    "apex-version-mismatch",
    "shadowed-package",
    "duplicate-metadata",
    "wrong-interpreter",
    "stale-kernel",
    "numpy-abi",
    "library-not-found",
    "library-shadowed",
    "libc-too-old",
    "libstdcxx-too-old",
    "build-isolation",
    "sdist-preferred",
    "index-url-malformed",
    "wheel-not-published",
    "python-unsupported",
    "headers-missing",
    "compiler-unsupported",
    "nvcc-not-found",
    "nvcc-torch-mismatch",
    "nvcc-arch-unsupported",
    *TEXT_ONLY,
]

# What harms: (pattern over one command as typed and its sentence, why it is never advised).
NEVER = [
    (r"pip install (-\S+ )*apex(\W|$)", "PyPI's apex is another package"),
    (r"--global-option|--config-settings.*--global", "pip has forgotten how"),
    (r"-c pyg\b", "conda's extension over a pip torch"),
    (r"LD_PRELOAD|LD_LIBRARY_PATH=|patchelf|\bln -s|symlink", "another library for the loader"),
    (r"--pre\b|/nightly|\b(a|the|newest|latest) nightly build", "a nightly where a stable release serves"),
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
    return unread(kit.machine("healthy-gpu"))


def cpu_machine():
    return unread(kit.machine("healthy-cpu"))


def unread(facts):
    """The machine as one without an X-ray, as older facts are: what a test changes does not contradict its files."""
    read = [dataclasses.replace(e, binaries=()) for e in facts.extensions]
    return change(torch(facts, binaries=()), extensions=tuple(read))


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


def binary(path, *missing, loads=None, **values):
    """A compiled file; it loads where nothing is missing."""
    name = path.rpartition("/")[2]
    lacks = tuple(Missing(kind, what, name, *rest) for kind, what, *rest in missing)
    shadows = values.get("shadows", ())
    why = tuple(f"undefined symbol {m.what}" for m in lacks if m.kind == "symbol")
    loads = not lacks and not shadows if loads is None else loads
    values.setdefault("needs", tuple(m.what for m in lacks if m.kind == "library"))
    return Binary(path, machine="x86_64", missing=lacks, loads=loads, why=why, **values)


def with_files(facts, package, *binaries, **values):
    """The machine with one extension more, which consists of these files."""
    module = package.replace("-", "_")
    libraries = values.pop("libraries", ()) + tuple(b.path for b in binaries)
    values = {"version": "1.0", "origin": f"{module}-1.0.dist-info", "modules": (module,), **values}
    added = Extension(package, location=site(facts), libraries=libraries, binaries=binaries, **values)
    return change(facts, extensions=(*facts.extensions, added))


def with_core(facts, *missing, **values):
    """The machine with torch/_C read, which lacks these."""
    lacks = tuple(Missing(*lack) for lack in missing)
    core = Binary("torch/_C.cpython-311-x86_64-linux-gnu.so", machine="x86_64", missing=lacks, **values)
    return torch(facts, binaries=(core,))


def imported(facts, module, status=0, said=""):
    return change(facts, probes=(Probe("torch", 0), Probe(module, status, said)))


SYMBOL = "_ZN3c105ErrorC2ENS_14SourceLocationESs"  # c10::Error(c10::SourceLocation, std::string), the old string
OLD_LIBC = ("version", "GLIBC_2.99", "libc.so.6", "GLIBC_2.36")
OLD_LIBSTDCXX = ("version", "GLIBCXX_3.4.99", "libstdc++.so.6", "GLIBCXX_3.4.30")
SHADOW = Shadow("libstdc++.so.6", "/old/libstdc++.so.6", "LD_LIBRARY_PATH", "/usr/lib/libstdc++.so.6")

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
    assert (it.example is None) == (id in TEXT_ONLY)
    if it.example is None:
        return
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


def test_the_report_without_a_wheel_is_offered_a_replacement_and_a_build_for_its_gpu():
    facts = recorded("rtx5070ti-cpu-only-scatter")
    ours, rebuild, move = diagnose(facts)["extension-cpu-only"].fix
    assert (ours.kind, ours.cost.seconds) == ("use-replacement", 5)
    assert ours.argv == ("kit", "shim", "enable", "torch_scatter", "--python", facts.python.executable, "--cover")
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
                folder = fix.env.get("LD_LIBRARY_PATH", "").partition(":")[0]
                assert not folder or folder.startswith(site(facts)), f"{name}: {folder} in front of all"
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


def plug_ins(facts):
    """torchaudio 2.4 where neither FFmpeg nor sox is: files for each FFmpeg, and files that need its own first."""
    lib = "torchaudio/lib"
    return with_files(
        facts,
        "torchaudio",
        binary(f"{lib}/libtorchaudio.so"),
        binary(f"{lib}/_torchaudio.so", ("library", "libtorchaudio.so")),
        binary(f"{lib}/libtorchaudio_sox.so", ("library", "libsox.so")),
        binary(f"{lib}/_torchaudio_sox.so", ("library", "libtorchaudio_sox.so")),
        binary("torio/lib/libtorio_ffmpeg6.so", ("library", "libavutil.so.58"), ("library", "libswscale.so.7")),
        binary("torio/lib/_torio_ffmpeg6.so", ("library", "libtorio_ffmpeg6.so"), ("library", "libavutil.so.58")),
    )


def files_for_each_torch(facts, *minors):
    """vesin-torch: a folder for each torch, of which one is for this."""
    files = [binary(f"vesin_torch/torch-{minor}/lib/libvesin_torch.so", ("symbol", SYMBOL)) for minor in minors]
    return with_files(facts, "vesin-torch", *files)


def bitsandbytes(facts, *built):
    needed = {"cuda118": "libcudart.so.11.0", "cuda126": "libcudart.so.12", "cuda130": "libcudart.so.13"}
    files = [
        binary(
            f"bitsandbytes/libbitsandbytes_{it}.so",
            *([] if it == built[-1] and facts.torch.cuda else [("library", needed[it])]),
            architectures=("sm_80", "sm_90"),
            ptx=("compute_90",),
        )
        for it in built
    ]
    return with_files(facts, "bitsandbytes", *files)


def near_misses_of_compiled_files():
    gpu, cpu = gpu_machine(), cpu_machine()
    no_gpu = host(gpu, gpus=(), driver=None, device_nodes=(), pci_gpus=0)
    yield "FFmpeg and sox are optional", plug_ins(cpu), "library-not-found"
    yield "files for other CUDAs, by their names", bitsandbytes(gpu, "cuda118", "cuda130"), "library-not-found"
    by_another = with_files(cpu, "metatensor-torch", binary("m/lib_t.so", ("library", "libmetatensor.so")))
    yield "a library that another package loads", imported(by_another, "metatensor_torch"), "library-not-found"
    needs_driver = with_files(no_gpu, "saver", binary("saver/hook.so", ("library", "libcuda.so.1")))
    yield "no driver, and the import does without", imported(needs_driver, "saver"), "library-not-found"
    hidden = host(needs_driver, pci_gpus=1)
    yield "gpu-not-visible explains the missing driver", hidden, "library-not-found"
    lost = with_core(cpu, ("library", "libtorch_cpu.so", "libtorch_python.so"), loads=False)
    yield "torch's own library", torch(lost, missing_files=("torch/lib/libtorch_cpu.so",)), "library-not-found"
    lacks_lt = with_core(gpu, ("library", "libcusparseLt.so.0", "libtorch_cuda.so"), loads=False)
    yield "torch is imported all the same", change(lacks_lt, probes=(Probe("torch", 0),)), "library-not-found"
    yield "NVIDIA's library is none of torch's own", lacks_lt, "torch-broken"

    old = with_files(cpu, "torch-sparse", binary("torch_sparse/_x_cpu.so", OLD_LIBSTDCXX))
    yield "an old library and no other copy", old, "library-shadowed"
    taken = binary("torch_sparse/_x_cpu.so", OLD_LIBSTDCXX, shadows=(SHADOW,))
    yield "a newer copy is here and hidden", with_files(cpu, "torch-sparse", taken), "libstdcxx-too-old"
    libc = Shadow("libc.so.6", "/old/libc.so.6", "LD_LIBRARY_PATH", "/lib/libc.so.6")
    taken = binary("torch_sparse/_x_cpu.so", OLD_LIBC, shadows=(libc,))
    yield "a newer C library is here and hidden", with_files(cpu, "torch-sparse", taken), "libc-too-old"
    taken = binary("torch_sparse/_x_cpu.so", ("symbol", SYMBOL), shadows=(SHADOW,))
    yield "a hidden copy has the symbol", with_files(cpu, "torch-sparse", taken), "extension-torch-mismatch"
    ranged = with_files(cpu, "torch-sparse", binary("x/_cpu.so", OLD_LIBC), requires_torch=("torch<2.13",))
    yield "a file says more than a range of versions", ranged, "extension-torch-mismatch"
    python = with_files(cpu, "spam", binary("spam/_x.so", ("symbol", "_PyErr_BadInternal")))
    yield "a symbol of Python's", python, "extension-torch-mismatch"
    one = change(files_for_each_torch(cpu, "2.3", "2.10", "2.14"), probes=())
    fitting = binary("vesin_torch/torch-2.13/lib/libvesin_torch.so")
    one = change(
        one, extensions=(dataclasses.replace(one.extensions[-1], binaries=(*one.extensions[-1].binaries, fitting)),)
    )
    yield "a folder for each torch", one, "extension-torch-mismatch"
    yield "files for CUDA beside one for the CPU", bitsandbytes(cpu, "cuda118", "cuda126"), "extension-cuda-mismatch"
    minor = torch(gpu, version="2.13.0+cu126", cuda="12.6")
    linked = binary("x/_C.so", needs=("libtorch.so", "libcudart.so.12"), cuda="12.8")
    yield "another minor of the same CUDA", with_files(minor, "flash-attn", linked), "extension-cuda-mismatch"
    both = imported(with_files(gpu, "flash-attn", linked), "flash_attn")
    yield "another CUDA that is here too, and works", both, "extension-cuda-mismatch"

    cuda = {"needs": ("libtorch.so", "libtorch_cuda.so")}
    yield (
        "one file with GPU code",
        with_files(gpu, "pyg-lib", binary("libpyg.so", ptx=("compute_90",))),
        "extension-cpu-only",
    )
    yield (
        "a file that calls torch's GPU code",
        with_files(gpu, "torchvision", binary("t/_C.so", **cuda)),
        "extension-cpu-only",
    )
    plain = with_files(gpu, "torchaudio", binary("torchaudio/lib/_t.so"), version="2.11.0+cpu", built_for_cuda="cpu")
    yield "nothing for the GPU by design", plain, "extension-cpu-only"

    def holding(*files):
        return with_files(gpu, "flash-attn", *files)

    yield "8.6 code serves 8.9", holding(binary("x/_C.so", architectures=("sm_86",))), "gpu-arch-missing"
    yield "PTX serves 8.9", holding(binary("x/_C.so", ptx=("compute_80",))), "gpu-arch-missing"
    for_hopper = binary("x/_C_sm90.so", architectures=("sm_90a",))
    yield "code for one GPU alone", holding(for_hopper), "gpu-arch-missing"
    yield (
        "one of its files serves",
        holding(for_hopper, binary("x/_C.so", architectures=("sm_80",))),
        "gpu-arch-missing",
    )
    nvidias = binary("x.libs/libnvjpeg-36e11081.so.13", architectures=("sm_90",))
    yield "a bundled library of NVIDIA's", holding(nvidias), "gpu-arch-missing"
    older = holding(binary("x/_C.so", architectures=("sm_120",)))
    yield "an extension on a GPU nobody knows", host(older, gpus=(Gpu("NVIDIA Mystery 1"),)), "gpu-arch-missing"
    fits = binary("x/_C.so", ptx=("compute_80",), ptx_isa="8.0")
    yield "PTX of an older CUDA than the driver's", holding(fits), "driver-too-old"

    unneeded = with_files(cpu, "spam", Binary("spam/_x.so", loads=False, why=("damaged: no section table",)))
    yield "the import does without a damaged file", imported(unneeded, "spam"), "extension-broken"


def near_misses_of_installations():
    facts = change(cpu_machine(), extensions=())

    def tried(argv, *said, status=1):
        return change(facts, attempt=Attempt(("pip", "install", *argv), status, said))

    build = "  Getting requirements to build wheel: finished with status 'error'"
    nothing = "ERROR: No matching distribution found for torch-scatter"
    source = "  Downloading torch_scatter-2.1.2.tar.gz (108 kB)"
    yield "nothing was built", tried(["torch-scatter"], "Collecting torch-scatter", nothing), "build-isolation"
    warning = "UserWarning: Failed to initialize NumPy: No module named 'numpy'"
    went_on = tried(["torch-scatter"], build, warning, "error: command 'g++' failed with exit code 1")
    yield "torch's own warning about NumPy", went_on, "build-isolation"
    whole = f"https://data.pyg.org/whl/torch-{facts.torch.minor}.0+cpu.html"
    yield "the page of this torch", tried(["torch-scatter", "-f", whole], nothing), "index-url-malformed"
    failed = tried(["torch-scatter", "-f", "https://data.pyg.org/whl/torch-2.8.0.html"], nothing, status=0)
    yield "an address that did no harm", failed, "index-url-malformed"
    lost = tried(["torch-scatter"], "Retrying after connection broken by 'NewConnectionError'", nothing)
    yield "a network that fails", lost, "wheel-not-published"
    yield "a package that torch knows nothing of", tried(["no-such-thing"], nothing[:-13]), "wheel-not-published"
    passed = "ERROR: Ignored the following versions that require a different python version: 1.0 Requires-Python <3.9"
    yield "an older version is passed over", tried(["torch-scatter==2.1.2"], passed, nothing), "python-unsupported"
    asked = tried(["--no-binary=torch-scatter", "torch-scatter"], source, build, status=0)
    yield "source was asked for", asked, "sdist-preferred"
    yield "no wheel for this torch", tried(["torch-scatter"], source, build, status=0), "sdist-preferred"
    cuda = tried(["torch-scatter"], build, "x.cu:4:10: fatal error: cuda_runtime.h: No such file or directory")
    yield "a header of CUDA's", cuda, "headers-missing"
    nvcc = tried(["torch-scatter"], build, "error: [Errno 2] No such file or directory: '/usr/local/cuda/bin/nvcc'")
    yield "nvcc is no C++ compiler", nvcc, "compiler-unsupported"
    stopped = "error: command '/usr/local/cuda/bin/nvcc' failed with exit code 1"
    wrong = tried(["torch-scatter"], build, 'csrc/x.cu(3): error: identifier "y" is undefined', stopped)
    yield "nvcc ran, and the code is wrong", wrong, "nvcc-not-found"
    minor = "UserWarning: The detected CUDA version (13.1) has a minor version mismatch with the version"
    yield "another minor version is a warning", tried(["x"], build, minor, stopped), "nvcc-torch-mismatch"
    old = "nvcc warning : The 'compute_50', 'sm_50' architectures are deprecated, and may be removed"
    yield "an architecture is only deprecated", tried(["x"], build, old, stopped), "nvcc-arch-unsupported"


def near_misses():
    yield from near_misses_of_compiled_files()
    yield from near_misses_of_installations()
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
    other = (Probe("torch", 0), Probe("apex", 1, "ImportError: cannot import name 'x' from 'torchvision.ops'"))
    yield "an import that names another package", change(with_apex(cpu, APEX), probes=other), "apex-version-mismatch"
    ours = with_distribution(with_apex(gpu, APEX, ()), "kit-graft-apex", "0.1")
    yield "the kit's own replacement", ours, "apex-version-mismatch"
    yield "the kit's own replacement needs no libraries", ours, "apex-extension-missing"
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
    assert {id for _, _, id in near_misses()} == set(IDS) - set(TEXT_ONLY)


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


# -- what compiled files tell, read without loading them


def only(facts, id, package=None, severity="error"):
    """The single finding of a machine, which is this failure."""
    findings = diagnose(facts)
    assert [(f.failure, f.severity) for f in findings] == [(id, severity)]
    check_finding(findings[id])
    assert package is None or findings[id].package == package
    return findings[id]


def test_plug_ins_for_what_is_not_installed_are_no_doubt():
    assert doubts(plug_ins(cpu_machine())) == []
    assert found(plug_ins(cpu_machine())) == []
    assert doubts(bitsandbytes(cpu_machine(), "cuda118", "cuda126")) == []
    assert doubts(bitsandbytes(gpu_machine(), "cuda118", "cuda130")) == []


def test_a_file_that_does_not_load_is_a_doubt():
    facts = with_files(cpu_machine(), "torch-sparse", binary("torch_sparse/_x_cpu.so", ("symbol", SYMBOL)))
    assert doubts(facts) == ["torch", "torch_sparse"]
    assert doubts(with_core(cpu_machine(), ("library", "libgomp.so.1", "libtorch_cpu.so"), loads=False)) == ["torch"]
    older = extension(cpu_machine(), older_than_torch=True)
    assert doubts(older) == ["torch", "torch_scatter"]
    read = with_core(extension(older, binaries=(binary("torch_scatter/_scatter_cpu.so"),)), loads=True)
    assert doubts(read) == []  # it is old, and fits all the same
    assert doubts(extension(read, binaries=(binary("x.so", loads=None, python_tag="abi3"),))) == []
    apex = with_apex(gpu_machine(), APEX, APEX_LIBRARIES)
    assert doubts(apex) == ["torch", "apex"], "its libraries were not read"
    (*others, last) = apex.extensions
    fits = dataclasses.replace(last, binaries=(binary("amp_C.so", loads=True, python_tag="abi3"),))
    assert doubts(change(apex, extensions=(*others, fits))) == [], "a healthy environment is not asked"
    assert doubts(with_distribution(apex, "kit-graft-apex", "0.1")) == []


def test_where_no_file_is_for_this_torch_the_import_tells():
    facts = files_for_each_torch(cpu_machine(), "2.3", "2.14")
    assert doubts(facts) == ["torch", "vesin_torch"]
    assert found(imported(facts, "vesin_torch")) == []
    said = "ImportError: vesin-torch has no build for torch 2.13"
    finding = only(imported(facts, "vesin_torch", 1, said), "extension-torch-mismatch", "vesin-torch")
    assert any(line.startswith("vesin_torch/torch-2.3/") for line in finding.evidence)


@pytest.mark.parametrize(
    ("stated", "file", "name"),
    [
        (("benchmarks", "torchrl"), "torchrl/_torchrl.so", "torchrl"),
        (("build_backend", "torch_c_dlpack_ext"), "torch_c_dlpack_ext/x.so", "torch_c_dlpack_ext"),
        (("dist",), "torchlpc/_C.abi3.so", "torchlpc"),
        (("pyg_lib", "libpyg"), "libpyg.so", "pyg_lib"),
        (("flash_attn",), "flash_attn_2_cuda.cpython-311-x86_64-linux-gnu.so", "flash_attn"),
    ],
)
def test_the_import_is_that_of_the_package_with_the_libraries(stated, file, name):
    it = Extension("x", "1", "x", "/x", stated, (file,))
    it = dataclasses.replace(it, package="pyg-lib") if name == "pyg_lib" else it
    assert import_name(it) == name
    assert import_name(dataclasses.replace(it, modules=())) is None


def test_a_build_without_a_tag_for_another_torch_is_told_by_its_symbols():
    file = binary("torch_sparse/_x_cpu.so", ("symbol", SYMBOL))
    facts = with_files(cpu_machine(), "torch-sparse", file)
    finding = only(facts, "extension-torch-mismatch", "torch-sparse")
    assert "so it cannot be loaded" in finding.summary
    assert any("torch_sparse/_x_cpu.so: undefined symbol" in line for line in finding.evidence)
    works = only(imported(facts, "torch_sparse"), "extension-torch-mismatch", severity="warning")
    assert "without _x_cpu.so" in works.summary


@pytest.mark.parametrize(
    "symbol", ["_Z16THPVariable_WrapN2at10TensorBaseE", "aoti_torch_new_thing", "THPVariableClass"]
)
def test_symbols_of_torch_that_are_in_no_namespace(symbol):
    facts = with_files(cpu_machine(), "spam", binary("spam/_C.so", ("symbol", symbol)))
    only(facts, "extension-torch-mismatch", "spam")


def test_a_library_that_torch_had_once():
    file = binary("torch_sparse/_x_cuda.so", ("library", "libtorch_cuda_cu.so"))
    only(with_files(gpu_machine(), "torch-sparse", file), "extension-torch-mismatch")
    only(with_files(cpu_machine(), "torch-sparse", file), "extension-cuda-mismatch")


@pytest.mark.parametrize(
    ("lacks", "built"),
    [
        ([("library", "libcudart.so.12")], "CUDA 12.6"),
        ([("library", "libcublas.so.12"), ("library", "libstrange.so.1")], "CUDA 12.6"),
        ([("library", "libcusparse.so.11"), ("library", "libcudart.so.12")], "CUDA 12.6"),
    ],
)
def test_libraries_of_another_cuda(lacks, built):
    file = binary("flash_attn_2_cuda.so", *lacks, needs=("libtorch.so", lacks[0][1]), cuda="12.6")
    finding = only(with_files(gpu_machine(), "flash-attn", file), "extension-cuda-mismatch", "flash-attn")
    assert built in finding.summary
    assert finding.evidence[2] == f"flash_attn_2_cuda.so: {lacks[0][1]} is not found"


def test_a_build_for_rocm_beside_a_torch_for_cuda():
    lacks = [("library", "libamdhip64.so.6"), ("library", "libc10_hip.so")]
    file = binary("x/_cuda.so", *lacks, needs=("libc10.so", "libamdhip64.so.6", "libc10_hip.so"))
    assert (
        "built for ROCm" in only(with_files(gpu_machine(), "torch-sparse", file), "extension-cuda-mismatch").summary
    )


def test_another_cuda_major_that_is_installed_as_well():
    file = binary("x/_C.so", needs=("libtorch.so", "libcudart.so.12"), cuda="12.8")
    facts = with_files(gpu_machine(), "flash-attn", file)
    assert doubts(facts) == ["torch", "flash_attn"]
    finding = only(facts, "extension-cuda-mismatch")
    assert "x/_C.so: compiled with CUDA 12.8" in finding.evidence


def test_a_single_file_for_cpu_and_gpu_is_judged_by_what_it_holds():
    facts = with_files(gpu_machine(), "pyg-lib", binary("libpyg.so", needs=("libtorch_cpu.so", "libc10.so")))
    finding = only(facts, "extension-cpu-only", "pyg-lib")
    assert finding.evidence[1].startswith("libpyg.so: holds no GPU code")
    assert found(with_files(gpu_machine(), "spam", binary("spam.so"))) == []  # nobody knows that it should


@pytest.mark.parametrize(
    ("codes", "gpu", "id"),
    [
        ({"architectures": ("sm_80", "sm_90")}, "12.0", "gpu-arch-missing"),
        ({"architectures": ("sm_80",), "ptx": ("compute_90",)}, "8.9", None),
        ({"architectures": ("sm_90",), "ptx": ("compute_90",)}, "8.9", "gpu-arch-missing"),
        ({"ptx": ("compute_80",), "ptx_isa": "9.0"}, "8.9", None),
        ({"architectures": ("sm_70",), "ptx": ("compute_80",), "ptx_isa": "9.2"}, "8.9", "driver-too-old"),
        ({"architectures": ("sm_70", "sm_89"), "partial": ("sm_89",)}, "8.9", "gpu-arch-missing"),
    ],
)
def test_the_gpu_code_of_an_extension(codes, gpu, id):
    facts = host(gpu_machine(), gpus=(Gpu("GPU", gpu),))
    facts = with_files(facts, "flash-attn", binary("x/_C.so", needs=("libtorch_cuda.so",), **codes))
    if id is None:
        assert found(facts) == []
        return
    finding = only(facts, id, "flash-attn")
    assert finding.fix[0].kind == "rebuild-extension" and finding.fix[0].env["TORCH_CUDA_ARCH_LIST"] == gpu
    assert (finding.fix[-1].kind == "update-driver") == (id == "driver-too-old")


def test_a_real_build_for_two_architectures():
    facts = recorded("scatter-built-for-90-and-120")
    assert [found(facts.with_gpu(gpu)) for gpu in ("9.0", "12.0", "12.1")] == [[], [], []]
    finding = only(facts.with_gpu("8.9"), "gpu-arch-missing", "torch_scatter")
    assert "compiled for sm_90 sm_120" in finding.summary
    assert [fix.kind for fix in finding.fix[:2]] == ["use-replacement", "rebuild-extension"]
    assert finding.fix[1].env["TORCH_CUDA_ARCH_LIST"] == "8.9"


def test_code_for_a_gpu_that_torch_lacks_too_is_one_finding():
    facts = host(gpu_machine(), gpus=(Gpu("Tesla V100", "7.0"),))
    facts = with_files(facts, "flash-attn", binary("x/_C.so", architectures=("sm_80",)))
    only(facts, "gpu-arch-missing", "torch")


def test_the_architectures_of_torch_come_from_its_library_where_its_list_cannot_be_read():
    library = Binary("torch/lib/libtorch_cuda.so", architectures=("sm_80", "sm_90"), loads=None)
    core = Binary("torch/_C.so", loads=True)
    facts = torch(gpu_machine(), architectures=(), binaries=(core, library))
    assert found(facts) == []
    finding = only(facts.with_gpu("7.5"), "gpu-arch-missing", "torch")
    assert "torch/lib/libtorch_cuda.so: built for sm_80 sm_90" in finding.evidence


def test_the_wheel_that_lacks_the_gpus_code_is_not_proposed_again():
    facts = torch(gpu_machine(), version="2.10.0+cu130", metadata_version="2.10.0")
    code = {"architectures": ("sm_90",), "needs": ("libtorch_cuda.so",)}
    tag = {"version": "1.6.3+pt210cu130", "built_for_torch": "2.10", "built_for_cuda": "13.0"}
    facts = with_files(facts, "torch-cluster", binary("torch_cluster/_x_cuda.so", **code), **tag)
    kinds = [fix.kind for fix in only(facts, "gpu-arch-missing").fix]
    assert kinds and "install-matching-wheel" not in kinds


# -- libraries around torch and its extensions


@pytest.mark.parametrize(
    ("library", "pin"),
    [
        ("libcusparseLt.so.0", "nvidia-cusparselt-cu13==0.8.1"),
        ("libcudnn.so.9", "nvidia-cudnn-cu13==9.20.0.48"),
        ("libcudnn_graph.so.9", "nvidia-cudnn-cu13==9.20.0.48"),
        ("libnccl.so.2", "nvidia-nccl-cu13==2.29.7"),
        ("libnvshmem_host.so.3", "nvidia-nvshmem-cu13==3.4.5"),
        ("libcublasLt.so.13", "cuda-toolkit[cublas]==13.0.3"),
        ("libcudart.so.13", "cuda-toolkit[cudart]==13.0.3"),
        ("libcupti.so.13", "cuda-toolkit[cupti]==13.0.3"),
        ("libnvrtc-builtins.so.13.0", "cuda-toolkit[nvrtc]==13.0.3"),
        ("libnvJitLink.so.13", "cuda-toolkit[nvjitlink]==13.0.3"),
        ("libcufile.so.0", "cuda-toolkit[cufile]==13.0.3"),
    ],
)
def test_a_library_of_nvidias_comes_back_in_the_version_that_torch_asks_for(library, pin):
    facts = gpu_machine()
    gone = tuple(d for d in facts.distributions if d.key in ("torch", "cuda-toolkit", "torch-scatter", "numpy"))
    facts = change(facts, distributions=gone)  # a wheel that is uninstalled is the same cause as one that is damaged
    facts = with_core(facts, ("library", library, "libtorch_cuda.so"), loads=False)
    (fix,) = only(facts, "library-not-found", "torch").fix
    assert fix.argv[-1] == pin
    assert ("--no-deps" in fix.argv) == (not pin.startswith("cuda-toolkit"))


def test_a_library_of_nvidias_whose_wheel_is_there_by_its_metadata():
    facts = with_core(gpu_machine(), ("library", "libcublas.so.13", "libtorch_cuda.so"), loads=False)
    facts = with_distribution(facts, "nvidia-cublas", "13.1.1.3")
    (fix,) = only(facts, "library-not-found", "torch").fix
    assert fix.argv[3:] == (
        "install",
        "--force-reinstall",
        "--no-deps",
        "--no-cache-dir",
        "nvidia-cublas==13.1.1.3",
    )


def test_a_library_that_lies_unseen_is_shown_to_the_loader():
    here = f"{site(gpu_machine())}/nvidia/npp/lib/libnppicc.so.13"
    lacks = Missing("library", "libnppicc.so.13", "_C.so", None, here)
    file = dataclasses.replace(binary("x/_C.so", loads=False), missing=(lacks,))
    facts = change(with_files(gpu_machine(), "torchcodec", file), variables={"LD_LIBRARY_PATH": "/opt/lib"})
    (fix,) = only(facts, "library-not-found", "torchcodec").fix
    assert (fix.kind, fix.argv) == ("fix-loader-path", None)
    assert fix.env == {"LD_LIBRARY_PATH": f"{site(facts)}/nvidia/npp/lib:/opt/lib"}


def test_a_library_of_the_system_and_one_of_the_package_itself():
    file = binary("spam/_C.so", ("library", "libnuma.so.1"))
    facts = with_files(cpu_machine(), "spam", file)
    assert "libnuma.so.1" in only(facts, "library-not-found", "spam").fix[0].why
    only(imported(facts, "spam"), "library-not-found", severity="warning")

    file = binary("spam/_C.so", ("library", "libjpeg-1a2b3c4d.so.62"))
    facts = with_files(cpu_machine(), "spam", file, missing_files=("spam.libs/libjpeg-1a2b3c4d.so.62",))
    finding = only(facts, "library-not-found", "spam")
    assert "spam.libs/libjpeg-1a2b3c4d.so.62: missing, although its RECORD lists it" in finding.evidence
    assert [fix.kind for fix in finding.fix] == ["install-matching-wheel"]


def test_the_drivers_library_is_one_finding_whatever_needs_it():
    no_gpu = host(gpu_machine(), gpus=(), driver=None, device_nodes=(), pci_gpus=0)
    facts = with_files(no_gpu, "saver", binary("saver/hook.so", ("library", "libcuda.so.1")))
    facts = with_files(facts, "other", binary("other/_C.so", ("library", "libcuda.so.1")))
    finding = only(facts, "library-not-found", "saver")
    assert "saver, other needs" in finding.summary and finding.fix[0].kind == "expose-gpu"
    assert "--gpus all" in only(host(facts, container="docker"), "library-not-found").fix[0].why


def test_one_folder_in_front_is_one_finding_whatever_stumbles_over_it():
    file = binary("torch_sparse/_x_cpu.so", OLD_LIBSTDCXX, shadows=(SHADOW,))
    facts = with_files(with_files(cpu_machine(), "torch-sparse", file), "spam", binary("spam.so", shadows=(SHADOW,)))
    finding = only(facts, "library-shadowed", "torch-sparse")
    assert "The same holds for spam" in finding.summary
    (fix,) = finding.fix
    assert fix.kind == "fix-loader-path" and fix.argv[:3] == ("env", "-u", "LD_LIBRARY_PATH")
    assert "Take /old out of LD_LIBRARY_PATH" in fix.why


@pytest.mark.parametrize(
    ("how", "taken", "conda", "word"),
    [
        ("/etc/ld.so.cache", "/usr/local/cuda/lib64/libstdc++.so.6", False, "/etc/ld.so.conf.d"),
        ("/usr/lib64", "/usr/lib64/libstdc++.so.6", False, "ldconfig"),
        ("RUNPATH", "/build/lib/libstdc++.so.6", False, "without a search path into /build/lib"),
        ("RPATH", "/opt/venv/lib/libstdc++.so.6", True, "--channel conda-forge libstdcxx"),
        ("RPATH", "/opt/venv/lib/libodd.so.6", True, "conda package that brings"),
    ],
)
def test_what_wins_decides_what_helps(how, taken, conda, word):
    shadow = Shadow(taken.rpartition("/")[2], taken, how, "/right/lib/x.so")
    facts = with_files(cpu_machine(), "torch-sparse", binary("x/_cpu.so", OLD_LIBSTDCXX, shadows=(shadow,)))
    facts = change(facts, python=dataclasses.replace(facts.python, conda=conda))
    fix = only(facts, "library-shadowed").fix[0]
    assert word in f"{fix.why} {fix.command()}"


def test_a_library_of_the_wheels_may_stand_in_front_and_no_systems():
    right = f"{site(gpu_machine())}/nvidia/cu13/lib"
    for hidden, env in ((right, {"LD_LIBRARY_PATH": right}), ("/usr/local/cuda/lib64", {})):
        shadow = Shadow("libnvJitLink.so.13", "/opt/l/libnvJitLink.so.13", "/etc/ld.so.cache", f"{hidden}/libn.so.13")
        lacks = ("symbol", "__nvJitLinkComplete_13_3", "libcusparse.so.12", "libnvJitLink.so.13")
        facts = with_core(gpu_machine(), lacks, loads=False, shadows=(shadow,))
        (fix,) = only(facts, "library-shadowed", "torch").fix
        assert (dict(fix.env), fix.argv) == (env, None)


def test_what_an_import_says_of_files_that_were_not_read():
    facts = with_files(cpu_machine(), "spam", binary("spam/_C.so"))
    said = "ImportError: libGL.so.1: cannot open shared object file: No such file or directory"
    finding = only(imported(facts, "spam", 1, said), "library-not-found", "spam")
    assert "spam needs libGL.so.1" in finding.summary
    said = "OSError: /lib/libm.so.6: version `GLIBC_2.38' not found (required by /v/lib/spam/x.so)"
    finding = only(imported(facts, "spam", 1, said), "libc-too-old", "spam")
    assert "x.so needs GLIBC_2.38; libm.so.6" in finding.summary
    said = "ImportError: /v/lib/libstdc++.so.6: version `CXXABI_1.3.15' not found (required by x.so)"
    only(imported(extension(cpu_machine(), missing_files=()), "torch_scatter", 1, said), "libstdcxx-too-old")


def test_condas_mkl_took_a_symbol_away():
    facts = with_core(cpu_machine(), ("symbol", "iJIT_NotifyEvent", "libtorch_cpu.so"), loads=False)
    (fix,) = only(facts, "library-shadowed", "torch").fix
    assert fix.argv[-1] == "mkl<2024.1"


def test_torch_itself_on_an_old_system():
    facts = with_core(
        cpu_machine(), ("version", "GLIBC_2.28", "libtorch_cpu.so", "libc.so.6", "GLIBC_2.17"), loads=False
    )
    assert "2.6 is the last" in only(facts, "libc-too-old", "torch").fix[0].why
    lacks = ("version", "GLIBCXX_3.4.29", "libtorch_cpu.so", "libstdc++.so.6", "GLIBCXX_3.4.25")
    finding = only(with_core(cpu_machine(), lacks, loads=False), "libstdcxx-too-old", "torch")
    assert "GLIBCXX_3.4.29" in finding.summary and "GLIBCXX_3.4.25" in finding.summary


def test_conda_brings_a_newer_libstdcxx():
    facts = failure("libstdcxx-too-old").example()
    facts = change(facts, python=dataclasses.replace(facts.python, conda=True))
    fix = only(facts, "libstdcxx-too-old").fix[0]
    assert fix.argv == (
        "conda",
        "install",
        "--prefix",
        "/opt/venv",
        "--channel",
        "conda-forge",
        "libstdcxx",
        "libgcc",
    )


def test_the_newest_version_that_is_missing_is_named():
    lacks = [("version", f"GLIBC_2.{n}", "libm.so.6", "GLIBC_2.31") for n in (9, 35, 38, 4)]
    finding = only(with_files(cpu_machine(), "spam", binary("spam.so", *lacks)), "libc-too-old")
    assert "needs GLIBC_2.38" in finding.summary and len(finding.evidence) == 1
    assert "has GLIBC_2.39" in finding.fix[-1].why


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (Binary("spam/_C.so", loads=False, why=("damaged: cut off",)), "spam/_C.so: damaged: cut off"),
        (binary("spam/_C.so", ("symbol", "PyUnicode_NEW")), "spam/_C.so: undefined symbol PyUnicode_NEW"),
    ],
)
def test_a_file_that_is_damaged_or_for_another_python(file, said):
    finding = only(with_files(cpu_machine(), "spam", file), "extension-broken", "spam")
    assert said in finding.evidence


def test_compiled_modules_for_another_python():
    why = ("compiled for cp312: this Python is cp311 and does not look for a file of that name",)
    file = Binary("spam/_C.cpython-312-x86_64-linux-gnu.so", python_tag="cp312", loads=False, why=why)
    facts = with_files(cpu_machine(), "spam", file)
    assert doubts(facts) == ["torch", "spam"]
    facts = imported(facts, "spam", 1, "ImportError: cannot import name '_C' from 'spam'")
    assert any("compiled for cp312" in line for line in only(facts, "extension-broken").evidence)


def test_torch_that_lacks_its_own_is_told_without_an_import():
    facts = with_core(cpu_machine(), ("symbol", SYMBOL, "libtorch_python.so"), loads=False)
    facts = torch(
        facts, binaries=(dataclasses.replace(facts.torch.binaries[0], why=("libtorch_python.so: lacks it",)),)
    )
    finding = only(facts, "torch-broken", "torch")
    assert "torch/_C.cpython-311-x86_64-linux-gnu.so: libtorch_python.so: lacks it" in finding.evidence
    assert found(change(facts, probes=(Probe("torch", 0),))) == []


LOADING = {
    "extension-torch-mismatch",
    "extension-cuda-mismatch",
    "extension-broken",
    "library-not-found",
    "library-shadowed",
    "libc-too-old",
    "libstdcxx-too-old",
    "torch-broken",
}
LACKS = [
    ("symbol", SYMBOL),
    ("symbol", "PyUnicode_NEW"),
    ("library", "libtorch_cuda.so"),
    ("library", "libcudart.so.12"),
    ("library", "libcuda.so.1"),
    ("library", "libnuma.so.1"),
    ("library", "libother.so"),
    OLD_LIBC,
    OLD_LIBSTDCXX,
]
SAID = [
    "",
    "OSError: x.so: undefined symbol: y",
    "OSError: libcudart.so.12: cannot open shared object file",
    "ImportError: z",
]


@pytest.mark.parametrize("machine", ["healthy-cpu", "healthy-gpu"])
def test_a_package_that_does_not_load_has_one_cause(machine):
    """Whatever its files lack, its version says and its import ends with: one finding, and one that stands by it."""
    tags = [{}, {"built_for_torch": "2.8"}, {"built_for_cuda": "11.8"}, {"requires_torch": ("torch==2.1.0",)}]
    tags += [{"requires_torch": ("torch<2",)}, {"missing_files": ("spam/_gone.so",)}]
    for lack in LACKS:
        for tag in tags:
            for shadows in ((), (SHADOW,)):
                facts = with_files(kit.machine(machine), "spam", binary("spam/_C.so", lack, shadows=shadows), **tag)
                for probes in ((), *((Probe("torch", 0), Probe("spam", bool(said), said)) for said in SAID)):
                    findings = diagnose(change(facts, probes=probes))
                    causes = [f.failure for f in findings if f.failure in LOADING]
                    failed = bool(probes) and not probes[-1].ok
                    assert len(causes) <= 1 and CRASHED not in [f.failure for f in findings]
                    assert causes or not failed, (lack, tag, probes)
                    for finding in findings:
                        check_finding(finding)


def test_torch_that_does_not_load_has_one_cause():
    for lack in [*LACKS, ("library", "libtorch_cpu.so"), ("library", "libcublas.so.13")]:
        for shadows in ((), (SHADOW,)):
            kind, what, *rest = lack
            facts = with_core(gpu_machine(), (kind, what, "libtorch_python.so", *rest), loads=False, shadows=shadows)
            for probes in ((), (Probe("torch", 1, "ImportError: x"),), (Probe("torch", -11, ""),)):
                (finding,) = diagnose(change(facts, probes=probes))
                assert finding.failure in LOADING and finding.package == "torch"
                check_finding(finding)
            assert found(change(facts, probes=(Probe("torch", 0),))) == []
