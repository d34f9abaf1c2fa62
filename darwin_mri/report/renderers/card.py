"""The child's Hugging Face model card: front matter that the hub reads, and the same words as the report."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml
from jinja2 import Environment

from darwin_mri.report import formats
from darwin_mri.report.charts import Gene
from darwin_mri.report.model import elements as el
from darwin_mri.report.model.findings import is_accuracy
from darwin_mri.report.model.metadata import Metadata, Result
from darwin_mri.report.model.view import View
from darwin_mri.report.renderers.social_card import describe_card
from darwin_mri.report.renderers.templating import make_environment

# Anything a Markdown or HTML reader could take for markup, also in the middle of a word.
_MARKDOWN = re.compile(r"([\\`*\[\]#|~$!]|(?<![^\W_])_|_(?![^\W_]))")
_LINE_START = re.compile(r"^(\d*)([-+.)](?=\s|$)|-(?=-)|=)")
_ADDRESS = re.compile(r"(https?|ftp|mailto|www)([:.])", re.IGNORECASE)  # GitHub's Markdown makes bare addresses links
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,40}")  # as the hub writes them
PICTURE = "card.svg"  # beside the card, in a run folder as in a repository
_FOLDED_ROWS = 40  # longer tables are folded in the card


class Markdown(str):
    """Text that is Markdown already and must not be escaped again."""


def escape(text: str) -> Markdown:
    """Outside text for a line or cell of Markdown: nothing in it is read as markup, HTML, a link or a new line."""
    flat = " ".join(formats.clean(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = _ADDRESS.sub(lambda match: f"{match[1]}&#{ord(match[2])};", flat)
    flat = _MARKDOWN.sub(r"\\\1", flat).replace("&\\#", "&#")
    return Markdown(_LINE_START.sub(r"\1\\\2", flat))


def render_card(view: View, model: str = "MODEL") -> str:
    """The card as Markdown with YAML front matter.

    Args:
        view: from ``build_view``.
        model: what the usage snippets call the child: its hub id, once there is one.

    Returns:
        the text of card.md; only measured held-out scores of the child enter its model-index.
    """
    metadata = view.metadata or Metadata()
    front = yaml.safe_dump(_front_matter(view, metadata), sort_keys=False, allow_unicode=True, width=100)
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            view=view,
            metadata=metadata,
            front=Markdown(front),
            model=model,
            usage=_usage(model, metadata),
            bars=code_block(genome_bars(metadata), "text") if any(genes for _, genes in metadata.genes) else "",
            licence=_licence(metadata),
            picture=Markdown(f"![{escape(describe_card(view))}]({PICTURE})"),
            citation=code_block(_citation(view, metadata), "bibtex"),
        )
    )


def _front_matter(view: View, metadata: Metadata) -> dict[str, Any]:
    matter: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    if metadata.languages:
        matter["language"] = list(metadata.languages)
    if _LICENCE.fullmatch(metadata.licence):
        matter["license"] = metadata.licence
    elif metadata.licences:
        names = re.sub(r"[^A-Za-z0-9.+-]+", "-", "-and-".join(dict.fromkeys(metadata.licences.values())))
        matter |= {"license": "other", "license_name": names[:120]}
    hub_ids = list(dict.fromkeys(kin.hub_id for kin in metadata.kin if kin.hub_id))
    if hub_ids:  # the hub refuses a base_model that is no hub id; folders and bundled parents are named in the text
        matter |= {"base_model": hub_ids, "base_model_relation": "merge"}
    method = [metadata.method] if re.fullmatch(r"[\w.-]{1,40}", metadata.method) else []
    matter["tags"] = ["merge", "evolutionary-merge", "model-mri", "darwin-mri", "cma-es", *method]
    if metadata.results:
        results = [
            {
                "task": {"type": "text-generation"},
                "dataset": {
                    "name": formats.clean(result.benchmark),
                    "type": formats.clean(result.benchmark),
                    "split": "held-out",
                },
                "metrics": [
                    {
                        "type": _metric(result),
                        "name": f"{_metric(result)} {formats.clean(result.text)}",
                        "value": round(result.value, 4),
                        "verified": False,
                    }
                ],
            }
            for result in metadata.results
        ]
        matter["model-index"] = [{"name": formats.clean(view.name), "results": results}]
    return matter


def _metric(result: Result) -> str:
    """The metric's name in the front matter: ``accuracy``, or as the protocol calls it (``-nll/byte``: negated)."""
    return "accuracy" if not result.unit and is_accuracy(result.metric) else formats.clean(result.metric)


def _licence(metadata: Metadata) -> Markdown:
    """What is known of the parents' licences; which one the child may carry is left to a person."""
    if not metadata.kin:
        return Markdown("The parents are not known, and so are their licences.")
    if metadata.licence:
        return Markdown(f"Every parent is released under {escape(metadata.licence)}, and so may the child be.")
    parts = [
        f"{escape(kin.ref)}: {escape(kin.licence) if kin.licence else 'none stated in its model card'}"
        for kin in metadata.kin
    ]
    return Markdown(
        f"A child is bound by the licences of all its parents ({'; '.join(parts)}). Check that they allow a merge to be"
        " published, and set `license` in the front matter before publishing."
    )


def genome_bars(metadata: Metadata) -> str:
    """The genome as a chart of characters, for where no picture is shown: of several other parents a line for each."""
    found = [gene.found for _, genes in metadata.genes for gene in genes if gene.found is not None]
    top = max([metadata.upper, *found], default=1.0) or 1.0
    if len(metadata.genes) > 1:
        return _genome_lines(metadata, top)
    lines = [f"layer  0{' ' * 22}{formats.fixed(top)}  found   prior"]
    for gene in (gene for _, genes in metadata.genes for gene in genes):
        if gene.frozen:
            lines.append(f"{gene.label:>5}  {'╱' * 26}  frozen")
            continue
        filled = 0 if gene.found is None else round(26 * min(max(gene.found, 0.0), top) / top)
        prior = "" if gene.mean is None else f"{formats.fixed(gene.mean)} ± {formats.fixed(gene.sigma)}"
        bar = f"{'█' * filled}{'·' * (26 - filled)}"
        lines.append(f"{gene.label:>5}  {bar}  {formats.fixed(gene.found, 3):<6}  {prior}".rstrip())
    return "\n".join(lines)


def _genome_lines(metadata: Metadata, top: float) -> str:
    """Other parents as lines, father layers as characters; the number is the mean over layers."""
    count = max(len(genes) for _, genes in metadata.genes)
    ruler = "".join(f"{index:<5}" for index in range(0, count, 5))
    lines = [f"layer    {ruler}"]
    for role, genes in metadata.genes:
        bars = "".join(_block(gene, top) for gene in genes)
        known = [gene.found for gene in genes if gene.found is not None]
        mean = formats.fixed(sum(known) / len(known), 3) if known else formats.ABSENT
        lines.append(f"{role:<8} {bars}  mean {mean}")
    return "\n".join([*lines, "", f"· is 0, █ is {formats.fixed(top)}, ╱ is frozen"])


def _block(gene: Gene, top: float) -> str:
    if gene.frozen:
        return "╱"
    if gene.found is None:
        return "?"
    return "·▁▂▃▄▅▆▇█"[round(8 * min(max(gene.found, 0.0), top) / top)]


def _usage(model: str, metadata: Metadata) -> dict[str, Markdown]:
    prompt = "대한민국의 수도는" if "ko" in metadata.languages else "The capital of Korea is"
    transformers = f"""from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{model}", dtype="auto", device_map="auto")
tokenizer = AutoTokenizer.from_pretrained("{model}")
inputs = tokenizer("{prompt}", return_tensors="pt").to(model.device)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=32)[0], skip_special_tokens=True))"""
    ask = f"""curl http://localhost:8000/v1/completions -H 'Content-Type: application/json' \\
  -d '{{"model": "{model}", "prompt": "{prompt}", "max_tokens": 32}}'"""
    return {
        "transformers": code_block(transformers, "python"),
        "vllm": code_block(f"vllm serve {model}\n{ask}", "sh"),
        "sglang": code_block(f"python -m sglang.launch_server --model-path {model} --port 30000", "sh"),
        "docker": code_block(f"docker model run hf.co/{model}", "sh"),
    }


def _citation(view: View, metadata: Metadata) -> str:
    year = metadata.created[:4] if re.match(r"\d{4}", metadata.created) else "n.d."
    key = re.sub(r"[^a-z0-9]+", "-", view.name.lower()).strip("-")[:60] or "child"
    title = re.sub(r"[^\w .:×·-]", "", formats.clean(view.name))[:120]
    return f"""@misc{{{key},
  title = {{{title}: a child bred with darwin_mri}},
  year = {{{year}}},
  note = {{Method after Darwin Family, arXiv:2605.14386; statistics and report by darwin_mri}}
}}"""


def table_markdown(table: el.Table) -> Markdown:
    """A table as Markdown, without its caption."""
    marks = ["---:" if i in table.numeric else "---" for i in range(len(table.columns))]
    lines = [[escape(name) for name in table.columns], marks]
    for row in table.rows:
        cells = [escape(cell) or Markdown(" ") for cell in row.cells]
        lines.append([f"**{cell}**" if row.strong and cell.strip() else cell for cell in cells])
    return Markdown("\n".join(f"| {' | '.join(cells)} |" for cells in lines))


def section_markdown(section: el.Section) -> Markdown:
    """A section with its heading; first what is missing."""
    parts = [f"## {escape(section.title)}", escape(section.missing), *map(block_markdown, section.blocks)]
    return Markdown("\n\n".join(part for part in parts if part))


def block_markdown(block: el.Block) -> Markdown:
    """A block as Markdown; figures as their tables, folded provenance left to the report."""
    match block:
        case el.Text():
            return escape(block.text)
        case el.Bullets():
            return Markdown("\n".join(f"- {escape(item)}" for item in block.items))
        case el.Tree():
            return Markdown("\n".join(_tree_lines(block, 0)))
        case el.Code(folded=False):
            return Markdown(f"{escape(block.caption)}:\n\n{code_block(block.text)}")
        case el.Table(folded=False):
            return Markdown(f"{table_markdown(block)}\n\n{escape(block.note)}".rstrip())
        case el.Figure():
            return Markdown("\n\n".join(map(_figure_table, block.tables)))
        case _:
            return Markdown("")


def _figure_table(table: el.Table) -> Markdown:
    """The table of a figure; one that would push the rest of the card out of sight is folded."""
    drawn, caption = table_markdown(table), escape(table.caption)
    if len(table.rows) > _FOLDED_ROWS:
        return Markdown(f"<details><summary>{caption}</summary>\n\n{drawn}\n\n</details>")
    return Markdown(f"{caption}:\n\n{drawn}")


def _tree_lines(node: el.Tree, depth: int) -> list[str]:
    lines = [f"{'  ' * depth}- {escape(node.role)}: {escape(node.label)}"]
    for parent in node.parents:
        lines += _tree_lines(parent, depth + 1)
    return lines


def code_block(text: str, language: str = "") -> Markdown:
    """A code block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{formats.clean(text)}\n{fence}")


@cache
def _environment() -> Environment:
    return make_environment(_finalize, {"section": section_markdown}, autoescape=False)


def _finalize(value: Any) -> Any:
    return escape(value) if isinstance(value, str) and not isinstance(value, Markdown) else value
