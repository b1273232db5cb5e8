"""``flask encryption adopt``: take over the secrets of another application."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
from flask.cli import with_appcontext
from sqlalchemy import Engine, make_url

from app.adoption.files import FileSource
from app.adoption.mapping import AdoptionMapping, MappingRefused, read_mapping, taken_twice
from app.adoption.report import Counts, Failure
from app.adoption.rows import Part
from app.adoption.sources import OLD_COPIES, Source, SourceFailed
from app.adoption.tables import TableSource, source_engine
from app.adoption.takeover import Takeover
from app.cli.rotation import (
    EXIT_NOT_DONE,
    ProgressLine,
    app_encryption,
    as_json_option,
    fail,
    migrated_database,
    record,
    refusals,
)
from app.config import EXIT_CONFIG, PROJECT
from app.encryption.adoption import MalformedOldKey, OldKeys
from app.encryption.keyring import MalformedKey, MasterKey
from app.extensions import db
from app.startup import database_or_exit
from app.tenancy import system_scope
from app.url_checks import database_url
from app.variables import read_secrets

MOST_FAILURES: Final = 1_000  # in the JSON object, which is in memory; all of them are told on standard error


@click.command("adopt")
@click.argument("mapping", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Only tell what would be done. Writes nothing, on neither side.")
@click.option("--blank-source", is_flag=True, help="Empty in the source what is stored here and was seen to open.")
@as_json_option
@with_appcontext
def adopt(mapping: Path, dry_run: bool, blank_source: bool, as_json: bool) -> None:
    """Take over the secrets of another application, from its database or its credential files.

    MAPPING is a TOML file that says which columns become what: see docs/adoption.md. Can be interrupted and started
    again: nothing is taken over twice.
    """
    started, progress, failures = time.monotonic(), ProgressLine("rows"), _Failures()
    with refusals(), _refusals(), system_scope():
        found = read_mapping(mapping)
        given = _read_variables(found, blank=blank_source)
        _check_keys(register=not dry_run)
        with _sources(found, mapping.absolute().parent, given, writes=blank_source and not dry_run) as parts:
            if blank_source:
                click.echo(f"warning: {OLD_COPIES}", err=True)
            progress.total = sum(part.source.count() for part in parts)
            takeover = Takeover(db.session(), found.source, dry_run, blank_source, progress.add, failures.add)
            counts = [takeover.run(part) for part in parts]
        progress.end()
    total = _sum(counts)
    if not dry_run:
        done = {name: getattr(total, name) for name in ("adopted", "already", "failed", "blanked")}
        record("secrets.adopted", source=found.source, **done)
    if as_json:
        shown = {
            "source": found.source,
            "dry_run": dry_run,
            **_numbers(total),
            "sections": [asdict(each) for each in counts],
            "failures": failures.first,
            "failure_count": failures.count,
            "seconds": round(time.monotonic() - started, 3),
        }
        click.echo(json.dumps(shown))
    else:
        _print(counts, total, dry_run)
    if total.failed or total.not_blanked:
        sys.exit(EXIT_NOT_DONE)


class _Failures:
    """Tells each at once, and keeps the first ones."""

    def __init__(self) -> None:
        self.first: list[dict[str, Any]] = []
        self.count = 0

    def add(self, failure: Failure) -> None:
        click.echo(str(failure), err=True)
        self.count += 1
        if len(self.first) < MOST_FAILURES:
            self.first.append(asdict(failure))


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except MappingRefused as refusal:
        lines = "\n".join(f"  - {problem}" for problem in refusal.problems)
        fail(f"Nothing was taken over: the mapping, or what it names, cannot be used.\n{lines}", EXIT_CONFIG)
    except SourceFailed as failure:
        fail(str(failure), EXIT_NOT_DONE)


def _check_keys(register: bool) -> None:
    """As before a process serves. Raises KeyRefused and RotationRefused."""
    migrated_database()
    encryption = app_encryption()
    if register:
        encryption.check_and_register(db.engine)
        return
    with db.engine.connect() as connection:
        encryption.registry.check(connection, encryption.keyring)


class _Given(NamedTuple):
    """What the variables hold that the mapping names. url: of the source, as SQLAlchemy has it; empty without one."""

    url: str
    keys: dict[str | None, OldKeys]
    secrets: dict[str, str]


def _read_variables(mapping: AdoptionMapping, *, blank: bool) -> _Given:
    """Raises MappingRefused."""
    of_files = [section.key for _, _, section in mapping.sections() if section.key is not None]
    names = dict.fromkeys([*([mapping.database] if mapping.database else []), *mapping.key_names(), *of_files])
    values, problems, warnings = read_secrets(names, os.environ)
    keys: dict[str | None, OldKeys] = {}
    for name in (name for name in mapping.key_names() if name in values):
        try:
            keys[name] = OldKeys.parse(values[name])
        except MalformedOldKey as error:
            problems.append(f"{name} {error}.")
        if _is_ours(values[name]):
            warnings.append(f"{name} is a key of AudiaPro too, which others know: rotate the encryption key.")
    url = ""
    try:
        url = database_url(values.get(mapping.database or "", ""), PROJECT, tls=True)
    except ValueError:
        problems.append(f"{mapping.database} is not the URL of a PostgreSQL or SQLite database.")
    problems += taken_twice(mapping) if blank else []
    if problems:
        raise MappingRefused(problems)
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)
    return _Given(url, keys, values)


@contextmanager
def _sources(mapping: AdoptionMapping, folder: Path, given: _Given, *, writes: bool) -> Iterator[list[Part]]:
    """The sections with their sources, which have answered. folder: of the mapping. Raises MappingRefused."""
    with ExitStack() as closing:
        engine = _open(given.url, writes=writes, closing=closing) if given.url else None
        parts = []
        for kind, name, section in mapping.sections():
            if section.key is not None:
                source: Source = FileSource(section, given.secrets[section.key], folder)
            else:
                assert engine is not None, "a mapping with a table has its database"
                source = TableSource(engine, section)
            parts.append(Part(kind, name, section, source, given.keys))
        problems = [problem for part in parts for problem in part.source.problems()]
        if problems:
            raise MappingRefused(list(dict.fromkeys(problems)))
        yield parts


def _open(url: str, *, writes: bool, closing: ExitStack) -> Engine:
    """The source's database, once it has answered."""
    engine = source_engine(url, writes=writes)
    closing.callback(engine.dispose)
    with database_or_exit(make_url(url)), engine.connect():
        return engine


def _is_ours(keys: str) -> bool:
    for key in keys.split(","):
        try:
            if MasterKey.parse(key) in app_encryption().keyring:
                return True
        except MalformedKey:
            continue
    return False


def _sum(counts: list[Counts]) -> Counts:
    total = Counts("")
    for each in counts:
        for name, value in _numbers(each).items():
            setattr(total, name, getattr(total, name) + value)
    return total


def _numbers(counts: Counts) -> dict[str, int]:
    return {name: value for name, value in asdict(counts).items() if name != "section"}


def _print(counts: list[Counts], total: Counts, dry_run: bool) -> None:
    for each in counts:
        click.echo(f"{each.section}: {_shown(each)}")
    would_be, end = (" would be", " Dry run: nothing was written.") if dry_run else ("", "")
    blanked = f" {total.blanked} rows{would_be} blanked in the source, {total.not_blanked} not."
    is_blanked = total.blanked or total.not_blanked
    click.echo(
        f"{total.rows} rows: {total.adopted}{would_be} adopted, {total.already} were before, {total.failed} failed."
        f"{blanked if is_blanked else ''}{end}"
    )


def _shown(counts: Counts) -> str:
    words = {
        "adopted": "adopted",
        "already": "adopted before",
        "deleted": "adopted before and deleted here since",
        "empty": "without a secret",
        "gone": "removed from the source meanwhile",
        "failed": "failed",
    }
    numbers = _numbers(counts)
    return ", ".join(f"{numbers[name]} {word}" for name, word in words.items() if numbers[name]) or "no rows"
