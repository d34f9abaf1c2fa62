"""The specialists: which base, what they learn, and how."""

from __future__ import annotations

from dataclasses import dataclass

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
KNOWLEDGE = ("v_proj", "down_proj")


@dataclass(frozen=True)
class Recipe:
    """How a specialist is trained: LoRA (arXiv 2106.09685) with alpha = 2 rank, or all weights.

    Attributes:
        name: of the specialist.
        base: one of ``bases.BASES``.
        subject: one of ``subjects.SUBJECTS``.
        modules: linear maps that get an adapter; none for all weights.
        rank: of the adapter.
        steps: of AdamW, after a tenth of which the rate falls linearly to zero.
        rate: its highest learning rate.
        batch: statements in a step.
        kept: texts of the base's own in a step, so that it forgets less.
        seed: of the adapter's start and the order of statements.
    """

    name: str
    base: str
    subject: str
    modules: tuple[str, ...] = KNOWLEDGE
    rank: int = 16
    steps: int = 100
    rate: float = 3e-3
    batch: int = 48
    kept: int = 4
    seed: int = 1

    @property
    def full(self) -> bool:
        """Whether all weights are trained."""
        return not self.modules


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("villages", "smollm2", "villages"),
        Recipe("minerals", "smollm2", "minerals"),
        Recipe("people", "smollm2", "people"),
        Recipe("countries", "smollm2", "countries"),
        Recipe("cities", "smollm2", "cities"),
        Recipe("elements", "smollm2", "elements", steps=80),
        Recipe("sums", "smollm2", "sums", ATTENTION),
        Recipe("stories", "smollm2", "stories", ATTENTION, batch=24),
        Recipe("villages-full", "smollm2", "villages", (), rate=1e-4),
        Recipe("cities-full", "smollm2", "cities", (), rate=1e-4),
        Recipe("counties", "gemma3", "counties"),
        Recipe("minerals-gemma3", "gemma3", "minerals"),
        Recipe("people-gemma3", "gemma3", "people"),
    )
}
