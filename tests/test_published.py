"""kit/gpus.py and kit/published.py: which code runs on which GPU, which build and which wheel are proposed."""

import dataclasses
import re

import pytest

import kit
from kit.data import table
from kit.facts import Distribution, Driver, Extension, Gpu, Toolkit
from kit.gpus import capability_of, driver_runs, minimum_driver, numbers, served, serves
from kit.published import (
    choose_torch,
    cuda_of,
    extension_fixes,
    matching_wheel,
    rebuild,
    replacement,
    same_again,
    token,
    torch_choices,
    torch_fix,
)
from kit.published import (
    serves as build_serves,
)


@pytest.mark.parametrize(
    ("architecture", "capability", "runs"),
    [
        # machine code: the same major, a minor not below its own
        ("sm_86", "8.6", True),
        ("sm_86", "8.9", True),
        ("sm_80", "8.9", True),
        ("sm_89", "8.6", False),
        ("sm_80", "9.0", False),
        ("sm_90", "8.9", False),
        ("sm_70", "7.5", True),
        ("sm_75", "7.0", False),
        ("sm_120", "12.0", True),
        ("sm_120", "12.1", True),
        ("sm_100", "12.0", False),
        ("sm_100", "10.3", True),
        ("sm_50", "6.1", False),
        ("sm_60", "6.1", True),
        ("sm_37", "3.7", True),
        # PTX: anything not older
        ("compute_80", "8.0", True),
        ("compute_80", "12.0", True),
        ("compute_90", "8.9", False),
        ("compute_70", "7.0", True),
        # a: only its own; f: its family
        ("sm_90a", "9.0", True),
        ("sm_100a", "10.3", False),
        ("sm_90a", "12.0", False),
        ("compute_90a", "12.0", False),
        ("sm_100f", "10.3", True),
        ("sm_100f", "12.0", False),
        ("sm_120f", "12.1", True),
        # Tegra's own
        ("sm_87", "8.7", True),
        ("sm_80", "8.7", False),
        ("sm_87", "8.9", False),
        ("sm_70", "7.2", False),
        ("sm_101", "11.0", True),
        ("sm_110", "10.1", True),
        ("sm_110", "12.0", False),
        # what is none
        ("gfx90a", "9.0", False),
        ("", "9.0", False),
        ("sm_", "9.0", False),
        ("sm_90x", "9.0", False),
    ],
)
def test_code_runs_on(architecture, capability, runs):
    assert serves(architecture, capability) is runs


def test_one_architecture_that_serves_is_enough():
    assert served(["sm_75", "sm_80", "sm_86"], "8.9") and not served(["sm_75", "compute_90"], "8.9")
    assert not served([], "8.9")


@pytest.mark.parametrize(
    ("name", "capability"),
    [
        ("NVIDIA GeForce RTX 4090", "8.9"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "8.9"),
        ("GeForce RTX 3090 Ti", "8.6"),
        ("NVIDIA GeForce RTX 5070 Ti", "12.0"),
        ("NVIDIA RTX 6000 Ada Generation", "8.9"),
        ("Quadro RTX 6000", "7.5"),
        ("NVIDIA RTX A6000", "8.6"),
        ("Tesla V100-SXM2-16GB", "7.0"),
        ("NVIDIA A100-SXM4-80GB", "8.0"),
        ("Tesla T4", "7.5"),
        ("NVIDIA H100 80GB HBM3", "9.0"),
        ("NVIDIA H200", "9.0"),
        ("NVIDIA L4", "8.9"),
        ("NVIDIA L40S", "8.9"),
        ("NVIDIA B200", "10.0"),
        ("NVIDIA GB10", "12.1"),
        ("Tesla P100-PCIE-16GB", "6.0"),
        ("GeForce GTX 1080 Ti", "6.1"),
        ("Tesla K80", "3.7"),
        ("NVIDIA TITAN X (Pascal)", "6.1"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "12.0"),
        ("AMD Radeon RX 7900", None),
        ("NVIDIA Mystery 1", None),
        ("GPU", None),
        ("NVIDIA", None),
        ("", None),
    ],
)
def test_a_product_name_tells_its_capability(name, capability):
    assert capability_of(name) == capability


@pytest.mark.parametrize(
    ("driver", "cuda", "system", "runs"),
    [
        ("525.60.13", "12.8", "Linux", True),
        ("525.60.11", "12.8", "Linux", False),
        ("580.65.06", "13.0", "Linux", True),
        ("575.57.08", "13.2", "Linux", False),
        ("450.80.02", "11.8", "Linux", True),
        ("450.36", "11.8", "Linux", False),
        ("527.41", "12.1", "Windows", False),
        ("528.33", "12.1", "Windows", True),
        ("999", "10.2", "Linux", None),
        ("", "12.8", "Linux", None),
        ("unknown", "12.8", "Linux", None),
    ],
)
def test_a_driver_runs_a_cuda(driver, cuda, system, runs):
    assert driver_runs(driver, cuda, system) is runs


def test_versions_are_compared_as_numbers():
    assert numbers("570.133.07") == (570, 133, 7) > numbers("570.86.15") > numbers("570.9")
    assert minimum_driver("9.2") is None


@pytest.mark.parametrize(("cuda", "name"), [("13.0", "cu130"), ("12.8", "cu128"), ("11.8", "cu118"), (None, "cpu")])
def test_tokens(cuda, name):
    assert token(cuda) == name and cuda_of(name) == cuda


def test_tables_name_their_sources_and_their_date():
    for name, rows in (
        ("gpus", "gpus"),
        ("drivers", "drivers"),
        ("torch_builds", "torch"),
        ("pyg_wheels", "pyg"),
    ):
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", table(name)["as_of"])
        assert table(name)[rows] and all(row["source"] for row in table(name)[rows])


def test_every_row_of_the_wheel_table_belongs_to_a_torch_that_exists():
    builds = {(row["minor"], cuda) for row in table("torch_builds")["torch"] for cuda in [*row["cuda"], "cpu"]}
    assert {(row["torch"].rpartition(".")[0], row["cuda"]) for row in table("pyg_wheels")["pyg"]} <= builds


# -- which torch


def machine(gpu=None, driver=None, python="3.11.7", torch="2.13.0+cu130", scatter=False):
    facts = kit.machine("healthy-gpu")
    cuda = cuda_of(torch.partition("+")[2]) if torch and "+cu" in torch else None
    host = dataclasses.replace(
        facts.host, gpus=(Gpu(gpu),) if gpu else (), driver=Driver(driver, None, "NVML") if driver else None
    )
    return dataclasses.replace(
        facts,
        host=host,
        python=dataclasses.replace(facts.python, version=python),
        torch=dataclasses.replace(facts.torch, version=torch, cuda=cuda) if torch else None,
        extensions=facts.extensions if scatter else (),
    )


V100, K80, BLACKWELL, ADA = (
    "Tesla V100-SXM2-16GB",
    "Tesla K80",
    "NVIDIA GeForce RTX 5090",
    "NVIDIA GeForce RTX 4090",
)


@pytest.mark.parametrize(
    ("facts", "chosen"),
    [
        (machine(V100, "580.95.05"), ("2.13.0", "cu126")),  # Volta left CUDA 13
        (machine(V100, "580.95.05", python="3.15.0"), None),  # a Python for which only CUDA 13 is built
        (machine(BLACKWELL, "570.133.07"), ("2.11.0", "cu128")),  # the driver stops at CUDA 12
        (
            machine(BLACKWELL, "570.133.07", torch="2.5.1+cu121"),
            ("2.7.1", "cu128"),
        ),  # the nearest that knows it
        (machine(BLACKWELL, "580.95.05"), ("2.13.0", "cu130")),
        (machine(BLACKWELL, "580.95.05", python="3.9.18", torch="2.0.1+cu118"), ("2.7.1", "cu128")),
        (machine(ADA, "580.95.05", python="3.9.18"), ("2.8.0", "cu128")),  # the last torch for 3.9
        (machine(ADA, "525.60.13"), ("2.13.0", "cu126")),
        (machine(ADA, "470.57.02"), ("2.7.1", "cu118")),
        (machine(K80, "470.57.02"), ("2.7.1", "cu118")),
        (machine("Tesla K40", "470.57.02"), None),  # no build has code for it
        (
            machine(ADA, "525.60.13", torch="1.13.1+cu117", python="3.13.1"),
            ("2.6.0", "cu124"),
        ),  # newer before older
        (machine(ADA, "390.1"), None),
        (machine(ADA, torch=None), ("2.15.0", "cu132")),
        (
            machine(ADA, "580.95.05", scatter=True),
            ("2.12.1", "cu130"),
        ),  # the last torch with wheels of torch-scatter
        (machine("NVIDIA Mystery 1", "580.95.05"), ("2.13.0", "cu130")),  # unknown: the same again
    ],
)
def test_the_nearest_torch_that_serves(facts, chosen):
    assert choose_torch(facts) == chosen


def test_all_gpus_have_to_be_served():
    facts = machine(ADA, "580.95.05")
    both = dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(Gpu(ADA), Gpu(V100))))
    assert choose_torch(both) == ("2.13.0", "cu126")
    never = dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(Gpu(BLACKWELL), Gpu(V100))))
    assert choose_torch(never) == ("2.10.0", "cu128")  # 7.0 to 12.0 in one build


def test_where_no_torch_serves_it_is_said_and_not_proposed():
    fix = torch_fix(machine(ADA, "390.1"), "Install a torch")
    assert fix.argv is None and fix.safety == "manual" and "no published build" in fix.why
    fix = torch_fix(machine(V100, "580.95.05"), "Install a torch")
    assert fix.argv[1:] == (
        "-m",
        "pip",
        "install",
        "torch==2.13.0",
        "--index-url",
        "https://download.pytorch.org/whl/cu126",
    )


# -- which wheel


def scatter_for(torch, python="3.11.7", package="torch-scatter"):
    facts = machine(ADA, "580.95.05", python, torch)
    extension = Extension(package, "1.0", "x", "/x", (package.replace("-", "_"),))
    return matching_wheel(extension, facts)


def test_the_page_of_a_patch_release_is_that_of_its_minor():
    fix = scatter_for("2.7.1+cu128")
    assert "torch-scatter==2.1.2+pt27cu128" in fix.argv
    assert fix.argv[-2:] == ("--find-links", "https://data.pyg.org/whl/torch-2.7.0+cu128.html")
    assert {"--no-deps", "--no-cache-dir", "--only-binary=:all:"} <= set(fix.argv)


def test_a_wheel_is_for_a_platform():
    extension = kit.machine("healthy-gpu").extensions[0]

    def fix(torch, platform, system="Linux"):
        facts = machine(torch=torch)
        python = dataclasses.replace(facts.python, platform=platform)
        return matching_wheel(
            extension, dataclasses.replace(facts, python=python, host=dataclasses.replace(facts.host, system=system))
        )

    assert fix("2.8.0+cpu", "linux_aarch64") and fix("2.8.0+cu128", "win_amd64", "Windows")
    assert fix("2.8.0+cu128", "linux_aarch64") is None and fix("2.5.1+cpu", "linux_aarch64") is None
    assert "torch-scatter==2.1.2" in fix("2.8.0", "darwin_arm64", "Darwin").argv  # no local version there


def test_builds_for_the_cpu_are_chosen_from_where_they_are_wanted():
    facts = machine(torch="2.13.0+cpu")
    assert list(torch_choices(facts, cpu=True))[:2] == [("2.13.0", "cpu"), ("2.14.1", "cpu")]
    assert next(torch_choices(facts, "torch-scatter", cpu=True)) == ("2.12.1", "cpu")
    assert next(torch_choices(facts, "torch-cluster", cpu=True)) == ("2.11.0", "cpu")
    assert next(torch_choices(facts, "pyg-lib", cpu=True)) == ("2.13.0", "cpu")


def test_whether_a_build_serves_a_machine():
    assert build_serves("2.12", "cu130", machine(ADA, "580.95.05")) is True
    assert build_serves("2.12", "cu130", machine(ADA, "570.86.15")) is False
    assert build_serves("2.12", "cu130", machine(V100, "580.95.05")) is False
    assert build_serves("2.12", "cu199", machine(V100)) is None and build_serves("2.12", "cpu", machine(V100)) is None


def test_a_minor_of_two_digits():
    fix = scatter_for("2.10.0+cu130")
    assert "torch-scatter==2.1.2+pt210cu130" in fix.argv and fix.argv[-1].endswith("torch-2.10.0+cu130.html")


def test_the_version_is_that_of_the_page():
    assert "torch-scatter==2.1.1+pt113cu117" in scatter_for("1.13.1+cu117", "3.10.1").argv
    assert "torch-sparse==0.6.18+pt28cpu" in scatter_for("2.8.0+cpu", package="torch-sparse").argv


@pytest.mark.parametrize(
    ("torch", "python"),
    [
        ("2.13.0+cu130", "3.11.7"),  # no page lists it
        ("2.10.0.dev20251101+cu128", "3.11.7"),
        ("2.6.0a0+ecf3bae40a.nv25.01", "3.11.7"),
        ("2.8.0rc3+cu128", "3.11.7"),
        ("2.7.1+cu128", "3.14.0"),  # not for this Python
        ("2.7.1+cu130", "3.11.7"),  # not for this CUDA
        ("2.7.1+rocm6.3", "3.11.7"),
    ],
)
def test_where_no_wheel_is_published_none_is_proposed(torch, python):
    facts = machine(ADA, "580.95.05", python, torch)
    hip = "6.3" if "rocm" in torch else None
    facts = dataclasses.replace(facts, torch=dataclasses.replace(facts.torch, hip=hip))
    extension = kit.machine("healthy-gpu").extensions[0]
    assert matching_wheel(extension, facts) is None
    for fix in extension_fixes(extension, facts):
        assert fix.kind in ("use-replacement", "rebuild-extension", "change-torch")


def test_the_kits_own_is_offered_for_torch_scatter_alone_and_where_no_wheel_fits():
    facts = dataclasses.replace(machine(ADA, "580.95.05", torch="2.13.0+cu130"), distributions=())
    scatter = kit.machine("healthy-gpu").extensions[0]
    first = extension_fixes(scatter, facts)[0]
    assert first == replacement("Torch.Scatter", facts)
    assert first.kind == "use-replacement" and first.argv[:4] == ("kit", "shim", "enable", "torch_scatter")
    for package in ("torch-sparse", "torch-cluster", "pyg-lib", "torch-scatter-rocm", "apex"):
        assert replacement(package, facts) is None
    wheel = machine(ADA, "580.95.05", torch="2.12.1+cu130")
    assert "use-replacement" not in [fix.kind for fix in extension_fixes(scatter, wheel)]
    there = Distribution("torch_scatter", "2.1.2", "/site/torch_scatter-2.1.2.dist-info")
    for version, argv in (("2.1.2", (*first.argv, "--cover")), ("2.1.2+kit", None)):
        there = dataclasses.replace(there, version=version)
        found = replacement("torch-scatter", dataclasses.replace(facts, distributions=(there,)))
        assert (found and found.argv) == argv
    old = dataclasses.replace(facts.python, version="3.8.20")
    assert replacement("torch-scatter", dataclasses.replace(facts, python=old)) is None
    assert replacement("torch-scatter", dataclasses.replace(facts, torch=None)) is None


def test_a_replacement_of_torch_scatter_needs_no_torch_with_wheels():
    facts = kit.machine("healthy-gpu")
    ours = Distribution("torch_scatter", "2.1.2+kit", "/site/torch_scatter-2.1.2+kit.dist-info")
    v100 = dataclasses.replace(facts, host=dataclasses.replace(facts.host, gpus=(Gpu("V100", "7.0"),)))
    assert choose_torch(v100) == choose_torch(v100, needs_pyg=True) != choose_torch(v100, needs_pyg=False)
    assert choose_torch(dataclasses.replace(v100, distributions=(ours,))) == choose_torch(v100, needs_pyg=False)


@pytest.mark.parametrize(
    ("package", "torch", "pin"),
    [
        ("torchvision", "2.13.0+cu130", "torchvision==0.28.*"),
        ("torchvision", "2.0.1+cu118", "torchvision==0.15.*"),
        ("torchaudio", "2.7.1+cu128", "torchaudio==2.7.*"),
        ("torchaudio", "2.13.0+cu130", "torchaudio==2.11.*"),  # its last release
    ],
)
def test_torchs_own_companions_count_in_step(package, torch, pin):
    fix = scatter_for(torch, package=package)
    assert pin in fix.argv and fix.argv[-1] == "https://download.pytorch.org/whl/" + torch.partition("+")[2]


@pytest.mark.parametrize("package", ["torchvision", "torchaudio"])
def test_a_nightly_has_no_companion_among_the_releases(package):
    assert scatter_for("2.15.0.dev20261101+cu130", package=package) is None
    assert scatter_for("1.13.1+cu117", package=package) is None


@pytest.mark.parametrize(
    ("version", "again"),
    [("0.28.0+cu130", True), ("0.28.1", True), ("0.27.0+cpu", False), ("0.2.8", False)],
)
def test_the_same_version_of_another_build_is_installed_over_itself(version, again):
    # Else pip finds `torchvision==0.28.*` satisfied and does nothing.
    extension = Extension("torchvision", version, "x", "/x", ("torchvision",))
    fix = matching_wheel(extension, machine(ADA, "580.95.05", torch="2.13.0+cpu"))
    assert ("--force-reinstall" in fix.argv) is again
    assert {"--no-deps", "--no-cache-dir", "--only-binary=:all:", "--index-url"} <= set(fix.argv)


def test_the_files_of_an_extension_that_fits_come_from_where_they_came():
    facts = machine(ADA, "580.95.05", scatter=True)  # no wheel for this torch
    kinds = ["use-replacement", "rebuild-extension", "change-torch"]
    assert [fix.kind for fix in same_again(facts.extensions[0], facts)] == kinds
    fits = Extension(
        "torchfits", "1.2.0", "x", "/x", ("torchfits",), wheel_tags=("cp311-cp311-manylinux_2_28_x86_64",)
    )
    (fix,) = same_again(fits, facts)
    assert (fix.kind, fix.argv) == ("install-matching-wheel", None) and "torchfits 1.2.0 again" in fix.why
    facts = machine(ADA, "580.95.05", torch="2.8.0+cu128")
    vision = Extension("torchvision", "0.23.0+cu128", "x", "/x", ("torchvision",))
    assert "--force-reinstall" in same_again(vision, facts)[0].argv


def test_what_has_no_gpu_code_is_compiled_without_nvcc():
    fix = rebuild(Extension("torchtext", "0.18.0", "x", "/x", ("torchtext",)), machine(ADA, "580.95.05"))
    assert fix.env == {} and "nvcc" not in fix.why


def test_unknown_packages_have_no_page():
    assert scatter_for("2.8.0+cu128", package="flash-attn") is None


def test_a_rebuild_is_for_this_gpu_and_says_whether_its_nvcc_is_here():
    facts = machine(ADA, "580.95.05", scatter=True)
    extension = facts.extensions[0]
    fix = rebuild(extension, dataclasses.replace(facts, host=dataclasses.replace(facts.host, toolkits=())))
    assert fix.env == {"FORCE_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "8.9"} and "not found" in fix.why
    host = dataclasses.replace(facts.host, toolkits=(Toolkit("/usr/local/cuda-12.6", "12.6"), Toolkit("/x", "13.1")))
    assert "found: 13.1" in rebuild(extension, dataclasses.replace(facts, host=host)).why
    assert rebuild(extension, machine(torch="2.13.0+cpu", scatter=True)).env == {}
    assert rebuild(dataclasses.replace(extension, package="torchvision"), facts) is None
    xformers = rebuild(dataclasses.replace(extension, package="xformers"), facts)
    assert (xformers.argv, xformers.safety) == (None, "manual")
