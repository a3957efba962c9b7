"""Reads the machine around the interpreter: OS, libc, GPUs and driver, CUDA toolkit, compiler, container, scheduler.

Every reader returns what it saw or records why it could not; none raises.  ``root`` and ``run`` are
injected so that tests can show any machine.
"""

import mmap
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Optional

from kit import schedulers
from kit.collect.run import Outcome
from kit.collect.run import run as run_command

Json = dict[str, Any]
NVIDIA = "0x10de"  # PCI vendor
_DISPLAY = ("0x0300", "0x0302")  # PCI classes: VGA controller, 3D controller


def collect(
    prefix: str,
    path: Sequence[str],
    env: Optional[Mapping[str, str]] = None,
    root: str = "/",
    run: Callable[..., Outcome] = run_command,
) -> Json:
    """The facts of this machine as the dictionary of :class:`kit.facts.Host`, with a list ``unread``.

    ``prefix`` and ``path`` are those of the interpreter under test: a conda prefix brings its own
    libstdc++, and NVIDIA's wheels put nvcc below site-packages.
    """
    return Reader(prefix, path, os.environ if env is None else env, root, run).facts()


def gpus() -> Any:
    """(GPUs, driver) of this machine, as in :class:`kit.facts.Host`."""
    return Reader("", (), os.environ, "/", run_command).gpus()


class Reader:
    """One reading of one machine."""

    def __init__(
        self, prefix: str, path: Sequence[str], env: Mapping[str, str], root: str, run: Callable[..., Outcome]
    ):
        self.prefix, self.import_path, self.env, self.root, self.run = prefix, path, env, root, run
        self.unread: list[Json] = []

    def facts(self) -> Json:
        system, _, release, _, machine = uname()
        scheduler, job = self.scheduler()
        gpus, driver = self.gpus()
        full = full_disk(self.env, self.root)
        if full:
            self.cannot(*full.split(": ", 1))
        return {
            "system": system,
            "machine": machine,
            "os": self.os_name(),
            "kernel": release,
            "libc": self.libc(),
            "libstdcxx": self.libstdcxx(),
            "gpus": gpus,
            "driver": driver,
            "pci_gpus": self.pci_gpus(),
            "device_nodes": self.device_nodes(),
            "toolkits": self.toolkits(),
            "compiler": self.compiler(),
            "container": self.container(),
            "scheduler": scheduler,
            "job": job,
            "unread": self.unread,
        }

    def cannot(self, what: str, why: object) -> None:
        self.unread.append({"what": what, "why": str(getattr(why, "strerror", None) or why)})

    def file(self, path: str) -> str:
        """A text file, or '' where there is none."""
        try:
            with open(os.path.join(self.root, path.lstrip("/")), encoding="utf-8", errors="replace") as stream:
                return stream.read(65536)
        except FileNotFoundError:
            return ""
        except OSError as error:
            self.cannot(path, error)
            return ""

    def exists(self, path: str) -> bool:
        return os.path.exists(os.path.join(self.root, path.lstrip("/")))

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; none where there is no such folder."""
        try:
            return sorted(os.listdir(os.path.join(self.root, path.lstrip("/"))))
        except FileNotFoundError:
            return []
        except OSError as error:
            self.cannot(path, error)
            return []

    def command(self, argv: Sequence[str], timeout: float = 15) -> Optional[Outcome]:
        """The outcome of a command, or None with the reason recorded."""
        try:
            outcome = self.run(argv, timeout)
        except OSError as error:
            self.cannot(argv[0], error)
            return None
        if outcome.status != 0:
            said = (outcome.err or outcome.out).strip().splitlines()
            late = f"no answer within {timeout:.0f} s" if outcome.status is None else f"exit status {outcome.status}"
            self.cannot(os.path.basename(argv[0]), f"{late}: {said[-1]}" if said else late)
            return None
        return outcome

    def which(self, name: str) -> Optional[str]:
        return which(name, self.env.get("PATH", ""))

    # -- the operating system

    def os_name(self) -> str:
        match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?', self.file("/etc/os-release"), re.M)
        if match:
            return match.group(1)
        return " ".join(uname()[0:3:2])

    def libc(self) -> Optional[str]:
        """``'glibc 2.36'`` or ``'musl'``; None where there is neither (Windows, macOS)."""
        try:
            found = os.confstr("CS_GNU_LIBC_VERSION")
        except (AttributeError, ValueError, OSError):
            found = None
        if found:
            return found
        return "musl" if any(n.startswith("ld-musl") for n in self.names("/lib")) else None

    def libstdcxx(self) -> Optional[str]:
        """The newest symbol version of the libstdc++ that is found first, e.g. ``'GLIBCXX_3.4.30'``."""
        if sys.platform != "linux":
            return None
        triplet = f"{uname()[4]}-linux-gnu"
        for folder in (
            os.path.join(self.prefix, "lib"),
            f"/usr/lib/{triplet}",
            f"/lib/{triplet}",
            "/usr/lib64",
            "/usr/lib",
        ):
            file = os.path.join(self.root, folder.lstrip("/"), "libstdc++.so.6")
            try:
                with open(file, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as library:
                    versions = re.findall(rb"GLIBCXX_3\.4\.(\d+)\0", library)
            except (OSError, ValueError):  # an empty file cannot be mapped
                continue
            if versions:
                return f"GLIBCXX_3.4.{max(map(int, versions))}"
        self.cannot("libstdc++.so.6", "not found in the usual folders")
        return None

    # -- GPUs

    def gpus(self) -> Any:
        """(GPUs, driver): from NVML, else ``nvidia-smi``, else the driver's own files in /proc."""
        smi = self.which("nvidia-smi") or next((p for p in ("/usr/lib/wsl/lib/nvidia-smi",) if self.exists(p)), None)
        proc = self.file("/proc/driver/nvidia/version")
        if not (proc or smi or self.device_nodes() or self.exists("/dev/dxg") or sys.platform == "win32"):
            self.cannot("GPUs", "no NVIDIA driver here: no /proc/driver/nvidia, no /dev/nvidia*, no nvidia-smi")
            return [], None
        return self.from_nvml() or (self.from_nvidia_smi(smi) if smi else None) or self.from_proc(proc)

    def from_nvml(self) -> Any:
        try:
            import pynvml
        except ImportError as error:
            self.cannot("NVML", f"{error}; pip install nvidia-ml-py")
            return None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self.cannot("NVML", error)
            return None
        try:
            gpus = []
            for i in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(i)
                capability = "%d.%d" % pynvml.nvmlDeviceGetCudaComputeCapability(handle)
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20
                gpus.append(_gpu(_text(pynvml.nvmlDeviceGetName(handle)), capability, memory))
            cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
            version = _text(pynvml.nvmlSystemGetDriverVersion())
            return gpus, {"version": version, "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}", "source": "NVML"}
        except pynvml.NVMLError as error:
            self.cannot("NVML", error)
            return None
        finally:
            pynvml.nvmlShutdown()

    def from_nvidia_smi(self, smi: str) -> Any:
        query = "--query-gpu=name,compute_cap,memory.total,driver_version"
        outcome = self.command([smi, query, "--format=csv,noheader,nounits"])
        if outcome is None:
            return None
        rows = [[cell.strip() for cell in line.rsplit(",", 3)] for line in outcome.out.splitlines()]
        rows = [row for row in rows if len(row) == 4 and re.fullmatch(r"[\d.]+", row[3])]
        gpus = [_gpu(name, cc if re.fullmatch(r"\d+\.\d", cc) else None, _int(mb)) for name, cc, mb, _ in rows]
        return (gpus, {"version": rows[0][3], "cuda": None, "source": "nvidia-smi"}) if rows else None

    def from_proc(self, version_text: str) -> Any:
        gpus = []
        for slot in self.names("/proc/driver/nvidia/gpus"):
            model = re.search(r"^Model:\s*(.+)$", self.file(f"/proc/driver/nvidia/gpus/{slot}/information"), re.M)
            if model:
                gpus.append(_gpu(model.group(1).strip(), None, None))
        version = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", version_text)
        source = "/proc/driver/nvidia/version"
        return gpus, {"version": version.group(1), "cuda": None, "source": source} if version else None

    def pci_gpus(self) -> Optional[int]:
        """NVIDIA display devices on the PCI bus: seen even where no driver is loaded."""
        slots = self.names("/sys/bus/pci/devices")
        if not slots:
            return None
        read = self.file
        return sum(
            read(f"/sys/bus/pci/devices/{slot}/vendor").strip() == NVIDIA
            and read(f"/sys/bus/pci/devices/{slot}/class").startswith(_DISPLAY)
            for slot in slots
        )

    def device_nodes(self) -> list[str]:
        return ["/dev/" + n for n in self.names("/dev") if re.fullmatch(r"nvidia(\d+|ctl|-uvm)|dxg", n)]

    # -- toolchain

    def toolkits(self) -> list[Json]:
        """CUDA toolkits that have nvcc, in the order in which torch's cpp_extension looks for them;
        last those that NVIDIA's wheels put below site-packages, where torch does not look."""
        nvcc = self.which("nvcc")
        candidates = [self.env.get("CUDA_HOME"), self.env.get("CUDA_PATH")]
        candidates += [os.path.dirname(os.path.dirname(os.path.realpath(nvcc)))] if nvcc else []
        candidates += ["/usr/local/cuda"]
        candidates += sorted("/usr/local/" + n for n in self.names("/usr/local") if re.fullmatch(r"cuda-\d+\.\d+", n))
        candidates += [os.path.join(p, "nvidia", cu) for p in self.import_path for cu in ("cu13", "cuda_nvcc")]
        found: dict[str, Json] = {}
        for folder in filter(None, candidates):
            program = os.path.join(folder, "bin", "nvcc")
            real = os.path.realpath(os.path.join(self.root, folder.lstrip("/")))
            if real not in found and self.exists(program):
                version = self.toolkit_version(folder, program)
                if version:
                    found[real] = {"path": folder, "version": version}
        return list(found.values())

    def toolkit_version(self, folder: str, program: str) -> Optional[str]:
        match = re.search(
            r'"cuda"\s*:\s*{[^}]*"version"\s*:\s*"(\d+\.\d+)', self.file(os.path.join(folder, "version.json"))
        )
        if match is None:
            outcome = self.command([os.path.join(self.root, program.lstrip("/")), "--version"])
            match = re.search(r"release (\d+\.\d+)", outcome.out) if outcome else None
        return match.group(1) if match else None

    def compiler(self) -> Optional[str]:
        """The C++ compiler that a build would take, e.g. ``'g++ 12.2.0'``."""
        for name in [self.env.get("CXX", "").split(" ")[0], "g++", "c++", "clang++"]:
            program = self.which(name) if name else None
            if program:
                gcc = "clang" not in name  # only gcc knows, and needs, the first
                outcome = self.command([program, *["-dumpfullversion"] * gcc, "-dumpversion"])
                if outcome:
                    return f"{os.path.basename(name)} {outcome.out.strip()}"
        return None

    # -- where the process runs

    def container(self) -> Optional[str]:
        """docker, podman, apptainer, kubernetes, wsl, or None."""
        if self.env.get("APPTAINER_CONTAINER") or self.env.get("SINGULARITY_CONTAINER"):
            return "apptainer"
        if self.env.get("KUBERNETES_SERVICE_HOST"):
            return "kubernetes"
        if self.exists("/run/.containerenv"):
            return "podman"
        if self.exists("/.dockerenv") or re.search(r"/docker[-/]", self.file("/proc/1/cgroup")):
            return "docker"
        return "wsl" if "microsoft" in self.file("/proc/version").lower() else None

    def scheduler(self) -> Any:
        """(scheduler, whether this process runs in one of its jobs)."""
        return schedulers.where(self.env, self.which, self.exists, uname()[1])[:2]


def full_disk(env: Mapping[str, str], root: str = "/") -> str:
    """``'/tmp: No space left on device'`` where temporary files have no room left; nothing is written to find out."""
    folder = env.get("TMPDIR") or "/tmp"
    try:
        disk = os.statvfs(os.path.join(root, folder.lstrip("/")))
    except (AttributeError, OSError):  # Windows; no such folder
        return ""
    # A network file system may tell no sizes, and some no number of files.
    full = disk.f_blocks and not (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail)
    return f"{folder}: No space left on device" if full or (disk.f_files and not disk.f_ffree) else ""


def which(name: str, path: str) -> Optional[str]:
    """``shutil.which``, on POSIX without shutil: it loads the compression libraries, a fortieth of `kit doctor`."""
    if os.name == "nt":
        import shutil

        return shutil.which(name, path=path)
    folders = [""] if os.path.dirname(name) else path.split(os.pathsep) if path else []
    files = (os.path.join(folder, name) for folder in folders)
    return next((file for file in files if os.access(file, os.X_OK) and not os.path.isdir(file)), None)


def uname() -> Sequence[str]:
    """system, node, release, version, machine: ``os.uname`` where there is one, the slower ``platform`` elsewhere."""
    if hasattr(os, "uname"):
        return os.uname()
    import platform

    return platform.uname()[:5]


def _gpu(name: str, capability: Optional[str], memory_mb: Optional[int]) -> Json:
    return {"name": name, "capability": capability, "memory_mb": memory_mb, "wished": False}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _int(text: str) -> Optional[int]:
    return int(text) if text.isdigit() else None
