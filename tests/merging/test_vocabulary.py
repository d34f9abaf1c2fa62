"""Models whose vocabularies differ become siblings of one vocabulary: each token keeps its row, as mergekit has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from darwin_mri.checkpoints import CheckpointReader, ModelSource, file_digests, verify_folder
from darwin_mri.checkpoints.source import PARENT_NOTE
from darwin_mri.checkpoints.survey import survey
from darwin_mri.errors import InputError
from darwin_mri.merging.compatibility import sibling_fault
from darwin_mri.merging.vocabulary import RowOf, TokenRule, VocabularyChoice, align_vocabularies, read_choice
from darwin_mri.merging.vocabulary.tables import vocabulary_tables
from darwin_mri.merging.vocabulary.tokens import read_tokens
from tests.merging.oracle import write_children
from tests.merging.vocabularies import FRENCH, bpe, model_with, rename_ids

EMBEDDING = "decoder.embed_tokens.weight"
Sources = dict[str, ModelSource]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where parents in another form are written."""
    monkeypatch.setenv("DARWIN_MRI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def family(root: Path, name: str = "llama") -> Sources:
    """Three siblings: padded, of other pieces, without added tokens."""
    return {
        "father": model_with(bpe(added=["<a>", "<b>"]), root / "father", family=name, padding=6),
        "mother": model_with(bpe(FRENCH, added=["<b>", "<c>"]), root / "mother", family=name, seed=1),
        "base": model_with(bpe(), root / "base", family=name, seed=2),
    }


@pytest.fixture(scope="module")
def llamas(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    return family(tmp_path_factory.mktemp("llamas"))


def rows_of(source: ModelSource, name: str = EMBEDDING) -> dict[str, torch.Tensor]:
    """Token -> its row of one table."""
    disk = {text: disk for disk, text in vocabulary_tables(survey(source.folder)).items()}[name]
    table = CheckpointReader(source.folder).tensor(disk).float()
    return {token: table[number] for token, number in read_tokens(source).ids.items() if number < len(table)}


@pytest.mark.parametrize("name", ["qwen2", "gemma4_text", "gpt2", "phi"])
def test_models_of_one_vocabulary_are_siblings_that_load(tmp_path: Path, name: str) -> None:
    sources = family(tmp_path, name)
    aligned, notes = align_vocabularies(sources, VocabularyChoice())
    father = survey(aligned["father"].folder)
    assert sibling_fault(survey(sources["father"].folder), survey(sources["mother"].folder), "mother")
    for role, source in aligned.items():
        assert source.ref == sources[role].ref
        verify_folder(source.folder)
        assert sibling_fault(father, survey(source.folder), role) is None
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(source.folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.folder)
        ids = tokenizer("the cat<c> est le chat<a>", return_tensors="pt").input_ids
        assert {tokenizer.convert_tokens_to_ids(token) for token in ("<a>", "<c>")} <= set(ids[0].tolist())
        assert tokenizer.decode(ids[0], skip_special_tokens=True) == "the cat est le chat"
        assert model.config.eos_token_id == model.generation_config.eos_token_id == tokenizer.eos_token_id
        assert model.config.pad_token_id == tokenizer.pad_token_id
        assert model.generate(ids, max_new_tokens=2, do_sample=False).shape == (1, ids.shape[1] + 2)
        own = survey(source.folder)
        assert {own.tensors[disk].shape[0] for disk in vocabulary_tables(own)} == {own.text_config.vocab_size}
    assert any("father's vocabulary: " in note and "get a new row" in note for note in notes)


@pytest.mark.parametrize("name", ["gemma4_text", "phi"])
def test_a_model_says_the_same_of_its_own_tokens(tmp_path: Path, name: str) -> None:
    """The father's logits for ids that it had are those it gave before, bit by bit."""
    sources = family(tmp_path, name)
    aligned, _ = align_vocabularies(sources, VocabularyChoice())
    for role in sources:
        old, new = (transformers.AutoModelForCausalLM.from_pretrained(at[role].folder) for at in (sources, aligned))
        before, after = (read_tokens(at[role]).ids for at in (sources, aligned))
        tokens = sorted(before, key=before.__getitem__)
        asked = tokens[5:200:9]
        with torch.no_grad():
            logits = old(torch.tensor([[before[token] for token in asked]])).logits[0]
            moved = new(torch.tensor([[after[token] for token in asked]])).logits[0]
        assert torch.allclose(
            logits[:, [before[t] for t in tokens]], moved[:, [after[t] for t in tokens]], atol=1e-5, rtol=1e-5
        )


def test_rows_are_matched_by_token(llamas: Sources, tmp_path: Path) -> None:
    aligned, _ = align_vocabularies(llamas, VocabularyChoice())
    for name in (EMBEDDING, "head.weight"):
        old = {role: rows_of(source, name) for role, source in llamas.items()}
        for role, source in aligned.items():
            new = rows_of(source, name)
            assert new.keys() >= {token for rows in old.values() for token in rows}
            for token, row in new.items():
                holders = [holder for holder in old if token in old[holder]]
                if token in old[role]:
                    expected = old[role][token]
                elif "base" in holders:
                    expected = old["base"][token]
                else:
                    expected = torch.stack([old[holder][token] for holder in holders]).mean(0)
                assert torch.equal(row, expected), (role, token)
    father, others = llamas["father"], {role: read_tokens(source).ids for role, source in aligned.items()}
    known = read_tokens(father).ids
    assert {token: others["father"][token] for token in known} == known  # the father's ids stay
    assert others["mother"] == others["father"] == others["base"]


def test_equal_vocabularies_stay_as_they_are(llamas: Sources, tmp_path: Path) -> None:
    twin = model_with(bpe(added=["<a>", "<b>"]), tmp_path / "twin", seed=4, padding=6)
    sources = {"father": llamas["father"], "mother": twin}
    aligned, _ = align_vocabularies(sources, VocabularyChoice())
    assert aligned == sources
    assert align_vocabularies(llamas, None) == (llamas, ())
    assert not (tmp_path / "cache").exists()


def test_a_model_that_has_the_union_is_not_written_again(llamas: Sources, tmp_path: Path) -> None:
    sources = {"father": model_with(bpe(added=["<a>"]), tmp_path / "father", seed=3, padding=1)}
    sources["mother"] = model_with(bpe(added=["<a>", "<b>"]), tmp_path / "mother", seed=4)
    aligned, _ = align_vocabularies(sources, VocabularyChoice())
    assert aligned["mother"] == sources["mother"]
    assert survey(aligned["father"].folder).text_config.vocab_size == len(read_tokens(sources["mother"]).ids)
    again, _ = align_vocabularies(sources, VocabularyChoice())
    assert again == aligned
    assert len(list((tmp_path / "cache").glob("[!.]*"))) == 1
    unwritten = {file.name for file in file_digests(sources["father"].folder)}
    assert PARENT_NOTE not in unwritten and PARENT_NOTE in {
        file.name for file in file_digests(aligned["father"].folder)
    }


def test_padding_rows_stay_unless_a_multiple_is_asked(llamas: Sources, tmp_path: Path) -> None:
    sources = {role: llamas[role] for role in ("father", "base")}
    father = read_tokens(llamas["father"])
    aligned, _ = align_vocabularies(sources, VocabularyChoice())
    assert aligned["father"] == llamas["father"]
    padding = CheckpointReader(llamas["father"].folder).tensor("model.embed_tokens.weight")[len(father.ids) :]
    base = CheckpointReader(aligned["base"].folder).tensor("model.embed_tokens.weight")
    assert len(padding) == 6 and torch.equal(base[len(father.ids) :], padding)
    padded, _ = align_vocabularies(sources, VocabularyChoice(pad_to_multiple_of=64))
    table = CheckpointReader(padded["base"].folder).tensor("model.embed_tokens.weight")
    assert len(table) == 320
    count = len(father.ids)
    assert torch.allclose(table[count:], table[:count].mean(0).expand(320 - count, -1), atol=1e-6)


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_union_of_added_tokens(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whatever is added to whom, each model keeps its rows, and all have all tokens."""
    root = tmp_path_factory.mktemp("drawn")
    added = st.lists(st.sampled_from(["<p>", "<q>", "<r>", "<s>"]), unique=True)
    own = [data.draw(added) for _ in range(2)]
    sources = {}
    for number, (role, tokens) in enumerate(zip(("father", "mother"), own, strict=True)):
        sources[role] = model_with(bpe(added=tokens), root / role, seed=number, padding=data.draw(st.integers(0, 3)))
    aligned, _ = align_vocabularies(sources, VocabularyChoice())
    new = {role: rows_of(source) for role, source in aligned.items()}
    assert {*own[0], *own[1]} <= new["father"].keys() == new["mother"].keys()
    for role, source in sources.items():
        assert all(torch.equal(new[role][token], row) for token, row in rows_of(source).items())
    assert sibling_fault(survey(aligned["father"].folder), survey(aligned["mother"].folder), "mother") is None
    if own[0] == own[1] and len({read_tokens(source).rows for source in sources.values()}) == 1:
        assert aligned == sources


def test_another_models_tokenizer(llamas: Sources, tmp_path: Path) -> None:
    """Tokens, special ids, chat template and end come from it; what it lacks is dropped."""
    folder = llamas["mother"].folder
    rename = model_with(bpe(FRENCH, added=["<b>", "<c>"]), tmp_path / "mother", seed=1)
    rename_ids(rename.folder, ["<c>", "<b>"])
    (rename.folder / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    generation = json.loads((rename.folder / "generation_config.json").read_text(encoding="utf-8"))
    end = read_tokens(rename).ids["<c>"]
    (rename.folder / "generation_config.json").write_text(json.dumps(generation | {"eos_token_id": [1, end]}))
    sources = {"father": llamas["father"], "mother": rename}
    choice = read_choice("mother", sources, offline=True)
    assert choice is not None and choice.source == rename
    aligned, notes = align_vocabularies(sources, choice)
    assert aligned["mother"] == rename
    father = aligned["father"].folder
    assert read_tokens(aligned["father"]).ids == read_tokens(rename).ids
    assert (father / "chat_template.jinja").read_text(encoding="utf-8") == "{{ messages }}"
    assert json.loads((father / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"] == [1, end]
    assert any("are dropped" in note for note in notes)
    old, new = rows_of(llamas["father"]), rows_of(aligned["father"])
    assert torch.equal(old["<b>"], new["<b>"]) and "<a>" not in new
    assert folder.is_dir() and read_choice("father", sources) is None


def test_wrapped_models_and_their_other_token_ids(tmp_path: Path) -> None:
    """A wrapper's text part has the new sizes; an id that another module looks for moves with its token."""
    from tests.toys import pico_gemma4

    sources: Sources = {}
    for number, (role, added) in enumerate({"father": ["<img>"], "mother": ["<x>", "<img>"]}.items()):
        tokenizer = bpe(added=added)
        rows = len(tokenizer)
        folder = pico_gemma4(
            tmp_path / role, wrapped=True, seed=number, vocab_size=rows, vocab_size_per_layer_input=rows,
            pad_token_id=0, eos_token_id=1, bos_token_id=2,
        )  # fmt: skip
        tokenizer.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config["image_token_id"] = tokenizer.convert_tokens_to_ids("<img>")
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
        sources[role] = ModelSource(role, folder, None)
    aligned, _ = align_vocabularies(sources, VocabularyChoice(sources["mother"]))
    config = json.loads((aligned["father"].folder / "config.json").read_text(encoding="utf-8"))
    tokens = read_tokens(aligned["father"])
    assert config["image_token_id"] == tokens.ids["<img>"] != read_tokens(sources["father"]).ids["<img>"]
    assert config["text_config"]["vocab_size"] == config["text_config"]["vocab_size_per_layer_input"] == tokens.rows
    own, theirs = survey(aligned["father"].folder), survey(aligned["mother"].folder)
    assert sibling_fault(own, theirs, "mother") is None
    assert len(vocabulary_tables(own)) == 2


def unigram() -> Any:
    pieces = [(token, 0.0) for token in ("<pad>", "<eos>", "<bos>")] + [("▁the", -1.0), ("▁", -2.0), ("a", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<pad>", "<eos>", "<bos>"])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>"
    )


def test_contradictions_name_both_models(llamas: Sources, tmp_path: Path) -> None:
    father = llamas["father"]
    other = {"father": father, "mother": model_with(unigram(), tmp_path / "unigram")}
    with pytest.raises(InputError, match="father and unigram have vocabularies that cannot be put together: .*type is"):
        align_vocabularies(other, VocabularyChoice())
    stripping = AddedToken("<a>", lstrip=True, special=True)
    flags = {"father": father, "mother": model_with(bpe(added=[stripping]), tmp_path / "flags")}
    with pytest.raises(InputError, match="father and flags contradict each other on the added token '<a>': lstrip"):
        align_vocabularies(flags, VocabularyChoice())
    wide = {"father": father, "mother": model_with(bpe(FRENCH), tmp_path / "wide", hidden_size=64)}
    with pytest.raises(InputError, match="wide has hidden_size 64, father 32"):
        align_vocabularies(wide, VocabularyChoice())
    slow = model_with(bpe(), tmp_path / "slow")
    (slow.folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"slow has no tokenizer\.json, which a common vocabulary needs"):
        align_vocabularies({"father": father, "mother": slow}, VocabularyChoice())
    for rule, message in {
        TokenRule(RowOf("aunt")): "names aunt, which is no model",
        TokenRule(RowOf("mother", token="<zz>")): "asks for the row of '<zz>', which mother lacks",
        TokenRule(RowOf("base", token_id=9999)): "asks for row 9999 of base, which has",
        TokenRule(force=True): "has force but no source",
    }.items():
        with pytest.raises(InputError, match=message):
            align_vocabularies(llamas, VocabularyChoice(tokens={"<new>": rule}))
    assert not (tmp_path / "cache").exists()


CHOICES: dict[str, tuple[VocabularyChoice | str, dict[str, Any]]] = {
    "union": (VocabularyChoice(pad_to_multiple_of=1), {"tokenizer_source": "union"}),
    "mother": ("mother", {"tokenizer": {"source": "MOTHER", "pad_to_multiple_of": 1}}),
    "rules": (
        VocabularyChoice(
            tokens={
                "<new>": TokenRule(RowOf("mother", token="<c>")),
                "<zero>": TokenRule("zero"),
                "<a>": TokenRule(RowOf("base", token_id=7), force=True),
                "<c>": TokenRule(RowOf("mother")),
            },
            pad_to_multiple_of=16,
        ),
        {
            "tokenizer": {
                "source": "union",
                "pad_to_multiple_of": 16,
                "tokens": {
                    "<new>": {"source": {"kind": "model_token", "model": "MOTHER", "token": "<c>"}},
                    "<zero>": {"source": {"kind": "zero"}},
                    "<a>": {"source": {"kind": "model_token", "model": "BASE", "token_id": 7}, "force": True},
                    "<c>": {"source": "MOTHER"},
                },
            }
        },
    ),
}


def choice_of(name: str, sources: Mapping[str, ModelSource]) -> VocabularyChoice:
    asked = CHOICES[name][0]
    return asked if isinstance(asked, VocabularyChoice) else VocabularyChoice(sources[asked], pad_to_multiple_of=1)


@pytest.fixture(scope="module")
def oracle(llamas: Sources, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mergekit's table of every role and choice: base + 1 (role - base)."""
    root = tmp_path_factory.mktemp("oracle")
    at = {role: str(source.folder) for role, source in llamas.items()}
    jobs = []
    for name, (_, block) in CHOICES.items():
        for role in llamas:
            filled = json.loads(json.dumps(block).replace("MOTHER", at["mother"]).replace("BASE", at["base"]))
            weights = [{"model": at[r], "parameters": {"weight": float(r == role)}} for r in ("father", "mother")]
            recipe = {"merge_method": "task_arithmetic", "base_model": at["base"], "models": weights, **filled}
            jobs.append((recipe | {"dtype": "float32"}, root / f"{name}-{role}"))
    write_children(jobs, root)
    return root


@pytest.mark.parametrize("name", CHOICES)
def test_rows_equal_mergekits(oracle: Path, llamas: Sources, tmp_path: Path, name: str) -> None:
    aligned, _ = align_vocabularies(llamas, choice_of(name, llamas))
    for role, source in aligned.items():
        child = ModelSource("oracle", oracle / f"{name}-{role}", None)
        for table in (EMBEDDING, "head.weight"):
            own, theirs = rows_of(source, table), rows_of(child, table)
            assert own.keys() == theirs.keys()
            for token, row in theirs.items():
                assert torch.allclose(own[token], row, atol=1e-6), (role, token)
        assert survey(child.folder).text_config.vocab_size == survey(source.folder).text_config.vocab_size
