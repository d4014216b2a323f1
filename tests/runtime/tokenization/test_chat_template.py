import os
import re
import shutil
import sys
import time

import pytest
from fixtures.chat_templates import CHATML, LLAMA_3, MISTRAL, QWEN_3
from fixtures.checkpoints import byte_level_bpe

from torchless import AutoTokenizer
from torchless.errors import CheckpointError, InputError, MissingExtraError, OptionError
from torchless.tokenization import chat_environment
from torchless.tokenization.tokenizer import Tokenizer
from torchless.tokenization.tool_schemas import tool_schema

ASK = [{"role": "user", "content": "Hi."}]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(byte_level_bpe(["<s>", "</s>"]), {"bos_token": "<s>", "eos_token": "</s>"}, chat_template=CHATML)


def untyped(city):
    """Tell the weather.

    Args:
        city: Where
    """


def undescribed(city: str):
    """Tell the weather."""


def unknown(*, cities: set[str]):
    """Tell the weather.

    Args:
        cities: Where
    """


def undocumented(city: str):
    pass


@pytest.mark.parametrize(
    ("chat", "message"),
    [
        ("Hi.", "'Hi.' is not a chat"),
        ([], "[] is not a chat"),
        ([[]], "[] is not a chat"),
        (["Hi."], "Message 0 of the chat has no role: 'Hi.'"),
        ([*ASK, {"content": "Hi."}], "Message 1 of the chat has no role"),
        ([{"role": 1, "content": "Hi."}], "Message 0 of the chat has no role"),
        (ASK[0], "is not a chat"),
    ],
)
def test_what_is_no_chat(tokenizer, chat, message):
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        tokenizer.apply_chat_template(chat)
    assert '{"role": "user", "content": "…"}' in raised.value.hint


def test_a_role_that_the_template_refuses(tokenizer):
    message = r"refuses this chat in line \d+: After the optional system message, roles must alternate"
    with pytest.raises(InputError, match=message):
        tokenizer.apply_chat_template([{"role": "usr", "content": "Hi."}], chat_template=MISTRAL)


def test_a_role_that_the_template_leaves_out(tokenizer):
    with pytest.raises(InputError, match=r"leaves out message 1, whose role is 'asistant'") as raised:
        tokenizer.apply_chat_template([*ASK, {"role": "asistant", "content": "Ho."}], chat_template=QWEN_3)
    assert "assistant" in raised.value.hint


def test_a_content_that_is_none(tokenizer):
    with pytest.raises(InputError, match=r"refuses this chat in line 4: .*None"):
        tokenizer.apply_chat_template([{"role": "user", "content": None}])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for message in messages %}\n{{ message.content }", "malformed in line 2, '{{ message.content }'"),
        ("Hi.\n\n{% endfor %}", "malformed in line 3, '{% endfor %}'"),
        ("{{ messages | shout }}", "malformed in line 1"),
    ],
)
def test_a_malformed_template(tokenizer, template, message):
    with pytest.raises(OptionError, match=re.escape(message)) as raised:
        tokenizer.apply_chat_template(ASK, chat_template=template)
    assert "chat_template.jinja" in raised.value.hint


@pytest.mark.parametrize(
    "template", ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ messages.pop }}{{ x.y }}"]
)
def test_the_sandbox(tokenizer, template):
    with pytest.raises(InputError, match="refuses this chat in line 1"):
        tokenizer.apply_chat_template(ASK, chat_template=template)


def test_no_template():
    with pytest.raises(InputError, match="has no chat template") as raised:
        Tokenizer(byte_level_bpe([]), {}).apply_chat_template(ASK)
    assert "chat_template=" in raised.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"return_dict": True, "tokenize": False},
        {"return_assistant_tokens_mask": True},
        {"continue_final_message": True, "add_generation_prompt": True},
        {"continue_final_message": True, "return_assistant_tokens_mask": True, "return_dict": True},
    ],
)
def test_contradictions(tokenizer, options):
    with pytest.raises(OptionError, match="contradict each other"):
        tokenizer.apply_chat_template(ASK, **options)


@pytest.mark.parametrize(
    ("messages", "template", "message"),
    [
        ([{"role": "user", "content": [{"type": "image"}]}], CHATML, "has no text to continue"),
        ([{"role": "user"}], CHATML, "has no text to continue"),
        (ASK, "nothing", "leaves out the last message"),
    ],
)
def test_what_cannot_be_continued(tokenizer, messages, template, message):
    with pytest.raises(InputError, match=message):
        tokenizer.apply_chat_template(messages, chat_template=template, continue_final_message=True)


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("weather", "'weather' is not a tool"),
        (untyped, "city of the tool untyped has no type hint"),
        (undescribed, "does not describe city"),
        (undocumented, "has no docstring"),
        (unknown, "which JSON has no type for"),
    ],
)
def test_what_is_no_tool(tokenizer, tool, message):
    with pytest.raises(OptionError, match=message):
        tokenizer.apply_chat_template(ASK, tools=[tool], chat_template=LLAMA_3)


def test_what_is_no_document(tokenizer):
    with pytest.raises(OptionError, match="'Paris' is not a document"):
        tokenizer.apply_chat_template(ASK, documents=["Paris"])


def test_messages_are_left_as_they_are(tokenizer):
    messages = [*ASK, {"role": "assistant", "content": "Ho"}]
    before = [dict(message) for message in messages]
    text = tokenizer.apply_chat_template(messages, continue_final_message=True, tokenize=False)
    assert text.endswith("<|im_start|>assistant\nHo")
    assert messages == before


def test_without_the_extra(tokenizer, monkeypatch):
    chat_environment.compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError) as raised:
        tokenizer.apply_chat_template(ASK)
    assert raised.value.hint == "pip install 'torchless[chat]'"


def test_a_schema_is_made_of_a_copy():
    def weather(city: str, day: str):
        """Tell.

        Args:
            city: Where
            day: When
        """

    properties = tool_schema(weather)["function"]["parameters"]["properties"]
    assert [item["description"] for item in properties.values()] == ["Where", "When"]


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% set ns = namespace(n=0) %}{% for i in range(9999) %}{% for j in range(9999) if j %}{% set ns.n = j %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{{ f(n - 1) if n }}{{ f(n - 1) if n }}{% endmacro %}{{ f(40) }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 'x' * 10 ** 10 }}",
        "{{ [0] * 10 ** 12 }}",
        "{{ 10 ** 10 ** 10 }}",
        "{{ 'x'.center(10 ** 10) }}",
        "{{ 'x' | center(10000000000) }}",
        "{{ 'x' | center(width=10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '%*d' % (10000000000, 1) }}",
        "{{ '%10000000000d' | format(1) }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ ('a' * 10000000).replace('a', 'b' * 10000) }}",
        "{{ ('a' * 10000000) | replace('a', 'b' * 10000) }}",
        "{{ ('b' * 10000).join('a' * 10000000) }}",
        "{{ (['a'] * 10000000) | join('b' * 10000) }}",
        "{{ ('\t' * 10000000).expandtabs(10000) }}",
        "{{ ('\n' * 10000000) | indent(10000, blank=True) }}",
    ],
)
def test_a_template_without_an_end(tokenizer, template):
    begin = time.monotonic()
    with pytest.raises(InputError, match="The chat template refuses this chat"):
        tokenizer.apply_chat_template(ASK, chat_template=template)
    assert time.monotonic() - begin < 60


def test_loops_keep_their_variables(tokenizer):
    template = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ '.' if loop.last }}{{ loop.previtem is defined }}"
        "{% else %}none{% endfor %}{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}"
        "{% for m in nothing %}x{% else %}none{% endfor %}{{ 'a' * 3 + 'b' }}{{ '%s' % 5 }}"
    )
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}, {"role": "user", "content": "Ho"}], chat_template=template, tokenize=False
    )
    assert text == "1/2False2/2.Truerole=user;content=Hi;noneaaab5"


@pytest.mark.parametrize(
    "template", ["{% for %}", "{{ x", "{% endfor %}", "{{ '\ud800' }}" * 2, "{% if x %}" * 200 + "{% endif %}" * 200]
)
def test_a_malformed_template_is_refused_when_a_folder_is_loaded(tiny, tmp_path, template):
    folder = shutil.copytree(tiny.export("qwen3", "text-generation"), tmp_path / "folder")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(CheckpointError, match=r"chat_template.jinja"):
        AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("place", ["chat_template.jinja", "additional_chat_templates/tool_use.jinja"])
@pytest.mark.parametrize("kind", ["binary", "folder", "pipe", "dangling"])
def test_a_template_that_cannot_be_read(tiny, tmp_path, place, kind):
    folder = shutil.copytree(tiny.export("qwen3", "text-generation"), tmp_path / "folder")
    path = folder / place
    path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True)
    make = {"binary": lambda: path.write_bytes(b"\xff"), "folder": path.mkdir, "pipe": lambda: os.mkfifo(path)}
    make.get(kind, lambda: path.symlink_to("nowhere"))()
    with pytest.raises(CheckpointError, match=path.name):
        AutoTokenizer.from_pretrained(folder)
