"""Checkpoints: Hugging Face layout, lineage, and what is refused."""

import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from polystilts.errors import ChecksumMismatch, InvalidValue, MissingData, TokenizerMismatch
from polystilts.formats import Pieces
from polystilts.formats.batching import collate
from polystilts.runtime.folders import read_json, sha256, write_json
from polystilts.training.checkpoint import open_checkpoint, write_checkpoint
from polystilts.training.model import bare_encoder, build_model, forward_rows
from tests.training.worker import model_of, weights
from tests.world.encoder import EXAMPLES, SETTINGS, TEXTS, tiny_encoder, tiny_format

CLASSES = {
    "pair": "XLMRobertaForSequenceClassification",
    "choice": "XLMRobertaForMultipleChoice",
    "tagging": "XLMRobertaForTokenClassification",
    "span": "XLMRobertaForQuestionAnswering",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain")


@pytest.fixture(scope="module")
def written(encoder, tmp_path_factory):
    """A checkpoint of every trainable format."""
    root = tmp_path_factory.mktemp("checkpoints")
    return {
        name: write_checkpoint(
            root / name,
            model_of(name, encoder),
            tokenizer_from=encoder,
            key=f"key of {name}",
            lineage={"phase": "target", "seed": 1},
            settings=SETTINGS[name],
        )
        for name in CLASSES
    }


@pytest.fixture
def folder(written, tmp_path):
    return shutil.copytree(written["pair"].folder, tmp_path / "pair")


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_written_is_read(written, name):
    checkpoint = written[name]
    assert open_checkpoint(checkpoint.folder) == checkpoint
    assert (checkpoint.key, checkpoint.settings) == (f"key of {name}", SETTINGS[name])
    assert (checkpoint.lineage["phase"], checkpoint.lineage["seed"]) == ("target", 1)
    assert checkpoint.weights == sha256(checkpoint.folder / "model.safetensors")
    assert checkpoint.lineage["tokenizer"] == sha256(checkpoint.folder / "tokenizer.json")


@pytest.mark.parametrize("name", CLASSES)
def test_transformers_opens_it_with_the_class_of_the_format(encoder, written, name):
    folder = written[name].folder
    model, report = getattr(transformers, CLASSES[name]).from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert read_json(folder / "config.json")["architectures"] == [CLASSES[name]]
    expected = weights(model_of(name, encoder))
    for parameter, value in model.named_parameters():
        assert torch.equal(value, expected[parameter]), parameter
    if name in ("pair", "tagging"):
        assert tuple(model.config.id2label[i] for i in range(len(SETTINGS[name].labels))) == SETTINGS[name].labels


@pytest.mark.parametrize("name", CLASSES)
def test_auto_model_finds_the_encoder(written, name):
    model, report = AutoModel.from_pretrained(written[name].folder, output_loading_info=True)
    assert not any(key.startswith(("embeddings", "encoder")) for key in report["missing_keys"])
    assert type(model).__name__ == "XLMRobertaModel"


def test_auto_tokenizer_gives_our_rows(written):
    tokenizer = AutoTokenizer.from_pretrained(written["pair"].folder)
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    for example, [features] in zip(
        EXAMPLES["pair"], tiny_format("pair", max_length=200).encode(EXAMPLES["pair"]), strict=True
    ):
        assert tokenizer(example.premise, example.hypothesis)["input_ids"] == features.input_ids.tolist()


def test_the_encoder_alone_travels_and_opens(encoder, written, tmp_path):
    bare = bare_encoder(build_model("pair", written["pair"].folder, labels=SETTINGS["pair"].labels))
    checkpoint = write_checkpoint(tmp_path / "bare", bare, tokenizer_from=encoder, key="k", lineage={})
    before, after = load_file(encoder / "model.safetensors"), load_file(checkpoint.folder / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    _, report = AutoModel.from_pretrained(checkpoint.folder, output_loading_info=True, add_pooling_layer=False)
    assert not report["missing_keys"] and not report["unexpected_keys"]


def test_lineage_nests(encoder, tmp_path):
    base = open_checkpoint(encoder)
    assert (base.key, base.lineage["phase"]) == ("", "base")
    middle = write_checkpoint(
        tmp_path / "middle",
        model_of("sentence", encoder),
        tokenizer_from=encoder,
        key="m",
        lineage={"phase": "intermediate", "parent": dict(base.lineage)},
    )
    last = write_checkpoint(
        tmp_path / "last",
        model_of("pair", middle.folder),
        tokenizer_from=middle.folder,
        key="l",
        lineage={"phase": "target", "parent": dict(middle.lineage)},
    )
    parent = open_checkpoint(last.folder).lineage["parent"]
    assert (parent["phase"], parent["key"], parent["weights"]) == ("intermediate", "m", middle.weights)
    assert parent["parent"]["weights"] == sha256(encoder / "model.safetensors") == base.weights


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer_config.json"])
def test_a_changed_file_is_found(folder, name):
    data = (folder / name).read_bytes()
    # Still a file of its kind: only the checksum can tell.
    if name == "model.safetensors":
        tensors = load_file(folder / name)
        tensors["classifier.out_proj.bias"] += 1
        save_file(tensors, folder / name, metadata={"format": "pt"})
    else:
        (folder / name).write_bytes(data.replace(b"\n", b" \n", 1) if b"\n" in data else data + b"\n")
    with pytest.raises(ChecksumMismatch, match=f"{name} has sha256"):
        open_checkpoint(folder)


def test_a_missing_and_an_extra_file_are_found(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "notes.txt").write_text("x")
    with pytest.raises(ChecksumMismatch, match=r"tokenizer_config\.json is missing; notes\.txt is not listed"):
        open_checkpoint(folder)


def test_a_tokenizer_with_more_pieces_than_the_weights(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "copy")
    pieces = Pieces.open(folder).vocabulary_size
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"vocab_size": pieces - 3})
    with pytest.raises(TokenizerMismatch) as caught:
        open_checkpoint(folder)
    assert f"{pieces} pieces" in caught.value.message and f"made for {pieces - 3}" in caught.value.message
    assert (caught.value.given, caught.value.limit) == (pieces, pieces - 3)


def test_a_tokenizer_with_another_padding_id(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "copy")
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"pad_token_id": 0})
    with pytest.raises(TokenizerMismatch, match=r"padding id 1.*padding id 0"):
        open_checkpoint(folder)


def test_another_kind_of_model(encoder, tmp_path):
    folder = shutil.copytree(encoder, tmp_path / "copy")
    write_json(folder / "config.json", read_json(folder / "config.json") | {"model_type": "bert"})
    with pytest.raises(InvalidValue, match="holds a 'bert' model"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", "no such file"),
        ("model.safetensors", "no safetensors weights"),
        ("tokenizer.json", r"no tokenizer\.json"),
    ],
)
def test_a_folder_without(encoder, tmp_path, name, message):
    folder = shutil.copytree(encoder, tmp_path / "copy")
    (folder / name).unlink()
    with pytest.raises(MissingData, match=message):
        open_checkpoint(folder)


def test_no_folder(tmp_path):
    with pytest.raises(MissingData, match="no such folder") as caught:
        open_checkpoint(tmp_path / "nowhere")
    assert str(tmp_path / "nowhere") in caught.value.message


def test_writing_fails_before_anything_is_there(encoder, tmp_path):
    with pytest.raises(MissingData):
        write_checkpoint(tmp_path / "a", model_of("pair", encoder), tokenizer_from=tmp_path, key="k", lineage={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", CLASSES)
def test_rows_give_what_the_class_itself_gives(encoder, name):
    """`forward_rows` against transformers' own forward."""
    model = model_of(name, encoder).eval()
    rows = [f for group in tiny_format(name).encode(EXAMPLES[name]) for f in group][:4]
    arrays = {k: torch.from_numpy(v) for k, v in collate(rows, 1).items()}
    with torch.inference_mode():
        found = forward_rows(model, SETTINGS[name], **arrays)
        expected = model(**({k: v[:, None] for k, v in arrays.items()} if name == "choice" else arrays))
    names = {"start": "start_logits", "end": "end_logits", "logits": "logits"}
    assert found.keys() == ({"start", "end"} if name == "span" else {"logits"})
    for output, value in found.items():
        torch.testing.assert_close(value, expected[names[output]], rtol=1e-5, atol=1e-5)


def test_sentences_are_masked_means_of_the_asked_layers(encoder):
    settings = tiny_format("sentence", layers=(0, 2)).settings
    model = model_of("sentence", encoder).eval()
    format_ = tiny_format("sentence")
    rows = [f for group in format_.encode(EXAMPLES["sentence"]) for f in group]
    arrays = {k: torch.from_numpy(v) for k, v in collate(rows, 1).items()}
    with torch.inference_mode():
        found = forward_rows(model, settings, **arrays)["embeddings"]
        for i, row in enumerate(rows):
            states = model(torch.from_numpy(row.input_ids)[None], output_hidden_states=True).hidden_states
            for place, layer in enumerate((0, 2)):
                expected = states[layer][0].mean(dim=0)
                torch.testing.assert_close(found[i, place], expected, rtol=1e-4, atol=1e-5)
    assert found.shape == (len(EXAMPLES["sentence"]), 2, 32)


def test_texts_are_those_the_tokenizer_learnt_from(encoder):
    """No unknown piece in any example: the tests above speak of real pieces in every script."""
    pieces = Pieces.open(encoder)
    assert not any(pieces.unk in encoding.ids for encoding in pieces.encode(TEXTS))


@pytest.mark.parametrize("name", ["pair", "choice", "tagging", "span", "sentence"])
def test_a_model_starts_from_an_encoder_that_another_label_set_has_trained(encoder, tmp_path, name):
    """A tagging checkpoint has as many labels as there are tags; a span head still has two outputs."""
    tagged = build_model("tagging", encoder, labels=[f"tag{i}" for i in range(7)])
    place = tmp_path / "tagged"
    write_checkpoint(place, bare_encoder(tagged), tokenizer_from=encoder, key="k", lineage={"phase": "intermediate"})
    settings = SETTINGS[name]
    model = build_model(name, place, labels=settings.labels)
    ids = torch.tensor([[0, 5, 6, 2]])
    outputs = forward_rows(model, settings, ids, torch.ones_like(ids))
    shapes = {"pair": (1, 3), "choice": (1, 1), "tagging": (1, 4, 4), "span": (1, 4), "sentence": (1, 1, 32)}
    assert tuple(next(iter(outputs.values())).shape) == shapes[name]
