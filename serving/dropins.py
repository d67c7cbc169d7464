"""Thin aliases for those who come from another server: TEI's `/embed`, `/predict`, `/info`, KServe's ``/v2``.

Shapes are those of text-embeddings-inference 1.7's OpenAPI document and of the Open Inference Protocol (V2). Errors
have our one body, as everywhere. TEI serves one model, so `model` may be added to its bodies; what it calls
`auto_truncate` is always on here: the rest of a text that is too long for the model is cut off. Of the protocol there
are health and metadata: tensors in and out would leave tokenising to the client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

from anyio.to_thread import current_default_thread_limiter
from pydantic import BaseModel, ValidationError

import polystilts
from polystilts.errors import InvalidValue, NoModel
from polystilts.formats import FormatSettings
from polystilts.formats.values import Prediction, SentenceExample, SentencePrediction
from serving import schemas
from serving.dialects import (
    Description,
    Dialect,
    Translated,
    check_count,
    check_lengths,
    check_text,
    endpoint_named,
    model_named,
    required,
    texts,
)
from serving.endpoints import UNKNOWN, Endpoint, Work
from serving.examples import EXAMPLES
from serving.http_errors import invalid
from serving.record import Record
from serving.runtime import Runtime, Served
from serving.settings import Settings

M = TypeVar("M", bound=BaseModel)


def _raw(item: schemas.EmbedItem, settings: FormatSettings) -> Work:
    def finish(predictions: Sequence[Prediction]) -> schemas.EmbedResult:
        vector = cast(SentencePrediction, predictions[0]).embeddings[0]
        return schemas.EmbedResult(embedding=vector.tolist())

    return Work([SentenceExample("", UNKNOWN, item.text)], finish)


_EMBED = endpoint_named("embed")
_EMBED_RAW = replace(_EMBED, prepare=_raw)
#: Any model of pairs; asked as NLI's are, which is what the names of an item's two texts decide.
_PREDICT = replace(
    endpoint_named("nli"),
    targets=endpoint_named("nli").targets + endpoint_named("paraphrase").targets,
    accepts=lambda settings: settings.format == "pair",
)


def _options(model: type[M], body: dict[str, Any]) -> M:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from None


def _read_embed(body: dict[str, Any], settings: Settings) -> Translated:
    value = required(body, "inputs")
    options = _options(schemas.TeiEmbedOptions, body)
    endpoint = _EMBED if options.normalize else _EMBED_RAW
    found, places = texts("inputs", value, settings)
    items = [{"text": text} for text in found]
    check_lengths(endpoint, items, places, settings)

    def write(served: Served, results: Sequence[schemas.EmbedResult], record: Record) -> schemas.TeiVectors:
        return schemas.TeiVectors([result.embedding for result in results])

    return Translated(endpoint, items, places, options.model, write)


def _read_predict(body: dict[str, Any], settings: Settings) -> Translated:
    value = required(body, "inputs")
    options = _options(schemas.TeiPredictOptions, body)
    if options.raw_scores:
        raise InvalidValue("raw_scores: only probabilities are given", param="raw_scores", limit=False, given=True)
    several = isinstance(value, list) and bool(value) and isinstance(value[0], list)
    pairs = value if several else [value]
    check_count("inputs", len(pairs), settings)
    places = [f"inputs.{index}" for index in range(len(pairs))] if several else ["inputs"]
    items = [_pair(place, pair) for place, pair in zip(places, pairs, strict=True)]
    check_lengths(_PREDICT, items, places, settings)

    def write(served: Served, results: Sequence[schemas.PairResult], record: Record) -> BaseModel:
        rows = [
            [schemas.TeiPrediction(label=label, score=score) for label, score in _best_first(result.probabilities)]
            for result in results
        ]
        return schemas.TeiPredictions(rows if several else rows[0])

    return Translated(_PREDICT, items, places, options.model, write)


def _pair(place: str, pair: Any) -> dict[str, str]:
    if not isinstance(pair, list) or len(pair) != 2:
        given = len(pair) if isinstance(pair, list) else None
        raise InvalidValue(
            f"{place}: the models here read two texts, [first, second]", param=place, limit=2, given=given
        )
    first, second = (check_text(f"{place}.{index}", text) for index, text in enumerate(pair))
    return {"premise": first, "hypothesis": second}


def _best_first(probabilities: dict[str, float]) -> list[tuple[str, float]]:
    return sorted(probabilities.items(), key=lambda pair: -pair[1])


TEI = (
    Dialect(
        "tei_embed",
        "/embed",
        "Texts as vectors, as TEI's clients ask for them",
        schemas.TeiEmbedRequest,
        schemas.TeiVectors,
        {code: {"inputs": item["text"]} for code, item in EXAMPLES["embed"].items()},
        _read_embed,
    ),
    Dialect(
        "tei_predict",
        "/predict",
        "Probabilities of a pair of texts, as TEI's clients ask for them",
        schemas.TeiPredictRequest,
        schemas.TeiPredictions,
        {code: {"inputs": [item["premise"], item["hypothesis"]]} for code, item in EXAMPLES["nli"].items()},
        _read_predict,
    ),
)


def _info(runtime: Runtime, settings: Settings, name: str) -> schemas.TeiInfo:
    served = _first(runtime, _EMBED) or _first(runtime, _PREDICT)
    if served is None:
        raise NoModel("no model answers /embed or /predict; GET /v1/models lists what there is", param="model")
    bundle, delivered = served.bundle, served.delivered
    labels = bundle.settings.labels
    kind: dict[str, Any] = {"embedding": {"pooling": bundle.settings.pooling}}
    if bundle.settings.format == "pair":
        ids = {label: index for index, label in enumerate(labels)}
        kind = {"classifier": {"id2label": {str(i): label for label, i in ids.items()}, "label2id": ids}}
    return schemas.TeiInfo(
        model_id=delivered.name,
        model_sha=delivered.digest,
        model_dtype=bundle.precision,
        model_type=kind,
        max_concurrent_requests=runtime.scheduler.lanes,
        max_input_length=bundle.settings.max_length,
        max_batch_tokens=settings.tokens,
        max_client_batch_size=settings.items,
        tokenization_workers=int(current_default_thread_limiter().total_tokens),
        version=polystilts.__version__,
    )


def _first(runtime: Runtime, endpoint: Endpoint) -> Served | None:
    """The model that answers an endpoint when none is named."""
    able = {
        model.key: model for model in runtime.served if "@" not in model.key and endpoint.accepts(model.bundle.settings)
    }
    return next((able[key] for key in (*endpoint.targets, *able) if key in able), None)


def _server(runtime: Runtime, settings: Settings, name: str) -> schemas.KServeServer:
    return schemas.KServeServer(version=polystilts.__version__)


def _model(runtime: Runtime, settings: Settings, name: str) -> schemas.KServeModel:
    served = model_named(runtime, name)
    tensor = schemas.KServeTensor
    inputs = [tensor(name=each, datatype="INT64", shape=[-1, -1]) for each in ("input_ids", "attention_mask")]
    shapes = _SHAPES[served.bundle.settings.format](served.bundle.settings)
    outputs = [tensor(name=each, datatype="FP32", shape=shape) for each, shape in shapes.items()]
    return schemas.KServeModel(name=name, versions=[served.delivered.version], inputs=inputs, outputs=outputs)


#: Outputs of a bundle's graph by format, -1 = any size: `polystilts.formats.values.Outputs` with rows in front.
_SHAPES: dict[str, Callable[[FormatSettings], dict[str, list[int]]]] = {
    "pair": lambda settings: {"logits": [-1, len(settings.labels)]},
    "choice": lambda settings: {"logits": [-1, 1]},
    "tagging": lambda settings: {"logits": [-1, -1, len(settings.labels)]},
    "span": lambda settings: {"start": [-1, -1], "end": [-1, -1]},
    "sentence": lambda settings: {"embeddings": [-1, -1, -1]},
}


def _model_ready(runtime: Runtime, settings: Settings, name: str) -> schemas.KServeModelReady:
    return schemas.KServeModelReady(name=model_named(runtime, name).key)


DESCRIPTIONS = (
    Description("/info", "What TEI says of its model: here of the one that /embed asks", schemas.TeiInfo, _info),
    Description("/v2", "The server, in KServe's protocol", schemas.KServeServer, _server),
    Description("/v2/models/{name}", "A model's tensors, in KServe's protocol", schemas.KServeModel, _model),
    Description(
        "/v2/models/{name}/ready",
        "Whether a model answers, in KServe's protocol",
        schemas.KServeModelReady,
        _model_ready,
    ),
)
