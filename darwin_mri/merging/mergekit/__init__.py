"""Recipes that travel both ways: mergekit's YAML (0.1.5) read into a genome, and a genome written as such YAML.

Only the methods both have, and two parents. docs/merging.md says where the same recipe gives another child here, on purpose.
"""

from darwin_mri.merging.mergekit.reading import Recipe, Values, genome_fields, read_recipe, tensor_values
from darwin_mri.merging.mergekit.writing import write_recipe

__all__ = ["Recipe", "Values", "genome_fields", "read_recipe", "tensor_values", "write_recipe"]
