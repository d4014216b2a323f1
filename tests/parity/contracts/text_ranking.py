"""The row of text-ranking, whose reference is the CrossEncoder of sentence-transformers."""

from functools import partial

import sentence_transformers
import torch
from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS, LONG_TEXT
from parity.contracts.contract import Contract, Model, Options, RecordReference, Steps, call, shapes

from torchless_export.sample import sample_texts

BERLIN = {"query": "Who lives in Berlin?", "documents": ["Wolfgang does.", "It rains in Paris.", "Nobody, ever."]}
EATING = {"query": "A man eats.", "documents": ["Someone is eating.", "Nobody is."]}
HARD = [
    {"query": "What is it?", "documents": list(HARD_TEXTS.values())},
    *({"query": text, "documents": ["One.", "Another one.", "…"]} for text in HARD_TEXTS.values() if text),
]
REAL = [{"query": text, "documents": sample_texts(5)} for text in sample_texts(6)]
FUNCTIONS = {"sigmoid": torch.nn.Sigmoid(), "none": torch.nn.Identity()}
ONE_LABEL = {"num_labels": 1}


def ranked(encoder, question, function_to_apply=None, **options):
    """Return CrossEncoder.rank in our keys."""
    activation = {} if function_to_apply is None else {"activation_fn": FUNCTIONS[function_to_apply]}
    results = encoder.rank(question["query"], question["documents"], return_documents=True, **activation, **options)
    return [{"index": result["corpus_id"], "score": result["score"], "text": result["text"]} for result in results]


def reference(_, checkpoint):
    encoder = sentence_transformers.CrossEncoder(str(checkpoint), device="cpu")
    return RecordReference(partial(ranked, encoder), ("query", "documents"))


CONTRACT = Contract(
    task="text-ranking",
    example=BERLIN,
    reference=reference,
    threads=1,
    model=Model("bert", ONE_LABEL),
    batch_models=[Model(architecture, ONE_LABEL) for architecture in CONFIGS],
    batch_inputs=[*HARD, *REAL],
    shapes=[
        *shapes(BERLIN, EATING),
        call(**BERLIN),
        call(query=BERLIN["query"], documents=tuple(BERLIN["documents"])),
        call(query=[BERLIN["query"], EATING["query"]], documents=[BERLIN["documents"], EATING["documents"]]),
        call(query=[BERLIN["query"]], documents=[BERLIN["documents"]]),
        call({**BERLIN, "documents": ["I do."]}),
    ],
    option_cases=[
        Options({"top_k": 2}, {"top_k": None}, effective={}),
        Options({"top_k": 2}, {"top_k": 1}, effective={"top_k": 1}),
        Options({"top_k": 2}, {"function_to_apply": "none"}, effective={"top_k": 2, "function_to_apply": "none"}),
        Options({"function_to_apply": "none"}, {"top_k": 1}, effective={"top_k": 1, "function_to_apply": "none"}),
        Options({"function_to_apply": "none"}, {"function_to_apply": None}, effective={"function_to_apply": "none"}),
        Options(
            {"function_to_apply": "none"}, {"function_to_apply": "sigmoid"}, effective={"function_to_apply": "sigmoid"}
        ),
    ],
    option_calls=[call(BERLIN), call([BERLIN, EATING])],
    wrong_inputs=[
        (call("Berlin?"), r"input is 'Berlin\?', of type str[\s\S]*Give \{\"query\": …, \"documents\": …\}"),
        (call(1), r"input is 1, of type int[\s\S]*Give \{\"query\""),
        (call([BERLIN, "Berlin?"]), r"input is 'Berlin\?', of type str[\s\S]*Give \{\"query\""),
        (call({"query": "Berlin?"}), r"has no documents[\s\S]*Give \{\"query\""),
        (call({"documents": ["Yes."]}), r"has no query[\s\S]*Give \{\"query\""),
        (call({"query": None, "documents": ["Yes."]}), r"has no query[\s\S]*Give \{\"query\""),
        (call({"query": "", "documents": ["Yes."]}), r"query of the input is empty: ''[\s\S]*Give \{\"query\""),
        (
            call({"query": "Berlin?", "documents": []}),
            r"documents of the input is empty: \[\][\s\S]*Give \{\"query\"",
        ),
        (
            call({"query": "Berlin?", "documents": "Yes."}),
            r"documents are 'Yes.', not a list[\s\S]*Give a list of strings",
        ),
        (
            call({"query": "Berlin?", "documents": [1]}),
            r"A document is 1, of type int, not a string[\s\S]*Give a string",
        ),
        (call({"query": "Berlin?", "documents": ["A", None]}), r"A document is None[\s\S]*Give a string"),
        (call({"query": 1, "documents": ["Yes."]}), r"The query is 1, of type int, not a string[\s\S]*Give a string"),
        (call(), r"gives nothing[\s\S]*Give query=…, documents=…"),
        (call(query="Berlin?"), r"gives query[\s\S]*Give query=…, documents=…"),
        (
            call(inputs=BERLIN, query="Berlin?"),
            r"gives query in addition to its inputs[\s\S]*Give query=…, documents=…",
        ),
        (
            call(query=["A", "B"], documents=[["Yes."]]),
            r"differ in length: 2 query, 1 documents[\s\S]*lists of the same length",
        ),
    ],
    wrong_options=[
        ({"topk": 1}, r"no option 'topk'[\s\S]*Did you mean 'top_k'"),
        ({"top_k": 0}, r"top_k=0[\s\S]*Give a number of documents, or None"),
        ({"top_k": "1"}, r"top_k='1'[\s\S]*Give a number of documents, or None"),
        ({"function_to_apply": "softmax"}, r"function_to_apply='softmax'[\s\S]*Valid: none, sigmoid"),
        ({"function_to_apply": ["none"]}, r"function_to_apply=\['none'\][\s\S]*Valid: none, sigmoid"),
        ({"batch_size": 0}, r"batch_size=0[\s\S]*Give a number of rows"),
    ],
    wrong_call_options=[
        ({"truncation": "longest"}, "'longest'"),
        ({"truncation": True, "max_length": -1}, "max_length=-1"),
    ],
    cut=(
        call([BERLIN, {"query": "What is it?", "documents": ["A text.", LONG_TEXT]}], truncation=True, max_length=20),
        "1 of 2 inputs were cut to 20 tokens",
    ),
    steps=Steps([BERLIN, EATING], {"top_k": 2}, rows=[3, 2]),
)
