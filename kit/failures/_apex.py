"""What the failures of apex share: the ways out, and how its libraries and its age are told."""

import re
from typing import Optional

from kit.facts import Facts
from kit.failures._told_python import Gone, gone, typed
from kit.findings import Cost, Fix
from kit.gpus import numbers
from kit.published import pip, shim
from kit.report import Report

# What the import of an apex says that is of another time than torch.
GONE = r"No module named 'torch\.|(module|cannot import name '\w+' from) 'torch(\.[\w.]+)?'"


def lacks_libraries(facts: Facts) -> bool:
    """Whether none of apex's main libraries is installed."""
    extension = facts.extension("apex")
    libraries = extension.libraries if extension else ()
    return not any(name in file for file in libraries for name in ("amp_C", "fused_layer_norm_cuda"))


def replacement(facts: Facts, cover: bool = False) -> Fix:
    """The kit's own apex.amp, for code that calls it; with ``cover`` in place of what is installed."""
    return Fix(
        "use-replacement",
        "Where code calls apex.amp: install the kit's, real mixed precision on torch.amp",
        shim(facts, "apex.amp", cover),
        safety="changes-environment",
        cost=Cost(seconds=5),
    )


def uninstall(facts: Facts, why: str) -> Fix:
    """Doing without apex."""
    argv = pip(facts, "uninstall", "--yes", "apex")
    return Fix("uninstall-package", why, argv, safety="changes-environment", cost=Cost(seconds=2))


# -- in text

# Modules of the Pyramid toolkit that PyPI calls apex, and what its import stumbles over.
WEB_WORDS = (
    "apeximplementation",
    "apex/interfaces",
    "apex\\interfaces",
    "apex.interfaces",
    "unencryptedcookiesessionfactoryconfig",
    "pyramid",
    "velruse",
    "wtforms",
    "class advice impossible",
    "0.9.10.dev",
    "0.9.10dev",
    "apex (0.9.10",
    "apex==0.9.10",
)
WEB = (
    r"ApexImplementation|\bapex[/\\.]interfaces|UnencryptedCookieSessionFactoryConfig|"
    r"\bpyramid(?:_mailer|\.\w+)|No module named '?(?:pyramid|velruse|wtforms|apex\.lib)|\bvelruse\b|"
    r"Class advice impossible|\bapex\W{1,4}0\.9\.10\.?dev|\bapex[ ]+0\.9\.10"
)
# What of apex is compiled, and so is missing where only its Python part was installed.
COMPILED = (
    r"(?:amp_C|apex_C|syncbn|bnp|fused_layer_norm_cuda|fused_weight_gradient_mlp_cuda|fused_dense_cuda|mlp_cuda|"
    r"xentropy_cuda|fused_adam_cuda|fused_lamb_cuda|distributed_(?:adam|lamb)_cuda|fast_multihead_attn|fmhalib|"
    r"fast_layer_norm|focal_loss_cuda|fused_index_mul_2d|group_norm(?:_v2)?_cuda|group_bn|nccl_p2p(?:_cuda)?|"
    r"peer_memory_cuda|permutation_search_cuda|transducer_(?:joint|loss)_cuda|fast_bottleneck|nccl_allocator|"
    r"fused_conv_bias_relu|cudnn_gbn_lib|fused_rotary_positional_embedding|_apex_nccl_allocator|"
    r"(?:generic_)?scaled_(?:upper_triang_)?(?:masked_)?softmax_cuda|gpu_direct_storage|layer_norm_cuda)"
)
# Of the web toolkit's time or before: no apex of NVIDIA's without amp was there yet.
_LAST_TORCH_BEFORE, _FIRST_TORCH_AFTER = (2, 4), (2, 7)


def about(report: Report) -> tuple[Gone, ...]:
    """What was not found of apex, the last failure's cause first."""
    return tuple(one for one in gone(report) if one.top == "apex") if report.has("apex") else ()


def from_index(report: Report) -> Optional[int]:
    """The line in which someone had pip install apex from the package index."""
    at = typed(report).get("apex")
    if at is None or re.search(
        r"install[^\n]*(?:[ \t](?:\./?|\.\.?/\S*)(?:\s|$)|git\+|conda-forge|conda)", report.lines[at]
    ):
        return None
    return at


def of_old_days(report: Report) -> bool:
    """Whether the text is surely of before May 2025: an old torch or Python."""
    python = re.search(r"python[ /\\:=v]{0,3}3\.?([5-8])(?!\d)", report.lower)
    return () < _torch(report) < _LAST_TORCH_BEFORE or bool(python)


def of_new_days(report: Report) -> bool:
    """Whether the text is probably of after May 2025, by its torch."""
    return _torch(report) >= _FIRST_TORCH_AFTER


def _torch(report: Report) -> tuple[int, ...]:
    """The minor release of torch that the text states; () where it does not."""
    torch = report.version("torch") or ""
    stated = re.search(r"\btorch\w{0,8}[^\n\d]{1,12}(\d\.\d+\.\d+)", report.text) if not torch else None
    return numbers(torch or (stated.group(1) if stated else ""))[:2]


def told_uninstall(why: str) -> Fix:
    return Fix("uninstall-package", why)


def told_build(why: str) -> Fix:
    """NVIDIA's apex with its compiled part, in words."""
    return Fix("rebuild-extension", why)


def native() -> Fix:
    return Fix(
        "use-replacement", "Where code calls apex.amp: the kit's replacement (kit shim enable apex.amp) or torch.amp"
    )
