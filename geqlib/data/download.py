"""Raw files: yours, those below the folder `GEQLIB_DATA`, or downloads checked by their SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from rich.console import Console
from rich.progress import track

from geqlib.files.atomic import cache_dir, replace_file, temporary_cache, warn_of_cache

HOST = "https://raw.githubusercontent.com"
TABLE = Path(__file__).with_name("published.json")
SECONDS = 30  # without an answer


@dataclass(frozen=True)
class Published:
    """Where a file comes from.

    Args:
        url: of the file, or of the archive that holds it.
        member: its name in the archive.
        sha256: of the file as published.
    """

    url: str
    member: str | None
    sha256: str


def find_file(path: str | Path) -> Path | None:
    """The file itself, else the one of that name below the folder `GEQLIB_DATA`, else downloaded.

    Args:
        path: absolute, or relative to the working folder or to `GEQLIB_DATA`.

    Returns:
        The file; None if it is nowhere, and is none that geqlib can download.

    Raises:
        ValueError: if it could not be downloaded, or is not the published file.
    """
    here = next((file for file in _candidates(path) if file.is_file()), None)
    return here or (None if Path(path).is_absolute() else fetch_file(path))


def find_folder(path: str | Path) -> Path | None:
    """Likewise a folder, with all of its files that geqlib can download."""
    here = next((folder for folder in _candidates(path) if folder.is_dir()), None)
    return here or (None if Path(path).is_absolute() else fetch_folder(path))


def find_files(paths: str | Path | Sequence[str | Path]) -> list[Path]:
    """Files, of one path or several.

    Raises:
        ValueError: if there is no such file, or one is named twice.
    """
    named = [paths] if isinstance(paths, str | Path) else list(paths)
    files = []
    for path in named:
        file = find_file(path)
        if file is None:
            raise ValueError(no_file(path))
        files.append(file)
    if len({file.resolve() for file in files}) < len(files):
        raise ValueError(f"One file is named twice in {', '.join(map(str, named))}.")
    return files


def no_file(path: str | Path) -> str:
    """The sentence about a file that is nowhere, a folder, or a part of one in ASE's notation."""
    whole, at, part = str(path).rpartition("@")
    if at and any(file.is_file() for file in _candidates(whole)):
        return (
            f"{path} names a part of {whole}, and files are read whole here: write the part first, "
            f"by `ase convert -n {part} {whole} part.xyz`."
        )
    folder = next((folder for folder in _candidates(path) if folder.is_dir()), None)
    if folder is None:
        return f"There is no file {path}, here or in the folder GEQLIB_DATA."
    files = sorted(file.name for file in folder.iterdir() if file.is_file())
    held = f", which holds {', '.join(files[:3])}{' and others' * (len(files) > 3)}" * bool(files)
    return f"{folder} is a folder{held}: name the files."


def needed_file(path: str, what: str = "the published file") -> Path:
    """`find_file`, and where there is none a ValueError that says where to put it."""
    file = find_file(path)
    if file is None and any(folder.is_dir() for folder in _candidates(path)):
        raise ValueError(no_file(path))
    if file is None:
        raise ValueError(
            f"There is no {path}: put {what} there, below the folder that GEQLIB_DATA names."
        )
    return file


def fetch_file(path: str | Path) -> Path | None:
    """A published file in the user's cache folder, downloaded the first time.

    Certificates are verified, and a file is kept only if it has the SHA-256 of published.json. With
    the environment variable GEQLIB_OFFLINE set, nothing is downloaded.

    Args:
        path: relative to `GEQLIB_DATA`, such as "TUDataset/MUTAG/raw/MUTAG_A.txt".

    Returns:
        The file, or None if published.json lists no source of it, or GEQLIB_OFFLINE is set.

    Raises:
        ValueError: if it could not be downloaded, or is not the published file.
    """
    name = Path(path).as_posix()
    source = published_files().get(name)
    if source is None:
        return None
    if file := _downloaded(name):
        return file
    if os.environ.get("GEQLIB_OFFLINE"):
        return None
    Console(stderr=True).print(f"Downloading {name}", highlight=False)
    return _fetch(name, source, {})


def fetch_folder(path: str | Path) -> Path | None:
    """Likewise all published files below a folder."""
    prefix = f"{Path(path).as_posix()}/"
    names = [name for name in published_files() if name.startswith(prefix)]
    files = {name: _downloaded(name) for name in names}
    missing = [name for name, file in files.items() if file is None]
    if not names or (missing and os.environ.get("GEQLIB_OFFLINE")):
        return None
    archives: dict[str, bytes] = {}
    if missing:
        console = Console(stderr=True)
        for name in track(missing, f"Downloading {path}", console=console):
            files[name] = _fetch(name, published_files()[name], archives)
    for root in _roots():
        if all((root / name).is_file() for name in names):
            return root / path
    for name, file in files.items():  # the cache has some of them, and takes no others
        if file is not None:
            _keep(name, file.read_bytes())
    return _roots()[-1] / path


@cache
def published_files() -> dict[str, Published]:
    """Path below `GEQLIB_DATA` -> source."""
    sources = {}
    for group in json.loads(TABLE.read_text()):
        base = f"{HOST}/{group['repository']}/{group['commit']}"
        for name, (path, sha256) in group["files"].items():
            whole, _, member = path.partition("!")
            sources[name] = Published(f"{base}/{quote(whole)}", member or None, sha256)
    return sources


def _candidates(path: str | Path) -> list[Path]:
    local, mirror = Path(path).expanduser(), os.environ.get("GEQLIB_DATA")
    return [local] if mirror is None else [local, Path(mirror) / local]


def _roots() -> list[Path]:
    """Folders that downloads are kept in: the cache, and what stands in for it if need be."""
    temporary = [temporary_cache()] if temporary_cache.cache_info().currsize else []
    return [folder / "raw" for folder in (cache_dir(), *temporary)]


def _downloaded(name: str) -> Path | None:
    return next((root / name for root in _roots() if (root / name).is_file()), None)


def _keep(name: str, content: bytes) -> Path:
    file = _roots()[-1] / name
    try:
        replace_file(file, lambda part: part.write_bytes(content))
    except OSError as error:
        file = temporary_cache() / "raw" / name
        warn_of_cache(error, "downloads are kept in a temporary folder")
        replace_file(file, lambda part: part.write_bytes(content))
    return file


def _fetch(name: str, source: Published, archives: dict[str, bytes]) -> Path:
    """Download and keep a file; `archives`, by url, are not downloaded again."""
    try:
        content = archives[source.url] if source.url in archives else _download(source.url)
        if source.member is not None:
            archives[source.url] = content
            content = zipfile.ZipFile(io.BytesIO(content)).read(source.member)
    except (OSError, HTTPException, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{name} could not be downloaded from {source.url} ({error}): try again, or put it "
            "below the folder that GEQLIB_DATA names."
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != source.sha256:
        raise ValueError(
            f"What {source.url} sent for {name} is not the published file (SHA-256 {digest}, not "
            f"{source.sha256}), and was not kept: try again, or put it below the folder that "
            "GEQLIB_DATA names."
        )
    if name.endswith(".xz") and not source.url.endswith(".xz"):
        content = lzma.compress(content)
    return _keep(name, content)


def _download(url: str) -> bytes:
    with urlopen(url, timeout=SECONDS) as answer:  # verifies certificates
        return answer.read()
