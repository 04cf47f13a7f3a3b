"""What a teacher's layers say is computed once and read as it was; whatever would change it computes again."""

import copy
import threading

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, set_seed

from compress.data.batching import TokenizedSet, WithColumn, pad_rows
from compress.distillation import state_cache
from compress.distillation.capture import recording
from compress.distillation.kept_states import lay_out
from compress.distillation.objective import DistillationObjective, compare_models
from compress.distillation.pool import ROW, pool_texts
from compress.distillation.shards import Shard
from compress.distillation.state_cache import locate_states
from compress.distillation.teachers import load_teacher
from compress.recipes.terms import (
    AttentionDistributionTerm,
    AttentionTerm,
    CosineTerm,
    HiddenTerm,
    RelationTerm,
)
from compress.runs import RUN_FILE, TEACHER_CACHE, read_record
from tests.conftest import FILLER, tiny_config

TEXTS = 40
TERMS = {
    "hidden": HiddenTerm(),
    "cosine": CosineTerm(),
    "attention": AttentionTerm(),
    "distribution": AttentionDistributionTerm(teacher_layer=3),
    "queries": RelationTerm(of="query", teacher_layer=3),
    "values": RelationTerm(of="value"),
}
ALL = tuple(TERMS.values())


@pytest.fixture
def source(tmp_path, tokenizer):
    set_seed(0)
    model = AutoModel.from_config(
        tiny_config("bert", tokenizer, num_hidden_layers=4, initializer_range=0.3), add_pooling_layer=False
    )
    model.save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


@pytest.fixture(scope="module")
def texts(tokenizer):
    draw = np.random.default_rng(0)
    lines = [" ".join(draw.choice(FILLER, size=draw.integers(2, 20))) for _ in range(TEXTS)]
    return tokenized(tokenizer, lines)


def tokenized(tokenizer, lines, **options):
    return TokenizedSet(dict(tokenizer(lines, **options)), {"labels": np.arange(len(lines))})


def part(texts, rows):
    tokens = {name: [ids[row] for row in rows] for name, ids in texts.tokens.items()}
    return TokenizedSet(tokens, {"labels": np.array(rows)})


@pytest.fixture
def student(tiny_model):
    return tiny_model("albert").eval()


@pytest.fixture
def opened(monkeypatch, tmp_path, tokenizer, source, student):
    """Open the cache of some sets of texts: the teacher that reads, the sets, and how many texts were computed."""
    monkeypatch.setattr(state_cache, "SHARD_BYTES", 100_000)

    def open_cache(*sets, terms=ALL, bf16=False):
        computed = 0
        theirs = AutoConfig.from_pretrained(source)
        comparisons = compare_models(terms, student=student.config, teacher=theirs)

        def load_counting(*arguments, **options):
            teach = load_teacher(*arguments, **options)

            def count(batch):
                nonlocal computed
                computed += len(batch["input_ids"])
                return teach(batch)

            return count

        monkeypatch.setattr(state_cache, "load_teacher", load_counting)
        pool = pool_texts(*sets)
        layout = lay_out(comparisons, theirs, bf16=bf16)
        cache = locate_states(source, comparisons, layout, pool, store=tmp_path / "runs")
        teacher = cache.open(tokenizer)
        located = [WithColumn(each, ROW, places) for each, places in zip(sets, pool.places, strict=True)]
        return teacher, located, computed

    return open_cache


def batch_of(examples, rows, tokenizer):
    return pad_rows(examples.__getitems__(list(rows)), tokenizer=tokenizer)


def online(source, student, terms=ALL, *, bf16=False):
    theirs = AutoConfig.from_pretrained(source)
    comparisons = compare_models(terms, student=student.config, teacher=theirs)
    return load_teacher(source, comparisons, head=None, bf16=bf16)


def loss(teach, student, source, term, batch):
    theirs = AutoConfig.from_pretrained(source)
    comparisons = compare_models((term,), student=student.config, teacher=theirs)
    student = copy.deepcopy(student)
    objective = DistillationObjective(comparisons, student=student.config, teacher=theirs, teach=teach)
    with recording(student, objective.needs):
        judged = objective(student, batch)
    return sum(each.value for each in judged.terms.values()).item()


def tensors_of(states):
    """Every tensor that was kept, by name."""
    found = {f"hidden {layer}": each for layer, each in enumerate(states.hidden) if each.numel()}
    found |= {f"scores {layer}": each for layer, each in states.scores.items()}
    found |= {f"{name} {layer}": each for layer, of in states.vectors.items() for name, each in of.items()}
    return found


def real(name, tensor, mask):
    """The cells of real tokens."""
    mask = mask.bool()
    if name.startswith("scores"):
        both = (mask[:, :, None] & mask[:, None, :])[:, None].expand_as(tensor)
        return tensor[both]
    return tensor[mask]


@pytest.mark.parametrize("bf16", [False, True])
def test_a_batch_of_the_same_texts_reads_what_the_teacher_says_bit_for_bit(
    opened, texts, source, student, tokenizer, bf16, tmp_path
):
    teacher, (located,), _ = opened(texts, bf16=bf16)
    (record,) = (tmp_path / "runs" / TEACHER_CACHE).glob("*/states-00000.json")
    first = min(state_cache.BATCH_SIZE, read_record(record, Shard).rows)
    rows = np.argsort(located.values)[:first]
    batch = batch_of(located, rows, tokenizer)
    kept = tensors_of(teacher(batch))
    said = tensors_of(online(source, student, bf16=bf16)(batch))
    assert set(kept) == {"hidden 0", "hidden 2", "hidden 4"} | {f"scores {n}" for n in (2, 3, 4)} | {
        "query 3",
        "value 4",
    }
    for name, tensor in kept.items():
        assert tensor.dtype == (torch.bfloat16 if bf16 else torch.float32)
        assert tensor.shape == said[name].shape
        assert torch.equal(
            real(name, tensor, batch["attention_mask"]), real(name, said[name], batch["attention_mask"])
        )


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize(("bf16", "tolerance"), [(False, 1e-6), (True, 3e-2)])
def test_the_loss_is_that_with_the_teacher_beside(
    opened, texts, source, student, tokenizer, name, bf16, tolerance
):
    """In any batch: what stands beside a text changes float32's last digits, and bfloat16's."""
    teacher, (located,), _ = opened(texts, bf16=bf16)
    beside = online(source, student, bf16=bf16)
    for rows in ([3, 1, 30, 8, 11, 20], [39, 0, 5, 5]):
        batch = batch_of(located, rows, tokenizer)
        cached, direct = (loss(teach, student, source, TERMS[name], batch) for teach in (teacher, beside))
        assert cached == pytest.approx(direct, rel=tolerance)


@pytest.mark.parametrize("name", TERMS)
def test_the_loss_with_another_text_s_states_is_another(opened, texts, source, student, tokenizer, name):
    """Guards the test before: rows that were mixed up would show in it."""
    teacher, (located,), _ = opened(texts)
    one, other = np.flatnonzero(np.array(texts.lengths) == np.bincount(texts.lengths).argmax())[:2]
    batch = batch_of(located, [one], tokenizer)
    right = loss(teacher, student, source, TERMS[name], batch)
    wrong = {**batch, ROW: torch.from_numpy(located.values[[other]])}
    assert loss(teacher, student, source, TERMS[name], wrong) != pytest.approx(right, rel=1e-4)


def test_a_second_time_nobody_computes_and_the_shards_are_mapped(opened, texts, tokenizer):
    first, (located,), computed = opened(texts)
    assert computed == TEXTS
    second, _, again = opened(texts)
    assert again == 0
    assert len(second.shards) > 2
    assert all(isinstance(shard.base, np.memmap) for shard in second.shards)
    batch = batch_of(located, range(TEXTS), tokenizer)
    ours, theirs = tensors_of(first(batch)), tensors_of(second(batch))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_another_hold_out_of_the_same_texts_finds_the_same_states(opened, texts, tokenizer):
    """Guards a cache of gigabytes for each seed, and rows that are those of another set."""
    whole, (located,), _ = opened(texts)
    rows = list(range(TEXTS))
    learned, held = rows[::-1][:30], [*rows[:10], 12]  # one is in both
    teacher, sets, computed = opened(part(texts, learned), part(texts, held))
    assert computed == 0
    for each, numbers in zip(sets, (learned, held), strict=True):
        places = range(0, len(numbers), 3)
        batch = batch_of(each, places, tokenizer)
        same = batch_of(located, [numbers[place] for place in places], tokenizer)
        ours, theirs = tensors_of(teacher(batch)), tensors_of(whole(same))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_batch_carries_its_place_and_is_else_as_it_was(texts, tokenizer):
    places = np.arange(TEXTS)[::-1].copy()
    plain, located = (
        batch_of(texts, [4, 2], tokenizer),
        batch_of(WithColumn(texts, ROW, places), [4, 2], tokenizer),
    )
    assert located.pop(ROW).tolist() == [TEXTS - 5, TEXTS - 3]
    assert plain.keys() == located.keys()
    assert all(torch.equal(plain[name], located[name]) for name in plain)


@pytest.mark.parametrize(
    "change", ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]
)
def test_a_changed_byte_of_the_teacher_misses(opened, texts, source, change):
    opened(texts)
    file = source / change
    content = bytearray(file.read_bytes())
    if file.suffix == ".json":
        content += b" "  # nothing but a blank: the bytes differ, the meaning does not
    else:
        content[-1] ^= 1
    file.write_bytes(bytes(content))
    assert opened(texts)[2] == TEXTS


def test_a_teacher_that_was_redone_to_the_same_weights_is_not_asked_again(opened, texts, source):
    (source / RUN_FILE).write_text("{}")
    opened(texts)
    (source / RUN_FILE).write_text('{"started": "later"}')
    assert opened(texts)[2] == 0


@pytest.mark.parametrize("name", ["input_ids", "token_type_ids"])
def test_a_changed_token_misses(opened, texts, name):
    opened(texts)
    changed = copy.deepcopy(texts)
    changed.tokens[name][17][1] ^= 1
    assert opened(changed)[2] == TEXTS


def test_another_truncation_misses(opened, texts, tokenizer):
    opened(texts)
    lines = tokenizer.batch_decode(texts.tokens["input_ids"], skip_special_tokens=True)
    assert opened(tokenized(tokenizer, lines))[2] == 0
    assert opened(tokenized(tokenizer, lines, truncation=True, max_length=12))[2] > 0


@pytest.mark.parametrize(
    "terms",
    [
        (HiddenTerm(map="last"), *ALL[1:]),
        (*ALL[:-1], RelationTerm(of="key")),
        (*ALL[:-1], RelationTerm(of="value", teacher_layer=3)),
        (*ALL[:3], AttentionDistributionTerm(teacher_layer=1), *ALL[4:]),
    ],
)
def test_other_layers_or_kinds_miss(opened, texts, terms):
    opened(texts)
    assert opened(texts, terms=terms)[2] == TEXTS


def test_another_kind_of_device_misses(source, student, texts, tmp_path, monkeypatch):
    theirs = AutoConfig.from_pretrained(source)
    comparisons = compare_models(ALL, student=student.config, teacher=theirs)
    asked = source, comparisons, lay_out(comparisons, theirs, bf16=False), pool_texts(texts)
    here = locate_states(*asked, store=tmp_path)
    monkeypatch.setattr(state_cache, "device", lambda: "cuda")
    assert locate_states(*asked, store=tmp_path).folder != here.folder


def test_another_precision_or_version_misses(opened, texts, monkeypatch):
    opened(texts)
    assert opened(texts, bf16=True)[2] == TEXTS
    usual = state_cache.describe()
    other = usual.model_copy(update={"versions": {**usual.versions, "torch": "0.1"}})
    monkeypatch.setattr(state_cache, "describe", lambda: other)
    assert opened(texts)[2] == TEXTS


def test_weights_and_other_terms_of_the_same_layers_hit(opened, texts):
    """Guards states computed anew because a term's weight was tuned."""
    opened(texts, terms=(HiddenTerm(), AttentionTerm()))
    assert opened(texts, terms=(AttentionTerm(weight=3.0), HiddenTerm(weight=0.5)))[2] == 0


def test_what_is_kept_is_what_was_announced_and_no_more(opened, texts, tmp_path):
    teacher, _, _ = opened(texts, terms=(CosineTerm(),))
    lengths = np.array(texts.lengths)
    assert sum(shard.nbytes for shard in teacher.shards) == lengths.sum() * 24 * 4
    teacher, _, _ = opened(texts, terms=(AttentionDistributionTerm(), RelationTerm(of="key")), bf16=True)
    numbers = 3 * (lengths**2).sum() + 24 * lengths.sum()
    assert sum(shard.nbytes for shard in teacher.shards) == 2 * numbers


@pytest.mark.parametrize("damage", ["one byte", "truncated", "gone", "no record", "broken record"])
def test_a_damaged_shard_alone_is_made_again_to_the_same_bits(opened, texts, tmp_path, damage):
    opened(texts)
    (folder,) = (tmp_path / "runs" / TEACHER_CACHE).iterdir()
    shard, record = folder / "states-00001.npy", folder / "states-00001.json"
    whole = shard.read_bytes()
    if damage == "one byte":
        shard.write_bytes(whole[:-5] + bytes([whole[-5] ^ 1]) + whole[-4:])
    elif damage == "truncated":
        shard.write_bytes(whole[:-8])
    elif damage == "gone":
        shard.unlink()
    elif damage == "no record":
        record.unlink()
    else:
        record.write_text('{"rows": ')
    _, _, computed = opened(texts)
    assert 0 < computed < TEXTS // 2
    assert shard.read_bytes() == whole


def test_a_build_that_was_cut_off_goes_on(opened, texts, monkeypatch):
    write, written = state_cache.write_shard, []

    def mortal(file, content, *, rows):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(rows)
        write(file, content, rows=rows)

    monkeypatch.setattr(state_cache, "write_shard", mortal)
    with pytest.raises(KeyboardInterrupt):
        opened(texts)
    monkeypatch.setattr(state_cache, "write_shard", write)
    assert opened(texts)[2] == TEXTS - sum(written)


def test_a_second_process_waits_and_finds_the_states(opened, texts, monkeypatch):
    """Guards an hour of a large teacher spent twice."""
    busy, go_on = threading.Event(), threading.Event()
    write = state_cache.write_shard

    def slow(file, content, *, rows):
        busy.set()
        go_on.wait(timeout=60)
        write(file, content, rows=rows)

    monkeypatch.setattr(state_cache, "write_shard", slow)
    counts = {}
    one = threading.Thread(target=lambda: counts.update(one=opened(texts)[2]))
    two = threading.Thread(target=lambda: counts.update(two=opened(texts)[2]))
    one.start()
    assert busy.wait(timeout=60)
    two.start()
    two.join(timeout=1)
    assert two.is_alive()
    go_on.set()
    one.join()
    two.join()
    assert counts == {"one": TEXTS, "two": 0}


def test_texts_of_other_lengths_are_refused(opened, texts, tokenizer):
    teacher, (located,), _ = opened(texts)
    rows = [int(np.argmin(texts.lengths)), int(np.argmax(texts.lengths))]
    batch = batch_of(located, rows, tokenizer)
    batch[ROW] = batch[ROW].flip(0)
    with pytest.raises(RuntimeError, match="not as long"):
        teacher(batch)
