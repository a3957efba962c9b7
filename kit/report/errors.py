"""The exceptions, warnings and errors of programs in a report's lines, the causes before what follows from them."""

import re
from collections.abc import Iterator, Sequence
from typing import Optional

from kit.report import Frame, Raised

MOST = 300  # of very many errors the first ones and the last ones are kept
_MESSAGE_LINES = 60

_SUFFIX = (
    r"(?:Error|Exception|Warning|Interrupt|Exit|NotFound|Invalid|Unsupported|NotSupported|Conflict|Timeout|"
    r"Expired|Killed|Failure|Fault|Iteration|CompilerFailed|CompilationFailed|Violation)"
)
_NAME = rf"((?:[A-Za-z_]\w{{0,80}}\.){{0,8}})([A-Z]\w{{0,80}}?{_SUFFIX})(?!\w)"
# What may stand before the name at the beginning of a line: pytest's mark, a list, a logger, a person's words.
_LEAD = (
    r"(?:E {1,8}|[-*\u2022] |#{1,4} |\+ |\| {1,8}|(?:ERROR|CRITICAL|FATAL|WARNING|INFO|error|Error|Exception|fatal)"
    r"(?:\]|:| -|:[\w.]{1,60}:) {0,4}|(?:Unexpected|Unhandled|Uncaught) [Ee]xception:? )?"
)
_RAISED = re.compile(rf"{_LEAD}{_NAME}(?:\((\w+)\))? ?(?::\s?(.*)|(\s*)$)")
_HEADER = re.compile(rf"{_NAME}\s{{2,}}Traceback \(most recent call last\)")
_ANY = re.compile(r"((?:[A-Za-z_]\w{0,80}\.){0,8})([A-Za-z_]\w{0,80})(?::\s?(.*)|$)")
_SPOKEN = re.compile(
    r"(module not found|import|os|runtime|attribute|type|value|assertion|key|index|name|file not found|syntax)"
    r" error ?: ?(\S.*)",
    re.I,
)
_OCCURRED = re.compile(
    r"(?:Exception has occurred|\u53d1\u751f\u5f02\u5e38|\u767c\u751f\u4f8b\u5916\u72c0\u6cc1|"
    r"\u4f8b\u5916\u304c\u767a\u751f\u3057\u307e\u3057\u305f)[:\uff1a] ?([\w.]{1,120})(.*)"
)
_WARNED = re.compile(r"(\S.{0,400}?):(\d{1,6}): (?:[\w.]{1,80}\.)?(\w{0,60}Warning): ?(.*)")
_LOGGED = re.compile(
    r"(?:\[?(WARNING|WARN|W|\u8b66\u544a)\]?(?:\[\w+\])?[:\s]|\[W[\s\d:.]*[\w./-]*:\d+\]|[\w.]{1,60} - WARNING - )"
)

_CONTINUED = ("During handling of the above exception", "The above exception was the direct cause")
_FILE = re.compile(r'File "([^"]{1,1000})", line (\d{1,9})(?:, in (.+))?')
_FRAMES = (
    re.compile(r"(?:File )?((?:~|[A-Za-z]:)?[\w./\\ <>~-]{1,500}\.pyx?):(\d{1,9})(?:,)? in ([\w<>.]{1,200})"),
    re.compile(
        r"(?:File )?((?:~|[A-Za-z]:)?[\w./\\ ~-]{1,500}\.pyx?|"
        r"<ipython-input-[\w-]{1,80}>)()(?:,)? in ([\w<>.]{1,200})"
    ),
    re.compile(r"(?:File )?((?:~|[A-Za-z]:)?[\w./\\ ~-]{1,500}\.pyx?):(\d{1,9})()$"),
    re.compile(r"((?:Cell |Input )?In ?\[\d{1,6}\])(?:, line (\d{1,9}))?(?:, in ([\w<>.: ()]{1,100}))?"),
)
# One that needs no heading to be known.
_FRAMED = re.compile(
    r"-{2,6}> ?\d|\u2771 |(?:Cell |Input )In ?\[|(?:File )?\S.{0,500}?\.pyx?(?::\d{1,9},?|,)? in [\w<>.]{1,200}\("
)
_ARROW = re.compile(r"(?:-{2,6}>|\u2771)\s{0,3}(\d{1,9})\s(.*)")

_STOP = re.compile(
    r"Traceback \(|File \"|[\[\](){},]{1,6}$|During handling of the above|The above exception was|"
    r">>> |\.\.\. |[$%] \w|In ?\[\d|Out\[|"
    r"[-=_*~+]{5,}|failed \(exitcode|\[end of output\]|note: |hint: |ERROR\b|WARNING\b|error: |"
    r"\u00d7 |Collecting |Process finished|"
    r"PyTorch version|\([\w.-]{1,40}\) ?[$%>/~]|Package +Version|Name: |\+-|\| |nvcc: NVIDIA|#+ |Exception ignored|"
    r"Segmentation fault|Aborted|ninja: |FAILED: |Building wheel|Environment:|Successfully |"
    r"[A-Za-z]:\\[^>\n]{0,200}>|"
    r"\[\d{1,4}/\d{1,4}\] |warnings\.warn\(|(?:[A-Za-z_]\w{0,60}\.){0,8}[A-Z]\w{0,60}(?:Error|"
    r"Exception|Warning)(?:: |$)"
)
# A command, or what somebody says of a machine: no part of a message, unless that leads over to it.
_ELSE = re.compile(
    r"(?:[!%$] ?)?(?:pip3?|conda|mamba|uv|python3?|git|docker|sudo|bash) (?!is |version|and |or )[-\w.]|"
    r"(?:- )?(?:torch|pytorch|python|cuda|ubuntu|windows|debian|centos|rtx|gtx|nvidia|tesla|numpy|os|gpu)"
    r"(?: version)?(?: is)?(?:==|[\s:=]{0,12}v?\d)|[A-Za-z][\w.-]{0,60}\s{3,60}\S{0,60}\d|"
    r"(?:how|what|why|any (?:help|idea|one)|thanks|thank you|please help|i|i'm|i've|my|does anyone|"
    r"can (?:someone|anyone|you)|"
    r"help|hi|hello|also|but|environment|steps|commands?|when i|after|then)\b(?! is not)[^:]{0,200}[?!.,:]?$|"
    r"(?:Windows|Linux|macOS|Ubuntu|Google Colab|Colab|Kaggle|Docker|WSL)\b[^.]{0,60}$",
    re.I,
)
# How a line ends whose sentence goes on in the next one.
_LEADS_OVER = (":", ",", "(", " to", " compile", " with", " the", " for", " by", " than", " of", " is", " and", " or")
_ECHO = re.compile(r" {1,4}\S.{0,300}?(?:\(|=|\bimport\b|return )")
_KEYED = re.compile(r"[A-Z][\w ()/-]{0,30}:\s")  # a line of a form: "OS: Linux", "GPU: RTX 3090"

_LOOK = re.compile(
    r"[Ee]rror|ERROR|[Ff]ail|[Ii]llegal|exit code|[Ff]atal|FATAL|not found|FAILED|fault|Warning|WARN|"
    r"Exception|terminat|Abort|failed|\u00d7|"
    r"undefined symbol|cannot |Cannot |Could not|could not|Unable|SIG[A-Z]|not recognized|[Kk]illed|\u9519\u8bef|"
    r"\u30a8\u30e9\u30fc|\u043e\u0448\u0438\u0431\u043a\u0430|Fehler|erreur|Exit\b|NotFound|Interrupt|"
    r"Caused by|XFORMERS|"
    r"Symbol|Library not loaded|Invalid|Conflict|\u5f02\u5e38|\u4f8b\u5916"
)

_WORDS_FOR_ERROR = (
    r"(?:fatal error|catastrophic error|fatal|error|fataler Fehler|[Ss]chwerwiegender Fehler|Fehler|"
    r"erreur fatale|erreur|"
    r"error fatal|errore|erro|\u81f4\u547d\u9519\u8bef|\u56b4\u91cd\u9519\u8bef|\u9519\u8bef|\u932f\u8aa4|"
    r"\u81f4\u547d\u7684\u30a8\u30e9\u30fc|\u30a8\u30e9\u30fc|\u043e\u0448\u0438\u0431\u043a\u0430|"
    r"\u0444\u0430\u0442\u0430\u043b\u044c\u043d\u0430\u044f \u043e\u0448\u0438\u0431\u043a\u0430)"
)
_COMPILED = re.compile(
    rf"(?:\S.{{0,300}}?(?::\d{{1,7}}(?::\d{{1,6}})?|\(\d{{1,7}}(?:,\d{{1,6}})?\)) ?: {{0,2}}{_WORDS_FOR_ERROR} ?"
    r"(?:[A-Z]{1,4}\d{3,5} ?)?(?:#\d+(?:-D)?)?[:\uff1a]\s?|(?:nvcc|ptxas|cicc|nvlink|cudafe\+\+|cl|LINK)(?:\.exe)?"
    r"[\w .,;/-]{0,40}? ?: ?(?:fatal|error|fatal error)\s{0,4}[\w]{0,8}: |(?:nvcc|ptxas|"
    r"nvlink) (?:fatal|error) {0,4}: |"
    r"(?:\S{1,200}/)?ld(?:\.\w+)?: (?:cannot find|error|undefined)|\S{1,300}: undefined reference to )(.*)"
)
_ASSERTED = re.compile(r"\S.{0,400}Assertion .{1,600}? failed")
_LOADER = re.compile(
    r"(?:\S.{0,300}?: )?(?:symbol lookup error: |error while loading shared libraries: |"
    r"(?=\S{1,400}: (?:undefined symbol|cannot open shared object file|version [`'\"]?[\w.]{1,60}['\"]? not found|"
    r"symbol \S{1,300} version|ELF load command|invalid ELF header|file too short|wrong ELF class))|"
    r"(?=dlopen\(|Symbol not found|Library not loaded|Could not load |DLL load failed))(.*)"
)
_SIGNALS = (
    (
        re.compile(
            r"[Ss]egmentation fault|SIGSEGV|0xC0000005|-1073741819|exit(?:ed with)? (?:code|status):? -?(?:139|11)\b"
        ),
        "SIGSEGV",
    ),
    (re.compile(r"^Aborted\b|\babort(?:ed)? \(core dumped|SIGABRT|exit code:? 134\b|zsh: abort"), "SIGABRT"),
    (re.compile(r"[Ii]llegal instruction|SIGILL|exit code:? 132\b|0xC000001D"), "SIGILL"),
    (re.compile(r"^Killed\b|\bSIGKILL\b|exit code:? 137\b|zsh: killed|\bkilled by signal 9"), "SIGKILL"),
    (re.compile(r"[Bb]us error|SIGBUS"), "SIGBUS"),
    (re.compile(r"[Ff]loating point exception|SIGFPE"), "SIGFPE"),
)
_PROGRAM = re.compile(
    r"(?:\[?(?:ERROR|Error|error|FATAL|Fatal|fatal|CRITICAL|CMake Error|ninja: error|ninja: fatal|conda error|"
    r"fatal error|Fatal Python error|Fatal error|[\w./-]{1,60}: error|[\w./-]{1,60}: fatal error|CUDA [Ee]rror|"
    r"CUDA Runtime Error|RuntimeError|Error response from daemon|docker: Error response from daemon|"
    r"CUDA driver error|NCCL [Ee]rror|cuBLAS [Ee]rror|\u9519\u8bef|\u30a8\u30e9\u30fc|Erreur|Fehler)\b\]?"
    r"(?:\[[\w.]{1,20}\])?(?:[:\uff1a]| -|\s(?=at\b|:)|(?<=\]))\s{0,4}(?:[\w.]{1,60}:(?=\S))?|"
    r"(?:\u00d7|x) (?=\S)|Caused by: |FAILED: (?=\S)|(?=ninja: build stopped|make(?:\[\d+\])?: \*\*\*|"
    r"NVIDIA-SMI has failed|Failed to initialize NVML|Could not find a version that satisf|"
    r"No matching distribution found|OMP: Error|collect2: error|CondaHTTPError|"
    r"(?:\S{1,200}: )?(?:line \d{1,6}: )?(?:\d{1,6}: )?[\w./+-]{1,80}: (?:command )?not found$|"
    r"'[\w.+-]{1,60}' is not recognized|cuda failed with|Process finished with exit code [1-9-]))(.*)"
)
# Words for an error that say nothing of it.
_PLAINLY = re.compile(
    r"\[?(?:ERROR|Error|error|FATAL|Fatal|fatal|CRITICAL|ninja: error|conda error|fatal error|"
    r"\u9519\u8bef|\u30a8\u30e9\u30fc|"
    r"Erreur|Fehler)\b|\u00d7 |x |Caused by: "
)
_TERMINATED = re.compile(
    r"(?:.{0,60}: )?(?:terminate called after throwing an instance of '([^']{1,200})'|"
    r"terminating (?:due to|with) uncaught exception of type ([^:]{1,60}(?:::[\w]{1,60}){0,4})(?:: (.*))?)"
)
_WHAT = re.compile(r"what\(\):\s{0,4}(.*)")

# What only says that something else failed.
_ENVELOPE = re.compile(
    r"because of the following error|Are this object's requirements defined correctly|returned non-zero exit status|"
    r"returned a non-zero code|Error (?:compiling objects for|building) extension|command '?.{1,1000}?'? failed|"
    r"command .{1,300} failed with exit|subprocess-exited-with-error|metadata-generation-failed|"
    r"legacy-install-failure|did not run successfully|Failed building (?:wheel|editable)|Could not build wheels|"
    r"Failed to build |Command errored out with exit status|Encountered error while|build stopped|^\*\*\*|"
    r"make(?:\[\d+\])?: \*\*\*|ld returned \d|process .{1,600} did not complete successfully|"
    r"exited with (?:code|status) [1-9]|with the following error|operation failed in the TorchScript|"
    r"Error executing job|Exception while executing|raised:|Error in call to target|Error locating target |"
    r"An issue occurred while importing|^FAILED: |^See above for output|^Process finished|Call to .{1,200} failed|"
    r"The build backend returned an error|error originates from a subprocess|failed with exit (?:code|status)|"
    r"Failed to (?:download|prepare|install|generate)|Ninja is required to load|Compilation (?:error|failed)",
    re.S,
)
_ENVELOPES = frozenset(
    "CalledProcessError ChildFailedError ProcessRaisedException RayTaskError BackendCompilerFailed InductorError "
    "CompileError DistutilsExecError LinkError ExceptionGroup InstantiationException CommandError "
    "ProcessExitedException ChefBuildError BuildBackendException TaskFailedError JoblibException".split()
)
_OPENS = re.compile(
    r"(?:because of the following error \(look up to see its traceback\):|Disabling its usage\. Stacktrace:|"
    r"Original error was:|Could not load [^:\n]{1,200}?:|raised:|[Cc]aused by:|Reason:|"
    r"[Ff]ailed to (?:load|import) [^:\n]{1,200}?:|Error in call to target [^:\n]{1,200}:|"
    r"[Ee]rror (?:was|message|while importing [^:\n]{1,80}|importing [^:\n]{1,80}):|due to:)\s*(\S.*)",
    re.S,
)
_NESTED = re.compile(rf"(?<![\w.']){_NAME}(?::\s(\S.*)|\((?:\"([^\"]{{1,2000}})\"|'([^']{{1,2000}})'))", re.S)
# The exception that a bare message belongs to.
_KINDS = (
    (
        re.compile(r"cannot import name |DLL load failed|partially initialized module .{0,200}cannot import"),
        "ImportError",
    ),
    (re.compile(r"No module named "), "ModuleNotFoundError"),
    (re.compile(r"has no attribute "), "AttributeError"),
    (re.compile(r"\[WinError |\[Errno (?!2\])"), "OSError"),
    (re.compile(r"\[Errno 2\]|Cannot find DGL"), "FileNotFoundError"),
    (
        re.compile(r"CUDA error|out of memory|Not compiled with|operator \S+ does not exist|Expected all tensors"),
        "RuntimeError",
    ),
    (re.compile(r"Torch not compiled with CUDA"), "AssertionError"),
    (
        re.compile(
            r"undefined symbol|cannot open shared object|Symbol not found|[`'\"]?(?:GLIBC|GLIBCXX|CXXABI)_[\d.]+"
        ),
        "OSError",
    ),
    (re.compile(r"requires? .{1,80} but|is required for a normal functioning"), "ImportError"),
)


def find(lines: Sequence[str]) -> tuple[Raised, ...]:
    """Every error that the lines show, in the order that :class:`~kit.report.Report` promises."""
    found = list(_scan(lines))
    if len(found) > MOST:
        found = [*found[: MOST // 6], *found[MOST // 6 - MOST :]]
    return _ordered(found)


class _Found:
    """An error as it was read, and how it hangs together with the one before."""

    def __init__(self, kind: str, message: str, at: int, end: int, warning: bool = False, linked: bool = False):
        self.kind, self.message, self.at, self.end, self.warning, self.linked = (
            kind,
            message,
            at,
            end,
            warning,
            linked,
        )
        self.frames: tuple[Frame, ...] = ()
        self.program = kind == "error"
        text = message[:3000]
        self.envelope = kind in _ENVELOPES or bool(_ENVELOPE.search(text))

    def records(self) -> "list[tuple[Raised, bool]]":
        """Itself and what lies in its message, the innermost first; and whether it is only an envelope."""
        inner = _inside(self.kind, self.message)
        swallowed = self.warning
        records = [
            (Raised(kind, message, self.at, self.end, (), kind.endswith("Warning"), False), False)
            for kind, message in reversed(inner)
        ]
        envelope = self.envelope or bool(inner and not swallowed)
        own = Raised(self.kind, self.message, self.at, self.end, self.frames, self.warning, envelope)
        return [*records, (own, envelope)]


def _inside(kind: str, message: str) -> list[tuple[str, str]]:
    """(kind, message) of each error that a message hands on, the outermost first."""
    found: list[tuple[str, str]] = []
    text = message[:4000]
    for _ in range(4):
        opened = _OPENS.search(text)
        nested = _NESTED.search(text)
        if nested and (opened is None or nested.start() >= opened.start(1) or nested.start() < opened.start()):
            name = nested.group(2)
            inner = nested.group(3) or nested.group(4) or nested.group(5) or ""
        elif opened:
            inner = opened.group(1)
            name = next((k for pattern, k in _KINDS if pattern.search(inner[:1000])), "error")
        else:
            break
        inner = inner.strip()
        if not inner or (name, inner) == (kind, message):
            break
        found.append((name, inner))
        text = inner
    return found


def _scan(lines: Sequence[str]) -> Iterator[_Found]:
    frames: list[Frame] = []
    traced: Optional[int] = None  # the indentation of the traceback that is being read
    headed = ""  # the exception that a notebook names above its traceback
    headed_at = 0
    framed, bare = -1, False  # the last line of a frame; whether the frames stand below no heading
    linked = False
    at, total = 0, len(lines)
    while at < total:
        line = lines[at]
        said = line.lstrip()
        if not said:
            at += 1
            continue
        indent = len(line) - len(said)
        if said.startswith('File "'):
            at += _frame(lines, at, said, indent, frames)
            framed = at - 1
            continue
        if "(most recent call last)" in said:
            if headed:
                yield _with(_Found(headed, "", headed_at, at, linked=linked), frames)
                linked = False
            frames, traced, framed, bare = [], indent, -1, False
            header = _HEADER.match(said)
            headed, headed_at = (header.group(2), at) if header else ("", at)
            at += 1
            continue
        if said.startswith(_CONTINUED):
            linked, frames = True, []
            at += 1
            continue
        if (traced is not None or _FRAMED.match(said)) and _notebook_frame(said, frames):
            bare, traced = bare or traced is None, indent if traced is None else traced
            framed = at
            at += 1
            continue
        found = None
        if _LOOK.search(said):
            found = _error(lines, at, said, indent, traced)
        if found is None and traced is not None and indent <= traced and frames and not bare:
            named = _ANY.match(said)
            if named and (named.group(3) or "." in said or said[0].isupper()) and not said.startswith(("File ", "[")):
                first = named.group(3) or ""
                if " " not in said or ": " in said or said.endswith(":"):
                    found = _Found(named.group(2), *_message(lines, at, first, indent, ""))
        if found is None:
            at += 1
            continue
        found.linked = linked
        if not found.warning:
            found.frames = tuple(frames)
            linked = False
            if not found.program or traced is not None:
                frames, traced, headed, framed, bare = [], None, "", -1, False
        yield found
        at = max(found.end if not found.program or found.end > at + 1 else at + 1, at + 1)
    if headed:
        yield _with(_Found(headed, "", headed_at, total, linked=linked), frames)
    elif frames and framed >= 0:
        last = next((at for at in range(framed + 1, total) if lines[at].strip()), None)
        said = lines[last].strip() if last is not None else ""
        if last is not None and not said[0].isdigit() and not _STOP.match(said) and not _ELSE.match(said):
            yield _with(_Found("error", *_message(lines, last, said, 0, ""), linked=linked), frames)


def _with(found: _Found, frames: list[Frame]) -> _Found:
    found.frames = tuple(frames)
    return found


def _frame(lines: Sequence[str], at: int, said: str, indent: int, frames: list[Frame]) -> int:
    """Read a frame of a traceback; how many lines it takes."""
    found = _FILE.match(said)
    if found is None:
        return 1
    code, steps = "", 1
    below = lines[at + 1] if at + 1 < len(lines) else ""
    said_below = below.lstrip()
    if said_below and len(below) - len(said_below) > indent and not said_below.startswith('File "'):
        code, steps = said_below, 2
        while at + steps < len(lines) and lines[at + steps].strip(" ~^") == "" and lines[at + steps].strip():
            steps += 1
    frames.append(Frame(found.group(1), int(found.group(2)), found.group(3) or "", code))
    return steps


def _notebook_frame(said: str, frames: list[Frame]) -> bool:
    """Whether a line is one of a notebook's, rich's or pytest's frame, which is then read."""
    if said[0] in "-\u2771":
        arrow = _ARROW.match(said)
        if arrow and not frames:
            frames.append(Frame("", int(arrow.group(1)), "", arrow.group(2).strip()))
        elif arrow:
            last = frames[-1]
            frames[-1] = Frame(last.file, int(arrow.group(1)), last.function, arrow.group(2).strip())
        return arrow is not None
    if ".py" in said or said.startswith(("<ipython", "Cell In", "Input In", "In [")):
        for pattern in _FRAMES:
            found = pattern.match(said)
            if found:
                line = found.group(2)
                frames.append(Frame(found.group(1), int(line) if line else None, found.group(3) or ""))
                return True
    return False


def _error(lines: Sequence[str], at: int, said: str, indent: int, traced: Optional[int]) -> Optional[_Found]:
    """The error that begins in this line; None where none does."""
    if "Warning" in said:
        warned = _WARNED.match(said)
        if warned:
            message, end_at, end = _warning(lines, at, warned.group(4), indent)
            return _Found(warned.group(3), message, end_at, end, True)
    if said[0] in "0123456789" and traced is not None:
        return None  # source beside its line number
    raised = _RAISED.match(said)
    if raised and (raised.group(4) is not None or traced is not None or said.rstrip() == said.split()[0]):
        kind = raised.group(2)
        if indent > (traced if traced is not None else 1000):
            return None
        mark = "E" if said.startswith("E ") else ""
        if kind.endswith("Warning"):
            return _Found(kind, *_warning(lines, at, raised.group(4) or "", indent), True)
        found = _Found(kind, *_message(lines, at, raised.group(4) or "", indent, mark))
        if raised.group(3) and raised.group(3).endswith(("Error", "Exception")):
            found.envelope = True
        return found
    if traced is not None and indent > traced:
        return None
    return _program(lines, at, said, indent)


def _program(lines: Sequence[str], at: int, said: str, indent: int) -> Optional[_Found]:
    """What a program that is not Python says."""
    occurred = _OCCURRED.match(said)
    if occurred:
        name = occurred.group(1).rpartition(".")[2]
        return _Found(name, *_message(lines, at, occurred.group(2).strip(" :"), indent, ""))
    terminated = _TERMINATED.match(said)
    if terminated:
        name = (terminated.group(1) or terminated.group(2)).rpartition("::")[2].strip()
        what = _WHAT.search(lines[at + 1]) if at + 1 < len(lines) else None
        if what:
            message, _, end = _message(lines, at + 1, what.group(1), 0, "")
            return _Found(name, message, at, end)
        return _Found(name, *_message(lines, at, terminated.group(3) or "", indent, ""))
    if "XFORMERS" in said or _LOGGED.match(said):
        return _Found("warning", *_warning(lines, at, said, indent), True)
    compiled = _COMPILED.match(said)
    if compiled:
        return _Found("error", said, at, at + 1)
    if "ssertion" in said and _ASSERTED.match(said):
        return _Found("error", said, at, at + 1)
    for pattern, name in _SIGNALS:
        if pattern.search(said):
            return _Found(name, said, at, at + 1)
    program = _PROGRAM.match(said)
    if program:
        first = (program.group(1) if _PLAINLY.match(said) else "") or said
        message, _, end = _message(lines, at, first, indent, "")
        return _Found("error", message, at, min(end, at + 12))
    loader = _LOADER.match(said)
    if loader:
        return _Found("error", *_message(lines, at, said, indent, ""))
    spoken = _SPOKEN.match(said)
    if spoken:
        name = spoken.group(1).title().replace(" ", "") + "Error"
        return _Found({"OsError": "OSError"}.get(name, name), spoken.group(2), at, at + 1)
    nested = _NESTED.search(said[:2000])
    if nested and not said.startswith(("raise ", "except ", "from ", "import ", "#")):
        message = nested.group(3) or nested.group(4) or nested.group(5) or ""
        if nested.group(3) is not None:
            return _Found(nested.group(2), *_message(lines, at, message, indent, ""))
    return None


def _message(lines: Sequence[str], at: int, first: str, indent: int, mark: str) -> tuple[str, int, int]:
    """(message, its first line, the line after its last) of what begins with ``first`` in line ``at``."""
    parts = [first.strip()] if first.strip() else []
    end = at + 1
    stop = min(len(lines), at + _MESSAGE_LINES)
    while end < stop:
        line = lines[end]
        said = line.strip()
        if mark:
            if not said.startswith(mark + " "):
                break
            said = said[1:].strip()
            if _RAISED.match(said):
                break
        elif not said:
            more = lines[end + 1].strip() if end + 1 < stop else ""
            if (parts and not parts[-1].endswith(":")) or not more or _STOP.match(more):
                break
            end += 1
            continue
        elif len(line) - len(line.lstrip()) < indent or _ends(said, parts, line[: indent + 1].strip() != ""):
            break
        parts.append(said)
        end += 1
    return "\n".join(parts), at, end


def _ends(said: str, parts: Sequence[str], level: bool) -> bool:
    """Whether a line is no part of the message ``parts``; ``level``: it is no deeper than where that began."""
    if _STOP.match(said) or _WARNED.match(said):
        return True
    if not parts:
        return False
    if level and not parts[-1].endswith(_LEADS_OVER) and (_ELSE.match(said) or _KEYED.match(said)):
        return True
    if level and not said[:12].isascii() and parts[0].isascii():  # a person's words, in another language
        return True
    return not parts[0].endswith(":") and bool(_COMPILED.match(said) or _TERMINATED.match(said))


def _warning(lines: Sequence[str], at: int, first: str, indent: int) -> tuple[str, int, int]:
    """As :func:`_message`, of a warning: the source that follows it is no part of the message."""
    parts = [first.strip()] if first.strip() else []
    end = at + 1
    stop = min(len(lines), at + _MESSAGE_LINES)
    while end < stop:
        line = lines[end]
        said = line.strip()
        if said.startswith(("warnings.warn(", "warn(")):
            end += 1
            break
        if not said:
            if parts:
                break
            end += 1
            continue
        if _STOP.match(said) or _WARNED.match(said) or _LOGGED.match(said):
            break
        if parts and line[:1].strip() and _ELSE.match(said) and not parts[-1].endswith(_LEADS_OVER):
            break
        if parts and line.startswith(" ") and not line.startswith("    ") and _ECHO.match(line):
            end += 1
            break
        parts.append(said)
        end += 1
    return "\n".join(parts), at, end


def _ordered(found: list[_Found]) -> tuple[Raised, ...]:
    """The cause of the last failure first, then what followed from it, then earlier failures; warnings last."""
    groups: list[list[_Found]] = []
    waiting: list[_Found] = []  # envelopes whose content follows
    for one in found:
        if one.warning:
            continue
        last = groups[-1][-1] if groups else None
        opens = one.message.rstrip().endswith(":") or one.message.startswith(
            ("subprocess-exited-with-error", "FAILED: ")
        )
        if one.envelope and (last is None or opens) and not one.linked:
            waiting.append(one)
            continue
        near = last is not None and one.program and last.program and one.at - last.end <= 3
        building = last is not None and one.program and last.program and _COMPILED.match(one.message) is not None
        if groups and (one.linked or one.envelope or near or building):
            groups[-1].append(one)
        else:
            groups.append([one])
        groups[-1] += waiting
        waiting = []
    if waiting:
        groups = [*groups[:-1], [*groups[-1], *waiting]] if groups else [waiting]
    causes: list[Raised] = []
    for group in reversed(groups):
        records = [pair for one in group for pair in one.records()]
        causes += [record for record, envelope in records if not envelope]
        causes += [record for record, envelope in records if envelope]
    swallowed: list[Raised] = []
    warnings: list[Raised] = []
    for one in found:
        if one.warning:
            for record, _ in one.records():
                (warnings if record.warning else swallowed).append(record)
    once: dict[tuple[str, str], Raised] = {}
    for record in (*causes, *swallowed, *warnings):
        once.setdefault((record.kind, record.message), record)
    return tuple(once.values())
