"""The machine: what its processor's features mean for speed; threads, memory, GPU, disk."""

import os
import shutil
from collections.abc import Set
from pathlib import Path

from compress.doctor.findings import Finding
from compress.environment import (
    CPU_FLAGS,
    NATIVE_BFLOAT16,
    VNNI,
    device,
    memory_bytes,
    processor,
    saturates_int8,
    show_path,
)
from compress.storage import nearest_directory

LEAST_MEMORY = 4_000_000_000
"""Bytes with which bert-base is fine-tuned at batch 32 and length 128, with room for the data."""
LEAST_DISK = 5_000_000_000
"""Bytes of a fine-tuned bert-base with its checkpoints (weights and two moments each)."""
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_machine(store: Path, *, torch_loads: bool = True) -> list[Finding]:
    """Processor, int8, bfloat16, memory, the disk of the store; and where PyTorch loads, its threads and GPU."""
    name, flags = processor()
    known = [flag for flag in CPU_FLAGS if flag in flags]
    return [
        _finding("processor", "good", f"{name} ({', '.join(known) or 'no known features'})"),
        judge_int8(flags),
        judge_bfloat16(flags),
        judge_memory(total=memory_bytes(), available=_available_memory()),
        check_disk(store),
        *([_threads(), _gpu()] if torch_loads else []),
    ]


def judge_int8(flags: Set[str]) -> Finding:
    """What 8-bit integer products cost on a processor with these features."""
    if "amx_int8" in flags:
        text = "AMX tiles: 8-bit products are native and the fastest thing here"
    elif flags & VNNI:
        text = "VNNI: 8-bit products are native, quantized models run about three times as fast as fp32"
    elif flags & {"i8mm", "asimddp"}:
        text = "dot-product instructions: 8-bit products are native"
    else:
        text = "no VNNI, AMX or dot product: quantized models get smaller, hardly faster"
        if saturates_int8(flags):
            text += (
                "; weights quantized here take 7 bits, because sums of 8-bit products can overflow 16 bits on this "
                "processor: so can those of an 8-bit file made elsewhere"
            )
        return _finding(
            "int8",
            "lacking",
            text,
            "Serve them on a processor with AVX512-VNNI, AVX-VNNI, AMX, or Arm's dotprod.",
        )
    return _finding("int8", "good", text)


def judge_bfloat16(flags: Set[str]) -> Finding:
    """Whether training in bfloat16 pays on a processor with these features."""
    if flags & NATIVE_BFLOAT16:
        return _finding("bfloat16", "good", "native: training takes it unless --no-bf16 is given")
    return _finding("bfloat16", "good", "not native: training stays in fp32 unless --bf16 is given")


def judge_memory(*, total: int, available: int) -> Finding:
    """Whether the free memory will do, in bytes."""
    text = f"{available / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    if available >= LEAST_MEMORY:
        return _finding("memory", "good", text)
    fix = "Close programs, or lower --per-device-train-batch-size and raise --gradient-accumulation-steps."
    return _finding("memory", "lacking", f"{text}: little for a base-sized teacher", fix)


def check_disk(store: Path) -> Finding:
    """Whether the store can be written, and has room."""
    place = nearest_directory(store)
    if not place.is_dir() or not os.access(place, os.W_OK):
        what = "cannot be written" if place.is_dir() else "is no directory"
        return _finding(
            "store",
            "broken",
            f"{store}: {show_path(place)} {what}",
            "Choose another store: --runs DIR or COMPRESS_RUNS.",
        )
    free = shutil.disk_usage(place).free
    text = f"{store}: {free / 1e9:.1f} GB free"
    if free >= LEAST_DISK:
        return _finding("store", "good", text)
    return _finding("store", "lacking", f"{text}: little for a base-sized teacher", "compress runs clean")


def _threads() -> Finding:
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    used = torch.get_num_threads()
    cause = f" (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']})" if "OMP_NUM_THREADS" in os.environ else ""
    text = f"PyTorch trains with {used} on {cores} logical cores{cause}"
    if used > cores:
        return _finding(
            "threads", "lacking", f"{text}: they get in each other's way", f"export OMP_NUM_THREADS={cores}"
        )
    if cause and used < cores:
        return _finding("threads", "lacking", f"{text}: some stay idle", "unset OMP_NUM_THREADS")
    return _finding("threads", "good", text)


def _available_memory() -> int:
    """Bytes that a new process may take: what the kernel offers, within what the container is granted."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        fields = dict(line.split(":") for line in lines)
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        available = memory_bytes()
    try:
        used = int(CGROUP_LIMIT.with_name("memory.current").read_text(encoding="utf-8"))
        return min(available, int(CGROUP_LIMIT.read_text(encoding="utf-8")) - used)
    except (OSError, ValueError):  # no container, or no limit ("max")
        return available


def _gpu() -> Finding:
    import torch

    if device() == "cuda":
        memory = torch.cuda.get_device_properties(0).total_memory
        return _finding(
            "GPU", "good", f"{torch.cuda.get_device_name()}, {memory / 1e9:.0f} GB: training runs on it"
        )
    if Path("/proc/driver/nvidia/version").exists():
        return _finding(
            "GPU",
            "lacking",
            f"there is an NVIDIA driver, but torch {torch.__version__} finds no device",
            f"Check with nvidia-smi; a build without CUDA is replaced by: "
            f"pip install --force-reinstall 'torch=={torch.__version__.partition('+')[0]}'",
        )
    return _finding("GPU", "good", "none: everything runs on the processor")


def _finding(name: str, state: str, text: str, fix: str | None = None) -> Finding:
    return Finding.model_validate({"area": "machine", "name": name, "state": state, "text": text, "fix": fix})
