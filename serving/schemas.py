"""What goes in and what comes out, as pydantic models; the OpenAPI document is made of them.

One item is the request itself, several are ``{"items": [...]}``. The answer is ``{"result": …}`` or
``{"results": [...]}``, where a bad item is ``{"error": …}`` at its index. Offsets are code points, end
exclusive.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, StringConstraints, field_validator

Text = Annotated[str, StringConstraints(min_length=1)]

#: The first wrong text ends the check: a list of a million would make as many errors, a kilobyte each.
Texts = Annotated[list[Text], Field(min_length=1, fail_fast=True)]

#: Choices of one item.
CHOICES = 32


class Item(BaseModel):
    """One thing to answer."""

    model_config = ConfigDict(extra="forbid")


class PairItem(Item):
    premise: Text
    hypothesis: Text


class ParaphraseItem(Item):
    sentence1: Text
    sentence2: Text


class TaggingItem(Item):
    """Either raw text, which is split into words by ICU, or words."""

    text: Text | None = None
    tokens: Texts | None = None


class QaItem(Item):
    question: Text
    context: Text


class ChoiceItem(Item):
    premise: Text
    question: str = Field(
        default="", description="For XCOPA 'cause' or 'effect'; empty if the premise is the question."
    )
    choices: list[Text] = Field(min_length=2, max_length=CHOICES)


class EmbedItem(Item):
    text: Text


class AlignItem(Item):
    """Sentences of two languages, of which some are translations of each other."""

    source: Texts
    target: Texts


class Selected(BaseModel):
    """What every request may say beside its items."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(default=None, description="Target of the model that shall answer; see GET /v1/models.")


I = TypeVar("I", bound=BaseModel)  # noqa: E741 - the item
R = TypeVar("R", bound=BaseModel)


class Several(Selected, Generic[I]):
    items: list[I] = Field(min_length=1)


class Result(BaseModel):
    """One answer. A number that is not finite would be no JSON and is a fault of ours."""

    model_config = ConfigDict(allow_inf_nan=False)


class PairResult(Result):
    label: str
    probabilities: dict[str, float] = Field(description="By label.")


class ParaphraseResult(PairResult):
    paraphrase: bool = Field(description="The label is the model's last one, which means 'the same'.")


class Token(Result):
    text: str
    tag: str
    probability: float
    start: int | None = Field(default=None, description="In the raw text; null if tokens were given.")
    end: int | None = None


class Entity(Result):
    type: str
    text: str
    first_token: int
    last_token: int = Field(description="Exclusive.")
    start: int | None = Field(default=None, description="In the raw text; null if tokens were given.")
    end: int | None = None
    probability: float = Field(description="The lowest of its tokens.")


class PosResult(Result):
    tokens: list[Token]


class NerResult(PosResult):
    entities: list[Entity]


class QaResult(Result):
    answer: str
    start: int
    end: int
    score: float = Field(description="Summed logits of start and end.")
    null_score: float = Field(description="The same sum for 'no answer'.")


class ChoiceResult(Result):
    label: int = Field(description="Index of the choice.")
    text: str
    probabilities: list[float] = Field(description="By choice.")


class EmbedResult(Result):
    embedding: list[float] = Field(description="Of unit length.")


class AlignedPair(Result):
    source: int
    target: int
    score: float = Field(description="Ratio margin: cosine over the mean cosine of the nearest neighbours.")


class AlignResult(Result):
    pairs: list[AlignedPair] = Field(description="Each sentence at most once; best first.")


class ModelName(BaseModel):
    """Which model answered."""

    target: str
    name: str = Field(description="In the registry.")
    version: str
    digest: str = Field(description="sha256 of the bundle's manifest.")


class Error(BaseModel):
    code: str
    message: str
    type: str = Field(description="invalid_request_error or server_error.")
    param: str | None = Field(description="The field that is wrong.")
    limit: Any = Field(description="The bound that was passed.")
    given: Any = Field(description="The value or size that was given.")
    request_id: str


class ErrorBody(BaseModel):
    error: Error


class Answer(BaseModel, Generic[R]):
    result: R
    model: ModelName


class Answers(BaseModel, Generic[R]):
    results: list[R | ErrorBody]
    model: ModelName


class SelfTest(BaseModel):
    """The stored rows of the bundle, run when it was loaded."""

    difference: float
    tolerance: float


class ModelCard(BaseModel):
    """One model, in OpenAI's shape with our fields added; `id` is what a request's `model` may say."""

    id: str
    object: str = "model"
    created: int = Field(description="Unix seconds.")
    owned_by: str = "polystilts"
    target: str
    name: str
    version: str
    digest: str
    format: str
    labels: list[str]
    endpoints: list[str]
    precision: str
    splitter: dict[str, str] | None = Field(default=None, description="What splits raw text into words.")
    exported_with: dict[str, Any] = Field(description="Instruction set, quantisation and splitter of its export.")
    languages: list[str] | None = None
    scores: dict[str, float] = Field(description="Main metric on report rows, by language; empty if not known.")
    lineage: dict[str, Any]
    self_test: SelfTest
    loaded: bool = Field(description="In memory now; else the next request loads it.")

    @field_validator("exported_with")
    @classmethod
    def _scales(cls, notes: dict[str, Any]) -> dict[str, Any]:
        """Bundles name their int8 after its weights ('per-tensor'); activations have a scale a row, in every recipe."""
        recipe = notes.get("quantisation")
        if not isinstance(recipe, dict) or "per_channel" not in recipe:
            return notes
        rest = {key: value for key, value in recipe.items() if key not in ("name", "per_channel")}
        weights = "per-channel" if recipe["per_channel"] else "per-tensor"
        return {**notes, "quantisation": {"activations": "row-wise", "weights": weights, **rest}}


class ModelList(BaseModel):
    object: str = "list"
    queue_ms: float = Field(description="Estimated milliseconds of work waiting.")
    data: list[ModelCard]


class Ready(BaseModel):
    ready: bool = True
    self_tests: dict[str, SelfTest] = Field(description="By model.")
    refused: dict[str, str] = Field(description="Bundles that failed their checks, by model: the error's code.")


class Refreshed(BaseModel):
    models: dict[str, str] = Field(description="The digest that answers, by model.")
    refused: dict[str, str] = Field(description="Bundles that failed their checks, by model: the error's code.")


class EmbeddingsOptions(BaseModel):
    """OpenAI's request for embeddings without its texts."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="Key of a sentence model; see GET /v1/models.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="base64: of little-endian float32."
    )
    dimensions: int | None = Field(default=None, gt=0, description="Nothing but the model's own size.")
    user: str | None = Field(default=None, description="Not used and not stored.")


class EmbeddingsRequest(EmbeddingsOptions):
    input: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="Texts; token ids are not taken. One that is refused fails the request."
    )


class Embedding(Result):
    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(description="Of unit length.")


class Usage(BaseModel):
    """Tokens that the model read, special ones included."""

    prompt_tokens: int
    total_tokens: int


class Embeddings(BaseModel):
    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class TeiOptions(Selected):
    """What TEI's requests have beside their texts."""

    truncate: bool | None = Field(default=None, description="Accepted; what is too long is always cut off.")
    truncation_direction: Literal["Right", "right"] = Field(default="Right", description="The end is cut off.")


class TeiEmbedOptions(TeiOptions):
    normalize: bool = Field(default=True, description="Vectors of unit length.")
    prompt_name: None = Field(default=None, description="No model here has prompts.")


class TeiEmbedRequest(TeiEmbedOptions):
    inputs: Text | Annotated[list[Text], Field(min_length=1)]


class TeiVectors(RootModel[list[list[float]]]):
    """One vector a text, also for a single text."""

    model_config = ConfigDict(allow_inf_nan=False)


class TeiPredictOptions(TeiOptions):
    raw_scores: bool = Field(default=False, description="Only false.")


class TeiPredictRequest(TeiPredictOptions):
    inputs: (
        Annotated[list[Text], Field(min_length=2, max_length=2)]
        | Annotated[list[Annotated[list[Text], Field(min_length=2, max_length=2)]], Field(min_length=1)]
    ) = Field(description="A pair of texts, or a list of pairs.")


class TeiPrediction(Result):
    label: str
    score: float


class TeiPredictions(RootModel[list[TeiPrediction] | list[list[TeiPrediction]]]):
    """The labels of a pair, the best first; of several pairs a list of such lists."""


class TeiInfo(BaseModel):
    model_id: str = Field(description="Its name in the registry.")
    model_sha: str = Field(description="sha256 of the bundle's manifest.")
    model_dtype: str
    model_type: dict[str, Any]
    max_concurrent_requests: int = Field(description="Model calls at once; more requests wait.")
    max_input_length: int
    max_batch_tokens: int = Field(description="Of one request, with padding.")
    max_client_batch_size: int
    auto_truncate: bool = True
    tokenization_workers: int
    version: str


class KServeServer(BaseModel):
    name: str = "polystilts"
    version: str
    extensions: list[str] = []


class KServeTensor(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 = any size.")


class KServeModel(BaseModel):
    """The tensors are those of the bundle's graph; texts go to the model's endpoints, see GET /v1/models."""

    name: str
    versions: list[str]
    platform: str = "onnxruntime_onnx"
    inputs: list[KServeTensor]
    outputs: list[KServeTensor]


class KServeModelReady(BaseModel):
    name: str
    ready: bool = True


class Live(BaseModel):
    live: bool = True
