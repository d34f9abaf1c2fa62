"""The check before a run: what it needs, and every reason for which it would be refused."""

from __future__ import annotations

from pathlib import Path

from darwin_mri.checkpoints import load_tokenizer
from darwin_mri.config import Config
from darwin_mri.errors import DarwinError
from darwin_mri.planning import TokenCounts, count_texts, count_tokens, is_whole_here, plan_run
from darwin_mri.problem.donors import arm_prompts, arm_texts
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.questions import OF_A_RUN, ask_method, refusals
from darwin_mri.records import Plan
from darwin_mri.records.roles import FATHER


def plan(
    config: Config, out: Path, *, offline: bool = False, rate: float | None = None, memory: int | None = None
) -> Plan:
    """What a run needs, and what stands in its way; no weight is read and nothing is fetched but small files.

    Args:
        config: of the run.
        out: where it would be written.
        offline: never ask the hub.
        rate: FLOP/s that a forward pass reaches; from this machine when None.
        memory: bytes of the device that is planned for; this machine's device when None.

    Returns:
        The plan. Where every parent is on this machine, its problems are all that ``breed`` would refuse.

    Raises:
        CheckpointError: a parent cannot be found or its files are damaged.
    """
    if not all(is_whole_here(ref, offline) for ref in config.roles.values()):
        return plan_run(config, out, offline=offline, rate=rate, memory=memory)
    parents = Parents.find(config, device="auto" if config.device == "cuda" else None, offline=offline)
    asked = [str(error) for error in refusals(parents, [q for q in OF_A_RUN if q is not ask_method])]
    record = plan_run(config, out, offline=offline, rate=rate, memory=memory, counts=_count(parents))
    problems = tuple(dict.fromkeys((*record.problems, *asked)))
    return record.model_copy(update={"problems": problems, "fits": not problems})


def _count(parents: Parents) -> TokenCounts | None:
    """What a run reads, in the father's tokens; None where something of it cannot be read, a problem by itself."""
    config = parents.config
    try:
        tokenizer = load_tokenizer(parents.sources[FATHER])
        texts = count_texts(parents.probes, config.scan.max_tokens, tokenizer)
        donors, written = None, None
        if config.cross:
            donors = count_texts(arm_texts(config), config.arm.max_tokens, tokenizer).sum()
            prompts = count_texts(arm_prompts(parents), config.arm.max_tokens, tokenizer)
            written = (prompts + config.arm.new_tokens).sum()
        items = parents.items.held_out | parents.items.search
    except DarwinError:
        return None
    lengths = {name: count_tokens(own, tokenizer) for name, own in items.items()}
    known = {name: length for name, length in lengths.items() if length is not None}
    return TokenCounts(parents.probes, texts, known, donors, written)
