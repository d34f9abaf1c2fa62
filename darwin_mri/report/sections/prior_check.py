"""The measured effect of blending each gene alone, beside what each preset predicted."""

from __future__ import annotations

from darwin_mri.records import PairScan, Validation
from darwin_mri.report import formats
from darwin_mri.report.model.elements import Row, Section, Table, Text, table
from darwin_mri.translation import labels, say, say_count


def validation_section(pair: PairScan | None) -> Section:
    """Section 'validation': whether the prior is right, in runs that measured it."""
    key, title = "validation", say("Did the MRI foresee it?")
    if pair is None or pair.validation is None:
        missing = say(
            "Not measured: set scan.validation in the config, or run darwin-mri scan FATHER --against MOTHER"
            " --validate."
        )
        return Section(key, title, missing=missing)
    validation = pair.validation
    return Section(key, title, (Text(_sentence(validation)), preset_table(validation), gene_table(validation)))


def _sentence(validation: Validation) -> str:
    harmful = formats.ranges(list(validation.harmful)) or say("none")
    return say_count(
        "Each gene was blended alone at ratio {ratio} and the smooth fitness read on {count} search item. What a preset"
        " predicts is read on one half of these items, what came true on the other half. The truth of one half predicts"
        " that of the other with rho {rho}, which is about as much as a preset can reach. Layers that harm a protected"
        " text beyond the tolerance: {harmful} (measured on {documents}).",
        "Each gene was blended alone at ratio {ratio} and the smooth fitness read on {count} search items. What a"
        " preset predicts is read on one half of these items, what came true on the other half. The truth of one half"
        " predicts that of the other with rho {rho}, which is about as much as a preset can reach. Layers that harm a"
        " protected text beyond the tolerance: {harmful} (measured on {documents}).",
        validation.items,
        ratio=formats.fixed(validation.reference_ratio),
        rho=formats.signed(validation.ceiling),
        harmful=harmful,
        documents=validation.harm_documents,
    )


def preset_table(validation: Validation) -> Table:
    """Per preset Spearman's rho with the truth, and how well the layers it keeps match those that harm."""
    rows = []
    for fit in validation.presets:
        rows.append(
            Row(
                (
                    fit.preset,
                    formats.signed(fit.spearman),
                    formats.ABSENT if fit.low is None else f"[{formats.signed(fit.low)}, {formats.signed(fit.high)}]",
                    formats.signed(fit.same_items),
                    formats.ranges(list(fit.frozen)) or say("none"),
                    formats.fixed(fit.precision),
                    formats.fixed(fit.recall),
                )
            )
        )
    note = say(
        "rho: Spearman's correlation over genes between what the preset predicts and the measured change of fitness,"
        " mean over random halvings of the items and the range of 95 % of these; same items: both read on all of them,"
        " luck included. Kept: layers the preset leaves the father's; precision: share of them that really harm;"
        " recall: share of harmful layers among them.",
    )
    titles = [*labels("preset", "rho", "of halvings", "same items", "kept", "precision", "recall")]
    return table(say("Presets against the truth"), titles, rows, text=(0, 4), note=note)


def gene_table(validation: Validation) -> Table:
    """Per gene the measured gain and what each preset predicted."""
    rows = []
    for gene, gain in validation.gain.items():
        predictions = [fit.prediction.get(gene) for fit in validation.presets]
        interval = f"[{formats.signed(gain.low, 4)}, {formats.signed(gain.high, 4)}]"
        rows.append(
            Row((gene, formats.signed(gain.value, 4), interval, *(formats.compact(value) for value in predictions)))
        )
    titles = [*labels("gene", "gain", "95 % interval"), *(fit.preset for fit in validation.presets)]
    note = say(
        "gain: change of the smooth fitness when this gene alone is blended; response: the predicted gain; others: the"
        " mother's share.",
    )
    return table(say("Every gene"), titles, rows, text=(0,), note=note, folded=True)
