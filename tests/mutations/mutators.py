"""Ways in which a file may be spoilt, from its bytes and a random generator."""

from __future__ import annotations

import json
import lzma
import re
from collections.abc import Callable
from typing import Any

from numpy.random import Generator

Mutator = Callable[[bytes, Generator], bytes]
WORDS = (
    *(b"", b"nan", b"inf", b"-1", b"1e400", b"0", b"x", b"null", b"[]", b"{}", b"1_0", b"0x1"),
    *(b"99999999999999999999", b"-0.5", b"\xff\xfe", "\u0661".encode(), b'"', b"\t", b"T F T"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2**70, 0.5, float("nan"), "", "text", [], [1, "a"], {}, {"a": {"b": 1}}),
    *("../../etc", {"class_path": "os.system", "init_args": {"command": "true"}}, [[]], "1e3"),
)


def flip(raw: bytes, rng: Generator) -> bytes:
    spoilt = bytearray(raw)
    for place in rng.integers(len(raw), size=rng.integers(1, 4)):
        spoilt[place] ^= 1 << rng.integers(8)
    return bytes(spoilt)


def truncate(raw: bytes, rng: Generator) -> bytes:
    return raw[: rng.integers(len(raw))]


def grow(raw: bytes, rng: Generator) -> bytes:
    place = rng.integers(len(raw))
    return raw[:place] + rng.bytes(rng.integers(1, 9)) + raw[place:]


def blank(raw: bytes, rng: Generator) -> bytes:
    place, length = rng.integers(len(raw)), rng.integers(1, 65)
    return raw[:place] + bytes(length) + raw[place + length :]


def swap_pieces(raw: bytes, rng: Generator) -> bytes:
    a, b, c = sorted(rng.integers(len(raw), size=3))
    return raw[:a] + raw[b:c] + raw[a:b] + raw[c:]


def double_line(raw: bytes, rng: Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    k = rng.integers(len(lines))
    return b"".join([*lines[:k], lines[k], *lines[k:]])


def drop_line(raw: bytes, rng: Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    lines.pop(rng.integers(len(lines)))
    return b"".join(lines)


def swap_lines(raw: bytes, rng: Generator) -> bytes:
    lines = raw.splitlines(keepends=True)
    i, j = rng.integers(len(lines), size=2)
    lines[i], lines[j] = lines[j], lines[i]
    return b"".join(lines)


def swap_columns(raw: bytes, rng: Generator) -> bytes:
    return _in_a_line(raw, rng, lambda words: _swapped(words, rng))


def drop_column(raw: bytes, rng: Generator) -> bytes:
    return _in_a_line(raw, rng, lambda words: words[: rng.integers(len(words))])


def change_word(raw: bytes, rng: Generator) -> bytes:
    """Another type, sign or size in place of one number or name."""
    actual = list(re.finditer(rb"[^\s,=\"{}\[\]:]+", raw))
    if not actual:
        return b"x"
    start, end = actual[rng.integers(len(actual))].span()
    return raw[:start] + WORDS[rng.integers(len(WORDS))] + raw[end:]


BINARY: tuple[Mutator, ...] = (flip, truncate, grow, blank, swap_pieces)
TEXT: tuple[Mutator, ...] = (
    *BINARY,
    *(double_line, drop_line, swap_lines, swap_columns, drop_column, change_word, change_word),
)


def inside_xz(*ways: Mutator) -> tuple[Mutator, ...]:
    """The same for what is packed."""

    def make(way: Mutator) -> Mutator:
        return lambda raw, rng: lzma.compress(way(lzma.decompress(raw), rng))

    return tuple(make(way) for way in ways)


def other_json(raw: bytes, rng: Generator) -> bytes:
    return json.dumps(changed_leaf(json.loads(raw), rng)).encode()


def changed_leaf(content: Any, rng: Generator) -> Any:
    """Nested dictionaries and lists with one of their values replaced, or a key lost."""
    content = json.loads(json.dumps(content))
    places = [(parent, key) for parent in _containers(content) for key in _keys(parent)]
    if not places:
        return VALUES[rng.integers(len(VALUES))]
    parent, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = VALUES[rng.integers(len(VALUES))]
    return content


def _containers(content: Any) -> list[Any]:
    if not isinstance(content, (dict, list)):
        return []
    parts = content.values() if isinstance(content, dict) else content
    return [content, *(actual for part in parts for actual in _containers(part))]


def _keys(parent: Any) -> list[Any]:
    return list(parent) if isinstance(parent, dict) else list(range(len(parent)))


def _in_a_line(raw: bytes, rng: Generator, change: Callable[[list[bytes]], list[bytes]]) -> bytes:
    lines = raw.splitlines(keepends=True)
    k = rng.integers(len(lines))
    words = lines[k].split()
    if words:
        lines[k] = b" ".join(change(words)) + b"\n"
    return b"".join(lines)


def _swapped(words: list[bytes], rng: Generator) -> list[bytes]:
    i, j = rng.integers(len(words), size=2)
    words[i], words[j] = words[j], words[i]
    return words
