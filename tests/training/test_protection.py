"""Options that protect other languages: rates by layer, averaged weights, perturbed embeddings."""

import pytest
import torch

from polystilts.errors import InvalidValue, UnknownName
from polystilts.training.average import move_towards
from polystilts.training.groups import parameter_groups, steps_down
from polystilts.training.loop import TrainingSettings, train
from polystilts.training.model import bare_encoder, build_model
from polystilts.training.robust import METHODS, in_ball, perturbed, uphill, word_embeddings
from tests.training.test_resume import Interrupt, StopAt
from tests.training.worker import mixture, model_of, module_of, run, same, weights
from tests.world.encoder import LAYERS, TRAINABLE, tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain", dropout=0.0)


class TestRates:
    @pytest.mark.parametrize(
        ("name", "steps"),
        [
            ("pair.classifier.dense.weight", 0),
            ("choice.roberta.pooler.dense.bias", 0),
            ("mlm.lm_head.dense.weight", 0),
            ("roberta.encoder.layer.11.output.dense.weight", 1),
            ("pair.roberta.encoder.layer.0.attention.self.query.bias", 12),
            ("encoder.layer.10.output.LayerNorm.weight", 2),
            ("roberta.embeddings.LayerNorm.weight", 13),
        ],
    )
    def test_steps_below_the_heads(self, name, steps):
        assert steps_down(name, 12) == steps

    def test_each_layer_has_a_share_of_the_rate_above(self, encoder):
        module = module_of(("pair", "tagging"), encoder)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        scales = {
            names[id(parameter)]: group["scale"]
            for group in parameter_groups(module, weight_decay=0.1, layer_decay=0.5)
            for parameter in group["params"]
        }
        assert len(scales) == len(names), "every parameter once"
        assert {scales[name] for name in scales if "classifier" in name} == {1.0}
        for layer in range(LAYERS):
            own = {scale for name, scale in scales.items() if f"encoder.layer.{layer}." in name}
            assert own == {0.5 ** (LAYERS - layer)}
        assert {scale for name, scale in scales.items() if "embeddings" in name} == {0.5 ** (LAYERS + 1)}

    def test_without_a_decay_there_are_the_two_groups_of_always(self, encoder):
        groups = parameter_groups(model_of("pair", encoder), weight_decay=0.1)
        assert sorted((group["scale"], group["weight_decay"]) for group in groups) == [(1.0, 0.0), (1.0, 0.1)]

    def test_the_lm_head_is_a_group_of_its_own(self, encoder):
        module = build_model("mlm", encoder)
        names = {id(parameter): name for name, parameter in module.named_parameters()}
        groups = parameter_groups(module, weight_decay=0.1, lm_head_rate=3.0)
        apart = {names[id(p)] for group in groups if group["scale"] == 3.0 for p in group["params"]}
        assert apart == {name for name in names.values() if name.startswith("lm_head.")} and apart

    def test_the_first_step_of_adam_is_as_long_as_the_rate_of_its_layer(self, encoder, tmp_path):
        module = model_of("pair", encoder)
        before = weights(module)
        settings = TrainingSettings(
            learning_rate=1e-3, warmup_share=0, weight_decay=0, precision="fp32", layer_decay=0.5
        )
        train(module, mixture(["pair"]), settings, state_folder=tmp_path, stop_at=1)
        step = {name: (p.detach() - before[name]).abs().max().item() for name, p in module.named_parameters()}
        for name in (
            "classifier.out_proj.weight",
            *(f"roberta.encoder.layer.{n}.output.dense.weight" for n in range(LAYERS)),
        ):
            assert step[name] == pytest.approx(1e-3 * 0.5 ** steps_down(name, LAYERS), rel=0.01)


class TestAverage:
    @pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
    def test_every_weight_lies_between(self, encoder, tmp_path, share):
        one = bare_encoder(build_model("pair", encoder, labels=("a", "b")))
        two = build_model("encoder", tiny_encoder(tmp_path / "other", seed=7))
        first, second = weights(one), weights(two)
        move_towards(one, two, share)
        for name, parameter in one.named_parameters():
            torch.testing.assert_close(parameter, (1 - share) * first[name] + share * second[name])
        assert same(second, weights(two))

    def test_encoders_of_another_shape_are_refused(self, encoder):
        one = bare_encoder(build_model("pair", encoder))
        two = bare_encoder(build_model("pair", encoder))
        del two.encoder.layer[-1]
        with pytest.raises(InvalidValue, match=r"different shape: encoder\.layer\.1"):
            move_towards(one, two, 0.5)

    def test_a_share_outside_is_refused(self, encoder):
        one = bare_encoder(build_model("pair", encoder))
        with pytest.raises(InvalidValue, match="between 0 and 1"):
            move_towards(one, one, 1.5)


def gradients(encoder, name, method, radius, frozen=False):
    """Loss and gradients of one update, as the loop computes them."""
    module = model_of(name, encoder)
    if frozen:
        word_embeddings(module).requires_grad_(False)
    torch.manual_seed(0)
    total = 0.0
    parts = 0
    for micro_batch in perturbed(mixture([name], max_tokens=10_000).update(0), method, radius):
        loss = micro_batch(module)
        loss.backward()
        total += float(loss.detach())
        parts += 1
    assert not word_embeddings(module)._forward_hooks, "nothing is left behind"
    return total, parts, {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


class TestPerturbation:
    def test_points_lie_in_the_ball_and_fill_it(self):
        torch.manual_seed(0)
        embeddings = torch.randn(20, 50, 8)
        steps = in_ball(embeddings, 0.3)
        limit = 0.3 * embeddings.norm(dim=-1).mean()
        lengths = steps.norm(dim=-1)
        assert (lengths <= limit * 1.0001).all()
        # Of a ball of 8 dimensions the inner half by radius is 1/256 of the volume.
        assert (lengths < limit / 2).float().mean() < 0.02
        assert steps.mean(dim=(0, 1)).abs().max() < 0.1 * limit

    def test_the_adversarial_step_is_uphill_and_on_the_ball(self):
        embeddings = torch.randn(3, 5, 8, requires_grad=True)
        (embeddings * torch.randn(3, 5, 8)).sum().backward()
        step = uphill(embeddings, 0.2)
        limit = 0.2 * embeddings.detach().norm(dim=-1).mean()
        assert step.norm(dim=-1).amax(dim=1).tolist() == pytest.approx([float(limit)] * 3, rel=1e-5)
        cosine = torch.nn.functional.cosine_similarity(step.flatten(), embeddings.grad.flatten(), dim=0)
        assert cosine > 0.9

    @pytest.mark.parametrize("frozen", [False, True])
    @pytest.mark.parametrize("name", TRAINABLE)
    def test_the_adversarial_loss_is_higher_and_half_of_the_whole_is_clean(self, encoder, name, frozen):
        clean, one, plain = gradients(encoder, name, "", 0.1, frozen)
        robust, two, found = gradients(encoder, name, "adversarial", 0.1, frozen)
        assert two == 2 * one
        assert robust > clean * 1.001, "the mean with the loss at a worse point"
        assert plain.keys() == found.keys(), "the same weights are trained"

    def test_a_radius_of_nothing_is_plain_training(self, encoder):
        clean, _, plain = gradients(encoder, "pair", "", 0.1)
        for method in METHODS:
            loss, _, found = gradients(encoder, "pair", method, 1e-9)
            assert loss == pytest.approx(clean, rel=1e-5)
            for name, value in plain.items():
                torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)

    def test_smoothing_is_one_loss_at_another_point(self, encoder):
        clean, one, _ = gradients(encoder, "pair", "", 0.5)
        moved, two, _ = gradients(encoder, "pair", "smoothing", 0.5)
        assert one == two and moved != pytest.approx(clean, rel=1e-3)

    def test_an_unknown_method(self):
        with pytest.raises(UnknownName, match="did you mean 'smoothing'"):
            next(perturbed([lambda _: None], "smooth", 0.1))

    @pytest.mark.parametrize("changed", [{}, {"frozen": ("embeddings.",)}, {"gradient_checkpointing": True}])
    @pytest.mark.parametrize("method", METHODS)
    def test_it_trains_and_resumes_bit_for_bit(self, tmp_path, method, changed):
        own = tiny_encoder(tmp_path / "encoder", dropout=0.1)
        arguments = {"robust": method, **changed}
        whole, outcome = run(("pair", "tagging"), own, tmp_path / "whole", **arguments)
        with pytest.raises(Interrupt):
            run(("pair", "tagging"), own, tmp_path / "parts", recorder=StopAt(3), **arguments)
        parts, again = run(("pair", "tagging"), own, tmp_path / "parts", **arguments)
        assert same(weights(whole), weights(parts)) and outcome == again
        plain, _ = run(("pair", "tagging"), own, tmp_path / "plain", **changed)
        assert not same(weights(whole), weights(plain))
