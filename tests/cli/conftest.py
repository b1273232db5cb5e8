"""The databases of the tests of the encryption, for the commands around it."""

from tests.encryption.conftest import database, migrated_database, new_database_url

__all__ = ["database", "migrated_database", "new_database_url"]
