"""Reads an environment from the inside: runs in the interpreter under test, imports nothing of it.

Standard library only, Python 3.8 and newer; it can be copied alone to another machine::

    python inside.py            # one JSON document on stdout

It reads file names and text files (distribution metadata, ``torch/version.py``, ``RECORD``).
No package of the environment is imported, because the environment is broken by assumption.
What cannot be read is listed under ``unread`` with the reason.
"""

import sys

_STARTED = frozenset(sys.modules)  # what Python itself has loaded before it searches the import path

import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
from importlib.machinery import EXTENSION_SUFFIXES  # noqa: E402

# Packages with compiled code that links against torch: distribution name -> import names.  A package
# that is not listed is still found when its metadata requires torch and it holds shared libraries.
EXTENSIONS = {
    "torch-scatter": ["torch_scatter"],
    "torch-sparse": ["torch_sparse"],
    "torch-cluster": ["torch_cluster"],
    "torch-spline-conv": ["torch_spline_conv"],
    "pyg-lib": ["pyg_lib", "libpyg"],
    "torchvision": ["torchvision"],
    "torchaudio": ["torchaudio"],
    "torchtext": ["torchtext"],
    "xformers": ["xformers"],
    "flash-attn": ["flash_attn"],
    "mmcv": ["mmcv"],
    "mmcv-full": ["mmcv"],
    "detectron2": ["detectron2"],
    "pytorch3d": ["pytorch3d"],
    "dgl": ["dgl"],
    "mamba-ssm": ["mamba_ssm"],
    "causal-conv1d": ["causal_conv1d"],
    "tinycudann": ["tinycudann"],
    "torchsparse": ["torchsparse"],
    "natten": ["natten"],
    "apex": ["apex"],
}

# Import names whose resolution is worth recording even where nothing requires torch.
WATCHED = ["torch", "apex", "transformers", "torch_geometric", "timm", "networkx", "numpy"]

# Requirements that later rules compare with what is installed; the others would only make facts long.
_REQUIREMENTS = re.compile(r"(torch|numpy|triton|cuda[a-z-]*|nvidia[a-z0-9-]*)(?![\w.-])", re.I)

_FIELDS = re.compile(r"^(Name|Version|Summary|Requires-Dist):(.*)$", re.M)
_NUMPY = re.compile(r"numpy\b", re.I)
_LIBRARY = re.compile(r"\.(?:so(?:\.\d+)*|pyd|dylib|dll)$")

_SUFFIXES = {"win32": (b".pyd", b".dll"), "darwin": (b".so", b".dylib")}.get(sys.platform, (b".so",))

VARIABLES = """
CC CONDA_DEFAULT_ENV CONDA_OVERRIDE_CUDA CONDA_PREFIX CUDAHOSTCXX CUDA_HOME CUDA_LAUNCH_BLOCKING CUDA_PATH
CUDA_VISIBLE_DEVICES CXX FORCE_CUDA FORCE_ONLY_CPU FORCE_ONLY_CUDA HIP_VISIBLE_DEVICES
LD_LIBRARY_PATH LD_PRELOAD MAX_JOBS NVIDIA_DRIVER_CAPABILITIES NVIDIA_VISIBLE_DEVICES
PIP_CONSTRAINT PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_INDEX_URL PIP_NO_BUILD_ISOLATION PIP_NO_INDEX
PIP_ONLY_BINARY PIP_PRE PIP_TARGET PIP_USER PYTHONHOME PYTHONNOUSERSITE PYTHONPATH PYTHONSAFEPATH
PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF SALLOC_ACCOUNT SALLOC_PARTITION SALLOC_QOS SBATCH_ACCOUNT
SBATCH_PARTITION SBATCH_QOS SLURM_ACCOUNT SLURM_PARTITION SLURM_QOS TORCH_CUDA_ARCH_LIST UV_EXTRA_INDEX_URL
UV_INDEX_URL UV_TORCH_BACKEND VIRTUAL_ENV
""".split()


def collect(search_path=None):
    """Return the facts of this interpreter's environment as plain dicts, lists and strings.

    ``search_path`` is the import path to read, by default ``sys.path`` with the working directory in
    front, as ``python -m``, ``python -c`` and a notebook have it.
    """
    unread = []
    path = import_path(sys.path) if search_path is None else list(search_path)
    folders = [Folder(entry, unread) for entry in path]
    distributions = [d for folder in folders for d in folder.distributions(unread)]
    torch = read_torch(folders, distributions)
    if torch and torch["cuda"] and not torch["architectures"]:
        unread.append({"what": "GPU architectures of torch", "why": "libtorch_python holds no list, or is missing"})
    return {
        "python": read_python(path),
        "distributions": [d.facts() for d in distributions],
        "torch": torch,
        "extensions": read_extensions(folders, distributions, torch),
        "modules": read_modules(folders, distributions),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "others": read_other_interpreters(),
        "unread": unread,
    }


def import_path(sys_path):
    """The import path as code run with ``python -m``, ``-c`` or in a notebook sees it."""
    path = list(sys_path)
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None)
    if path and script and not getattr(sys.flags, "safe_path", False):
        # A script (or the console entry point) has its own folder in front instead.
        if os.path.dirname(os.path.abspath(script)) == os.path.abspath(path[0] or "."):
            path[0] = ""
    seen, unique, cwd = set(), [], working_directory()
    for entry in path:
        entry = os.path.normpath(os.path.join(cwd, entry))
        if entry not in seen and os.path.isabs(entry):
            seen.add(entry)
            unique.append(entry)
    return unique


def working_directory():
    """The working directory, or '' where it was deleted."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def read_python(path):
    """Interpreter: version, prefixes, tags.  ``path`` is recorded as it was searched."""
    suffixes = EXTENSION_SUFFIXES
    machine = os.uname().machine if hasattr(os, "uname") else os.environ.get("PROCESSOR_ARCHITECTURE", "")
    stdlib = os.path.dirname(os.path.abspath(os.__file__))
    free_threaded = "t" in getattr(sys, "abiflags", "")
    return {
        "executable": sys.executable or "",
        "version": "%d.%d.%d" % sys.version_info[:3] + _pre_release(),
        "implementation": sys.implementation.name,
        "prefix": sys.prefix,
        "base_prefix": sys.base_prefix,
        "venv": sys.prefix != sys.base_prefix,
        "conda": os.path.isdir(os.path.join(sys.prefix, "conda-meta")),
        "abi": ("cp" if sys.implementation.name == "cpython" else sys.implementation.name)
        + "%d%d" % sys.version_info[:2]
        + ("t" if free_threaded else ""),
        "platform": {"win32": "win"}.get(sys.platform, sys.platform) + "_" + machine.lower(),
        "bits": 64 if sys.maxsize > 2**32 else 32,
        "ext_suffix": suffixes[0] if suffixes else "",
        "externally_managed": os.path.isfile(os.path.join(stdlib, "EXTERNALLY-MANAGED")),
        "cwd": working_directory(),
        "path": path,
    }


def _pre_release():
    info = sys.version_info
    return "" if info.releaselevel == "final" else info.releaselevel[0] + str(info.serial)


class Folder:
    """One entry of the import path: what its names are, without reading any of them."""

    def __init__(self, path, unread):
        self.path = path
        self.real_path = os.path.realpath(path)
        self.names = {}
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    self.names[entry.name] = entry
        except NotADirectoryError:
            unread.append({"what": path, "why": "not a folder (a zip archive on the import path is not searched)"})
        except FileNotFoundError:
            pass  # python itself ignores entries that do not exist
        except OSError as error:
            unread.append({"what": path, "why": str(error.strerror or error)})
        self.extension_modules = {n.partition(".")[0]: n for n in self.names if n.endswith((".so", ".pyd"))}

    def distributions(self, unread):
        for name in sorted(self.names):
            if name.endswith(".dist-info") or name.endswith(".egg-info"):
                yield Distribution(self.path, self.real_path, name, unread)

    def module(self, name):
        """(kind, path) of what ``import name`` would find here, or None.

        kind is ``package``, ``module``, ``extension`` or ``namespace``; the order is the importer's.
        """
        entry = self.names.get(name)
        folder = os.path.join(self.path, name)
        is_dir = entry is not None and os.path.isdir(folder)  # entry.is_dir() raises for a link to itself
        if is_dir and (os.path.isfile(os.path.join(folder, "__init__.py")) or _compiled_init(folder)):
            return "package", folder
        if name in self.extension_modules:
            return "extension", os.path.join(self.path, self.extension_modules[name])
        if name + ".py" in self.names:
            return "module", os.path.join(self.path, name + ".py")
        return ("namespace", folder) if is_dir else None


def _compiled_init(folder):
    try:
        return any(n.startswith("__init__.") and n.endswith((".so", ".pyd", ".pyc")) for n in os.listdir(folder))
    except OSError:
        return False


class Distribution:
    """One ``*.dist-info`` or ``*.egg-info``, read as text."""

    def __init__(self, location, real_location, name, unread):
        self.location = location
        self.unread = unread
        self.path = os.path.join(location, name)
        self.real_location = real_location
        self.leftover = name.startswith("~")
        try:
            self.files = set(os.listdir(self.path))
        except OSError:
            self.files = set()  # the old single-file egg-info, or unreadable: reading the head tells
        metadata = next((f for f in ("METADATA", "PKG-INFO") if f in self.files), "")
        head = _head(os.path.join(self.path, metadata) if metadata else self.path, unread)
        stem = name.rpartition(".")[0]
        fields = {}
        for field, value in _FIELDS.findall(head):
            fields.setdefault(field, []).append(value.strip())
        self.name = fields.get("Name", [""])[0] or stem.split("-")[0]
        self.version = fields.get("Version", [""])[0] or ([*stem.split("-"), ""])[1]
        self.summary = fields.get("Summary", [""])[0]
        requires = fields.get("Requires-Dist", ())
        self.complete = bool(head)
        self.key = re.sub(r"[-_.]+", "-", self.name).lower()
        # Of torch all, for it cannot be imported without them.
        self.requires = [r for r in requires if (self.key == "torch" or _REQUIREMENTS.match(r)) and "extra" not in r]
        self._record = self._libraries = self._url = self._provides = None

    @property
    def provides(self):
        """Its import names, as far as the metadata tells."""
        if self._provides is None:  # asked once for every watched name
            stated = EXTENSIONS.get(self.key) or self.text("top_level.txt").split()
            self._provides = stated or [self.key.replace("-", "_")]
        return self._provides

    def text(self, name):
        """A text file of the metadata, or '' where it is missing."""
        return _read(os.path.join(self.path, name), self.unread) if name in self.files else ""

    def shared_libraries(self):
        """(path relative to the location, size in bytes or None) of every shared library in RECORD."""
        if self._libraries is None:
            found = [entry for suffix in _SUFFIXES for entry in self.record(suffix)]
            self._libraries = [(file, size) for file, size in found if _LIBRARY.search(file)]
        return self._libraries

    def record(self, part):
        """(path, size in bytes or None) of every line of RECORD that contains the bytes ``part``."""
        if self._record is None:
            file = os.path.join(self.path, "RECORD")
            self._record = _read_bytes(file, self.unread) if "RECORD" in self.files else b""
        record, entries = self._record, []
        at = record.find(part)
        while at >= 0:  # searching is much faster than splitting torch's 15,000 lines
            start = record.rfind(b"\n", 0, at) + 1
            end = record.find(b"\n", at)
            line = record[start : end if end >= 0 else None].decode("utf-8", "replace").strip()
            file, _, size = ([*line.rsplit(",", 2), "", ""])[:3]
            entries.append((file.strip('"'), int(size) if size.isdigit() else None))
            at = record.find(part, end) if end >= 0 else -1
        return entries

    def direct_url(self):
        """(address, editable) from direct_url.json (PEP 610), or (None, False)."""
        if self._url is None:
            self._url = (None, False)
            text = self.text("direct_url.json")
            if text:
                try:
                    data = json.loads(text)
                    self._url = str(data["url"]), bool(data.get("dir_info", {}).get("editable"))
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    pass  # not as PEP 610 writes it: the same as none
        return self._url

    def facts(self):
        url, editable = self.direct_url()
        return {
            "name": self.name,
            "version": self.version,
            "path": self.path,
            "real_path": None
            if self.real_location == self.location
            else os.path.join(self.real_location, os.path.basename(self.path)),
            "installer": self.text("INSTALLER").strip() or None,
            "requested": "REQUESTED" in self.files,
            "direct_url": url,
            "editable": editable,
            "leftover": self.leftover,
            "complete": self.complete,
            "summary": self.summary if self.key == "apex" else "",
            "requires": self.requires,
            # Only where it matters: reading every RECORD takes a quarter of the whole time.
            "compiled": bool(self.shared_libraries()) if any(map(_NUMPY.match, self.requires)) else None,
            "networkx_backends": self._networkx_backends(),
        }

    def _networkx_backends(self):
        text = self.text("entry_points.txt")
        if "[networkx.backends]" not in text:
            return []
        section = re.search(r"^\[networkx\.backends\]\s*$(.*?)(?=^\[|\Z)", text, re.M | re.S)
        return re.findall(r"^\s*([^\s=\[;#]+)\s*=", section.group(1), re.M) if section else []


def _read_bytes(file, unread=None):
    """A file's content, or b'' with the reason in ``unread``; far cheaper than ``open`` for hundreds of files."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return b"".join(iter(lambda: os.read(descriptor, 1 << 20), b""))
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return b""
    except OSError as error:
        if unread is not None:
            unread.append({"what": file, "why": str(error.strerror or error)})
        return b""


def _read(file, unread=None):
    return _read_bytes(file, unread).decode("utf-8", "replace")


def _head(file, unread):
    """The header of a METADATA file: everything before the description."""
    try:
        descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return ""  # leftover or partial metadata: `complete` says so
    except OSError as error:
        unread.append({"what": file, "why": str(error.strerror or error)})
        return ""
    head = b""
    try:
        while True:  # the first block nearly always holds it all
            block = os.read(descriptor, 1 << 14)
            head += block
            # An empty line; one of blanks continues a field, as in the licence texts of old metadata.
            end = re.search(rb"\n\r?\n", head)
            if end or not block:
                return head[: end.start() if end else None].decode("utf-8", "replace")
    except IsADirectoryError:
        return ""
    except OSError as error:
        unread.append({"what": file, "why": str(error.strerror or error)})
        return ""
    finally:
        os.close(descriptor)


def resolve(name, folders):
    """(kind, path, entry) of what ``import name`` finds, or None.  A namespace folder never hides a
    package further along the path (PEP 420)."""
    namespace = None
    for folder in folders:
        found = folder.module(name)
        if found and found[0] != "namespace":
            return (*found, folder.path)
        if found and namespace is None:
            namespace = (*found, folder.path)
    return namespace


def owner(found, name, distributions):
    """The distribution that put the module ``found`` there, or None."""
    _kind, path, entry = found
    for dist in distributions:
        if dist.leftover:
            continue
        if dist.location == entry and (dist.key == name.replace("_", "-") or name in dist.provides):
            return dist
        url, editable = dist.direct_url()
        if editable and url and url.startswith("file://"):
            if os.path.realpath(path).startswith(os.path.realpath(_file_path(url)) + os.sep):
                return dist
    return None


def _file_path(url):
    path = url[len("file://") :]
    if "%" not in path:
        return path  # the import takes as long as a hundred distributions
    from urllib.parse import unquote

    return unquote(path)


def read_modules(folders, distributions):
    """How the watched import names resolve, and the names in front that hide the standard library."""
    names = set(WATCHED)
    for dist in distributions:
        names.update(EXTENSIONS.get(dist.key, ()))
    modules = []
    for name in sorted(names):
        found = resolve(name, folders)
        if found is None:
            continue
        dist = owner(found, name, distributions)
        hidden = [
            os.path.join(folder.path, name)
            for folder in folders
            if folder.path != found[2] and (folder.module(name) or ("namespace",))[0] != "namespace"
        ]
        modules.append(_module(name, found, dist, hidden))
    modules.extend(_hides_standard_library(folders))
    return modules


def _module(name, found, dist, hidden):
    kind, path, entry = found
    children = []
    if kind in ("package", "namespace"):
        with contextlib.suppress(OSError):
            children = sorted(n for n in os.listdir(path) if n != "__pycache__")[:60]
    return {
        "name": name,
        "kind": kind,
        "path": path,
        "entry": entry,
        "distribution": dist.name if dist else None,
        "children": children if name == "apex" or kind == "namespace" else [],
        "hides": hidden,
        "standard_library": False,
    }


def _hides_standard_library(folders):
    stdlib = os.path.dirname(os.path.abspath(os.__file__))
    standard = next((f for f in folders if f.path == stdlib), None)
    if standard is None:
        return
    started = {name.partition(".")[0] for name in _STARTED}
    for folder in folders[: folders.index(standard)]:
        for entry in folder.names:
            name = entry[:-3] if entry.endswith(".py") else entry
            # Loaded or built in before any file is searched; `test` is nobody's dependency.
            if name in started or name in sys.builtin_module_names or name in ("test", "__pycache__"):
                continue
            found = folder.module(name) if "." not in name else None
            if found and found[0] != "namespace":
                hidden = standard.module(name)
                if hidden and hidden[0] != "namespace":
                    item = _module(name, (*found, folder.path), None, [hidden[1]])
                    item["standard_library"] = True
                    yield item


def read_torch(folders, distributions):
    """torch from ``torch/version.py`` and the files that its RECORD promises; None where there is none."""
    dist = next((d for d in distributions if d.key == "torch" and not d.leftover), None)
    found = resolve("torch", folders)
    if found is not None and found[0] == "namespace" and dist is None:
        found = None
    if found is None and dist is None:
        return None
    location = found[1] if found else os.path.join(dist.location, "torch")
    version = version_file(os.path.join(location, "version.py"))
    missing, changed = [], []
    recorded = dist is not None and os.path.dirname(location) == dist.location and dist.files & {"RECORD"}
    if not recorded and (found is None or found[0] == "namespace"):
        missing.append("torch/__init__.py")
    if recorded:
        first = [entry for entry in dist.record(b"torch/__init__.py,") if entry[0] == "torch/__init__.py"]
        for file, size in first + dist.shared_libraries():
            try:
                actual = os.stat(os.path.join(dist.location, file)).st_size
            except OSError:
                missing.append(file)
            else:
                if size is not None and size != actual:
                    changed.append(file)
    return {
        "location": location,
        "version": version.get("__version__") or (dist.version if dist else ""),
        "metadata_version": dist.version if dist else None,
        "cuda": version.get("cuda"),
        "hip": version.get("hip"),
        "git_version": version.get("git_version"),
        "readable": bool(version.get("__version__")),
        "missing_files": missing,
        "changed_files": changed,
        "architectures": _architectures(os.path.join(location, "lib")) if version.get("cuda") else [],
    }


def version_file(file):
    """The string assignments of a ``version.py``, read as text: name -> value (None for ``None``)."""
    pattern = r"""^(\w+)\s*(?::[^=\n]+)?=\s*(?:(None)|["']([^"'\n]*)["'])\s*(?:#.*)?$"""
    return {name: None if none else value for name, none, value in re.findall(pattern, _read(file), re.M)}


def _architectures(folder):
    """torch's own list of GPU architectures, e.g. ``['sm_75', ..., 'sm_120']``.

    torch compiles the list into libtorch_python as one string, the one that
    ``torch._C._cuda_getArchFlags()`` returns (torch/csrc/cuda/Module.cpp).
    """
    # To the end of the string, lest the first half of one that lies across two blocks is taken for all of it.
    pattern = re.compile(rb"(?:sm_\d+[af]? ?)(?:(?:sm|compute)_\d+[af]? ?)+(?=\0)")
    for name in ("libtorch_python.so", "torch_python.dll", "libtorch_python.dylib"):
        try:
            with open(os.path.join(folder, name), "rb") as stream:
                tail = b""
                for block in iter(lambda: stream.read(1 << 20), b""):
                    data = tail + block
                    at = data.find(b"sm_")
                    while at >= 0:
                        match = pattern.match(data, at)
                        if match:
                            return match.group().decode().split()
                        at = data.find(b"sm_", at + 3)
                    tail = data[-512:]  # the string may lie across two blocks
        except OSError:
            continue
    return []


# +pt28cu126, +pt210cpu, +cu121, +cu12torch2.6cxx11abiFALSE, +pt2.4.1cu121, +cpu, +pt213
_TAG = re.compile(
    r"(?:pt(?P<pt>\d)(?P<ptminor>\d+)(?=cu|cpu|$)|pt(?P<ptdot>\d+\.\d+)(?:\.\d+)?)?"
    r"(?P<cuda>cpu|cu\d{2,3})?"
    r"(?:torch(?P<torch>\d+\.\d+)(?:\.\d+)?)?"
)


def build_tag(version):
    """What a version's local part says of its build: (torch, CUDA), e.g. ``+pt28cu126`` -> ('2.8', '12.6').

    CUDA is ``cpu`` for a CPU build; each is None where the tag does not tell.  Grammar: PyG's
    ``+pt{major}{minor}{cpu|cuNNN}``, flash-attn's ``+cu12torch2.6...``, pytorch3d's ``+pt2.4.1cu121``,
    PyTorch's own ``+cu121``.
    """
    local = version.partition("+")[2]
    match = _TAG.match(local)
    if not local or not match or not match.group():
        return None, None
    part = match.groupdict()
    torch = part["torch"] or part["ptdot"] or (part["pt"] and part["pt"] + "." + part["ptminor"])
    cuda = part["cuda"]
    if cuda and cuda != "cpu":
        digits = cuda[2:]
        cuda = digits if len(digits) == 2 and digits in ("11", "12", "13") else digits[:-1] + "." + digits[-1]
    return torch or None, cuda or None


def read_extensions(folders, distributions, torch):
    """Every distribution with shared libraries that link against torch."""
    extensions, seen = [], {"torch"}
    torch_time = _mtime(os.path.join(torch["location"], "version.py")) if torch else None
    for dist in distributions:
        if dist.leftover or dist.key in seen:
            continue  # of several copies the first on the path is imported
        seen.add(dist.key)
        pins = [r for r in dist.requires if re.match(r"torch(?![\w-])", r, re.I)]
        tagged = build_tag(dist.version)[0] is not None
        if not (dist.key in EXTENSIONS or tagged or pins):
            continue
        libraries, missing = _libraries(dist, folders)
        if not libraries and not missing and dist.key not in EXTENSIONS:
            continue
        text, origin = _version_with_tag(dist)
        built_for_torch, built_for_cuda = build_tag(text)
        times = [t for t in (_mtime(os.path.join(dist.location, f)) for f in libraries) if t is not None]
        extensions.append(
            {
                "package": dist.name,
                "version": text,
                "origin": origin,
                "location": dist.location,
                "modules": dist.provides,
                "libraries": libraries,
                "missing_files": missing,
                "built_for_torch": built_for_torch,
                "built_for_cuda": built_for_cuda,
                "requires_torch": pins,
                "wheel_tags": re.findall(r"^Tag:\s*(\S+)", dist.text("WHEEL"), re.M),
                # Only a reason to load it for a test, never a finding: file times can be anything.  A minute
                # apart, because one command may install both, the extension first.
                "older_than_torch": bool(times and torch_time is not None and max(times) < torch_time - 60),
            }
        )
    return extensions


def _libraries(dist, folders):
    recorded = [file for file, _ in dist.shared_libraries()]
    if recorded:
        missing = [f for f in recorded if not os.path.exists(os.path.join(dist.location, f))]
        return [f for f in recorded if f not in missing], missing
    libraries = []  # an editable or a conda install: its RECORD does not list them
    for name in dist.provides:
        found = resolve(name, folders)
        for root, folders_below, files in os.walk(found[1]) if found and found[0] == "package" else ():
            folders_below.sort()
            libraries += [
                os.path.relpath(os.path.join(root, f), dist.location) for f in sorted(files) if _LIBRARY.search(f)
            ]
    return libraries, []


def _version_with_tag(dist):
    """The fullest version known and where it was read: metadata, or the package's own version.py."""
    metadata = os.path.basename(dist.path)
    if "+" not in dist.version:
        for name in dist.provides:
            file = os.path.join(name, "version.py")
            version = version_file(os.path.join(dist.location, file)).get("__version__")
            if version and "+" in version:
                return version, file.replace(os.sep, "/")
    return dist.version, metadata


def _mtime(file):
    try:
        return os.stat(file).st_mtime
    except OSError:
        return None


def read_other_interpreters():
    """Other Pythons that commands or variables of this session point to, and whether they have torch."""
    others = []
    candidates = [(v, os.environ.get(v, "")) for v in ("VIRTUAL_ENV", "CONDA_PREFIX")]
    for command in ("python", "python3", "pip", "pip3"):
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            file = os.path.join(folder, command)
            if folder and os.path.isfile(file) and os.access(file, os.X_OK):
                candidates.append((command + " on PATH", os.path.dirname(os.path.abspath(folder))))
                break
    here = {os.path.realpath(sys.prefix)}
    for how, prefix in candidates:
        if not prefix or os.path.realpath(prefix) in here:
            continue
        here.add(os.path.realpath(prefix))
        python = os.path.join(prefix, "bin", "python")
        if not os.path.exists(python):
            python = os.path.join(prefix, "bin", "python3")
        if not os.path.exists(python):
            python = os.path.join(prefix, "python.exe")
        if os.path.exists(python):
            others.append({"how": how, "python": python, "torch": _torch_below(prefix)})
    return others


def _torch_below(prefix):
    libraries = [os.path.join(prefix, "Lib", "site-packages")]
    for lib in ("lib", "local/lib"):
        try:
            versions = sorted(n for n in os.listdir(os.path.join(prefix, lib)) if re.match(r"python\d", n))
        except OSError:
            continue
        for version in versions:
            libraries += [os.path.join(prefix, lib, version, kind) for kind in ("site-packages", "dist-packages")]
    for folder in libraries:
        version = version_file(os.path.join(folder, "torch", "version.py")).get("__version__")
        if version:
            return version
    return None


def main(sys_path=None):
    json.dump(collect(None if sys_path is None else import_path(sys_path)), sys.stdout, sort_keys=True)


if __name__ == "__main__":
    main()
