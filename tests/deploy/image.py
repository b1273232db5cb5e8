"""Dockerfile and compose.yaml, taken apart."""

import re
from typing import Any

import yaml

from app.config import PROJECT

Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """The instructions of the Dockerfile, one list for each stage."""
    lines = re.sub(r"\\\n", " ", (PROJECT / "Dockerfile").read_text()).splitlines()
    found: list[list[Instruction]] = []
    for line in lines:
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append((name, rest))
    return found


def values(stage: list[Instruction], name: str) -> list[str]:
    return [rest for instruction, rest in stage if instruction == name]


def copied(stage: list[Instruction]) -> list[str]:
    """What a stage takes from the project."""
    return [path for rest in values(stage, "COPY") if "--from" not in rest for path in rest.split()[:-1]]


COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def with_empty_env_file() -> dict[str, str]:
    """The variables that Compose gives the service where `.env` sets none."""
    given = {name: value for name, value in SERVICES["web"]["environment"].items() if value is not None}
    return {name: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for name, value in given.items()}
