"""Word vectors that are counted, not trained: what an embedding table may start from in the place of random numbers.

The first that masked language modelling teaches a table is which tokens have the same neighbours, and a model of few
minutes learns little else. Counting says it in seconds: the positive pointwise mutual information of neighbours,
factorized (Levy and Goldberg 2014, section 4.2; Levy, Goldberg and Dagan 2015, section 3).
"""

from collections.abc import Iterator
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import nn

from compress.data.batching import CorpusExamples
from compress.encoder import Encoder

WINDOW = 5
"""Tokens on either side that are neighbours; one at distance d counts (6 − d) / 5, as word2vec's do on average."""
SMOOTHING = 0.75
"""Exponent of the neighbours' frequencies (Levy, Goldberg and Dagan 2015, context distribution smoothing)."""
EIGENVALUES = 0.5
"""Exponent of the singular values (the same, eigenvalue weighting)."""
SPREAD = 0.06
"""Standard deviation of the numbers: three times that of random tables, so that positions do not drown the words."""
COUNTED = 20_000_000
"""Tokens that are looked at, at the most: more say the same about frequent tokens, and take minutes."""
AT_A_TIME = 1_000_000
GAP = -1

Counts: TypeAlias = sparse.csr_array
Vectors = NDArray[np.float32]


def start_from_word_vectors(encoder: Encoder, examples: CorpusExamples, *, seed: int) -> dict[str, int]:
    """Put word vectors into a new model's embedding table; tokens that never occur keep their random rows.

    Args:
        encoder: Its table is changed in place, and with it what is tied to it.
        examples: What it is going to learn from, tokenized for it.
        seed: Of the factorization.

    Returns:
        Facts for the run's record: how many tokens start from a vector.
    """
    table = cast(nn.Embedding, encoder.model.get_input_embeddings()).weight
    pieces, width = table.shape
    information = weigh(count_neighbours(examples, pieces))
    known = np.flatnonzero(np.diff(information.indptr))
    vectors = factorize(information, width, seed=seed)[known]
    directions = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    with torch.no_grad():
        rows = torch.from_numpy(directions * (SPREAD / directions.std()))
        table[torch.from_numpy(known)] = rows.to(table)
    return {"tokens_with_vectors": len(known)}


def count_neighbours(examples: CorpusExamples, pieces: int) -> Counts:
    """How often each token stands near each other one within an example, near ones counting more: `[V, V]`, symmetric.

    Args:
        examples: Of a corpus; of a large one every so many, `COUNTED` tokens in all.
        pieces: V.
    """
    counts = sparse.csr_array((pieces, pieces), dtype=np.float32)
    for tokens in _texts(examples):
        for distance in range(1, min(WINDOW, len(tokens) - 1) + 1):
            left, right = tokens[:-distance], tokens[distance:]
            near = (left != GAP) & (right != GAP)
            weights = np.full(near.sum(), (WINDOW + 1 - distance) / WINDOW, dtype=np.float32)
            counts += sparse.coo_array((weights, (left[near], right[near])), shape=counts.shape).tocsr()
    return (counts + counts.T).tocsr()


def _texts(examples: CorpusExamples) -> Iterator[NDArray[np.int64]]:
    """Examples one after the other with gaps between them, about `AT_A_TIME` tokens each time."""
    gap = np.full(WINDOW, GAP)
    step = max(1, -(-int(examples.lengths.sum()) // COUNTED))
    parts: list[NDArray[Any]] = []
    held = 0
    for row in range(0, len(examples), step):
        parts += [examples.content(row).astype(np.int64), gap]
        held += len(parts[-2])
        if held >= AT_A_TIME:
            yield np.concatenate(parts)
            parts, held = [], 0
    if parts:
        yield np.concatenate(parts)


def weigh(counts: Counts) -> Counts:
    """Positive pointwise mutual information of what was counted, neighbours' frequencies smoothed: `[V, V]`.

    PMI(w, c) = log(p(w, c) / (p(w) p_α(c))), p_α(c) ∝ #(c)^α; what is not above 0 is left out.
    """
    pairs = counts.tocoo()
    often = np.asarray(counts.sum(axis=1), dtype=np.float64).ravel()
    smoothed = often**SMOOTHING / (often**SMOOTHING).sum()
    rows, columns = pairs.coords
    information = np.log(pairs.data / (often[rows] * smoothed[columns]))
    kept = information > 0
    values = information[kept].astype(np.float32)
    return sparse.coo_array((values, (rows[kept], columns[kept])), shape=counts.shape).tocsr()


def factorize(information: Counts, width: int, *, seed: int) -> Vectors:
    """The vectors whose products come nearest to a matrix: `[V, width]`, all but zero for a token that nothing is known of.

    U Σ^p of its truncated singular value decomposition (Halko, Martinsson and Tropp 2011, randomized).

    Args:
        information: From `weigh`.
        width: Of the vectors; what a small vocabulary has no room for is zero.
        seed: Of the random projection.
    """
    from sklearn.utils.extmath import randomized_svd

    pieces = information.shape[0]
    left, values, _ = randomized_svd(information, min(width, pieces), n_iter=4, random_state=seed)
    vectors = np.zeros((pieces, width), dtype=np.float32)
    vectors[:, : len(values)] = left * values**EIGENVALUES
    return vectors
