"""OpenVINO's engines leave the thread's signal stack alone, in whatever order they end."""

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from compress.converting import export_openvino
from compress.encoder import model_inputs
from tests.quantization.tiny import build

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="OpenVINO was seen to replace the signal stack on Linux and x86-64",
)

ENDED_IN_ORDER = """
import faulthandler, os, resource, signal, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
faulthandler.enable()  # as pytest and many servers do: it brings a signal stack
{start}
elder, younger = start(), start()
del elder
del younger
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
BARE = """
import openvino

def start():
    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")
    return core
"""
OURS = """
from compress.engines.openvino import OpenVinoEngine

def start():
    return OpenVinoEngine(Path(sys.argv[1]))
"""
PROFILES_THAT_FAILED = """
from compress.engines.openvino import OpenVinoEngine

def start():
    engine = OpenVinoEngine(Path(sys.argv[1]))
    try:
        engine.profile([{}])
    except KeyError as error:  # its traceback holds what profiling had started
        return error
"""


def end_in_order(start: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    code = ENDED_IN_ORDER.format(start=start)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("start", [OURS, PROFILES_THAT_FAILED], ids=["engines", "profiles"])
def test_a_signal_is_heard_after_what_ended_in_the_order_it_began(start, tokenizer, tmp_path):
    encoder = build("albert", tokenizer)
    export_openvino(encoder.model, tmp_path, input_names=model_inputs(encoder.tokenizer))
    done = end_in_order(start, tmp_path / "openvino_model.xml")
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_openvino_alone_still_ends_the_process():
    """Where this fails, OpenVINO is mended, and `keep_signal_stack` may go."""
    assert end_in_order(BARE).returncode == -signal.SIGSEGV
