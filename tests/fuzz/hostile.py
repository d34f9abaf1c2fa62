"""Changes that make an input hostile: of a JSON document, of bytes, of a file's place. Hypothesis draws them."""

from __future__ import annotations

import copy
import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**31, 2**63, -(2**63), 10**9, 10**30, 0.5, -0.5, 1e-300, 1e308)
TEXTS = (
    "", " ", "\0", "../../escape", "/etc/passwd", "a" * 5000, "\x1b[2J", "<script>", "\ud800", "{{ 1 / 0 }}", "한국어",
    "__class__", "nan", "float32", "llama", "gelu", "model.layers.0", "-1", "None", "\u202e", "[/red]",
)  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.integers(),
    st.floats(),
    st.sampled_from(TEXTS),
    st.text(max_size=20),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
)
WHOLE = (
    b"", b"\0", b"null", b"[]", b"{}", b"0", b'""', b"[" * 100_000, b'{"a":' * 3_000, b"9" * 6_000, b'{"a": 1, "a": 2}',
    b"\xef\xbb\xbf{}", "{}".encode("utf-16"), b"\xff\xfe\xfa", b"a: &a [*a]", b"!!python/object/apply:os.system [ls]",
    b"a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c]\ne: [*d,*d,*d,*d]\n",
    b"NaN", b'{"a": Infinity}', b"\n" * 1000, b"\x1f\x8b\x08\x00", b"PK\x03\x04", b"PAR1",
)  # fmt: skip


def places(document: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a document, as keys and indices from the root."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    out = []
    for key, value in inner:
        out += [(*prefix, key), *places(value, (*prefix, key))]
    return out


def change_document(draw: Draw, document: Any) -> tuple[Any, str]:
    """A copy of a JSON document with one to three changes, and what they are."""
    out, notes = copy.deepcopy(document), []
    for _ in range(draw(st.integers(1, 3))):
        known = places(out)
        if not known:
            return draw(values), "another document"
        place = known[draw(st.integers(0, len(known) - 1))]
        holder = out
        for key in place[:-1]:
            holder = holder[key]
        notes.append(f"{'.'.join(map(str, place))}: {_change_entry(draw, holder, place[-1], known, out)}")
    return out, "; ".join(notes)


def _change_entry(draw: Draw, holder: Any, key: Any, known: list[tuple[Any, ...]], document: Any) -> str:
    kind, old = draw(st.sampled_from(("value", "near", "type", "gone", "name", "swap"))), holder[key]
    if kind == "gone":
        del holder[key]
        return "gone"
    if kind == "name" and isinstance(holder, dict):
        name = draw(st.one_of(st.sampled_from(TEXTS), st.text(max_size=8)))
        holder[name] = holder.pop(key)
        return f"renamed {name!r}"
    if kind == "swap":
        other = document
        for step in known[draw(st.integers(0, len(known) - 1))]:
            other = other[step]
        holder[key] = copy.deepcopy(other)
    elif kind == "near" and isinstance(old, int | float):
        holder[key] = draw(st.sampled_from((-old, old + 1, old - 1, old * 2, old * 1000, float(old), old / 3)))
    elif kind == "near" and isinstance(old, str):
        holder[key] = draw(st.sampled_from((old + "x", old[:-1], old.upper(), f" {old}", old * 50)))
    elif kind == "type":
        holder[key] = draw(st.sampled_from((str(old), [old], {"a": old}, bool(old), None)))
    else:
        holder[key] = draw(values)
    return f"{str(holder[key])[:60]!r}"


def change_bytes(draw: Draw, data: bytes) -> tuple[bytes, str]:
    """Bytes with one change, and what it is."""
    kind = draw(st.sampled_from(("whole", "cut", "flip", "insert", "remove", "repeat")))
    if kind == "whole" or not data:
        data = draw(st.sampled_from(WHOLE))
        return data, f"is {data[:20]!r}"
    at = draw(st.integers(0, len(data) - 1))
    length = draw(st.sampled_from((1, 2, 8, 40, 400)))
    if kind == "cut":
        return data[:at], f"cut at {at}"
    if kind == "flip":
        piece = draw(st.binary(min_size=1, max_size=8))
        return data[:at] + piece + data[at + len(piece) :], f"{piece!r} at {at}"
    if kind == "insert":
        piece = draw(st.one_of(st.binary(min_size=1, max_size=40), st.sampled_from(WHOLE[:12])))
        return data[:at] + piece + data[at:], f"{piece[:20]!r} inserted at {at}"
    if kind == "remove":
        return data[:at] + data[at + length :], f"{length} bytes gone at {at}"
    return data[: at + length] + data[at:], f"{length} bytes twice at {at}"


def dump(document: Any) -> bytes:
    """JSON, also of what is not: NaN, lone surrogates."""
    return json.dumps(document, ensure_ascii=True, default=str).encode("utf-8", errors="surrogatepass")


def change_json_file(draw: Draw, path: Path) -> str:
    """Change a JSON or JSON Lines file as a document or as bytes; what was done."""
    data = path.read_bytes()
    if draw(st.integers(0, 3)) == 0:
        data, note = change_bytes(draw, data)
    elif path.suffix == ".jsonl":
        lines = data.splitlines()
        at = draw(st.integers(0, len(lines) - 1))
        document, note = change_document(draw, json.loads(lines[at]))
        lines[at] = dump(document)
        data = b"\n".join(lines) + b"\n"
    else:
        document, note = change_document(draw, json.loads(data))
        data = dump(document)
    path.write_bytes(data)
    return f"{path.name}: {note}"


def change_safetensors(draw: Draw, path: Path) -> str:
    """Change the header, its length or the data of a safetensors file; what was done."""
    data = path.read_bytes()
    size = int(struct.unpack("<Q", data[:8])[0])
    header, tail = data[8 : 8 + size], data[8 + size :]
    kind = draw(st.sampled_from(("header", "header", "header", "length", "bytes", "numbers")))
    if kind == "header":
        document, note = change_document(draw, json.loads(header))
        header = dump(document)
        data = struct.pack("<Q", len(header)) + header + tail
    elif kind == "length":
        length = draw(st.sampled_from((0, 1, size - 1, size + 1, size + 8, 2**32, 2**63, 2**64 - 1)))
        data, note = struct.pack("<Q", length) + data[8:], f"header length {length}"
    elif kind == "numbers":
        at = draw(st.integers(0, max(len(tail) - 2, 0)))
        piece = draw(
            st.sampled_from((b"\x80\x7f", b"\xc0\x7f", b"\x80\xff", b"\x7f\x7f"))
        )  # of bf16: inf, nan, -inf, max
        tail = tail[:at] + piece + tail[at + 2 :]
        data, note = data[: 8 + size] + tail, f"{piece!r} in the tensors at {at}"
    else:
        data, note = change_bytes(draw, data)
    path.write_bytes(data)
    return f"{path.name}: {note}"


def change_place(draw: Draw, folder: Path, names: list[str]) -> str:
    """Put something else where a file of the folder is, or beside it; what was done."""
    path = folder / draw(st.sampled_from(names))
    kind = draw(st.sampled_from(tuple(PLACES)))
    PLACES[kind](path)
    return f"{path.name}: {kind}"


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _outside(path: Path) -> None:
    target = path.parent.parent / f"outside-{path.name}"
    path.rename(target)
    path.symlink_to(target)


PLACES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "a folder": _folder,
    "a pipe": _pipe,
    "a link to nothing": lambda path: _link(path, "nothing"),
    "a link to itself": lambda path: _link(path, path.name),
    "a link to /dev/zero": lambda path: _link(path, "/dev/zero"),
    "a link out of the folder": _outside,
    "empty": lambda path: path.write_bytes(b""),
    "twice": lambda path: path.with_name(f"copy-{path.name}").write_bytes(path.read_bytes()),
    "beside a name of no encoding": lambda path: Path(os.fsdecode(bytes(path) + b"\xff")).write_bytes(b"x"),
    "beside a name with lines": lambda path: path.with_name("a\nb\x1b[2J").write_bytes(b"x"),
}
