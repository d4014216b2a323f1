"""The row of multiple-choice, which transformers has no pipeline for."""

import torch
import transformers
from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import CUT, Contract, Model, Options, RecordReference, Steps, call, shapes

from torchless_export.sample import sample_texts

ARCHITECTURES = [name for name in CONFIGS if name != "modernbert"]  # which has no head for it
RAIN = {"prompt": "It rains. What do you take?", "choices": ["An umbrella.", "A spoon.", "My time, and some more."]}
EATING = {"prompt": "A man eats.", "choices": ["Someone is eating.", "Nobody is."]}
HARD = [
    {"prompt": "What is it?", "choices": list(HARD_TEXTS.values())},
    *({"prompt": text, "choices": ["One.", "Another one.", "…"]} for text in HARD_TEXTS.values() if text),
]
REAL = [{"prompt": text, "choices": sample_texts(4)} for text in sample_texts(6)]
BUILT = {"truncation": True, "max_length": 8}


def reference(_, checkpoint):
    """What the documentation of AutoModelForMultipleChoice does: each choice is a pair with the prompt."""
    model = transformers.AutoModelForMultipleChoice.from_pretrained(checkpoint).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)

    def answer(question, **options):
        choices = question["choices"]
        inputs = tokenizer([question["prompt"]] * len(choices), choices, padding=True, return_tensors="pt", **options)
        with torch.inference_mode():
            (scores,) = model(**{name: tensor[None] for name, tensor in inputs.items()}).logits.softmax(-1).tolist()
        results = [
            {"choice": choice, "index": index, "score": score}
            for index, (choice, score) in enumerate(zip(choices, scores, strict=True))
        ]
        return sorted(results, key=lambda result: -result["score"])

    return RecordReference(answer, ("prompt", "choices"))


CONTRACT = Contract(
    task="multiple-choice",
    example=RAIN,
    reference=reference,
    threads=1,
    model=Model("bert"),
    batch_models=[Model(architecture) for architecture in ARCHITECTURES],
    batch_inputs=[*HARD, *REAL],
    shapes=[
        *shapes(RAIN, EATING),
        call(**RAIN),
        call(prompt=RAIN["prompt"], choices=tuple(RAIN["choices"])),
        call(prompt=[RAIN["prompt"], EATING["prompt"]], choices=[RAIN["choices"], EATING["choices"]]),
        call(prompt=[RAIN["prompt"]], choices=[RAIN["choices"]]),
        call({"prompt": "It rains.", "choices": ["I know."]}),
    ],
    option_cases=[
        Options(BUILT, {"max_length": 10}, effective={"truncation": True, "max_length": 10}),
        Options(BUILT, {"truncation": False, "max_length": None}, effective={}),
        Options(BUILT, {"truncation": False, "padding": True}, effective={}),
    ],
    option_calls=[call(RAIN), call([RAIN, EATING])],
    option_warnings=[CUT],
    wrong_inputs=[
        (call("It rains."), r"input is 'It rains.', of type str[\s\S]*Give \{\"prompt\": …, \"choices\": …\}"),
        (call(1), r"input is 1, of type int[\s\S]*Give \{\"prompt\""),
        (call([RAIN, "It rains."]), r"input is 'It rains.', of type str[\s\S]*Give \{\"prompt\""),
        (call({"prompt": "It rains."}), r"has no choices[\s\S]*Give \{\"prompt\""),
        (call({"choices": ["Yes."]}), r"has no prompt[\s\S]*Give \{\"prompt\""),
        (call({"prompt": None, "choices": ["Yes."]}), r"has no prompt[\s\S]*Give \{\"prompt\""),
        (call({"prompt": "", "choices": ["Yes."]}), r"prompt of the input is empty: ''[\s\S]*Give \{\"prompt\""),
        (
            call({"prompt": "It rains.", "choices": []}),
            r"choices of the input is empty: \[\][\s\S]*Give \{\"prompt\"",
        ),
        (
            call({"prompt": "It rains.", "choices": "Yes."}),
            r"choices are 'Yes.', not a list[\s\S]*Give a list of strings",
        ),
        (
            call({"prompt": "It rains.", "choices": [1]}),
            r"A choice is 1, of type int, not a string[\s\S]*Give a string",
        ),
        (call({"prompt": "It rains.", "choices": ["A", None]}), r"A choice is None[\s\S]*Give a string"),
        (call({"prompt": 1, "choices": ["Yes."]}), r"The prompt is 1, of type int, not a string[\s\S]*Give a string"),
        (call(), r"gives nothing[\s\S]*Give prompt=…, choices=…"),
        (call(prompt="It rains."), r"gives prompt[\s\S]*Give prompt=…, choices=…"),
        (call(choices=["Yes."]), r"gives choices[\s\S]*Give prompt=…, choices=…"),
        (
            call(inputs=RAIN, prompt="It rains."),
            r"gives prompt in addition to its inputs[\s\S]*Give prompt=…, choices=…",
        ),
        (
            call(inputs=RAIN, **EATING),
            r"gives prompt, choices in addition to its inputs[\s\S]*Give prompt=…, choices=…",
        ),
        (
            call(prompt=["A", "B"], choices=[["Yes."]]),
            r"differ in length: 2 prompt, 1 choices[\s\S]*lists of the same length",
        ),
        (call(prompt=["A", "B"], choices=["Yes.", "No."]), r"choices are 'Yes.', not a list"),
    ],
    wrong_options=[
        ({"top_k": 1}, r"no option 'top_k'[\s\S]*Valid: add_special_tokens, max_length, padding, truncation"),
        ({"truncate": True}, r"no option 'truncate'[\s\S]*Did you mean 'truncation'"),
        ({"batch_size": 0}, r"batch_size=0[\s\S]*Give a number of rows"),
    ],
    wrong_call_options=[
        ({"truncation": "longest"}, "'longest'"),
        ({"truncation": True, "max_length": -1}, "max_length=-1"),
    ],
    cut=(
        call([RAIN, {"prompt": LONG_TEXT, "choices": ["Yes.", "No."]}], truncation=True, max_length=20),
        "1 of 2 inputs were cut to 20 tokens",
    ),
    steps=Steps([RAIN, EATING], {}, rows=[3, 2]),
)
