"""What is kept of an environment comes back exactly, whatever happened meanwhile, and however undo was stopped."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repairs import difference, picture

from kit.errors import KitError
from kit.repair import locking as locks
from kit.repair import tree
from kit.repair.journal import Journal, Scope, journals
from kit.repair.locking import check, lock


@pytest.fixture
def root(tmp_path):
    """An environment with one package ``old``, a file of somebody else, links, and an empty folder."""
    site = tmp_path / "env" / "site"
    for place in ("old/sub/empty", "old-1.dist-info", "other", "share"):
        (site.parent if place == "share" else site).joinpath(place).mkdir(parents=True)
    (site / "old" / "a.py").write_text("a = 1\n")
    (site / "old" / "sub" / "b.so").write_bytes(b"\x7fELF" * 50)
    (site / "old" / "sub" / "b.so").chmod(0o755)
    (site / "old" / "link.py").symlink_to("a.py")
    (site / "old-1.dist-info" / "RECORD").write_text("old/a.py,,\n")
    (site / "paths.pth").write_text("/one\n")
    (site / "other" / "theirs.py").write_text("x = 1\n")
    (tmp_path / "env" / "share" / "note.txt").write_text("one")
    for place, folders, files in os.walk(tmp_path / "env", topdown=False):
        for number, name in enumerate((*files, *folders)):
            os.utime(os.path.join(place, name), ns=(10**18, 10**18 + number), follow_symlinks=False)
    return tmp_path / "env"


def scope(root):
    site = root / "site"
    old = ("old/a.py", "old/sub/b.so", "old/link.py", "old-1.dist-info/RECORD", "paths.pth", "../share/note.txt")
    new = ("new/x.py", "new/deep/y.py", "old/a.py", "old-2.dist-info/RECORD", "name/space/z.py")
    paths = [{os.path.normpath(site / name) for name in names} for names in (old, new)]
    paths[1] |= {str(root / "share" / "new" / "n.txt"), str(root / "top.txt")}
    return Scope((str(site),), *map(frozenset, paths))


def change(root):
    """What an installer might do, with what it leaves behind when it is killed."""
    site = root / "site"
    (site / "old").rename(site / "~ld")
    (site / "old-1.dist-info").rename(site / "~ld-1.dist-info")
    shutil.rmtree(site / "~ld" / "sub")
    (site / "paths.pth").write_text("/one\n/two\n")  # in place
    for path in ("old/a.py", "new/x.py", "new/deep/y.py", "new/deep/made-by-x.txt", "old-2.dist-info/RECORD.tmp"):
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text("new")
    (site / "new" / "__pycache__").mkdir()
    (site / "new" / "__pycache__" / "x.cpython-311.pyc").write_text("")
    (site / "new" / "deep" / "hollow").mkdir()
    (site / "name" / "space").mkdir(parents=True)
    (site / "name" / "space" / "z.py").write_text("")
    (root / "share" / "note.txt").unlink()
    (root / "share" / "new").mkdir()
    (root / "share" / "new" / "n.txt").write_text("")
    (root / "top.txt").write_text("a data file directly in the prefix")


def begun(root):
    with lock(str(root)):
        journal = Journal.begin(str(root))
    journal.keep("1", scope(root))
    journal.begin_change("1")
    return journal


def test_undo_restores_contents_modes_times_links_and_folders(root):
    before = picture(root)
    journal = begun(root)
    assert picture(root) == before, "keeping changes nothing"
    change(root)
    assert len(difference(before, picture(root))) > 15
    assert journal.state == "interrupted"
    assert journal.undo() == []
    assert difference(before, picture(root)) == []
    assert journal.state == "undone"
    assert journal.undo() == []


def test_undo_of_a_finished_repair(root):
    before = picture(root)
    journal = begun(root)
    change(root)
    journal.finish()
    assert journal.state == "applied"
    assert journal.conflicts() == []
    journal.undo()
    assert difference(before, picture(root)) == []


STOPPED = ("os.replace", "os.rename", "os.unlink", "os.mkdir", "os.rmdir", "os.utime", "os.chmod", "os.symlink")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


def stop_at(monkeypatch, number):
    """Let the ``number``-th system call that changes the disk be the last one."""
    count = [0]

    def wrapped(call):
        def counted(*words, **named):
            count[0] += 1
            if count[0] > number:
                raise Killed
            return call(*words, **named)

        return counted

    for name in STOPPED:
        monkeypatch.setattr(name, wrapped(getattr(os, name.partition(".")[2])))
    return count


@pytest.mark.parametrize("finished", [False, True])
def test_undo_that_is_killed_at_any_system_call_is_completed_by_another(root, tmp_path, finished):
    pattern = tmp_path / "pattern"
    shutil.copytree(root, pattern, symlinks=True)
    shutil.rmtree(root)
    for number in range(400):
        subprocess.run(["cp", "-a", str(pattern), str(root)], check=True)
        before = picture(root)
        journal = begun(root)
        change(root)
        again = frozenset(
            [str(root / "site" / "old" / "sub" / "b.so"), str(root / "site" / "old-1.dist-info" / "RECORD")]
        )
        journal.keep("2", Scope((str(root / "site"),), frozenset(), again))
        journal.begin_change("2")
        for path in again:  # what the first change took away, the second makes anew
            os.makedirs(os.path.dirname(path), exist_ok=True)
            Path(path).write_text("newer")
        journal.move("3", str(root / "site" / "other"), str(root / "site" / "aside"))
        if finished:
            journal.finish()
        with pytest.MonkeyPatch.context() as patch:
            stop_at(patch, number)
            try:
                journal.undo()
                ended = True
            except Killed:
                ended = False
        journal = Journal(journal.folder)
        assert journal.undo() == []
        assert difference(before, picture(root)) == [], f"killed at system call {number}"
        assert journal.state == "undone"
        if ended:
            assert number > 20
            return
        shutil.rmtree(root)
    raise AssertionError("undo never ended")


def test_two_changes_of_the_same_files_are_taken_back_in_reverse(root):
    before = picture(root)
    journal = begun(root)
    change(root)
    site = root / "site"
    journal.keep("2", Scope((str(site),), frozenset([str(site / "new" / "x.py")]), frozenset()))
    journal.begin_change("2")
    (site / "new" / "x.py").write_text("third")
    journal.finish()
    journal.undo()
    assert difference(before, picture(root)) == []


def test_a_file_that_is_still_itself_gets_its_mode_and_time_back(root):
    before = picture(root)
    journal = begun(root)
    (root / "site" / "old" / "a.py").chmod(0o700)
    os.utime(root / "site" / "old" / "sub")
    journal.undo()
    assert difference(before, picture(root)) == []


def test_undo_does_not_touch_the_folders_above(root):
    os.utime(root.parent, ns=(10**18, 10**18))
    journal = begun(root)
    change(root)
    (root.parent / "sibling").mkdir()
    now = os.stat(root.parent).st_mtime_ns
    journal.undo()
    assert os.stat(root.parent).st_mtime_ns == now > 10**18


def test_what_others_installed_after_an_interrupted_repair_stays(root):
    before = picture(root)
    journal = begun(root)
    change(root)
    (root / "site" / "later").mkdir()
    (root / "site" / "later" / "their.py").write_text("")
    (root / "site" / "old" / "their.py").write_text("")
    (root / "site" / "name" / "theirs").mkdir()
    journal.undo()
    assert (root / "site" / "later" / "their.py").exists()
    assert (root / "site" / "old" / "their.py").exists()
    assert (root / "site" / "name" / "theirs").exists() and not (root / "site" / "name" / "space").exists()
    assert not (root / "site" / "new").exists()
    assert picture(root)["site"][1] > before["site"][1], "a running Python has to see that the folder was changed"


@pytest.mark.parametrize(
    "path, what", [("site/new/x.py", "changed"), ("site/new/more.py", "added"), ("site/new/deep/y.py", "removed")]
)
def test_files_changed_since_a_finished_repair_are_named_and_kept(root, path, what):
    before = picture(root)
    journal = begun(root)
    change(root)
    journal.finish()
    (root / path).unlink() if what == "removed" else (root / path).write_text("a person's own")
    after = picture(root)
    with pytest.raises(KitError, match=f"changed since the repair: .*{path}.*--force"):
        journal.undo()
    assert difference(after, picture(root)) == []
    assert journal.state == "applied"
    journal.undo(force=True)
    assert difference(before, picture(root)) == []


def test_a_file_that_was_written_in_place_is_named(root):
    journal = begun(root)
    with open(root / "site" / "old" / "a.py", "a") as stream:
        stream.write("more")
    change(root)
    notes = journal.undo()
    assert notes == [f"{root}/site/old/a.py was written in place meanwhile: it is there, not as it was"]
    assert (root / "site" / "old" / "a.py").read_text() == "a = 1\nmore"


def test_lists_of_paths_are_kept_as_copies_and_the_rest_as_links(root):
    journal = begun(root)
    kept = json.loads(Path(journal.folder, "1.json").read_text())["kept"]
    links = {p: os.stat(os.path.join(journal.folder, "1", str(n))).st_nlink for p, n in kept.items()}
    assert links[str(root / "site" / "paths.pth")] == 1
    assert links[str(root / "site" / "old" / "a.py")] == 2


def test_where_links_cannot_be_made_files_are_copied(root, monkeypatch):
    def refuse(*words, **named):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    before = picture(root)
    journal = begun(root)
    change(root)
    assert journal.undo() == []
    assert difference(before, picture(root)) == []


def test_a_torn_line_is_left_out_and_does_not_spoil_the_next(root):
    journal = begun(root)
    with open(os.path.join(journal.folder, "journal.jsonl"), "ab") as stream:
        stream.write(b'{"event": "do')
    assert journal.state == "interrupted"
    journal.line("note")
    assert [event["event"] for event in journal.events()] == ["begin", "change", "note"]


def test_a_line_that_does_not_fit_leaves_none(tmp_path, monkeypatch):
    file = str(tmp_path / "lines")
    tree.append(file, b"one")
    write = os.write

    def full(descriptor, text):
        if len(text) > 3:
            return write(descriptor, text[:3])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(OSError, match="No space"):
        tree.append(file, b"another")
    assert Path(file).read_text() == "one\n"


def test_undo_is_not_stopped_by_a_journal_that_cannot_be_written(root, monkeypatch):
    before = picture(root)
    journal = begun(root)
    change(root)

    def full(*words, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("kit.repair.journal.append", full)
        notes = journal.undo()
    assert "the journal cannot be written (No space left on device): kit undo once more" in notes[0]
    assert difference(before, picture(root)) == []
    assert journal.undo() == []
    assert (journal.state, difference(before, picture(root))) == ("undone", [])


def test_a_folder_moved_aside_comes_back(root):
    before = picture(root)
    with lock(str(root)):
        journal = Journal.begin(str(root))
    source, target = root / "site" / "other", root / "site" / "aside"
    journal.move("1", str(source), str(target))
    assert target.exists() and not source.exists()
    journal.finish()
    source.mkdir()
    with pytest.raises(KitError, match="site/other"):
        journal.undo()
    assert "something new lies at" in journal.undo(force=True)[0]
    assert target.exists(), "nothing is lost"
    assert before != picture(root)


def test_the_latest_repair_comes_first(root):
    first, second = Journal(str(root / ".kit" / "20260101-000000-aaaa")), Journal(str(root / ".kit" / "20260102-0-a"))
    for journal in (first, second):
        os.makedirs(journal.folder)
        journal.line("begin")
    assert [journal.id for journal in journals(str(root))] == [second.id, first.id]
    assert journals(str(root / "nowhere")) == []


def other_process(root, seconds=30):
    """A process that holds the lock."""
    code = f"import time; from kit.repair.locking import lock\nwith lock({str(root)!r}):"
    code += f" print('held', flush=True); time.sleep({seconds})"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_the_lock_names_who_holds_it_and_since_when(root):
    process = other_process(root)
    try:
        since = time.strftime("%H:%M")
        for attempt in (lambda: check(str(root)), lambda: lock(str(root)).__enter__()):
            with pytest.raises(KitError, match=rf"under way \(pid {process.pid}, since \d\d:\d\d\)") as raised:
                attempt()
        assert since[:2] in str(raised.value)
    finally:
        process.kill()
        process.communicate()
    check(str(root))
    with lock(str(root)):
        pass


def test_the_lock_lasts_as_long_as_a_child_of_a_killed_repair(root):
    code = f"""
import os, subprocess, sys
from kit.repair.locking import lock
with lock({str(root)!r}) as held:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], stdout=-3, pass_fds=(held,))
    print(child.pid, flush=True)
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(done.stdout)
    try:
        with pytest.raises(KitError, match="pip still runs for a repair that was killed"), lock(str(root), 0.3):
            pass
    finally:
        os.kill(child, 9)
    with lock(str(root), 5):
        pass


def test_taking_the_lock_does_not_touch_the_time_of_the_prefix(root):
    before = picture(root)
    with lock(str(root)):
        pass
    assert difference(before, picture(root)) == []


def test_a_process_that_ended_holds_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    time.sleep(0.5)
    assert not locks._runs(process.pid), "a zombie"
    process.wait()
    assert not locks._runs(process.pid)
    assert locks._runs(os.getpid())
