"""What each process of a rotation does: go through its share of the rows, and seal anew or open what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from app.encryption import sealed
from app.encryption.batches import Batch, Part, Replacements, SealedTable, Wanted
from app.encryption.connections import open_batches
from app.encryption.keyring import Keyring, MasterKey


class Unreadable(NamedTuple):
    """A value that does not open. It was left untouched."""

    table: str
    column: str
    row: str
    key_id: str | None
    reason: str


class Progress(NamedTuple):
    """What one batch came to: values done per column (sealed anew, or opened by the proof), and what did not open."""

    done: Counter[str]
    unreadable: list[Unreadable]


@dataclass(frozen=True, repr=False)
class Share:
    """All that a process needs to do its share. Holds keys, so nothing prints it."""

    url: str
    secrets: tuple[bytes, ...]
    parts: tuple[tuple[SealedTable, Part], ...]
    batch_size: int
    wanted: Wanted
    run_id: int | None = None

    def keyring(self) -> Keyring:
        primary, *fallbacks = (MasterKey(secret) for secret in self.secrets)
        return Keyring(primary, fallbacks)


def re_encrypt_values(share: Share) -> Iterator[Progress]:
    """A process's share of one pass: read a batch, open and seal its values, put them in place, and so on."""
    keyring = share.keyring()
    with open_batches(share.url, keyring.primary.id) as batches:
        for table, part in share.parts:
            for batch in batches.read(table, part, share.wanted, share.batch_size):
                unreadable: list[Unreadable] = []
                replacements = _seal_anew(keyring, table, batch, unreadable)
                written = batches.replace(table, replacements, share.run_id) if replacements.keys else []
                batches.record(share.run_id, "unreadable", len(unreadable))
                names = (column.name for column in table.columns)
                yield Progress(Counter(dict(zip(names, written, strict=False))), unreadable)


def open_values(share: Share) -> Iterator[Progress]:
    """A process's share of opening values without writing any."""
    keyring = share.keyring()
    with open_batches(share.url, keyring.primary.id) as batches:
        for table, part in share.parts:
            for batch in batches.read(table, part, share.wanted, share.batch_size):
                progress = Progress(Counter(), [])
                for column, contexts, values in zip(table.columns, batch.contexts, batch.values, strict=True):
                    opened = 0
                    for context, value in zip(contexts, values, strict=True):
                        if value is None:
                            continue
                        try:
                            sealed.open(keyring, context, value)
                            opened += 1
                        except sealed.EncryptionError as error:
                            progress.unreadable.append(_unreadable(table, error))
                    progress.done[column.name] += opened
                batches.record(share.run_id, "proved", progress.done.total())
                batches.record(share.run_id, "unreadable", len(progress.unreadable))
                yield progress


def _seal_anew(keyring: Keyring, table: SealedTable, batch: Batch, unreadable: list[Unreadable]) -> Replacements:
    """The batch's values sealed under the primary key; what does not open is added to ``unreadable``."""
    old: list[list[str | None]] = []
    new: list[list[str | None]] = []
    for contexts, values in zip(batch.contexts, batch.values, strict=True):
        old.append([])
        new.append([])
        for context, value in zip(contexts, values, strict=True):
            fresh = None
            if value is not None:
                try:
                    fresh = sealed.seal(keyring.primary, context, sealed.open(keyring, context, value))
                except sealed.EncryptionError as error:
                    unreadable.append(_unreadable(table, error))
                    value = None
            old[-1].append(value)
            new[-1].append(fresh)
    replacements = Replacements(batch.keys, old, new)
    if not unreadable:
        return replacements
    return replacements.of([row for row, values in enumerate(zip(*new, strict=True)) if any(values)])


def _unreadable(table: SealedTable, error: sealed.EncryptionError) -> Unreadable:
    return Unreadable(table.name, error.column, error.row, error.key_id, error.reason)
