"""Where a number was made: versions, processor, threads, accelerator, commit. Imports torch only when asked."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Set
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import metadata
from pathlib import Path
from shlex import join
from typing import Literal

from pydantic import BaseModel, ConfigDict

Device = Literal["cpu", "cuda"]

PACKAGES = (
    "compress-encoders",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "sentencex",
    "onnx",
    "onnxruntime",
    "openvino",
    "nncf",
    "bitsandbytes",
    "optimum-quanto",
    "torch-pruning",
    "numpy",
    "scikit-learn",
)
CPU_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimd", "i8mm", "bf16")
"""The processor's features that decide which kernels run, and with them speed and the last digits."""
NATIVE_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
"""Those with which bfloat16 products are native."""
VNNI = frozenset({"avx512_vnni", "avx_vnni"})
NATIVE_INT8 = VNNI | {"amx_int8"}
"""Those with which an x86 processor adds up products of 8 bits in 32; without, pairs of them in 16, which saturate."""
UNSATURATED_INT8 = 64
"""The largest weight with which no such pair saturates, each times the largest activation: 2 · 255 · 64 < 2¹⁵."""


class Environment(BaseModel):
    """What a result depends on beside its inputs; `threads` are PyTorch's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    python: str
    system: str
    cpu: str
    cpu_flags: tuple[str, ...]
    cpu_count: int
    threads: int | None = None
    memory_bytes: int
    device: Device
    gpu: str | None
    versions: dict[str, str]
    commit: str | None


def installed_version(package: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def refuse_telemetry() -> None:
    """Keep OpenVINO and NNCF from telling their maker that they are used: both do wherever this package can be imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def tested_versions() -> dict[str, str]:
    """Distribution → version of the set that was tested together; empty where `constraints.txt` did not come along."""
    from packaging.utils import canonicalize_name

    package = Path(__file__).resolve().parent
    for folder in (package / "_tested", package.parent):  # in the wheel, or in the checkout
        file = folder / "constraints.txt"
        if file.is_file():
            lines = file.read_text(encoding="utf-8").splitlines()
            pins = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
            return {canonicalize_name(name): version.strip() for name, version in pins}
    return {}


@cache
def processor() -> tuple[str, frozenset[str]]:
    """The processor's model name and feature flags, as the kernel tells them."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine(), frozenset()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = fields.get("flags", fields.get("Features", ""))
    return fields.get("model name", platform.machine()), frozenset(flags.split())


@cache
def _commit() -> str | None:
    """The checkout's commit, marked where files differ from it; None outside a checkout of this project."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@cache
def device() -> Device:
    """Where training and PyTorch inference run."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def multiplies_bfloat16() -> bool:
    """Whether the device has native bfloat16 products, so that training in them pays."""
    if device() == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(processor()[1] & NATIVE_BFLOAT16)


def saturates_int8(flags: Set[str] | None = None) -> bool:
    """Whether sums of 8-bit products may be cut off here.

    Args:
        flags: The processor's features, default this one's; one that does not say what it can is taken at its worst.
    """
    known = processor()[1] if flags is None else flags
    return platform.machine() in {"x86_64", "AMD64"} and not known & NATIVE_INT8


def show_path(path: Path) -> str:
    """A path as one may show it: the home directory is ~."""
    home = Path.home()
    return f"~/{path.relative_to(home).as_posix()}" if path.is_relative_to(home) else str(path)


_said: ContextVar[str | None] = ContextVar("command", default=None)


@contextmanager
def commanded(command: str) -> Iterator[None]:
    """Within, runs record this command as the one that makes them: for scripts, whose arguments nobody else may publish."""
    token = _said.set(command)
    try:
        yield
    finally:
        _said.reset(token)


def current_command() -> str:
    """The command that makes what is made now, as one would type it."""
    if said := _said.get():
        return said
    program = Path(sys.argv[0])
    if program.name == "compress" or program.parent.name == "compress":
        return join(["compress", *sys.argv[1:]])
    return "import compress"


@cache
def describe() -> Environment:
    """The environment of this process, for the record of a run."""
    import torch

    name, flags = processor()
    gpu = torch.cuda.get_device_name() if device() == "cuda" else None
    versions = {package: installed_version(package) for package in PACKAGES}
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        cpu=name,
        cpu_flags=tuple(flag for flag in CPU_FLAGS if flag in flags),
        cpu_count=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_bytes=memory_bytes(),
        device=device(),
        gpu=gpu,
        versions={package: version for package, version in versions.items() if version},
        commit=_commit(),
    )
