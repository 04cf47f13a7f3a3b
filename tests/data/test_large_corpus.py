"""A corpus that is larger than the memory there is: split, planned and fetched all the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MB = 1 << 20
CORPUS = 48 * MB
MEMORY = 32 * MB
"""What the process may take beyond what it has once its tokenizer is loaded; the corpus's text does not fit into it."""

WORK = """
import json, resource, sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from compress.data import tokenizing
from compress.data.corpus import Corpus
from compress.data.inputs import arrange_sentences
from compress.data.sentences import hold_out_documents, split_corpus
from compress.memory import forget_peak, peak_bytes, resident_bytes

corpus_bytes, memory, store = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
tokenizing.CHUNK = 1 << 17  # so that a corpus is large beside what is tokenized together, and the test does not take minutes
generator = np.random.default_rng(0)
words = ["".join(map(chr, letters)) for letters in generator.integers(97, 123, (4000, 6))]
names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *dict.fromkeys(words)]
core = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="[UNK]"))
core.pre_tokenizer = pre_tokenizers.Whitespace()
core.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **special)
pool = ["X" + " ".join(generator.choice(words, size)) + ". " for size in generator.integers(5, 40, 2000)]


def documents():
    drawn = np.random.default_rng(1)
    written = 0
    while written < corpus_bytes:
        document = "".join(pool[number] for number in drawn.integers(len(pool), size=100))
        written += len(document)
        yield document


split_corpus(Corpus("warm", "warm", "w", lambda: iter(pool)), tokenizer, store=store)
held = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + memory, held + memory))
try:
    refused = not bytearray(corpus_bytes)
except MemoryError:
    refused = True
forget_peak()
before = resident_bytes()
sentences = split_corpus(Corpus("large", "large", "l", documents), tokenizer, store=store)
peak = peak_bytes() - before
counts = {}
for arrangement in ("segment-pairs", "sentence-orders", "full-sentences"):
    for view in hold_out_documents(sentences, seed=0):
        found = arrange_sentences(view, tokenizer, arrangement=arrangement, max_length=128, seed=0)
        rows = found.__getitems__(list(range(0, len(found), 50)))
        counts[arrangement] = counts.get(arrangement, 0) + len(found)
        assert max(map(len, rows.tokens["input_ids"])) <= 128
print(json.dumps({"refused": refused, "peak": peak, "counts": counts, **sentences.facts}))
"""


@pytest.mark.benchmark
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="limits and measures memory as Linux does")
def test_a_corpus_larger_than_memory_is_split_planned_and_fetched(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(CORPUS), str(MEMORY), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    sys.stdout.write(
        f"\n{CORPUS / MB:.0f} MB of text, {MEMORY / MB:.0f} MB allowed, {found['peak'] / MB:.1f} MB taken: {found}"
    )
    assert found["refused"], "the limit holds: so much text cannot be held"
    assert found["corpus_text_tokens"] > CORPUS / 8
    # Pairs are cut to their room, so that some of the text is in no example.
    assert min(found["counts"].values()) > 0.9 * found["corpus_text_tokens"] / 128
