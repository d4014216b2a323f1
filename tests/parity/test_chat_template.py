import json
from pathlib import Path
from typing import Literal

import jinja2
import pytest
import transformers
from fixtures.chat_templates import MISTRAL, TEMPLATES
from fixtures.checkpoints import byte_level_bpe
from fixtures.comparison import assert_same

from torchless.errors import InputError, OptionError
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.tool_schemas import tool_schema

ASK = {"role": "user", "content": "What is “1 < 2 & 3” in 'Zürich'?  "}
ANSWER = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nIt is true.\n"}
SYSTEM = {"role": "system", "content": "Be brief."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2}}}],
}
CHATS = {
    "one question": [ASK],
    "a conversation": [ASK, ANSWER, {"role": "user", "content": "Why?"}],
    "with a system message": [SYSTEM, ASK, ANSWER, ASK],
    "an answer last": [SYSTEM, ASK, ANSWER],
}
TOOL_CHAT = [ASK, CALL, {"role": "tool", "content": "rain"}, {"role": "tool", "content": "sun"}]


def weather(city: str, days: int | None = None, unit: Literal["C", "F"] = "C", places: list[str] | None = None) -> str:
    """Tell the weather.

    It is a guess.

    Args:
        city: Where,
            in words
        days: How many: one or more
        unit: Which (choices: ["C", "F"])
        places: What else

    Returns:
        A sentence.
    """


def odd(
    pair: tuple[int, str], table: dict[str, float], either: int | str, some: dict, options: bool | list[int] = True
):
    """Take
    much.

    Args:
        pair: A
        table: B
        either: C
        some: D
        options: E
    """


SCHEMA = tool_schema(weather)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Make (the reference, ours) on the same folder, whose tokenizer has a chat template."""

    def save(chat_template, *, in_files=True):
        folder = tmp_path_factory.mktemp("chat")
        backend = byte_level_bpe(["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="</s>",
            additional_special_tokens=["<|im_start|>", "<|im_end|>"], chat_template=chat_template,
        )  # fmt: skip
        tokenizer.save_pretrained(folder, save_jinja_files=in_files)
        (folder / "config.json").write_text("{}")
        return transformers.AutoTokenizer.from_pretrained(folder), Tokenizer.from_pretrained(folder)

    return save


@pytest.fixture(scope="module")
def tokenizers(folders):
    return {name: folders(template) for name, template in TEMPLATES.items()}


def assert_same_chat(both, chat, **options):
    """Fail where two tokenizers differ in their answers, or where only one raises an error."""
    (expected, expected_error), (got, error) = (answer_or_error(tokenizer, chat, options) for tokenizer in both)
    assert_same(expected, got)
    assert expected_error in error


def answer_or_error(tokenizer, chat, options):
    try:
        return tokenizer.apply_chat_template(chat, **options), ""
    except (InputError, jinja2.TemplateError, ValueError) as error:
        return None, str(error)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("chat", CHATS)
def test_a_chat(tokenizers, template, chat):
    for prompt in (True, False):
        for tokenize in (True, False):
            options = {"add_generation_prompt": prompt, "tokenize": tokenize}
            assert_same_chat(tokenizers[template], CHATS[chat], **options)


@pytest.mark.parametrize("template", ["llama 3", "qwen 3"])
@pytest.mark.parametrize("tools", [[SCHEMA], [weather, odd]], ids=["schema", "functions"])
def test_tools(tokenizers, template, tools):
    for chat in (TOOL_CHAT, TOOL_CHAT[:2], [ASK]):
        options = {"tools": tools, "add_generation_prompt": True, "tokenize": False}
        assert_same_chat(tokenizers[template], chat, **options)


@pytest.mark.parametrize("thinking", [True, False])
def test_the_variables_of_a_template(tokenizers, thinking):
    options = {"add_generation_prompt": True, "enable_thinking": thinking, "tokenize": False}
    assert_same_chat(tokenizers["qwen 3"], [ASK], **options)
    assert_same_chat(tokenizers["llama 3"], [ASK], date_string="26 Jul 2024", bos_token="<bos>", tokenize=False)
    documents = [{"title": title, "text": f"About {title}."} for title in "abc"]
    assert_same_chat(tokenizers["documents"], [ASK], documents=documents, tokenize=False)


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_last_message_is_continued(tokenizers, template):
    for last in ("It is", "It is ", "\nIt is\n\n"):
        chat = [ASK, {"role": "assistant", "content": last}]
        assert_same_chat(tokenizers[template], chat, continue_final_message=True, tokenize=False)


def test_content_in_blocks(tokenizers):
    blocks = [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two"}, {"type": "image"}]
    chat = [{"role": "user", "content": blocks}]
    assert_same_chat(tokenizers["gemma"], chat, tokenize=False)
    assert_same_chat(tokenizers["gemma"], chat, continue_final_message=True, tokenize=False)


@pytest.mark.parametrize("template", ["chatml", "mistral"])
def test_many_chats_and_the_columns_that_are_returned(tokenizers, template):
    chats = [CHATS["one question"], CHATS["a conversation"]]
    expected, ours = tokenizers[template]
    assert_same_chat((expected, ours), chats)
    assert_same_chat((expected, ours), chats, tokenize=False)
    for options in (
        {"return_dict": True},
        {"return_dict": True, "padding": True, "return_tensors": "np"},
        {"return_dict": True, "truncation": True, "max_length": 9},
        {"return_dict": True, "tokenizer_kwargs": {"return_special_tokens_mask": True}},
    ):
        columns, got = (tokenizer.apply_chat_template(chats, **options) for tokenizer in (expected, ours))
        assert_same({name: rows if isinstance(rows, list) else rows.tolist() for name, rows in columns.items()},
                    {name: rows if isinstance(rows, list) else rows.tolist() for name, rows in got.items()})  # fmt: skip


@pytest.mark.parametrize(
    "options", [{}, {"truncation": True, "max_length": 60}, {"padding": "max_length", "max_length": 90}]
)
@pytest.mark.parametrize("tensors", ["np", None])
def test_the_assistants_tokens(tokenizers, options, tensors):
    for chat in (CHATS["a conversation"], [ASK, ANSWER, ASK, ANSWER]):
        expected, got = (
            tokenizer.apply_chat_template(
                chat, return_dict=True, return_assistant_tokens_mask=True, return_tensors=tensors, **options
            )["assistant_masks"]
            for tokenizer in tokenizers["mistral"]
        )
        assert 1 in (got if tensors is None else got[0])
        assert (expected if tensors is None else expected.tolist()) == (got if tensors is None else got.tolist())


@pytest.mark.parametrize("in_files", [True, False])
def test_several_templates(folders, in_files):
    named = {"default": TEMPLATES["chatml"], "tool_use": TEMPLATES["qwen 3"], "plain": "{{ messages[0].content }}"}
    both = folders(named, in_files=in_files)
    assert both[1].chat_template == both[0].chat_template == named
    for options in ({}, {"tools": [SCHEMA]}, {"chat_template": "plain"}, {"chat_template": "{{ messages | length }}"}):
        assert_same_chat(both, CHATS["a conversation"], tokenize=False, **options)


def test_one_template_of_the_configuration(folders):
    both = folders(MISTRAL, in_files=False)
    assert "chat_template" in json.loads((Path(both[0].name_or_path) / "tokenizer_config.json").read_text())
    assert_same_chat(both, CHATS["a conversation"])


def test_several_templates_without_a_default(folders):
    expected, ours = folders({"one": "1", "two": "2"})
    with pytest.raises(ValueError, match="no default"):
        expected.apply_chat_template([ASK])
    with pytest.raises(OptionError, match="no default") as raised:
        ours.apply_chat_template([ASK])
    assert "one, two" in raised.value.hint


@pytest.mark.parametrize("function", [weather, odd])
def test_schemas_of_functions(function):
    assert tool_schema(function) == transformers.utils.get_json_schema(function)
