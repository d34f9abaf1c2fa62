"""Recipes in both directions: mergekit's YAML (0.1.5) read into a genome, and a genome written as such YAML.

Only the methods that both have, and two parents. docs/merging.md says where the same recipe gives another child, on
purpose.
"""

from darwin_mri.merging.mergekit.export import write_recipe
from darwin_mri.merging.mergekit.recipe import Recipe, read_recipe
from darwin_mri.merging.mergekit.values import Values, genome_fields, tensor_values

__all__ = ["Recipe", "Values", "genome_fields", "read_recipe", "tensor_values", "write_recipe"]
