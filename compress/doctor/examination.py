"""The whole examination, in the order in which it is read."""

import os
from pathlib import Path

from compress.doctor.findings import Diagnosis
from compress.doctor.machine import check_machine
from compress.doctor.packages import check_packages
from compress.doctor.reach import check_glue, check_hub, check_teachers, start_probe


def examine(*, store: Path, glue: Path | None = None) -> Diagnosis:
    """Look at packages, machine, Hub, data and teachers; takes some seconds, most of them PyTorch's import.

    Args:
        store: The directory of runs.
        glue: A local clone of GLUE; default the environment's `COMPRESS_GLUE`, then the Hub.
    """
    probe = start_probe()  # answers while the rest is looked at
    clone = glue or (Path(os.environ["COMPRESS_GLUE"]) if os.environ.get("COMPRESS_GLUE") else None)
    packages = check_packages()
    torch_loads = not any(finding.name == "torch" and finding.state == "broken" for finding in packages)
    machine = check_machine(store, torch_loads=torch_loads)
    hub, reach = check_hub(probe)
    findings = [*packages, *machine, *reach, *check_glue(clone, hub=hub), *check_teachers(hub=hub)]
    return Diagnosis(findings=tuple(findings))
