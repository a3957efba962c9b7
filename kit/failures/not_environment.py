"""The user's code, data, memory demand, network or a server is the cause; the installation is fine.

What it means
-------------
An index outside of a table ends on a GPU as ``device-side assert triggered``, and everything after it fails too; a
demand of 259 GiB is usually a wrong size, not a small GPU; ``CUBLAS_STATUS_NOT_INITIALIZED`` is a full GPU or such an
index.  Shapes, types and devices that do not fit, files that are not there, a download that stops: no installation
cures that.

How it is found
---------------
In text alone: what torch, PyG, Python, pip and the hub say in these cases.  The kind is named: memory, index, data,
network, storage, user code or a server.  Where an error of a loader or a compiler stands there too, that goes first.

Example
-------
``Assertion `srcIndex < srcSelectDimSize` failed``, then ``CUDA error: device-side assert triggered``.

Fix
---
In the code or the data.  For indices: run once on the CPU, or with ``CUDA_LAUNCH_BLOCKING=1``, which names the line.

Known limits
------------
An illegal memory access can also come from a compiled extension that does not fit; run the failing line on the CPU.
"""

import re
from collections.abc import Iterator
from typing import Optional

from kit.failures import _told_prose
from kit.failures._told_python import (
    MISNAMED,
    above,
    building,
    code,
    each,
    failing,
    gone,
    hits,
    moves,
    owner,
    put,
    typed,
)
from kit.findings import Fix
from kit.report import Hit, Report, Told

RANK = 95
INSTEAD = "Reinstalling torch or an extension would change nothing: it would fail in the same line."

_TITLES = {
    "memory": "The program asks for more memory than there is",
    "index": "An index or a label is outside of its range",
    "data": "The data or the weights do not fit what the code expects",
    "device": "The code mixes devices or number types",
    "network": "A download or a connection failed",
    "server": "What a server hands out is at fault",
    "storage": "A disk is full, or a file may not be written",
    "code": "The program's own code is at fault",
    "missing": "The program asks for something that was never installed or is not on its path",
    "name": "The code imports a module by the name of its package",
    "start": "The way in which processes are started or talk to each other is at fault",
}
_HELP = {
    "memory": "Use a smaller batch, input or model, or free what other processes hold; check a size that is absurd",
    "index": "Check the indices and labels against the sizes; run once on the CPU, where the error names the line",
    "data": "Correct the shapes, files or weights that the message names",
    "device": "Move all tensors to one device and one type, as the message names them",
    "network": "Try again with a connection to that address: proxy, certificate, token or mirror",
    "server": "Tell the maintainers of the file, and take another release until it is mended",
    "storage": "Free or choose another disk or folder; set TMPDIR and the cache folders to it",
    "code": "Correct the line that the traceback names",
    "missing": "Add what the project's own instructions list, by its name on the package index, or run it from "
    "its root",
    "name": "Import it by its own name: pytorch is torch, pyg is torch_geometric, opencv is cv2",
    "start": "Correct how the program is launched: its main guard, addresses, ports, ranks or number of workers",
}
_MORE = {
    "index": "On a GPU it is reported late, at another line, and every later call in that process fails as well.",
    "memory": "The libraries work; a GPU that is full shows itself in several ways, not only as out of memory.",
    "network": "The installation itself is not concerned.",
    "server": "The installation here did nothing wrong.",
}

# kind and confidence, then what programs say, in lower case, divided by |
_SAID = """
memory 0.95 cuda out of memory|outofmemoryerror|error: out of memory|cuda_error_out_of_memory
memory 0.95 mps backend out of memory
memory 0.95 hip out of memory|failed: out of memory|std::bad_alloc|tried to allocate|defaultcpuallocator:
memory 0.95 not enough memory: you
memory 0.92 unable to allocate|paging file is too small|winerror 1455|[winerror 8]|cannot allocate memory
memory 0.95 insufficient shared memory|out of shared memory|no space left on device: '/dev/shm|increase shm
memory 0.82 cublas_status_alloc_failed|cudnn_status_alloc_failed|cusparse_status_alloc_failed
memory 0.82 cusolver_status_alloc_failed
memory 0.72 cublas_status_not_initialized
memory 0.4 cudnn_status_not_initialized|cudnn_status_internal_error|cudnn_status_execution_failed
memory 0.45 cublas_status_execution_failed|cublas_status_internal_error|cusolver_status_internal_error
memory 0.9 killed signal terminated program|killed (program|oom-kill|oomkilled
memory 0.75 exit code 137|exit code: 137|exited with code 137|code 137|exitcode: -9|exitcode : -9|sigkill|(signal 9
memory 0.85 is killed by signal: killed|is killed by signal: bus error|too many open files
memory 0.85 received 0 items of ancdata
memory 0.45 ) exited unexpectedly
memory 0.8 resource allocation failed|unable to find a valid cudnn algorithm|out-of-memory|cuda oom
memory 0.6 memory leak|oom killed|oom-killed|runs out of memory|run out of memory|ran out of memory
memory 0.45 unable to find an engine to execute
index 0.92 assertion `srcindex|assertion `dstindex|assertion `t >= 0|n_classes`|cur_target
index 0.92 index out of bounds"` failed
index 0.92 input_val >= zero|assertion `idx_dim|assertion `indexvalue|assertion `index >=|dstaddselectdimsize
index 0.92 srcselectdimsize
index 0.88 cudaerrorassert|device-side assert triggered|cuda runtime error (59)
index 0.95 index out of range in self|index out of range: tried to access|encountered an index error
index 0.95 point to valid indices
index 0.95 found indices in 'edge_index'|found negative indices|indices must be in range|target out of bounds
index 0.45 illegal memory access|misaligned address|unspecified launch failure|cuda_error_illegal_address
data 0.95 error(s) in loading state_dict|size mismatch for |missing key(s) in state_dict
data 0.95 unexpected key(s) in state_dict
data 0.95 shapes cannot be multiplied|must match the size of tensor|sizes of tensors must match|size mismatch, m1
data 0.95 is invalid for input of size|must match the existing size|expected input batch_size
data 0.95 expects each tensor to be equal size
data 0.93 given groups=|expected more than 1 value per channel|dimension out of range|kernel size can't be greater
data 0.93 must have same number of dimensions|shape mismatch|could not be broadcast together|expected hidden
data 0.93 batch1 must be a 3d
data 0.9 pytorchstreamreader failed|unexpected eof|invalid load key|ran out of input|pickle data was truncated
data 0.9 invalid magic number
data 0.9 file is not a zip file|headertoolarge|invalidheader|metadataincompletebuffer|incomplete metadata
data 0.9 unexpected end of data
data 0.9 created by an older version of pyg|remove the 'processed/'|dataset not found or corrupted
data 0.9 found no valid file|file signature not found|unable to synchronously open
data 0.9 found 0 images|found 0 files|num_samples=0|truncated file read|image file is truncated
data 0.9 cannot identify image file
data 0.8 jsondecodeerror|parsererror: |yaml.scanner.scannererror|unicodedecodeerror
data 0.55 loss is nan|loss: nan|loss nan|loss=nan|loss = nan|contains nan|inf or nan
device 0.95 on the same device|expected object of device type|tensors must be cuda and dense|and weight type (
device 0.93 expected scalar type|expected object of scalar type|have the same dtype|expected dtype int64 for index
device 0.93 expected tensor for argument|not implemented for '|only tensors of floating point
device 0.93 can't be cast to the desired|mixed dtype
device 0.95 device type tensor to numpy|can't call numpy() on tensor|found dtype|expected floating point type
device 0.6 invalid device ordinal
device 0.45 attempting to deserialize object on
code 0.95 does not have a grad_fn|backward through the graph a second time|modified by an inplace operation
code 0.95 implicitly created only for scalar|leaf variable that requires grad
code 0.95 only one element tensors can be converted
code 0.95 value of tensor with more than one|view size is not compatible|unrecognized arguments
code 0.95 arguments are required:
code 0.9 invalid choice: |required positional argument|takes no arguments|indentationerror|taberror
code 0.9 unboundlocalerror
data 0.6 nan loss|loss becomes nan|loss is always nan|nan values|loss goes to nan
device 0.9 bfloat16 is only supported on gpus|bf16 is only supported|does not support bfloat16|doesn't support bf16
device 0.85 your setup doesn't support bf16|not supported on gpus with compute capability
device 0.6 invalid device id|invalid device string
code 0.85 attempted relative import|can't pickle local object|can't pickle <|attribute lookup|is not picklable
code 0.9 storage that is not resizable
code 0.5 too many values to unpack|not enough values to unpack|unhashable type|object is not iterable
code 0.4 list index out of range|object is not callable
code 0.8 only supports ampere|only support fp16 and bf16|has been toggled on, but it cannot be used
start 0.95 cannot re-initialize cuda in forked|freeze_support()|finished its bootstrapping phase
start 0.95 address already in use|waiting for clients|clients joined
start 0.85 watchdog timeout|communicator was aborted|timed out waiting for|rendezvous
data 0.93 must be the same as input size|with negative dimension|expected input to have|expected 3d or 4d
data 0.93 expected 4d|expected 2d
network 0.88 read operation timed out|readtimeout|connecttimeout|connettimeout|operation timed out|socket.timeout
network 0.75 timeouterror|request timed out|timed out while|download failed|failed to download|download stuck
network 0.55 slow download|download is slow|very slow to download|cannot connect to|unable to connect|network error
network 0.85 winerror 10054|winerror 10060|winerror 10061|winerror 10053
start 0.95 duplicate gpu detected|eaddrinuse|in the following order, tensor collective
start 0.85 collective operation timeout|timed out initializing process group|store based barrier|watchdog caught
start 0.75 rank expected, but not set|master_addr expected, but not set|process group has not been initialized
start 0.5 unhandled system error|socket timeout|connection closed by peer|nccl error
network 0.88 sslerror|certificate_verify_failed|[ssl: |sslcertverificationerror|ssl certificate problem
network 0.9 read timed out|connection reset|connectionreseterror|in name resolution|name or service not known
network 0.9 max retries exceeded
network 0.9 proxyerror|remotedisconnected|remote end closed connection|incompleteread|connecttimeout
network 0.9 connection broken
network 0.88 getaddrinfo failed|network is unreachable|could not resolve host|connection timed out
network 0.88 establish a new connection
network 0.85 failed to connect to github|failed to connect to pypi|unable to access 'http
network 0.88 connection refused|protocolerror|http 000 connection failed|condahttperror|gnutls_|early eof|rpc failed
network 0.92 couldn't connect to 'https|couldn't connect to https|cannot find the requested files in
network 0.88 can't load tokenizer for|can't load the configuration|can't load the model for
network 0.88 can't load config for
network 0.88 can't load feature extractor|can't load image processor|api_key not configured
network 0.88 could not find a suitable tls
storage 0.9 already exists and is not an empty directory|not a git repository
network 0.92 localentrynotfound|offline mode is enabled
network 0.92 repositorynotfounderror|repository not found|gatedrepoerror|valid model identifier|gated repo
network 0.92 401 client error|you must have access to it|is restricted. you must|awaiting a review
code 0.5 operation cancelled by user|keyboardinterrupt
network 0.85 entrynotfounderror|is not a local folder|does not appear to have a file named|403 client error
network 0.85 404 client error
network 0.7 urlopen error|urllib.error.httperror|http error 50|http error 429|too many requests|rate limit exceeded
network 0.7 502 server|503 server
network 0.75 do not match the hashes|hash mismatch|checksum mismatch|invalid hash value|checksums didn't match
server 0.9 has an invalid wheel|invalid wheel, could not|.whl is invalid|is not a valid wheel filename
server 0.9 wheel is invalid
storage 0.95 no space left on device|disk quota exceeded|not enough space on the disk|winerror 112|[errno 28]
storage 0.95 [errno 122]
storage 0.72 permissionerror|read-only file system|[errno 13] permission denied|[errno 30]|check the permissions
storage 0.72 not writable
storage 0.72 filename or extension is too long|file name too long|enable long path
"""
# The same, where words alone would say too much.
_PATTERNS = (
    (
        "memory",
        0.6,
        "killed",
        r"^(?:[^\n]{0,60}\b\d+\s|[^\w\n]*(?:\[\d+\]\s+\d*\s*)?)Killed\b[^\n]{0,60}$|"
        r"^[^\w\n]*MemoryError\b[^\n]*",
    ),
    (
        "index",
        0.9,
        "assertion `",
        r"\b(?:Ind|Scatter|Loss|NLL|ClassNLL|Embed|THC)\w{0,40}\.(?:cu|h):\d+[^\n]{0,200}Assertion",
    ),
    ("index", 0.88, "device-side assert", r"device-side assert(?!ions)[^\n]*"),
    (
        "index",
        0.93,
        "out of bounds|out of range",
        r"(?:Target|(?<!tuple )(?<!list )(?<!string )ind(?:ex|ices))\b[^\n]{0,60}\bout of (?:bounds|range)[^\n]*",
    ),
    ("memory", 0.6, "out of memory", r"^(?![^\n]*(?:UserWarning|expandable))[^\n]*\bout of memory\b"),
    ("code", 0.85, "on <module '__main__'", r"Can't get attribute '\w+' on <module '__main__'[^\n]*"),
    (
        "missing",
        0.55,
        "not found in your environment",
        r"requires the \S+ library but it was not found in your "
        r"environment",
    ),
    (
        "missing",
        0.45,
        "pip install",
        r"^[^\w\n]*(?:ImportError|ModuleNotFoundError|ValueError|RuntimeError): [^\n]*(?:requires?|not installed|"
        r"please install|"
        r"not found)[^\n]*pip install[^\n]*",
    ),
    ("code", 0.85, "nameerror", r"NameError: name '(?!_C\b|_ext\b)\w+' is not defined"),
    ("code", 0.9, "positional argument", r"TypeError: [^\n]*positional arguments? but[^\n]*"),
    (
        "data",
        0.7,
        "filenotfounderror|can't open file",
        r"FileNotFoundError: \[Errno 2\] No such file or directory: '(?![^'\n]*(?:nvcc|gcc|g\+\+|c\+\+|cl\.exe|"
        r"ninja|\.so|"
        r"\.h'|\.dll|\.whl|cuda|METADATA|dist-info|egg-info|git'|nvidia-smi|where'|which'|x86_64|hipcc|"
        r"requirements|cmake))"
        r"[^\n]*|can't open file '[^'\n]*\.py'[^\n]*|FileNotFoundError: (?:Found no|Could(?:n't| not) find "
        r"(?:any|the) "
        r"(?:data|file|image|config|checkpoint))[^\n]*",
    ),
)


def _rows() -> Iterator[tuple[str, str, float, str]]:
    """(words, pattern, confidence, kind): a row whose pattern is empty is searched for its words."""
    for line in _SAID.strip().split("\n"):
        kind, sure, words = line.split(" ", 2)
        yield words, "", float(sure), kind
    for kind, confidence, words, pattern in _PATTERNS:
        yield words, pattern, confidence, kind


_ROWS = tuple(_rows())
# Packages whose pages hold wheels for a torch: what they do not have is a matter of versions.
_PAGES = re.compile(
    r"data\.pyg\.org|pytorch-geometric\.com/whl|download\.pytorch\.org|data\.dgl\.ai|download\.openmmlab", re.I
)
_OWN_ERRORS = (
    "RuntimeError TypeError AttributeError KeyError ValueError IndexError AssertionError SyntaxError "
    "ZeroDivisionError "
    "NotImplementedError "
    "RecursionError FileNotFoundError UnicodeDecodeError NotADirectoryError FileExistsError OverflowError "
    "ConfigAttributeError".split()
)
_PROJECT = frozenset(
    "utils util models model src lib libs core data dataset datasets config configs common tools modules nets "
    "network networks layers "
    "helper helpers loss losses train test options my_utils trainer dataloader data_loader preprocess "
    "evaluation arguments scene".split()
)


def told(report: Report) -> Iterator[Told]:
    plain = _told_prose.said(report, "not-environment")
    if plain is not None:
        kind = "memory" if re.search(r"mem|oom|ram|显存|内存", plain[1].line, re.I) else "network"
        told_so = f"{_TITLES[kind]}. {_MORE.get(kind, 'Nothing in the environment needs to change for that.')}"
        yield Told(plain[0], None, f"{told_so} The kind is: {kind}.", (plain[1],), (code(_HELP[kind]),))
    best: Optional[tuple[float, str, tuple[Hit, ...]]] = None
    for (_, _, confidence, kind), said in each(report, _ROWS):
        if (
            kind in ("network", "server")
            and _PAGES.search(said.line)
            and not re.search(r"invalid|timed out|SSL|reset|resol", said.line, re.I)
        ):
            confidence = 0.3
        if said.line.startswith("network error") or (kind == "code" and building(report)):
            confidence /= 2
        if kind == "storage" and confidence < 0.9 and building(report):
            confidence = 0.6
        if best is None or confidence > best[0]:
            best = (confidence, kind, (said,))
    mac = _of_the_system(report)
    if mac is not None and (best is None or mac[0] > best[0]):
        best = mac
    missing = _missing(report)
    if missing is not None and (best is None or missing[0] > best[0]):
        best = missing
    if best is None:
        own = _own(report)
        if own is None:
            return
        best = own
    confidence, kind, lines = best
    more = _MORE.get(kind, "Nothing in the environment needs to change for that.")
    fixes = [code(_HELP[kind])]
    if kind == "server":
        fixes.insert(0, Fix("report-upstream", _HELP[kind]))
        fixes[1] = code("Until then take another release or file of it")
    if kind == "index":
        fixes.append(code("Or set CUDA_LAUNCH_BLOCKING=1, so that the traceback names the call that fails"))
    over = (
        ("wrong-interpreter", "torch-cpu-only", "gpu-not-visible")
        if kind == "name" or lines == (mac or (0, 0, 0))[2]
        else ()
    )
    yield Told(confidence, None, f"{_TITLES[kind]}. {more} The kind is: {kind}.", lines, tuple(fixes), over=over)


def _of_the_system(report: Report) -> "Optional[tuple[float, str, tuple[Hit, ...]]]":
    """What the code asks for and no torch for this system has: CUDA on a Mac, NCCL on Windows."""
    if report.has("not compiled with cuda enabled", "found no nvidia driver") and (
        report.facts.host.system == "Darwin"
        or report.has(
            "macbook", "macos", "mac os", "apple silicon", "darwin", "/users/", " m1", " m2", " m3", "mac mini"
        )
    ):
        said = report.last(r"not compiled with CUDA enabled|Found no NVIDIA driver")
        if said is not None and not report.has("c:\\users", "c:/users"):
            return 0.85, "device", (said,)
    if report.has("have nccl built in") and (
        report.facts.host.system in ("Windows", "Darwin") or report.has("windows", "c:\\", "macos", "darwin", ".dll")
    ):
        said = report.last(r"doesn't have NCCL built in")
        if said is not None:
            return 0.8, "start", (said,)
    return None


def _missing(report: Report) -> "Optional[tuple[float, str, tuple[Hit, ...]]]":
    """A module of the program's own, or a package that was never asked for."""
    if building(report) or not report.has("no module named", "cannot import name"):
        return None
    here = {**typed(report), **put(report)}
    for one in gone(report):
        if one.module in MISNAMED and not one.name:
            return 0.93, "name", hits(report, one)
        if one.own and one.name and not one.attribute and not one.circular:
            return 0.7, "code", hits(report, one)
        if one.name or one.attribute or one.file or moves(one) is not None:
            continue
        if one.module == "amp" and report.has("apex"):
            continue
        if one.top.lower() in _PROJECT:
            return 0.72, "missing", hits(report, one)
        known = one.top.replace("_", "-").lower() in here
        if "." not in one.module and not known and not re.match(_TORCHS, one.module):
            return 0.6, "missing", hits(report, one)
        if one.module == "apex" and not known:
            return 0.45, "missing", hits(report, one)
    return None


# Of these another failure is likelier when they are not found.
_TORCHS = (
    r"(?:torch|apex|pyg|dgl|numpy|tensorflow|transformers|distutils|setuptools|pkg_resources|imp$|pip|wheel|"
    r"packaging|_|lib|"
    r"\w*_(?:cuda|cpu|ext|C|cpp|backend)$|amp_C|syncbn|triton|flash_attn|xformers|cv2|pandas|networkx|mmcv|"
    r"detectron2|timm|"
    r"bitsandbytes|deepspeed|pytorch3d|spconv|MinkowskiEngine|mamba_ssm|causal_conv1d|tinycudann|nvdiffrast|"
    r"diff_gauss|simple_knn|"
    r"vllm|gsplat|pyramid|velruse|wtforms|ninja|pybind11|selective_scan|pointnet2|google|tensorrt|cupy|pycuda|"
    r"accelerate|peft)"
)


# A message with one of these speaks of an installation.
_OF_ENVIRONMENT = (
    r"cuda|compil|install|version|driver|\bdll\b|librar|wheel|\.so\b|\.dll|\.pyd|modules?\b|package|toolkit|gcc|"
    r"g\+\+|nvcc|"
    r"import|symbol|kernel|gpu|device|backend|nonetype"
)


def _own(report: Report) -> Optional[tuple[float, str, tuple[Hit, ...]]]:
    """An error of a kind that code raises: in the user's own file, or in what it calls and no rule knows."""
    cause = report.cause
    if cause is None or cause.kind not in _OWN_ERRORS or building(report) or not failing(report):
        return None
    file = (cause.frames[-1].file if cause.frames else "") or above(report, cause.at)
    if re.search(r"setup\.py$|__init__\.py$", file):
        return None
    if not file:
        if re.search(_OF_ENVIRONMENT, cause.message, re.I) or not cause.message.strip():
            return None
        return 0.25, "code", (Hit(cause.at, report.lines[cause.at].strip()),)
    own = not re.search(r"-packages|[/\\]torch[/\\]|\.egg", file) and not owner(file)
    return 0.4 if own else 0.25, "code", (Hit(cause.at, report.lines[cause.at].strip()),)
