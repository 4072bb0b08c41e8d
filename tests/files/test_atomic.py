"""Data on disk are whole, or made again."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from geqlib.files import atomic
from geqlib.files.atomic import cache_dir, cached_arrays, file_hash, replace_file

PARAMETERS = {"seed": 1, "sizes": {"train": 3}, "frames": (0, 1)}
ARRAYS = {"a": np.arange(6.0).reshape(2, 3).T, "b": np.array([1, 2])}
MODULE = Path(atomic.__file__)
# run by processes that need no more of geqlib, and so start at once
START = f"import runpy, sys, os; m = runpy.run_path({str(MODULE)!r}); import numpy as np\n"


class Builder:
    """Builds the arrays and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ARRAYS


def read(root, parameters=PARAMETERS, name="data"):
    """The arrays through the cache, and whether they were built for it."""
    build = Builder()
    arrays = cached_arrays(name, parameters, build, root)
    assert arrays.keys() == ARRAYS.keys()
    assert all(np.array_equal(arrays[key], ARRAYS[key]) for key in ARRAYS)
    return build.calls == 1


def files(root):
    return sorted(path for path in Path(root).rglob("*") if path.is_file())


def only(root, name):
    return next(path for path in files(root) if path.name == name)


@pytest.fixture
def remaining(tmp_path):
    assert read(tmp_path)
    return tmp_path


def test_arrays_are_built_once(remaining):
    assert [path.name for path in files(remaining)] == ["arrays.safetensors", "manifest.json"]
    assert not read(remaining)
    manifest = json.loads(only(remaining, "manifest.json").read_text())
    assert manifest["sha256"] == file_hash(only(remaining, "arrays.safetensors"))
    assert manifest["parameters"] == {"seed": 1, "sizes": {"train": 3}, "frames": [0, 1]}


def test_other_parameters_are_other_data(remaining):
    assert read(remaining, PARAMETERS | {"seed": 2})
    assert read(remaining, name="other")
    assert not read(remaining) and not read(remaining, PARAMETERS | {"seed": 2})
    assert not read(remaining, dict(reversed(PARAMETERS.items())))
    assert len(files(remaining)) == 6


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("arrays.safetensors", lambda raw: raw[:-8] + b"\x01" * 8),
        ("arrays.safetensors", lambda raw: raw[: len(raw) // 2]),
        ("arrays.safetensors", lambda raw: b""),
        ("manifest.json", lambda raw: b""),
        ("manifest.json", lambda raw: raw[:-9]),
        ("manifest.json", lambda raw: b"\xff\x00 no text"),
        ("manifest.json", lambda raw: b"[1]"),
        ("manifest.json", lambda raw: b'{"sha256": null, "parameters": {}}'),
        ("manifest.json", lambda raw: raw.replace(b'"seed": 1', b'"seed": 9')),
    ],
)
def test_damaged_files_are_made_again(remaining, name, damage):
    path = only(remaining, name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"cached data in .* is damaged: it is made again"):
        assert read(remaining)
    assert not read(remaining)


def test_a_hash_that_fits_a_file_of_another_kind(remaining):
    path, manifest = only(remaining, "arrays.safetensors"), only(remaining, "manifest.json")
    content = json.loads(manifest.read_text())
    path.write_bytes(b"no arrays")
    manifest.write_text(json.dumps(content | {"sha256": file_hash(path)}))
    with pytest.warns(UserWarning, match="is damaged"):
        assert read(remaining)


def test_arrays_without_manifest_are_not_taken_for_data(remaining):
    only(remaining, "manifest.json").unlink()
    assert read(remaining) and not read(remaining)


def test_manifest_without_arrays(remaining):
    only(remaining, "arrays.safetensors").unlink()
    with pytest.warns(UserWarning, match="is damaged"):
        assert read(remaining)


def test_killed_between_arrays_and_manifest(tmp_path):
    script = START + (
        "replace = m['replace_file']\n"
        "def killed(path, write):\n"
        "    if path.name == 'manifest.json': os.kill(os.getpid(), 9)\n"
        "    replace(path, write)\n"
        "m['_write'].__globals__['replace_file'] = killed\n"
        "build = lambda: {'a': np.full((3, 2), 7.0), 'b': np.array([0, 0])}\n"
        f"m['cached_arrays']('data', {PARAMETERS!r}, build, m['Path'](sys.argv[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in files(tmp_path)] == ["arrays.safetensors"]
    assert read(tmp_path) and not read(tmp_path)


def test_killed_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    script = START + (
        "def write(part):\n"
        "    part.write_text('half of the n'); os.kill(os.getpid(), 9)\n"
        "m['replace_file'](m['Path'](sys.argv[1]), write)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_two_processes_at_once(tmp_path):
    script = START + (
        "import time\n"
        "def build():\n"
        "    (m['Path'](sys.argv[1]) / f'here{os.getpid()}').touch()\n"
        "    end = time.time() + 30\n"
        "    while len(list(m['Path'](sys.argv[1]).glob('here*'))) < 2 and time.time() < end:\n"
        "        time.sleep(0.001)\n"
        "    return {'a': np.arange(6.0).reshape(2, 3).T, 'b': np.array([1, 2])}\n"
        f"m['cached_arrays']('data', {PARAMETERS!r}, build, m['Path'](sys.argv[1]))\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    running = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in running] == [0, 0]
    assert not read(tmp_path)
    names = [path.name for path in files(tmp_path / "data")]
    assert names == ["arrays.safetensors", "manifest.json"]


@pytest.mark.slow
def test_reading_while_others_write(tmp_path):
    script = START + (
        "import time\n"
        "end = time.time() + 1.0\n"
        "while time.time() < end:\n"
        "    for text in ('a' * 5000, 'b' * 9000):\n"
        "        m['replace_file'](m['Path'](sys.argv[1]), lambda part: part.write_text(text))\n"
    )
    path = tmp_path / "file"
    path.write_text("a" * 5000)
    running = [subprocess.Popen([sys.executable, "-c", script, str(path)]) for _ in range(2)]
    seen = set()
    while any(process.poll() is None for process in running):
        seen.add(path.read_text())
        time.sleep(0.0005)
    assert seen <= {"a" * 5000, "b" * 9000}
    assert files(tmp_path) == [path]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "file"
    replace_file(path, lambda part: part.write_text("old"))

    def write(part):
        part.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"file could not be written .*No space left.*: check"):
        replace_file(path, write)
    with pytest.raises(ZeroDivisionError):
        replace_file(path, lambda part: 1 / 0)
    assert path.read_text() == "old" and files(tmp_path) == [path]


def test_full_disk(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="file could not be written"):
            replace_file(path, lambda part: part.write_bytes(bytes(10_000)))
        with pytest.warns(UserWarning, match=r"arrays\.safetensors|No space|too large"):
            cached_arrays("large", PARAMETERS, lambda: {"a": np.zeros(10_000)}, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text() == "old" and files(tmp_path) == [path]
    assert read(tmp_path)


@pytest.mark.parametrize("place", ["data", "root"])
def test_a_cache_that_cannot_be_written(tmp_path, place):
    """The data are made once and kept in memory, and one sentence names the variable."""
    root = tmp_path / "root" if place == "root" else tmp_path
    (tmp_path / place).write_text("")
    with pytest.warns(UserWarning, match=r"kept in memory until .* GEQLIB_CACHE to a folder"):
        assert read(root)
    assert not read(root)  # and nothing is said again
    with pytest.warns(UserWarning, match="GEQLIB_CACHE"):
        assert read(root, {"seed": 2})


def test_what_is_kept_in_memory_is_not_changed_by_its_users(tmp_path):
    """A reader that takes a part out leaves it for the next one."""
    (tmp_path / "data").write_text("")
    with pytest.warns(UserWarning, match="GEQLIB_CACHE"):
        cached_arrays("data", PARAMETERS, lambda: dict(ARRAYS), tmp_path).pop("a")
    assert not read(tmp_path)


def test_data_of_a_cache_that_can_only_be_read_are_read(remaining, monkeypatch):
    """Another user's cache: what it has is taken, and nothing is said."""

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(atomic, "replace_file", refuse)
    assert not read(remaining)
    with pytest.warns(UserWarning, match="Read-only file system.*GEQLIB_CACHE"):
        assert read(remaining, {"seed": 3})


def test_a_user_without_a_home(monkeypatch):
    """As in containers: a temporary folder stands in for the cache."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GEQLIB_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_dir().is_dir() and cache_dir() == cache_dir()


def test_parameters_of_numpy_are_those_of_python(tmp_path):
    inputs = {"seed": np.int64(1), "size": np.float32(0.5), "path": Path("a"), "axis": np.arange(2)}
    assert read(tmp_path, inputs)
    assert not read(tmp_path, {"seed": 1, "size": 0.5, "path": "a", "axis": [0, 1]})


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_files_get_the_usual_permissions(tmp_path, umask):
    before = os.umask(umask)
    try:
        assert read(tmp_path)
    finally:
        os.umask(before)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in files(tmp_path)}
    assert modes == {0o666 & ~umask}


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GEQLIB_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"
    monkeypatch.delenv("GEQLIB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "geqlib"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "geqlib"
