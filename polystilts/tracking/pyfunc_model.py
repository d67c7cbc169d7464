"""A bundle as an MLflow pyfunc, made from this file (models from code): nothing is pickled, torch is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd


class BundleModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """`predict` takes the columns of the signature and returns `prediction` and `score` for each row.

    Lists travel as text: choices one a line, tokens separated by spaces.
    """

    def load_context(self, context: Any) -> None:
        from polystilts.runtime.bundle import load_predictor, open_bundle

        self.predictor = load_predictor(open_bundle(Path(context.artifacts["bundle"])))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        import json

        from polystilts.formats.values import (
            ChoiceExample,
            ChoicePrediction,
            PairExample,
            PairPrediction,
            Rejected,
            SentenceExample,
            SentencePrediction,
            SpanExample,
            SpanPrediction,
            TaggingExample,
            TaggingPrediction,
        )

        makers: dict[str, Any] = {
            "pair": lambda i, r: PairExample(i, "", r["premise"], r["hypothesis"]),
            "choice": lambda i, r: ChoiceExample(i, "", r["premise"], r["question"], tuple(r["choices"].split("\n"))),
            "tagging": lambda i, r: TaggingExample(i, "", tuple(r["tokens"].split())),
            "span": lambda i, r: SpanExample(i, "", r["question"], r["context"]),
            "sentence": lambda i, r: SentenceExample(i, "", r["text"]),
        }
        make = makers[self.predictor.format.settings.format]
        examples = [make(str(i), row) for i, row in enumerate(model_input.to_dict("records"))]
        answers = []
        for prediction in self.predictor.predict(examples):
            match prediction:
                case Rejected():
                    answers.append((f"error: {prediction.error.message}", float("nan")))
                case PairPrediction():
                    answers.append((prediction.label, prediction.probabilities[prediction.label]))
                case ChoicePrediction():
                    answers.append((str(prediction.label), prediction.probabilities[prediction.label]))
                case TaggingPrediction():
                    answers.append((" ".join(prediction.tags), min(prediction.probabilities)))
                case SpanPrediction():
                    answers.append((prediction.text, prediction.score))
                case SentencePrediction():
                    answers.append((json.dumps(prediction.embeddings[0].tolist()), 1.0))
        return pd.DataFrame(answers, columns=["prediction", "score"])


mlflow.models.set_model(BundleModel())
