"""The row of text-generation."""

from parity.contracts.contract import CUT, Contract, Model, Options, call, shapes

TEXTS = ["It is a film of quiet power.", "Dull", "A delight , isn 't it? ¡Olé! 東京", "It is"]
ASK = [{"role": "user", "content": "Who are you?"}]
GREEDY = {"do_sample": False, "max_new_tokens": 8}
GREEDY_6 = {"do_sample": False, "max_new_tokens": 6}
FAMILIES = ["gpt2", "llama", "qwen3"]

CONTRACT = Contract(
    task="text-generation",
    example="It is",
    options=GREEDY,
    model=Model("gpt2"),
    batch_models=[Model(family) for family in FAMILIES],
    batch_inputs=TEXTS,
    batch_options=[
        {"return_tensors": True},
        {"return_tensors": True, "num_beams": 2},
        {"return_tensors": True, "repetition_penalty": 1.3},
        {"return_tensors": True, "max_new_tokens": None, "max_length": 60},
    ],
    batch_warnings=[CUT],
    shape_models=[Model(family) for family in FAMILIES],
    shapes=shapes(*TEXTS),
    option_cases=[
        Options(built, called)
        for built in (
            GREEDY_6 | {"max_new_tokens": 5},
            {"do_sample": False, "max_length": 30},
            GREEDY_6 | {"return_full_text": False},
            GREEDY_6 | {"prefix": "So: "},
            GREEDY_6 | {"return_tensors": True},
        )
        for called in ({}, {"max_new_tokens": 3}, {"return_full_text": True})
    ],
    option_calls=[call(TEXTS), call(TEXTS[0])],
    wrong_inputs=[
        (call("It is. " * 400, **GREEDY), r"takes 512[\s\S]*handle_long_generation='hole'"),
        (call(1, **GREEDY), "of type int"),
        (call([{"role": "user"}], **GREEDY), "Message 0 of the chat is"),
        (call([["It is"]], **GREEDY), "Message 0 of the chat is 'It is'"),
        (call(ASK, **GREEDY), "has no chat template"),
    ],
    wrong_options=[
        (GREEDY | {"max_new_tokens": 0}, "max_new_tokens=0"),
        (GREEDY | {"top_p": 1.5}, "top_p=1.5"),
        (GREEDY | {"max_new_token": 5}, r"'max_new_token'[\s\S]*Did you mean 'max_new_tokens'"),
        (GREEDY | {"return_full_txt": True}, "'return_full_txt'"),
        (GREEDY | {"return_full_text": True, "return_tensors": True}, "exclude each other"),
        (GREEDY | {"return_full_text": True, "return_text": True}, "exclude each other"),
        (GREEDY | {"return_text": True, "return_tensors": True}, "exclude each other"),
        (GREEDY | {"handle_long_generation": "cut"}, "handle_long_generation='cut'"),
    ],
    wrong_call_options=[
        (GREEDY | {"handle_long_generation": "hole", "max_new_tokens": 512}, "leaves no room for a prompt"),
    ],
)
