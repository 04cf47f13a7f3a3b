"""Python and its packages: installed, in range, as tested, importable."""

import importlib
import platform
import re
from collections.abc import Mapping, Sequence
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from compress.doctor.findings import Finding
from compress.environment import installed_version, refuse_telemetry, tested_versions
from compress.errors import first_line

DISTRIBUTION = "compress-encoders"
OPTIONAL = {
    "offline": "teachers that come as packages",
    "openvino": "OpenVINO's engine, and its int8 by NNCF",
    "peers": "comparisons",
}
"""The extras that users may miss, and what each is for."""
COMPILED = ("torch", "tokenizers", "pyarrow", "onnx", "onnxruntime", "bitsandbytes", "openvino")
"""What may be installed and still not load: packages with libraries of their own."""


def check_packages() -> list[Finding]:
    """Python, every required package, those that may not load, and the optional extras."""
    requirements = _requirements()
    tested = tested_versions()
    installed = {requirement.name: installed_version(requirement.name) for requirement, _ in requirements}
    required = [requirement for requirement, extra in requirements if extra is None]
    return [
        _python(),
        *([] if requirements else [_not_installed()]),
        *judge_required(required, installed=installed, tested=tested),
        *(finding for name in COMPILED if (finding := check_import(name))),
        *(
            judge_extra(
                name, [requirement for requirement, extra in requirements if extra == name], installed
            )
            for name in OPTIONAL
        ),
    ]


def judge_required(
    required: Sequence[Requirement], *, installed: Mapping[str, str | None], tested: Mapping[str, str]
) -> list[Finding]:
    """A finding for each package that is missing, out of range or not as tested; one for all that are."""
    findings = []
    as_tested = []
    for requirement in required:
        version = installed[requirement.name]
        known = tested.get(canonicalize_name(requirement.name))
        install = f"pip install '{requirement.name}=={known}'" if known else f"pip install '{requirement}'"
        if version is None:
            findings.append(_package(requirement.name, "broken", "is not installed", install))
        elif not requirement.specifier.contains(version, prereleases=True):
            text = f"{version} is out of range: compress needs {requirement.specifier}"
            findings.append(_package(requirement.name, "broken", text, install))
        elif known and Version(Version(version).public) != Version(known):
            text = f"{version} is in range ({requirement.specifier}), but {known} is what was tested"
            findings.append(_package(requirement.name, "lacking", text, install))
        else:
            as_tested.append(f"{requirement.name} {version}")
    if as_tested:
        text = f"{', '.join(as_tested)}"
        findings.insert(0, _package("as tested" if tested else "in range", "good", text, None))
    return findings


def judge_extra(
    name: str, requirements: Sequence[Requirement], installed: Mapping[str, str | None]
) -> Finding:
    """Whether an optional extra is all there."""
    missing = [requirement for requirement in requirements if installed[requirement.name] is None]
    purpose = OPTIONAL[name]
    if not requirements:
        text = f"{purpose}: unknown to the version that is installed"
        fix = f"pip install --upgrade '{DISTRIBUTION}[{name}]'; in a checkout: pip install --editable '.[{name}]'"
        return Finding(area="extras", name=name, state="lacking", text=text, fix=fix)
    if missing:
        text = f"{purpose}: {', '.join(requirement.name for requirement in missing)} not installed"
        fix = f"pip install {' '.join(repr(str(_without_marker(requirement))) for requirement in missing)}"
        return Finding(area="extras", name=name, state="lacking", text=text, fix=fix)
    there = ", ".join(f"{requirement.name} {installed[requirement.name]}" for requirement in requirements)
    return Finding(area="extras", name=name, state="good", text=f"{purpose}: {there}")


def check_import(name: str) -> Finding | None:
    """A finding where a package is installed but does not load; None where it does, or is not installed."""
    if installed_version(name) is None:
        return None  # told among the required ones, or the extras
    refuse_telemetry()
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever its libraries raise, the user has to hear of it
        known = tested_versions().get(name)
        again = f"pip install --force-reinstall '{name}{f'=={known}' if known else ''}'"
        return _package(name, "broken", f"is installed but does not load: {first_line(error)}", again)
    return None


def _requirements() -> list[tuple[Requirement, str | None]]:
    """What this distribution requires, each with the extra that it belongs to."""
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", str(requirement.marker or ""))
        found.append((_without_marker(requirement), extra.group(1) if extra else None))
    return found


def _without_marker(requirement: Requirement) -> Requirement:
    return Requirement(f"{requirement.name}{requirement.specifier}")


def _python() -> Finding:
    return Finding(area="packages", name="Python", state="good", text=platform.python_version())


def _not_installed() -> Finding:
    text = "runs from its source without being installed, so what it requires is not known here"
    return _package(DISTRIBUTION, "lacking", text, "pip install --editable .")


def _package(name: str, state: str, text: str, fix: str | None) -> Finding:
    return Finding.model_validate(
        {"area": "packages", "name": name, "state": state, "text": text, "fix": fix}
    )
