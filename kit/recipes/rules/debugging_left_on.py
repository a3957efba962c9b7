"""A switch for debugging is on for good, or a setting of torch's allocator is misspelt.

``CUDA_LAUNCH_BLOCKING=1`` makes the program wait for every kernel, to find the one that fails; left on in an image it
slows all that runs there.  An allocator option that torch does not know stops the first use of the GPU.

Example
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime
    ENV CUDA_LAUNCH_BLOCKING=1  # <--
    ENV PYTORCH_CUDA_ALLOC_CONF=expandable_segment:True  # <--

Instead
-------
Dockerfile:

    FROM pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime
    ENV PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
"""

import difflib
import re
from collections.abc import Iterator
from typing import Optional

from kit.findings import Fix
from kit.recipes.model import Edit, Problem, Recipe, Setting, Span
from kit.recipes.rules import Wish

FAILURE = "not-environment"

# c10/cuda/CUDAAllocatorConfig.cpp and c10/core/AllocatorConfig.cpp of torch 1.13 to 2.15, those of any of them.
_OPTIONS = (
    "max_split_size_mb",
    "max_non_split_rounding_mb",
    "garbage_collection_threshold",
    "roundup_power2_divisions",
    "roundup_bypass_threshold_mb",
    "backend",
    "expandable_segments",
    "release_lock_on_cudamalloc",
    "release_lock_on_hipmalloc",
    "pinned_use_cuda_host_register",
    "pinned_use_hip_host_register",
    "pinned_num_register_threads",
    "pinned_use_background_threads",
    "pinned_reserve_segment_size_mb",
    "graph_capture_record_stream_reuse",
    "per_process_memory_fraction",
    "throw_on_cudamalloc_oom",
)
_ALLOCATOR = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


def check(recipe: Recipe, wish: Wish) -> Iterator[Problem]:
    for setting in recipe.settings:
        if setting.how != "env" or setting.value is None:
            continue
        if setting.name == "CUDA_LAUNCH_BLOCKING" and setting.value == "1" and recipe.kind != "workflow":
            yield Problem(
                "debugging-left-on",
                FAILURE,
                "note",
                setting.span,
                "Every CUDA kernel is waited for. CUDA_LAUNCH_BLOCKING=1 serves to find a failing kernel; in an "
                "image it slows every program.",
                ("CUDA_LAUNCH_BLOCKING: 1",),
                (
                    Fix(
                        "change-code-or-data",
                        "Take it out, and set it for one run where a kernel fails: "
                        "CUDA_LAUNCH_BLOCKING=1 python train.py",
                    ),
                ),
                _zero(recipe, setting),
                safe=bool(_zero(recipe, setting)),
            )
        elif setting.name == "TORCH_USE_CUDA_DSA" and recipe.kind != "workflow":
            yield Problem(
                "debugging-left-on",
                FAILURE,
                "note",
                setting.span,
                "TORCH_USE_CUDA_DSA does nothing here. It is read when torch itself is compiled; a torch that is "
                "installed does not look at it.",
                (f"TORCH_USE_CUDA_DSA: {setting.value}",),
                (Fix("nothing", "Take it out: it has no effect"),),
            )
        elif setting.name in _ALLOCATOR:
            yield from _allocator(recipe, setting)


def _zero(recipe: Recipe, setting: Setting) -> tuple[Edit, ...]:
    text = recipe.at(setting.span)
    at = setting.span.start + text.rfind("1")
    return (Edit(Span(at, at + 1), "0"),) if re.fullmatch(r"\w+\s*[=:\s]\s*[\"']?1[\"']?", text) else ()


def _allocator(recipe: Recipe, setting: Setting) -> Iterator[Problem]:
    value = re.sub(r"\[[^\]]*\]", "", setting.value or "")  # the list of roundup_power2_divisions
    for part in filter(None, re.split(r"\s*,\s*", value.strip())):
        name, sign, _ = (piece.strip() for piece in part.partition(":"))
        if sign and name in _OPTIONS:
            continue
        asked, equals, rest = part.partition("=")
        near = difflib.get_close_matches(asked.strip() if equals else name, _OPTIONS, 1, 0.8)
        if not near:
            continue  # of a torch that is newer than the list
        right = f"{near[0]}:{rest.strip() if equals else part.partition(':')[2].strip()}".rstrip(":")
        if not rest and not sign:
            continue
        yield Problem(
            "debugging-left-on",
            FAILURE,
            "error",
            setting.span,
            f"torch's allocator does not know {part}. It stops the first use of the GPU with an error; the option is "
            f"written {right}.",
            (f"{setting.name}: {setting.value}",),
            (Fix("change-code-or-data", f"Write {right}"),),
            _replaced(recipe, setting, part, right),
            safe=bool(_replaced(recipe, setting, part, right)),
        )


def _replaced(recipe: Recipe, setting: Setting, old: str, new: str) -> tuple[Edit, ...]:
    at: Optional[int] = recipe.at(setting.span).rfind(old)
    if at is None or at < 0:
        return ()
    return (Edit(Span(setting.span.start + at, setting.span.start + at + len(old)), new),)
