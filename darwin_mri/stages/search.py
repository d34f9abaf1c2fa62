"""Stage ``search``: from the prior to a winner, chosen on items the search has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darwin_mri.breeding import Ledger, Means, null_genomes
from darwin_mri.config import Config
from darwin_mri.problem.anchors import ScoresByModel, SearchItems, anchor
from darwin_mri.problem.fitness import least_scores
from darwin_mri.problem.front import (
    ScoresByLine,
    choose_member,
    describe_preference,
    find_front,
    front_members,
    hypervolume,
    score_references,
)
from darwin_mri.problem.front_baselines import BaselineScores, search_baselines
from darwin_mri.problem.items import Items
from darwin_mri.problem.parents import Parents
from darwin_mri.problem.scans import Scans
from darwin_mri.problem.search_runs import SearchRun, search_options
from darwin_mri.problem.served import open_evaluator
from darwin_mri.problem.space import MergeSpace
from darwin_mri.records import FrontBaseline, Genome, LedgerLine, Prior
from darwin_mri.records.roles import MOTHER
from darwin_mri.run import Run

LEDGER, BLOCKS = "ledger.jsonl", "state/blocks.jsonl"


def find_winner(
    run: Run, parents: Parents, space: MergeSpace, prior: Prior, scans: Scans, scores: ScoresByModel
) -> Genome:
    """Search from the prior, score the finalists again on fresh search items, and take the best.

    Args:
        run: gets ledger.jsonl and genome.json.
        parents: the father is resident.
        space: with the genome that is searched (``MergeSpace.for_search``).
        prior: where the search starts.
        scans: whose layer map the genome records.
        scores: of parents on the search items, where anchors or limits need them.

    Returns:
        The winner's genome.
    """
    return run.record("genome.json", Genome, lambda: _Search(run, parents, space, prior).genome(scans, scores))


@dataclass(frozen=True)
class _FrontScores:
    """Scores of a front's members on fresh and on held-out items, and of the baselines' members on held-out ones."""

    fresh: ScoresByLine
    held_out: ScoresByLine
    baselines: BaselineScores


class _Search:
    """One search: its candidates are written into the resident father, or into an engine in its place."""

    def __init__(self, run: Run, parents: Parents, space: MergeSpace, prior: Prior) -> None:
        self.run, self.parents, self.space, self.prior = run, parents, space, prior
        evaluator = open_evaluator(run.config, parents.father, space)
        ledger = Ledger(run.path(LEDGER), run.path(BLOCKS))
        self.own = SearchRun(run, evaluator, prior, ledger, parents.offline)

    def genome(self, scans: Scans, scores: ScoresByModel) -> Genome:
        """Search, test finalists on fresh items and the winner on held-out ones; the father gets its weights back."""
        config, items, own = self.run.config, self.parents.items, self.own
        held_out_items = {name: items.held_out[name] for name in config.weights}
        several = config.search.finds_front
        with own.evaluator.instead_of(self.parents.father):
            own.evaluator.expect(items.search, items.fresh, held_out_items)
            judged = self._search_items(scores)
            result = own.spend(judged, search_options(config))
            self._report_recomputed()
            finalists = find_front(result.ranking, config) if several else _finalists(result.ranking, config)
            fresh = own.score(finalists, items.fresh, "re-test finalists")
            winner = choose_member(finalists, fresh, config) if several else self._best(finalists, fresh)
            held_out = own.score(finalists if several else [winner], held_out_items, "held-out fitness")
            baselines: BaselineScores = {}
            if several and held_out:
                baselines = search_baselines(own, judged, held_out_items, len(self.parents.father.layers))
            own.evaluator.candidate.restore()
        father, genome = self.parents.father, self.space.genome
        nulls = null_genomes(genome, genome.start(self.prior), winner.genes, config.seed)
        nulls |= {name: dict(winner.genes) for name in self.space.null_merges}
        return Genome(
            space=genome.name,
            method=config.method,
            seed=config.seed,
            father=father.source.ref,
            mother=self.parents.sources[MOTHER].ref,
            parents=tuple(source.ref for source in self.parents.sources.values()),
            tokenizer=config.tokenizer,
            base=self.parents.base and self.parents.base.ref,
            genes=self.space.written_genes(winner.genes),
            ratios=genome.ffn_ratios(winner.genes, len(father.layers)),
            nulls=nulls,
            layer_map=scans.pair.layer_map,
            **self.space.genome_fields(config, winner.genes),
            search_score=winner.fitness,
            retest_score=self._fitness(winner, fresh),
            held_out_score=self._fitness(winner, held_out),
            account=_account(own.ledger, items, judged.spent, len(fresh)),
            stopped=result.stopped,
            **(
                self._front_fields(finalists, winner, _FrontScores(fresh, held_out, baselines), nulls)
                if several
                else {}
            ),
        )

    def _front_fields(
        self,
        front: Sequence[LedgerLine],
        winner: LedgerLine,
        scores: _FrontScores,
        nulls: Mapping[str, Mapping[str, float]],
    ) -> dict[str, Any]:
        """What the genome's record holds of a search with several objectives."""
        run, parents, config = self.run, self.parents, self.run.config
        items = {name: parents.items.held_out[name] for name in config.weights}
        references = score_references(parents, self.space, nulls, items, run.progress)
        kin = [reference.held_out for reference in references if reference.null is None]
        return {
            "objectives": tuple(config.weights),
            "front": front_members(front, scores.fresh, scores.held_out, self.space, len(parents.father.layers)),
            "references": references,
            "hypervolume": hypervolume(list(scores.held_out.values()), kin),
            "baselines": tuple(
                FrontBaseline(
                    search=name,
                    candidates=len(self.own.ledger.lines),
                    held_out=members,
                    hypervolume=hypervolume(members, kin),
                )
                for name, members in scores.baselines.items()
            ),
            "member": 1 + front.index(winner),
            "preferred": describe_preference(config, scores.fresh),
        }

    def _best(self, finalists: Sequence[LedgerLine], fresh: ScoresByLine) -> LedgerLine:
        """The finalist of the highest fitness on fresh items; the first one where there are none."""
        ranked = sorted(finalists, key=lambda line: (-(self._fitness(line, fresh) or 0.0), line.evaluation))
        return ranked[0] if fresh else finalists[0]

    def _fitness(self, line: LedgerLine, scores: ScoresByLine) -> float | None:
        """The weighted sum of a candidate's scores; None where it was not scored."""
        own = scores.get(line.evaluation)
        if own is None:
            return None
        return float(sum(weight * own[name] for name, weight in self.run.config.weights.items()))

    def _search_items(self, scores: ScoresByModel) -> SearchItems:
        """All search items, or the anchors that stand for them."""
        config, pool = self.run.config, self.parents.items.search
        limits = least_scores(config, scores)
        if not config.search.anchors:
            return SearchItems(pool, Means(config.search.blocks, config.weights, limits))
        start = self.space.genome.start(self.prior)
        anchored = anchor(self.run, self.own.evaluator, start, pool, scores, limits)
        return SearchItems(anchored.items, anchored.estimate, anchored.spent)

    def _report_recomputed(self) -> None:
        recomputed = self.own.evaluator.candidate.kept_out
        if recomputed:
            movable = {name for names in self.space.tensors().values() for name in names}
            self.run.progress.say(
                f"{len(recomputed)} of {len(movable)} tensors had no room to be kept and were computed again for each"
                " candidate"
            )


def _finalists(ranking: Sequence[LedgerLine], config: Config) -> Sequence[LedgerLine]:
    """The best candidates; none that breaks a limit where one keeps them all."""
    best = ranking[: config.search.finalists]
    kept = [line for line in best if line.violation == 0]
    return kept or best


def _account(ledger: Ledger, items: Items, logged: int, finalists: int) -> dict[str, int]:
    """Item evaluations: of the search, of choosing anchors, of the re-test, and what racing and anchors saved."""
    pool = sum(map(len, items.search.values()))
    evaluated = sum(line.items for line in ledger.lines)
    return {
        "candidates": len(ledger.lines),
        "asked": evaluated,
        "logged": logged,
        "retest": finalists * sum(map(len, items.fresh.values())),
        "saved": len(ledger.lines) * pool - evaluated - logged,
    }
