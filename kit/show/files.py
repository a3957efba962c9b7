"""How the X-ray of compiled files looks."""

from html import escape

from kit.show.parts import paragraph, section, table_html, wrap
from kit.symbols import printable
from kit.xray import File, XRay

_ANSWERS = {True: "yes", False: "NO", None: "-"}
# What every library needs, on every machine, tells nothing.
_EVERYWHERE = ("libc.", "libm.", "libdl.", "libpthread.", "librt.", "ld-linux", "libgcc_s.", "libutil.")
_NAMED = 6  # libraries of one file
_SHOWN_WHOLE = 3  # files of which the text tells everything; of more, only the broken ones


def _xray_gpu(shown: XRay) -> str:
    """The GPUs in words: ``'compute capability 12.0'``, ``'NVIDIA L4 (8.9)'``."""
    named = [gpu.name if gpu.wished else f"{gpu.name} ({gpu.capability})" for gpu in shown.gpus]
    return ", ".join(dict.fromkeys(named)) or "a GPU"


def _xray_sentence(shown: XRay) -> str:
    files = shown.files
    some = "1 file" if len(files) == 1 else f"{len(files)} files"
    failing = [f for f in files if f.binary.loads is False]
    unknown = [f for f in files if f.binary.loads is None]
    if not files:
        return "no compiled file was read"
    if failing:
        return "it would not load" if len(files) == 1 else f"{len(failing)} of {some} would not load"
    if shown.verdict == "broken":
        return f"no code for {_xray_gpu(shown)} in {some}"
    if unknown:
        return f"{some} read; whether {len(unknown)} of them would load is not known"
    return "it would load" if len(files) == 1 else f"{some} read, each would load"


def _xray_table(shown: XRay) -> list[tuple[str, ...]]:
    """The head, then a row for each file, the broken ones first.  Without a GPU there is no column for it."""
    head = ("file", "needs", "GPU code", "would load", f"runs on {_xray_gpu(shown)}", "why")
    rows: list[tuple[str, ...]] = [head]
    for file in sorted(shown.files, key=lambda f: f.binary.loads is not False):
        b = file.binary
        runs = _ANSWERS[file.runs_on_gpu] if b.device_code else "no code" if file.runs_on_gpu is False else "-"
        rows.append((b.path, _needed(file), _held(file), _ANSWERS[b.loads], runs, "; ".join(file.why)))
    return rows if shown.gpus else [(*row[:4], row[5]) for row in rows]


def _held(file: File) -> str:
    b = file.binary
    return (" ".join([*b.architectures, *b.ptx]) or "none") + (f" (CUDA {b.cuda})" if b.cuda else "")


def _needed(file: File) -> str:
    b = file.binary
    versions = (("Python", b.python_tag), ("GLIBC", b.glibc), ("GLIBCXX", b.glibcxx))
    libraries = [name for name in b.needs if not name.startswith(_EVERYWHERE)]
    if len(libraries) > _NAMED:
        libraries[_NAMED - 1 :] = [f"{len(libraries) - _NAMED + 1} more"]
    return ", ".join([*libraries, *(f"{name} {version}" for name, version in versions if version)])


def xray_text(shown: XRay) -> str:
    """The verdict, the environment, then the files: in full where they are few or broken, else a line each."""
    lines = [wrap(f"{shown.verdict}: {_xray_sentence(shown)}", ""), wrap(printable(shown.against), "against: ")]
    head, *rows = [tuple(map(printable, row)) for row in _xray_table(shown)]
    few = len(rows) <= _SHOWN_WHOLE
    whole = [row for row in rows if few or row[3] == "NO"]
    width = max(map(len, head))
    for path, *cells in whole:
        named = [(name, cell) for name, cell in zip(head[1:], cells) if cell]
        lines += ["", path, *(wrap(cell, f"  {name:<{width}}  ", " " * (width + 4)) for name, cell in named)]
    rest = [head, *(row for row in rows if not few and row[3] != "NO")]
    brief = [(*row[3:-1], row[2], row[0]) for row in rest]
    if brief[1:]:
        widths = [max(map(len, column)) for column in zip(*brief)][:-1]
        lines += ["", *("  ".join([*map(str.ljust, row, widths), row[-1]]) for row in brief)]
    return "\n".join(lines)


def xray_html(shown: XRay) -> str:
    head, *rows = _xray_table(shown)
    out = paragraph(f"<strong>{escape(shown.verdict)}: {escape(_xray_sentence(shown))}</strong>", size=15)
    out += paragraph(f"against {escape(shown.against)}", faint=True)
    return section(out + (table_html(rows, head) if rows else ""), width=80)
