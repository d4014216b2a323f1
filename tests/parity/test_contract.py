"""The contracts that the pipelines of all tasks keep: a test function for each contract, a row of the table for each task.

The row of a new task is a file in `contracts` and a line in the table.
"""

from itertools import chain, islice, product

import pytest
from fixtures.comparison import Both
from parity.contracts import (
    feature_extraction,
    fill_mask,
    multiple_choice,
    question_answering,
    text2text_generation,
    text_classification,
    text_generation,
    text_ranking,
    token_classification,
    zero_shot_classification,
)

import torchless

TABLE = [
    feature_extraction.CONTRACT,
    fill_mask.CONTRACT,
    multiple_choice.CONTRACT,
    question_answering.CONTRACT,
    text2text_generation.CONTRACT,
    text_classification.CONTRACT,
    text_generation.CONTRACT,
    text_ranking.CONTRACT,
    token_classification.CONTRACT,
    zero_shot_classification.CONTRACT,
]


@pytest.fixture(scope="session")
def both(tiny):
    """The two pipelines of a task on a model; each is made once."""
    loaded = {}

    def load(contract, model):
        key = f"{contract.task} {model}"
        if key not in loaded:
            loaded[key] = Both(contract.make_reference(tiny, model), contract.make_ours(tiny, model))
        return loaded[key]

    return load


def rows(values, *, warnings=None):
    """Return the parameters of a test function: each row of the table, with each of the values that the function tests."""
    return [
        pytest.param(
            contract,
            *items,
            id="-".join([contract.task, *(str(item)[:60] for item in items if not isinstance(item, str))]),
            marks=pytest.mark.filterwarnings(
                *contract.ignored_warnings, *(getattr(contract, warnings) if warnings else ())
            ),
        )
        for contract in TABLE
        for items in values(contract)
    ]


@pytest.mark.parametrize(
    ("contract", "model"), rows(lambda row: [(model,) for model in row.batch_models], warnings="batch_warnings")
)
def test_batch_size_changes_no_answer(contract, model, both, tiny):
    ours = both(contract, model).ours
    inputs = contract.batch_inputs(ours) if callable(contract.batch_inputs) else contract.batch_inputs
    built = [contract.make_ours(tiny, model, {"batch_size": batch_size}) for batch_size in (1, 3, 32)]
    for changes in contract.batch_options:
        options = {**contract.options, **changes}
        alone = [contract.listed(ours(item, batch_size=1, **options)) for item in inputs]
        for batch_size in (1, 3, 32, None):
            contract.compare(alone, ours(inputs, batch_size=batch_size, **options), tolerance=1e-5)
        for pipe in built:
            contract.compare(alone[-3:], pipe(inputs[-3:], **options), tolerance=1e-5)


@pytest.mark.parametrize(
    ("contract", "model", "call", "options"),
    rows(lambda row: product(row.shape_models or [row.model], row.shapes, row.shape_options)),
)
def test_shapes_of_inputs(contract, model, call, options, both):
    pipes = both(contract, model)
    contract.assert_same_answers(
        *(call.on(pipe, {**contract.options, **options}) for pipe in (pipes.reference, pipes.ours))
    )


@pytest.mark.parametrize(("contract", "options"), rows(lambda row: [(options,) for options in row.empty_options]))
def test_no_inputs(contract, options, both):
    ours = both(contract, contract.model).ours
    assert ours([], **contract.options, **options) == []
    assert list(ours(iter([]), **contract.options, **options)) == []


@pytest.mark.parametrize("contract", rows(lambda row: [()]))
def test_an_iterator_is_read_only_as_far_as_needed(contract, both):
    pipes = both(contract, contract.model)
    read = []
    results = pipes.ours((read.append(item) or item for item in [contract.example, *[None] * 8]), **contract.options)
    expected = pipes.reference((item for item in [contract.example] * 2), **contract.options)
    contract.compare(next(iter(expected)), next(results))
    assert len(read) < 4
    with pytest.raises(torchless.InputError, match="is None"):
        next(results)


@pytest.mark.parametrize(
    ("contract", "model", "options"),
    rows(lambda row: product(row.option_models or [row.model], row.option_cases), warnings="option_warnings"),
)
def test_options_of_the_constructor_and_the_call(contract, model, options, tiny, both):
    ours = contract.make_ours(tiny, model, options.built)
    if options.effective is None:
        reference, effective = contract.make_reference(tiny, model, options.built), options.called
    else:
        reference, effective = both(contract, model).reference, options.effective
    for call in (*contract.option_calls, *options.calls):
        contract.assert_same_answers(call.on(reference, effective), call.on(ours, options.called))


@pytest.mark.parametrize(("contract", "call", "message"), rows(lambda row: row.wrong_inputs))
def test_wrong_inputs(contract, call, message, both):
    with pytest.raises(torchless.InputError, match=message):
        call.on(both(contract, contract.model).ours, {})


@pytest.mark.parametrize(("contract", "options", "message"), rows(lambda row: row.wrong_options))
def test_wrong_options_of_the_constructor(contract, options, message, tiny):
    with pytest.raises(torchless.OptionError, match=message):
        contract.make_ours(tiny, contract.model, options)


@pytest.mark.parametrize(
    ("contract", "options", "message"), rows(lambda row: [*row.wrong_options, *row.wrong_call_options])
)
def test_wrong_options_of_a_call(contract, options, message, both):
    ours = both(contract, contract.model).ours
    with pytest.raises(torchless.OptionError, match=message):
        ours(contract.example, **options)


@pytest.mark.parametrize(("contract", "options", "message"), rows(lambda row: row.wrong_options))
def test_wrong_options_of_a_call_without_inputs(contract, options, message, both):
    ours = both(contract, contract.model).ours
    with pytest.raises(torchless.OptionError, match=message):
        ours([], **options)


@pytest.mark.parametrize(("contract", "call", "message"), rows(lambda row: [row.cut] if row.cut else []))
def test_a_cut_warns(contract, call, message, both):
    ours = both(contract, contract.model).ours
    with pytest.warns(torchless.TruncationWarning, match=message):
        call.on(ours, contract.options)


@pytest.mark.parametrize(("contract", "steps"), rows(lambda row: [(row.steps,)] if row.steps else []))
def test_the_steps_are_separate(contract, steps, both, tiny):
    pipes = both(contract, contract.model)
    options = pipes.ours.with_options(pipes.ours.options, steps.options)
    built = contract.make_ours(tiny, contract.model, steps.options)
    for pipe, arguments in ((pipes.ours, [options]), (built, [])):
        rows_of_inputs = [pipe.preprocess(item, *arguments) for item in steps.inputs]
        assert [len(rows_of_input) for rows_of_input in rows_of_inputs] == steps.rows
        outputs = iter(pipe.forward(list(chain.from_iterable(rows_of_inputs))))
        results = [
            pipe.postprocess(item, item_rows, list(islice(outputs, len(item_rows))), *arguments)
            for item, item_rows in zip(steps.inputs, rows_of_inputs, strict=True)
        ]
        assert results == built(list(steps.inputs))
        contract.compare([pipes.reference(item, **steps.options) for item in steps.inputs], results)
