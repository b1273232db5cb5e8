"""References to Vault, over real connections to a server that answers as its documentation says."""

import json
import re

import pytest

from app.config import EXIT_CONFIG, EXIT_UNAVAILABLE, PROJECT, load_settings
from app.encryption.keyring import MasterKey
from app.secret_sources import Patience
from tests.secret_sources.conftest import HASTE, environ, fernet_key, refusal, vault_variables
from tests.servers import free_port
from tests.servers.http import Answer, make_certificate
from tests.servers.vault import Vault

REFERENCE = "vault://secret/audiapro#encryption_key"
LABEL = f"ENCRYPTION_KEY: {REFERENCE} cannot be read: "
CANARY = "Zq7Canary"
PAGE = f"<!doctype html><title>{CANARY}</title>".encode()


def configured(vault: Vault, **changes: str) -> dict[str, str]:
    return environ(**{"ENCRYPTION_KEY": REFERENCE} | vault_variables(vault, vault.token) | changes)


def test_a_key_is_read_from_vault_with_its_token_and_namespace(vault):
    key = fernet_key()
    vault.put("audiapro", namespace="acme/", encryption_key=f" {key}\n")
    settings = load_settings(configured(vault, VAULT_NAMESPACE="acme/"), None, HASTE)
    assert settings.keyring.primary == MasterKey.parse(key)
    assert settings.origins == {"JWT_SECRET_KEY": "literal", "ENCRYPTION_KEY": "Vault"}
    assert [asked.path for asked in vault.asked] == ["/v1/secret/data/audiapro"]
    assert "no such secret" in str(refusal(configured(vault)))


def test_what_is_asked_without_tls_on_this_machine_is_handed_to_no_proxy(vault, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")  # where nobody answers
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    vault.put("audiapro", encryption_key=fernet_key())
    assert load_settings(configured(vault), None, HASTE)


def test_fields_of_one_secret_are_fetched_together_also_for_items_of_a_list(vault):
    keys = {f"key{number}": fernet_key() for number in range(4)}
    vault.put("apps/audiapro/production", mount="kv", database_url="postgresql://app:p%40w@db/audiapro", **keys)
    at = "vault://kv/apps/audiapro/production#"
    variables = configured(
        vault,
        ENCRYPTION_KEY=f"{at}key0",
        ENCRYPTION_KEY_FALLBACKS=f"{at}key1, {fernet_key()},,{at}key2",
        JWT_SECRET_KEY=f"{at}key3",
        DATABASE_URL=f"{at}database_url",
    )
    settings = load_settings(variables, None, HASTE)
    assert [key == MasterKey.parse(keys[name]) for key, name in zip(settings.keyring, keys, strict=True)] == [
        True,
        True,
        False,
        False,
    ]
    assert settings.keyring.fallbacks[2] == MasterKey.parse(keys["key2"])
    assert (settings.jwt_secret_key, settings.database_url) == (
        keys["key3"],
        "postgresql+psycopg://app:p%40w@db/audiapro?sslmode=require",
    )
    assert settings.origins["ENCRYPTION_KEY_FALLBACKS"] == "Vault and literal"
    assert len(vault.asked) == 1


def test_a_list_of_fallbacks_may_be_kept_in_one_field_and_be_empty(vault):
    old, older = fernet_key(), fernet_key()
    vault.put("audiapro", encryption_key=fernet_key(), old=f"{old},{older}", none="")
    for field, expected in (("old", (MasterKey.parse(old), MasterKey.parse(older))), ("none", ())):
        variables = configured(vault, ENCRYPTION_KEY_FALLBACKS=f"vault://secret/audiapro#{field}")
        assert load_settings(variables, None, HASTE).keyring.fallbacks == expected


def test_the_token_may_be_in_a_file_and_everything_in_the_env_file(vault, tmp_path):
    vault.put("audiapro", encryption_key=fernet_key())
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(vault.token + "\n")
    lines = configured(vault, VAULT_TOKEN="", VAULT_TOKEN_FILE=str(token))
    env_file = tmp_path / ".env"
    env_file.touch(mode=0o600)
    env_file.write_text("\n".join(f"{name}={value}" for name, value in lines.items()))
    assert load_settings({}, env_file, HASTE).warnings == ()
    token.chmod(0o644)
    (warning,) = load_settings({}, env_file, HASTE).warnings
    assert warning.startswith(f"VAULT_TOKEN_FILE: {token} has mode 0644")
    assert (
        str(refusal(lines | {"VAULT_TOKEN": vault.token})).count("VAULT_TOKEN and VAULT_TOKEN_FILE are both set") == 1
    )


def test_a_reference_may_be_in_the_file_of_a_variable(vault, tmp_path):
    key = fernet_key()
    vault.put("audiapro", encryption_key=key)
    path = tmp_path / "encryption_key"
    path.touch(mode=0o600)
    path.write_text(REFERENCE + "\n")
    settings = load_settings(configured(vault, ENCRYPTION_KEY="", ENCRYPTION_KEY_FILE=str(path)), None, HASTE)
    assert settings.keyring.primary == MasterKey.parse(key)
    assert settings.origins["ENCRYPTION_KEY"] == "Vault"


def test_what_vault_keeps_passes_the_checks_of_a_literal_and_is_no_reference_in_turn(vault):
    weak = f"{CANARY}-is-the-example-of-a-secret-of-ours"
    vault.put("audiapro", encryption_key="vault://secret/audiapro#other", weak=weak, other=fernet_key())
    report = str(refusal(configured(vault, JWT_SECRET_KEY="vault://secret/audiapro#weak")))
    assert "ENCRYPTION_KEY must be a Fernet key" in report
    assert "JWT_SECRET_KEY is weak: it contains a word" in report
    assert CANARY not in report
    assert len(vault.asked) == 1


REFUSED = [
    ("no such path", {}, {"ENCRYPTION_KEY": "vault://secret/other#encryption_key"}, "no such secret (404)"),
    ("no such mount", {}, {"ENCRYPTION_KEY": "vault://kv/audiapro#encryption_key"}, "no such secret (404)"),
    ("no such field", {"other": "x"}, {}, "it has no field of this name"),
    ("not text", {"encryption_key": 4711}, {}, "it does not hold text"),
    ("an object", {"encryption_key": {"key": CANARY}}, {}, "it does not hold text"),
    ("two megabytes", {"encryption_key": CANARY * 222_222}, {}, "it is longer than 65536 characters"),
    ("wrong token", {}, {"VAULT_TOKEN": f"hvs.{CANARY}"}, "refuses it (403): the token has expired"),
    ("no token", {}, {"VAULT_TOKEN": ""}, "VAULT_TOKEN is not set"),
    ("a token with a line break", {}, {"VAULT_TOKEN": f"hvs.\n{CANARY}"}, "VAULT_TOKEN has blanks"),
    ("a namespace with a blank", {}, {"VAULT_NAMESPACE": f"a {CANARY}"}, "VAULT_NAMESPACE has blanks"),
    ("a namespace of others", {}, {"VAULT_NAMESPACE": "others"}, "no such secret (404)"),
    ("no address", {}, {"VAULT_ADDR": ""}, "VAULT_ADDR is not set"),
    ("in the clear", {}, {"VAULT_ADDR": f"http://{CANARY}.example:8200"}, "VAULT_ADDR must be a URL without user"),
    ("a user", {}, {"VAULT_ADDR": f"https://u:{CANARY}@vault.example"}, "VAULT_ADDR must be a URL without user"),
    ("not an address", {}, {"VAULT_ADDR": CANARY}, "VAULT_ADDR must be a URL without user"),
    ("no port", {}, {"VAULT_ADDR": "https://vault.example:port"}, "VAULT_ADDR must be a URL without user"),
    ("no authority", {}, {"VAULT_CACERT": f"/{CANARY}"}, "VAULT_CACERT names no file that can be read"),
]


@pytest.mark.parametrize(
    ("fields", "changes", "sentence"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_starting_again_does_not_help_is_told_at_once_and_ends_with_78(vault, fields, changes, sentence):
    vault.put("audiapro", **(fields or {"encryption_key": fernet_key()}))
    error = refusal(configured(vault, **changes))
    (problem,) = error.problems
    assert problem.startswith("ENCRYPTION_KEY: vault://")
    assert sentence in problem
    assert error.exit_code == EXIT_CONFIG
    assert len(vault.asked) <= 1
    assert CANARY not in f"{error} {error!r} {vars(error)}"


def test_an_empty_secret_does_not_make_way_for_a_default(vault):
    vault.put("audiapro", encryption_key=" \n", database_url="")
    error = refusal(configured(vault, DATABASE_URL="vault://secret/audiapro#database_url"))
    assert error.problems == (
        f"ENCRYPTION_KEY: {REFERENCE} leads to an empty secret. Store one there.",
        "DATABASE_URL: vault://secret/audiapro#database_url leads to an empty secret. Store one there.",
    )


def test_a_token_that_may_not_read_and_versions_that_are_gone_are_told_apart(vault):
    vault.put("audiapro", encryption_key=fernet_key())
    assert "no policy of it allows to read" in str(refusal(configured(vault, VAULT_TOKEN=vault.weak_token)))
    vault.delete("audiapro")
    assert "vault kv undelete" in str(refusal(configured(vault)))
    vault.destroy("audiapro")
    assert "is destroyed" in str(refusal(configured(vault)))


NONSENSE = [
    Answer(200, PAGE, "text/html"),
    Answer(200, b"\xff\xfe" * 40 + CANARY.encode(), "application/octet-stream"),
    Answer(200, b""),
    Answer(204),
    Answer(200, PAGE * 50_000, "text/html"),
    Answer(200, b"[" * 100_000),
    Answer(200, json.dumps([CANARY]).encode()),
    Answer(200, json.dumps({"data": CANARY}).encode()),
    Answer(200, json.dumps({"data": {"encryption_key": CANARY}}).encode()),  # an engine of version 1
    Answer(400, PAGE, "text/html"),
    Answer(404, json.dumps({"data": {"data": None, "metadata": CANARY}}).encode()),
]


@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_is_refused_without_a_word_of_it(anything, answer):
    anything.planned = [answer]
    error = refusal(environ(ENCRYPTION_KEY=REFERENCE, **vault_variables(anything)))
    (problem,) = error.problems
    assert problem.startswith(LABEL)
    assert (error.exit_code, len(anything.asked)) == (EXIT_CONFIG, 1)
    assert CANARY not in f"{error} {error!r} {vars(error)}"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_no_token_goes_where_a_redirect_leads(anything, vault, status):
    vault.put("audiapro", encryption_key=fernet_key())
    anything.planned = [Answer(status, location=f"{vault.url}/v1/secret/data/audiapro")]
    error = refusal(environ(ENCRYPTION_KEY=REFERENCE, **vault_variables(anything, vault.token)))
    assert "Vault redirects, which is not followed" in str(error)
    assert (error.exit_code, vault.asked) == (EXIT_CONFIG, [])


@pytest.mark.parametrize("status", [412, 429, 500, 502, 503, 504])
def test_trouble_that_may_pass_is_waited_for_and_then_told_with_1(vault, status):
    key = fernet_key()
    vault.put("audiapro", encryption_key=key)
    vault.planned = [Answer(status, PAGE, "text/html")]
    assert load_settings(configured(vault), None, HASTE).keyring.primary == MasterKey.parse(key)
    vault.planned, vault.asked = [Answer(status)] * 2, []
    error = refusal(configured(vault))
    assert (error.exit_code, len(vault.asked)) == (EXIT_UNAVAILABLE, 2)
    assert f"({status})" in str(error)


def test_a_sealed_vault_may_be_unsealed(vault):
    vault.sealed = True
    error = refusal(configured(vault))
    assert error.problems == (f"{LABEL}Vault is sealed, or not ready (503): vault operator unseal.",)
    assert error.exit_code == EXIT_UNAVAILABLE


def test_a_vault_that_is_down_is_told_for_every_variable_and_hides_no_other_problem():
    variables = {"VAULT_ADDR": f"http://127.0.0.1:{free_port()}", "VAULT_TOKEN": "hvs.x"}
    variables |= {
        "ENCRYPTION_KEY": REFERENCE,
        "ENCRYPTION_KEY_FALLBACKS": "vault://secret/audiapro#a,vault://secret/b#c",
    }
    error = refusal(environ(**variables))
    assert [problem.split(" cannot")[0] for problem in error.problems] == [
        f"ENCRYPTION_KEY: {REFERENCE}",
        "key 1 of ENCRYPTION_KEY_FALLBACKS: vault://secret/audiapro#a",
        "key 2 of ENCRYPTION_KEY_FALLBACKS: vault://secret/b#c",
    ]
    assert all("Vault cannot be reached" in problem for problem in error.problems)
    assert error.exit_code == EXIT_UNAVAILABLE
    error = refusal(environ(**variables, PORT="0"))
    assert error.problems[0] == "PORT must be a whole number from 1 to 65535."
    assert (len(error.problems), error.exit_code) == (4, EXIT_CONFIG)


def test_a_vault_without_an_answer_is_given_up(vault):
    vault.planned = [Answer(manner="never")] * 2
    error = refusal(configured(vault))
    assert error.problems == (f"{LABEL}Vault did not answer in time.",)
    assert (error.exit_code, len(vault.asked)) == (EXIT_UNAVAILABLE, 2)


def test_an_answer_that_never_ends_is_given_up_in_the_end(vault):
    vault.planned = [Answer(manner="in drops")]
    error = refusal(configured(vault), patience=Patience(read=5, total=0.5))
    assert error.problems == (f"{LABEL}there was no answer within 0.5 seconds.",)
    assert error.exit_code == EXIT_UNAVAILABLE


def test_a_certificate_is_verified_against_the_authority_that_is_named(tmp_path):
    certificate = make_certificate(tmp_path / "vault.pem")
    key = fernet_key()
    with Vault(certificate) as vault:
        vault.put("audiapro", encryption_key=key)
        settings = load_settings(configured(vault, VAULT_CACERT=str(certificate)), None, HASTE)
        assert settings.keyring.primary == MasterKey.parse(key)
        vault.asked.clear()
        other = make_certificate(tmp_path / "other.pem")
        for changes in ({}, {"VAULT_CACERT": str(other)}):
            error = refusal(configured(vault, **changes))
            assert "is not trusted, or it speaks no TLS" in str(error)
            assert error.exit_code == EXIT_CONFIG
        assert vault.asked == []


def test_a_certificate_for_another_address_and_a_server_without_tls_are_refused(tmp_path, vault):
    elsewhere = make_certificate(tmp_path / "elsewhere.pem", "127.0.0.2")
    with Vault(elsewhere) as other:
        assert "is not trusted" in str(refusal(configured(other, VAULT_CACERT=str(elsewhere))))
        assert other.asked == []
    plain = vault.url.replace("http:", "https:")
    assert "it speaks no TLS" in str(refusal(configured(vault, VAULT_ADDR=plain)))
    assert vault.asked == []


def test_no_token_is_taken_from_elsewhere(vault, tmp_path, monkeypatch):
    vault.put("audiapro", encryption_key=fernet_key())
    (tmp_path / ".vault-token").write_text(vault.token)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "VAULT_TOKEN is not set" in str(refusal(configured(vault, VAULT_TOKEN="")))
    assert vault.asked == []


def test_the_documented_steps_of_a_rotation_name_the_right_keys(vault):
    page = (PROJECT / "docs/key-rotation.md").read_text()
    steps = re.findall(r"^\| (until now|[1-5 to]+) \| `(vault://.+?)` \| (?:`(vault://.+?)` )?\|$", page, re.MULTILINE)
    first, second = fernet_key(), fernet_key()
    vault.put("audiapro", encryption_key=first, encryption_key_2=second)
    named = []
    for _, primary, fallback in steps:
        variables = configured(vault, ENCRYPTION_KEY=primary, ENCRYPTION_KEY_FALLBACKS=fallback)
        named.append([*load_settings(variables, None, HASTE).keyring])
    old, new = MasterKey.parse(first), MasterKey.parse(second)
    assert named == [[old], [old, new], [new, old], [new]]
