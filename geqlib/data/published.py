"""Published files, fetched from where their authors keep them and held to their hashes."""

from __future__ import annotations

import hashlib
import io
import json
import lzma
import os
import zipfile
from dataclasses import dataclass
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from rich.console import Console
from rich.progress import track

from geqlib.files.user_cache import cache_dir, replace_file

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


def fetch_file(path: str | Path) -> Path | None:
    """A published file in the user's cache folder, downloaded the first time.

    What arrives over TLS is held to the SHA-256 in published.json before it is kept. With the
    environment variable GEQLIB_OFFLINE set, nothing is downloaded.

    Args:
        path: relative to `GEQLIB_DATA`, such as "TUDataset/MUTAG/raw/MUTAG_A.txt".

    Returns:
        The file, or None if geqlib knows no source of it, or may not ask.

    Raises:
        ValueError: if it could not be downloaded, or is not the published file.
    """
    name = Path(path).as_posix()
    place, source = _folder() / name, known_files().get(name)
    if source is None:
        return None
    if not place.is_file():
        if os.environ.get("GEQLIB_OFFLINE"):
            return None
        Console(stderr=True).print(f"Downloading {name}", highlight=False)
        _fetch(name, source, {})
    return place


def fetch_folder(path: str | Path) -> Path | None:
    """All published files below a folder, likewise."""
    prefix = f"{Path(path).as_posix()}/"
    names = [name for name in known_files() if name.startswith(prefix)]
    missing = [name for name in names if not (_folder() / name).is_file()]
    if not names or (missing and os.environ.get("GEQLIB_OFFLINE")):
        return None
    archives: dict[str, bytes] = {}
    if missing:
        console = Console(stderr=True)
        for name in track(missing, f"Downloading {path}", console=console):
            _fetch(name, known_files()[name], archives)
    return _folder() / path


@cache
def known_files() -> dict[str, Published]:
    """Path below `GEQLIB_DATA` -> source."""
    found = {}
    for group in json.loads(TABLE.read_text()):
        base = f"{HOST}/{group['repository']}/{group['commit']}"
        for name, (place, sha256) in group["files"].items():
            whole, _, member = place.partition("!")
            found[name] = Published(f"{base}/{quote(whole)}", member or None, sha256)
    return found


def _folder() -> Path:
    return cache_dir() / "raw"


def _fetch(name: str, source: Published, archives: dict[str, bytes]) -> None:
    """Download and keep a file; `archives`, by url, are not asked for again."""
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
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise ValueError(
            f"What {source.url} sent for {name} is not the published file (SHA-256 {found}, not "
            f"{source.sha256}), and was not kept: try again, or put it below the folder that "
            "GEQLIB_DATA names."
        )
    if name.endswith(".xz") and not source.url.endswith(".xz"):
        content = lzma.compress(content)
    replace_file(_folder() / name, lambda part: part.write_bytes(content))


def _download(url: str) -> bytes:
    with urlopen(url, timeout=SECONDS) as answer:  # verifies certificates
        return answer.read()
