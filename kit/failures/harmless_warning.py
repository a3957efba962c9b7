"""A warning that needs no change of the environment.

What it means
-------------
Programs warn of what they will change, of what they do without, of limits that they were tested to.  Work goes on.
A GB10 (DGX Spark, capability 12.1) is told that torch supports ``(8.0) - (12.0)``, and runs the code for 12.0;
``timm.models.layers`` says that it is now ``timm.layers``; torchvision could not load the part that reads images.

How it is found
---------------
In text alone: one of these warnings stands there, and no error of a program or an installation beside it.  Where
there is one, that is the failure.

Example
-------
``FutureWarning: torch.cuda.amp.autocast(args...) is deprecated``.

Fix
---
Nothing.  In code of your own the successor that the warning names can be used at leisure.

Known limits
------------
That a computation works all the same is not known from a warning; where it does not, say what fails.
"""

import re
from collections.abc import Iterator

from kit.failures._told_python import each, failing
from kit.findings import Fix
from kit.report import Hit, Report, Told

RANK = 90
INSTEAD = "Another torch or a nightly build because of a warning alone would risk what works."

_GB10 = (
    ("(8.0) - (12.0)", "capability 12.1", "sm_121"),
    r"cuda capability (?:12\.1|sm_121)[^\n]*|Maximum cuda capability "
    r"supported[^\n]*\(12\.0\)[^\n]*",
    0.96,
    "torch",
    "This GPU is newer than the list that torch was tested with, and runs its code",
    "Code for 12.0 runs on 12.1, so that all of torch works; the warning only compares the numbers.",
)
# words, pattern, confidence, package, title, story
_WARNINGS = (
    (
        "importing from timm",
        r"Importing from timm\.\S+ is deprecated[^\n]*",
        0.95,
        "timm",
        "timm only says that an import path has a new name",
        "The old path still works in this release.",
    ),
    (
        "overwriting|in registry",
        r"Overwriting \w+ in registry with[^\n]*",
        0.9,
        "timm",
        "A model registers itself under a name that timm knows already",
        "The later registration is used, as was meant.",
    ),
    (
        "failed to load image python extension",
        r"Failed to load image Python extension[^\n]*",
        0.75,
        "torchvision",
        "torchvision could not load its own reader of images",
        "Only torchvision.io.read_image and its like need it; datasets read with Pillow.",
    ),
    (
        "required for this version of scipy",
        r"A NumPy version [^\n]*is required for this version of SciPy[^\n]*",
        0.8,
        "scipy",
        "SciPy says which NumPy releases it was tested with",
        "Newer ones of the same major release work as well.",
    ),
    (
        "setting omp_num_threads",
        r"Setting OMP_NUM_THREADS environment variable for each process[^\n]*",
        0.94,
        "torch",
        "torchrun says how many threads each process gets",
        "Set OMP_NUM_THREADS to choose another number.",
    ),
    (
        "torch.meshgrid",
        r"torch\.meshgrid: in an upcoming release[^\n]*",
        0.95,
        "torch",
        "torch says that an argument of meshgrid will be required",
        "The result is the same in this release.",
    ),
    (
        "typedstorage is deprecated",
        r"TypedStorage is deprecated[^\n]*",
        0.95,
        "torch",
        "torch says that TypedStorage will be removed",
        "It matters only to code that uses storages directly.",
    ),
    (
        "lr_scheduler.step()",
        r"Detected call of `?lr_scheduler\.step\(\)`? before[^\n]*",
        0.92,
        "torch",
        "The learning rate is stepped before the optimizer in the user's code",
        "Or a scaler skipped the first step, as it does with mixed precision.",
    ),
    (
        "nested_tensor",
        r"nested[_ ]tensor[^\n]*(?:prototype|beta) stage[^\n]*|enable_nested_tensor is True[^\n]*",
        0.92,
        "torch",
        "torch says that nested tensors are not final",
        "What it computes is right.",
    ),
    (
        "you are using `torch.load` with|`weights_only=false` (the current default|weights_only=false",
        r"FutureWarning: You are using `torch\.load` with[^\n]*",
        0.93,
        "torch",
        "torch says that the default of torch.load will change",
        "Loading works in this release.",
    ),
    (
        "torch.cuda.amp",
        r"FutureWarning: `?torch\.cuda\.amp\.\w+[^\n]*is deprecated[^\n]*|"
        r"torch\.cuda\.amp\.\w+\(args[^\n]*deprecated",
        0.95,
        "torch",
        "torch says that amp has a new name",
        "The old name still works: torch.amp.autocast('cuda') is the new one.",
    ),
    (
        "custom_fwd|custom_bwd",
        r"torch\.cuda\.amp\.custom_[fb]wd\(args[^\n]*deprecated",
        0.94,
        "torch",
        "A package uses the former name of a decorator",
        "The old name still works.",
    ),
    (
        "pkg_resources is deprecated",
        r"pkg_resources is deprecated as an API[^\n]*",
        0.93,
        "setuptools",
        "A package uses a part of setuptools that will be removed",
        "It is there in this release.",
    ),
    (
        "deprecated call to `pkg_resources|pkg_resources.declare_namespace",
        r"Deprecated call to `pkg_resources[^\n]*",
        0.93,
        "setuptools",
        "A package declares its namespace in the former way",
        "It is accepted in this release.",
    ),
    (
        "redirects are currently not supported",
        r"NOTE: Redirects are currently not supported in Windows or MacOs[^\n]*",
        0.93,
        "torch",
        "torch only says that it does not redirect output on this system",
        "It stands before many failures and causes none.",
    ),
    (
        "unable to register cu",
        r"Unable to register cu(?:DNN|FFT|BLAS) factory[^\n]*",
        0.93,
        "tensorflow",
        "TensorFlow's parts register twice, which it logs as an error",
        "It computes all the same; torch is not concerned.",
    ),
    (
        "tf-trt warning|could not find tensorrt",
        r"TF-TRT Warning: Could not find TensorRT[^\n]*",
        0.92,
        "tensorflow",
        "TensorFlow does without TensorRT",
        "It is an option; torch is not concerned.",
    ),
    (
        "this tensorflow binary is optimized|onednn custom operations are on",
        r"This TensorFlow binary is optimized[^\n]*|oneDNN custom operations are on[^\n]*",
        0.9,
        "tensorflow",
        "TensorFlow says how it was compiled",
        "Nothing is wrong with it.",
    ),
    (
        "xformers|triton is not available",
        r"A matching Triton is not available, some optimizations[^\n]*",
        0.88,
        "xformers",
        "xformers does without Triton",
        "Some of its functions are slower; Windows usually has no Triton.",
    ),
    (
        "no module named 'triton'|triton not found|triton not available",
        r"(?:WARNING|UserWarning|info)[^\n]*(?:triton not (?:found|available|installed)|"
        r"No module named 'triton')[^\n]*",
        0.8,
        "triton",
        "A package does without Triton",
        "It takes slower functions of its own.",
    ),
    (
        "expandable_segments not supported",
        r"expandable_segments not supported on this platform[^\n]*",
        0.95,
        "torch",
        "torch ignores an option of its memory allocator on this system",
        "It allocates in the usual way.",
    ),
    (
        "running pip as the 'root' user",
        r"Running pip as the 'root' user[^\n]*",
        0.85,
        "pip",
        "pip advises against running as root",
        "In a container it does no harm.",
    ),
    (
        "deprecation: ",
        r"^[^\w\n]*DEPRECATION: [^\n]*",
        0.8,
        "pip",
        "pip says what a later pip will do differently",
        "This installation is not concerned.",
    ),
    (
        "a new release of pip|you are using pip version|you should consider upgrading via",
        r"new release of pip[^\n]*|You are using pip version[^\n]*|You should consider upgrading via[^\n]*",
        0.8,
        "pip",
        "pip says that a newer pip is there",
        "Nothing has to change for that.",
    ),
    (
        "xformers is not installed correctly|no module 'xformers'|xformers not available",
        r"Xformers is not installed correctly[^\n]*|No module 'xformers'[^\n]*|"
        r"xformers not available[^\n]*",
        0.85,
        "xformers",
        "xformers is an option that is not here",
        "torch's own attention takes its place.",
    ),
    (
        "unused parameters|find_unused_parameters=true was specified",
        r"find_unused_parameters=True was specified in DDP constructor, but did not[^\n]*",
        0.92,
        "torch",
        "torch says that a search of every step is not needed",
        "It costs time, not correctness.",
    ),
    (
        "grad strides do not match",
        r"Grad strides do not match bucket view strides[^\n]*",
        0.92,
        "torch",
        "torch says that a copy in each step could be saved",
        "Results are the same.",
    ),
    (
        "was not writable|is not writable",
        r"(?:The given )?NumPy array is not writ(?:e)?able[^\n]*",
        0.93,
        "torch",
        "torch says that a tensor shares read-only memory of NumPy",
        "Reading it is fine; copy the array before you write to it.",
    ),
    (
        "__floordiv__ is deprecated",
        r"__floordiv__ is deprecated[^\n]*",
        0.95,
        "torch",
        "torch says that integer division of tensors will round differently",
        "Results are the same for positive numbers.",
    ),
    (
        "pin_memory",
        r"'pin_memory' argument is set as true but no accelerator[^\n]*|"
        r"pin_memory[^\n]*no accelerator is found[^\n]*",
        0.75,
        "torch",
        "torch does not pin memory where no GPU is used",
        "Loading works all the same.",
    ),
    (
        "this dataloader will create",
        r"This DataLoader will create \d+ worker processes[^\n]*",
        0.93,
        "torch",
        "More loader processes are asked for than there are cores",
        "It can be slow; nothing is wrong with the installation.",
    ),
    (
        "sequential was deprecated|is deprecated since 0.13|parameter 'pretrained' is deprecated",
        r"The parameter 'pretrained' is deprecated since[^\n]*|Arguments other than a weight enum[^\n]*",
        0.95,
        "torchvision",
        "torchvision says that an argument has a new name",
        "The old one still works.",
    ),
    (
        "beta transforms",
        r"torchvision\.(?:datapoints|transforms\.v2) [^\n]*Beta[^\n]*",
        0.94,
        "torchvision",
        "torchvision says that a part of it is not final",
        "It works in this release.",
    ),
    (
        "some weights of",
        r"Some weights of (?:the model checkpoint|\w+ were not)[^\n]*(?:not used|not initialized|"
        r"newly initialized)[^\n]*",
        0.9,
        "transformers",
        "transformers says which weights the checkpoint does not hold",
        "As is expected where a head is trained anew.",
    ),
    (
        "tokenizers_parallelism|the current process just got forked",
        r"The current process just got forked[^\n]*",
        0.95,
        "tokenizers",
        "tokenizers turns its own threads off after a fork",
        "Set TOKENIZERS_PARALLELISM=false to be rid of the line.",
    ),
    (
        "resume_download",
        r"`?resume_download`? is deprecated[^\n]*",
        0.95,
        "huggingface-hub",
        "huggingface_hub says that an option is no longer needed",
        "Downloads always resume.",
    ),
    (
        "unauthenticated requests|secret `hf_token` does not exist",
        r"secret `HF_TOKEN` does not exist[^\n]*|unauthenticated requests to the HF Hub[^\n]*",
        0.92,
        "huggingface-hub",
        "The hub is used without a token",
        "Public models can be loaded without one.",
    ),
    (
        "iprogress not found",
        r"IProgress not found[^\n]*",
        0.93,
        "tqdm",
        "A progress bar is shown as text",
        "ipywidgets would draw it; nothing else is concerned.",
    ),
    (
        "set_warn_always|non-full backward hook|lazymodules are a new feature|sparse csr tensor support is in beta",
        r"Using (?:a )?non-full backward hook[^\n]*|Lazy modules are a new feature[^\n]*|"
        r"Sparse CSR tensor support is in beta[^\n]*",
        0.94,
        "torch",
        "torch says that a function is old, or not final",
        "It works in this release.",
    ),
    (
        "torch_dtype` is deprecated",
        r"`torch_dtype` is deprecated[^\n]*",
        0.95,
        "transformers",
        "transformers says that an argument has a new name",
        "The old one still works.",
    ),
    (
        "is deprecated, use|is deprecated and will be removed|is deprecated. please use|"
        "is deprecated in favor|was deprecated in",
        r"(?:Future|Deprecation|PendingDeprecation|User)Warning: [^\n]*deprecated[^\n]*",
        0.72,
        "",
        "A package says that something of it is deprecated",
        "It works in this release.",
    ),
    (
        "script.py:|torch.distributed.launch is deprecated",
        r"torch\.distributed\.launch is deprecated[^\n]*",
        0.92,
        "torch",
        "torch says that its launcher has a new name",
        "The old one starts the same processes.",
    ),
    (
        "flash attention|not compiled with flash attention",
        r"1Torch was not compiled with flash attention[^\n]*|"
        r"Torch was not compiled with flash attention[^\n]*",
        0.9,
        "torch",
        "This build of torch takes another kernel for attention",
        "It is slower, and right; builds for Windows have none.",
    ),
    (
        "memory efficient attention|online softmax is disabled",
        r"Online softmax is disabled on the fly[^\n]*",
        0.93,
        "torch",
        "torch.compile chose another way for softmax",
        "The result is the same.",
    ),
    (
        "not enough sms",
        r"Not enough SMs to use max_autotune_gemm mode[^\n]*",
        0.96,
        "torch",
        "This GPU is too small for one way of tuning",
        "torch.compile takes its usual kernels.",
    ),
    (
        "tensorfloat32 tensor cores|tensor cores available but not enabled|to properly utilize them",
        r"TensorFloat32 tensor cores[^\n]*available but not enabled[^\n]*|"
        r"To properly utilize them, you should set[^\n]*",
        0.95,
        "torch",
        "torch could multiply faster, with less precision",
        "Set torch.set_float32_matmul_precision('high') where that is enough.",
    ),
    (
        "nccl_p2p_disable|no device id is provided|device id is not provided|using gpu",
        r"(?:using GPU \d+ (?:to perform barrier )?as device used by this process is currently unknown|"
        r"No device id is provided)[^\n]*",
        0.9,
        "torch",
        "torch guesses which GPU a process means",
        "Call torch.cuda.set_device to name it.",
    ),
    (
        "destroy_process_group() was not called|process group has not been destroyed",
        r"(?:destroy_process_group\(\) was not called|process group has NOT been destroyed)[^\n]*",
        0.93,
        "torch",
        "A program ended without closing its process group",
        "It has no consequence at the end of a run.",
    ),
)


def told(report: Report) -> Iterator[Told]:
    broken = failing(report)
    if report.has(*_GB10[0]) and report.has("12.1", "sm_121") and report.has("(12.0)", "sm_120"):
        said = report.hit(_GB10[1])
        if said is not None:
            yield _told(0.3 if broken else _GB10[2], _GB10[3], said, _GB10[4], _GB10[5], ("gpu-arch-missing",))
            return
    found = [(row, said) for row, said in each(report, _WARNINGS)]
    if not found:
        if not broken and report.warnings:
            at = report.warnings[0].at
            said = Hit(at, report.lines[at].strip())
            yield _told(0.35, _of(said), said, "A program warns of something, and nothing failed", "Work went on.")
        return
    row, said = max(found, key=lambda pair: pair[0][2])
    _, _, confidence, package, title, story = row
    if broken:
        confidence = 0.2
    yield _told(confidence, package or _of(said), said, title, story)


def _of(said: Hit) -> str:
    """The package whose file warns."""
    found = re.search(r"-packages[/\\](\w+)", said.line)
    return found.group(1).replace("_", "-") if found else ""


def _told(confidence: float, package: str, said: Hit, title: str, story: str, over: "tuple[str, ...]" = ()) -> Told:
    return Told(
        confidence,
        package or None,
        f"{title}. {story} Nothing in the environment needs to change.",
        (said,),
        (Fix("nothing", "Nothing needs to change; the warning can be filtered", safety="safe"),),
        "note",
        over,
    )
