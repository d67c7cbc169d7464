"""``POST /v1/embeddings`` as OpenAI's clients send it and read it (openai 3.52.0 is what the tests use).

Where OpenAI leaves a choice, or has its own models in mind: `model` is the key of a served sentence model and is
never replaced by another one; an empty text is refused, as their reference says; `dimensions` may only be the model's;
`user` is accepted and neither used nor stored. Vectors have unit length, as theirs do.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import ValidationError

from polystilts.errors import InvalidValue
from serving import schemas
from serving.dialects import Dialect, Translated, check_lengths, endpoint_named, required, texts
from serving.examples import EXAMPLES
from serving.http_errors import invalid
from serving.record import Record
from serving.runtime import Served
from serving.settings import Settings

_ENDPOINT = replace(endpoint_named("embed"), name="embeddings")


def _read(body: dict[str, Any], settings: Settings) -> Translated:
    value = required(body, "input")
    try:
        options = schemas.EmbeddingsOptions.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from None
    found, places = texts("input", value, settings)
    items = [{"text": text} for text in found]
    check_lengths(_ENDPOINT, items, places, settings)

    def write(served: Served, results: Sequence[schemas.EmbedResult], record: Record) -> schemas.Embeddings:
        vectors = [result.embedding for result in results]
        size = len(vectors[0])
        if options.dimensions not in (None, size):
            raise InvalidValue(
                f"dimensions: the vectors of {served.key} have {size}, and are not cut",
                param="dimensions",
                limit=size,
                given=options.dimensions,
            )
        packed = options.encoding_format == "base64"
        data = [
            schemas.Embedding(index=index, embedding=_base64(vector) if packed else vector)
            for index, vector in enumerate(vectors)
        ]
        usage = schemas.Usage(prompt_tokens=record.tokens, total_tokens=record.tokens)
        return schemas.Embeddings(data=data, model=served.key, usage=usage)

    return Translated(_ENDPOINT, items, places, options.model, write)


def _base64(vector: Sequence[float]) -> str:
    """Little-endian float32, whatever this machine's order is."""
    return base64.b64encode(np.asarray(vector, dtype="<f4").tobytes()).decode("ascii")


OPENAI = (
    Dialect(
        "openai_embeddings",
        "/v1/embeddings",
        "Texts as vectors, as OpenAI's clients ask for them",
        schemas.EmbeddingsRequest,
        schemas.Embeddings,
        {code: {"model": "tatoeba", "input": item["text"]} for code, item in EXAMPLES["embed"].items()},
        _read,
    ),
)
