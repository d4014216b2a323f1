"""The row of question-answering."""

from fixtures.checkpoints import CONFIGS
from fixtures.texts import HARD_TEXTS
from parity.contracts.contract import Contract, Generated, Model, Options, Steps, call

from torchless_export.sample import sample_texts

ARCHITECTURES = tuple(architecture for architecture in CONFIGS if architecture != "modernbert")
QUESTION = "Who lives in Berlin?"
CONTEXT = "My name is Wolfgang Müller-Lüdenscheidt, and I live in Berlin. Sarah O'Neill doesn't live in berlin."
CONTEXTS = [text for text in HARD_TEXTS.values() if text] + sample_texts(6) + [CONTEXT]
RECORDS = [
    *({"question": QUESTION, "context": context} for context in CONTEXTS),
    *({"question": question, "context": CONTEXT} for question in CONTEXTS),
]
REVIEWS = " ".join(sample_texts(12))
SQUAD_EXAMPLES = "ignore:Passing a list of SQuAD examples:FutureWarning"

CONTRACT = Contract(
    task="question-answering",
    example=RECORDS[0],
    threads=1,
    ignored_warnings=[SQUAD_EXAMPLES],
    model=Model("bert"),
    batch_models=[Model(architecture) for architecture in ARCHITECTURES],
    batch_inputs=[{"question": QUESTION, "context": context} for context in [*CONTEXTS, REVIEWS]],
    batch_options=[{"max_seq_len": 48, "doc_stride": 16, "top_k": 2}],
    shapes=[
        call(RECORDS[-1]),
        call(RECORDS[-1], RECORDS[-2]),
        call([RECORDS[-1]]),
        call([RECORDS[-1], RECORDS[-2]]),
        call((RECORDS[-1], RECORDS[-2])),
        call({"question": [QUESTION, "Who?"], "context": [CONTEXT, REVIEWS]}),
        call({"question": [QUESTION], "context": [CONTEXT]}),
        call([{"question": [QUESTION], "context": [CONTEXT]}]),
        call(QUESTION, CONTEXT),
        call(Generated(RECORDS[-3:])),
        call(Generated(RECORDS[-1:])),
        call([]),
        call(question=QUESTION, context=CONTEXT),
        call(question=[QUESTION], context=CONTEXT),
        call(question=[QUESTION, "Who?"], context=CONTEXT),
        call(question=[QUESTION, "Who?"], context=[CONTEXT, REVIEWS]),
        call(question=[QUESTION], context=[CONTEXT]),
        call(question=[], context=CONTEXT),
        call(question=[], context=[]),
    ],
    shape_options=[{}, {"top_k": 3}, {"top_k": 1, "handle_impossible_answer": True}],
    option_cases=[
        Options({"top_k": 3}, {}),
        Options({"top_k": 3}, {"top_k": 1}),
        Options({"top_k": 3}, {"top_k": None}),
        Options({"max_seq_len": 32}, {"doc_stride": 4}),
        Options({"max_seq_len": 32, "doc_stride": 4}, {"max_seq_len": 40, "top_k": 3}),
        Options({"align_to_words": False, "max_answer_len": 2}, {"top_k": 3}),
        Options({"align_to_words": False}, {"align_to_words": True, "top_k": 2}),
        Options({"handle_impossible_answer": True, "top_k": 20}, {}),
        Options({"handle_impossible_answer": True}, {"handle_impossible_answer": False}),
    ],
    option_calls=[call(question=QUESTION, context=CONTEXT), call(question=QUESTION, context=REVIEWS)],
    wrong_inputs=[
        (call(), r"gives nothing[\s\S]*question=…, context=…"),
        (call(None), "gives nothing"),
        (call("A question."), r"'A question.', of type str[\s\S]*\"question\": …"),
        (call(1), "1, of type int"),
        (call([None]), "None, of type NoneType"),
        (call(["a", "b"]), "'a', of type str"),
        (call({}), "has no question"),
        (call({"question": "a"}), r"{'question': 'a'} has no context"),
        (call({"question": "a", "context": None}), "has no context"),
        (call({"question": "", "context": "b"}), "question of the input is empty: ''"),
        (call({"question": "a", "context": ""}), "context of the input is empty: ''"),
        (call([RECORDS[0], {"question": "a", "context": ""}]), "context of the input is empty: ''"),
        (call({"question": "a", "context": ["b"]}), r"The context is \['b'\], of type list[\s\S]*Give a string"),
        (call({"question": 1, "context": "b"}), "The question is 1, of type int"),
        (call({"question": ["a"], "context": ["b", "c"]}), r"1 question, 2 context[\s\S]*same length"),
        (call("a", "b", "c"), "'a', of type str"),
        (call(question="a"), "gives question"),
        (call(context="a"), "gives context"),
        (call(question="a", context=["b"]), r"The context is \['b'\]"),
        (call(question=["a", "b"], context=["c"]), r"2 question, 1 context[\s\S]*same length"),
        (call(question="", context="a"), "question of the input is empty"),
        (call(question=["a", ""], context="a"), "question of the input is empty"),
        (call(question="a", context=""), "context of the input is empty"),
        (call(RECORDS[0], question="a", context="b"), "question, context in addition to its inputs"),
    ],
    wrong_options=[
        ({"top_k": 0}, r"top_k=0[\s\S]*above 0"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_k": "3"}, "top_k='3'"),
        ({"max_answer_len": 0}, "max_answer_len=0"),
        ({"max_seq_len": 0}, "max_seq_len=0"),
        ({"max_question_len": 1.5}, "max_question_len=1.5"),
        ({"doc_stride": -1}, r"doc_stride=-1[\s\S]*number of tokens"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"max_answer_length": 3}, r"no option 'max_answer_length'[\s\S]*Did you mean 'max_answer_len'"),
        ({"truncation": True}, r"no option 'truncation'[\s\S]*Valid: align_to_words"),
    ],
    steps=Steps(
        [{"question": QUESTION, "context": REVIEWS}, {"question": QUESTION, "context": "Nobody."}],
        {"top_k": 3, "max_seq_len": 48},
        rows=[17, 1],
    ),
)
