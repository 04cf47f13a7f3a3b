"""The lines of Python that load an artefact from the current directory, without us where that can be, and ask it one question."""

import json
from collections.abc import Sequence

from compress.artefacts import FORMATS, ONNX_FILE, OPENVINO_FILE, QUANTO_FILE, Format
from compress.recipes.stages import Head, Quantize, head_of
from compress.reporting.markup import fence
from compress.runs import Run

LIBRARIES: dict[Format, str] = {
    "onnx": "onnxruntime",
    "openvino": "openvino",
    "quanto": "transformers",
    "safetensors": "transformers",
}
"""Format → the library that a card names, in the Hub's words."""
BARE: dict[Head, tuple[str, str]] = {
    "masked_lm": ("AutoModelForMaskedLM", "logits"),
    "none": ("AutoModel", "last_hidden_state"),
}
"""What loads a model that answers no task, and what it gives."""


def format_of(run: Run) -> Format:
    """The format of a run's artefact, by its files' names."""
    return next((form for file, form in FORMATS.items() if file in run.files), "safetensors")


def tell_need(run: Run, *, lacking: str | None) -> list[str]:
    """What must be installed beside the library that the lines import, and how to do without; nothing where nothing must.

    Args:
        run: Whose artefact it is.
        lacking: What `transformers` has no architecture for, as the beginning of a sentence; None where it has one.
    """
    form, needs_compress = format_of(run), lacking is not None
    told = []
    if isinstance(run.stage, Quantize) and run.stage.method.kind.startswith("bnb"):
        told += ["Its weights are bitsandbytes': `pip install bitsandbytes`.", ""]
    if form == "quanto" and needs_compress:
        told += [f"{lacking}, which `transformers` lacks.", ""]
    elif form == "quanto" and _has_four_bits(run):
        told += [
            "For four bits quanto compiles an extension in the folder that it is installed in; under compress it does not.",
            "",
        ]
    elif form == "quanto":
        told += ["Its weights are quanto's: `pip install optimum-quanto`.", ""]
    if form == "safetensors" and needs_compress and isinstance(run.stage, Quantize):
        told += [
            f"{lacking}, which `transformers` lacks: it loads after `import compress`.",
            "",
        ]
    elif form == "safetensors" and needs_compress:
        told += [
            f"{lacking}, which `transformers` lacks: it loads after `import compress`. "
            "For those who do not have it, this writes the same function, in more bytes:",
            "",
            *fence("compress export . --save-to ../plain", "bash"),
            "",
        ]
    return told


def write_loading(run: Run, *, needs_compress: bool) -> str:
    """The lines that load it and ask it one question."""
    head = head_of(run.stage)
    first = (
        ["import compress  # its architecture is not among those of transformers"] if needs_compress else []
    )
    if head in BARE:
        return "\n".join(_bare(first, *BARE[head]))
    texts = ", ".join('["A text."]' for _ in run.answered_task.text)
    match format_of(run):
        case "onnx":
            lines = _onnx(texts)
        case "openvino":
            lines = _openvino(texts)
        case "quanto" if needs_compress or _has_four_bits(run):
            question = '("A text.", "A text.")' if len(run.answered_task.text) == 2 else '"A text."'
            return "\n".join(["import compress", "", f'print(compress.load(".").predict([{question}]))'])
        case "quanto":
            lines = _quanto(texts)
        case "safetensors":
            lines = [*first, *_transformers(texts)]
    return "\n".join([*lines, *_explain_logits(run)])


def _has_four_bits(run: Run) -> bool:
    return isinstance(run.stage, Quantize) and run.stage.method.kind == "quanto-int4"


def _onnx(texts: str) -> list[str]:
    return [
        "import numpy as np",
        "import onnxruntime",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        f'session = onnxruntime.InferenceSession("{ONNX_FILE}", providers=["CPUExecutionProvider"])',
        "names = {given.name for given in session.get_inputs()}",
        f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="np")',
        "inputs = {name: value.astype(np.int64) for name, value in batch.items() if name in names}",
        "logits = session.run(None, inputs)[0]",
    ]


def _openvino(texts: str) -> list[str]:
    return [
        "import numpy as np",
        "import openvino",
        "from transformers import AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        f'model = openvino.Core().compile_model("{OPENVINO_FILE}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})',
        "names = {given.any_name for given in model.inputs}",
        f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="np")',
        "inputs = {name: value.astype(np.int64) for name, value in batch.items() if name in names}",
        'logits = model(inputs)["logits"]',
    ]


def _quanto(texts: str) -> list[str]:
    return [
        "import json",
        "import torch",
        "from optimum.quanto import requantize",
        "from safetensors import safe_open",
        "from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained("."))',
        f'with safe_open("{QUANTO_FILE}", "pt") as file:',
        "    tensors = {name: file.get_tensor(name) for name in file.keys()}",
        '    requantize(model, tensors, json.loads(file.metadata()["quantization_map"]))',
        f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="pt")',
        "with torch.no_grad():",
        "    logits = model.eval()(**batch).logits",
    ]


def _transformers(texts: str) -> list[str]:
    return [
        "import torch",
        "from transformers import AutoModelForSequenceClassification, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        'model = AutoModelForSequenceClassification.from_pretrained(".").eval()',
        f'batch = tokenizer({texts}, truncation=True, padding=True, return_tensors="pt")',
        "with torch.no_grad():",
        "    logits = model(**batch).logits",
    ]


def _bare(first: Sequence[str], loader: str, given: str) -> list[str]:
    return [
        *first,
        "import torch",
        f"from transformers import {loader}, AutoTokenizer",
        "",
        'tokenizer = AutoTokenizer.from_pretrained(".")',
        f'model = {loader}.from_pretrained(".").eval()',
        'batch = tokenizer(["A text."], truncation=True, padding=True, return_tensors="pt")',
        "with torch.no_grad():",
        f"    print(model(**batch).{given}.shape)",
    ]


def _explain_logits(run: Run) -> list[str]:
    if run.answered_task.labels is None:
        return ["print(logits[:, 0].tolist())"]
    labels = json.dumps(list(run.answered_task.labels), ensure_ascii=False)
    return [f"labels = {labels}", "print([labels[index] for index in logits.argmax(-1).tolist()])"]
