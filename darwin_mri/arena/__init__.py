"""The arena: arms against nulls on a pair, at several ratios and seeds, scored on held-out items."""

from darwin_mri.arena.runner import run_arena
from darwin_mri.arena.settings import ArenaConfig, load_arena

__all__ = ["ArenaConfig", "load_arena", "run_arena"]
