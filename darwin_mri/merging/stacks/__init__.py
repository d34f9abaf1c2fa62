"""Models of layers from one or more models: mergekit's passthrough, and slices that move or repeat layers."""

from darwin_mri.merging.stacks.build import build_stack as build_stack
from darwin_mri.merging.stacks.ranges import LayerRange as LayerRange
from darwin_mri.merging.stacks.ranges import Stack as Stack
from darwin_mri.merging.stacks.ranges import stacks_of_slices as stacks_of_slices
