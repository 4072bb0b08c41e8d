"""Downloads of published files, from a server on this machine."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import lzma
import os
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from geqlib.data import GraphData, download
from geqlib.data.download import find_file, find_files, find_folder
from tests.data.graphs import raw_graphs

MIRROR = os.environ.get("GEQLIB_DATA")
TEXT = b"one\ntwo\n"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        self.server.asked.append(self.path)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    """Serves the folder www/someone/data/COMMIT; `asked` lists the paths of its requests."""
    folder = tmp_path / "www"
    folder.mkdir()
    serving = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    serving.asked = []  # pyright: ignore[reportAttributeAccessIssue]
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    monkeypatch.setattr(download, "HOST", f"http://127.0.0.1:{serving.server_port}")
    monkeypatch.setattr(download, "TABLE", tmp_path / "table.json")
    monkeypatch.delenv("GEQLIB_OFFLINE", raising=False)
    monkeypatch.delenv("GEQLIB_DATA", raising=False)
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    download.temporary_cache.cache_clear()
    download.published_files.cache_clear()
    yield serving
    serving.shutdown()
    serving.server_close()
    download.temporary_cache.cache_clear()
    download.published_files.cache_clear()


def publish(folder: Path, files: dict[str, tuple[str, bytes]]) -> None:
    """Put the content of each "path below GEQLIB_DATA": ("place", content) on the server."""
    base, table, archives = folder / "www" / "someone" / "data" / "c0ffee", {}, {}
    for name, (place, content) in files.items():
        table[name] = [place, hashlib.sha256(content).hexdigest()]
        whole, _, member = place.partition("!")
        path = base / whole
        path.parent.mkdir(parents=True, exist_ok=True)
        if member:
            archives.setdefault(path, {})[member] = content
        else:
            path.write_bytes(content)
    for path, members in archives.items():
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    group = {"repository": "someone/data", "commit": "c0ffee", "files": table}
    (folder / "table.json").write_text(json.dumps([group]))


def test_files_arrive_once(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    publish(
        tmp_path,
        {
            "set/plain.txt": ("a folder/plain.txt", TEXT),
            "set/packed.xyz.xz": ("packed.xyz", TEXT),
            "meshes/raw/a.off": ("raw.zip!raw/a.off", b"a"),
            "meshes/raw/b.off": ("raw.zip!raw/b.off", b"b"),
        },
    )
    for _ in range(2):
        plain, packed, meshes = (
            find_file("set/plain.txt"),
            find_file("set/packed.xyz.xz"),
            find_folder("meshes"),
        )
        assert plain is not None and plain.read_bytes() == TEXT
        assert packed is not None and lzma.decompress(packed.read_bytes()) == TEXT
        assert meshes is not None
        assert [(meshes / "raw" / f"{k}.off").read_bytes() for k in "ab"] == [b"a", b"b"]
    asked = [path.rsplit("/", 1)[1] for path in server.asked]  # pyright: ignore[reportAttributeAccessIssue]
    assert asked == ["plain.txt", "packed.xyz", "raw.zip"]


def test_a_cache_that_cannot_be_written(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and folders go to a temporary folder, once, also if the cache has some of them."""
    publish(tmp_path, {f"set/{k}": (f"{k}", TEXT) for k in "abc"})
    assert find_file("set/a") == tmp_path / "cache" / "raw" / "set" / "a"
    keep, refused = download.replace_file, tmp_path / "cache"

    def replace_file(path: Path, write: Any) -> None:
        if path.is_relative_to(refused):
            raise OSError(errno.EROFS, "Read-only file system")
        keep(path, write)

    monkeypatch.setattr(download, "replace_file", replace_file)
    with pytest.warns(UserWarning, match="temporary folder .* GEQLIB_CACHE") as said:
        for _ in range(2):
            single, folder = find_file("set/b"), find_folder("set")
            assert single is not None and single.read_bytes() == TEXT
            assert folder is not None and [(folder / k).read_bytes() for k in "abc"] == [TEXT] * 3
    assert len(said) == 1
    asked = [path.rsplit("/", 1)[1] for path in server.asked]  # pyright: ignore[reportAttributeAccessIssue]
    assert asked == ["a", "b", "c"]


def test_files_of_a_mirror_come_first(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, {"set/plain.txt": ("plain.txt", TEXT)})
    (tmp_path / "mirror" / "set").mkdir(parents=True)
    mine = tmp_path / "mirror" / "set" / "plain.txt"
    mine.write_text("mine")
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path / "mirror"))
    assert find_file("set/plain.txt") == mine and find_folder("set") == mine.parent
    assert not server.asked  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("wrong", ["content", "gone", "archive", "member", "refused"])
def test_what_is_not_the_published_file_is_not_kept(
    server: ThreadingHTTPServer, tmp_path: Path, wrong: str
) -> None:
    publish(tmp_path, {"set/a": ("raw.zip!a", TEXT), "set/b": ("b", TEXT)})
    base = tmp_path / "www" / "someone" / "data" / "c0ffee"
    name = "set/a" if wrong in ("archive", "member") else "set/b"
    if wrong == "content":
        (base / "b").write_bytes(TEXT + b"three\n")
    if wrong == "gone":
        (base / "b").unlink()
    if wrong == "archive":
        (base / "raw.zip").write_bytes((base / "raw.zip").read_bytes()[:20])
    if wrong == "member":
        content = io.BytesIO()
        zipfile.ZipFile(content, "w").close()
        (base / "raw.zip").write_bytes(content.getvalue())
    if wrong == "refused":
        server.server_close()
    sentence = "is not the published file" if wrong == "content" else "could not be downloaded from"
    with pytest.raises(ValueError, match=sentence):
        find_file(name)
    assert not list((tmp_path / "cache").rglob("*"))


def test_offline(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, {"set/plain.txt": ("plain.txt", TEXT)})
    monkeypatch.setenv("GEQLIB_OFFLINE", "1")
    assert find_file("set/plain.txt") is None and find_folder("set") is None
    monkeypatch.delenv("GEQLIB_OFFLINE")
    assert find_file("set/other.txt") is None and find_folder("sets") is None
    assert find_file("set/plain.txt") is not None
    monkeypatch.setenv("GEQLIB_OFFLINE", "1")
    assert find_file("set/plain.txt") is not None and find_folder("set") is not None


def test_graph_classification_from_downloads(
    server: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw_graphs.write(tmp_path / "raw", "TINY", kinds=3)
    files = [path for path in (tmp_path / "raw").rglob("*") if path.is_file()]
    names = [path.relative_to(tmp_path / "raw").as_posix() for path in files]
    publish(
        tmp_path,
        {name: (name, path.read_bytes()) for name, path in zip(names, files, strict=True)},
    )
    GraphData("TINY").prepare_data()
    with monkeypatch.context() as others:  # all that other processes read is there, folds too
        others.setenv("GEQLIB_OFFLINE", "1")
        data = GraphData("TINY")
        data.setup()
    asked = server.asked  # pyright: ignore[reportAttributeAccessIssue]
    assert sorted(asked) == sorted(set(asked))
    monkeypatch.setenv("GEQLIB_DATA", str(tmp_path / "raw"))
    same = GraphData("TINY")
    same.setup()
    assert data.numbers["test"].tolist() == same.numbers["test"].tolist()
    assert data.splits["train"].edge_index.tolist() == same.splits["train"].edge_index.tolist()


def test_the_table_is_complete() -> None:
    groups = json.loads(download.TABLE.read_text())
    names = [name for group in groups for name in group["files"]]
    assert len(names) == len(set(names)) == len(download.published_files())
    for group in groups:
        assert len(bytes.fromhex(group["commit"])) == 20
    for name, source in download.published_files().items():
        assert len(bytes.fromhex(source.sha256)) == 32 and source.url.startswith("https://"), name
    for name in ("MUTAG", "NCI1", "PROTEINS", "PTC", "IMDBBINARY", "IMDBMULTI", "NCI109"):
        folds = [n for n in names if n.startswith(f"TU_10fold/{name}/10fold_idx/")]
        assert len(folds) == 20, name


@pytest.mark.skipif(MIRROR is None, reason="GEQLIB_DATA names no folder of published files")
def test_the_table_describes_the_published_files() -> None:
    compared = 0
    for name, source in download.published_files().items():
        path = Path(str(MIRROR)) / name
        if path.is_file():
            content = path.read_bytes()
            content = lzma.decompress(content) if name.endswith(".xz") else content
            assert hashlib.sha256(content).hexdigest() == source.sha256, name
            compared += 1
    assert compared > 200


def test_a_part_of_a_file_is_refused_with_what_to_do(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "metal.xyz").write_text("")
    with pytest.raises(ValueError, match=r"`ase convert -n :3 metal.xyz part.xyz`"):
        find_files("metal.xyz@:3")
    with pytest.raises(ValueError, match=r"^There is no file wood.xyz@:3, here"):
        find_files("wood.xyz@:3")
