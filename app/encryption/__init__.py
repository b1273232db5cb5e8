"""Encrypted columns and the rotation of their key, as a Flask extension that knows nothing of the rest of the app.

    encryption = Encryption(db.metadata)          # adds the registry's tables
    encryption.init_app(app, keyring)             # the keyring belongs to the app object
    encryption.check_and_register(engine)         # before the process serves

* :mod:`keyring`: master keys, their ids, what is derived from them
* :mod:`sealed`: the stored value, seal and open
* :mod:`column`: ``encrypted()``, the attribute of a model; :mod:`storage`: the columns behind it, and their inventory
* :mod:`registry`: the keys that the database knows; the check at start
* :mod:`rotation`: re-encrypt everything, and prove it; :mod:`passes`: what each of its processes does;
  :mod:`workers`: the processes; :mod:`connections`: their connections, and the lock
* :mod:`batches`: the SQL of a rotation; :mod:`postgresql` and :mod:`sqlite`: what of it differs
"""

from __future__ import annotations

from collections.abc import Callable

from flask import Flask
from sqlalchemy import Engine, MetaData

from app.encryption import sealed
from app.encryption.column import encrypted
from app.encryption.keyring import Context, Keyring
from app.encryption.registry import KeyRegistry
from app.encryption.sealed import EncryptionError, UnknownKey
from app.encryption.storage import inventory

__all__ = ["AppEncryption", "Encryption", "EncryptionError", "UnknownKey", "encrypted", "inventory"]


class Encryption:
    """The extension. One object serves any number of apps; what belongs to one app is its :class:`AppEncryption`."""

    def __init__(self, metadata: MetaData) -> None:
        self.registry = KeyRegistry(metadata)

    def init_app(self, app: Flask, keyring: Keyring) -> None:
        app.extensions["encryption"] = AppEncryption(keyring, self.registry)


class AppEncryption:
    """An app's keyring, and whether the database was seen to agree with it.

    on_open: called with the name of the encrypted column and what came of it, one of :data:`sealed.OPENING`, whenever a
    value was to be opened.
    """

    def __init__(self, keyring: Keyring, registry: KeyRegistry) -> None:
        self.keyring = keyring
        self.registry = registry
        self.checked = False
        self.on_open: Callable[[str, str], None] = lambda column, outcome: None

    def open(self, context: Context, value: str) -> bytes:
        """As :func:`sealed.open`, with the keyring; whoever wants to hear of it does."""
        try:
            plaintext = sealed.open(self.keyring, context, value)
        except EncryptionError as error:
            self.on_open(context.column, error.outcome)
            raise
        self.on_open(context.column, sealed.OPENED)
        return plaintext

    def check_and_register(self, engine: Engine) -> None:
        """Run the check at start and register a new primary key. Raises :class:`~registry.KeyRefused`.

        ``checked`` stays False for an unmigrated database, so that it is looked at again.
        """
        self.checked = self.registry.check_and_register(engine, self.keyring)
