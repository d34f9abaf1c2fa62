"""In which order the documents of one file are built, where later ones merge what others make."""

from __future__ import annotations

from collections.abc import Sequence

from darwin_mri.errors import ConfigError
from darwin_mri.merging.mergekit.document import Document
from darwin_mri.merging.mergekit.refs import named_part


def build_order(documents: Sequence[Document]) -> tuple[Document, ...]:
    """The documents that the child needs, each after those it merges; the child's is the last.

    The child is the document without a name, else the last one.

    Args:
        documents: as they stand in the file.

    Returns:
        The documents; those that the child does not need are left out.

    Raises:
        ConfigError: a name is given twice, two documents have none, or documents need each other.
    """
    named = {document.name: document for document in documents}
    if len(named) < len(documents):
        names = [document.name for document in documents]
        twice = next(name for name in names if names.count(name) > 1)
        what = "two documents have no name" if twice is None else f"two documents are named {twice}"
        raise ConfigError(f"{documents[0].where}: {what}: give each its own, all but the child's")
    ordered: list[Document] = []

    def add(document: Document, path: tuple[Document, ...]) -> None:
        if document in path:
            circle = " -> ".join(str(one.name) for one in (*path[path.index(document) :], document))
            raise ConfigError(f"{document.where}: documents need each other ({circle}): name another model")
        if document in ordered:
            return
        for ref in document.refs:
            if named_part(ref) in named:
                add(named[named_part(ref)], (*path, document))
        ordered.append(document)

    add(named.get(None, documents[-1]), ())
    return tuple(ordered)
