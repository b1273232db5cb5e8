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
