"""A folder is replaced as a whole, and only by the command that wrote it."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from milmer import folders
from tests.conftest import REPOSITORY


def write(out, text="new", command="test"):
    with folders.replacing_folder(out, command) as folder:
        (folder / "a.txt").write_text(text)
        (folder / f"{text}.txt").write_text(text)


def content(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def texts(out):
    return {name: text for name, text in content(out).items() if not name.startswith(".milmer")}


OLD, NEW = ({"a.txt": text, f"{text}.txt": text} for text in ("old", "new"))


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    for expected in (OLD, NEW):
        write(tmp_path / "run", expected["a.txt"])
        assert texts(tmp_path / "run") == expected
        assert os.listdir(tmp_path) == ["run"]


def test_what_an_interrupted_run_left_is_no_hindrance(tmp_path):
    write(tmp_path / ".run.partial", "old")
    write(tmp_path / "run")
    assert texts(tmp_path / "run") == NEW
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize(
    "add",
    [
        lambda out: (out / "thesis.txt").write_text("mine"),
        lambda out: (out / "deeper").mkdir(),
        lambda out: (out / ".hidden").touch(),
        lambda out: (out / "old.txt").unlink() or (out / "old.txt").mkdir(),
        lambda out: (out / "link").symlink_to("/"),
    ],
    ids=["file", "folder", "hidden", "folder of a file's name", "link"],
)
def test_a_folder_that_holds_something_else_stays(tmp_path, add, refused):
    write(tmp_path / "run", "old")
    add(tmp_path / "run")
    with refused("run: holds ", "which milmer test did not write", nothing_in=tmp_path):
        write(tmp_path / "run")


def test_the_mark_of_another_command_does_not_count(tmp_path, refused):
    write(tmp_path / "run", "old", command="other")
    with refused("run: exists and is not empty; give a new folder", nothing_in=tmp_path):
        write(tmp_path / "run")
    mark = tmp_path / "run/.milmer-test.json"
    for text in ("", "{}", "[1]", '{"command": "other", "files": ["a.txt", "old.txt"]}'):
        mark.write_text(text)
        with refused("run: exists and is not empty", nothing_in=tmp_path):
            write(tmp_path / "run")


def test_what_came_into_the_folder_meanwhile_stays(tmp_path, refused):
    write(tmp_path / "run", "old")
    with (
        refused("run: holds thesis.txt"),
        folders.replacing_folder(tmp_path / "run", "test") as folder,
    ):
        (folder / "a.txt").write_text("new")
        (tmp_path / "run/thesis.txt").write_text("mine")
    assert texts(tmp_path / "run") == OLD | {"thesis.txt": "mine"}
    assert os.listdir(tmp_path) == ["run"]


def test_a_link_is_not_followed_and_a_file_is_no_folder(tmp_path, refused):
    write(tmp_path / "run", "old")
    (tmp_path / "link").symlink_to("run")
    (tmp_path / "loose").symlink_to("nowhere")
    (tmp_path / "file").write_text("mine")
    for name, reason in (("link", "is a link"), ("loose", "is a link"), ("file", "not a folder")):
        with refused(f"{name}: ", reason, nothing_in=tmp_path):
            write(tmp_path / name)


@pytest.mark.parametrize("name", [".run.partial", ".run.old"])
def test_what_is_in_the_way_is_not_deleted(tmp_path, name, refused):
    for make in (
        lambda path: path.write_text("mine"),
        lambda path: path.mkdir() or (path / "thesis.txt").write_text("mine"),
        lambda path: path.symlink_to("elsewhere"),
    ):
        make(tmp_path / name)
        with refused(f"{name}: is in the way", "move it away", nothing_in=tmp_path):
            write(tmp_path / "run")
        if (tmp_path / name).is_dir():
            shutil.rmtree(tmp_path / name)
        else:
            (tmp_path / name).unlink()


def test_a_mark_that_is_none_is_one_line(tmp_path, refused):
    """Whatever stands under the mark's name: too deep, without end, a pipe that nobody fills."""
    mark = tmp_path / "run/.milmer-test.json"
    mark.parent.mkdir()
    for make in (
        lambda: mark.write_text("[" * 200_000),
        lambda: mark.touch() or os.truncate(mark, 10**12),
        lambda: os.mkfifo(mark),
        lambda: mark.mkdir(),
    ):
        make()
        with refused("run: exists and is not empty"):
            write(tmp_path / "run")
        shutil.rmtree(mark) if mark.is_dir() else mark.unlink()


def test_a_folder_that_someone_put_into_a_leftover_is_not_deleted(tmp_path, refused):
    for name in (".run.partial", ".run.old"):
        write(tmp_path / name, "old")
        (tmp_path / name / "thesis").mkdir()
        (tmp_path / name / "thesis/text").write_text("mine")
        with refused(f"{name}: is in the way", nothing_in=tmp_path):
            write(tmp_path / "run")
        shutil.rmtree(tmp_path / name)


def test_where_no_folder_can_be_made_is_told_at_once(tmp_path, monkeypatch, refused):
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "closed")
    (tmp_path / "closed").mkdir()
    for name, reason in (
        ("file/out", "cannot be written (Not a directory)"),
        ("n" * 250, "cannot be written (File name too long)"),
        ("n" * 5000, "cannot be written (File name too long)"),
        ("new/..", "cannot be replaced as a folder; give a new folder in it"),
        ("closed/out/in", "cannot be written (Permission denied)"),
    ):
        with refused(reason):
            folders.require_replaceable(tmp_path / name, "test")
    assert sorted(os.listdir(tmp_path)) == ["closed", "file"]


def test_a_mount_is_not_replaced(small_disk, refused):
    with refused("cannot be replaced as a folder; give a new folder in it"):
        folders.require_replaceable(small_disk("1m"), "test")


# ------------------------------------------------------------------------ inputs


def test_a_folder_that_is_holds_or_lies_in_an_input_is_refused(tmp_path, monkeypatch, refused):
    data, work = tmp_path / "data", tmp_path / "work"
    (data / "inside").mkdir(parents=True)
    work.mkdir()
    (tmp_path / "alias").symlink_to("data")
    monkeypatch.chdir(work)
    inputs = [data / "inside", tmp_path / "missing", tmp_path / "nothing.edf"]
    for out, reason in (
        (data / "inside", "is or holds the input"),
        (data, "is or holds the input"),
        (data / "inside/new/out", "lies in the input"),
        (tmp_path / "alias/inside/out", "lies in the input"),
        (tmp_path / "alias", "is or holds the input"),
        (work, "is or holds the working directory"),
        (type(work)("."), "is or holds the working directory"),
        (type(work)("../work/"), "is or holds the working directory"),
        (type(work)(".."), "is or holds the working directory"),
    ):
        for require in (folders.require_replaceable, folders.require_unused):
            with refused(str(out), reason, "give a new folder"):
                arguments = [()] if require is folders.require_unused else []
                require(out, "test", *arguments, inputs)
    folders.require_replaceable(type(work)("out"), "test", inputs)
    folders.require_replaceable(data / "beside", "test", inputs)


def test_folders_that_are_still_to_be_made_are_kept_apart_too(tmp_path, refused):
    (tmp_path / "alias").symlink_to(".")
    new = tmp_path / "new"
    for out, reason in (
        (new, "is or holds the input"),
        (tmp_path / "alias/other/../new", "is or holds the input"),
        (new / "inside", "lies in the input"),
    ):
        with refused(reason):
            folders.require_apart(out, [new])
    folders.require_apart(tmp_path / "newer", [new])


def test_a_command_overwrites_its_own_files_alone(tmp_path, refused):
    (tmp_path / "index.html").write_text("mine")
    with refused("index.html: exists, and milmer test did not write it", nothing_in=tmp_path):
        folders.claim(tmp_path, "test", ["figures/a.svg", "index.html"])
    (tmp_path / "index.html").rename(tmp_path / "thesis.html")
    for name in ("a", "b"):
        folders.claim(tmp_path, "test", [f"figures/{name}.svg", "index.html"])
        (tmp_path / "index.html").write_text("page")
    with refused("index.html: exists", nothing_in=tmp_path):
        folders.claim(tmp_path, "other", ["index.html"])
    assert texts(tmp_path) == {"thesis.html": "mine", "index.html": "page"}


# -------------------------------------------------------------------------- kills

KILLED = """
import os, sys
from pathlib import Path
from milmer import folders

out, left = Path(sys.argv[1]), int(sys.argv[2])

def dying(name):
    plain = getattr(os, name)

    def call(*arguments, **how):
        global left
        if left == 0:
            os._exit(9)
        left -= 1
        return plain(*arguments, **how)

    return call

for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "scandir", "chmod", "fsync"):
    setattr(os, name, dying(name))
with folders.replacing_folder(out, "test") as folder:
    for name in ("a.txt", "new.txt"):
        (folder / name).write_text("new")
"""


def test_killed_at_any_step_one_of_both_is_whole_and_the_next_run_goes_on(tmp_path):
    seen, status, step = set(), 9, 0
    while status == 9:
        work = tmp_path / str(step)
        work.mkdir()
        out = work / "run"
        write(out, "old")
        command = [sys.executable, "-c", KILLED, out, str(step)]
        status = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
        names = ("run", ".run.old")
        whole = [texts(work / name) for name in names if (work / name).is_dir()]
        assert OLD in whole or NEW in whole, (step, content(work))
        seen |= {(OLD in whole, NEW in whole, out.exists())}
        folders.require_replaceable(out, "test")  # the next start
        assert texts(out) in (OLD, NEW)
        write(out, "new")
        assert texts(out) == NEW
        assert os.listdir(work) == ["run"]
        step += 1
    assert status == 0
    assert {(True, False, True), (True, False, False), (False, True, True)} <= seen


@pytest.mark.parametrize("step", range(3))
def test_an_interrupt_between_the_two_renames_leaves_one_whole(tmp_path, monkeypatch, step):
    write(tmp_path / "run", "old")
    plain, calls = os.rename, []

    def interrupted(*paths):
        calls.append(paths)
        if len(calls) == step + 1:
            raise KeyboardInterrupt
        plain(*paths)

    monkeypatch.setattr(os, "rename", interrupted)
    if step < 2:
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "run")
        assert texts(tmp_path / "run") == OLD
    else:
        write(tmp_path / "run")
        assert texts(tmp_path / "run") == NEW
    assert os.listdir(tmp_path) == ["run"]


# -------------------------------------------------------------------------- modes


def test_files_have_the_mode_of_the_umask(tmp_path):
    from safetensors.numpy import save_file

    before = os.umask(0o027)
    try:
        with folders.replacing_folder(tmp_path / "run", "test") as folder:
            save_file({}, folder / "model.safetensors")
            (folder / "a.txt").touch(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o750
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert modes == dict.fromkeys(["model.safetensors", "a.txt", ".milmer-test.json"], 0o640)
    mark = json.loads((tmp_path / "run/.milmer-test.json").read_text())
    assert mark == {"command": "test", "files": sorted(modes)}
