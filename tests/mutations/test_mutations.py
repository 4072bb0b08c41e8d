"""A thousand spoilt files: a clear error or a correct result each; nothing is run, nothing lost."""

from __future__ import annotations

import warnings
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from tests.mutations.mutators import BINARY
from tests.mutations.reader import Payload, Reader
from tests.mutations.readers import READERS

OPTIONAL = "MoleculeNet"
ANEW = ("cache", "user", "new", "old")


def test_they_are_a_thousand() -> None:
    assert sum(reader.count for name, reader in READERS.items() if name != OPTIONAL) >= 1000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEQLIB_DATA", ".")
    monkeypatch.setenv("GEQLIB_CACHE", "user")


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_spoilt_files(name: str) -> None:
    reader = READERS[name]
    if name == OPTIONAL:
        pytest.importorskip("rdkit", reason="molecules are read by rdkit, which is optional")
    reader.write()
    sound = reader.read()
    files = sorted(path for path in Path().glob(reader.files) if path.is_file())
    wrong = [problem for k in range(reader.count) if (problem := spoil(name, k, files, sound))]
    assert not wrong, f"{len(wrong)} of {reader.count}: " + "\n".join(wrong[:5])


def contents() -> dict[Path, bytes]:
    """All files but those of caches, which are made again, and what a good file makes anew."""
    files = (path for path in Path().rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files if path.parts[0] not in ANEW}


def spoil(name: str, k: int, files: list[Path], sound: object) -> str:
    """Spoil a file, read, and mend it; what went wrong."""
    reader, rng = READERS[name], np.random.default_rng([crc32(name.encode()), k])
    path = files[rng.integers(len(files))]
    way = reader.ways[rng.integers(len(reader.ways))]
    raw = path.read_bytes()
    spoilt = way(raw, rng)
    path.write_bytes(spoilt)
    before = contents()
    problem = read(reader, path, sound)
    after = contents()
    if lost := [str(file) for file in before if after.get(file) != before[file]]:
        problem = f"{', '.join(lost)} was changed or lost"
    if Path("canary").exists():
        Path("canary").unlink()
        problem = "code was run"
    path.write_bytes(raw)
    return problem and f"{path} number {k}, {way.__name__}: {problem}"


def read(reader: Reader, path: Path, sound: object) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            actual = reader.read()
    except Exception as error:
        said = str(error)
        # subclasses, such as UnicodeDecodeError, are a parser's own words
        clear = type(error) is ValueError and len(said) > 20
        names = [path.name] if reader.says is None else [path.name, reader.says]
        clear = clear and any(name in said for name in names)
        return "" if clear else f"{type(error).__name__}: {said}"
    try:
        reader.check(actual, sound)
    except AssertionError as error:
        return f"it was read, and wrongly: {error}"
    return ""


def test_the_test_finds_faults() -> None:
    """Files that are read as they are, and a reader that fails in its parser's words."""
    Path("numbers").write_bytes(b"1 2 3\n")
    reader = Reader(
        lambda: None,
        lambda: [int(word) for word in Path("numbers").read_text().split()],
        "numbers",
        BINARY,
        1,
        lambda actual, sound: None if actual == sound else pytest.fail(),
    )
    assert not read(reader, Path("numbers"), [1, 2, 3])
    Path("numbers").write_bytes(b"1 2 4\n")
    with pytest.raises(pytest.fail.Exception):
        read(reader, Path("numbers"), [1, 2, 3])
    for text, said in ((b"a\n", "ValueError: invalid literal"), (b"\xff", "UnicodeDecodeError")):
        Path("numbers").write_bytes(text)
        assert read(reader, Path("numbers"), []).startswith(said)


def test_the_payload_is_live() -> None:
    import pickle

    pickle.loads(pickle.dumps(Payload()))  # noqa: S301
    assert Path("canary").exists()
