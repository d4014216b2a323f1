"""Hugging Face's interface: one address a model, whatever its task. `huggingface_hub.InferenceClient` speaks it."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from litestar import Response, post
from litestar.params import JSONBody

from torchless.errors import InputError, OptionError
from torchless.server.embeddings import SimilarityInputs, TruncationDirection, pools, prompted, similarities
from torchless.server.errors import named_error
from torchless.server.interface import Interface
from torchless.server.interfaces.hugging_face.generated_text import (
    RETURNS,
    described,
    generation_options,
    stream_events,
)
from torchless.server.interfaces.hugging_face.schemas import Result
from torchless.server.models import ServedModel
from torchless.server.openapi import MaybeModelName, StreamedOperation
from torchless.server.server_request import ServerRequest
from torchless.server.server_sent_events import stream_response

__all__ = ["INTERFACE", "InferenceRequest"]

Options = dict[str, Any]

# From this release on, the client reads zero-shot classifications as a list of labels with their scores.
_LISTS_LABELS_SINCE = (1, 1, 5)
_HUB_CLIENT = re.compile(r"\bhf_hub/(\d+)\.(\d+)\.(\d+)")
_TEXT_TO_TEXT = frozenset({"summarization", "text2text-generation", "translation"})


class InferenceRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to answer.

    Attributes:
        inputs: One input or a list, as the model's pipeline takes them; for embeddings also
            `{"source_sentence": …, "sentences": […]}`, which is answered with similarities.
        parameters: The task's options.
        stream: Answer with server-sent events, while the text is generated.
        options: Accepted as Hugging Face's API accepts them, and without effect.
        normalize: Of embeddings: scale them to length 1.
        truncate: Of embeddings: cut a text that is too long.
        truncation_direction: Of embeddings: what is cut, the text's right end or its left.
        prompt_name: Of embeddings: which of the model's prompts comes before each text.
    """

    inputs: Any
    parameters: dict[str, Any] | None = None
    stream: bool | None = None
    options: dict[str, Any] | None = None
    normalize: bool | None = None
    truncate: bool | None = None
    truncation_direction: TruncationDirection | None = None
    prompt_name: str | None = None


@post(["/", "/models/{name:str}"], status_code=200, operation_class=StreamedOperation)
async def infer(
    data: JSONBody[InferenceRequest],
    request: ServerRequest,
    name: MaybeModelName = None,
) -> Response[Result]:
    """Answer by a model, without a name by the first: inputs and parameters are those of its pipeline."""
    served = request.registry[request.registry.names[0] if name is None else name]
    parameters = dict(data.parameters or {})
    if served.task == "feature-extraction" and isinstance(data.inputs, Mapping):
        sentences, options = _similarity(data.inputs), _of_embeddings(served, parameters, data)
        cosines = await similarities(served, sentences, options, prompt_name=data.prompt_name)
        return Response(cosines)
    many = isinstance(data.inputs, list) and not _is_chat(served, data.inputs)
    inputs = data.inputs if many else [data.inputs]
    options = _options(served, parameters, data)
    if served.task == "feature-extraction":
        inputs = prompted(served, inputs, data.prompt_name)
    if data.stream:
        return await _streamed(served, inputs, options)
    if served.task == "text-generation" and parameters.get("details"):
        return Response(await _described(served, inputs, options))
    results = await served.answer(inputs, options)
    if served.task == "zero-shot-classification" and _lists_labels(request.headers.get("user-agent", "")):
        results = [_labels(result) for result in results]
    return Response(_unwrapped(served.task, results, many=many))


INTERFACE = Interface(name="Hugging Face", handlers=[infer])


def _options(served: ServedModel, parameters: Options, request: InferenceRequest) -> Options:
    """Return the pipeline's options for a request."""
    if served.task == "feature-extraction":
        return _of_embeddings(served, parameters, request)
    for option in ("normalize", "truncate", "truncation_direction", "prompt_name"):
        if (value := getattr(request, option)) is not None:
            raise OptionError(f"{option}={value!r} is of embeddings.", hint=f"{served.name} is for {served.task}.")
    if served.task == "text-classification":
        return {"top_k": None, **parameters}
    if served.task == "text-generation":
        return generation_options(parameters, chat=not isinstance(request.inputs, str))
    if served.task in _TEXT_TO_TEXT:
        return _with_generation(parameters)
    return parameters


def _with_generation(parameters: Options) -> Options:
    """Return options with those of generation beside the others, not within."""
    generation = parameters.pop("generate_parameters", None) or {}
    if not isinstance(generation, Mapping):
        raise OptionError(
            f"generate_parameters={generation!r} is no mapping.", hint='Give them by name: {"max_new_tokens": 64}.'
        )
    return {**parameters, **generation}


def _of_embeddings(served: ServedModel, parameters: Options, request: InferenceRequest) -> Options:
    """Return the options for embeddings: one a text where the model's folder says how, as Hugging Face's servers do."""
    if parameters.get("return_tensors"):
        raise OptionError("return_tensors makes no JSON.", hint="Leave return_tensors out.")
    options: Options = {"pooling": "auto"} if pools(served) else {}
    if request.normalize is not None:
        options["normalize"] = request.normalize
    if request.truncate is not None:
        options["truncation"] = request.truncate
    if request.truncation_direction is not None:
        options["truncation_side"] = request.truncation_direction.lower()
    return options | parameters


def _similarity(inputs: Any) -> SimilarityInputs:
    try:
        return msgspec.convert(inputs, SimilarityInputs)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The sentences cannot be compared: {error}.", hint='Give {"source_sentence": "…", "sentences": ["…"]}.'
        ) from error


def _is_chat(served: ServedModel, inputs: Sequence[Any]) -> bool:
    return served.task == "text-generation" and len(inputs) > 0 and isinstance(inputs[0], Mapping)


async def _described(served: ServedModel, inputs: Sequence[Any], options: Options) -> list[Any]:
    """Answer with texts, and with how they were generated."""
    if options.get("num_return_sequences", 1) != 1:
        raise OptionError(
            f"num_return_sequences={options['num_return_sequences']!r} has no details.", hint="num_return_sequences=1"
        )
    kept_options = {name: value for name, value in options.items() if name not in RETURNS}
    results = await served.answer(inputs, {**kept_options, "return_tensors": True, "return_details": True})
    return [
        await asyncio.to_thread(described, served.pipeline, text, options, result[0])
        for text, result in zip(inputs, results, strict=True)
    ]


async def _streamed(served: ServedModel, inputs: Sequence[Any], options: Options) -> Response[Any]:
    """Answer with events while the text is generated."""
    if len(inputs) != 1:
        raise InputError(f"{len(inputs)} inputs cannot be streamed.", hint="Give one.")
    events = stream_events(served.stream(inputs[0], options), seed=options.get("seed"))
    return await stream_response(events, named_error)


def _unwrapped(task: str, results: list[Any], *, many: bool) -> Any:
    """Return results nested as the client reads them: those of a text generated, or classified, are a list of their own."""
    if task in _TEXT_TO_TEXT and all(len(result) == 1 for result in results):
        return [result[0] for result in results]
    if task == "text-classification":
        return results
    return results if many else results[0]


def _lists_labels(user_agent: str) -> bool:
    client = _HUB_CLIENT.search(user_agent)
    return client is not None and tuple(map(int, client.groups())) >= _LISTS_LABELS_SINCE


def _labels(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = zip(result["labels"], result["scores"], strict=True)
    return [{"label": label, "score": score} for label, score in pairs]
