"""What a task file asks to be executed: found in its YAML before anything of it is resolved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from darwin_mri.errors import InputError

# Readers of ``datasets`` that take data for data; ``pandas`` unpickles, and a name that is none of them is of the hub.
READERS = ("arrow", "csv", "json", "parquet", "text")
OTHER_READERS = ("pandas", "webdataset", "eval", "hdf5", "xml", "sql", "generator", "spark", "torch")


# The parser that lm-eval will read the file with: another might see other tags in it.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Reader(_Parser):
    """Reads YAML; what would be executed is noted in ``asked`` and left as text."""

    asked: list[str]


def _note(loader: Any, suffix: str, node: yaml.Node) -> str:
    value = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    tag = "!" + suffix if not suffix.startswith("tag:") else node.tag
    loader.asked.append(f"{tag} {value}".strip())
    return f"{tag} {value}"


_Reader.add_multi_constructor("!", _note)
_Reader.add_multi_constructor("tag:yaml.org,2002:python/", _note)


def read_unresolved(path: Path) -> tuple[dict[str, Any], list[str]]:
    """A YAML file as data, and the code it names.

    Args:
        path: of the file.

    Returns:
        (its mapping, empty where it is none; such as ``!function utils.score``).

    Raises:
        InputError: it cannot be read, or does not parse.
    """
    try:
        with path.open("rb") as stream:
            loader: Any = _Reader(stream)
            loader.asked = []
            try:
                data = loader.get_single_data()
            finally:
                loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise InputError(f"{path.name}{line} does not parse as YAML: mend it") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({type(error).__name__}): check what includes it") from None
    return data if isinstance(data, dict) else {}, loader.asked


def with_includes(path: Path) -> Iterator[tuple[Path, dict[str, Any], list[str]]]:
    """A task file and all that it includes.

    Args:
        path: of the file.

    Yields:
        (path, its mapping, the code it names), each file once.

    Raises:
        InputError: as ``read_unresolved``.
    """
    todo, seen = [path], set()
    while todo:
        file = todo.pop().resolve()
        if file in seen:
            continue
        seen.add(file)
        data, asked = read_unresolved(file)
        yield file, data, asked
        includes = data.get("include") or []
        todo += [file.parent / str(one) for one in (includes if isinstance(includes, list) else [includes])]


def code_asked(config: Mapping[str, Any], metrics: frozenset[str]) -> Iterator[str]:
    """Code that a task's settings ask for without a tag.

    Args:
        config: of a task, a group, or a member of a group.
        metrics: names of lm-eval's own metrics: any other is run from a script of the evaluate library.

    Yields:
        Each, such as ``class``.
    """
    yield from (key for key in ("class", "custom_dataset", "unsafe_code") if config.get(key))
    options = config.get("dataset_kwargs")
    if isinstance(options, Mapping) and options.get("trust_remote_code"):
        yield "dataset_kwargs.trust_remote_code"
    path = str(config.get("dataset_path") or "")
    if path.endswith(".py") or path in OTHER_READERS or any(Path(path).glob("*.py") if _is_folder(path) else ()):
        yield f"dataset_path: {Path(path).name}"
    if str(config.get("use_prompt") or "").startswith("promptsource"):
        yield "use_prompt: promptsource"
    listed = config.get("metric_list")
    own = config.get("process_results")  # then the names are those of its results
    for metric in listed if isinstance(listed, list) else ():
        name = metric.get("metric") if isinstance(metric, Mapping) else None
        foreign = isinstance(name, str) and name not in metrics and not own
        if isinstance(metric, Mapping) and (metric.get("hf_evaluate") or foreign):
            yield f"metric {Path(str(name)).name} of the evaluate library"


def _is_folder(path: str) -> bool:
    return bool(path) and Path(path).is_dir()
