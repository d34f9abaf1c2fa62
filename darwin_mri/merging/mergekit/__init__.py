"""Recipes in both directions: mergekit's YAML (0.1.5) read into a genome, and a genome written as such YAML.

docs/merging.md says what is read, and where the same recipe gives another child, on purpose.
"""

from darwin_mri.merging.mergekit.document import Document, read_documents
from darwin_mri.merging.mergekit.export import plain_values, write_recipe
from darwin_mri.merging.mergekit.order import build_order
from darwin_mri.merging.mergekit.roles import Input, Roles, assign_roles
from darwin_mri.merging.mergekit.values import Values, genome_fields, scale_factors, tensor_values

__all__ = [
    "Document",
    "Input",
    "Roles",
    "Values",
    "assign_roles",
    "build_order",
    "genome_fields",
    "read_documents",
    "scale_factors",
    "tensor_values",
    "plain_values",
    "write_recipe",
]
