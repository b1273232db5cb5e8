"""Make the two keys that AudiaPro needs, or the token that it can do with.

    python generate_keys.py                  print both, for ">> .env" or heroku config:set $(python generate_keys.py)
    python generate_keys.py --only jwt       print one
    python generate_keys.py --only metrics   print a METRICS_TOKEN
    python generate_keys.py --write [PATH]   put them into .env, made from .env.example if there is none

It needs the cryptography package and nothing of the application, so that it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

EXAMPLE = Path(__file__).resolve().parent / ".env.example"

# Start-up refuses keys that contain such words (app/key_checks.py has the same pattern; a test compares them).
WEAK_WORDS = re.compile(
    r"secret|password|passphrase|change[-_ ]?(?:me|this|it)|replace[-_ ]?me|example|default|placeholder|insecure"
    r"|audiapro|(?:test|dev)[-_]key|testkey|(?<![a-z0-9])your[-_ ]|123456789|abcdefghi|qwertyu",
    re.IGNORECASE,
)

# One line of a .env file by the grammar of python-dotenv: a setting, a comment, or nothing. A quoted value may go over
# several lines; what looks like a setting inside of it is none.
LINE = re.compile(
    r"""
    (?: \A \ufeff )? [^\S\r\n]*
    (?:
        (?: export [^\S\r\n]+ )? (?P<quote> '? ) (?P<name> [^=\#\s'"]+ ) (?P=quote) [^\S\r\n]*
        (?:
            = (?P<value>
                [^\S\r\n]+ (?= \# )                                             # nothing but a comment
              | [^\S\r\n]* (?: '(?: \\. | [^'\\] )*' | "(?: \\. | [^"\\] )*" )  # quoted
              | [^\S\r\n]* (?! [^\S\r\n] | ['"] ) [^\r\n]*                      # anything else, to the end of the line
            )
        )?
    )?
    [^\S\r\n]* (?: \# [^\r\n]* )? (?: \r\n | \n | \r | \Z )
    """,
    re.VERBOSE | re.DOTALL,
)


class Refused(Exception):
    """Nothing was changed. The message says why, and never contains a key."""


def jwt_secret() -> str:
    """384 random bits, as 64 characters of URL-safe base64."""
    return _draw(lambda: secrets.token_urlsafe(48))


def encryption_key() -> str:
    """A Fernet key: 256 random bits, as 44 characters of URL-safe base64. Raises Refused without cryptography."""
    try:
        from cryptography.fernet import Fernet
    except ImportError:
        raise Refused("the cryptography package is not installed: python -m pip install cryptography") from None
    return _draw(lambda: Fernet.generate_key().decode())


def _draw(make: Callable[[], str]) -> str:
    while WEAK_WORDS.search(key := make()):  # about once in ten million draws
        pass
    return key


MAKERS = {
    "jwt": ("JWT_SECRET_KEY", jwt_secret),
    "encryption": ("ENCRYPTION_KEY", encryption_key),
    "metrics": ("METRICS_TOKEN", jwt_secret),  # the same will do
}
NEEDED = ("jwt", "encryption")


def fill_in(text: str, keys: Mapping[str, str]) -> str:
    """``text`` of a .env file with ``keys`` in it, every other line as it was.

    Raises Refused if a key is already set, there or by NAME_FILE, and for a file that start-up would not read in full.
    """
    wanted = {form for name in keys for form in (name, f"{name}_FILE")}
    taken = sorted({line["name"] for line in _lines(text) if _value(line)} & wanted)
    if taken:
        raise Refused(f"{' and '.join(taken)} {'is' if len(taken) == 1 else 'are'} already set")
    for name, key in keys.items():
        last = [line for line in _lines(text) if line["name"] == name][-1:]  # of several, the last one counts
        if last and last[0]["value"] is not None:
            start, end = last[0].span("value")
            space = " " if text[end : end + 1] == "#" else ""
            text = f"{text[:start]}{key}{space}{text[end:]}"
        else:
            separator = "" if not text or text.endswith(("\n", "\r")) else "\n"
            text = f"{text}{separator}{name}={key}\n"
    return text


def _lines(text: str) -> list[re.Match[str]]:
    """Every line; one with a quoted value may be several. Raises Refused for what is neither setting nor comment."""
    lines, position = [], 0
    while position < len(text):
        line = LINE.match(text, position)
        if line is None:
            number = len(re.findall(r"\r\n|\n|\r", text[:position])) + 1
            raise Refused(f"line {number} is neither a setting nor a comment, or a quotation mark is never closed")
        lines.append(line)
        position = line.end()
    return lines


def _value(line: re.Match[str]) -> str:
    value = (line["value"] or "").strip()
    return (value[1:-1] if value[:1] in ("'", '"') else re.sub(r"\s+#.*", "", value)).strip()


def write(path: Path, keys: Mapping[str, str]) -> None:
    """Put ``keys`` into the file at ``path``: whole or not at all, and readable by its owner alone from the first byte.

    Raises Refused if a key is already set, for anything but a regular file, and if the file is changed meanwhile.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        _create(path, keys)
        return
    if stat.S_ISLNK(mode):
        raise Refused(f"it is a symbolic link; give the path of the file itself, {os.path.realpath(path)}")
    if not stat.S_ISREG(mode):
        raise Refused("it is not a regular file")
    _rewrite(path, keys)


def _create(path: Path, keys: Mapping[str, str]) -> None:
    with _temporary(path.parent, fill_in(EXAMPLE.read_text(encoding="utf-8"), keys)) as temporary:
        try:
            os.link(temporary, path)  # unlike a rename, it never replaces
        except FileExistsError:
            raise Refused("it has just been made by somebody else; run this again") from None


def _rewrite(path: Path, keys: Mapping[str, str]) -> None:
    import fcntl  # not on Windows, where printing the keys works all the same

    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another process is changing it; run this again") from None
        before, content = os.fstat(file.fileno()), file.read()
        with _temporary(path.parent, fill_in(_decode(content), keys)) as temporary:
            if before.st_uid != os.geteuid():  # an administrator's run must not lock the service out
                os.chown(temporary, before.st_uid, before.st_gid)
            file.seek(0)
            if not os.path.samestat(os.lstat(path), before) or file.read() != content:
                raise Refused("it was changed meanwhile; run this again")
            os.replace(temporary, path)


@contextmanager
def _temporary(folder: Path, text: str) -> Iterator[str]:
    """A file of mode 0600 that holds ``text`` and is on the disk. It is gone afterwards, unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=".env.", dir=folder)  # a name that .gitignore covers
    try:
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
            file.flush()
            os.fsync(file.fileno())
        yield name
    finally:
        Path(name).unlink(missing_ok=True)
    directory = os.open(folder, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def _decode(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")  # so that every other byte comes out as it went in


def main() -> None:
    usage = argparse.ArgumentParser(description="Make JWT_SECRET_KEY and ENCRYPTION_KEY, and print them.")
    usage.add_argument("--only", choices=MAKERS, help="make this key alone")
    usage.add_argument(
        "--write", nargs="?", const=Path(".env"), type=Path, metavar="PATH",
        help="put the keys into this file instead (default .env), made from .env.example if it does not exist; "
        "a key that is set is never replaced",
    )  # fmt: skip
    arguments = usage.parse_args()
    try:
        made = [MAKERS[which] for which in ([arguments.only] if arguments.only else NEEDED)]
        keys = {name: make() for name, make in made}
        if arguments.write is None:
            print("\n".join(f"{name}={key}" for name, key in keys.items()))
        else:
            write(arguments.write, keys)
            print(f"{' and '.join(keys)} written to {arguments.write} (mode 0600).", file=sys.stderr)
    except (Refused, OSError) as error:
        reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else error
        sys.exit(f"generate_keys.py: {'' if arguments.write is None else f'{arguments.write} is unchanged: '}{reason}.")


if __name__ == "__main__":
    main()
