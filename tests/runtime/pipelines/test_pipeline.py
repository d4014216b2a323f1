import threading
from itertools import count, islice

import pytest

from torchless import AutoModelForSequenceClassification, InputError, OptionError, TaskError, pipeline


@pytest.fixture(scope="module")
def folder(tiny):
    return tiny.export("bert", "text-classification", num_labels=3)


@pytest.fixture(scope="module")
def classify(folder):
    return pipeline("text-classification", folder)


def test_an_unknown_task():
    with pytest.raises(TaskError, match=r"no task 'sentiment'[\s\S]*Did you mean 'sentiment-analysis'"):
        pipeline("sentiment", "models/sentiment")


def test_no_model():
    with pytest.raises(OptionError, match="no model to load"):
        pipeline()


def test_the_task_is_read_from_the_folder(folder, classify):
    assert pipeline(model=folder)("A film.") == classify("A film.")


def test_a_loaded_model(folder, classify, tiny):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert pipeline("sentiment-analysis", model)("A film.") == classify("A film.")
    assert pipeline("sentiment-analysis", model, tokenizer=folder)("A film.") == classify("A film.")
    with pytest.raises(
        TaskError, match="the class AutoModelForSequenceClassification, which does not serve feature-extraction"
    ):
        pipeline("feature-extraction", model)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 1}, r"no option 'topk'[\s\S]*Did you mean 'top_k'[\s\S]*function_to_apply"),
        ({"top_k": 0}, "top_k=0"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_k": "3"}, "top_k='3'"),
        ({"top_k": 1.5}, "top_k=1.5"),
        ({"function_to_apply": "softmin"}, r"'softmin'[\s\S]*Did you mean 'softmax'"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
    ids=str,
)
def test_wrong_options(classify, folder, built, options, message):
    with pytest.raises(OptionError, match=message):
        pipeline("text-classification", folder, **options) if built else classify("A film.", **options)


@pytest.mark.parametrize(
    "options",
    [{"truncation": "longest"}, {"truncation": True, "max_length": -1}, {"truncation": True, "max_length": "8"}],
    ids=str,
)
def test_wrong_truncation(classify, options):
    with pytest.raises(OptionError, match="truncation|max_length"):
        classify("A film.", **options)


@pytest.mark.parametrize(
    "text",
    [
        None,
        1,
        1.5,
        b"bytes",
        ("a", "b"),
        ["a", ["b", "c"]],
        [["a", "b"]],
        [[["a", "b", "c"]]],
        {"text": 1},
        {"text_pair": "b"},
        {"text": "a", "pair": "b"},
        ["a", None],
    ],
    ids=repr,
)
def test_wrong_inputs(classify, text):
    with pytest.raises(InputError):
        classify(text)


def test_no_inputs(classify):
    assert classify([]) == []
    assert list(classify(iter([]))) == []


def test_an_iterator_is_read_only_as_far_as_needed(classify):
    source = count()
    answers = classify(f"Text {number}." for number in source)
    assert list(islice(answers, 3)) == classify(["Text 0.", "Text 1.", "Text 2."])
    assert next(source) == 3


def test_an_iterator_fails_at_a_wrong_input(classify):
    answers = classify(iter(["fine", None]))
    assert next(answers)["label"]
    with pytest.raises(InputError):
        next(answers)


@pytest.mark.filterwarnings("ignore::torchless.TruncationWarning")
def test_one_pipeline_for_many_threads(classify):
    texts = [f"Text number {number}, " * (1 + number % 7) for number in range(60)]
    options = [{"truncation": True, "max_length": 5 + number % 20} for number in range(60)]
    expected = [classify([text], **chosen)[0] for text, chosen in zip(texts, options, strict=True)]
    got = [None] * len(texts)

    def work(start):
        for index in range(start, len(texts), 6):
            got[index] = classify([texts[index]], **options[index])[0]

    threads = [threading.Thread(target=work, args=(start,)) for start in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert got == expected


def test_the_steps_are_separate(classify):
    texts = ["A film.", "Another film, and a longer one.", "x"]
    rows = [classify.preprocess(text) for text in texts]
    outputs = classify.forward([row for (row,) in rows])
    answers = [
        classify.postprocess(text, row, [output]) for text, row, output in zip(texts, rows, outputs, strict=True)
    ]
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in classify(texts)]


@pytest.mark.parametrize(
    "option", [{"prefix": 1}, {"skip_special_tokens": 1}, {"handle_long_generation": []}, {"stop_sequence": ""}]
)
def test_impossible_values_of_text_generation(tiny, option):
    generate = pipeline("text-generation", tiny.export("gpt2", "text-generation"))
    ((name, value),) = option.items()
    with pytest.raises(OptionError) as error:
        generate("A film", max_new_tokens=1, **option)
    assert f"{name}={value!r}" in error.value.problem


def test_a_max_answer_len_above_the_length_of_the_context(tiny):
    answer = pipeline("question-answering", tiny.export("bert", "question-answering"))
    inputs = {"question": "Who?", "context": "Sarah lives in London."}
    assert answer(**inputs, max_answer_len=10**30) == answer(**inputs, max_answer_len=100)
