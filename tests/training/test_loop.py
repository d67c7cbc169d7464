"""The loop: schedule, weights that are kept, early stopping, precision, frozen parts."""

import math

import pytest
import torch
from torch import nn

from polystilts.errors import Diverged
from polystilts.training.loop import NoRecorder, TrainingSettings, resolve_precision, train
from tests.training.worker import mixture, model_of, module_of, rising_score, run, same, weights
from tests.world.encoder import TRAINABLE, tiny_encoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain")


class Line(nn.Module):
    """The smallest thing that trains."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([4.0, -2.0]))
        self.bias = nn.Parameter(torch.tensor([1.0]))


class Pull:
    """An objective with a gradient that is given: the loss is slope x the sum of all weights."""

    def __init__(self, updates, slope=1.0):
        self.total_updates, self.slope = updates, slope

    def update(self, step):
        yield lambda module: self.slope * (module.weight.sum() + module.bias.sum())


class Log(NoRecorder):
    def __init__(self):
        self.logged, self.started, self.finished, self.advanced = [], [], 0, 0

    def start(self, description, total, done):
        self.started.append((description, total, done))

    def advance(self, updates, metrics):
        self.advanced += updates

    def log(self, metrics, step):
        self.logged.append((step, dict(metrics)))

    def finish(self):
        self.finished += 1

    def column(self, name):
        return [metrics[name] for _, metrics in self.logged if name in metrics]


def settings(**changed):
    return TrainingSettings(**({"learning_rate": 0.1, "precision": "fp32", "log_every": 1} | changed))


def line(tmp_path, updates, *, slope=1.0, module=None, recorder=None, evaluate=None, limits=None, **changed):
    module = module or Line()
    outcome = train(
        module,
        Pull(updates, slope),
        settings(**changed),
        state_folder=tmp_path / "state",
        evaluate=evaluate,
        recorder=recorder,
        **(limits or {}),
    )
    return module, outcome


class TestSchedule:
    @pytest.mark.parametrize(
        ("warmup", "expected"),
        [
            (0.2, [0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125]),
            (0.0, [0.1, 0.09, 0.08, 0.07, 0.06, 0.05, 0.04, 0.03, 0.02, 0.01]),
            (1.0, [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1]),
            (0.01, [0.1] + [0.1 * (10 - step) / 9 for step in range(1, 10)]),
        ],
    )
    def test_learning_rates(self, tmp_path, warmup, expected):
        log = Log()
        line(tmp_path, 10, warmup_share=warmup, recorder=log)
        assert log.column("learning_rate") == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("updates", "expected"),
        [
            (2, [0.05, 0.1, 0.1, 0.0875, 0.075, 0.0625, 0.05, 0.0375, 0.025, 0.0125]),
            (40, [0.0025 * (step + 1) for step in range(10)]),
        ],
    )
    def test_a_number_of_updates_decides_before_the_share(self, tmp_path, updates, expected):
        log = Log()
        line(tmp_path, 10, warmup_share=0.5, warmup_updates=updates, recorder=log)
        assert log.column("learning_rate") == pytest.approx(expected)

    def test_a_part_of_an_objective_has_the_rates_of_the_whole(self, tmp_path):
        whole, part = Log(), Log()
        line(tmp_path / "a", 10, recorder=whole)
        line(tmp_path / "b", 10, recorder=part, limits={"first_step": 4, "stop_at": 7})
        assert part.column("learning_rate") == whole.column("learning_rate")[4:7]
        assert part.started == [("train", 3, 0)]
        assert (part.advanced, part.finished) == (3, 1)


class TestUpdate:
    def test_it_is_adam_with_decoupled_decay_on_weights_alone(self, tmp_path):
        """One update without warm-up: Adam's first step is the rate in the gradient's direction."""
        module, _ = line(tmp_path, 1, warmup_share=0.0, weight_decay=0.5, clip=1e9)
        expected = [w * (1 - 0.1 * 0.5) - 0.1 for w in (4.0, -2.0)]
        assert module.weight.tolist() == pytest.approx(expected, abs=1e-6)
        assert module.bias.tolist() == pytest.approx([0.9], abs=1e-6)

    @pytest.mark.parametrize(("slope", "reaching"), [(100.0, 3.0 / math.sqrt(3)), (1.0, 1.0)])
    def test_gradients_above_the_limit_are_clipped_to_it(self, tmp_path, slope, reaching):
        """Three weights with this gradient each. With an epsilon far above it, Adam's step is proportional to what
        reaches Adam; it starts from a weight of 0, where float32 does not round the step away."""
        module = Line()
        nn.init.zeros_(module.bias)
        log = Log()
        arguments = {"warmup_share": 0.0, "weight_decay": 0.0, "adam_epsilon": 1e3, "clip": 3.0, "recorder": log}
        line(tmp_path, 1, slope=slope, module=module, **arguments)
        assert -module.bias.item() == pytest.approx(0.1 * reaching / (reaching + 1e3), rel=1e-5)
        assert log.column("gradient_norm") == pytest.approx([slope * math.sqrt(3)]), "as it was before"

    def test_loss_is_logged_at_the_asked_distance_and_at_the_end(self, tmp_path):
        log = Log()
        line(tmp_path, 8, log_every=3, recorder=log)
        assert [step for step, metrics in log.logged if "loss" in metrics] == [1, 4, 7, 8]

    def test_losses_of_several_tasks_are_logged_apart(self, encoder, tmp_path):
        log = Log()
        objective = mixture(["pair", "tagging"])
        train(module_of(("pair", "tagging"), encoder), objective, settings(), state_folder=tmp_path, recorder=log)
        for step, metrics in log.logged:
            name = objective.rows_of(step - 1)[0].name
            other = {"pair": "tagging", "tagging": "pair"}[name]
            assert metrics[f"loss/{name}"] == metrics["loss"] and f"loss/{other}" not in metrics

    def test_frozen_parameters_stay(self, encoder, tmp_path):
        module = model_of("pair", encoder)
        before = weights(module)
        frozen = ("embeddings.", "encoder.layer.0.")
        train(module, mixture(["pair"]), settings(frozen=frozen), state_folder=tmp_path)
        stayed = {name for name, parameter in module.named_parameters() if torch.equal(parameter, before[name])}
        named = {name for name in before if name.removeprefix("roberta.").startswith(frozen)}
        assert stayed == named and 0 < len(named) < len(before)

    def test_a_head_whose_task_is_not_drawn_stays(self, encoder, tmp_path):
        """Not even weight decay reaches it."""
        module = module_of(("pair", "tagging"), encoder)
        before = weights(module)
        objective = mixture(["pair", "tagging"])
        drawn = [objective.rows_of(step)[0].name for step in range(objective.total_updates)]
        stop = drawn.index("tagging" if drawn[0] == "pair" else "pair")
        other = drawn[stop]
        train(module, objective, settings(weight_decay=0.5), state_folder=tmp_path, stop_at=stop)
        after = weights(module)
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        heads = {task: {name for name in before if name.startswith(f"{task}.classifier")} for task in (drawn[0], other)}
        assert heads[drawn[0]] <= changed and not heads[other] & changed
        assert all(heads.values()), "both have one"

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    @pytest.mark.parametrize("name", TRAINABLE)
    def test_every_format_learns_its_rows_by_heart(self, encoder, tmp_path, name, precision):
        log = Log()
        module, _ = run((name,), encoder, tmp_path, recorder=log, epochs=12, precision=precision, save_seconds=99)
        losses = log.column("loss")
        assert all(math.isfinite(value) for value in (*losses, *log.column("gradient_norm")))
        assert all(torch.isfinite(p).all() for p in module.parameters())
        assert sum(losses[-4:]) < 0.6 * sum(losses[:4])

    def test_gradient_checkpointing_gives_the_same_weights(self, encoder, tmp_path):
        plain, _ = run(("pair",), encoder, tmp_path / "a")
        saving, _ = run(("pair",), encoder, tmp_path / "b", gradient_checkpointing=True)
        assert same(weights(plain), weights(saving))

    @pytest.mark.parametrize(("names", "asked"), [(("pair",), True), (("pair", "tagging"), True), (("pair",), False)])
    def test_gradient_checkpointing_computes_layers_again(self, encoder, tmp_path, names, asked):
        """Of one model and of several over one encoder: else the same weights would only mean that nothing is saved."""
        module = module_of(names, encoder)
        model = module if len(names) == 1 else module["pair"]
        calls = []
        model.roberta.encoder.layer[0].intermediate.dense.register_forward_hook(lambda *_: calls.append(1))
        chosen = settings(gradient_checkpointing=asked)
        objective = mixture(names)
        train(module, objective, chosen, state_folder=tmp_path, stop_at=1)
        micro_batches = len(list(objective.update(0)))
        assert len(calls) == micro_batches * (2 if asked else 1)


class TestKeptWeights:
    def scored(self, tmp_path, scores, **changed):
        """Trains with given scores; returns the weights at each evaluation, those at the end, and the outcome."""
        seen = []

        def evaluate(module):
            seen.append(module.bias.item())
            return {"task": scores[len(seen) - 1]}

        module, outcome = line(tmp_path, 10, evaluate=evaluate, **({"evaluations": 5} | changed))
        return seen, module.bias.item(), outcome

    def test_the_best_is_kept(self, tmp_path):
        seen, end, outcome = self.scored(tmp_path, [1, 5, 2, 5, 3])
        assert end == seen[1] != seen[-1]
        assert (outcome.updates, outcome.score, outcome.best_step) == (10, 5, 4)

    def test_the_last_is_kept(self, tmp_path):
        seen, end, outcome = self.scored(tmp_path, [1, 5, 2, 5, 3], selection="last")
        assert end == seen[-1]
        assert (outcome.updates, outcome.score, outcome.best_step) == (10, 3, 10)

    def test_the_score_of_several_tasks_is_their_mean_and_each_has_a_curve(self, tmp_path):
        log = Log()
        scores = iter([{"a": 80.0, "b": 20.0}, {"a": 70.0, "b": 40.0}, {"a": 99.0, "b": 0.0}])
        _, outcome = line(tmp_path, 9, evaluations=3, evaluate=lambda _: next(scores), recorder=log)
        assert log.column("checkpoint_score") == [50.0, 55.0, 49.5]
        assert log.column("checkpoint_score/a") == [80.0, 70.0, 99.0]
        assert log.column("checkpoint_score/b") == [20.0, 40.0, 0.0]
        assert (outcome.score, outcome.best_step) == (55.0, 6)

    def test_one_task_has_one_curve(self, tmp_path):
        log = Log()
        line(tmp_path, 2, evaluations=1, evaluate=lambda _: {"a": 1.0}, recorder=log)
        assert log.column("checkpoint_score") == [1.0] and not log.column("checkpoint_score/a")

    @pytest.mark.parametrize(("evaluations", "steps"), [(1, [10]), (0, [10]), (3, [3, 7, 10]), (100, range(1, 11))])
    def test_evaluations_are_evenly_spaced_and_the_last_update_has_one(self, tmp_path, evaluations, steps):
        log = Log()
        line(tmp_path, 10, evaluations=evaluations, evaluate=lambda _: {"task": 1.0}, recorder=log)
        assert [step for step, metrics in log.logged if "checkpoint_score" in metrics] == list(steps)

    @pytest.mark.parametrize(("patience", "evaluated", "best"), [(0, 5, 2), (1, 3, 2), (2, 4, 2), (3, 5, 2), (9, 5, 2)])
    def test_early_stopping(self, tmp_path, patience, evaluated, best):
        seen, end, outcome = self.scored(tmp_path, [1, 5, 5, 4, 3], patience=patience)
        assert len(seen) == evaluated
        assert (outcome.updates, outcome.best_step) == (2 * evaluated, 2 * best)
        assert end == seen[best - 1]

    def test_a_gain_renews_patience(self, tmp_path):
        seen, _, outcome = self.scored(tmp_path, [1, 0, 2, 1, 0], patience=2)
        assert len(seen) == 5 and outcome.best_step == 6

    def test_without_scores(self, tmp_path):
        _, outcome = line(tmp_path, 3)
        assert (outcome.updates, outcome.score) == (3, None)


class TestPrecision:
    def test_bf16_computes_in_bf16_over_float32_weights(self, encoder, tmp_path):
        module = model_of("pair", encoder)
        seen = set()
        module.roberta.encoder.layer[0].intermediate.dense.register_forward_hook(
            lambda layer, inputs, output: seen.add((output.dtype, layer.weight.dtype))
        )
        train(module, mixture(["pair"]), settings(precision="bf16"), state_folder=tmp_path)
        assert seen == {(torch.bfloat16, torch.float32)}
        assert {p.dtype for p in module.parameters()} == {torch.float32}

    def test_one_process_may_change_precision(self, encoder, tmp_path):
        first, _ = run(("pair",), encoder, tmp_path / "1")
        low, _ = run(("pair",), encoder, tmp_path / "2", precision="bf16")
        again, _ = run(("pair",), encoder, tmp_path / "3")
        assert same(weights(first), weights(again))
        assert not same(weights(first), weights(low))

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_a_named_precision_is_taken(self, precision):
        assert resolve_precision(precision) == precision

    @pytest.mark.parametrize(("cpu", "expected"), [(True, "bf16"), (False, "fp32")])
    def test_auto_looks_at_the_processor(self, monkeypatch, cpu, expected):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu)
        assert resolve_precision("auto") == expected


def test_evaluation_inside_training_does_not_change_it(encoder, tmp_path):
    often, _ = run(("pair",), encoder, tmp_path / "a", evaluations=6, selection="last")
    once, _ = run(("pair",), encoder, tmp_path / "b", evaluations=1, selection="last")
    assert same(weights(often), weights(once))
    assert rising_score(often) == rising_score(once)


def test_a_gradient_that_is_not_a_number_stops_before_it_reaches_the_weights(tmp_path):
    module = Line()
    before = weights(module)
    with pytest.raises(Diverged, match="the gradient of update 0 is nan"):
        line(tmp_path, 3, slope=float("nan"), module=module)
    assert same(before, weights(module))
