"""The key generator: what it prints, the files it makes and changes, and those that it leaves alone."""

import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import example, given
from hypothesis import strategies as st

import generate_keys
from app.config import PROJECT, load_settings
from app.key_checks import WEAK_WORDS

SCRIPT = PROJECT / "generate_keys.py"
EXAMPLE = (PROJECT / ".env.example").read_text()
BOTH = {"JWT_SECRET_KEY", "ENCRYPTION_KEY"}


def run(folder: Path, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, str(SCRIPT), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def settings_in(path: Path) -> dict[str, str | None]:
    return dict(dotenv_values(path, interpolate=False))


def keys_in(path: Path) -> dict[str, str | None]:
    return {name: value for name, value in settings_in(path).items() if name in BOTH and value}


def refused_unchanged(path: Path, *arguments: str) -> str:
    """The message of a run that must fail and leave ``path`` and its folder as they are."""
    before = path.read_bytes(), os.lstat(path), sorted(os.listdir(path.parent))
    done = run(path.parent, "--write", path.name, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    after = path.read_bytes(), os.lstat(path), sorted(os.listdir(path.parent))
    assert (after[0], after[1].st_mode, after[1].st_ino, after[2]) == (
        before[0],
        before[1].st_mode,
        before[1].st_ino,
        before[2],
    )
    return done.stderr


# Printing


def test_it_prints_exactly_the_two_keys(tmp_path):
    done = run(tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split("=", 1)[0] for line in lines] == ["JWT_SECRET_KEY", "ENCRYPTION_KEY"]
    assert done.stdout == "\n".join(lines) + "\n"
    assert not any(character in done.stdout for character in " \"'$`\\")  # $(…) in a shell hands it on as it is
    load_settings(dict(line.split("=", 1) for line in lines), None)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("which", "name"), [("jwt", "JWT_SECRET_KEY"), ("encryption", "ENCRYPTION_KEY"), ("metrics", "METRICS_TOKEN")]
)
def test_it_prints_one_key_alone(which, name, tmp_path):
    done = run(tmp_path, "--only", which)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith(f"{name}=")


def test_what_it_prints_can_be_appended_to_a_file(tmp_path):
    path = tmp_path / ".env"
    path.touch(mode=0o600)
    path.write_text(EXAMPLE + run(tmp_path).stdout)
    assert load_settings({}, path).warnings == ()


def test_every_run_gives_other_keys(tmp_path):
    assert not set(run(tmp_path).stdout.splitlines()) & set(run(tmp_path).stdout.splitlines())


def test_start_up_accepts_whatever_it_makes():
    keys = [(generate_keys.jwt_secret(), generate_keys.encryption_key()) for _ in range(1000)]
    for jwt, encryption in keys:
        settings = load_settings({"JWT_SECRET_KEY": jwt, "ENCRYPTION_KEY": encryption}, None)
        assert settings.jwt_secret_key == jwt
        assert len(jwt) == 64
    assert len({key for pair in keys for key in pair}) == 2000


def test_a_key_with_a_word_in_it_is_drawn_again():
    draws = iter(["xxSecretxx", "your-xx", "fine"])
    assert generate_keys._draw(lambda: next(draws)) == "fine"
    assert generate_keys.WEAK_WORDS == WEAK_WORDS


@pytest.mark.parametrize("arguments", [(), ("--only", "encryption"), ("--write",), ("--write", "--only", "encryption")])
@pytest.mark.parametrize("python", [("-I", "-S"), ("-S", "-E")])
def test_without_cryptography_it_says_what_to_install_and_does_nothing(arguments, python, tmp_path):
    done = run(tmp_path, *arguments, python=python)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "the cryptography package is not installed: python -m pip install cryptography." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_the_jwt_secret_needs_the_standard_library_alone(tmp_path):
    assert run(tmp_path, "--only", "jwt", python=("-I", "-S")).stdout.startswith("JWT_SECRET_KEY=")


def test_it_imports_nothing_of_the_application(tmp_path):
    script = tmp_path / "generate_keys.py"
    script.write_bytes(SCRIPT.read_bytes())
    done = subprocess.run([sys.executable, "-I", str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# Making a file


def test_it_makes_the_file_from_the_example_with_nothing_but_the_keys_filled_in(tmp_path):
    done = run(tmp_path, "--write")
    assert (done.returncode, done.stdout) == (0, "")
    path = tmp_path / ".env"
    assert os.listdir(tmp_path) == [".env"]
    assert mode_of(path) == 0o600
    keys = keys_in(path)
    assert set(keys) == BOTH
    assert not any(str(key) in done.stderr for key in keys.values())
    text = path.read_text()
    for name, key in keys.items():
        text = text.replace(f"\n{name}={key}\n", f"\n{name}=\n")
    assert text == EXAMPLE
    assert load_settings({}, path).warnings == ()


def test_it_makes_a_file_with_one_key(tmp_path):
    assert run(tmp_path, "--only", "encryption", "--write", "some.env").returncode == 0
    assert set(keys_in(tmp_path / "some.env")) == {"ENCRYPTION_KEY"}


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_file_is_private_from_its_first_byte_on(umask, tmp_path):
    former = os.umask(umask)
    try:
        with generate_keys._temporary(tmp_path, "content") as name:
            assert mode_of(Path(name)) == 0o600
            assert Path(name).name.startswith(".env.")  # covered by .gitignore, should the machine stop here
        generate_keys.write(tmp_path / ".env", {"ENCRYPTION_KEY": "key"})
    finally:
        os.umask(former)
    assert mode_of(tmp_path / ".env") == 0o600
    assert os.listdir(tmp_path) == [".env"]


def test_a_folder_that_is_not_there_is_an_error_in_one_line(tmp_path):
    done = run(tmp_path, "--write", "none/.env")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert os.listdir(tmp_path) == []


# Changing a file


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o666, 0o400])
def test_it_fills_in_what_is_missing_keeps_every_other_byte_and_closes_the_file(mode, tmp_path):
    path = tmp_path / ".env"
    path.write_bytes(
        b"# caf\xe9\r\nPORT=7000\r\nexport JWT_SECRET_KEY = ''\r\n# ENCRYPTION_KEY=none\r\nX='a\nENCRYPTION_KEY=\n'"
    )
    path.chmod(mode)
    assert run(tmp_path, "--write").returncode == 0
    assert mode_of(path) == 0o600
    first, _, rest = path.read_bytes().partition(b"JWT_SECRET_KEY =")
    assert first == b"# caf\xe9\r\nPORT=7000\r\nexport "
    lines = rest.split(b"\r\n", 1)
    assert len(lines[0]) == 64
    head, _, key = lines[1].rpartition(b"ENCRYPTION_KEY=")
    assert head == b"# ENCRYPTION_KEY=none\r\nX='a\nENCRYPTION_KEY=\n'\n"
    assert len(key.rstrip(b"\n")) == 44


@pytest.mark.parametrize(
    "line", ["ENCRYPTION_KEY=", "ENCRYPTION_KEY= # from the vault", 'ENCRYPTION_KEY=""', "ENCRYPTION_KEY", ""]
)
def test_a_key_that_is_there_but_empty_is_filled_in(line, tmp_path):
    path = tmp_path / ".env"
    path.write_text(f"{line}\nPORT=7000\n")
    assert run(tmp_path, "--write", "--only", "encryption").returncode == 0
    assert set(keys_in(path)) == {"ENCRYPTION_KEY"}
    assert settings_in(path)["PORT"] == "7000"
    assert path.read_text().count("# from the vault") == line.count("#")


@pytest.mark.parametrize(
    "line",
    [
        "ENCRYPTION_KEY=x",
        "export  ENCRYPTION_KEY = 'x'",
        "'ENCRYPTION_KEY'=x",
        "ENCRYPTION_KEY=#x",
        "ENCRYPTION_KEY=x\nENCRYPTION_KEY=",
        'ENCRYPTION_KEY="\nx\n"',
        "\ufeffENCRYPTION_KEY=x",
        "ENCRYPTION_KEY_FILE=/run/secrets/key",
    ],
)
def test_a_key_that_is_set_is_never_replaced(line, tmp_path):
    path = tmp_path / ".env"
    path.write_text(f"{line}\nJWT_SECRET_KEY=\n")
    path.chmod(0o644)
    name = "ENCRYPTION_KEY_FILE" if "FILE" in line else "ENCRYPTION_KEY"
    assert f"{name} is already set" in refused_unchanged(path)
    assert f"{name} is already set" in refused_unchanged(path, "--only", "encryption")
    assert run(tmp_path, "--write", "--only", "jwt").returncode == 0
    assert len(str(settings_in(path)["JWT_SECRET_KEY"])) == 64


@pytest.mark.parametrize("line", ["A='never closed", "A='x' y", "two words", "=x"])
def test_a_file_that_start_up_would_not_read_in_full_is_left_alone(line, tmp_path):
    path = tmp_path / ".env"
    path.write_text(f"PORT=7000\nX='1\n2'\n{line}\nENCRYPTION_KEY=\n")
    assert "line 4 is neither a setting nor a comment" in refused_unchanged(path)


def test_both_keys_are_named_when_both_are_set(tmp_path):
    assert run(tmp_path, "--write").returncode == 0
    message = refused_unchanged(tmp_path / ".env")
    assert "ENCRYPTION_KEY and JWT_SECRET_KEY are already set" in message
    assert not any(str(key) in message for key in keys_in(tmp_path / ".env").values())


def test_the_file_stays_with_its_owner(tmp_path):
    """Only an administrator can write a file that belongs to somebody else; everybody else has their own."""
    owner = (1234, 1234) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    path = tmp_path / ".env"
    path.write_text("PORT=7000\n")
    os.chown(path, *owner)
    assert run(tmp_path, "--write").returncode == 0
    assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (*owner, 0o600)


def test_a_symbolic_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("PORT=7000\n")
    (tmp_path / ".env").symlink_to(target)
    assert f"symbolic link; give the path of the file itself, {target}" in refused_unchanged(tmp_path / ".env")
    assert target.read_text() == "PORT=7000\n"
    target.unlink()
    assert run(tmp_path, "--write").returncode == 1
    assert not target.exists()


def test_what_is_no_file_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for name in (".", "fifo"):
        done = run(tmp_path, "--write", name)
        assert done.returncode == 1
        assert "is not a regular file" in done.stderr


def test_an_interrupted_write_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / ".env"
    path.write_text("JWT_SECRET_KEY=\n")
    interrupted = RuntimeError("power failure")
    with pytest.raises(RuntimeError), generate_keys._temporary(tmp_path, "JWT_SECRET_KEY=new\n"):
        raise interrupted
    assert path.read_text() == "JWT_SECRET_KEY=\n"
    assert os.listdir(tmp_path) == [".env"]


# Several at once


class MeanwhileKeys(dict[str, str]):
    """Keys at whose use somebody else changes the file, after it was read and before it is replaced."""

    def __init__(self, path: Path, how: str) -> None:
        super().__init__(ENCRYPTION_KEY="mine")
        self.path, self.how = path, how

    def items(self):
        if self.how == "in place":
            self.path.write_text("ENCRYPTION_KEY=theirs\n")
        elif self.how == "replaced":
            (self.path.parent / "new").write_text("ENCRYPTION_KEY=theirs\n")
            (self.path.parent / "new").rename(self.path)
        return super().items()


@pytest.mark.parametrize("how", ["in place", "replaced"])
@pytest.mark.parametrize("exists", [True, False])
def test_what_somebody_else_writes_meanwhile_is_never_replaced(how, exists, tmp_path):
    path = tmp_path / ".env"
    if exists:
        path.write_text("ENCRYPTION_KEY=\n")
    with pytest.raises(generate_keys.Refused, match="run this again"):
        generate_keys.write(path, MeanwhileKeys(path, how))
    assert path.read_text() == "ENCRYPTION_KEY=theirs\n"
    assert os.listdir(tmp_path) == [".env"]


@pytest.mark.parametrize("exists", [True, False])
def test_of_several_runs_at_once_one_wins_and_its_keys_stay(exists, tmp_path):
    if exists:
        (tmp_path / ".env").write_text(EXAMPLE)
    command = [sys.executable, str(SCRIPT), "--write"]
    runs = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    messages = [process.communicate(timeout=60)[1] for process in runs]
    assert sorted(process.returncode for process in runs) == [0, 1, 1, 1, 1, 1], messages
    assert set(keys_in(tmp_path / ".env")) == BOTH
    assert os.listdir(tmp_path) == [".env"]


# The grammar of .env files

names = st.sampled_from(["JWT_SECRET_KEY", "ENCRYPTION_KEY", "ENCRYPTION_KEY_FILE", "PORT", "A"])
values = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "''",
            '""',
            "x",
            " x # y",
            "'x'",
            '"x\ny"',
            "'a\nENCRYPTION_KEY=\n'",
            " # y",
            "#y",
            "'a\\'b'",
            '"\\""',
        ]
    ),
    st.text("x'\"\\# =\n", max_size=8),
)
lines = st.one_of(
    st.tuples(
        st.sampled_from(["", "export ", "  ", "# ", "'"]), names, st.sampled_from(["=", " = ", "", "'="]), values
    ).map("".join),
    st.text("AX='\"\\# \t", max_size=10),
)


@given(st.lists(lines, max_size=6), st.sampled_from(["\n", "\r\n"]), st.booleans())
@example(["A='", "ENCRYPTION_KEY="], "\n", False)
def test_it_reads_a_file_as_start_up_does(file_lines, newline, ends):
    text = newline.join(file_lines) + (newline if ends else "")
    before = dict(dotenv_values(stream=io.StringIO(text), interpolate=False))
    keys = {"JWT_SECRET_KEY": "first", "ENCRYPTION_KEY": "second"}
    is_set = {name for name, value in before.items() if (value or "").strip()}
    try:
        filled = generate_keys.fill_in(text, keys)
    except generate_keys.Refused:
        return  # it may be more careful than needed, which costs nothing but an edit by hand
    assert not is_set & {*keys, "ENCRYPTION_KEY_FILE"}
    after = dict(dotenv_values(stream=io.StringIO(filled), interpolate=False))
    assert {name: after.pop(name) for name in keys} == keys
    assert after == {name: value for name, value in before.items() if name not in keys}
