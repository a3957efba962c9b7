"""kit recipe check: files of each kind on the real command line, --fix with its backup, and what is refused."""

import difflib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, refusal

from kit import recipes, show
from kit.__main__ import main
from kit.errors import KitError
from kit.findings import SEVERITIES, Fix
from kit.recipes import checking, fixing
from kit.recipes.edits import line_span, put, unified
from kit.recipes.model import Edit, Problem, Span
from kit.recipes.rules import Rule

FINDING = {"failure", "severity", "package", "summary", "evidence", "fix"}
PLACE = {"rule", "line", "end_line", "replaces", "replacement", "safe"}
DOCKERFILE = "FROM python:3.11\nRUN old one\nRUN old two\n"


def run(*arguments, cwd=None, stdin=None):
    """A real process of the kit."""
    command = [sys.executable, "-m", "kit", "recipe", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, cwd=cwd, env=env, encoding="utf-8", input=stdin
    )


def replaces(word, new, *, id="", safe=True, severity="error", failure="build-isolation", first=0, **more):
    """A rule that wants every ``word`` of a recipe replaced; without ``new``, by hand."""

    def check(recipe, wish):
        at = recipe.text.find(word, first)
        while at >= 0:
            span = Span(at, at + len(word))
            edits = () if new is None else (Edit(span, new),)
            yield Problem(
                id, failure, severity, span, f"{word} is written. It fails.", edits=edits, safe=safe, **more
            )
            at = recipe.text.find(word, at + len(word))

    id = id or f"no-{word.strip().replace(' ', '-')}"
    return Rule(id, word, f"{word}.\n", failure, check)


@pytest.fixture
def ruled(monkeypatch):
    """Have these rules alone."""

    def only(*rules):
        monkeypatch.setattr(checking, "rules", lambda: rules)

    return only


def lines_of(checked):
    return [(fault.rule, fault.line) for fault in checked]


# -- what a fault says


def test_a_fault_has_its_lines_and_the_lines_to_write_instead(ruled):
    ruled(replaces("old", "new"), replaces("FROM", None, safe=True, severity="note"))
    first, one, two = recipes.check({"Dockerfile": DOCKERFILE})
    assert (first.line, first.lines, first.replacement, first.safe) == (1, ("FROM python:3.11",), None, False)
    assert (one.line, one.end_line, one.lines, one.replacement) == (2, 2, ("RUN old one",), ("RUN new one",))
    assert (two.line, two.column, two.replaced, two.replacement) == (3, 5, ("RUN old two",), ("RUN new two",))


def test_a_replacement_of_more_lines_says_which_it_replaces(ruled):
    text = "FROM python:3.11\nRUN pip install \\\n    torch \\\n    numpy\nUSER me\n"

    def check(recipe, wish):
        start, end = text.index("torch"), text.index("numpy")
        edits = (Edit(Span(end, end + 5), "numpy==2"), Edit(Span(text.index("RUN"), text.index("RUN")), "ENV A=1\n"))
        yield Problem("r", "build-isolation", "error", Span(start, start + 5), "A title. More.", edits=edits)

    ruled(Rule("r", "t", "p\n", "build-isolation", check))
    (fault,) = recipes.check({"Dockerfile": text})
    assert fault.line == 3
    data = fault.to_dict()
    assert data["replaces"] == [2, 4]
    first, last = data["replaces"]
    written = text.split("\n")
    written[first - 1 : last] = data["replacement"]
    assert "\n".join(written) == text.replace("numpy", "numpy==2").replace("RUN", "ENV A=1\nRUN")


def test_lines_that_go_and_lines_behind_the_last(ruled):
    text = "FROM python:3.11\nRUN gone\n"

    def check(recipe, wish):
        if "gone" in recipe.text:
            start = recipe.text.index("RUN gone")
            yield Problem(
                "a",
                "build-isolation",
                "error",
                Span(start, len(text)),
                "Go.",
                edits=(Edit(Span(start, len(text)), ""),),
            )
        if "ENV" not in recipe.text:
            end = len(recipe.text)
            yield Problem(
                "b", "nvcc-not-found", "error", Span(0, 4), "Come.", edits=(Edit(Span(end, end), "ENV B=1\n"),)
            )

    ruled(Rule("x", "t", "p\n", "build-isolation", check))
    checked = recipes.check({"Dockerfile": text})
    come, gone = (fault.to_dict() for fault in checked)
    assert (gone["replaces"], gone["replacement"]) == ([2, 2], [])
    assert (come["replaces"], come["replacement"]) == ([3, 2], ["ENV B=1"]), "in front of line 3, which is not there"
    assert checked.fixed(True).texts["Dockerfile"] == "FROM python:3.11\nENV B=1\n"


def test_order_and_the_more_exact_of_two_that_say_the_same(ruled):
    rough = replaces("RUN old one", None, id="rough")
    other = replaces("old one", None, id="other-failure", failure="headers-missing", severity="note")
    ruled(rough, replaces("old", "new", id="exact"), other)
    checked = recipes.check({"b/Dockerfile": DOCKERFILE, "a/Dockerfile": "RUN old\n"})
    told = [(fault.file, fault.line, fault.rule) for fault in checked]
    assert told == [
        ("b/Dockerfile", 2, "exact"),
        ("b/Dockerfile", 2, "other-failure"),
        ("b/Dockerfile", 3, "exact"),
        ("a/Dockerfile", 1, "exact"),
    ]


def test_a_rule_that_crashes_is_a_finding_and_the_others_run(ruled, tmp_path):
    def check(recipe, wish):
        yield from ()
        raise ZeroDivisionError("at https://me:hunter2@example.org/x")

    outside = Problem("out", "build-isolation", "error", Span(0, 9999), "Outside. It is.")
    crossed = (Edit(Span(0, 4), "a"), Edit(Span(2, 6), "b"))
    across = Problem("across", "build-isolation", "error", Span(0, 4), "Across. It is.", edits=crossed)
    ruled(
        Rule("bad-rule", "t", "p\n", "build-isolation", check),
        Rule("out", "t", "p\n", "build-isolation", lambda recipe, wish: [outside]),
        Rule("across", "t", "p\n", "build-isolation", lambda recipe, wish: [across]),
        replaces("old", "new"),
    )
    checked = recipes.check({"Dockerfile": DOCKERFILE})
    crashes = [fault for fault in checked if fault.failure == "check-crashed"]
    assert [fault.rule for fault in crashes] == ["across", "bad-rule", "out"]
    assert "ZeroDivisionError: at https://****@example.org/x" in crashes[1].evidence[0]
    assert [fault.line for fault in checked if fault.rule == "no-old"] == [2, 3]
    assert checked.verdict == "broken" and "The rule bad-rule failed itself" in show.text(checked)
    assert "ZeroDivisionError" in show.html(checked)


def test_a_reader_that_crashes_is_a_finding_too(ruled, monkeypatch):
    ruled(replaces("old", "new"))
    monkeypatch.setattr(checking, "read", lambda name, text: {}["no"])
    (fault,) = recipes.check({"Dockerfile": DOCKERFILE})
    assert (fault.failure, fault.rule) == ("check-crashed", "reading")


def test_notes_alone_are_clean(ruled):
    ruled(replaces("old", None, severity="note"))
    checked = recipes.check({"Dockerfile": DOCKERFILE})
    assert (len(checked), checked.verdict) == (2, "clean")


# -- edits put together


def test_edits_of_two_rules_at_one_place_are_made_one_after_the_other(ruled):
    """Of two that meet the first is made; the rules look again before the second is."""
    ruled(replaces("old one", "new one", id="a"), replaces("one", "ONE", id="b", failure="headers-missing"))
    fixed = recipes.check({"Dockerfile": DOCKERFILE}).fixed()
    assert fixed.texts["Dockerfile"] == DOCKERFILE.replace("old one", "new ONE")
    assert sorted(fault.rule for fault in fixed.steps) == ["a", "b"]


def test_an_edit_that_another_has_settled_is_named(ruled):
    ruled(replaces("old one", "new", id="a"), replaces("one", "ONE", id="b", failure="headers-missing"))
    fixed = recipes.check({"Dockerfile": DOCKERFILE}).fixed()
    assert fixed.texts["Dockerfile"] == DOCKERFILE.replace("old one", "new")
    ((settled,),) = [change.settled for change in fixed.changes]
    assert (settled.rule, settled.line) == ("b", 2)
    assert "Dockerfile:2: one is written: settled by another edit" in show.text(fixed)


def test_an_edit_that_never_ends_is_made_once(ruled):
    ruled(replaces("old", "old old"))
    fixed = recipes.check({"Dockerfile": DOCKERFILE}).fixed()
    assert fixed.texts["Dockerfile"] == DOCKERFILE.replace("old", "old old")
    assert len(fixed.left), "it is still there, and said so"


def test_two_that_undo_each_other_end(ruled):
    ruled(replaces("old", "new", id="a"), replaces("new", "old", id="b"))
    fixed = recipes.check({"Dockerfile": DOCKERFILE}).fixed()
    assert fixed.texts["Dockerfile"].count("RUN") == 2


def test_an_edit_that_would_break_the_file_is_not_made(ruled):
    notebook = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5, "x": "old"})
    ruled(replaces('"old"', '"old'))
    fixed = recipes.check({"some.ipynb": notebook}).fixed(everything=True)
    assert fixed.texts["some.ipynb"] == notebook and fixed.state == "nothing" and len(fixed.left) == 1


def test_an_edit_that_two_have_in_common_is_made_once(ruled):
    place = Edit(Span(17, 17), "ENV A=1\n")

    def check(recipe, wish):
        if "ENV" not in recipe.text:
            for n, word in enumerate(("one", "two")):
                at = recipe.text.index(word)
                edits = (place, Edit(Span(at, at + 3), f"x{n}"))
                yield Problem(
                    "r", "build-isolation", "error", Span(at, at + 3), f"{word}. It is.", edits=edits, safe=True
                )

    ruled(Rule("r", "t", "p\n", "build-isolation", check))
    fixed = recipes.check({"Dockerfile": DOCKERFILE}).fixed()
    assert fixed.texts["Dockerfile"] == "FROM python:3.11\nENV A=1\nRUN old x0\nRUN old x1\n"


def test_only_the_safe_edits_unless_all_are_asked_for(ruled):
    ruled(replaces("one", "1"), replaces("two", "2", safe=False))
    checked = recipes.check({"Dockerfile": DOCKERFILE})
    assert checked.fixed().texts["Dockerfile"] == DOCKERFILE.replace("one", "1")
    assert checked.fixed(everything=True).texts["Dockerfile"] == DOCKERFILE.replace("one", "1").replace("two", "2")
    assert "-RUN old two" not in str(checked.safe_diff) and "-RUN old two" in str(checked.diff)


def test_the_diff_is_one_that_patch_applies(ruled, tmp_path):
    text = DOCKERFILE + "RUN old three"  # no end of line
    ruled(replaces("old", "new"))
    diff = str(recipes.check({"Dockerfile": text}).diff)
    (tmp_path / "Dockerfile").write_text(text)
    done = subprocess.run(["patch", "-p0"], input=diff, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "Dockerfile").read_text() == text.replace("old", "new")


def test_a_string_of_json_stays_one(ruled):
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": ["!old\n"],
    }
    text = json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, indent=1)
    ruled(replaces("old", 'pip install "torch>=2"\n# \\ and\ttab'))
    fixed = recipes.check({"a.ipynb": text}).fixed()
    (source,) = json.loads(fixed.texts["a.ipynb"])["cells"][0]["source"]
    assert source == '!pip install "torch>=2"\n# \\ and\ttab\n'


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_end_as_the_files_do(newline):
    text = newline.join(["a", "b", ""])
    assert put(text, [Edit(Span(len(text), len(text)), "c\nd\n")]) == newline.join(["a", "b", "c", "d", ""])


def test_whole_lines():
    text = "ab\ncd\n\nef"
    assert line_span(text, Span(0, 0)) == Span(0, 3)
    assert line_span(text, Span(1, 3)) == Span(0, 3), "the end of a line is no part of the next"
    assert line_span(text, Span(1, 4)) == Span(0, 6)
    assert line_span(text, Span(6, 6)) == Span(6, 7)
    assert line_span(text, Span(9, 9)) == Span(7, 9)


def test_a_diff_knows_lines_as_files_have_them():
    assert "\x0c" in unified("f", "a\x0cb\nc\n", "a\x0cb\nd\n"), "a form feed ends no line"
    assert unified("f", "a", "a") == ""
    assert unified("f", "a\n", "a").splitlines()[-1] == "\\ No newline at end of file"
    assert [*difflib.restore([], 1)] == []


# -- writing


@pytest.fixture
def dockerfile(tmp_path, ruled):
    ruled(replaces("old", "new"))
    file = tmp_path / "Dockerfile"
    file.write_text(DOCKERFILE)
    file.chmod(0o640)
    return file


def yes(_):
    return True


def test_a_file_is_replaced_and_its_old_text_kept(dockerfile):
    fixed = recipes.fix(recipes.check(dockerfile), yes)
    assert fixed.state == "written" and dockerfile.read_text() == DOCKERFILE.replace("old", "new")
    backup = Path(f"{dockerfile}.orig")
    assert backup.read_text() == DOCKERFILE and [c.backup for c in fixed.changes] == [str(backup)]
    assert {oct(file.stat().st_mode & 0o777) for file in (dockerfile, backup)} == {"0o640"}
    assert sorted(dockerfile.parent.iterdir()) == [dockerfile, backup], "nothing else is left"
    assert str(backup) in show.text(fixed) and not len(fixed.left)


def test_a_second_time_nothing_is_done(dockerfile):
    recipes.fix(recipes.check(dockerfile), yes)
    again = recipes.fix(recipes.check(dockerfile), pytest.fail)
    assert again.state == "nothing" and len(list(dockerfile.parent.iterdir())) == 2


def test_a_backup_is_never_written_over(dockerfile):
    taken = Path(f"{dockerfile}.orig")
    taken.write_text("mine")
    Path(f"{dockerfile}.orig.1").symlink_to("nowhere")
    recipes.fix(recipes.check(dockerfile), yes)
    assert taken.read_text() == "mine" and not Path(dockerfile.parent / "nowhere").exists()
    assert Path(f"{dockerfile}.orig.2").read_text() == DOCKERFILE


def test_a_no_changes_nothing(dockerfile):
    fixed = recipes.fix(recipes.check(dockerfile), lambda fixed: False)
    assert fixed.state == "refused" and dockerfile.read_text() == DOCKERFILE
    assert list(dockerfile.parent.iterdir()) == [dockerfile] and len(fixed.left) == 2
    assert show.text(fixed).endswith("Nothing has been written yet.")


@pytest.mark.parametrize("when", ["before", "while asked"])
def test_a_file_that_changed_meanwhile_is_left_alone(dockerfile, when):
    checked = recipes.check(dockerfile)

    def change(_=None):
        dockerfile.write_text(DOCKERFILE + "USER me\n")
        return True

    if when == "before":
        change()
    fixed = recipes.fix(checked, yes if when == "before" else change)
    (done,) = fixed.changes
    assert "has changed since it was read, so it is left alone" in done.why
    assert dockerfile.read_text() == DOCKERFILE + "USER me\n" and list(dockerfile.parent.iterdir()) == [dockerfile]
    assert "has changed since" in " ".join(show.text(fixed).split()) and len(fixed.left) == 2


def test_a_change_at_the_last_moment_is_seen(dockerfile, monkeypatch):
    """Between the backup and the replacement."""
    kept = fixing._backup

    def late(path, raw):
        made = kept(path, raw)
        dockerfile.write_text("USER somebody else\n")
        return made

    checked = recipes.check(dockerfile)
    monkeypatch.setattr(fixing, "_backup", late)
    fixed = recipes.fix(checked, yes)
    assert fixed.changes[0].why and dockerfile.read_text() == "USER somebody else\n"
    assert list(dockerfile.parent.iterdir()) == [dockerfile]


def test_a_file_that_is_gone_or_may_not_be_written(dockerfile, monkeypatch):
    checked = recipes.check(dockerfile)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert "may not be written" in recipes.fix(checked, yes).changes[0].why
    monkeypatch.undo()
    dockerfile.unlink()
    assert "cannot be read: No such file" in recipes.fix(checked, yes).changes[0].why
    assert list(dockerfile.parent.iterdir()) == []


def test_a_full_disk_leaves_it_as_it_was(dockerfile, monkeypatch):
    checked = recipes.check(dockerfile)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    fixed = recipes.fix(checked, yes)
    assert "No space left on device" in fixed.changes[0].why
    assert dockerfile.read_text() == DOCKERFILE and list(dockerfile.parent.iterdir()) == [dockerfile]


def test_behind_a_link_the_file_is_replaced_and_not_the_link(dockerfile):
    link = dockerfile.parent / "links" / "Dockerfile"
    link.parent.mkdir()
    link.symlink_to(dockerfile)
    recipes.fix(recipes.check(link), yes)
    assert link.is_symlink() and dockerfile.read_text() == DOCKERFILE.replace("old", "new")
    assert Path(f"{dockerfile}.orig").read_text() == DOCKERFILE


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbfFROM x\r\nRUN old\r\n",
        "# für Übung 日本 \U0001f40d\nRUN old".encode(),
        b"# \x0c\x1c\x85\xc2\x85 no utf-8\nRUN old\n",
        "# 日本語\nRUN old\n".encode("cp932"),
        b"\xff\xfe" + "FROM x\r\nRUN old\r\n".encode("utf-16-le"),
        b"\xfe\xff" + "FROM x\r\nRUN old\r\n".encode("utf-16-be"),
    ],
    ids=["bom-and-crlf", "utf-8", "latin-1", "shift-jis", "utf-16-le", "utf-16-be"],
)
def test_every_other_byte_stays(dockerfile, raw):
    dockerfile.write_bytes(raw)
    assert recipes.fix(recipes.check(dockerfile), yes).state == "written"
    old, new = (
        word.encode("utf-16-le" if b"R\0" in raw else "utf-16-be" if b"\0R" in raw else "ascii")
        for word in ("old", "new")
    )
    assert old in raw and dockerfile.read_bytes() == raw.replace(old, new)


@pytest.mark.parametrize(
    ("raw", "new"), [(b"# \xfc\nRUN old\n", "日本"), (b"\xff\xfeR\0U\0N\0 \0o\0l\0d\0\n", "new")]
)
def test_a_text_that_cannot_be_written_back_is_left_alone(dockerfile, ruled, raw, new):
    ruled(replaces("old", new))
    dockerfile.write_bytes(raw)
    fixed = recipes.fix(recipes.check(dockerfile), yes)
    assert "is in another encoding than UTF-8, so it is left alone" in fixed.changes[0].why
    assert dockerfile.read_bytes() == raw and list(dockerfile.parent.iterdir()) == [dockerfile]


def test_a_text_that_is_no_file_is_not_written(ruled):
    ruled(replaces("old", "new"))
    fixed = recipes.fix(recipes.check({"Dockerfile": DOCKERFILE}), yes)
    assert "is no file" in fixed.changes[0].why and fixed.texts["Dockerfile"] == DOCKERFILE.replace("old", "new")


# -- the command line


def test_check_json_has_exactly_these_keys(dockerfile, capsys):
    assert main(["recipe", "check", str(dockerfile), "--json"]) == 1
    out = capsys.readouterr().out
    assert out.isascii()
    data = json.loads(out)
    assert (data["schema"], data["verdict"], set(data)) == (1, "broken", {"schema", "verdict", "files"})
    (file,) = data["files"]
    assert set(file) == {"file", "kind", "unread", "findings"}
    assert (file["file"], file["kind"]) == (str(dockerfile), "dockerfile")
    for finding in file["findings"]:
        assert set(finding) == FINDING | PLACE
        assert finding["severity"] in SEVERITIES and finding["safe"] is True
    assert [finding["replacement"] for finding in file["findings"]] == [["RUN new one"], ["RUN new two"]]


def test_fix_shows_the_diff_first_and_without_anybody_to_ask_does_nothing(dockerfile, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["recipe", "check", str(dockerfile), "--fix"]) == 1
    said = capsys.readouterr()
    assert "+RUN new one" in said.out and "Nothing has been written yet." in said.out
    assert said.err == "kit: nobody to ask, so nothing is changed; --yes does the steps\n"
    assert dockerfile.read_text() == DOCKERFILE and list(dockerfile.parent.iterdir()) == [dockerfile]


def test_fix_with_yes(dockerfile, capsys):
    assert main(["recipe", "check", str(dockerfile), "--fix", "--yes"]) == 0
    said = capsys.readouterr().out
    assert said.index("-RUN old one") < said.index("written: 2 edits in 1 file") < said.index("clean: ")
    assert main(["recipe", "check", str(dockerfile), "--fix", "--yes"]) == 0
    assert "nothing to write" in capsys.readouterr().out
    assert len(list(dockerfile.parent.iterdir())) == 2


def test_fix_as_json(dockerfile, capsys):
    assert main(["recipe", "check", str(dockerfile), "--fix", "--json"]) == 1, "json asks nobody"
    data = json.loads(capsys.readouterr().out)
    assert data["fixed"][0]["backup"] is None and len(data["files"][0]["findings"]) == 2
    assert main(["recipe", "check", str(dockerfile), "--fix", "--json", "--yes"]) == 0
    data = json.loads(capsys.readouterr().out)
    (done,) = data["fixed"]
    assert set(done) == {"file", "mended", "diff", "backup", "why"} and done["backup"] == f"{dockerfile}.orig"
    assert data["files"][0]["findings"] == [] and data["verdict"] == "clean"


def test_fix_of_a_file_that_changed_is_status_2(dockerfile, capsys, monkeypatch):
    from kit.recipes import command

    check = command.check

    def late(*given, **named):
        checked = check(*given, **named)
        dockerfile.write_text("USER me\n")
        return checked

    monkeypatch.setattr(command, "check", late)
    assert main(["recipe", "check", str(dockerfile), "--fix", "--yes"]) == 2
    assert "kit: " in (err := capsys.readouterr().err) and "has changed since it was read" in err
    assert dockerfile.read_text() == "USER me\n"


def test_safe_edits_and_the_others(dockerfile, ruled, capsys):
    ruled(replaces("one", "1"), replaces("two", "2", safe=False), replaces("FROM", None))
    assert main(["recipe", "check", str(dockerfile)]) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[-2] == "3 errors: 1 with a safe edit, 1 with an edit to be read first, 1 by hand"
    assert said.splitlines()[-1].endswith(f"python -m kit recipe check {dockerfile} --fix")
    assert main(["recipe", "check", str(dockerfile), "--fix", "--yes"]) == 1
    assert dockerfile.read_text() == DOCKERFILE.replace("one", "1")
    assert capsys.readouterr().out.rstrip().endswith(f"{dockerfile} --fix --all")
    assert main(["recipe", "check", str(dockerfile), "--fix", "--all", "--yes"]) == 1
    assert dockerfile.read_text() == DOCKERFILE.replace("one", "1").replace("two", "2")


def test_what_is_asked_of_the_rules_reaches_them(dockerfile, ruled, capsys):
    seen = []
    ruled(Rule("r", "t", "p\n", "build-isolation", lambda recipe, wish: seen.append(wish.gpu) or ()))
    assert main(["recipe", "check", str(dockerfile), "--gpu", "sm_120"]) == 0 and seen == ["12.0"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "check | write | page"),
        (["dance"], "invalid choice: 'dance'"),
        (["check"], "required: FILE"),
        (["check", "no-such-file"], "no-such-file cannot be read: No such file"),
        (["check", "poem.xyz"], "poem.xyz: no kind of recipe that is known"),
        (["check", "picture/Dockerfile"], "picture/Dockerfile holds binary data, not text"),
        (["check", "Dockerfile", "--gpu", "RTX 4090"], "not a compute capability: 'RTX 4090'"),
        (["check", "Dockerfile", "--all"], "--all and --yes go with --fix"),
        (["check", "Dockerfile", "--yes"], "--all and --yes go with --fix"),
        (["page", "no-such-rule"], "no rule is called 'no-such-rule'; there are "),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(arguments, said, tmp_path):
    (tmp_path / "poem.xyz").write_text("Roses are red\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "picture").mkdir()
    (tmp_path / "picture" / "Dockerfile").write_bytes(b"\x89PNG\0\0\0")
    assert said in refusal(run(*arguments, cwd=tmp_path))


def test_the_doctor_loads_nothing_of_it():
    code = "import sys, kit.__main__ as m; m.main(['doctor', '--facts', 'healthy-cpu']); m.parser().format_help()"
    code += "; print([n for n in sys.modules if n.startswith(('kit.recipes', 'tree_sitter', 'yaml', 'libcst'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]", done


# -- folders


def test_a_folder_stands_for_the_recipes_in_it(tmp_path, ruled, capsys):
    ruled(replaces("old", "new"))
    (tmp_path / "docker").mkdir()
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "docker" / "Dockerfile").write_text("RUN old\n")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "Dockerfile.orig").write_text("RUN old\n")
    (tmp_path / "Dockerfile.orig.3").write_text("RUN old\n")
    (tmp_path / "poem.txt").write_text("old\n")
    checked = recipes.check([tmp_path, tmp_path / "Dockerfile"])
    names = [os.path.relpath(file.name, tmp_path) for file in checked.files]
    assert names == ["Dockerfile", "docker/Dockerfile", "requirements.txt"], "each once, no backup"
    text = show.text(checked)
    assert text.startswith("broken: 3 errors in 2 of 3 files\n")
    assert re.search(r"requirements.txt +requirements +nothing wrong", text)


def test_of_a_folder_what_cannot_be_read_is_said_and_the_rest_is_checked(tmp_path, ruled, capsys):
    ruled(replaces("old", "new"))
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "requirements.txt").write_bytes(b"torch\0\0")
    assert main(["recipe", "check", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert "Dockerfile:2: error: old is written" in " ".join(said.out.split())
    for text in (said.out, said.err):
        assert "requirements.txt holds binary data" in " ".join(text.split())


def test_an_empty_folder(tmp_path, capsys):
    assert main(["recipe", "check", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "no recipe was found\n"


def test_what_another_file_lists_is_told_there(tmp_path):
    """The place is where the file is named; nothing is written into that name, and what is told there is not told
    here again."""
    docker, listed = tmp_path / "Dockerfile", tmp_path / "requirements.txt"
    docker.write_text("FROM python:3.11\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n")
    listed.write_text("numpy\napex\n")
    (fault,) = recipes.check(docker)
    assert (fault.failure, fault.line, fault.listed) == ("apex-wrong-package", 3, str(listed))
    assert fault.replacement is None and f"because listed in: {listed}" in " ".join(
        show.text(recipes.check(docker)).split()
    )
    both = recipes.check([docker, listed])
    assert [(f.file, f.line) for f in both] == [(str(listed), 2)]
    assert recipes.fix(both, yes, everything=True).left.verdict == "clean"
    assert listed.read_text() == "numpy\n" and "-r requirements.txt\n" in docker.read_text()


# -- secrets and hostile text

SECRETS = ("hunter2secret", "hf_abcdefghijklmnopqrst", "glpat-abcdefghijklmnop", "s3cr3tvalue", "querytoken")
HIDDEN = """\
FROM python:3.11
ARG HF_TOKEN=hf_abcdefghijklmnopqrst
ENV MY_PASSWORD="s3cr3tvalue" GIT=glpat-abcdefghijklmnop
RUN old --index-url https://me:hunter2secret@example.org/simple -f https://example.org/x?t=querytoken
"""


def test_no_secret_is_shown_and_the_file_keeps_it(dockerfile, ruled, capsys):
    def check(recipe, wish):
        for word in ("old", *SECRETS):
            at = recipe.text.index(word) if word in recipe.text else -1
            if at >= 0:
                line = next(line for line in recipe.text.split("\n") if word in line)
                fix = (Fix("fix-url", f"Not {line}", ("pip", "install", line), {"A": line}),)
                edits = (Edit(Span(at, at + 3), "new"),) if word == "old" else ()
                summary = f"{word} stands there. In {recipe.text}"
                evidence = (f"line: {recipe.text}",)
                yield Problem("r", "build-isolation", "error", Span(at, at + 3), summary, evidence, fix, edits, True)

    secret = Rule("r", "t", "p\n", "build-isolation", check)
    ruled(secret)
    dockerfile.write_text(HIDDEN)
    checked = recipes.check(dockerfile)
    shown = [show.text(checked), show.html(checked), json.dumps(checked.to_dict()), str(checked.diff), repr(checked)]
    for everything in (False, True):
        fixed = checked.fixed(everything)
        shown += [show.text(fixed), show.html(fixed), json.dumps(fixed.to_dict()), show.html(fixed.diff)]
    assert main(["recipe", "check", str(dockerfile), "--fix", "--yes"]) == 1
    shown.append(capsys.readouterr().out)
    for text in shown:
        # a name that stands alone, in what a rule says, is no secret of a known form
        said = re.sub(r"(hunter2secret|s3cr3tvalue|querytoken)\s+stands\s+there", "", text)
        assert not [secret for secret in SECRETS if secret in said]
    assert dockerfile.read_text() == HIDDEN.replace("old", "new"), "the file itself has them still"


def test_names_that_only_look_like_secrets_are_shown():
    from kit.recipes.faults import shown

    for line in (
        "tokenizer = AutoTokenizer.from_pretrained(name)",
        "ENV HF_TOKEN=${HF_TOKEN}",
        "token: the next word",
    ):
        assert shown(line) == line


def test_hostile_text_is_escaped(ruled):
    text = "FROM x\nRUN old <img src=x onerror=alert(1)> \x1b[2J\x07 & </pre><script>\u202e\n"
    ruled(replaces("old", "<b>new</b>"), replaces("FROM", None, package="<i>"))
    name = "a<b>\x1b[1m/Dockerfile"
    checked = recipes.check({name: text})
    for thing in (checked, checked.diff, checked.fixed(), checked.fixed().diff):
        markup, plain = show.html(thing), show.text(thing)
        assert not re.search(r"<(img|script|b>|i>)|</pre><s", markup)
        assert not re.search("[\x1b\x07\u202e]", markup + plain)
    assert "&lt;img src=x onerror=alert(1)&gt;" in show.html(checked) and "\\x1b[2J" in show.text(checked)


# -- how it looks


def test_text_has_the_verdict_first_and_the_command_last(dockerfile, ruled, monkeypatch):
    ruled(replaces("old one", "new", id="a", safe=False))
    monkeypatch.chdir(dockerfile.parent)
    lines = show.text(recipes.check("Dockerfile")).split("\n")
    assert lines[0] == "broken: 1 error in 1 file"
    assert lines[2:] == [
        "Dockerfile:2: error: old one is written  [build-isolation]",
        "  It fails.",
        "  - 2 | RUN old one",
        "  +   | RUN new",
        "  read the edit first (--fix --all) · rule a",
        "",
        "1 error: 1 with an edit to be read first",
        "To see the edits as a diff, and then to write them: python -m kit recipe check Dockerfile --fix --all",
    ]


def test_a_line_of_a_megabyte_is_cut_around_its_fault(ruled):
    ruled(replaces("old", "new"))
    text = f"RUN {'x' * 500_000} old {'y' * 500_000}\n"
    checked = recipes.check({"Dockerfile": text})
    for thing in (checked, checked.fixed()):
        assert max(map(len, show.text(thing).split("\n"))) < 500
        assert len(show.html(thing)) < 9000
    assert " old y" in show.text(checked) and " new y" in show.text(checked)


def test_many_faults_open_one_by_one(ruled):
    ruled(replaces("old", "new"))
    few = show.html(recipes.check({"Dockerfile": DOCKERFILE}))
    many = show.html(recipes.check({"Dockerfile": "RUN old\n" * 30}))
    assert few.count("<details open") == 2
    assert many.count("<details open") == 1 and many.count("<details") == 30


def test_many_files_are_folded(ruled):
    ruled(replaces("old", "new"))
    files = {f"{n}/Dockerfile": "RUN old\n" * 2 if n < 5 else "FROM x\n" for n in range(60)}
    checked = recipes.check(files)
    text, markup = show.text(checked), show.html(checked)
    assert "and 47 more files" in text and "55 with nothing wrong" in markup
    assert len(text.split("\n")) < 100 and markup.count("<details open") == 2, "the first file, and its first fault"
    assert "59/Dockerfile" not in text


def test_both_forms_say_every_word(ruled):
    fix = Fix("change-python", "Take another one", ("pip", "install", "x"))
    ruled(replaces("old", None, evidence=("line: said",), fix=(fix,)))
    checked = recipes.check({"Dockerfile": DOCKERFILE})
    bundle = checked._repr_mimebundle_()
    assert bundle["text/plain"] == repr(checked)
    for word in ("old is written", "It fails.", "RUN old one", "said", "Take another one", "pip install x", "no-old"):
        assert word in bundle["text/plain"] and word in bundle["text/html"]
    assert "style=" in bundle["text/html"] and not re.search(r"<(style|script|svg)|class=", bundle["text/html"])


# -- with the real rules: a file of each kind

FILES = {
    "docker/train.Dockerfile": (
        "dockerfile",
        "FROM pytorch/pytorch:2.8.0-cuda12.8-cudnn9-devel\nRUN pip install --no-build-isolation torch-scatter\n",
        "extension-cpu-only",
        2,
    ),
    "requirements.txt": ("requirements", "torch==2.0.1\nnumpy\napex\n", "apex-wrong-package", 3),
    "environment.yml": (
        "environment",
        "name: gnn\nchannels: [pytorch, nvidia]\ndependencies:\n  - python=3.11\n  - pytorch=2.8\n",
        "wheel-not-published",
        2,
    ),
    "pyproject.toml": (
        "pyproject",
        '[project]\nname = "gnn"\nversion = "1"\ndependencies = [\n  "torch==2.8.0",\n  "torch-scatter",\n]\n',
        "build-isolation",
        6,
    ),
    ".devcontainer/devcontainer.json": (
        "devcontainer",
        '{\n  // a GPU\n  "image": "nvidia/cuda:12.8.0-runtime-ubuntu22.04",\n  "runArgs": ["--gpus", "all"],\n'
        '  "containerEnv": {"NVIDIA_DRIVER_CAPABILITIES": "utility"}\n}\n',
        "gpu-not-visible",
        5,
    ),
    "compose.yaml": (
        "compose",
        "services:\n  train:\n    image: nvidia/cuda:12.8.0-runtime-ubuntu22.04\n    gpus: all\n    environment:\n"
        "      NVIDIA_DRIVER_CAPABILITIES: utility\n",
        "gpu-not-visible",
        6,
    ),
    ".github/workflows/ci.yml": (
        "workflow",
        "on: push\njobs:\n  test:\n    runs-on: ubuntu-24.04\n    steps:\n      - run: |\n"
        "          pip install torch\n"
        "          FORCE_CUDA=1 && pip install --no-build-isolation torch-sparse\n",
        "extension-cpu-only",
        8,
    ),
    "install.sh": (
        "shell",
        "#!/bin/bash\npip install torch==2.8.0 --index-url https://download.pytorch.org/whl/cu128\n"
        "pip install torch-scatter -f https://data.pyg.org/whl/torch-2.7.0+cu126.html\n",
        "extension-torch-mismatch",
        3,
    ),
    "image.def": (
        "apptainer",
        "Bootstrap: docker\nFrom: nvidia/cuda:12.8.0-devel-ubuntu22.04\n"
        "\n%post\n    pip install torch torch-scatter\n",
        "build-isolation",
        5,
    ),
    "train.py": ("python", "import torch\nfrom timm.models.layers import DropPath\n", "module-moved", 2),
    "try.ipynb": (
        "notebook",
        json.dumps(
            {
                "cells": [
                    {"cell_type": "markdown", "id": "a", "metadata": {}, "source": ["# A title"]},
                    {
                        "cell_type": "code",
                        "execution_count": None,
                        "id": "b",
                        "metadata": {},
                        "outputs": [],
                        "source": ["%pip install apex\n", "from timm.models.layers import DropPath"],
                    },
                ],
                "metadata": {},
                "nbformat": 4,
                "nbformat_minor": 5,
            },
            indent=1,
        ),
        "module-moved",
        19,
    ),
}


@pytest.fixture
def project(tmp_path):
    for name, (_, text, _, _) in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_each_kind(name, project, capsys):
    kind, _, failure, line = FILES[name]
    assert main(["recipe", "check", str(project / name), "--json"]) == 1
    (file,) = json.loads(capsys.readouterr().out)["files"]
    assert (file["kind"], file["unread"]) == (kind, [])
    assert (failure, line) in [(finding["failure"], finding["line"]) for finding in file["findings"]]


def test_a_whole_project_in_one_process(project):
    done = run("check", ".", "--json", cwd=project)
    data = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (1, "")
    assert {file["file"]: file["kind"] for file in data["files"]} == {name: FILES[name][0] for name in FILES}
    shown = run("check", ".", cwd=project).stdout
    for name, (_, _, failure, line) in FILES.items():
        cell = " (cell 2)" if name.endswith(".ipynb") else ""
        found = [part for part in shown.split("\n\n") if part.startswith(f"{name}:{line}{cell}: ")]
        assert any(f"[{failure}]" in " ".join(part.split()) for part in found), name
    assert shown.splitlines()[-1].endswith("python -m kit recipe check . --fix")


def test_a_whole_project_mended(project, capsys, monkeypatch):
    monkeypatch.chdir(project)
    before = {name: (project / name).read_bytes() for name in FILES}
    assert main(["recipe", "check", ".", "--fix", "--all", "--yes"]) in (0, 1)
    said = capsys.readouterr().out
    changed = [name for name in FILES if (project / name).read_bytes() != before[name]]
    assert {"requirements.txt", "compose.yaml", "train.py", "try.ipynb", "install.sh"} <= set(changed)
    for name in FILES:
        backup = project / f"{name}.orig"
        assert backup.exists() == (name in changed)
        assert not backup.exists() or backup.read_bytes() == before[name]
    assert "from timm.layers import DropPath" in (project / "train.py").read_text()
    cell = json.loads((project / "try.ipynb").read_text())["cells"][1]
    assert "from timm.layers import DropPath" in "".join(cell["source"])
    assert "written: " in said
    left = json.loads(run("check", ".", "--json", cwd=project).stdout)
    assert [part for file in left["files"] for part in file["unread"]] == [], "each is still what it was"
    state = {file: file.read_bytes() for file in project.rglob("*") if file.is_file()}
    main(["recipe", "check", ".", "--fix", "--all", "--yes"])
    assert "nothing to write" in capsys.readouterr().out
    assert {file: file.read_bytes() for file in project.rglob("*") if file.is_file()} == state, (
        "a second time: nothing"
    )


def test_imports_for_old_and_new_releases(project, capsys):
    file = project / "train.py"
    assert main(["recipe", "check", str(file), "--guarded", "--fix", "--yes"]) == 0
    assert "--guarded" not in capsys.readouterr().out
    text = file.read_text()
    assert "try:" in text and "from timm.layers import DropPath" in text and "timm.models.layers" in text


# -- the Dockerfile of report 000, written anew from its description


def told(checked):
    return {(fault.file, fault.line, fault.failure) for fault in checked}


def test_the_reports_dockerfile_before_its_repair(tmp_path, capsys):
    file = tmp_path / "Dockerfile"
    file.write_text(recipes.example("scatter-before")["Dockerfile"])
    place = {(line, failure) for _, line, failure in told(recipes.check(file, gpu="12.0"))}
    assert (13, "wheel-not-published") in place, "a nightly, where a release serves"
    assert (14, "wheel-not-published") in place, "a chain of fallbacks that hides the failure of torch"
    assert (19, "wheel-not-published") in place, "the page of a nightly, which does not exist"
    assert (20, "sdist-preferred") in place, "a fallback that hides this, and compiles"
    assert (20, "extension-cpu-only") in place, "where no GPU is visible, without FORCE_CUDA"
    assert (20, "gpu-arch-missing") in place, "and without TORCH_CUDA_ARCH_LIST"
    main(["recipe", "check", str(file), "--gpu", "12.0", "--fix", "--all", "--yes"])
    text = file.read_text()
    assert "||" not in text and "/nightly/" not in text and "--pre" not in text
    (torch,) = re.findall(r"torch==(\d+\.\d+)\.\d+ .*whl/(cu\d+)", text)
    page = "torch-{}.0+{}.html".format(*torch)
    if page not in text:  # by hand, where no edit says it: the page of the torch that is installed
        file.write_text(re.sub(r"torch-2\.10\.0\.dev.*\.html", page, text))
    assert main(["recipe", "check", str(file), "--gpu", "12.0", "--fix", "--all", "--yes"]) == 0
    assert recipes.check(file, gpu="12.0").verdict == "clean"
    assert "--only-binary=torch-scatter" in file.read_text() and page in file.read_text()
    assert "Dockerfile.orig" in capsys.readouterr().out


def test_the_reports_dockerfile_after_its_repair(tmp_path):
    for name, text in recipes.example("scatter-after").items():
        (tmp_path / name).write_text(text)
    docker, requirements = tmp_path / "Dockerfile", tmp_path / "requirements.txt"
    checked = recipes.check([docker, requirements], gpu="12.0")
    assert {
        (str(docker), 4, "gpu-arch-missing"),  # 9.0 is called Ada
        (str(docker), 16, "wheel-not-published"),  # a nightly
        (str(docker), 26, "wheel-not-published"),  # its page is made from torch.__version__
        (str(docker), 25, "extension-cpu-only"),  # and what is then compiled has no FORCE_CUDA
        (str(requirements), 3, "wheel-not-published"),  # the requirements ask for the nightly again
    } <= told(checked)
    (ada,) = [fault for fault in checked if fault.line == 4]
    assert "9.0 is Hopper" in ada.summary and "8.9" in ada.replacement[0]
    fixed = recipes.fix(checked, yes, everything=True)
    assert not [fault for fault in fixed.left if fault.file == str(docker)]
    # The requirements are mended by hand: without a nightly, torch is already there.
    text = "".join(line for line in requirements.read_text().splitlines(True) if line[0] != "-" and line != "torch\n")
    requirements.write_text(text)
    assert recipes.check([docker, requirements], gpu="12.0").verdict == "clean"


def test_what_the_report_suspected_is_found_where_it_is_a_fault():
    """Its Python 3.10 had wheels, and on Ubuntu 22.04 pip needs no virtual environment.  Here it is otherwise."""
    start = "RUN apt-get update && apt-get install -y python3-pip\nRUN pip3 install torch"
    text = f"FROM ubuntu:22.04\n{start} --pre --index-url https://download.pytorch.org/whl/nightly/cu130\n"
    assert ("Dockerfile", 3, "python-unsupported") in told(recipes.check({"Dockerfile": text}))
    text = f"FROM ubuntu:24.04\n{start}==2.12.1\n"
    assert [fault.line for fault in recipes.check({"Dockerfile": text}) if "environment" in fault.summary] == [3]
    text = text.replace("pip3 install", "pip3 install --break-system-packages")
    assert not [fault for fault in recipes.check({"Dockerfile": text}) if "environment" in fault.summary]


def test_what_is_written_from_wishes_passes(tmp_path, capsys):
    out = tmp_path / "Dockerfile"
    wishes = ["--torch", "2.12.1", "--cuda", "cu130", "--gpu", "12.0", "--package", "torch-scatter", "--offline"]
    assert main(["recipe", "write", "dockerfile", *wishes]) == 0
    text = capsys.readouterr().out
    assert text.lstrip().startswith("#") and "FROM" in text and "torch==2.12.1+cu130" in text
    assert main(["recipe", "write", "dockerfile", *wishes, "-o", str(out)]) == 0
    assert f"written: {out}" in capsys.readouterr().out
    assert main(["recipe", "check", str(out), "--gpu", "12.0"]) == 0
    assert main(["recipe", "write", "dockerfile", *wishes, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.rpartition("\n{")[2].join(["{", ""]))["kind"] == "dockerfile"
    out.write_text("mine")
    assert main(["recipe", "write", "dockerfile", *wishes, "-o", str(out)]) == 2
    assert "holds something else" in capsys.readouterr().err and out.read_text() == "mine"
    assert main(["recipe", "write", "poem", *wishes]) == 2
    assert "cannot write 'poem'" in capsys.readouterr().err


# -- pages, examples, and a notebook


def test_every_rule_has_a_page(capsys):
    from kit.recipes.rules import rules

    assert main(["recipe", "page"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [rule.id for rule in rules()]
    first = rules()[0]
    assert main(["recipe", "page", first.id]) == 0
    assert capsys.readouterr().out == first.page == str(recipes.page(first.id))
    assert "import" in str(recipes.page("moved-import"))


def test_examples_by_name():
    assert recipes.examples() == ("scatter-before", "scatter-after", "point-cloud")
    for name in recipes.examples():
        texts = recipes.example(name)
        assert recipes.check(texts).verdict == "broken"
        for line in "".join(texts.values()).splitlines():
            assert line in repr(texts)
        assert "<pre" in show.html(texts)
    with pytest.raises(KitError, match="no example is called 'x'; there are scatter-before"):
        recipes.example("x")


def test_a_text_looks_for_no_file_beside_it(tmp_path, monkeypatch):
    """What a text is found to say does not depend on the folder that the process runs in."""
    monkeypatch.chdir(tmp_path)
    checked = recipes.check(
        {"Dockerfile": "FROM python:3.11\nCOPY requirements.txt .\nRUN pip install -r requirements.txt\n"}
    )
    assert not len(checked)
    (tmp_path / "requirements.txt").write_text("apex\n")
    assert not len(recipes.check({"Dockerfile": checked.files[0].text}))
    with pytest.raises(KitError) as error:
        recipes.check({"poem.xyz": "Roses are red"})
    assert str(error.value).startswith("poem.xyz: no kind of recipe")


def magic(*words):
    from kit.__main__ import parser
    from kit.recipes import command

    return command.result(parser().parse_args(["recipe", *map(str, words)]))


def test_in_a_notebook_it_gives_objects_that_show_themselves(dockerfile, capsys):
    checked = magic("check", dockerfile)
    assert isinstance(checked, recipes.Checked) and "<section" in checked._repr_mimebundle_()["text/html"]
    proposed = magic("check", dockerfile, "--fix")
    assert proposed.state == "proposed" and dockerfile.read_text() == DOCKERFILE
    assert magic("check", dockerfile, "--fix", "--yes").state == "written"
    assert dockerfile.read_text() == DOCKERFILE.replace("old", "new")
    written = magic("write", "dockerfile", "--torch", "2.12.1", "--cuda", "cu130", "--offline")
    assert "FROM" in repr(written) and "FROM" in show.html(written)
    with pytest.raises(KitError, match="name a rule"):
        magic("page")
    assert capsys.readouterr() == ("", "")


@pytest.mark.slow
def test_the_notebook_checks_a_folder(project):
    from test_notebooks import NOTEBOOKS, run, shown

    notebook = next(path for path in NOTEBOOKS if path.name.startswith("08_"))
    text = shown(run(notebook, project, recipe="docker", gpu="12.0"))
    assert "docker/train.Dockerfile:2: error: " in text and "model.py" not in text
