"""Which of the student's layers learns from which of the teacher's.

A map is a tuple of pairs (student, teacher). Layers are counted as `hidden_states` are: 0 is the embeddings, m the
output of layer m. Attention is counted by its layer, from 1; `attention_pairs` are those of a map that have any.
With M layers in the student and N in the teacher (Jiao et al. 2020, "TinyBERT", sections 3.1 and 4.4):

- `uniform`: g(m) = ⌈m · N / M⌉, the paper's choice where M divides N.
- `first`: g(m) = m, its "bottom-strategy".
- `last`: g(m) = N − M + m, its "top-strategy".

Each also pairs the embeddings, g(0) = 0.
"""

from collections import Counter

from compress.errors import InvalidInputError
from compress.recipes.terms import LayerMap

Pairs = tuple[tuple[int, int], ...]


def resolve_map(layer_map: LayerMap, *, student_layers: int, teacher_layers: int) -> Pairs:
    """The pairs of a map, in the order of the student's layers.

    A student that is deeper than its teacher may be mapped uniformly: then several of its layers share one of the
    teacher's. Pairs may give a layer several partners, but none twice.

    Args:
        layer_map: A rule's name, or the pairs themselves.
        student_layers: M.
        teacher_layers: N.

    Raises:
        InvalidInputError: A layer that a model does not have, a pair named twice, no pair at all, or `first` or
            `last` for a student that is deeper than its teacher.
    """
    if not isinstance(layer_map, str):
        _check_pairs(layer_map, student_layers=student_layers, teacher_layers=teacher_layers)
        return tuple(sorted(layer_map))
    if layer_map != "uniform" and student_layers > teacher_layers:
        raise InvalidInputError(
            f'The layer map "{layer_map}" gives each of the student\'s {student_layers} layers one of the '
            f"teacher's, which has only {teacher_layers}.",
            'Take a shallower student, a deeper teacher, or the layer map "uniform", in which layers may share one.',
        )
    numbers = range(1, student_layers + 1)
    match layer_map:
        case "uniform":
            partners = [-(-number * teacher_layers // student_layers) for number in numbers]
        case "first":
            partners = list(numbers)
        case "last":
            partners = [teacher_layers - student_layers + number for number in numbers]
    return ((0, 0), *zip(numbers, partners, strict=True))


def attention_pairs(pairs: Pairs) -> Pairs:
    """The pairs whose layers both attend: embeddings do not."""
    return tuple((ours, theirs) for ours, theirs in pairs if ours > 0 and theirs > 0)


def describe_map(
    layer_map: LayerMap, *, student_layers: int, teacher_layers: int, attention: bool = False
) -> str:
    """The pairs and whose choice they are, in one line; of `attention`, those of layers that attend.

    Raises:
        InvalidInputError: As `resolve_map`.
    """
    pairs = resolve_map(layer_map, student_layers=student_layers, teacher_layers=teacher_layers)
    pairs = attention_pairs(pairs) if attention else pairs
    listed = ", ".join(f"{ours}→{theirs}" for ours, theirs in pairs)
    name = layer_map if isinstance(layer_map, str) else "pairs"
    note = _explain(layer_map, student_layers=student_layers, teacher_layers=teacher_layers)
    return f"{name}, student→teacher: {listed} ({note})"


def _explain(layer_map: LayerMap, *, student_layers: int, teacher_layers: int) -> str:
    match layer_map:
        case "uniform" if teacher_layers % student_layers == 0:
            times = teacher_layers // student_layers
            return f"TinyBERT's uniform map, g(m) = {times if times > 1 else ''}m"
        case "uniform":
            ours = f"g(m) = ⌈m·{teacher_layers}/{student_layers}⌉ is ours: TinyBERT maps multiples"
            deeper = student_layers > teacher_layers
            return f"{ours}; the student is deeper, so that layers share a partner" if deeper else ours
        case "first":
            return "TinyBERT's bottom-strategy"
        case "last":
            return "TinyBERT's top-strategy"
        case _:
            return "as given"


def _check_pairs(pairs: Pairs, *, student_layers: int, teacher_layers: int) -> None:
    """Refuse pairs that name a layer which is not there, and pairs that would count twice."""
    ranges = f"the student's are 0 to {student_layers}, the teacher's 0 to {teacher_layers}"
    outside = [
        pair for pair in pairs if not (0 <= pair[0] <= student_layers and 0 <= pair[1] <= teacher_layers)
    ]
    twice = [pair for pair, count in Counter(pairs).items() if count > 1]
    if outside:
        problem = f"The layer map names layers that are not there: {_listed(outside)}."
    elif twice:
        problem = f"The layer map names pairs twice: {_listed(twice)}."
    elif not pairs:
        problem = "The layer map is empty: nothing would be compared."
    else:
        return
    raise InvalidInputError(
        problem, f"Write pairs [student, teacher], each once; 0 is the embeddings, and {ranges}."
    )


def _listed(pairs: list[tuple[int, int]]) -> str:
    return ", ".join(f"[{ours}, {theirs}]" for ours, theirs in pairs)
