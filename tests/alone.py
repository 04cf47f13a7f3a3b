"""Processes of their own that do not import for ten seconds each: they are forked from one that has."""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

FORKED = multiprocessing.get_context("forkserver")
"""For functions of ours: a child has all of it imported."""
FORKED.set_forkserver_preload(["compress.api", "compress.cli.commands", "transformers.trainer", "accelerate"])

SERVER = """
import json, os, sys
import requests, safetensors.torch, scipy.optimize, tokenizers
import torch, torch._dynamo, torch.distributed.tensor, torch.export
assert not {"transformers", "compress"} & set(sys.modules)
assert sys.platform != "linux" or len(os.listdir("/proc/self/task")) == 1  # a fork lacks all others
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.chdir(asked["cwd"])
for number, (file, flags) in enumerate(zip(asked["files"], (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY))):
    os.dup2(os.open(file, flags), number)
sys.stdin = open(0)
sys.argv = ["-c", *asked["arguments"]]
exec(asked["code"], {"__name__": "__main__"})
"""


class Python:
    """What runs programs as `python -c` does, one after the other; a context manager, which ends it.

    Imported beforehand is what `transformers` needs, neither itself nor anything of ours: of those a program sees what
    it imports, and in the order in which it does.
    """

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self, code: str, *arguments: object, cwd: Path | str = ".", given: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A program's end.

        Args:
            code: Of the program.
            arguments: Its own.
            cwd: The directory that it runs in.
            given: On stdin.
        """
        with tempfile.TemporaryDirectory() as room:
            files = [Path(room, name) for name in ("stdin", "stdout", "stderr")]
            for file, text in zip(files, (given, "", ""), strict=True):
                file.write_text(text, encoding="utf-8")
            asked = {
                "code": code,
                "arguments": [str(argument) for argument in arguments],
                "cwd": os.path.abspath(cwd),  # noqa: PTH100
                "files": [str(file) for file in files],
            }
            self._server.stdin.write(f"{json.dumps(asked)}\n")
            self._server.stdin.flush()
            status = int(self._server.stdout.readline())
            told = [file.read_text(encoding="utf-8") for file in files[1:]]
        return subprocess.CompletedProcess(["python", "-c", code], status, *told)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()
