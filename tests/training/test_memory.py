"""The estimate of memory against the tensors that a small encoder really keeps."""

import pytest
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel

from polystilts.errors import InvalidValue
from polystilts.training.memory import parameters_of, training_memory

ROWS, LENGTH = 8, 64


def config(**changed):
    values = {
        "vocab_size": 100,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 256,
        "max_position_embeddings": 200,
        "type_vocab_size": 1,
        # With dropout a CPU keeps attention matrices, which a GPU does not.
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return XLMRobertaConfig(**(values | changed))


def kept_bytes(model, precision):
    """Bytes of the tensors that the forward pass keeps for backward, weights and their copies apart."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(parameter.shape) for parameter in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    kept, sizes = [], {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tuple(tensor.shape) not in shapes:
            kept.append(tensor)
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(5, 100, (ROWS, LENGTH))
    low = precision == "bf16"
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=low),
    ):
        model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state.sum()
    return sum(sizes.values())


@pytest.mark.parametrize("changed", [{}, {"intermediate_size": 128}, {"num_hidden_layers": 8}, {"hidden_size": 128}])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_activations_are_what_is_kept(precision, changed):
    model = XLMRobertaModel(config(**changed), add_pooling_layer=False).train()
    found = kept_bytes(model, precision)
    computed = training_memory(config(**changed), max_tokens=ROWS * LENGTH, max_length=LENGTH, precision=precision)
    assert computed.activations == pytest.approx(found, rel=0.05)


def test_parameters_are_those_of_the_model():
    model = XLMRobertaModel(config(), add_pooling_layer=False)
    embeddings, layers = parameters_of(config())
    assert embeddings == sum(parameter.numel() for parameter in model.embeddings.parameters())
    assert layers == sum(parameter.numel() for parameter in model.encoder.parameters())


def test_what_saves_memory():
    def total(**changed):
        settings = {"max_tokens": 4096, "max_length": 384, "precision": "bf16"} | changed
        return training_memory(config(num_hidden_layers=12), **settings)

    plain = total()
    assert total(gradient_checkpointing=True).activations < plain.activations / 4
    assert total(max_tokens=1024).activations == pytest.approx(plain.activations / 4, rel=0.01)
    assert total(max_tokens=16) == total(max_tokens=384), "a row always fits"
    frozen = total(frozen_embeddings=True)
    assert frozen.weights == plain.weights and frozen.moments < plain.moments and frozen.gradients < plain.gradients
    assert total(masked_tokens=100).logits == 100 * 100 * 10
    assert plain.total == sum(
        (plain.weights, plain.gradients, plain.moments, plain.activations, plain.logits, plain.overhead)
    )


@pytest.mark.parametrize(("wrong", "param"), [({"precision": "fp16"}, "precision"), ({"max_tokens": 0}, "max_tokens")])
def test_what_is_refused(wrong, param):
    with pytest.raises(InvalidValue) as caught:
        training_memory(config(), **({"max_tokens": 10, "max_length": 10} | wrong))
    assert caught.value.param == param
