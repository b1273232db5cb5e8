"""What real phone systems sent, byte for byte."""

import re
from pathlib import Path

FOLDER = Path(__file__).parent


def captured_request(name: str) -> tuple[dict[str, str], bytes]:
    """The headers of a captured request, and its body: as many bytes as they say."""
    head, body = re.split(rb"\r?\n\r?\n", (FOLDER / name).read_bytes(), maxsplit=1)
    lines = head.decode("ascii").splitlines()[1:]
    headers = {field: value for field, _, value in (line.partition(": ") for line in lines)}
    return headers, body[: int(headers["Content-Length"])]


def captured_body(name: str) -> bytes:
    return captured_request(name)[1]


def captured_events(name: str) -> list[dict[str, str]]:
    """The events of a captured manager session, each as its fields."""
    blocks = re.split(r"\r?\n\r?\n", (FOLDER / name).read_text().strip())
    lines = [[line.partition(":") for line in block.splitlines()] for block in blocks]
    return [{field: value.strip() for field, _, value in block} for block in lines]
