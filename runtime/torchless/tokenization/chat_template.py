"""Chats: from messages to the text that a model was trained to continue."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from types import FunctionType
from typing import Any, NamedTuple

from torchless.errors import CheckpointError, InputError, MissingExtraError, OptionError, nearest
from torchless.folder.json_files import read_text
from torchless.folder.layout import CHAT_TEMPLATE, CHAT_TEMPLATES
from torchless.folder.model_folder import ModelFolder
from torchless.tokenization.chat_environment import ASSISTANT_BEGINS, ASSISTANT_ENDS, TRACKED, compiled, rendered
from torchless.tokenization.tool_schemas import tool_schema

__all__ = ["RenderedChat", "check_chat_options", "choose_template", "conversations_of", "read_templates", "render"]

_CONTINUED = "CONTINUE_FINAL_MESSAGE_TAG "
_USUAL_ROLES = ("system", "user", "assistant", "tool")
_ROLES = 'Give messages as {"role": "user", "content": "…"}; roles are most often ' + ", ".join(_USUAL_ROLES) + "."


class RenderedChat(NamedTuple):
    """A chat as text.

    Attributes:
        text: What the model reads.
        assistant: The start and end of each `{% generation %}` block in the text, in characters.
    """

    text: str
    assistant: list[tuple[int, int]]


def read_templates(folder: ModelFolder, config: Mapping[str, Any]) -> str | dict[str, str] | None:
    """Return the chat template of a folder, or several by name, or None where it has none.

    Files come before what `tokenizer_config.json` holds.

    Args:
        folder: The folder.
        config: The values of `tokenizer_config.json`.

    Raises:
        CheckpointError: A template cannot be read, or is malformed.

    Source: `_from_pretrained` in transformers 4.57.6, tokenization_utils_base.py.
    """
    paths = {path.stem: path for path in sorted((folder.path / CHAT_TEMPLATES).glob("*.jinja"))}
    if folder.has(CHAT_TEMPLATE):
        paths = {"default": folder.file(CHAT_TEMPLATE), **paths}
    templates: str | dict[str, str] | None = {name: read_text(path) for name, path in paths.items()}
    if not paths:
        declared: Any = config.get("chat_template")
        is_list = isinstance(declared, list)
        templates = {entry["name"]: entry["template"] for entry in declared} if is_list else declared
    elif paths.keys() == {"default"}:
        templates = read_text(paths["default"])
    for name, template in templates.items() if isinstance(templates, dict) else [("default", templates)]:
        try:
            if template is not None:
                compiled(template)
        except MissingExtraError:
            break
        except OptionError as error:
            place = paths.get(name, folder.path / "tokenizer_config.json")
            raise CheckpointError(f"{place}: {error.problem}", hint=error.hint) from error
    return templates


def check_chat_options(
    *, tokenize: bool, return_dict: bool, mask: bool, add_generation_prompt: bool, continue_final_message: bool
) -> None:
    """Raise if options of `apply_chat_template` contradict each other.

    Raises:
        OptionError: Two of them do.
    """
    contradictions = {
        ("return_dict=True", "tokenize=False"): return_dict and not tokenize,
        ("return_assistant_tokens_mask=True", "return_dict=False"): mask and not return_dict,
        ("continue_final_message=True", "add_generation_prompt=True"): continue_final_message and add_generation_prompt,
        ("continue_final_message=True", "return_assistant_tokens_mask=True"): continue_final_message and mask,
    }
    for (first, second), holds in contradictions.items():
        if holds:
            raise OptionError(f"{first} and {second} contradict each other.", hint="Leave one of them out.")


def choose_template(templates: str | Mapping[str, str] | None, chosen: str | None, *, tools: bool) -> str:
    """Return the template to render.

    Args:
        templates: The tokenizer's own, or several by name, or None.
        chosen: What the caller gave: a template, or the name of one.
        tools: Whether there are tools, for which some models have a template of their own, `tool_use`.

    Raises:
        InputError: There is no template.
        OptionError: There are several and none is the default.

    Source: `get_chat_template` in transformers 4.57.6, tokenization_utils_base.py.
    """
    if not isinstance(templates, Mapping):
        template = templates if chosen is None else chosen
        if template is None:
            raise InputError(
                "This tokenizer has no chat template.",
                hint='Give chat_template="…" (Jinja), or a string as the prompt; models of chats bring chat_template.jinja.',
            )
        return template
    if chosen is not None:
        return templates.get(chosen, chosen)
    for name in ("tool_use", "default") if tools else ("default",):
        if name in templates:
            return templates[name]
    raise OptionError("This tokenizer has several chat templates, and no default.", hint=nearest("default", templates))


def conversations_of(conversation: Any) -> tuple[bool, list[Sequence[Mapping[str, Any]]]]:
    """Return whether it is one chat, and the chats, each of messages that have a role.

    Args:
        conversation: A list of messages, or a list of such lists.

    Raises:
        InputError: It is something else, or a chat has no message.
    """
    several = (
        isinstance(conversation, list | tuple) and bool(conversation) and isinstance(conversation[0], list | tuple)
    )
    chats = list(conversation) if several else [conversation]
    for chat in chats:
        if not isinstance(chat, list | tuple) or not chat:
            raise InputError(f"{chat!r} is not a chat.", hint=f"Give a list of messages. {_ROLES}")
        for index, message in enumerate(chat):
            if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
                raise InputError(f"Message {index} of the chat has no role: {message!r}.", hint=_ROLES)
    return not several, chats


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any] | Callable[..., Any]] | None = None,
    documents: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    variables: Mapping[str, Any] | None = None,
    track_assistant: bool = False,
) -> RenderedChat:
    """Turn a chat into text.

    Args:
        template: In Jinja; it runs in a sandbox.
        messages: The messages, each with its role.
        tools: What the model may call: JSON schemas, or functions with type hints and a docstring.
        documents: What it may read, most often with a `title` and a `text`.
        add_generation_prompt: End with what begins the assistant's turn.
        continue_final_message: Leave the last message open, so that the model continues it.
        variables: What else the template may use: special tokens, switches such as `enable_thinking`.
        track_assistant: Also tell where the assistant speaks, as the template says with `{% generation %}`.

    Raises:
        InputError: The template refuses the messages, leaves out one of a role that it does not know, or leaves out the
            last one, which is to be continued.
        OptionError: The template is malformed, or a tool or document has the wrong type.
        MissingExtraError: jinja2 is not installed.

    Source: `render_jinja_template` in transformers 4.57.6, utils/chat_template_utils.py.
    """
    values = {
        "tools": None if tools is None else [_as_schema(tool) for tool in tools],
        "documents": None if documents is None else [_as_document(document) for document in documents],
        "add_generation_prompt": add_generation_prompt,
        **(variables or {}),
        TRACKED: track_assistant,
    }
    chat = _opened(messages) if continue_final_message else messages
    try:
        text = rendered(template, {"messages": chat, **values})
    except InputError as error:
        raise InputError(error.problem, hint=f"Its last message is {messages[-1]!r}. {_ROLES}") from error
    for index, message in enumerate(messages):
        _check_not_lost(message, index, template, text)
    if continue_final_message:
        text = _cut_open(text, messages[-1])
    return _spans(text) if track_assistant else RenderedChat(text, [])


def _as_schema(tool: Any) -> Mapping[str, Any]:
    if isinstance(tool, Mapping):
        return tool
    if isinstance(tool, FunctionType):
        return tool_schema(tool)
    raise OptionError(
        f"{tool!r} is not a tool.", hint="Give a JSON schema as a dict, or a function with type hints and a docstring."
    )


def _as_document(document: Any) -> Mapping[str, Any]:
    if isinstance(document, Mapping):
        return document
    raise OptionError(f"{document!r} is not a document.", hint='Give documents as {"title": "…", "text": "…"}.')


def _check_not_lost(message: Mapping[str, Any], index: int, template: str, text: str) -> None:
    """Raise if a role that nobody knows cost a message its place: the reference would silently go on without it."""
    role, content = message["role"], message.get("content")
    known = role in _USUAL_ROLES or f"'{role}'" in template or f'"{role}"' in template
    if not known and isinstance(content, str) and content.strip() not in text:
        raise InputError(f"The chat template leaves out message {index}, whose role is {role!r}.", hint=_ROLES)


def _opened(messages: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Return the messages with a mark at the end of the last one."""
    chat = deepcopy(list(messages))
    block, key = _end_of(chat[-1])
    block[key] += _CONTINUED
    return chat


def _end_of(message: Any) -> tuple[Any, str]:
    """Return where the last text of a message is: the message itself, or a block of its content."""
    content = message.get("content")
    if isinstance(content, str):
        return message, "content"
    for block in reversed(content) if isinstance(content, list | tuple) else ():
        if isinstance(block, Mapping) and "text" in block:
            return block, "text"
    raise InputError(
        f"The last message has no text to continue: {message!r}.",
        hint="Give one with a text, or add_generation_prompt=True instead of continue_final_message=True.",
    )


def _cut_open(text: str, last: Mapping[str, Any]) -> str:
    """Return the text up to the mark."""
    block, key = _end_of(last)
    mark = text.rfind(_CONTINUED.strip())
    if mark < 0 or block[key].strip() not in text:
        raise InputError(
            f"The chat template leaves out the last message, which is to be continued: {last!r}.",
            hint="Give another chat_template, or add_generation_prompt=True instead of continue_final_message=True.",
        )
    # A template that strips messages stripped the mark's own space, and so the message's.
    return text[:mark] if text.startswith(_CONTINUED, mark) else text[:mark].rstrip()


def _spans(text: str) -> RenderedChat:
    plain, spans, begun = "", [], 0
    for part in text.replace(ASSISTANT_ENDS, ASSISTANT_BEGINS + ASSISTANT_ENDS).split(ASSISTANT_BEGINS):
        if part.startswith(ASSISTANT_ENDS):
            spans.append((begun, len(plain)))
        begun = len(plain)
        plain += part.removeprefix(ASSISTANT_ENDS)
    return RenderedChat(plain, spans)
