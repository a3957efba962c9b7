"""kit/collect/host.py: machines other than this one, shown as folders and as answers of commands."""

import os
import platform
import shutil
import sys
import types

import pytest

from kit import schedulers
from kit.collect import host
from kit.collect.run import Outcome
from kit.facts import Facts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the machines are Linux machines")

CLOSED = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:\n"
OPEN = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.133.07  Release Build  (dvs-builder@U22)\n"


class Machine:
    """A machine as a folder, with an environment and programs that answer."""

    def __init__(self, root):
        self.root, self.env, self.answers, self.asked = root, {"PATH": str(root / "bin")}, {}, []

    def file(self, name, content="", executable=False):
        path = self.root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        if executable:
            path.chmod(0o755)
        return path

    def command(self, name, *outcome):
        """Put a program on PATH that answers with this outcome; an exception is raised."""
        self.file(f"bin/{name}", executable=True)
        self.answers[name] = outcome[0] if isinstance(outcome[0], Exception) else Outcome(*outcome)

    def run(self, argv, timeout):
        self.asked.append(list(argv))
        answer = self.answers[os.path.basename(argv[0])]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reader(self, prefix="/opt/venv", path=()):
        return host.Reader(prefix, path, self.env, str(self.root), self.run)

    def facts(self, **values):
        facts = host.collect(
            values.get("prefix", "/opt/venv"), values.get("path", ()), self.env, str(self.root), self.run
        )
        self.why = {u["what"]: u["why"] for u in facts["unread"]}
        return facts


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture
def no_nvml(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # importing it raises ImportError


def test_an_empty_machine_is_read_to_the_end(machine):
    facts = machine.facts()
    assert (facts["gpus"], facts["driver"], facts["pci_gpus"], facts["toolkits"]) == ([], None, None, [])
    assert (facts["compiler"], facts["container"], facts["scheduler"], facts["job"]) == (
        None,
        None,
        None,
        False,
    )
    assert "no NVIDIA driver here" in machine.why["GPUs"] and "libstdc++.so.6" in machine.why
    assert machine.asked == [], "no command is started where nothing speaks of a GPU"


def test_what_is_read_is_what_facts_hold(machine):
    import kit

    facts = machine.facts()
    unread = facts.pop("unread")
    data = {**kit.machine("healthy-cpu").to_dict(), "host": facts, "unread": unread}
    assert Facts.from_dict(data).host.machine == platform.machine()


# -- GPUs


@pytest.mark.parametrize(("text", "version"), [(CLOSED, "535.104.05"), (OPEN, "570.133.07")])
def test_the_drivers_own_files(machine, no_nvml, text, version):
    machine.file("/proc/driver/nvidia/version", text)
    machine.file("/proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t\t NVIDIA GeForce RTX 4090\nIRQ: 1\n")
    machine.file("/proc/driver/nvidia/gpus/0000:02:00.0/information", "IRQ: 1\n")
    facts = machine.facts()
    assert facts["driver"] == {"version": version, "cuda": None, "source": "/proc/driver/nvidia/version"}
    assert [(g["name"], g["capability"]) for g in facts["gpus"]] == [("NVIDIA GeForce RTX 4090", None)]
    assert "pip install nvidia-ml-py" in machine.why["NVML"]


def test_nvidia_smi(machine, no_nvml):
    out = "NVIDIA H200, 9.0, 143771, 550.90.07\nNVIDIA GeForce RTX 5070 Ti, 12.0, 16303, 550.90.07\n"
    machine.command("nvidia-smi", 0, out)
    facts = machine.facts()
    assert [(g["name"], g["capability"], g["memory_mb"]) for g in facts["gpus"]] == [
        ("NVIDIA H200", "9.0", 143771),
        ("NVIDIA GeForce RTX 5070 Ti", "12.0", 16303),
    ]
    assert facts["driver"] == {"version": "550.90.07", "cuda": None, "source": "nvidia-smi"}
    assert machine.asked[0][1].startswith("--query-gpu=name,compute_cap")


def test_nvidia_smi_with_what_it_does_not_know_and_a_name_with_a_comma(machine, no_nvml):
    out = "Board, Rev. B, [N/A], [Not Supported], 470.57.02\nWARNING: infoROM, corrupted, at, 0000:01\n\n"
    machine.command("nvidia-smi", 0, out)
    (gpu,) = machine.facts()["gpus"]
    assert (gpu["name"], gpu["capability"], gpu["memory_mb"]) == ("Board, Rev. B", None, None)


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (
            (9, "NVIDIA-SMI has failed because it couldn't communicate\nwith the NVIDIA driver.\n"),
            "exit status 9: with the NVIDIA driver.",
        ),
        (
            (2, "", 'Field "compute_cap" is not a valid field to query.\n'),
            'exit status 2: Field "compute_cap" is not a valid field to query.',
        ),
        ((None,), "no answer within 15 s"),
        ((PermissionError(13, "Permission denied"),), "Permission denied"),
    ],
)
def test_an_nvidia_smi_that_fails_is_a_reason_and_the_drivers_files_are_read(machine, no_nvml, outcome, reason):
    machine.command("nvidia-smi", *outcome)
    machine.file("/proc/driver/nvidia/version", CLOSED)
    facts = machine.facts()
    assert facts["driver"]["source"] == "/proc/driver/nvidia/version"
    assert reason in machine.why.values()


def test_a_driver_without_any_gpu(machine, no_nvml):
    machine.command("nvidia-smi", 0, "No devices were found\n")
    machine.file("/proc/driver/nvidia/version", CLOSED)
    facts = machine.facts()
    assert facts["gpus"] == [] and facts["driver"]["version"] == "535.104.05"


def test_gpus_on_the_pci_bus_are_counted_without_a_driver(machine):
    devices = {
        "0000:00:02.0": ("0x8086", "0x030000"),
        "0000:01:00.0": ("0x10de", "0x030000"),
        "0000:01:00.1": ("0x10de", "0x040300"),  # its sound
        "0000:02:00.0": ("0x10de", "0x030200"),
    }
    for slot, (vendor, kind) in devices.items():
        machine.file(f"/sys/bus/pci/devices/{slot}/vendor", vendor + "\n")
        machine.file(f"/sys/bus/pci/devices/{slot}/class", kind + "\n")
    facts = machine.facts()
    assert facts["pci_gpus"] == 2 and facts["gpus"] == [] and "GPUs" in machine.why


def test_device_nodes(machine, no_nvml):
    for name in ("nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null", "sda"):
        machine.file(f"/dev/{name}")
    facts = machine.facts()
    assert facts["device_nodes"] == ["/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia12", "/dev/nvidiactl"]
    assert facts["driver"] is None and "NVML" in machine.why and "GPUs" not in machine.why


def test_wsl_has_its_nvidia_smi_in_a_place_of_its_own(machine, no_nvml):
    machine.file("/dev/dxg")
    machine.file("/proc/version", "Linux version 5.15.153.1-Microsoft-standard-WSL2 (root@x)")
    machine.file("/usr/lib/wsl/lib/nvidia-smi", executable=True)
    machine.answers["nvidia-smi"] = Outcome(0, "NVIDIA GeForce RTX 3060, 8.6, 12288, 551.61\n")
    facts = machine.facts()
    assert facts["gpus"][0]["capability"] == "8.6" and facts["container"] == "wsl"
    assert machine.asked[0][0] == "/usr/lib/wsl/lib/nvidia-smi" and facts["device_nodes"] == ["/dev/dxg"]


# -- NVML: the library is replaced, for it answers only where a driver is


class FakeError(Exception):
    pass


@pytest.fixture
def nvml(monkeypatch, machine):
    """A pynvml with two GPUs, on a machine that has a driver."""
    machine.file("/proc/driver/nvidia/version", CLOSED)
    library = types.ModuleType("pynvml")
    cards = [("NVIDIA H200", (9, 0), 150754820096), (b"NVIDIA RTX A6000", (8, 6), 51527024640)]
    library.NVMLError = FakeError
    library.calls = []
    library.nvmlInit = lambda: library.calls.append("init")
    library.nvmlShutdown = lambda: library.calls.append("shutdown")
    library.nvmlDeviceGetCount = lambda: len(cards)
    library.nvmlDeviceGetHandleByIndex = lambda i: i
    library.nvmlDeviceGetName = lambda i: cards[i][0]
    library.nvmlDeviceGetCudaComputeCapability = lambda i: cards[i][1]
    library.nvmlDeviceGetMemoryInfo = lambda i: types.SimpleNamespace(total=cards[i][2])
    library.nvmlSystemGetCudaDriverVersion_v2 = lambda: 12080
    library.nvmlSystemGetDriverVersion = lambda: b"570.133.07"
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return library


def raises(*arguments):
    raise FakeError("Driver/library version mismatch")


def test_nvml_answers_first(machine, nvml):
    facts = machine.facts()
    assert [(g["name"], g["capability"], g["memory_mb"]) for g in facts["gpus"]] == [
        ("NVIDIA H200", "9.0", 143771),
        ("NVIDIA RTX A6000", "8.6", 49140),
    ]
    assert facts["driver"] == {"version": "570.133.07", "cuda": "12.8", "source": "NVML"}
    assert nvml.calls == ["init", "shutdown"] and machine.asked == [] and "NVML" not in machine.why


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetHandleByIndex", "nvmlSystemGetDriverVersion"])
def test_an_nvml_that_fails_is_a_reason_and_the_next_is_asked(machine, nvml, function):
    setattr(nvml, function, raises)
    machine.command("nvidia-smi", 0, "NVIDIA H200, 9.0, 143771, 550.90.07\n")
    facts = machine.facts()
    assert facts["driver"]["source"] == "nvidia-smi" and facts["gpus"][0]["capability"] == "9.0"
    assert machine.why["NVML"] == "Driver/library version mismatch"
    assert nvml.calls == ([] if function == "nvmlInit" else ["init", "shutdown"])


def test_nvml_and_no_gpu_that_this_process_may_see(machine, nvml):
    nvml.nvmlDeviceGetCount = lambda: 0
    facts = machine.facts()
    assert facts["gpus"] == [] and facts["driver"]["version"] == "570.133.07"


# -- toolchain


def test_toolkits_in_the_order_in_which_torch_looks(machine):
    machine.env["CUDA_HOME"] = "/opt/cuda"
    machine.file("/opt/cuda/bin/nvcc", executable=True)
    machine.file(
        "/opt/cuda/version.json",
        '{\n "cuda" : {\n  "name" : "CUDA SDK",\n  "version" : "12.8.1"\n },\n "nvcc": {"version": "9.9"}}',
    )
    machine.file("/usr/local/cuda-11.8/bin/nvcc", executable=True)
    (machine.root / "usr/local/cuda").symlink_to("cuda-11.8")
    machine.answers["nvcc"] = Outcome(
        0, "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 11.8, V11.8.89\n"
    )
    machine.file("/usr/local/cuda-13.0/readme")  # no nvcc
    machine.file("/v/site-packages/nvidia/cu13/bin/nvcc", executable=True)
    machine.file("/v/site-packages/nvidia/cu13/version.json", '{"cuda": {"version": "13.0.2"}}')
    assert machine.facts(path=["/v/site-packages"])["toolkits"] == [
        {"path": "/opt/cuda", "version": "12.8"},
        {"path": "/usr/local/cuda", "version": "11.8"},
        {"path": "/v/site-packages/nvidia/cu13", "version": "13.0"},
    ]


def test_an_nvcc_that_does_not_start_is_no_toolkit(machine):
    machine.file("/usr/local/cuda/bin/nvcc", executable=True)
    machine.answers["nvcc"] = Outcome(127, "", "error while loading shared libraries\n")
    assert machine.facts()["toolkits"] == []
    assert machine.why["nvcc"] == "exit status 127: error while loading shared libraries"


def test_the_compiler(machine):
    assert machine.reader().compiler() is None
    machine.command("c++", 0, "13.1.0\n")
    assert machine.reader().compiler() == "c++ 13.1.0"
    machine.command("g++", 0, "12.2.0\n")
    assert machine.reader().compiler() == "g++ 12.2.0"
    machine.env["CXX"] = "g++-11 -m64"
    machine.command("g++-11", 0, "11.4.0\n")
    assert machine.reader().compiler() == "g++-11 11.4.0"


def test_libstdcxx_of_the_interpreters_prefix_comes_first(machine):
    system = f"/usr/lib/{platform.machine()}-linux-gnu/libstdc++.so.6"
    machine.file(system, b"\0GLIBCXX_3.4.9\0x\0GLIBCXX_3.4.30\0GLIBCXX_3.4.4\0GLIBCXX_DEBUG_MESSAGE_LENGTH\0")
    assert machine.facts()["libstdcxx"] == "GLIBCXX_3.4.30"
    machine.file("/opt/conda/lib/libstdc++.so.6", b"GLIBCXX_3.4.33\0GLIBCXX_3.4.5\0")
    assert machine.facts(prefix="/opt/conda")["libstdcxx"] == "GLIBCXX_3.4.33"
    machine.file("/opt/conda/lib/libstdc++.so.6", b"")  # which cannot be mapped
    assert machine.facts(prefix="/opt/conda")["libstdcxx"] == "GLIBCXX_3.4.30"


def test_programs_are_found_as_shutil_finds_them(machine, monkeypatch):
    monkeypatch.chdir(machine.root)
    machine.file("one/plain")
    machine.file("one/folder/x")
    for name in ("two/plain", "two/folder", "three/plain", "three/c++", "here"):
        machine.file(name, executable=True)
    folders = [str(machine.root / name) for name in ("none", "one", "two", "three")]
    paths = ["", ":", "nonsense", "two", os.pathsep.join(folders), os.pathsep.join([*folders, ""])]
    for path in paths:
        for name in ("plain", "folder", "c++", "here", "gone", "three/c++", "./here", str(machine.root / "here")):
            assert host.which(name, path) == shutil.which(name, path=path), (name, path)
    assert host.which("plain", paths[-1]) == str(machine.root / "two" / "plain")


def test_os_release(machine):
    assert machine.reader().os_name().startswith("Linux")
    machine.file("/etc/os-release", 'NAME="Rocky Linux"\nPRETTY_NAME="Rocky Linux 8.9 (Green Obsidian)"\nID=rocky\n')
    assert machine.reader().os_name() == "Rocky Linux 8.9 (Green Obsidian)"
    machine.file("/etc/os-release", "PRETTY_NAME=Alpine\n")
    assert machine.reader().os_name() == "Alpine"


# -- where the process runs


@pytest.mark.parametrize(
    ("files", "env", "container"),
    [
        ({}, {}, None),
        ({"/.dockerenv": ""}, {}, "docker"),
        ({"/proc/1/cgroup": "12:pids:/docker/3f2a\n"}, {}, "docker"),
        ({"/proc/1/cgroup": "0::/init.scope\n"}, {}, None),
        ({"/run/.containerenv": "", "/.dockerenv": ""}, {}, "podman"),
        ({}, {"APPTAINER_CONTAINER": "/x.sif"}, "apptainer"),
        ({}, {"SINGULARITY_CONTAINER": "/x.sif"}, "apptainer"),
        ({"/.dockerenv": ""}, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "kubernetes"),
        ({"/proc/version": "Linux version 6.1.0 (gcc)"}, {}, None),
    ],
)
def test_containers(machine, files, env, container):
    for name, content in files.items():
        machine.file(name, content)
    machine.env.update(env)
    assert machine.facts()["container"] == container


@pytest.mark.parametrize(
    ("command", "env", "expected"),
    [
        (None, {}, (None, False)),
        ("sbatch", {}, ("slurm", False)),
        ("sbatch", {"SLURM_JOB_ID": "7"}, ("slurm", True)),
        (None, {"SLURM_JOB_ID": "7"}, ("slurm", True)),
        ("qsub", {}, ("pbs", False)),
        (None, {"PBS_JOBID": "7.server"}, ("pbs", True)),
        ("bsub", {}, ("lsf", False)),
    ],
)
def test_a_login_node_is_told_from_a_job(machine, command, env, expected):
    if command:
        machine.command(command, 0)
    machine.env.update(env)
    facts = machine.facts()
    assert (facts["scheduler"], facts["job"]) == expected


@pytest.mark.parametrize(
    ("env", "files", "scheduler"),
    [
        ({}, (), None),  # Debian's slurm-wlm was installed, and nothing else
        ({"SLURM_CONF": "/srv/slurm.conf"}, (), "slurm"),
        ({}, ("/etc/slurm/slurm.conf",), "slurm"),
        ({}, ("/run/slurm/conf/slurm.conf",), "slurm"),  # fetched from the controller
    ],
)
def test_a_package_of_slurm_alone_makes_no_cluster(env, files, scheduler):
    found = {"sbatch": "/usr/bin/sbatch"}
    assert schedulers.where(env, found.get, files.__contains__, "login1") == (scheduler, False, None)
    own = {"sbatch": "/opt/slurm/bin/sbatch"}
    assert schedulers.where(env, own.get, files.__contains__, "login1") == ("slurm", False, None)


def test_a_file_that_cannot_be_read_is_a_reason(machine):
    (machine.root / "etc").mkdir()
    (machine.root / "etc/os-release").symlink_to("os-release")
    assert machine.facts()["os"].startswith("Linux")
    assert "symbolic links" in machine.why["/etc/os-release"]


def test_this_machine_is_read_without_an_exception():
    facts = host.collect(sys.prefix, sys.path)
    assert facts["system"] == platform.system() and facts["machine"] == platform.machine()
    assert all(u["what"] and u["why"] for u in facts["unread"])
