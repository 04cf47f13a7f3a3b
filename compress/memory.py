"""How much memory this process holds and has held.

Linux tells both in `/proc/self/status`, of this program alone. `getrusage` is what other systems have: its peak is
inherited through fork and exec, so a process started by a big one is told its parent's.
"""

import contextlib
import resource
import sys
from pathlib import Path
from typing import Any

STATUS = Path("/proc/self/status")
FORGET_PEAK = Path("/proc/self/clear_refs")


def resident_bytes() -> int:
    """Resident size now; where the system does not tell, the largest so far."""
    held = _read_status("VmRSS")
    return _getrusage_peak() if held is None else held


def peak_bytes() -> int:
    """The largest resident size since this program started, or since `forget_peak`."""
    peak = _read_status("VmHWM")
    return _getrusage_peak() if peak is None else peak


def forget_peak() -> None:
    """Let the peak begin anew at what is resident now, where the system lets one."""
    with contextlib.suppress(OSError):
        FORGET_PEAK.write_text("5", encoding="ascii")


def _read_status(field: str) -> int | None:
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields[field].split()[0]) * 1024 if field in fields else None


def _getrusage_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_peak_bytes() -> int | None:
    """The most that PyTorch held on the GPU since `forget_device_peak`; None where it has used none."""
    cuda = _cuda()
    return None if cuda is None else int(cuda.max_memory_allocated())


def forget_device_peak() -> None:
    """Let the GPU's peak begin anew at what is held there now."""
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()


def _cuda() -> Any:
    """PyTorch's CUDA, where this process has imported it and there is a GPU."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None
