"""Processes whose secrets are in a store, as an operator starts them."""

import re
import secrets
import sys

from tests.secret_sources.conftest import fernet_key, vault_variables
from tests.servers import free_port
from tests.test_serving import FLASK, GUNICORN, run, started, wait_for_answer

REFERENCES = {
    "JWT_SECRET_KEY": "vault://secret/audiapro#jwt_secret_key",
    "ENCRYPTION_KEY": "vault://secret/audiapro#encryption_key",
    "DATABASE_URL": "vault://secret/audiapro#database_url",
}


def test_gunicorn_serves_with_secrets_of_a_store_and_says_where_they_are_from(vault, migrated_sqlite, tmp_path):
    database = tmp_path / "audiapro.db"
    database.write_bytes(migrated_sqlite.read_bytes())
    kept = {"jwt_secret_key": secrets.token_urlsafe(48), "encryption_key": fernet_key()}
    vault.put("audiapro", **kept, database_url=f"sqlite:///{database}")
    variables = REFERENCES | vault_variables(vault, vault.token) | {"ENCRYPTION_KEY_FALLBACKS": fernet_key()}
    port, log = free_port(), tmp_path / "log"
    with started(GUNICORN, log, PORT=str(port), WEB_CONCURRENCY="1", **variables) as process:
        wait_for_answer(port, process)
    assert re.search(
        r"^keys loaded: encryption primary [0-9a-f]{8} \(Vault\), fallbacks [0-9a-f]{8} \(literal\); "
        r"JWT secret \(Vault\) with 0 fallbacks$",
        log.read_text(),
        re.MULTILINE,
    )
    assert f"database ready: SQLite, {database}" in log.read_text()
    assert not any(value in log.read_text() for value in (*kept.values(), vault.token))
    assert len(vault.asked) == 1


def test_a_process_does_not_start_without_its_store(vault):
    variables = REFERENCES | vault_variables(vault, vault.weak_token) | {"PORT": str(free_port())}
    vault.put("audiapro", jwt_secret_key=secrets.token_urlsafe(48))
    refused = run(GUNICORN, **variables)
    assert refused.returncode == 78
    for name, reference in REFERENCES.items():
        assert f"  - {name}: {reference} cannot be read: Vault refuses it (403)" in refused.stderr
    vault.sealed = True
    sealed = run([*FLASK, "encryption", "status"], **variables)
    assert sealed.returncode == 1
    assert sealed.stderr.count("Vault is sealed") == 3
    for ended in (refused, sealed):
        assert "Traceback" not in ended.stderr
        assert "3 problems in the configuration" in ended.stderr
        assert vault.weak_token not in ended.stderr


def test_a_process_that_needs_no_store_does_without_the_clients_of_any():
    read = "import sys; from app.startup import load_settings_or_exit; load_settings_or_exit(); print(*sys.modules)"
    imported = set(run([sys.executable, "-c", read]).stdout.split())
    assert "app.secret_sources" in imported
    assert not {"boto3", "botocore", "hvac", "app.secret_sources.aws", "app.secret_sources.vault"} & imported
