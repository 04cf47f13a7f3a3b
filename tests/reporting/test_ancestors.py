"""What models went through before the task: in the data, on the page, in the README."""

import re
import shutil

import pytest

from compress.recipes.pretraining import Generator
from compress.reporting import check_report, write_report
from compress.reporting.candidates import list_candidates
from compress.reporting.card import render_card
from compress.reporting.compare import compare
from compress.reporting.data import read_data, write_data
from compress.reporting.essentials import list_commands, list_essentials, order_by_making
from compress.reporting.html import render_html
from compress.reporting.lineage import describe_making
from compress.reporting.markdown import render_markdown
from compress.runs import StoredRun, TrainSplit, read_run, write_record


def write(runs, folder):
    write_data(runs, folder, title="T", command="compress report runs/sample")
    return read_data(folder)


def ids(*runs):
    return tuple(sorted(stored.run.id for stored in runs))


@pytest.fixture
def section(ancestry, tmp_path):
    (section,) = compare(write(ancestry.runs, tmp_path / "report")).sections
    return section


class TestData:
    def test_ancestors_come_along_all_the_way_back(self, ancestry, tmp_path):
        data = write(ancestry.runs, tmp_path / "report")
        earlier = (ancestry.first, ancestry.longer, ancestry.general)
        assert data.manifest.runs == ids(*ancestry.runs)
        assert data.manifest.ancestors == ids(*earlier)
        assert {each.run.id: list(each.history) for each in data.ancestors} == {
            stored.run.id: stored.history for stored in earlier
        }
        folder = tmp_path / "report" / "data" / ancestry.first.run.id
        assert {path.name for path in folder.iterdir()} == {"run.json", "history.jsonl"}

    def test_what_is_gone_is_left_out_with_all_behind_it(self, ancestry, tmp_path):
        shutil.rmtree(ancestry.longer.path)
        assert write(ancestry.runs, tmp_path / "report").manifest.ancestors == ids(ancestry.general)

    def test_what_was_redone_with_another_key_is_left_out(self, ancestry, tmp_path):
        run = ancestry.longer.run.model_copy(update={"key": "ffffffff"})
        write_record(ancestry.longer.path / "run.json", run)
        assert write(ancestry.runs, tmp_path / "report").manifest.ancestors == ids(ancestry.general)

    def test_a_task_is_no_ancestor(self, ancestry, tmp_path):
        """Guards a teacher that is shown as what came before the task although nobody asked for it."""
        data = write([ancestry.student], tmp_path / "report")
        assert ancestry.teacher.run.id not in data.manifest.ancestors
        assert ancestry.first.run.id in data.manifest.ancestors  # by way of the general stage

    def test_a_run_beside_its_store_has_none(self, ancestry, tmp_path):
        copied = shutil.copytree(ancestry.teacher.path, tmp_path / "elsewhere")
        assert write([read_run(copied)], tmp_path / "report").manifest.ancestors == ()

    def test_no_record_leads_out_of_its_store(self, ancestry, kit, tmp_path):
        outside = f"../private/{ancestry.first.run.stage.kind}-00000001"
        run = ancestry.first.run.model_copy(update={"id": outside})
        write_record(ancestry.store.root / outside / "run.json", run)
        parent = kit.Parent(role="model", name="x", origin=f"run {outside}", key=run.key)
        teacher = ancestry.teacher.run.model_copy(update={"parents": (parent,)})
        data = write([StoredRun(teacher, ancestry.teacher.path)], tmp_path / "report")
        assert data.manifest.ancestors == ()

    def test_a_check_knows_of_them(self, ancestry, tmp_path):
        report = tmp_path / "report"
        write_report(ancestry.runs, report, command="c")
        assert check_report(report, ancestry.runs) == []
        history = f"{ancestry.first.run.id}/history.jsonl"
        (ancestry.first.path / "history.jsonl").write_text('{"step": 1, "loss": 1}\n')
        assert check_report(report, ancestry.runs) == [f"data/{history} differs from the run's file"]
        shutil.rmtree(ancestry.general.path)
        assert (
            f"data/{ancestry.general.run.id}/run.json is in the report but not in the runs"
            in check_report(report, ancestry.runs)
        )
        (report / "data" / history).unlink()
        assert check_report(report) == [f"data/{history} is missing"]


class TestWords:
    def test_how_a_model_was_made_says_what_it_learned_before(self, ancestry):
        known = {
            stored.run.id: stored.run
            for stored in (ancestry.first, ancestry.longer, ancestry.general, *ancestry.runs)
        }
        assert {name.split("/")[2][:-9]: describe_making(run, known) for name, run in known.items()} == {
            "pretrain": "pretrained from nothing (nsp) · pretrained further (nsp)",
            "finetune": "fine-tuned, pretrained here from nothing",
            "general": "general stage (tinybert) from bert-mini",
            "distill": "distilled (logits) from bert-mini",
        }
        assert describe_making(ancestry.first.run, known) == "pretrained from nothing (nsp)"
        assert describe_making(ancestry.teacher.run, {}) == "fine-tuned"

    def test_a_task_that_was_learned_first_is_told(self, kit, store):
        """Guards a teacher that passes for one taught this task alone: what it learned first stands in its lineage."""
        shape = {"size": 9, "parameters": 9}
        first = store.add("bert", kit.FINETUNE, task=kit.TASK.model_copy(update={"name": "mnli"}), **shape)
        parents = {"parents": [kit.child_of(first, "model")]}
        tuned = store.add("bert", kit.FINETUNE, lineage=first.run.descent, **parents, **shape)
        assert describe_making(tuned.run, {}) == "fine-tuned (MNLI first)"
        assert describe_making(tuned.run, {}, copies=False) == "fine-tuned"
        known = {first.run.id: first.run, tuned.run.id: tuned.run}
        older = tuned.run.model_copy(update={"lineage": ()})
        assert describe_making(older, known) == "fine-tuned (MNLI first)"
        assert describe_making(older, {}) == "fine-tuned (MNLI first)"  # the parent's id names its task
        int8 = store.add("bert", kit.QUANTIZE, parents=[kit.child_of(tuned, "model")], **shape)
        assert describe_making(int8.run, known) == "fine-tuned (MNLI first) · int8"
        assert describe_making(int8.run, known, copies=False) == "fine-tuned · int8"
        again = store.add("bert", kit.FINETUNE, parents=[kit.child_of(tuned, "model")], **shape)
        assert describe_making(again.run, known | {again.run.id: again.run}) == "fine-tuned (MNLI first)"

    def test_what_a_teacher_learned_first_was_not_learned_by_its_student(self, kit, store):
        """Guards a lineage read as one chain: a student's has its teacher in it."""
        shape = {"size": 9, "parameters": 9}
        mnli, qnli = (kit.TASK.model_copy(update={"name": name}) for name in ("mnli", "qnli"))
        teacher = store.add("bert", kit.FINETUNE, task=mnli, **shape)
        student = store.add(
            "albert",
            kit.DISTILL,
            task=qnli,
            parents=[kit.child_of(teacher, "teacher")],
            lineage=teacher.run.descent,
            **shape,
        )
        tuned = store.add(
            "albert",
            kit.FINETUNE,
            parents=[kit.child_of(student, "model")],
            lineage=student.run.descent,
            **shape,
        )
        assert describe_making(tuned.run, {}) == "fine-tuned (QNLI first)"

    def test_further_pretraining_is_not_taken_for_one_from_nothing(self, kit, store):
        further = store.add("bert", kit.FURTHER, size=1, parameters=1, task=None, place="wiki")
        tuned = store.add(
            "bert", kit.FINETUNE, size=1, parameters=1, parents=[kit.child_of(further, "model")]
        )
        assert describe_making(further.run, {}) == "pretrained further (mlm)"
        assert (
            describe_making(tuned.run, {further.run.id: further.run}) == "fine-tuned, pretrained further here"
        )
        assert "# bert: pretrained further (mlm) for wiki" in render_card(further.run, [])

    def test_whose_tokenizer_it_took_is_not_whose_weights(self, ancestry, kit):
        stage = kit.FINETUNE.model_copy(update={"student": kit.STUDENT})
        parents = (kit.child_of(ancestry.first, "tokenizer"),)
        run = ancestry.teacher.run.model_copy(update={"stage": stage, "parents": parents})
        assert (
            describe_making(run, {ancestry.first.run.id: ancestry.first.run}) == "trained on the labels alone"
        )
        plain = run.model_copy(update={"stage": kit.FINETUNE})
        assert describe_making(plain, {ancestry.first.run.id: ancestry.first.run}) == "fine-tuned"

    def test_the_recipe_of_a_pretraining_is_told(self, ancestry, kit):
        told = dict(list_essentials(ancestry.first.run))
        assert told["Objective"] == "hidden words and next sentence (nsp)"
        assert told["Starts"] == "from nothing: bert, 4 layers, 312 wide"
        assert told["Reads"] == "pairs of segments of some sentences each"
        assert told["Tokenizer"] == "wordpiece, at most 8,192 pieces, lowercase, trained on the corpus"
        assert told["Masking"] == "15 % of tokens: 80 % masked, 10 % random, 10 % kept"
        assert told["Masks"] == "drawn anew each epoch"
        assert told["Budget"] == "50 minutes; the small recipe"
        assert told["Dropout"] == "0"
        assert "Epochs" not in told

    @pytest.mark.parametrize(
        ("changes", "term", "value"),
        [
            ({"max_minutes": None, "max_tokens": 5_000_000}, "Budget", "5,000,000 tokens; the small recipe"),
            ({"max_minutes": None, "budget": None}, "Budget", "3 epochs"),
            ({"static_copies": 10}, "Masks", "drawn once for each of 10 copies"),
            ({"new": None}, "Starts", "from the weights that it had"),
            (
                {"objective": "rtd", "generator": Generator()},
                "Generator",
                "0.25 of the width, replaced tokens weighted 50",
            ),
            ({"objective": "rtd", "generator": Generator()}, "Objective", "replaced tokens (rtd)"),
        ],
    )
    def test_what_differs_is_told(self, ancestry, kit, changes, term, value):
        run = ancestry.first.run.model_copy(update={"stage": kit.PRETRAIN.model_copy(update=changes)})
        assert dict(list_essentials(run))[term] == value

    def test_a_part_of_a_train_split_is_told(self, ancestry, trio):
        def told(run, **split):
            split = TrainSplit(**split)
            return dict(list_essentials(run.model_copy(update={"train_split": split}))).get("Train split")

        run = ancestry.teacher.run
        assert told(run, examples=12906, published=392702) == "12,906 examples of 392,702"
        assert told(run, examples=2490, published=2490) == told(run, examples=2490) == "2,490 examples"
        assert told(trio.int8.run, examples=2490) is None  # nothing is learned by rounding

    def test_masking_of_whole_words_is_told(self, ancestry, kit):
        masking = kit.Masking(
            probability=0.15, whole_words=True, max_ngram=3, mask_share=0.85, random_share=0.0
        )
        run = ancestry.first.run.model_copy(
            update={"stage": kit.PRETRAIN.model_copy(update={"masking": masking})}
        )
        told = dict(list_essentials(run))["Masking"]
        assert told == "15 % of tokens, whole words, up to 3 in a row: 85 % masked, 15 % kept"


class TestPages:
    def test_ancestors_stand_in_the_order_of_making(self, ancestry, section):
        assert [made.run.id for made in section.ancestors] == [
            stored.run.id for stored in (ancestry.first, ancestry.longer, ancestry.general)
        ]
        assert section.ancestors[0].label == "bert-mini · pretrained from nothing (nsp)"
        assert section.find(ancestry.teacher.run.id).family == "bert"

    def test_quantities_are_the_loss_and_the_hold_outs(self, section):
        curves = section.ancestors[0].curves
        assert [curve.name for curve in curves] == [
            "loss",
            "eval_masked_lm",
            "eval_masked_lm_accuracy",
            "eval_next_sentence",
            "eval_next_sentence_accuracy",
        ]
        assert [curve.level.value if curve.level else None for curve in curves] == [
            None,
            6.91,
            None,
            None,
            None,
        ]
        assert [curve.name for curve in section.ancestors[2].curves] == ["loss", "eval_hidden"]

    def test_the_page_shows_them_before_what_was_done(self, ancestry, tmp_path):
        report = write_report(ancestry.runs, tmp_path / "report", command="c")
        page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        before, _, after = page.partition("<h3>What was done</h3>")
        shown = before.partition("<h3>Before the task</h3>")[2]
        assert shown.count("<article") == 3
        assert shown.count("<svg") == 5 + 5 + 2
        assert shown.count('class="front"') == 1
        assert "Dashed: 6.91 nats, the unigram entropy" in shown
        for text in ("compress pretrain bert-mini --corpus wiki", "50 minutes; the small recipe", "5600000"):
            assert text in shown
        assert (
            'href="#before-0-1"><bdi>bert-mini · pretrained from nothing (nsp) · pretrained further' in after
        )
        assert "teacher of</dt><dd><bdi>albert-tiny · general stage" in shown.lower()
        again = after.partition('id="again"')[2]
        places = [
            again.index(f"compress {stage} ") for stage in ("pretrain", "finetune", "general", "distill")
        ]
        assert places == sorted(places)
        assert render_html(report) == page

    def test_commands_come_before_what_was_made_from_them(self, ancestry, tmp_path):
        """Guards the order by the clock: what was redone since began after what was made from it."""
        again = ancestry.first.run.model_copy(
            update={"started": "2027-01-01T00:00:00+00:00", "command": "redone"}
        )
        write_record(ancestry.first.path / "run.json", again)
        report = compare(write(ancestry.runs, tmp_path / "report"))
        assert list_commands(report)[0] == "redone"
        candidates = list_candidates(report.sections[0])
        assert [one.rows[0].run.stage.kind for one in order_by_making(candidates[::-1])] == [
            "finetune",
            "distill",
        ]

    def test_commands_of_what_the_report_has_no_record_of_are_told(self, kit, store, tmp_path):
        """Guards commands that name a model which none of them makes: another task's, which a teacher went on from."""
        shape = {"size": 9, "parameters": 9}
        other = kit.TASK.model_copy(update={"name": "mnli"})
        first = store.add("bert-mini", kit.FINETUNE, task=other, command="compress finetune A", **shape)
        teacher = store.add(
            "bert-mini",
            kit.FINETUNE,
            parents=[kit.child_of(first, "model")],
            lineage=first.run.descent,
            command="compress finetune B",
            **shape,
        )
        student = store.add(
            "albert-tiny",
            kit.DISTILL,
            parents=[kit.child_of(teacher, "teacher")],
            lineage=[
                each.model_copy(update={"command": f"{each.command} --as-it-was"})
                for each in teacher.run.descent
            ],
            command="compress distill C",
            **shape,
        )
        report = compare(write([student, teacher], tmp_path / "report"))
        assert list_commands(report) == (
            "compress finetune A",
            "compress finetune B",
            "compress distill C",
            "compress report runs/sample",
        )

    @pytest.mark.parametrize("where", ["runs", "stores/mine"])
    def test_times_are_taken_by_commands_that_are_told(self, trio, kit, tmp_path, where):
        """Guards a page without speeds, made by the commands of one that has them."""
        names = [stored.run.id for stored in trio.runs]
        for stored in trio.runs:
            shutil.rmtree(stored.path / "measurements")
        for session in ("s1", "s2"):
            rounds = [(stored, kit.steady(4.0)) for stored in trio.runs]
            trio.store.measure(rounds, session=session, threads=2, batch=8, length="task")
        runs = [read_run(stored.path) for stored in trio.runs]
        named = " ".join(f"{where}/{name}" for name in names)
        told = named if where != "runs" else "runs/sample"
        write_data(runs, tmp_path / "report", title="T", command=f"compress report {told}")
        *_, measuring, last = list_commands(compare(read_data(tmp_path / "report")))
        assert measuring == (
            f"compress measure {' '.join(f'{where}/{name}' for name in sorted(names))} "
            "--shape 8xtask --threads 2 --rounds 5 --sessions 2"
        )
        assert last.startswith("compress report")

    def test_the_readme_has_their_numbers(self, ancestry, tmp_path):
        write_report(ancestry.runs, tmp_path / "report", command="c")
        lines = (tmp_path / "report" / "README.md").read_text(encoding="utf-8").splitlines()
        place = lines.index("### Before the task")
        header, _, first, longer, general = lines[place + 2 : place + 7]
        cells = [cell.strip() for cell in first.strip("|").split("|")]
        assert cells == [
            "bert-mini",
            "pretrained from nothing (nsp)",
            "wiki",
            "1,234",
            "5.60 M",
            "50.0",
            "6.52",
            "6.04",
            "6.91",
        ]
        assert len({line.count("|") for line in (header, first, longer, general)}) == 1
        assert general.startswith("| albert-tiny | general stage (tinybert) from bert-mini | wiki | – |")

    def test_without_ancestors_nothing_is_said_of_them(self, trio, tmp_path):
        report = write_report(trio.runs, tmp_path / "report", command="c")
        assert "Before the task" not in render_html(report) + render_markdown(report)

    def test_who_learned_another_task_first_is_one_baseline_over_the_tasks(self, kit, store, tmp_path):
        """Guards an overview with a baseline a task: a recipe decides by the task what is learned first."""
        shape = {"size": 90, "parameters": 9}
        mnli = kit.TASK.model_copy(update={"name": "mnli"})
        first = store.add("bert", kit.FINETUNE, task=mnli, **shape)
        further = {"parents": [kit.child_of(first, "model")], "lineage": first.run.descent}
        runs = []
        for name, made in (("rte", further), ("qnli", {})):
            task = kit.TASK.model_copy(update={"name": name})
            teacher = store.add("bert", kit.FINETUNE, task=task, **made, **shape)
            parents = [kit.child_of(teacher, "teacher")]
            student = store.add("albert", kit.DISTILL, task=task, size=9, parameters=1, parents=parents)
            for stored, wrong in ((teacher, 40), (student, 60)):
                store.evaluate(stored, kit.answers(wrong))
            runs += [teacher, student]
        report = compare(write([read_run(stored.path) for stored in runs], tmp_path / "report"))
        assert [(row.name, row.baseline, len(row.runs)) for row in report.overview.rows] == [
            ("bert", True, 2),
            ("albert", False, 2),
        ]
        made = {section.task: section.find(section.baseline).made for section in report.sections}
        assert made == {"rte": "fine-tuned (MNLI first)", "qnli": "fine-tuned"}

    def test_two_seeds_of_one_pretraining_are_told_apart(self, kit, store, tmp_path):
        runs = []
        for seed in (42, 43):
            shape = {"size": 9, "parameters": 9, "seed": seed}
            first = store.add("bert-mini", kit.PRETRAIN, task=None, place="wiki", **shape)
            runs.append(store.add("bert-mini", kit.FINETUNE, parents=[kit.child_of(first, "model")], **shape))
        (section,) = compare(write(runs, tmp_path / "report")).sections
        assert [made.made for made in section.ancestors] == [
            f"pretrained from nothing (nsp) · seed {seed}" for seed in (42, 43)
        ]
        assert {made.kind for made in section.ancestors} == {"bert-mini · pretrained from nothing (nsp)"}

    def test_what_differs_in_its_seeds_is_one_article_and_what_several_tasks_share_is_told_once(
        self, kit, store, tmp_path
    ):
        shape = {"size": 9, "parameters": 9}
        history = [{"step": step, "loss": 9.0 - step} for step in (1, 2)]
        general = store.add("student", kit.GENERAL, task=None, place="wiki", **shape)
        runs = []
        for task in (kit.TASK, kit.TASK.model_copy(update={"name": "other"})):
            for seed in (42, 43):
                first = store.add(
                    "bert-mini",
                    kit.PRETRAIN,
                    task=None,
                    place=f"words of {task.name}",
                    parents=[kit.child_of(general, "model")],
                    seed=seed,
                    history=history,
                    **shape,
                )
                parents = [kit.child_of(first, "model")]
                runs.append(
                    store.add("bert-mini", kit.FINETUNE, task=task, seed=seed, parents=parents, **shape)
                )
                store.evaluate(runs[-1], kit.answers(40, seed))
        write_report(runs, tmp_path / "report", command="c")
        page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        before = [part.partition("<h3>")[0] for part in page.split("<h3>Before the task</h3>")[1:]]
        assert [part.count("<article") for part in before] == [2, 1]
        assert [part.count("<svg") for part in before] == [1, 1]
        assert [part.count('<path class="curve"') for part in before] == [2, 2]
        assert all("<dt>Seeds</dt><dd>42 | 43</dd>" in part for part in before)
        assert before[1].count('href="#before-0-0"') == 2  # in a sentence, and as what it was made from
        assert page.count('id="before-0-0"') == 1

    def test_a_seed_more_than_above_is_told_with_the_others(self, kit, store, tmp_path):
        """Guards an article that nothing leads to, or a link that leads nowhere."""
        shape = {"size": 9, "parameters": 9}
        first, runs = {}, []
        for task, seeds in ((kit.TASK, (42,)), (kit.TASK.model_copy(update={"name": "zebra"}), (42, 43))):
            for seed in seeds:
                if seed not in first:
                    first[seed] = store.add(
                        "bert-mini", kit.PRETRAIN, task=None, place="wiki", seed=seed, **shape
                    )
                parents = [kit.child_of(first[seed], "model")]
                runs.append(
                    store.add("bert-mini", kit.FINETUNE, task=task, seed=seed, parents=parents, **shape)
                )
                store.evaluate(runs[-1], kit.answers(40, seed))
        write_report(runs, tmp_path / "report", command="c")
        page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
        before = [part.partition("<h3>")[0] for part in page.split("<h3>Before the task</h3>")[1:]]
        assert [part.count("<article") for part in before] == [1, 1]
        assert "<dt>Seeds</dt><dd>42 | 43</dd>" in before[1]
        ids = re.findall(r' id="([^"]+)"', page)
        assert len(ids) == len(set(ids))
        assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)

    def test_kinds_are_told_apart_by_their_keys_and_never_by_a_seed(self, kit, store, tmp_path):
        """Guards a title that names a seed and holds another."""
        shape = {"size": 9, "parameters": 9}
        runs = []
        for minutes, seeds in ((50.0, (42, 43)), (25.0, (43, 44))):
            stage = kit.PRETRAIN.model_copy(update={"max_minutes": minutes})
            for seed in seeds:
                first = store.add("bert-mini", stage, task=None, place="wiki", seed=seed, **shape)
                parents = [kit.child_of(first, "model")]
                runs.append(store.add("bert-mini", kit.FINETUNE, seed=seed, parents=parents, **shape))
        (section,) = compare(write(runs, tmp_path / "report")).sections
        kinds = list(dict.fromkeys(made.kind for made in section.ancestors))
        assert len(kinds) == 2
        assert not any("seed" in kind for kind in kinds)
