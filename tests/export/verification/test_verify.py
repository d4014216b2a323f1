import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from torchless import ExportError, OptionError
from torchless.folder.manifest import Manifest, Verification
from torchless.tasks import find_task
from torchless_export.export import Silent, export
from torchless_export.quantization import variants as variants_module
from torchless_export.quantization.variants import Recipe
from torchless_export.sample import sample_texts, texts_of_kinds
from torchless_export.verification.cases import CASES, Difference
from torchless_export.verification.samples import Sample
from torchless_export.verification.texts import calibration_texts, read_texts, verification_texts
from torchless_export.verification.verify import Measurement, Reference, check, least_agreement

TASK = "text-classification"
CHECKED = find_task(TASK)
THEIRS, OURS = ([{"label": label, "score": score}] for label, score in (("A", 0.9), ("B", 0.8)))


@pytest.fixture
def checkpoint(tiny):
    return str(tiny.checkpoint("bert", TASK, num_labels=3))


@pytest.fixture
def out(tmp_path):
    return tmp_path / "models" / "out"


def changed(weight, change):
    """A recipe that changes a weight of the fp32 graph."""

    def make(source, target, _):
        model = onnx.load(source)
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name.endswith(weight)]
        tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor)), tensor.name))
        onnx.save(model, target)

    return Recipe(scheme="broken", make=make)


def with_recipe(monkeypatch, recipe):
    monkeypatch.setattr("torchless_export.export.VARIANTS", table := {**variants_module.VARIANTS, "int8": recipe})
    monkeypatch.setattr(variants_module, "VARIANTS", table)


def measured(*differences, answers=None):
    """A measurement of texts that differ so."""
    values = np.concatenate([difference.values for difference in differences])
    agreement = float(np.mean([difference.agreement for difference in differences]))
    result = Verification(
        texts=len(differences), agreement=agreement, max_abs_diff=float(values.max()),
        mean_abs_diff=float(values.mean()), ms_per_text=1.0, reference_ms_per_text=2.0,
    )  # fmt: skip
    return Measurement(result, differences, answers or [OURS] * len(differences))


def difference(agreement, *values):
    return Difference(agreement, np.array(values), 1 - max(values))


class TestGate:
    reference = Reference([Sample(f"text {index}", None) for index in range(10)], [THEIRS] * 10, 2.0)

    def test_the_limit(self):
        nine = measured(*[difference(1.0, 0.1)] * 9, difference(0.0, 0.5))
        check("q8", self.reference, nine, CHECKED, min_agreement=0.9)
        with pytest.raises(
            ExportError, match=r"q8 agrees with PyTorch on 90\.00% of 10 texts, and the least is 91\.00%"
        ):
            check("q8", self.reference, nine, CHECKED, min_agreement=0.91)

    def test_fp32_must_agree_entirely(self):
        check("fp32", self.reference, measured(*[difference(1.0, 1e-5)] * 10), CHECKED, min_agreement=0.0)
        for worse in (difference(1.0, 2e-4), difference(0.9, 1e-5)):
            with pytest.raises(ExportError, match="fp32 gives other answers"):
                check("fp32", self.reference, measured(*[difference(1.0, 1e-5)] * 9, worse), CHECKED, min_agreement=0.0)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    @pytest.mark.parametrize("dtype", ["fp32", "fp16"])
    def test_what_is_no_number_never_passes(self, dtype, value):
        broken = measured(*[difference(1.0, 0.0)] * 9, difference(1.0, 0.0, value))
        with pytest.raises(ExportError, match=rf"{dtype} answers 1 of 10 texts with NaN.*\n  'text 9'"):
            check(dtype, self.reference, broken, CHECKED, min_agreement=0.0)

    def test_the_worst_five_are_named(self):
        share = measured(*[difference(index / 10, 0.1) for index in range(10)])
        with pytest.raises(ExportError) as error:
            check("q4", self.reference, share, CHECKED, min_agreement=0.99)
        lines = error.value.problem.splitlines()[1:]
        assert lines == [f"  'text {index}': PyTorch 'A' at 0.9000, q4 'B' at 0.8000" for index in range(5)]

    @pytest.mark.parametrize(
        ("dtype", "ways_out"),
        [
            ("q8", {"Leave q8 out of --dtype", "--calibrate-with", "--min-agreement", "--keep-passing"}),
            ("q4", {"Leave q4 out of --dtype", "--min-agreement", "--keep-passing"}),
            ("fp32", {"Report it with the model's name"}),
        ],
    )
    def test_the_ways_out_are_named(self, dtype, ways_out):
        with pytest.raises(ExportError) as error:
            check(
                dtype,
                self.reference,
                measured(*[difference(0.5, 0.1)] * 10),
                CHECKED,
                min_agreement=0.99,
                calibrated=dtype == "q8",
            )
        assert all(way in error.value.hint for way in ways_out)
        assert ("--calibrate-with" in error.value.hint) == (dtype == "q8")


def test_a_variant_below_the_limit_leaves_nothing(checkpoint, out, monkeypatch):
    with_recipe(monkeypatch, changed("classifier.weight", lambda weight: -weight))
    with pytest.raises(ExportError, match=r"int8 agrees with PyTorch on .*the least is 99\.00%.*\n  '.*LABEL_"):
        export(checkpoint, out, Silent(), dtypes=("fp32", "int8"))
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("task", CASES)
def test_a_graph_that_answers_nan_fails(tiny, out, monkeypatch, task):
    """Also where nothing is asked of a variant's agreement."""
    model_type, weight = {
        "text-generation": ("gpt2", "transformer.ln_f.weight"),
        "text2text-generation": ("bart", "layernorm_embedding.weight"),
    }.get(task, ("bert", None))
    checkpoint = str(tiny.checkpoint(model_type, task))
    graph = onnx.load(next((tiny.export(model_type, task) / "onnx").iterdir())).graph
    weight = weight or next(
        tensor.name for tensor in graph.initializer if tensor.name.endswith("1.output.LayerNorm.weight")
    )
    with_recipe(monkeypatch, changed(weight, lambda array: np.full_like(array, np.nan)))
    with pytest.raises(ExportError, match=r"int8 answers (\d+) of \1 texts with NaN"):
        export(
            checkpoint, out, Silent(), task=task, dtypes=("fp32", "int8"), min_agreement=0.0,
            verify_with=tiny.few_texts(),
        )  # fmt: skip
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("min_agreement", [-0.1, 1.1, float("nan")])
def test_an_agreement_is_a_share(checkpoint, out, min_agreement):
    with pytest.raises(OptionError, match="0 to 1"):
        export(checkpoint, out, Silent(), min_agreement=min_agreement)


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        (("fp32", "fp8"), "There is no export of dtype 'fp8'"),
        (("fp32", "int8", "fp32"), r"'fp32' is named twice\.\n  .*fp32,int8"),
        ((), "There is no dtype to export"),
    ],
)
def test_dtypes_that_cannot_be(checkpoint, out, dtypes, message):
    with pytest.raises(OptionError, match=message):
        export(checkpoint, out, Silent(), dtypes=dtypes)


class TestTexts:
    def test_lines(self, tmp_path):
        path = tmp_path / "texts.txt"
        path.write_bytes("\ufeffA film.\n\n   \r\nDas ist schön.\r\n".encode())
        assert read_texts(path, "--verify-with") == ["A film.", "Das ist schön."]

    @pytest.mark.parametrize("option", ["verify_with", "calibrate_with"])
    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"\n \n", "holds no text"), (b"caf\xe9", "is not text in UTF-8"), (None, "cannot be read: No such file")],
    )
    def test_files_that_cannot_be(self, checkpoint, out, tmp_path, option, content, message):
        path = tmp_path / "texts.txt"
        if content is not None:
            path.write_bytes(content)
        flag = "--" + option.replace("_", "-")
        with pytest.raises(ExportError, match=rf"texts\.txt {message}[\s\S]*Give {flag} a text file in UTF-8"):
            export(checkpoint, out, Silent(), dtypes=("fp32", "q8"), **{option: path})
        assert not out.parent.exists()

    def test_calibration_is_held_out(self):
        verification = verification_texts(None)
        calibration = calibration_texts(None, verification)
        others = [text for texts in texts_of_kinds("calibration").values() for text in texts]
        assert (len(set(verification)), len(set(calibration))) == (250, 128 + len(others))
        assert not set(verification) & set(calibration)

    def test_each_kind_has_texts_for_both(self):
        verification, calibration = texts_of_kinds("verification"), texts_of_kinds("calibration")
        assert verification.keys() == calibration.keys()
        for kind, texts in verification.items():
            assert len(texts) >= 3
            assert len(calibration[kind]) >= 6
            assert not set(texts) & set(calibration[kind])

    def test_where_too_few_are_left(self):
        assert len(set(calibration_texts(None, sample_texts())) & set(sample_texts())) == 128


@pytest.mark.parametrize(
    ("dtype", "task", "least"),
    [
        ("q4", "text-classification", 0.99), ("q8", "text-generation", 0.9), ("q4", "text-generation", 0.8),
        ("q4f16", "summarization", 0.8),
    ],
)  # fmt: skip
def test_the_least_agreement(dtype, task, least):
    assert least_agreement(dtype, find_task(task), None) == least
    assert least_agreement(dtype, find_task(task), 0.0) == 0.0


def test_what_changes_the_outcome_exports_again(checkpoint, out, tmp_path, tiny):
    options = {"dtypes": ("fp32", "int8"), "min_agreement": 0.0, "verify_with": tiny.few_texts()}
    first, _ = export(checkpoint, out, Silent(), **options)
    assert export(checkpoint, out, Silent(), **options) == (first, False)
    assert "calibration" not in first.source["texts"]
    same_texts = shutil.copy(tiny.few_texts(), tmp_path / "same.txt")
    assert export(checkpoint, out, Silent(), **{**options, "verify_with": same_texts})[1] is False
    other_texts = tmp_path / "others.txt"
    other_texts.write_text("\n".join(sample_texts(5)))
    second, anew = export(checkpoint, out, Silent(), **{**options, "verify_with": other_texts})
    assert anew
    assert second.variants["int8"].verification.texts == 5 + 4 + 2  # pairs, and the shortest and the longest text


def test_calibration(checkpoint, out, tmp_path, tiny, monkeypatch):
    """A dtype that is calibrated sees what the graph is given, and other texts export it again."""
    given = []

    def make(source, target, rows):
        given.append(rows.runs)
        shutil.copy(source, target)

    with_recipe(monkeypatch, Recipe(scheme="copied", make=make, calibrated=True))
    options = {"dtypes": ("fp32", "int8"), "verify_with": tiny.few_texts()}
    texts = tmp_path / "texts.txt"
    for count in (3, 5, 5):
        texts.write_text("\n".join(sample_texts(count)))
        manifest, _ = export(checkpoint, out, Silent(), calibrate_with=texts, **options)
    assert given == [3, 5]
    assert manifest.source["texts"].keys() == {"verification", "calibration"}
    export(checkpoint, out, Silent(), **options)
    assert given == [3, 5, len(calibration_texts(None, []))]


def test_an_earlier_export_that_agrees_too_little_is_not_up_to_date(checkpoint, out, tiny):
    options = {"dtypes": ("fp32", "int8"), "verify_with": tiny.few_texts()}
    manifest, _ = export(checkpoint, out, Silent(), min_agreement=0.0, **options)
    values = json.loads((out / "torchless.json").read_text())
    values["variants"]["int8"]["verification"]["agreement"] = 0.5
    (out / "torchless.json").write_text(json.dumps(values))
    assert export(checkpoint, out, Silent(), min_agreement=0.5, **options)[1] is False
    assert export(checkpoint, out, Silent(), min_agreement=0.51, **options)[1] is True
    assert (
        Manifest.read(out).variants["int8"].verification.agreement == manifest.variants["int8"].verification.agreement
    )


class TestKinds:
    def test_the_manifest_has_the_least_of_each(self, embeddings):
        """Also of the kinds that differ most from the rest of the calibration."""
        variants = Manifest.read(embeddings).variants
        assert variants["fp32"].verification.kinds == dict.fromkeys(texts_of_kinds("verification"), 1.0)
        least = variants["q8"].verification.kinds
        assert least.keys() == texts_of_kinds("verification").keys()
        assert 0.99 <= min(least.values()) < 1

    def test_only_fp32_must_agree_on_them(self, checkpoint, out, tiny, monkeypatch):
        """Other variants are measured."""
        with_recipe(monkeypatch, changed("classifier.weight", lambda weight: -weight))
        options = {"dtypes": ("fp32", "int8"), "min_agreement": 0.0, "verify_with": tiny.few_texts()}
        kinds = export(checkpoint, out, Silent(), **options)[0].variants["int8"].verification.kinds
        assert max(kinds.values()) < 1

    def test_by_score(self):
        expected = [{"entity": "A", "start": 0, "end": 1, "score": 0.5}]
        compare = CASES["token-classification"].compare
        assert compare(expected, [{**expected[0], "score": 0.25}]).similarity == 0.75
        assert compare(expected, []).similarity == 0

    def test_hidden_states_by_the_cosine_of_their_means(self):
        got = np.array([[[1.0, 0.0], [0.0, 1.0]]])
        assert CASES["feature-extraction"].compare(np.array([[[1.0, 0.0], [1.0, 0.0]]]), got).similarity == (
            pytest.approx(np.sqrt(0.5))
        )


class TestAgreement:
    """Of one text."""

    def test_entities_count_by_token(self):
        expected = [{"entity": "A", "start": index, "end": index + 1, "score": 0.5} for index in range(4)]
        got = [{**expected[0], "entity": "B"}, *expected[1:3], {**expected[3], "score": 0.25}]
        result = CASES["token-classification"].compare(expected, got)
        assert (result.agreement, result.values.max()) == (0.75, 0.25)
        assert CASES["token-classification"].compare([], []).agreement == 1
        assert CASES["token-classification"].compare(expected, got[:3]).agreement == 0

    def test_hidden_states_count_by_token(self):
        expected = np.eye(4)[None]
        got = expected.copy()
        got[0, 0] = [1.0, 0.1, 0.0, 0.0]
        got[0, 1] = [1.0, 1.0, 0.0, 0.0]
        assert CASES["feature-extraction"].compare(expected, got).agreement == 0.75

    def test_only_what_both_have_is_measured(self):
        expected = [{"token": 1, "score": 0.5}, {"token": 2, "score": 0.25}]
        got = [{"token": 2, "score": 0.5}, {"token": 3, "score": 0.4}]
        result = CASES["fill-mask"].compare(expected, got)
        assert (result.agreement, list(result.values)) == (0.0, [0.25])
        assert CASES["fill-mask"].compare(expected, got[1:]).values.size == 0
