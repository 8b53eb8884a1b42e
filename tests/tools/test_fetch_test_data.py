"""Recordings are downloaded from where they are published, checked by their digest."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tools import fetch_test_data
from tools.fetch_test_data import FILES, FetchError, Source, fetch, find_recordings

CONTENT = {"a/one.edf": b"one" * 1000, "two.264": b"two"}


class Handler(SimpleHTTPRequestHandler):
    requests: list

    def do_GET(self):
        self.requests.append(self.path)
        if self.path == "/short":  # the connection ends before the content does
            self.send_response(200)
            self.send_header("Content-Length", "9")
            self.end_headers()
            self.wfile.write(b"two")
        else:
            super().do_GET()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def requests():
    return []


@pytest.fixture
def files(tmp_path, requests):
    """What a server that runs on this machine publishes."""
    for name, content in CONTENT.items():
        path = tmp_path / "published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    handler = type("Published", (Handler,), {"requests": requests})
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(handler, directory=tmp_path / "published")
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {
            name: Source(
                f"http://127.0.0.1:{server.server_port}/{name}", hashlib.sha256(content).hexdigest()
            )
            for name, content in CONTENT.items()
        }
        server.shutdown()
        thread.join()


def files_in(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_files_are_downloaded_once(tmp_path, files, requests, capsys):
    out = tmp_path / "out"
    fetch(out, files)
    assert files_in(out) == CONTENT
    fetch(out, files)
    assert requests == ["/a/one.edf", "/two.264"]
    assert capsys.readouterr().out.splitlines() == [
        f"{out}/a/one.edf: downloaded",
        f"{out}/two.264: downloaded",
        f"{out}/a/one.edf: is there",
        f"{out}/two.264: is there",
    ]


def test_a_file_with_other_content_is_downloaded_anew(tmp_path, files):
    (tmp_path / "two.264").write_bytes(b"half")
    fetch(tmp_path, {"two.264": files["two.264"]})
    assert (tmp_path / "two.264").read_bytes() == b"two"


@pytest.mark.parametrize(
    ("end", "digest", "problem"),
    [
        (
            "two.264",
            "0" * 64,
            "SHA-256 is 3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0db",
        ),
        ("none", "0" * 64, "cannot be downloaded (HTTP Error 404: File not found)"),
        (
            "short",
            "0" * 64,
            "cannot be downloaded (<urlopen error retrieval incomplete: got only 3",
        ),
    ],
)
def test_nothing_is_left_of_a_file_that_is_not_the_right_one(tmp_path, files, end, digest, problem):
    url = files["two.264"].url.replace("two.264", end)
    out = tmp_path / "out"
    with pytest.raises(FetchError) as caught:
        fetch(out, {"a/one.edf": files["a/one.edf"], "bad.264": Source(url, digest)})
    text = str(caught.value)
    assert text.startswith(f"{url}: {problem}")
    assert "\n" not in text
    assert files_in(out) == {"a/one.edf": CONTENT["a/one.edf"]}


def test_the_command_ends_with_one_line(tmp_path, files, monkeypatch):
    gone = files["two.264"]._replace(url="file:///nowhere/two.264")
    monkeypatch.setattr(fetch_test_data, "FILES", {"two.264": gone})
    monkeypatch.setattr("sys.argv", ["fetch_test_data.py", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as caught:
        fetch_test_data.main()
    assert caught.value.code.startswith("error: file:///nowhere/two.264: cannot be downloaded")
    assert caught.value.code.endswith("; nothing of it was kept")


def test_recordings_are_looked_for_in_three_places(tmp_path, monkeypatch):
    first, second, third = (
        tmp_path / "repository/tests/data/recordings",
        tmp_path / "mine",
        tmp_path / "shared/data",
    )
    monkeypatch.setattr(fetch_test_data, "FOLDER", first)
    monkeypatch.setattr(fetch_test_data, "REPOSITORY", tmp_path / "repository")
    monkeypatch.delenv("MILMER_TEST_DATA", raising=False)
    assert find_recordings() is None
    for folder in (third, second, first):
        for name in FILES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
        if folder == second:
            assert find_recordings() == third
            monkeypatch.setenv("MILMER_TEST_DATA", str(second))
        assert find_recordings() == folder
    (first / "eegmmidb/S001R10.edf").unlink()  # a download that was interrupted
    assert find_recordings() == second
