"""Made-up files with the fields of CLIcK, MuSR and GPQA, and a word in every text that no message may show."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

SECRET = "xyzzy"  # stands in every question, passage and choice
PASSWORD = "open-sesame"
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight")


def shared_data() -> Path | None:
    """The folder with the real benchmarks, where this machine has one."""
    for folder in (os.environ.get("DARWIN_MRI_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if folder and (Path(folder) / "click" / "click.jsonl").is_file():
            return Path(folder)
    return None


def click_rows() -> list[dict[str, Any]]:
    """Twelve items: a passage with three questions, five choices in CSAT items, an id that repeats."""
    rows = []
    for n in range(12):
        csat = n % 4 == 3
        choices = [f"{SECRET} 답 {n}-{c}" for c in "가나다라마"[: 5 if csat else 4]]
        rows.append(
            {
                "id": f"CSAT_korean_22_{n}" if csat else f"KIIP_society_{n // 2}",
                "paragraph": f"{SECRET} 긴 글입니다. 봄에는 꽃이 핍니다." if n in (1, 2, 3) else "",
                "question": f"{SECRET} {n}번 물음은 무엇입니까?",
                "choices": choices,
                "answer": choices[n % len(choices)],
                "category": "Language" if csat else "Culture",
                "subcategory": "Textual" if csat else "Korean Society",
            }
        )
    return rows


def musr_rows(task: str) -> list[dict[str, Any]]:
    """Eight items; murder mysteries in pairs about the same two suspects, placements with four questions to a story."""
    rows = []
    for n in range(8):
        if task == "murder_mysteries":
            choices = [f"{SECRET} {name} {NUMBERS[n // 2]}" for name in ("Ann", "Bartholomew")]
        else:
            choices = [
                f"{SECRET} {place} {NUMBERS[n]}" for place in ("box", "old kitchen drawer", "shelf", "hat")[: 3 + n % 2]
            ]
        story = n // 4 if task == "object_placements" else n
        rows.append(
            {
                "narrative": f"{SECRET} {task} story {story}. Somebody hid a thing. Somebody left.",
                "question": f"{SECRET} question {n}?",
                "choices": str(choices),
                "answer_index": n % 2,
                "answer_choice": choices[n % 2],
            }
        )
    return rows


def gpqa_rows() -> list[dict[str, str]]:
    """Ten items with one right and three wrong answers."""
    return [
        {
            "Record ID": f"rec{n:03d}",
            "Question": f"{SECRET} question {n}, with a comma and a\nline break?",
            "Correct Answer": f"{SECRET} right {n}\n",
            **{f"Incorrect Answer {k}": f"{SECRET} wrong {n} [title]{k}  x" for k in (1, 2, 3)},
            "High-level domain": ("Physics", "Chemistry")[n % 2],
        }
        for n in range(10)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_gpqa(path: Path, rows: list[dict[str, str]], password: str = PASSWORD) -> None:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, list(rows[0]) if rows else ["Question"])
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {f"dataset/gpqa_{subset}.csv": stream.getvalue().encode() for subset in ("diamond", "main", "extended")}
    write_encrypted_zip(path, members, password.encode())


def write_data(folder: Path) -> Path:
    """All three benchmarks in the layout of ``--data``."""
    write_jsonl(folder / "click" / "click.jsonl", click_rows())
    for task in ("murder_mysteries", "object_placements", "team_allocation"):
        write_jsonl(folder / "musr" / f"{task}.jsonl", musr_rows(task))
    write_gpqa(folder / "gpqa" / "dataset.zip", gpqa_rows())
    return folder


def write_encrypted_zip(path: Path, members: dict[str, bytes], password: bytes) -> None:
    """A zip in the legacy encryption (PKWARE's, APPNOTE 6.1) that Python's zipfile reads and does not write.

    Stored members are written plain, then their bytes are replaced by encrypted ones of twelve bytes more.
    """
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            archive.writestr(info, data)
    out, offsets, central = io.BytesIO(), {}, io.BytesIO()
    source = plain.getvalue()
    with zipfile.ZipFile(plain) as archive:
        for info in archive.infolist():
            data = members[info.filename]
            header = bytes(11) + bytes([zlib.crc32(data) >> 24])
            body = encrypt(header + data, password)
            local = bytearray(source[info.header_offset : info.header_offset + 30 + len(info.filename)])
            local[6] |= 1  # flag bit 0: encrypted
            local[18:22] = len(body).to_bytes(4, "little")
            offsets[info.filename] = out.tell()
            out.write(bytes(local) + body)
        start = out.tell()
        position = source.index(b"PK\x01\x02")
        for info in archive.infolist():
            size = 46 + len(info.filename)
            entry = bytearray(source[position : position + size])
            entry[8] |= 1
            entry[20:24] = (len(members[info.filename]) + 12).to_bytes(4, "little")
            entry[42:46] = offsets[info.filename].to_bytes(4, "little")
            central.write(bytes(entry))
            position += size
        end = bytearray(source[source.index(b"PK\x05\x06") :])
        end[16:20] = start.to_bytes(4, "little")
    path.write_bytes(out.getvalue() + central.getvalue() + bytes(end))


def encrypt(data: bytes, password: bytes) -> bytes:
    table = [zlib.crc32(bytes([n]), 0xFFFFFFFF) ^ 0xFFFFFFFF for n in range(256)]
    keys = [0x12345678, 0x23456789, 0x34567890]

    def step(value: int, crc: int) -> int:
        return (crc >> 8) ^ table[(crc ^ value) & 0xFF]

    def update(value: int) -> None:
        keys[0] = step(value, keys[0])
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = step(keys[1] >> 24, keys[2])

    for value in password:
        update(value)
    out = bytearray()
    for value in data:
        k = keys[2] | 2
        out.append(value ^ (((k * (k ^ 1)) >> 8) & 0xFF))
        update(value)
    return bytes(out)
