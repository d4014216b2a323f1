"""The routes of Hugging Face's interface: each model has one path for all tasks."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from litestar import Response, post
from litestar.params import JSONBody

from torchless.errors import InputError, OptionError
from torchless.models.pooling import declares_pooling
from torchless.server.embeddings import SimilarityInputs, TruncationDirection, add_prompt, similarities
from torchless.server.errors import named_error
from torchless.server.interface import Interface
from torchless.server.interfaces.hugging_face.generated_text import (
    RETURN_OPTIONS,
    generation_options,
    stream_events,
    with_details,
)
from torchless.server.interfaces.hugging_face.schemas import Result
from torchless.server.models import ServedModel
from torchless.server.openapi import OptionalModelName, StreamedOperation
from torchless.server.server_request import ServerRequest
from torchless.server.server_sent_events import stream_response

__all__ = ["INTERFACE", "InferenceRequest"]

Options = dict[str, Any]

# From this release on, the client reads a zero-shot classification as a list of labels with their scores.
_LABEL_LIST_RELEASE = (1, 1, 5)
_HUB_CLIENT = re.compile(r"\bhf_hub/(\d+)\.(\d+)\.(\d+)")
_TEXT_TO_TEXT = frozenset({"summarization", "text2text-generation", "translation"})


class InferenceRequest(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A request to a model.

    Attributes:
        inputs: An input of the model's pipeline, or a list of inputs. For embeddings also
            `{"source_sentence": …, "sentences": […]}`, which returns similarities.
        parameters: The options of the task.
        stream: Send server-sent events while the text is generated.
        options: Accepted, as in Hugging Face's API, but without effect.
        normalize: For embeddings: scale them to length 1.
        truncate: For embeddings: truncate a text that is too long.
        truncation_direction: For embeddings: the end of the text to remove, right or left.
        prompt_name: For embeddings: the name of the model's prompt before each text.
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
    name: OptionalModelName = None,
) -> Response[Result]:
    """Run a model, or the first model if the path has no name. Inputs and parameters are those of its pipeline."""
    served = request.registry[request.registry.names[0] if name is None else name]
    parameters = dict(data.parameters or {})
    if served.task == "feature-extraction" and isinstance(data.inputs, Mapping):
        sentences, options = _similarity_inputs(data.inputs), _embedding_options(served, parameters, data)
        cosines = await similarities(served, sentences, options, prompt_name=data.prompt_name)
        return Response(cosines)
    many = isinstance(data.inputs, list) and not _is_chat(served, data.inputs)
    inputs = data.inputs if many else [data.inputs]
    served.check_count(inputs)
    options = _options(served, parameters, data)
    if served.task == "feature-extraction":
        inputs = add_prompt(served, inputs, data.prompt_name)
    if data.stream:
        return await _stream(served, inputs, options)
    if served.task == "text-generation" and parameters.get("details"):
        return Response(await _answer_with_details(served, inputs, options))
    results = await served.answer(inputs, options)
    if served.task == "zero-shot-classification" and _reads_label_list(request.headers.get("user-agent", "")):
        results = [_label_list(result) for result in results]
    return Response(_unwrap(served.task, results, many=many))


INTERFACE = Interface(name="Hugging Face", handlers=[infer])


def _options(served: ServedModel, parameters: Options, request: InferenceRequest) -> Options:
    """Return the pipeline's options for a request."""
    if served.task == "feature-extraction":
        return _embedding_options(served, parameters, request)
    for option in ("normalize", "truncate", "truncation_direction", "prompt_name"):
        if (value := getattr(request, option)) is not None:
            raise OptionError(
                f"{option}={value!r} is not possible: {served.name} is for {served.task}, not for embeddings.",
                hint=f"Leave {option} out.",
            )
    if served.task == "text-classification":
        return {"top_k": None, **parameters}
    if served.task == "text-generation":
        return generation_options(parameters, chat=not isinstance(request.inputs, str))
    if served.task in _TEXT_TO_TEXT:
        return _flatten_generation(parameters)
    return parameters


def _flatten_generation(parameters: Options) -> Options:
    """Return the options with those of `generate_parameters` on the same level."""
    generation = parameters.pop("generate_parameters", None) or {}
    if not isinstance(generation, Mapping):
        raise OptionError(
            f"generate_parameters={generation!r} is not a mapping.",
            hint='Give options by name: {"max_new_tokens": 64}.',
        )
    return {**parameters, **generation}


def _embedding_options(served: ServedModel, parameters: Options, request: InferenceRequest) -> Options:
    """Return the options for embeddings. As on Hugging Face's servers, the result is pooled if the folder says how."""
    if parameters.get("return_tensors"):
        raise OptionError("return_tensors is not possible over HTTP.", hint="Leave return_tensors out.")
    options: Options = {"pooling": "auto"} if declares_pooling(served.pipeline.model) else {}
    if request.normalize is not None:
        options["normalize"] = request.normalize
    if request.truncate is not None:
        options["truncation"] = request.truncate
    if request.truncation_direction is not None:
        options["truncation_side"] = request.truncation_direction.lower()
    return options | parameters


def _similarity_inputs(inputs: Any) -> SimilarityInputs:
    try:
        return msgspec.convert(inputs, SimilarityInputs)
    except msgspec.ValidationError as error:
        raise InputError(
            f"The sentences cannot be compared: {error}.", hint='Give {"source_sentence": "…", "sentences": ["…"]}.'
        ) from error


def _is_chat(served: ServedModel, inputs: Sequence[Any]) -> bool:
    return served.task == "text-generation" and len(inputs) > 0 and isinstance(inputs[0], Mapping)


async def _answer_with_details(served: ServedModel, inputs: Sequence[Any], options: Options) -> list[Any]:
    """Return generated texts with their details."""
    if options.get("num_return_sequences", 1) != 1:
        raise OptionError(
            f"num_return_sequences={options['num_return_sequences']!r} is not possible with details.",
            hint="Give num_return_sequences=1, or leave details out.",
        )
    token_options = {name: value for name, value in options.items() if name not in RETURN_OPTIONS}
    results = await served.answer(inputs, {**token_options, "return_tensors": True, "return_details": True})
    return [
        await served.run_step(partial(with_details, served.pipeline, text, options, result[0]))
        for text, result in zip(inputs, results, strict=True)
    ]


async def _stream(served: ServedModel, inputs: Sequence[Any], options: Options) -> Response[Any]:
    """Return a response that sends events while the text is generated."""
    if len(inputs) != 1:
        raise InputError(f"{len(inputs)} inputs cannot be streamed.", hint="Give one input.")
    events = stream_events(served.stream(inputs[0], options), seed=options.get("seed"))
    return await stream_response(events, named_error, name=served.name, folder=served.folder)


def _unwrap(task: str, results: list[Any], *, many: bool) -> Any:
    """Return the results with the nesting that the client reads: some tasks return a list for a single input too."""
    if task in _TEXT_TO_TEXT and all(len(result) == 1 for result in results):
        return [result[0] for result in results]
    if task == "text-classification":
        return results
    return results if many else results[0]


def _reads_label_list(user_agent: str) -> bool:
    client = _HUB_CLIENT.search(user_agent)
    return client is not None and tuple(map(int, client.groups())) >= _LABEL_LIST_RELEASE


def _label_list(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    pairs = zip(result["labels"], result["scores"], strict=True)
    return [{"label": label, "score": score} for label, score in pairs]
