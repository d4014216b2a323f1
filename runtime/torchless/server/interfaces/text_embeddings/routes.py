"""The routes of text-embeddings-inference's interface."""

import asyncio
from typing import Any

from litestar import get, post
from litestar.params import JSONBody

from torchless import __version__
from torchless.errors import InputError, TaskError, shortened
from torchless.models.pooling import Pooling, declares_pooling
from torchless.server.embeddings import add_prompt, check_not_empty, similarities
from torchless.server.exceptions import UnknownModelError
from torchless.server.interface import Interface
from torchless.server.interfaces.text_embeddings.errors import TEXT_EMBEDDINGS_STATUSES, text_embeddings_error
from torchless.server.interfaces.text_embeddings.schemas import (
    DecodeRequest,
    EmbedAllRequest,
    EmbedRequest,
    Info,
    Prediction,
    PredictRequest,
    Rank,
    RerankRequest,
    SimilarityParameters,
    SimilarityRequest,
    SimpleToken,
    TokenizeRequest,
    TruncatedRequest,
)
from torchless.server.models import ServedModel
from torchless.server.openapi import OptionalModelName
from torchless.server.registry import Registry
from torchless.server.server_request import ServerRequest
from torchless.tokenization.tokenizer import Encoding

__all__ = ["INTERFACE"]

_MAX_TEXTS = 2  # in an input
# The tokens of a text are objects, which take some hundred times the memory of its characters.
_MAX_TOKENIZED_CHARACTERS = 131_072
_DTYPES = {"fp32": "float32", "fp16": "float16"}


@post(["/embed", "/models/{name:str}/embed"], status_code=200)
async def embed(
    data: JSONBody[EmbedRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[list[float]]:
    """Return an embedding for each text. The model's sentence-transformers files select the pooling."""
    served = _served(request.registry, name, "feature-extraction")
    options = {"pooling": "auto", "normalize": data.normalize, **_truncation(served, data)}
    texts = add_prompt(served, _listed(served, data.inputs), data.prompt_name)
    return await served.answer(texts, options)


@post(["/embed_all", "/models/{name:str}/embed_all"], status_code=200)
async def embed_all(
    data: JSONBody[EmbedAllRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[list[list[float]]]:
    """Return an embedding for each token of the texts."""
    served = _served(request.registry, name, "feature-extraction")
    texts = add_prompt(served, _listed(served, data.inputs), data.prompt_name)
    return [hidden for (hidden,) in await served.answer(texts, _truncation(served, data))]


@post(["/similarity", "/models/{name:str}/similarity"], status_code=200)
async def similarity(
    data: JSONBody[SimilarityRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[float]:
    """Compare sentences with a source sentence."""
    served = _served(request.registry, name, "feature-extraction")
    parameters = data.parameters or SimilarityParameters()
    options = _truncation(served, parameters)
    return await similarities(served, data.inputs, options, prompt_name=parameters.prompt_name)


@post(["/predict", "/models/{name:str}/predict"], status_code=200)
async def predict(
    data: JSONBody[PredictRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[Prediction | list[Prediction]]:
    """Classify texts, or pairs of texts. The result has all labels, the best first."""
    served = _served(request.registry, name, "text-classification")
    if len(data.inputs) > _MAX_TEXTS and not isinstance(data.inputs, str):
        served.check_count(data.inputs)
    is_single, inputs = _texts_or_pairs(data.inputs)
    options = {"top_k": None, "function_to_apply": "none" if data.raw_scores else None, **_truncation(served, data)}
    results = await served.answer(inputs, options)
    predictions = [[Prediction(**label) for label in result] for result in results]
    return list(predictions[0] if is_single else predictions)


@post(["/rerank", "/models/{name:str}/rerank"], status_code=200)
async def rerank(
    data: JSONBody[RerankRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[Rank]:
    """Rank texts by their relevance for a query, the best first."""
    served = _served(request.registry, name, "text-ranking")
    served.check_count(data.texts)
    check_not_empty(data.texts, "texts")
    options = {"function_to_apply": "none" if data.raw_scores else "sigmoid", **_truncation(served, data)}
    (ranked,) = await served.answer([{"query": data.query, "documents": data.texts}], options)
    return [
        Rank(index=item["index"], score=item["score"], text=item["text"] if data.return_text else None)
        for item in ranked
    ]


@post(["/tokenize", "/models/{name:str}/tokenize"], status_code=200)
async def tokenize(
    data: JSONBody[TokenizeRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[list[SimpleToken]]:
    """Return the tokens of texts."""
    served = _served(request.registry, name)
    texts = add_prompt(served, _listed(served, data.inputs), data.prompt_name)
    characters, max_characters = sum(map(len, texts)), _MAX_TOKENIZED_CHARACTERS
    if characters > max_characters:
        raise InputError(
            f"The inputs have {characters} characters, and the limit is {max_characters}.",
            hint="Send several requests.",
        )
    return await asyncio.to_thread(_tokenize, served, texts, add_special_tokens=data.add_special_tokens)


@post(["/decode", "/models/{name:str}/decode"], status_code=200)
async def decode(
    data: JSONBody[DecodeRequest],
    request: ServerRequest,
    name: OptionalModelName = None,
) -> list[str]:
    """Return the texts of token ids."""
    served = _served(request.registry, name)
    return await asyncio.to_thread(_decode, served, data.ids, skip_special_tokens=data.skip_special_tokens)


@get(["/info", "/models/{name:str}/info"], sync_to_thread=False)
def info(request: ServerRequest, name: OptionalModelName = None) -> Info:
    """Describe a model and its limits, or the first model if the path has no name."""
    served = _served(request.registry, name)
    return Info(
        model_id=served.name,
        model_dtype=_DTYPES.get(served.dtype, served.dtype),
        model_type=_model_type(served),
        max_concurrent_requests=request.settings.max_concurrent_requests,
        max_input_length=served.max_input_tokens,
        max_batch_tokens=request.settings.max_batch_tokens,
        max_client_batch_size=request.settings.max_client_batch_size,
        version=__version__,
    )


INTERFACE = Interface(
    name="text-embeddings-inference",
    handlers=[embed, embed_all, similarity, predict, rerank, tokenize, decode, info],
    error_body=text_embeddings_error,
    statuses=TEXT_EMBEDDINGS_STATUSES,
)


def _served(registry: Registry, name: str | None, *tasks: str) -> ServedModel:
    """Return the model with a name; without a name, the first model for the tasks, or for any task."""
    if name is None and not tasks:
        return registry[registry.names[0]]
    if name is None:
        try:
            return registry.of_task(*tasks)
        except UnknownModelError as error:
            raise TaskError(error.problem, hint=error.hint) from error
    served = registry[name]
    if tasks and served.task not in tasks:
        raise TaskError(f"{name} is for {served.task}, not for {' or '.join(tasks)}.", hint=f"Use POST /models/{name}.")
    return served


def _tokenize(served: ServedModel, texts: list[str], *, add_special_tokens: bool) -> list[list[SimpleToken]]:
    encodings = served.pipeline.tokenizer.encode_batch(texts, add_special_tokens=add_special_tokens)
    return [_tokens(text, encoding) for text, encoding in zip(texts, encodings, strict=True)]


def _decode(served: ServedModel, ids: list[int | list[int]], *, skip_special_tokens: bool) -> list[str]:
    tokenizer = served.pipeline.tokenizer
    id_lists: list[Any] = list(ids) if any(isinstance(item, list) for item in ids) else [ids]
    served.check_count(id_lists)
    for id_list in id_lists:
        _check_ids(id_list, len(tokenizer))
        served.check_token_ids(id_list)
    return tokenizer.batch_decode(id_lists, skip_special_tokens=skip_special_tokens)


def _truncation(served: ServedModel, request: TruncatedRequest) -> dict[str, Any]:
    """Return the options of the pipeline for texts that are too long for the model or for this server."""
    options = {"truncation": bool(request.truncate), "truncation_side": request.truncation_direction.lower()}
    tokenizer_limit, server_limit = served.pipeline.tokenizer.max_tokens, served.max_input_tokens
    if request.truncate and (tokenizer_limit is None or server_limit < tokenizer_limit):
        return {**options, "max_length": server_limit}
    return options


def _listed(served: ServedModel, inputs: str | list[str]) -> list[str]:
    texts = [inputs] if isinstance(inputs, str) else inputs
    served.check_count(texts)
    check_not_empty(texts, "inputs")
    return texts


def _texts_or_pairs(inputs: str | list[str | list[str]]) -> tuple[bool, list[Any]]:
    """Return whether the request is a single input, and the list of all inputs: texts, and pairs of texts."""
    if isinstance(inputs, str):
        return True, [_text_or_pair([inputs])]
    if all(isinstance(item, str) for item in inputs):
        return True, [_text_or_pair(inputs)]
    return False, [_text_or_pair(item) for item in inputs]


def _text_or_pair(texts: Any) -> Any:
    if not isinstance(texts, list) or len(texts) not in {1, 2} or not any(texts):
        raise InputError(
            f"The input {shortened(texts)} is neither a text nor a pair.",
            hint='Give "a text", ["a text", "its pair"], or several: [["a text"], ["a text", "its pair"]].',
        )
    return texts[0] if len(texts) == 1 else {"text": texts[0], "text_pair": texts[1]}


def _check_ids(ids: Any, tokens: int) -> None:
    if not isinstance(ids, list) or not ids:
        raise InputError(f"The ids are {shortened(ids)}.", hint="Give a list of ids, or a list of such lists.")
    invalid_ids = [token_id for token_id in ids if not 0 <= token_id < tokens]
    if invalid_ids:
        raise InputError(f"No token has the id {invalid_ids[0]}.", hint=f"Ids are from 0 to {tokens - 1}.")


def _tokens(text: str, encoding: Encoding) -> list[SimpleToken]:
    columns = zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True)
    return [
        SimpleToken(id=token_id, text=token, special=True, start=None, stop=None)
        if special
        else SimpleToken(id=token_id, text=text[start:stop], special=False, start=start, stop=stop)
        for token_id, token, (start, stop), special in columns
    ]


def _model_type(served: ServedModel) -> dict[str, dict[str, Any]]:
    config = served.pipeline.model.config
    labels = {
        "id2label": {str(index): label for index, label in config.id2label.items()},
        "label2id": dict(config.label2id),
    }
    if served.task == "feature-extraction":
        model = served.pipeline.model
        mode = Pooling.of(model).mode if declares_pooling(model) else None
        return {"embedding": {} if mode is None else {"pooling": mode}}
    if served.task == "text-ranking":
        return {"reranker": labels}
    if served.task == "text-classification":
        return {"classifier": labels}
    return {served.task: {}}
