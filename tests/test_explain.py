"""kit.explain: our own reports of every failure, told apart; what is around them; facts; the command line."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, refusal
from test_failures import IDS, NEVER, OPERATORS, check_finding

import kit
from kit import explaining, weighing
from kit.diagnose import CRASHED
from kit.explaining import explain
from kit.facts import normalise
from kit.failures import catalogue, failure
from kit.findings import FIX_KINDS, Fix
from kit.report import Hit, Told, read

REPORTS = ROOT / "tests" / "reports"
# The contract's; each has reports of its own.
CONTRACT = [
    *["extension-cpu-only", "extension-cuda-mismatch", "extension-torch-mismatch", "gpu-arch-missing"],
    *["torch-cpu-only", "torch-broken", "driver-too-old", "gpu-not-visible", "library-not-found", "library-shadowed"],
    *["libc-too-old", "libstdcxx-too-old", "build-isolation", "nvcc-not-found", "nvcc-torch-mismatch"],
    *["nvcc-arch-unsupported", "compiler-unsupported", "headers-missing", "wheel-not-published"],
    *["python-unsupported", "index-url-malformed", "sdist-preferred", "apex-wrong-package", "apex-amp-removed"],
    *["apex-extension-missing", "apex-version-mismatch", "shadowed-package", "duplicate-metadata", "module-moved"],
    *["version-conflict", "numpy-abi", "wrong-interpreter", "stale-kernel", "harmless-warning", "not-environment"],
]
CONTROLS = ("not-environment", "harmless-warning")
UNCHANGED = {"change-code-or-data", "nothing", "restart-kernel", "report-upstream"}
# Besides what is never advised to a known machine.
NEVER_SAID = [
    *NEVER,
    (r"dll-?files|download \S*\.dll", "a DLL from a download site"),
    (r"(replac|upgrad|compil)\w* (the )?(system's )?glibc", "another C library under a running system"),
    (r"torch\._six.*(downgrad|older torch)|downgrad\w+ torch.*torch\._six", "torch of years ago for torch._six"),
    (r"(copy|rename|link)\w* (the |a |its )?(library|\.so|dll)", "renamed libraries"),
    (r"-Wno-error|\|\| true|suppress\w* the (build )?error", "silence instead of a cure"),
    (r"purge", "purging the driver or CUDA"),
]


@dataclasses.dataclass(frozen=True)
class Case:
    """One of our reports: the failure in whose file it stands, its package ('': not checked), fix kinds accepted."""

    id: str
    name: str
    package: str
    kinds: "tuple[str, ...]"
    text: str


def cases_in(file: Path) -> "list[Case]":
    """The reports of one file, each below a line ``#### name | package or - | fix-kind[,fix-kind]``."""
    out = []
    for part in re.split(r"^#### ", file.read_text(encoding="utf-8"), flags=re.M)[1:]:
        head, _, text = part.partition("\n")
        name, package, kinds = (word.strip() for word in head.split("|"))
        accepted = tuple(kind.strip() for kind in kinds.split(","))
        out.append(Case(file.stem, name, "" if package == "-" else package, accepted, text))
    return out


CASES = [case for file in sorted(REPORTS.glob("*.txt")) for case in cases_in(file)]
IDENTIFIED = [pytest.param(case, id=f"{case.id}: {case.name}") for case in CASES]


def harmful(fix: Fix, text: str = "") -> "list[str]":
    """Why a fix must never be advised to who pasted this; nothing where it may."""
    advice = f"{fix.why} :: {fix.command() or ''}"
    found = [why for pattern, why in NEVER_SAID if re.search(pattern, advice, re.IGNORECASE)]
    argv = fix.argv or ()
    same = [word.partition("==")[2] for word in argv if word.startswith("torch==")]
    if same and same[0] in text:  # the torch of years ago that is there
        found = [why for why in found if why != "a torch of years ago"]
    if OPERATORS & set(argv):
        found.append("a shell's operator in a command")
    if "--force-reinstall" in argv and not ("--no-cache-dir" in argv and [a for a in argv if "==" in a]):
        found.append("a forced reinstall of anything")
    if "install" in argv and "apex" in argv:
        found.append("PyPI's apex")
    if argv[:1] == ("conda",) and "pytorch-scatter" in argv:
        found.append("conda's extension")
    return found


def first(text: str) -> explaining.Cause:
    causes = explain(text).causes
    assert causes, "unknown"
    return causes[0]


# -- our own reports


def test_every_failure_has_reports() -> None:
    assert len(CONTRACT) == 35 and set(CONTRACT) <= set(IDS) and set(CONTRACT) <= {f.id for f in catalogue()}
    ids = [case.id for case in CASES]
    assert {id for id in CONTRACT if ids.count(id) < 4} == set()
    assert set(ids) <= set(IDS)
    assert len(CASES) >= 150
    assert len({(case.id, case.name) for case in CASES}) == len(CASES)
    assert {kind for case in CASES for kind in case.kinds} <= FIX_KINDS


@pytest.mark.parametrize("case", IDENTIFIED)
def test_a_report_is_told(case: Case) -> None:
    explanation = explain(case.text)
    assert explanation.causes, "unknown"
    found = explanation.causes[0]
    others = [(cause.failure, cause.confidence) for cause in explanation.causes]
    assert found.failure == case.id, others
    if case.package:
        assert normalise(found.package or "") == normalise(case.package)
    assert found.fix[0].kind in case.kinds, [fix.kind for fix in found.fix]
    assert (found.failure == "harmless-warning") == explanation.harmless
    if case.id in CONTROLS:
        assert {fix.kind for fix in found.fix} <= UNCHANGED
    numbers = range(1, len(case.text.splitlines()) + 1)
    for cause in explanation.causes:
        check_finding(cause)
        assert cause.failure != CRASHED
        assert 0 < cause.confidence <= explanation.causes[0].confidence <= weighing.MOST
        assert [why for fix in cause.fix for why in harmful(fix, case.text)] == []
        for evidence in cause.evidence:
            at = re.match(r"line (\d+): ", evidence)
            assert at is None or int(at[1]) in numbers
    json.dumps(explanation.to_dict())
    assert set(explanation.to_dict()) == {"schema", "causes"}


def test_what_is_called_nine_in_ten_is_right_nine_times_in_ten() -> None:
    sure = [first(case.text).failure == case.id for case in CASES if first(case.text).confidence >= 0.85]
    assert sum(sure) >= 0.9 * len(sure) and len(sure) > 0.5 * len(CASES)


# -- what happens to a text on its way

NOISE = [
    f"Epoch {n // 9}:  {n % 100}%|████      | {n}/300 [00:{n % 60:02}<01:25,  2.87it/s, loss={n / 300:.3f}]\n"
    for n in range(300)
]


def coloured(text: str) -> str:
    return re.sub(r"\b(\w*Error|Warning|error|torch\w*)\b", "\x1b[0;31m\\1\x1b[0m", text)


def as_html(text: str) -> str:
    from html import escape

    lines = "\n".join(f'<span class="line">{escape(line)}</span>' for line in text.splitlines())
    return f"<html><body><div class='comment'><pre><code>{lines}</code></pre></div></body></html>"


def wrapped(text: str) -> str:
    return "\n".join(
        "\n".join(line[n : n + 100] for n in range(0, len(line) or 1, 100)) for line in text.splitlines()
    )


WAYS = {
    "coloured": coloured,
    "copied from a web page": as_html,
    "wrapped by a terminal": wrapped,
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "indented": lambda text: "".join(f"    {line}" for line in text.splitlines(True)),
    "quoted": lambda text: "".join(f"> {line}" for line in text.splitlines(True)),
    "fenced": lambda text: f"Hello, this worked yesterday:\n\n```\n{text}\n```\n\nAny idea? Thanks a lot!\n",
    "in Japanese": lambda text: (
        f"昨日までは動いていました。\n以下のエラーが出ます：\n{text}\nどうすれば直りますか？よろしくお願いします。\n"
    ),
    "in Chinese": lambda text: f"你好，运行训练脚本时报错，请问怎么解决？\n报错信息如下：\n{text}\n谢谢！\n",
    "in noise": lambda text: "".join(NOISE) + text + "\n" + "".join(NOISE),
    "with a progress bar": lambda text: "".join(f"\r  {n} MB / 740 MB" for n in range(50)) + "\n" + text,
}


def torn(case: Case) -> bool:
    """Whether a terminal's width shows: one torn line does not tell it."""
    return sum(len(line) > 100 for line in case.text.splitlines()) > 1


TRAVELLED = [
    pytest.param(case, way, id=f"{case.id}: {case.name}, {way}")
    for case in CASES[::5]
    for way in WAYS
    if way != "wrapped by a terminal" or torn(case)
]


@pytest.mark.parametrize(("case", "way"), TRAVELLED)
def test_the_answer_survives(case: Case, way: str) -> None:
    assert first(WAYS[way](case.text)).failure == case.id


# Windows and gcc say it in the language of the person; file names and numbers stay.
LOCALISED = [
    (
        "extension-torch-mismatch",
        r"OSError: [WinError 127] Die angegebene Prozedur wurde nicht gefunden. Error loading "
        r"\"C:\Python310\lib\site-packages\torch_sparse\_convert_cuda.pyd\" or one of its dependencies.",
    ),
    (
        "extension-torch-mismatch",
        r"OSError: [WinError 127] La procédure spécifiée est introuvable: "
        r"'C:\\Users\\user\\miniconda3\\lib\\site-packages\\torch_scatter\\_scatter_cuda.pyd'",
    ),
    (
        "headers-missing",
        "csrc/cpu/scatter_cpu.cpp:1:10: error fatal: Python.h: No existe el fichero o el directorio",
    ),
    (
        "headers-missing",
        "torch/csrc/python_headers.h:12:10: schwerwiegender Fehler: Python.h: Datei oder Verzeichnis nicht gefunden",
    ),
    (
        "torch-broken",
        r"OSError: [WinError 126] 指定されたモジュールが見つかりません。 Error loading "
        r"\"C:\Users\user\venv\lib\site-packages\torch\lib\fbgemm.dll\" or one of its dependencies.",
    ),
]


@pytest.mark.parametrize(("id", "text"), LOCALISED)
def test_other_languages_keep_names_and_numbers(id: str, text: str) -> None:
    assert first(text).failure == id


def test_a_stranger_to_the_kit_is_unknown() -> None:
    for text in ("Hello, how are you?", "All tests passed.\n", "x = 1\nprint(x)\n", "€" * 1000, "\n\n\n", ""):
        explanation = explain(text)
        assert explanation.causes == () and not explanation.harmless, text
        assert explanation.to_dict() == {"schema": 1, "causes": []}
        shown = repr(explanation)
        assert shown.startswith("unknown: ") and "python -m kit doctor" in shown
        assert "python -m torch.utils.collect_env" in shown and "python -m kit explain" in shown


def test_what_to_collect_fits_what_the_text_lacks() -> None:
    installing = repr(explain("$ pip install frobnicate\nfrob: it did not work\n"))
    assert "--log pip.log" in installing and "PROGRAM.py" not in installing
    known = explain("frob: it did not work\n", kit.machine("healthy-gpu"))
    assert [command for _, command in known.wanted] == [
        "python PROGRAM.py > out.txt 2>&1; python -m kit explain out.txt",
        "python -m kit explain out.txt --python EXE",
    ]


# -- hostile text


def test_nothing_of_a_text_is_shown_unescaped() -> None:
    evil = "<img src=x onerror=alert(1)>"
    text = f"RuntimeError: Not compiled with CUDA support {evil} \x9b31m \u202e\ntorch {evil}\n"
    text += f"ModuleNotFoundError: No module named '{evil}'\n"
    explanation = explain(text)
    bundle = explanation._repr_mimebundle_()
    assert "<img" not in bundle["text/html"] and "\x9b" not in bundle["text/html"] + bundle["text/plain"]
    assert "\u202e" not in bundle["text/html"] + bundle["text/plain"]
    evidence = Told(0.9, evil, f"The package {evil} is at fault. It is {evil}.", (Hit(0, text),), (FIX,))
    shown = explain(text, failures=[telling("stale-kernel", evidence)])._repr_mimebundle_()["text/html"]
    assert "<img" not in shown and "&lt;img src=x onerror=alert(1)&gt;" in shown


@pytest.mark.parametrize(
    "text",
    [
        "undefined symbol: " + "_ZN" * 20000,
        "ImportError: " + "a" * 300_000,
        "(" * 50_000,
        'File "' * 20_000,
        "Traceback (most recent call last):\n" * 5_000,
        "<" * 100_000,
        "\x1b[" * 50_000,
        "nvcc " * 40_000,
        ('  File "a.py", line 1, in f\n    f()\n') * 20_000,
        " \t" * 100_000,
        "torch==1.0+cu" * 20_000,
        "pip install " * 20_000,
        "-gencode=arch=compute_" * 10_000,
    ],
    ids=range(13),
)
def test_no_text_takes_long(text: str) -> None:
    import time

    began = time.process_time()
    explain(text)
    assert time.process_time() - began < 5


def test_a_huge_text_is_read_in_bounded_memory(tmp_path: Path) -> None:
    import resource

    file = tmp_path / "huge.txt"
    line = b"step 1000000: loss 0.31415926, learning rate 0.001, 12.3 samples a second, node worker-17\n"
    file.write_bytes(line * (50_000_000 // len(line)) + b"RuntimeError: Not compiled with CUDA support\n")

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))
        resource.setrlimit(resource.RLIMIT_CPU, (20, 20))

    done = subprocess.run(
        [sys.executable, "-m", "kit", "explain", str(file), "--json"],
        capture_output=True,
        text=True,
        preexec_fn=bound,
        cwd=ROOT,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (1, "")
    (cause, *_) = json.loads(done.stdout)["causes"]
    assert cause["failure"] == "extension-cpu-only"
    last = 50_000_000 // len(line) + 1
    assert cause["evidence"][0] == f"line {last}: RuntimeError: Not compiled with CUDA support"


# -- how causes are weighed

FIX = Fix("restart-kernel", "Restart the kernel")
SUMMARY = "The running kernel still holds the old library. Restart it."


def telling(id: str, *tolds: Told) -> "kit.failures.Failure":
    return dataclasses.replace(failure(id), told=lambda report: iter(tolds), find=lambda facts: iter(()))


def told(confidence: float, at: "int | None" = 0, package: "str | None" = None, **values: object) -> Told:
    hits = () if at is None else (Hit(at, f"line number {at + 1}"),)
    return Told(confidence, package, SUMMARY, hits, (FIX,), **values)


def weighed(text: str, **tolds: "Told | list[Told]") -> "list[tuple[str, float]]":
    known = [
        telling(id.replace("_", "-"), *(each if isinstance(each, list) else [each])) for id, each in tolds.items()
    ]
    return [(cause.failure, cause.confidence) for cause in explain(text, failures=known).causes]


def called(*confidences: float) -> "list[float]":
    """What is said where the rules come to this."""
    return [round(min(confidence**weighing.CAUTION, weighing.MOST), 2) for confidence in confidences]


def test_one_cause_alone_keeps_its_confidence() -> None:
    assert weighed("a\nb\n", stale_kernel=told(0.8)) == [("stale-kernel", *called(0.8))]
    assert weighed("a\nb\n", stale_kernel=told(1.0)) == [("stale-kernel", weighing.MOST)]


def test_rivals_share_and_the_unlikely_is_left_out() -> None:
    shared = weighed("a\n", stale_kernel=told(0.8), torch_broken=told(0.8))
    assert shared == [("stale-kernel", *called(4 / 9)), ("torch-broken", *called(4 / 9))]
    one, other = weighed("a\n", stale_kernel=told(0.9), torch_broken=told(0.5))
    assert (one, other) == (("stale-kernel", *called(9 / 11)), ("torch-broken", *called(1 / 11)))
    assert weighed("a\n", stale_kernel=told(0.9), torch_broken=told(0.1)) == [("stale-kernel", *called(0.9))]
    many = {id.replace("-", "_"): told(0.5) for id in CONTRACT[:9]}
    assert len(weighed("a\n", **many)) == weighing.SHOWN


def test_a_cause_stands_before_what_follows_from_it() -> None:
    root = told(0.6, over=("torch-broken",))
    (sure,) = called(0.6)
    assert weighed("a\n", stale_kernel=root, torch_broken=told(0.9)) == [
        ("stale-kernel", sure),
        ("torch-broken", sure),
    ]


def test_what_is_told_twice_is_one_cause() -> None:
    both = [told(0.5, 0, "torch-scatter"), told(0.6, 1, "torch_scatter")]
    (cause,) = explain("a\nb\n", failures=[telling("extension-cpu-only", *both)]).causes
    assert [cause.confidence] == called(0.8) and cause.evidence == ("line 2: line number 2", "line 1: line number 1")
    same = [told(0.5, 0, "torch-scatter"), told(0.6, 0, "torch_scatter")]
    (cause,) = explain("a\nb\n", failures=[telling("extension-cpu-only", *same)]).causes
    assert [cause.confidence] == called(0.6), "one line tells once"


CHAINED = """Traceback (most recent call last):
  File "a.py", line 1, in <module>
    import b
ImportError: the inner one

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "c.py", line 9, in load
    raise RuntimeError("outer")
RuntimeError: the outer one
"""


def test_the_innermost_cause_counts_most() -> None:
    (inner, outer) = (3, 10)
    assert weighed(CHAINED, stale_kernel=told(0.8, inner), torch_broken=told(0.8, outer))[0][0] == "stale-kernel"
    assert weighed(CHAINED, stale_kernel=told(0.8, outer), torch_broken=told(0.8, inner))[0][0] == "torch-broken"


# -- facts


def test_facts_of_the_environment_decide() -> None:
    text = "RuntimeError: Not compiled with CUDA support\n"
    alone = explain(text).causes[0]
    confirmed = explain(text, kit.machine("rtx5070ti-cpu-only-scatter"))
    found = kit.doctor(machine="rtx5070ti-cpu-only-scatter")["extension-cpu-only"]
    best = confirmed.causes[0]
    assert (best.failure, best.package, best.fix) == ("extension-cpu-only", found.package, found.fix)
    assert best.confidence >= alone.confidence and best.confidence == weighing.MOST
    assert set(found.evidence) <= set(best.evidence) and best.evidence[0].startswith("line 1: ")


def test_facts_of_the_environment_refute() -> None:
    text = "AssertionError: Torch not compiled with CUDA enabled\n"
    alone, there = first(text), explain(text, kit.machine("healthy-gpu")).causes
    assert alone.failure == "torch-cpu-only"
    assert next(c.confidence for c in there if c.failure == "torch-cpu-only") < alone.confidence / 2
    (line,) = [e for c in there for e in c.evidence if e.startswith("this environment: ")]
    assert "is built for CUDA 13.0" in line
    assert [fix.argv for c in there if c.failure == "torch-cpu-only" for fix in c.fix if fix.argv] == []


def test_what_the_facts_show_and_nobody_told_stands_behind() -> None:
    text = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 259.00 GiB (GPU 0; 15.99 GiB total)\n"
    causes = explain(text, kit.machine("rtx5070ti-cpu-only-scatter")).causes
    assert [c.failure for c in causes] == ["not-environment", "extension-cpu-only"]
    assert causes[1].confidence < causes[0].confidence
    only = explain("nothing known\n", kit.machine("rtx5070ti-cpu-only-scatter")).causes
    assert [c.failure for c in only] == ["extension-cpu-only"]


def test_the_facts_that_a_text_states_are_held_against_it() -> None:
    symbol = "_ZN5torch3jit17parseSchemaOrNameERKSs"
    text = "Python version: 3.11.9 (64-bit runtime)\nOS: Ubuntu 22.04.4 LTS (x86_64)\n"
    text += "torch 2.8.0+cu126\ntorch_scatter 2.1.2+pt20cu117\n"
    text += f"OSError: torch_scatter/_scatter_cuda.so: undefined symbol: {symbol}\n"
    cause = first(text)
    assert (cause.failure, cause.package) == ("extension-torch-mismatch", "torch-scatter")
    assert read(text).facts.torch is not None
    assert any(fix.argv and "torch-scatter==2.1.2+pt28cu126" in fix.argv for fix in cause.fix)


# -- a rule that raises


def test_a_rule_that_raises_is_seen_and_the_others_still_answer() -> None:
    def crash(report: object):  # type: ignore[no-untyped-def]
        yield told(0.9)
        raise ZeroDivisionError("of all\nthings")

    broken = dataclasses.replace(failure("stale-kernel"), told=crash)
    explanation = explain("a\n", failures=[broken, telling("torch-broken", told(0.5))])
    assert [c.failure for c in explanation.causes] == ["stale-kernel", "torch-broken", CRASHED]
    cause = explanation.causes[-1]
    assert "ZeroDivisionError: of all things" in cause.evidence[0] and cause.severity == "warning"
    assert "check-crashed" in repr(explanation) and "stale-kernel" in explanation._repr_mimebundle_()["text/html"]
    alone = explain("a\n", failures=[dataclasses.replace(broken, told=lambda report: 1 / 0)])
    assert [c.failure for c in alone.causes] == [CRASHED] and repr(alone).startswith("unknown: ")


# -- how it looks


def test_the_text_and_the_card_say_the_same() -> None:
    explanation = explain(CASES[0].text)
    plain, html = (explanation._repr_mimebundle_()[form] for form in ("text/plain", "text/html"))
    best = explanation.causes[0]
    assert repr(explanation) == plain == repr(explain(CASES[0].text))
    for words in (best.title, f"(confidence {best.confidence:.2f})", best.fix[0].why, *best.evidence):
        for part in words.split():
            assert part.rstrip(":") in plain
    from html import unescape

    flat = " ".join(plain.split())
    body = html.partition("<pre")[0] + html.rpartition("</pre>")[2]  # without the failure's page
    for word in re.sub(r"<[^>]+>", " ", unescape(body)).split():
        assert word.strip(":·") in flat, word
    if failure(best.failure).instead:
        assert failure(best.failure).instead in flat


# -- the command line


def run(*arguments: object, given: "bytes | None" = b"") -> "subprocess.CompletedProcess[bytes]":
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kit", "explain", *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, timeout=120, env=env, cwd=ROOT / "tests")


def test_the_command_reads_a_file_or_stdin(tmp_path: Path) -> None:
    text = "RuntimeError: Not compiled with CUDA support\n"
    file = tmp_path / "out.txt"
    file.write_text(text)
    outputs = [run(file), run(given=text.encode()), run("-", given=text.encode())]
    assert {done.returncode for done in outputs} == {1} and {done.stderr for done in outputs} == {b""}
    assert {done.stdout.decode() for done in outputs} == {repr(explain(text)) + "\n"}
    document = json.loads(run(file, "--json").stdout)
    assert document == json.loads(json.dumps(explain(text).to_dict()))
    (cause, *_) = document["causes"]
    assert set(cause) == {"failure", "severity", "package", "summary", "evidence", "fix", "confidence"}


def test_the_exit_status() -> None:
    unknown = run("--json", given=b"Hello\n")
    assert (unknown.returncode, json.loads(unknown.stdout)) == (1, {"schema": 1, "causes": []})
    harmless = next(case for case in CASES if case.id == "harmless-warning")
    assert run(given=harmless.text.encode()).returncode == 0
    code = next(case for case in CASES if case.id == "not-environment")
    assert run(given=code.text.encode()).returncode == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (b"", "is empty"),
        (b" \n\t\n", "is empty"),
        (b"\x7fELF\x02\x01\x01\0\0\0", "holds binary data, not text"),
        (bytes(range(256)) * 50, "holds binary data, not text"),
    ],
)
def test_input_that_cannot_be_used(given: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_bytes(given)
    for done in (run(file), run("-", given=given)):
        assert done.returncode == 2 and done.stdout == b""
        (line,) = done.stderr.decode().splitlines()
        assert said in line


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        done = run(path)
        assert done.returncode == 2 and str(path).encode() in done.stderr and done.stderr.count(b"\n") == 1
    for options in (["--facts", tmp_path / "absent"], ["--python", "/no/such/python"]):
        done = run(*options, given=b"x\n")
        assert done.returncode == 2 and done.stderr.count(b"\n") == 1
    both = run("--facts", "healthy-gpu", "--python", sys.executable, given=b"x\n")
    assert both.returncode == 2 and b"not allowed with" in both.stderr


def test_what_powershell_writes_is_read() -> None:
    for encoding in ("utf-16", "utf-16-le", "utf-8-sig"):
        done = run("--json", given="RuntimeError: Not compiled with CUDA support\r\n".encode(encoding))
        assert json.loads(done.stdout)["causes"][0]["failure"] == "extension-cpu-only", encoding
    broken = run("--json", given=b"OSError: [WinError 126] " + b"\x8e\x77\x92\xe8" + b" torch\\lib\\c10.dll\r\n")
    assert broken.returncode == 1 and broken.stderr == b""


def test_facts_decide_on_the_command_line() -> None:
    text = b"RuntimeError: Not compiled with CUDA support\n"
    done = run("--facts", "rtx5070ti-cpu-only-scatter", "--json", given=text)
    cause = json.loads(done.stdout)["causes"][0]
    named = normalise(cause["package"])
    assert (cause["failure"], named, cause["confidence"]) == ("extension-cpu-only", "torch-scatter", 0.97)


def test_a_terminal_is_told_how_to_end() -> None:
    import pty

    leader, terminal = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "kit", "explain"]
    child = subprocess.Popen(command, stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    os.write(leader, b"RuntimeError: Not compiled with CUDA support\n\x04\x04")
    out, err = child.communicate(timeout=60)
    os.close(leader), os.close(terminal)
    assert err.decode().count("\n") == 1 and "Ctrl-D" in err.decode()
    assert b"[extension-cpu-only]" in out and child.returncode == 1


def test_a_closed_stdin_is_one_clear_line() -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m kit explain <&-"], capture_output=True, text=True, env=env
    )
    assert "stdin is closed" in refusal(done)


def test_the_function_is_the_verb() -> None:
    code = "import kit; e = kit.explain('RuntimeError: Not compiled with CUDA support'); print(e.causes[0].failure)"
    code += (
        "; import kit.explaining; from kit import explain; print(explain is kit.explaining.explain is kit.explain)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "extension-cpu-only\nTrue\n", done.stderr
