"""Which rows an update holds, and that packing changes nothing but speed."""

from collections import Counter

import numpy as np
import pytest
import torch

from polystilts.errors import InvalidValue
from polystilts.formats.batching import collate
from polystilts.formats.tagging import IGNORED
from polystilts.formats.values import TaggingExample
from polystilts.training.objective import Mixture, TaskRows, padding_share, training_rows
from tests.training.worker import mixture, model_of, module_of, same, task_rows, weights
from tests.world.encoder import EXAMPLES, SETTINGS, TRAINABLE, tiny_encoder, tiny_format


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """Without dropout, so that gradients can be compared."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder") / "plain", dropout=0.0)


def gradients(objective, module, step=0):
    """Of one update, by name, and its loss."""
    module.zero_grad(set_to_none=True)
    loss = 0.0
    for micro_batch in objective.update(step):
        part = micro_batch(module)
        part.backward()
        loss += float(part.detach())
    return loss, {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def close(first, second, tolerance=1e-5):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=tolerance, atol=tolerance, msg=name)


class TestRows:
    @pytest.mark.parametrize("name", TRAINABLE)
    def test_every_row_of_the_format_is_a_row_of_training(self, name):
        rows = task_rows(name).rows
        encoded = tiny_format(name).encode(EXAMPLES[name])
        expected = [group for group in encoded] if name == "choice" else [[f] for group in encoded for f in group]
        assert [[f.input_ids.tolist() for f in row.features] for row in rows] == [
            [f.input_ids.tolist() for f in features] for features in expected
        ]
        assert all(len(row.targets) == len(row.features) for row in rows)
        assert [row.length for row in rows] == [max(map(len, features)) for features in expected]

    def test_a_row_that_cannot_be_encoded_is_named(self):
        with pytest.raises(InvalidValue, match="training row t9: tokens is empty") as caught:
            training_rows(tiny_format("tagging"), [TaggingExample("t9", "en", (), ())])
        assert caught.value.param == "tokens"

    def test_no_rows(self):
        with pytest.raises(InvalidValue, match="task pair has no training rows"):
            Mixture([TaskRows("pair", SETTINGS["pair"], [], 1, 3)], pad=1, seed=0, max_tokens=10)


class TestEpochs:
    @pytest.mark.parametrize("batch_size", [1, 3, 4, 8, 50])
    def test_one_task_sees_each_row_once_an_epoch(self, batch_size):
        objective = mixture(["pair"], epochs=3, batch_size=batch_size)
        size, updates = 8, -(-8 // batch_size)
        assert objective.total_updates == 3 * updates
        epochs = []
        for epoch in range(3):
            drawn = [objective.rows_of(epoch * updates + i)[1] for i in range(updates)]
            assert [len(rows) for rows in drawn[:-1]] == [batch_size] * (updates - 1)
            assert len(drawn[-1]) == size - batch_size * (updates - 1)
            epochs.append([row for rows in drawn for row in rows])
            assert sorted(epochs[-1]) == list(range(size))
        assert epochs[0] != epochs[1] != epochs[2]

    def test_each_of_several_tasks_sees_each_of_its_rows_once_an_epoch(self):
        objective = mixture(["pair", "tagging", "choice"], epochs=4)
        assert objective.total_updates == 4 * (3 + 3 + 2)
        drawn = {name: [] for name in ("pair", "tagging", "choice")}
        for step in range(objective.total_updates):
            task, rows = objective.rows_of(step)
            drawn[task.name] += rows
        sizes = {task.name: len(task.rows) for task in objective.tasks}
        for name, rows in drawn.items():
            assert len(rows) > sizes[name]  # more than an epoch of each
            for start in range(0, len(rows), sizes[name]):
                epoch = rows[start : start + sizes[name]]
                assert len(set(epoch)) == len(epoch)

    def test_tasks_are_drawn_in_proportion_to_their_rows(self):
        small, large = task_rows("choice", epochs=1000), task_rows("span", epochs=1000)
        objective = Mixture([small, large], pad=1, seed=0, max_tokens=100)
        count = Counter(objective.rows_of(step)[0].name for step in range(objective.total_updates))
        share = len(small.rows) / (len(small.rows) + len(large.rows))
        drawn = count["choice"] / objective.total_updates
        assert abs(drawn - share) < 4 * (share * (1 - share) / objective.total_updates) ** 0.5

    @pytest.mark.parametrize(("epochs", "updates"), [(0.5, 2), (0.01, 1), (1, 3), (1.5, 4), (2, 6)])
    def test_part_of_an_epoch(self, epochs, updates):
        assert mixture(["pair"], epochs=epochs).total_updates == updates

    def test_an_update_depends_on_seed_and_step_alone(self):
        first, again, other = (mixture(["pair", "span"], seed=seed) for seed in (3, 3, 4))
        steps = range(first.total_updates)
        assert [first.rows_of(i)[1] for i in steps] == [again.rows_of(i)[1] for i in reversed(steps)][::-1]
        assert [first.rows_of(i)[1] for i in steps] != [other.rows_of(i)[1] for i in steps]


class TestPacking:
    @pytest.mark.parametrize("name", TRAINABLE)
    @pytest.mark.parametrize("max_tokens", [1, 90, 100_000])
    def test_packed_or_padded_gives_the_same_rows_and_gradients(self, encoder, name, max_tokens):
        packed = mixture([name], batch_size=5, max_tokens=max_tokens)
        padded = mixture([name], batch_size=5, max_tokens=200, pad_to=100)
        assert packed.rows_of(0)[1] == padded.rows_of(0)[1]
        module = model_of(name, encoder)
        loss, found = gradients(packed, module)
        expected_loss, expected = gradients(padded, module)
        assert loss == pytest.approx(expected_loss, rel=1e-5)
        close(found, expected)

    @pytest.mark.parametrize("name", TRAINABLE)
    def test_accumulation_equals_one_batch_and_the_loss_of_transformers(self, encoder, name):
        """Two losses written independently: ours in micro-batches of one row, Hugging Face's in one batch."""
        rows = [row for row in task_rows(name).rows if len(row.features) in (1, 2)]
        task = TaskRows(name, SETTINGS[name], rows, 1, len(rows))
        module = model_of(name, encoder)
        alone = Mixture([task], pad=1, seed=0, max_tokens=1)
        assert len(list(alone.update(0))) == len(rows)
        loss, found = gradients(alone, module)

        arrays = {k: torch.from_numpy(v) for k, v in collate([f for row in rows for f in row.features], 1).items()}
        targets = [target for row in rows for target in row.targets]
        if name == "choice":
            arrays = {k: v.reshape(len(rows), 2, -1) for k, v in arrays.items()}
            gold = {"labels": torch.tensor([int(row.targets[1]) for row in rows])}
        elif name == "span":
            stacked = torch.from_numpy(np.stack(targets))
            gold = {"start_positions": stacked[:, 0], "end_positions": stacked[:, 1]}
        elif name == "tagging":
            gold = {"labels": torch.full_like(arrays["input_ids"], IGNORED)}
            for i, target in enumerate(targets):
                gold["labels"][i, : len(target)] = torch.from_numpy(target)
        else:
            gold = {"labels": torch.from_numpy(np.stack(targets))}
        module.zero_grad(set_to_none=True)
        if name == "span":
            # Transformers' softmax runs over padding too; a row by itself has none.
            lengths = arrays["attention_mask"].sum(dim=1).tolist()
            losses = [
                module(
                    **{k: v[i : i + 1, :length] for k, v in arrays.items()},
                    **{k: v[i : i + 1] for k, v in gold.items()},
                ).loss
                for i, length in enumerate(lengths)
            ]
            reference = torch.stack(losses).mean()
        else:
            reference = module(**arrays, **gold).loss
        reference.backward()
        assert loss == pytest.approx(float(reference.detach()), rel=1e-5)
        close(found, {n: p.grad for n, p in module.named_parameters() if p.grad is not None})

    def test_micro_batches_stay_within_the_tokens_given(self):
        objective = mixture(["choice"], batch_size=6, max_tokens=150)
        [rows] = [[objective.tasks[0].rows[i] for i in objective.rows_of(0)[1]]]
        for batch in objective._micro_batches(objective.tasks[0], rows):
            tokens = sum(len(row.features) for row in batch) * max(row.length for row in batch)
            assert len(batch) == 1 or tokens <= 150

    def test_padding_share_counts_what_is_computed(self):
        objective = mixture(["pair"], epochs=1, batch_size=8, pad_to=96, max_tokens=1000)
        needed = sum(row.length for row in objective.tasks[0].rows)
        shares = padding_share(objective, 5)
        assert (shares["tokens_needed"], shares["tokens_computed"]) == (needed, 8 * 96)
        assert shares["padding_share"] == pytest.approx(1 - needed / (8 * 96))
        assert padding_share(mixture(["pair"], epochs=1, batch_size=8, max_tokens=1), 5)["padding_share"] == 0


class TestSeveralTasks:
    def test_only_the_drawn_task_and_the_encoder_get_gradients(self, encoder):
        module = module_of(("pair", "tagging"), encoder)
        objective = mixture(["pair", "tagging"])
        task, _ = objective.rows_of(0)
        other = {"pair": "tagging", "tagging": "pair"}[task.name]
        _, found = gradients(objective, module)
        assert any(name.startswith(f"{task.name}.classifier") for name in found)
        assert not any(name.startswith(f"{other}.classifier") for name in found)
        assert any("encoder.layer.0" in name for name in found)

    def test_the_encoder_is_one_and_heads_are_each_task_s_own(self, encoder):
        module = module_of(("pair", "tagging", "choice"), encoder)
        layers = {id(m.roberta.encoder) for m in module.values()}
        embeddings = {id(m.roberta.embeddings) for m in module.values()}
        assert len(layers) == len(embeddings) == 1
        assert len({id(m.classifier) for m in module.values()}) == 3


def test_a_new_head_is_drawn_from_its_seed(encoder):
    first, again, other = (weights(model_of("pair", encoder, seed=seed)) for seed in (1, 1, 2))
    assert same(first, again)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert differing == {"classifier.dense.weight", "classifier.out_proj.weight"}
