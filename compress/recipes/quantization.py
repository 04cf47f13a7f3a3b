"""How a finished model is rewritten in fewer bits: a method is its recipe, and adding one is adding a class.

A class says what it needs and what it leaves as it is, so that this can be told before anything is loaded. What it does
is a function that is registered for it in `compress.rewriting`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_args

from pydantic import Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from compress.environment import installed_version, saturates_int8
from compress.errors import CompressError, InvalidInputError, UnknownNameError
from compress.recipes.resolve import explain_validation, suggest
from compress.recipes.values import Frozen, Number, PositiveInt

VECTORS: Mapping[str, str] = {
    "biases and layer norms": "vectors, a hundredth of the bytes, added and scaled in fp32"
}
QUANTO_LEAVES: Mapping[str, str] = {
    **VECTORS,
    "tables": "their rows are looked up in fp32: the library has no kernel for fewer bits",
    "the classifier": "it decides the answer and takes few bytes",
    "activations": "only weights are quantized",
}
BNB_LEAVES: Mapping[str, str] = {
    **VECTORS,
    "tables": QUANTO_LEAVES["tables"],
    "pooler and classifier": "they decide the answer and take few bytes",
}


LATER: Mapping[str, tuple[Any, ...]] = {"keep": ((),), "max_drop": (None,), "reduce_range": (None, False)}
"""Fields that came later → values with which they are not written, so that what was made before them keeps its key."""

BlockSize = Literal[16, 32, 64, 128, 256]


class Method(Frozen):
    """What every method says of itself.

    Attributes:
        kind: Its name.
        makers: Distributions whose versions decide the result, torch and transformers apart.
        packages: Those of them that this package does not depend on.
        extra: Of this package, that brings them.
        leaves: What stays in full precision → why.
        calibrates: Whether it looks at texts of the task.
        simulated: Whether a model can be trained for it (`compress.quantization.simulation`).
    """

    makers: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str] = ""
    leaves: ClassVar[Mapping[str, str]] = VECTORS
    calibrates: ClassVar[bool] = False
    simulated: ClassVar[bool] = False

    kind: str

    @property
    def reads_data(self) -> bool:
        """Whether the task's train split decides the result."""
        return self.calibrates


class SelectiveMethod(Method):
    """A method that can leave some layers as they are.

    Attributes:
        keep: Modules that stay in full precision, by name; a shared layer is one module for all its uses. `*` stands
            for any part of a name.
        max_drop: The most that the task's primary score may fall on a held-out part of the train split: layers that
            hurt stay in full precision until it is met. None keeps `keep` alone.
    """

    keep: tuple[str, ...] = ()
    max_drop: Annotated[Number, Field(ge=0, lt=1)] | None = None

    @property
    def reads_data(self) -> bool:
        """Whether the task's train split decides the result."""
        return self.calibrates or self.max_drop is not None

    @model_serializer(mode="wrap")
    def _what_is_usual_goes_without_saying(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = write(self)
        return {
            name: value for name, value in fields.items() if getattr(self, name) not in LATER.get(name, ())
        }


class IntegerMethod(SelectiveMethod):
    """A method whose products are of 8-bit integers.

    Attributes:
        per_channel: A scale for each column of a weight, not one for all.
        reduce_range: Whether weights take 7 of their 8 bits, so that no processor's sums saturate (`UNSATURATED_INT8`).
            Decided when the run is planned where it is left open: on where this processor's may (`settle`).
    """

    per_channel: bool = True
    reduce_range: bool | None = None


class DynamicInt8(IntegerMethod):
    """8-bit weights and tables; activations quantized as they come (ONNX Runtime)."""

    makers: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    simulated: ClassVar[bool] = True

    kind: Literal["dynamic-int8"] = "dynamic-int8"


class StaticInt8(IntegerMethod):
    """8-bit weights and tables; activations in 8 bits by scales that texts of the task have set (ONNX Runtime).

    Attributes:
        graph: `qdq` marks what is quantized and leaves the choice of kernels to the runtime; `operator` names them.
        ranges: How an activation's range follows from what was seen.
        samples: Texts of the train split that the ranges are seen on.
    """

    makers: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    leaves: ClassVar[Mapping[str, str]] = {
        **VECTORS,
        "sums, normalizations and attention": "only products with weights are quantized: sums in 8 bits break logits",
    }
    calibrates: ClassVar[bool] = True

    kind: Literal["static-int8"] = "static-int8"
    graph: Literal["qdq", "operator"] = "qdq"
    ranges: Literal["minmax", "entropy", "percentile"] = "minmax"
    samples: PositiveInt = 256


class PackedMethod(SelectiveMethod):
    """Weights and tables in blocks of a few bits, for ONNX Runtime.

    Attributes:
        bits: Of a weight.
        block_size: Weights that share a scale, at the most: fewer where rows would be padded.
        symmetric: Whether the middle of a block's range is zero, or it has a zero point of its own.
        activations: What weights are multiplied by: numbers as they come, or these in blocks of 8 bits, which is faster.
    """

    makers: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    leaves: ClassVar[Mapping[str, str]] = {
        **VECTORS,
        "attention": "its products are of two activations: no weight is stored for them",
    }
    simulated: ClassVar[bool] = True
    bits: ClassVar[Literal[4, 8]]

    block_size: BlockSize
    symmetric: bool = False
    activations: Literal["float32", "int8"] = "int8"


class PackedInt8(PackedMethod):
    """Weights and tables in blocks of 8 bits: nearest to the model, at a quarter of its bytes (ONNX Runtime)."""

    bits: ClassVar[Literal[4, 8]] = 8

    kind: Literal["packed-int8"] = "packed-int8"
    block_size: BlockSize = 128


class PackedInt4(PackedMethod):
    """Weights and tables in blocks of 4 bits: an eighth of the bytes and the scales (ONNX Runtime)."""

    bits: ClassVar[Literal[4, 8]] = 4

    kind: Literal["packed-int4"] = "packed-int4"
    block_size: BlockSize = 64


WIDENED: Mapping[str, str] = {"the arithmetic": "in fp32: few processors multiply 16 bits as fast"}


class Fp16(Method):
    """Weights and tables in float16: half the bytes, hardly another answer (ONNX Runtime or PyTorch).

    Attributes:
        format: `onnx`, or `transformers`: safetensors.
    """

    makers: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    leaves: ClassVar[Mapping[str, str]] = WIDENED

    kind: Literal["fp16"] = "fp16"
    format: Literal["onnx", "transformers"] = "onnx"


class Bf16(Method):
    """Weights and tables in bfloat16: half the bytes, and fast where processors multiply it (PyTorch or ONNX Runtime).

    Attributes:
        format: `transformers`: safetensors; or `onnx`.
    """

    makers: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime")
    leaves: ClassVar[Mapping[str, str]] = {
        "the arithmetic": "in fp32 where bfloat16 products are not native, and in an ONNX file"
    }

    kind: Literal["bf16"] = "bf16"
    format: Literal["onnx", "transformers"] = "transformers"


class OpenVinoInt8(SelectiveMethod):
    """8-bit weights, tables and activations by scales that texts of the task have set (OpenVINO, NNCF).

    Attributes:
        samples: Texts of the train split that the ranges are seen on.
    """

    makers: ClassVar[tuple[str, ...]] = ("onnx", "onnxruntime", "openvino", "nncf")
    packages: ClassVar[tuple[str, ...]] = ("openvino", "nncf")
    extra: ClassVar[str] = "openvino"
    leaves: ClassVar[Mapping[str, str]] = {
        **VECTORS,
        "sums, normalizations and softmax": "NNCF leaves them in a transformer: in 8 bits they break logits",
    }
    calibrates: ClassVar[bool] = True

    kind: Literal["openvino-int8"] = "openvino-int8"
    samples: PositiveInt = 256


class BnbInt8(SelectiveMethod):
    """8-bit weights; activations quantized a row, columns with outliers apart (bitsandbytes, LLM.int8)."""

    makers: ClassVar[tuple[str, ...]] = ("bitsandbytes",)
    leaves: ClassVar[Mapping[str, str]] = BNB_LEAVES

    kind: Literal["bnb-int8"] = "bnb-int8"


class BnbNf4(SelectiveMethod):
    """4-bit weights of 16 fixed values, a scale for 64 weights (bitsandbytes, QLoRA's NormalFloat)."""

    makers: ClassVar[tuple[str, ...]] = ("bitsandbytes",)
    leaves: ClassVar[Mapping[str, str]] = BNB_LEAVES

    kind: Literal["bnb-nf4"] = "bnb-nf4"


class QuantoInt8(SelectiveMethod):
    """8-bit weights, unpacked as they are used (PyTorch, optimum-quanto)."""

    makers: ClassVar[tuple[str, ...]] = ("optimum-quanto",)
    leaves: ClassVar[Mapping[str, str]] = QUANTO_LEAVES

    kind: Literal["quanto-int8"] = "quanto-int8"


class QuantoInt4(SelectiveMethod):
    """4-bit weights, a scale and a shift for up to 128 of them, unpacked as they are used (PyTorch, optimum-quanto)."""

    makers: ClassVar[tuple[str, ...]] = ("optimum-quanto",)
    leaves: ClassVar[Mapping[str, str]] = QUANTO_LEAVES

    kind: Literal["quanto-int4"] = "quanto-int4"


QuantizationMethod = Annotated[
    DynamicInt8
    | StaticInt8
    | PackedInt8
    | PackedInt4
    | Fp16
    | Bf16
    | OpenVinoInt8
    | BnbInt8
    | BnbNf4
    | QuantoInt8
    | QuantoInt4,
    Field(discriminator="kind"),
]

METHODS: Mapping[str, type[Method]] = {
    method.model_fields["kind"].default: method for method in get_args(get_args(QuantizationMethod)[0])
}


def describe_methods() -> dict[str, str]:
    """Each method's name and what it is, in a line."""
    return {name: (method.__doc__ or "").partition("\n")[0].rstrip(".") for name, method in METHODS.items()}


def resolve_method(name: str, options: Mapping[str, Any]) -> QuantizationMethod:
    """A method by its name, with the user's changes; None is what was not said.

    Raises:
        UnknownNameError: There is no such method.
        InvalidInputError: It takes no such option, or a value is out of range.
    """
    if name not in METHODS:
        raise UnknownNameError(f"There is no method {name!r}.", suggest(name, list(METHODS), "methods"))
    method = METHODS[name]
    said = {option: value for option, value in options.items() if value not in (None, ())}
    for option in said:
        if option not in method.model_fields:
            takers = [other for other, kind in METHODS.items() if option in kind.model_fields]
            raise InvalidInputError(
                f"{name} takes no --{option.replace('_', '-')}.", f"{', '.join(takers)} would: leave it out."
            )
    try:
        return method.model_validate(said)  # type: ignore[return-value]
    except ValidationError as error:
        raise InvalidInputError(
            f"These options do not fit {name}: {explain_validation(error, (method,))}", "Mend them."
        ) from None


AnyMethod = TypeVar("AnyMethod", bound=Method)


def settle(method: AnyMethod) -> AnyMethod:
    """A method with what this machine decides of it where its recipe leaves that open."""
    if isinstance(method, IntegerMethod) and method.reduce_range is None:
        return method.model_copy(update={"reduce_range": saturates_int8()})
    return method


def require_installed(method: Method) -> None:
    """Refuse a method whose packages are not here.

    Raises:
        CompressError: Some are missing.
    """
    missing = [package for package in method.packages if installed_version(package) is None]
    if missing:
        raise CompressError(
            f"The method {method.kind} needs {' and '.join(missing)}, which is not installed here.",
            f"Install it: pip install 'compress-encoders[{method.extra}]'.",
        )
