"""What blending each gene alone really does, beside what each preset had said: a section, and the terminal's table."""

from __future__ import annotations

from darwin_mri.records import PairScan, Validation
from darwin_mri.report import words
from darwin_mri.report.elements import Row, Section, Table, Text, table


def validation_section(pair: PairScan | None) -> Section:
    """Section 'validation': is the prior right? Only in runs that were asked for it."""
    key, title = "validation", "Did the MRI foresee it?"
    if pair is None or pair.validation is None:
        missing = "Not measured: set scan.validation in the config, or run darwin-mri scan FATHER --against MOTHER --validate."
        return Section(key, title, missing=missing)
    found = pair.validation
    return Section(key, title, (Text(_sentence(found)), preset_table(found), gene_table(found)))


def _sentence(found: Validation) -> str:
    harmful = words.ranges(list(found.harmful)) or "none"
    return (
        f"Each gene was blended alone at ratio {words.fixed(found.reference_ratio)} and the smooth fitness read on"
        f" {words.plural(found.items, 'search item')}; what foretells and what came true are read on different halves of them. The truth of"
        f" one half foretells that of the other with rho {words.signed(found.ceiling)}, which is about as much as a preset can reach. Layers that harm a protected text beyond the"
        f" tolerance: {harmful} (measured on {found.harm_documents})."
    )


def preset_table(found: Validation) -> Table:
    """Per preset Spearman's rho with the truth, and how well what it leaves alone matches what harms."""
    rows = []
    for fit in found.presets:
        rows.append(
            Row(
                (
                    fit.preset,
                    words.signed(fit.spearman),
                    words.ABSENT if fit.low is None else f"[{words.signed(fit.low)}, {words.signed(fit.high)}]",
                    words.signed(fit.same_items),
                    words.ranges(list(fit.frozen)) or "none",
                    words.fixed(fit.precision),
                    words.fixed(fit.recall),
                )
            )
        )
    note = (
        "rho: Spearman's correlation over genes between what the preset says and the measured change of fitness, mean over random"
        " halvings of the items and the range of 95 % of these; same items: both read on all of them, luck included. Kept: layers the preset leaves the father's; precision: share of them that really harm; recall: share of"
        " harmful layers among them."
    )
    titles = ["preset", "rho", "of halvings", "same items", "kept", "precision", "recall"]
    return table("Presets against the truth", titles, rows, text=(0, 4), note=note)


def gene_table(found: Validation) -> Table:
    """Per gene the measured gain and what each preset said of it."""
    rows = []
    for gene, gain in found.gain.items():
        said = [fit.prediction.get(gene) for fit in found.presets]
        interval = f"[{words.signed(gain.low, 4)}, {words.signed(gain.high, 4)}]"
        rows.append(Row((gene, words.signed(gain.value, 4), interval, *(words.compact(value) for value in said))))
    titles = ["gene", "gain", "95 % interval", *(fit.preset for fit in found.presets)]
    note = "gain: change of the smooth fitness when this gene alone is blended; response: the gain foreseen; others: the mother's share."
    return table("Every gene", titles, rows, text=(0,), note=note, folded=True)
