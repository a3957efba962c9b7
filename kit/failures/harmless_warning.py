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
        r"FutureWarning: You are using `?torch\.load`? with[^\n]*",
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
        "no module named 'triton'|no module named triton",
        r"No module named '?triton'?[^\n]*",
        0.42,
        "triton",
        "Triton is not there",
        "On Windows and Macs there is usually none; what can use it goes on without.",
    ),
    (
        "initialize nnpack",
        r"Could not initialize NNPACK[^\n]*",
        0.8,
        "torch",
        "torch does without a library that this machine cannot use",
        "It takes functions of its own.",
    ),
    (
        "apex is not installed|achieved with apex|apex not installed",
        r"[^\n]*(?:apex is not installed|achieved with apex|apex not installed)[^\n]*",
        0.88,
        "apex",
        "A package says that apex would be faster and does without",
        "torch has mixed precision and fused optimizers of its own.",
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
        "is deprecated, use|is deprecated, please use|is deprecated and will be removed|is deprecated. please use|"
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
    (
        "attempting to use flash attention",
        r"attempting to use Flash Attention[^\n]*",
        0.93,
        "transformers",
        "transformers says that the model is still on the CPU, or in full precision",
        "Move it to the GPU, or name a number type when it is loaded.",
    ),
    (
        "attention mask|pad_token_id|pad token id",
        r"attention mask (?:and the pad token id |is )?(?:were|was|is)? ?not (?:be )?(?:set|reliably)[^\n]*|Setting "
        r"`?pad_token_id`? to[^\n]*|attention mask is not set[^\n]*",
        0.93,
        "transformers",
        "transformers says that the padding is not described",
        "Pass attention_mask and pad_token_id in the code to be exact.",
    ),
    (
        "special tokens have been added",
        r"Special tokens have been added in the vocabulary[^\n]*",
        0.93,
        "transformers",
        "transformers reminds of newly added tokens",
        "It is as was meant, where nothing else fails.",
    ),
    (
        "already has a `quantization_config`|quantization_config",
        r"You passed `quantization_config`[^\n]*|Unused kwargs: \[[^\n]*quantization[^\n]*",
        0.88,
        "transformers",
        "transformers takes the settings that the checkpoint brings",
        "What was passed besides is not needed.",
    ),
    (
        "use_cache=true|use_cache=true`",
        r"`?use_cache=True`? is incompatible with [^\n]*",
        0.93,
        "transformers",
        "transformers turns its cache off while it trains",
        "It does so by itself.",
    ),
    (
        "cache for model files in transformers",
        r"cache for model files in Transformers[^\n]*",
        0.9,
        "transformers",
        "transformers moves its downloads to the present layout",
        "It is done once.",
    ),
    (
        "clean_up_tokenization_spaces|legacy behaviour|legacy behavior|legacy=false|fast tokenizer|using a slow "
        "image processor",
        r"`?clean_up_tokenization_spaces`? was not set[^\n]*|You are using the (?:default )?legacy "
        r"behavio[^\n]*|Using a slow "
        r"image processor[^\n]*|You're using a \w+ tokenizer[^\n]*fast tokenizer[^\n]*",
        0.93,
        "transformers",
        "transformers says that a default will change",
        "Nothing changes in this release.",
    ),
    (
        "generation flags are not valid|is set to `false`. however|do_sample",
        r"generation flags are not valid[^\n]*|`?do_sample`? is set to `?False`?\. However[^\n]*",
        0.92,
        "transformers",
        "transformers ignores a setting that has no effect here",
        "Remove it from the code, or leave it.",
    ),
    (
        "could not load dynamic library|ignore above cudart dlerror|skipping registering gpu devices|cannot "
        "dlopen some gpu libraries",
        r"(?:tensorflow|dso_loader|cudart_stub)[^\n]*Could not load dynamic library[^\n]*|Ignore above cudart "
        r"dlerror[^\n]*|"
        r"Cannot dlopen some GPU libraries[^\n]*",
        0.86,
        "tensorflow",
        "TensorFlow does not find a library for the GPU and goes on without",
        "torch brings its own libraries and is not concerned.",
    ),
    (
        "use_reentrant|none of the inputs have requires_grad",
        r"use_reentrant (?:parameter )?should be passed[^\n]*|use_reentrant=\w+[^\n]*explicitly[^\n]*|None of "
        r"the inputs have "
        r"requires_grad=True[^\n]*",
        0.92,
        "torch",
        "torch says that an argument of checkpoint should be named",
        "The result is the same in this release.",
    ),
    (
        "plan failed with a cudnnexception|no current cuda context|cudnnfinalize",
        r"Plan failed with a cudnnException[^\n]*|there was no current CUDA context[^\n]*",
        0.92,
        "torch",
        "cuDNN takes another of its plans",
        "The result is the same.",
    ),
    (
        "gradient overflow|reducing loss scale",
        r"Gradient overflow\.\s+Skipping step[^\n]*|reducing loss scale to[^\n]*",
        0.85,
        "apex",
        "Mixed precision skips a step and lowers its scale",
        "It is how it finds a scale; only a scale that falls without end is a fault of the numbers.",
    ),
    (
        "skipping import of cpp extensions",
        r"Skipping import of cpp extensions due to incompatible torch version[^\n]*",
        0.85,
        "torchao",
        "torchao does without its compiled part",
        "Most of it is Python and works.",
    ),
    (
        "torch_cuda_arch_list is not set",
        r"TORCH_CUDA_ARCH_LIST is not set[^\n]*",
        0.85,
        "torch",
        "torch says for which GPUs it compiles",
        "It takes those that it sees.",
    ),
    (
        "failed to connect to|client socket has failed",
        r"client socket has failed to connect to[^\n]*|socket cannot be initialized on[^\n]*|client socket has "
        r"timed out[^\n]*",
        0.95,
        "torch",
        "torch's processes try one address after the other",
        "On Windows and with IPv6 the first one often does not answer.",
    ),
    (
        "is not a valid python identifier. please rename",
        r"The module name [^\n]*is not a valid Python identifier[^\n]*",
        0.93,
        "transformers",
        "transformers says that a folder's name is no name in Python",
        "The model loads all the same.",
    ),
    (
        "size_average|reduce args|is deprecated. use torch|nn.functional.tanh|nn.functional.sigmoid|implicit "
        "dimension choice",
        r"size_average and reduce args will be deprecated[^\n]*|nn\.functional\.\w+ is deprecated[^\n]*|"
        r"Implicit dimension "
        r"choice for \w+ has been deprecated[^\n]*",
        0.94,
        "torch",
        "torch says that an argument or a function has a new name",
        "The old one still works.",
    ),
    (
        "named tensors|list of numpy.ndarrays|to copy construct from a tensor|dropout option adds|using a "
        "target size",
        r"Named tensors and all their associated APIs[^\n]*|Creating a tensor from a list of "
        r"numpy\.ndarrays[^\n]*|To copy "
        r"construct from a tensor[^\n]*|dropout option adds dropout after all but last[^\n]*|Using a target "
        r"size[^\n]*",
        0.92,
        "torch",
        "torch gives advice on how the code calls it",
        "The installation is not concerned.",
    ),
    (
        "async_io requires|sparse_attn requires|sparse_attn is not compatible|setting ds_accelerator",
        r"\[WARNING\][^\n]*(?:async_io|sparse_attn|NVIDIA Inference is only|please install triton)[^\n]*",
        0.85,
        "deepspeed",
        "deepspeed says which of its options this machine cannot have",
        "They matter only to code that turns them on.",
    ),
    (
        "functional_tensor module is deprecated",
        r"functional_tensor module is deprecated in 0\.15[^\n]*",
        0.95,
        "torchvision",
        "torchvision says that an import path will be removed",
        "It works in this release.",
    ),
    (
        "memory-usage: not supported",
        r"Memory-Usage\W{1,4}Not Supported[^\n]*",
        0.9,
        "",
        "nvidia-smi shows no memory of its own for this GPU",
        "It shares the memory of the machine; torch uses it.",
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
        if broken:
            return
        weak = report.hit(_WEAK) if report.has(*_WEAK_WORDS) else None
        if report.warnings:
            at = report.warnings[0].at
            weak = Hit(at, report.lines[at].strip())
        fine = weak is not None and report.has(*_FINE)
        if weak is not None and (fine or not report.has(*_TELLING)):
            sure = 0.6 if fine else 0.35 if report.warnings else 0.28
            yield _told(sure, _of(weak), weak, "A program warns of something, and nothing failed", "Work went on.")
        return
    row, said = max(found, key=lambda pair: pair[0][2])
    _, _, confidence, package, title, story = row
    if package == "triton" and confidence < 0.5:
        confidence = 0.3 if len([error for error in report.errors if not error.warning]) < 2 else 0.15
    elif broken and not _only(report, said):
        confidence = 0.2
    over = ("library-not-found",) if package == "tensorflow" and confidence > 0.8 else ()
    yield _told(confidence, package or _of(said), said, title, story, over)


# A warning with one of these is no mere remark.
_TELLING = (
    *(
        "issue occurred while importing",
        "can't load",
        "cannot load",
        "built for",
        "cuda",
        "gpu",
        "accelerator",
        "driver",
    ),
    *(
        "not compatible",
        "incompatible",
        "failed to load",
        "could not",
        "cannot be",
        "not found",
        "mismatch",
        "disabling",
    ),
)
# A person says that all works.
_FINE = (
    *(
        "works fine",
        "runs fine",
        "works anyway",
        "still works",
        "safe to ignore",
        "can i ignore",
        "works well",
        "goes on",
    ),
    *(
        "is it normal",
        "is this normal",
        "runs without problem",
        "does not affect",
        "doesn't affect",
        "everything works",
    ),
)
_WEAK_WORDS = (
    "warning",
    "deprecat",
    "will be removed",
    "you may observe",
    "might lead to",
    "falling back",
    "ignore this",
)
_WEAK = r"(?:\bwarnings?\b|deprecat|will be removed|you may observe|might lead to|falling back|ignore this)[^\n]*"


def _only(report: Report, said: Hit) -> bool:
    """Whether all that looks like an error is in this very line, as where a warning quotes the loader."""
    if len(said.line) > 400 or not re.search(r"warn|dlerror|[\s:]W\s|dso_loader", said.line, re.I):
        return False
    return all(error.at <= said.at < error.end for error in report.errors if not error.warning)


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
        _fixes(title),
        "note",
        over,
    )


def _fixes(title: str) -> "tuple[Fix, ...]":
    nothing = Fix("nothing", "Nothing needs to change; the warning can be filtered", safety="safe")
    if "import path" not in title:
        return (nothing,)
    why = "Or have the imports of your own code rewritten: python -m kit recipe check FOLDER --fix shows them first"
    return nothing, Fix("change-code-or-data", why)
