"""A job reads the files that its run was planned with; digests are taken once."""

import json
import os

import pytest

from milmer import planned, storage
from milmer.errors import MilmerError
from milmer.plan import contents


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working directory with two raw files; ``planned`` and ``contents`` remember nothing yet."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.dat").write_text("first")
    (tmp_path / "b.dat").write_text("second")
    monkeypatch.setattr(planned, "_read", {})
    forget()
    yield tmp_path
    forget()


def forget():
    for function in (planned._planned_digests, contents._content, contents._memory):
        function.cache_clear()


def within_a_run(work, monkeypatch):
    (work / ".snakemake").mkdir(exist_ok=True)
    (work / ".snakemake/milmer.json").write_text("{}")
    monkeypatch.setenv(planned.NOTE, str(work / ".snakemake/milmer.json"))
    forget()


def counted(monkeypatch):
    """Names of the files whose bytes are read from now on."""
    seen, real = [], planned.sha256

    def sha256(path):
        seen.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(planned, "sha256", sha256)
    return seen


def test_content_is_told_by_digests_in_order_without_names(work):
    both = contents.content(["a.dat", "b.dat"])
    first, second = (storage.digest(work / name)[:16] for name in ("a.dat", "b.dat"))
    assert both == f"{first} {second}"
    assert contents.content(["b.dat", "a.dat"]) == f"{second} {first}"
    (work / "moved").mkdir()
    (work / "a.dat").rename(work / "moved/c.dat")
    assert contents.content([str(work / "moved/c.dat"), "b.dat"]) == both
    assert contents.content([]) == ""


def test_a_digest_is_taken_once_while_size_and_time_stay(work, monkeypatch):
    seen = counted(monkeypatch)
    before = contents.content(["a.dat", "b.dat"])
    assert (work / ".snakemake/milmer-digests.json").is_file()
    forget()  # another process
    assert contents.content(["a.dat", "b.dat"]) == before
    assert seen == ["a.dat", "b.dat"]
    os.utime("b.dat", (5, 5))
    forget()
    assert contents.content(["a.dat", "b.dat"]) == before  # touched, and read once more
    (work / "a.dat").write_text("third")
    forget()
    assert contents.content(["a.dat", "b.dat"]).split()[0] != before.split()[0]
    assert seen == ["a.dat", "b.dat", "b.dat", "a.dat"]


@pytest.mark.parametrize("memory", ["{", "[]", "null"])
def test_a_damaged_memory_is_no_memory(work, memory):
    before = contents.content(["a.dat"])
    (work / ".snakemake/milmer-digests.json").write_text(memory)
    forget()
    assert contents.content(["a.dat"]) == before


def test_a_file_that_cannot_be_read_is_left_to_the_job(work):
    assert contents.content(["gone.dat", "b.dat"]).split()[0] == "unreadable"


def test_a_job_hashes_nothing_again_and_reads_no_other_content(work, monkeypatch):
    contents.content(["a.dat", "b.dat"])
    within_a_run(work, monkeypatch)
    expected = json.loads((work / ".snakemake/milmer-digests.json").read_text())
    seen = counted(monkeypatch)
    assert storage.digest(work / "a.dat") == expected[str(work / "a.dat")][2]
    assert seen == []
    os.utime("b.dat", (5, 5))
    assert storage.digest(work / "b.dat") == expected[str(work / "b.dat")][2]
    assert seen == ["b.dat"]  # of another time, the content counts
    (work / "b.dat").write_text("edited")
    with pytest.raises(MilmerError) as caught:
        storage.digest(work / "b.dat")
    line = "b.dat: changed after this run began; start the run again"
    assert str(caught.value) == f"{work}/{line}"


def test_a_file_that_changes_while_a_job_reads_it_leaves_no_result(work, monkeypatch):
    contents.content(["a.dat", "b.dat"])
    within_a_run(work, monkeypatch)
    storage.digest(work / "a.dat")
    (work / "b.dat").write_text("not read")
    storage.write_json(work / "one.json", 1)
    os.utime("a.dat", (5, 5))
    with pytest.raises(MilmerError, match=r"a\.dat: changed while it was read; start the run"):
        storage.write_json(work / "two.json", 2)
    assert (work / "one.json").is_file()
    assert not (work / "two.json").exists()


def test_outside_of_a_run_what_is_there_is_read(work, monkeypatch):
    monkeypatch.delenv(planned.NOTE, raising=False)
    contents.content(["a.dat"])
    before = storage.digest(work / "a.dat")
    (work / "a.dat").write_text("edited")
    assert storage.digest(work / "a.dat") != before
    storage.write_json(work / "one.json", 1)
