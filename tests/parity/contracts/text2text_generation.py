"""The row of text2text-generation."""

from operator import itemgetter

from parity.contracts.contract import Contract, Model, Options, call, shapes

TEXTS = ["It is a film of quiet power.", "Dull", "A delight, isn't it?", "It is long and it is slow."]
FAMILIES = ["bart", "marian", "pegasus", "t5"]
SHORT = {"max_new_tokens": 8}

CONTRACT = Contract(
    task="text2text-generation",
    example="It is",
    listed=itemgetter(0),
    options=SHORT,
    model=Model("bart"),
    batch_models=[Model("bart")],
    batch_inputs=TEXTS,
    batch_options=[{"return_tensors": True}, {"num_beams": 1}, {"encoder_repetition_penalty": 1.3}],
    shape_models=[Model(family) for family in FAMILIES],
    shapes=shapes(*TEXTS),
    option_cases=[
        Options(SHORT, {}),
        Options(SHORT | {"num_beams": 1}, {"max_new_tokens": 3}),
        Options(SHORT, {"num_beams": 2}),
    ],
    option_calls=[call(TEXTS), call(TEXTS[0])],
    wrong_inputs=[
        (call("It is. " * 400, **SHORT), "takes 512"),
        (call(1, **SHORT), "of type int"),
        (call(["It is", None], **SHORT), "of type NoneType"),
    ],
    wrong_options=[
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        (SHORT | {"num_return_sequences": 5}, "num_return_sequences=5"),
        (SHORT | {"src_lang": "en"}, "'src_lang'"),
    ],
)
