"""Runs the steps of the pipelines in `examples/ci` as their services would: shell by shell, and
after a failure only what is for failures."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster import ROOT

CI = ROOT / "examples" / "ci"
_GITHUB_KEYS = {"uses", "name", "run", "if"}
_GITHUB_SHELLS = {
    "": ("bash", "-e", "-c"),
    "bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"),
}
"""What runs a step: without a named shell there is no pipefail."""
_RESCUE = "failure() || cancelled()"


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of shell; with `rescue` it runs after a failure, else while there is none."""

    name: str
    shell: tuple[str, ...]
    rescue: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ran, with its exit code, and all that was printed."""

    codes: Mapping[str, int]
    out: str

    @property
    def failed(self) -> bool:
        return any(self.codes.values())


def github() -> list[Step]:
    """The steps of the workflow; actions of others, such as the checkout, have no shell."""
    workflow = _load("github-actions.yml")
    [job] = workflow["jobs"].values()
    named = workflow.get("defaults", {}).get("run", {}).get("shell", "")
    found = []
    for step in job["steps"]:
        assert step.keys() <= _GITHUB_KEYS, step
        condition = step.get("if", "success()")
        assert condition in ("success()", _RESCUE)
        if "run" in step:
            shell = (*_GITHUB_SHELLS[named], step["run"])
            found.append(Step(step["name"], shell, condition == _RESCUE))
    return found


def github_environment() -> dict[str, str]:
    """The variables of the workflow, as expressions."""
    found = _load("github-actions.yml")["env"]
    return {name: value.removeprefix("${{ ").removesuffix(" }}") for name, value in found.items()}


def gitlab() -> list[Step]:
    """The jobs of the pipeline in the order of their stages; each is one shell."""
    pipeline = _load("gitlab-ci.yml")
    found = []
    for stage in pipeline["stages"]:
        for name, job in pipeline.items():
            if isinstance(job, dict) and job.get("stage") == stage:
                script = "\n".join(job["script"])
                rescue = job.get("when", "on_success") == "on_failure"
                found.append(Step(name, ("sh", "-e", "-c", script), rescue))
    return found


def run(steps: list[Step], folder: Path, environment: Mapping[str, str], stack: str) -> Outcome:
    """Run them in a checkout that has the scripts and the text of the stack file in `ci/`."""
    (folder / "ci").mkdir(exist_ok=True)
    for file in CI.glob("*.sh"):
        (folder / "ci" / file.name).write_bytes(file.read_bytes())
    (folder / "ci" / "shop.stack.yml").write_text(stack)
    codes: dict[str, int] = {}
    out = []
    for step in steps:
        if step.rescue != any(codes.values()):
            continue
        done = subprocess.run(
            step.shell,
            cwd=folder,
            env={"PATH": "/usr/bin:/bin", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=100,
        )
        codes[step.name] = done.returncode
        out.append(f"== {step.name}: {done.returncode}\n{done.stdout}")
    return Outcome(codes, "\n".join(out))


def _load(name: str) -> Any:
    return yaml.load((CI / name).read_text(), yaml.BaseLoader)
