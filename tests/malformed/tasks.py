"""Task files with one mistake each."""

from collections.abc import Iterator

from tests.malformed.cases import Case, finetune, mistakes, spoiled_toml, to_toml, write_text

TASK = {
    "kind": "classification",
    "train": "sound/train.csv",
    "validation": "sound/validation.csv",
    "text": ["review"],
    "label": "verdict",
    "labels": ["bad", "good"],
    "metrics": ["accuracy"],
}


def cases() -> Iterator[Case]:
    for what, fields, *mentions in _wrong_tasks():
        yield Case(
            "task", what, finetune("own.toml"), write_text("own.toml", to_toml(fields)), tuple(mentions)
        )
    for what, spoil in spoiled_toml("own.toml", to_toml(TASK)):
        yield Case("task", what, finetune("own.toml"), spoil, ("own.toml",))


def _wrong_tasks() -> Iterator[tuple]:
    for what, fields in mistakes(TASK, optional=frozenset({"label", "labels"})):
        yield what, fields, *([] if what == "validation is a list" else ["own.toml"])
    for what, change, *mentions in (
        ("unknown kind", {"kind": "ranking"}, "kind", "classification"),
        ("kind in capitals", {"kind": "Classification"}, "kind"),
        ("train file not there", {"train": "nowhere.csv"}, "nowhere.csv", "not exist"),
        ("validation file not there", {"validation": "nowhere.csv"}, "nowhere.csv", "not exist"),
        ("train is a directory", {"train": "sound/folder.csv"}, "sound/folder.csv", "directory"),
        ("unknown format", {"train": "sound/train.xlsx"}, "train.xlsx", ".xlsx"),
        ("no suffix", {"train": "sound/train"}, "sound/train", "format"),
        ("no validation file", {"validation": []}, "validation"),
        ("validation is a list of numbers", {"validation": [1]}, "validation"),
        ("two validation files of one stem", {"validation": ["a/dev.csv", "b/dev.csv"]}, "'dev'"),
        ("a validation file called train", {"validation": ["a/train.csv", "b/dev.csv"]}, "'train'"),
        ("scored on the train file", {"validation": "sound/train.csv"}, "sound/train.csv"),
        ("no text column", {"text": []}, "text"),
        ("three text columns", {"text": ["a", "b", "c"]}, "text"),
        ("a text column twice", {"text": ["review", "review"]}, "'review'"),
        (
            "a text column that is not there",
            {"text": ["revue"]},
            "train.csv",
            "'revue'",
            "Did you mean 'review'",
        ),
        ("the second text column is not there", {"text": ["review", "reply"]}, "train.csv", "'reply'"),
        ("a label column that is not there", {"label": "verdikt"}, "train.csv", "Did you mean 'verdict'"),
        ("the label is the text", {"label": "review"}, "'review'"),
        ("one label", {"labels": ["good"]}, "labels"),
        ("no labels", {"labels": []}, "labels"),
        ("a label twice", {"labels": ["good", "good"]}, "labels"),
        ("an empty label", {"labels": ["good", ""]}, "labels"),
        ("labels that differ in case", {"labels": ["good", "Good", "bad"]}, "case"),
        ("labels with fractions", {"labels": [0.5, 1.5]}, "labels"),
        ("labels that the data do not have", {"labels": ["yes", "no"]}, "train.csv", "row 0", "'verdict'"),
        ("labels spelled in capitals", {"labels": ["Good", "Bad"]}, "train.csv", "Spell it"),
        ("a label that is left out", {"labels": ["good", "meh"]}, "train.csv", "'bad'", "'verdict'"),
        ("no metrics", {"metrics": []}, "metrics"),
        ("an unknown metric", {"metrics": ["bleu"]}, "bleu", "accuracy"),
        ("a metric in capitals", {"metrics": ["Accuracy"]}, "metrics"),
        ("a metric twice", {"metrics": ["accuracy", "accuracy"]}, "metrics"),
        ("a correlation for labels", {"metrics": ["pearson"]}, "pearson"),
        ("f1 of three labels", {"labels": ["a", "b", "c"], "metrics": ["f1"]}, "macro_f1"),
        ("a regression scored by accuracy", {"kind": "regression", "labels": None}, "pearson"),
        ("a regression with labels", {"kind": "regression", "metrics": ["pearson"]}, "labels"),
        (
            "a regression over words",
            {"kind": "regression", "labels": None, "metrics": ["pearson"]},
            "train.csv",
            "row 0",
            "'verdict'",
        ),
        ("a name", {"name": "x"}, "'name'"),
        ("a source", {"source": "x"}, "'source'"),
        ("a version", {"version": 2}, "'version'"),
        ("a weak teacher is allowed", {"weak_teacher_allowed": True}, "'weak_teacher_allowed'"),
    ):
        fields = {key: value for key, value in {**TASK, **change}.items() if value is not None}
        yield (what, fields, *mentions)
