"""Tables of another application: what is wrong with them, and with single rows; and that they are left as they are."""

import base64
import sqlite3
from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import select

from app.adoption import tables
from app.adoption.takeover import row_id_of
from app.credentials.models import ApiCredential
from app.credentials.service import api_credentials
from app.extensions import db
from app.identity.models import User
from app.tenancy import system_scope
from tests.adoption.conftest import OLD_KEY, stored, token
from tests.conftest import in_database

MAPPING = """
source = "old"
database = "OLD_URL"
[api_credentials.maps]
table = "accounts"
tenant = "{subdomain}"
name = "Maps of {name}"
provider = "acme"
expires_at = "{expires}"
secret = { column = "secret", encoding = "fernet or plaintext", key = "OLD_ENCRYPTION_KEY" }
"""
TO_ACME = MAPPING.replace('"{subdomain}"', '"acme"')
only_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
sqlite_source = pytest.mark.parametrize("old", ["sqlite"], indirect=True)
postgresql_source = pytest.mark.parametrize("old", ["postgresql"], indirect=True)


@pytest.fixture
def accounts(old, adopt, alice):
    old.all("CREATE TABLE accounts (id INTEGER PRIMARY KEY, subdomain TEXT, name TEXT, expires TEXT, secret TEXT)")
    adopt.variables["OLD_URL"] = old.url
    adopt.hidden.append("hunter2")
    return old


def secrets_here(app):
    with in_database(app):
        return sorted(row.secret for row in db.session.scalars(select(ApiCredential)))


def failures(result):
    return [line for line in result.stderr.splitlines() if line.startswith("api_credentials.maps")]


@only_sqlite
def test_a_row_that_cannot_be_taken_over_is_told_and_the_others_are(app, adopt, accounts):
    good = {"subdomain": "acme", "name": "n", "secret": "hunter2"}
    sealed = f"v1:0123abcd:{token('hunter2')}"
    rows = {
        1: {"secret": token("hunter2 of 1")},
        2: {"secret": token("hunter2")[:-6]},
        3: {"secret": token("hunter2", base64.urlsafe_b64encode(b"k" * 32))},
        4: {"secret": sealed},
        5: {"secret": f"enc:{token('hunter2')}"},
        6: {"secret": "hunter2" * 1000},
        7: {"secret": "hunter2" * 150_000},
        8: {"secret": "hunter2\x01"},
        9: {"name": "a\tb"},
        10: {"name": None},
        11: {"name": "n" * 300},
        12: {"subdomain": "nobody"},
        13: {"subdomain": None},
        14: {"subdomain": "ACME"},
        15: {"expires": "tomorrow"},
        16: {"secret": None},
        17: {"secret": ""},
        18: {"secret": " hunter2 of 18 ", "expires": "2030-01-31T12:00:00Z"},
        19: {"name": None, "secret": "gAAAAA", "expires": "never"},
    }
    subdomain = {key: f"acme-{key}" for key in rows}
    for key, values in rows.items():
        accounts.insert("accounts", id=key, **good | {"subdomain": subdomain[key]} | values)
    mapping = MAPPING.replace(
        '"{subdomain}"',
        '{ text = "{subdomain}", values = { nobody = "nobody", '
        + ", ".join(f"{name} = 'acme'" for name in subdomain.values())
        + " } }",
    )
    told = adopt.counts(mapping, "--dry-run")
    result = adopt(mapping)
    assert result.exit_code == 1
    assert [line.removeprefix("api_credentials.maps, row ") for line in failures(result)] == [
        "2 of accounts, secret (column secret): does not open with the old key: another key, or altered or cut off",
        "3 of accounts, secret (column secret): does not open with the old key: another key, or altered or cut off",
        "4 of accounts, secret (column secret): is a value that AudiaPro has sealed: it opens in its own row alone",
        "5 of accounts, secret (column secret): has a Fernet token in it, and something around that",
        "6 of accounts, secret (column secret): is longer than 4096 characters",
        "7 of accounts, secret (column secret): is longer than 4096 characters",
        "8 of accounts, secret (column secret): holds control characters, such as NUL",
        "9 of accounts, name (column name): must not contain control characters or line separators",
        "10 of accounts, name (column name): is empty in the source",
        "11 of accounts, name (column name): is longer than 255 characters",
        "12 of accounts, tenant (column subdomain): there is no tenant with this subdomain here: make it first",
        "13 of accounts, tenant (column subdomain): is empty in the source",
        "14 of accounts, tenant (column subdomain): is something that the mapping has no value for",
        "15 of accounts, expires_at (column expires): must be an RFC 3339 time with its offset from UTC, such as "
        "2030-01-31T12:00:00Z",
        "19 of accounts, secret (column secret): does not open with the old key: another key, or altered or cut off",
    ]
    assert (told["adopted"], told["empty"], told["failed"], told["failure_count"]) == (2, 2, 15, 15)
    assert told["failures"][0] == {
        "section": "api_credentials.maps",
        "place": "accounts",
        "row": "2",
        "field": "secret",
        "columns": ["secret"],
        "reason": "does not open with the old key: another key, or altered or cut off",
    }
    assert secrets_here(app) == [" hunter2 of 18 ", "hunter2 of 1"]


@only_sqlite
def test_a_subdomain_of_several_rows_tells_nobody_whose_secrets_they_are(app, adopt, accounts):
    for key, name in enumerate(["acme", "acme", "others"], start=1):
        accounts.insert("accounts", id=key, subdomain=name, name="n", secret=f"hunter2 of {key}")
    tenants = (
        '[tenants.all]\ntable = "accounts"\nname = "Others"\nsubdomain = "{subdomain}"\nowner_email = "a@b.example"\n'
    )
    result = adopt(MAPPING + tenants)
    assert result.exit_code == 1
    assert result.stderr.count("several rows have this subdomain: it does not tell whose they are") == 4
    assert secrets_here(app) == ["hunter2 of 3"]


@only_sqlite
def test_several_rows_may_belong_to_one_row_of_another_table(app, adopt, accounts):
    accounts.all("CREATE TABLE keys (name TEXT PRIMARY KEY, account_id INTEGER, secret TEXT)")
    accounts.insert("accounts", id=1, subdomain="acme", name="A")
    for name, account in (("a", 1), ("b", 1), ("c", 2), ("d", None)):
        accounts.insert("keys", name=name, account_id=account, secret=f"hunter2 of {name}")
    mapping = MAPPING.replace('"accounts"', '"keys"').replace("{subdomain}", "{accounts.subdomain}")
    mapping = mapping.replace(
        'expires_at = "{expires}"', 'join = { table = "accounts", column = "account_id", matches = "id" }'
    )
    result = adopt(mapping)
    assert secrets_here(app) == ["hunter2 of a", "hunter2 of b"]
    assert failures(result) == [
        f"api_credentials.maps, row {name} of keys, tenant (column accounts.subdomain): is empty in the source"
        for name in ("c", "d")
    ]
    not_unique = adopt(mapping.replace('matches = "id"', 'matches = "name"'))
    assert (not_unique.exit_code, not_unique.stdout) == (78, "")
    assert "The column name of the table accounts is not there, or not unique." in not_unique.stderr


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@postgresql_source
def test_keys_and_columns_of_every_type_of_postgresql_are_read(app, adopt, accounts):
    ids = sorted(uuid4() for _ in range(3))
    accounts.all("CREATE SCHEMA legacy")
    accounts.all('CREATE TABLE legacy."Keys" ("Key" UUID PRIMARY KEY, padded CHAR(40) NOT NULL, raw BYTEA NOT NULL)')
    for key in ids:
        accounts.all(
            'INSERT INTO legacy."Keys" VALUES (?, ?, ?)', key, f"hunter2 {key.hex[:8]}", token("hunter2 raw").encode()
        )
    section = """
[api_credentials.{0}]
table = "legacy.Keys"
tenant = "acme"
name = "{{Key}}"
provider = "p"
secret = {{ column = "{0}", encoding = "fernet or plaintext", key = "OLD_ENCRYPTION_KEY" }}
"""
    mapping = f'source = "old"\ndatabase = "OLD_URL"{section.format("padded")}{section.format("raw")}'
    result = adopt(mapping, "--blank-source")
    assert result.exit_code == 0, result.output
    assert secrets_here(app) == sorted([*(f"hunter2 {key.hex[:8]}" for key in ids), *["hunter2 raw"] * 3])
    assert {(padded.strip(), raw) for padded, raw in accounts.all('SELECT padded, raw FROM legacy."Keys"')} == {
        ("", b"")
    }


@only_sqlite
@sqlite_source
def test_an_sqlite_source_stays_byte_for_byte_as_it_is(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    before = accounts.path.read_bytes()
    folder = {path.name for path in accounts.path.parent.iterdir() if path.name.startswith("old")}
    for options in (["--dry-run"], ["--dry-run", "--blank-source"], []):
        assert adopt(MAPPING, *options).exit_code == 0
        assert accounts.path.read_bytes() == before
        assert {path.name for path in accounts.path.parent.iterdir() if path.name.startswith("old")} == folder
    missing = adopt(MAPPING, OLD_URL=f"sqlite:///{accounts.path}.none")
    assert missing.exit_code == 1
    assert missing.stderr.startswith("The database cannot be used: SQLite,")
    assert not accounts.path.with_suffix(".db.none").exists()


@only_sqlite
def test_names_of_tables_and_columns_may_be_any(app, adopt, accounts):
    accounts.all('CREATE TABLE "the % of; ""all"" :x" ("my % id" INTEGER PRIMARY KEY, "Se cret :y" TEXT)')
    accounts.all("""INSERT INTO "the % of; ""all"" :x" VALUES (1, 'hunter2'), (2, 'hunter2 of 2')""")
    mapping = """
source = "old"
database = "OLD_URL"
[api_credentials.odd]
table = 'the % of; "all" :x'
tenant = "acme"
name = "{my % id}"
provider = "p"
secret = { column = "Se cret :y", encoding = "plaintext" }
"""
    result = adopt(mapping, "--blank-source")
    assert result.exit_code == 0, result.output
    assert secrets_here(app) == ["hunter2", "hunter2 of 2"]
    assert accounts.all('SELECT DISTINCT "Se cret :y" FROM "the % of; ""all"" :x"') == [(None,)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@postgresql_source
def test_the_old_tables_may_be_in_another_schema_of_our_own_database(app, adopt, accounts, settings):
    url = settings.database_url.replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA legacy CREATE TABLE tenants (id INTEGER PRIMARY KEY, secret TEXT)")
        connection.execute("INSERT INTO legacy.tenants VALUES (1, 'hunter2')")
    try:
        mapping = TO_ACME.replace('"accounts"', '"legacy.tenants"').replace('expires_at = "{expires}"', "")
        result = adopt(mapping.replace("{name}", "x"), "--blank-source", OLD_URL=url)
        assert result.exit_code == 0, result.output
        assert secrets_here(app) == ["hunter2"]
    finally:
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA legacy CASCADE")


@only_sqlite
@sqlite_source
def test_a_source_with_a_write_ahead_log_is_read_and_left_as_it_is(app, adopt, accounts):
    with closing(sqlite3.connect(accounts.path)) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO accounts VALUES (1, 'acme', 'n', NULL, 'hunter2')")
        writer.commit()
        before = accounts.path.read_bytes()
        assert adopt(MAPPING).exit_code == 0
        assert accounts.path.read_bytes() == before
    assert secrets_here(app) == ["hunter2"]


@only_sqlite
@sqlite_source
def test_a_file_may_have_any_name(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    moved = accounts.path.rename(accounts.path.with_name("old & 100% #1.db"))
    assert adopt(MAPPING, OLD_URL=f"sqlite:///{moved}").exit_code == 0
    assert secrets_here(app) == ["hunter2"]


@only_sqlite
@sqlite_source
def test_what_sqlite_alone_allows_is_told(app, adopt, accounts):
    accounts.all("CREATE TABLE loose (id TEXT PRIMARY KEY, secret)")
    accounts.all(
        "INSERT INTO loose VALUES (NULL, 'hunter2'), ('a', 1234), ('b', CAST(x'ff' AS TEXT)), ('c', x'68756e74657232')"
    )
    mapping = TO_ACME.replace('"accounts"', '"loose"').replace("{name}", "x").replace('expires_at = "{expires}"', "")
    result = adopt(mapping)
    assert (result.exit_code, secrets_here(app)) == (78, [])
    assert "The table loose has rows whose primary key is empty: 1 of them." in result.stderr
    accounts.all("DELETE FROM loose WHERE id IS NULL")
    result = adopt(mapping)
    assert [line.rpartition(": ")[2] for line in failures(result)] == [
        "is neither text nor bytes, but int",
        "is not UTF-8 text",
    ]
    assert secrets_here(app) == ["hunter2"]


@only_sqlite
def test_all_that_is_wrong_with_the_variables_is_told_at_once(app, adopt, accounts):
    before = stored(app)
    second = '[api_credentials.two]\ntable = "t"\ntenant = "a"\nname = "n"\nprovider = "p"\n'
    second += 'secret = { column = "c", encoding = "fernet", key = "SECOND_KEY" }\n'
    files = '[api_credentials.files]\nfiles = "*.cred"\nkey = "MASTER"\ntenant = "a"\nname = "n"\nprovider = "p"\n'
    result = adopt(
        MAPPING + second + files, OLD_URL="mysql://ada:pass-of-ada@db/old", OLD_ENCRYPTION_KEY="not-a-key-at-all"
    )
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr == (
        "Nothing was taken over: the mapping, or what it names, cannot be used.\n"
        "  - SECOND_KEY is not set, nor SECOND_KEY_FILE: the mapping names it.\n"
        "  - MASTER is not set, nor MASTER_FILE: the mapping names it.\n"
        "  - OLD_ENCRYPTION_KEY must be a Fernet key (44 characters of URL-safe base64), or several with commas.\n"
        "  - OLD_URL is not the URL of a PostgreSQL or SQLite database.\n"
    )
    assert stored(app) == before


@only_sqlite
def test_the_url_and_the_keys_may_be_in_files(app, adopt, accounts, tmp_path):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret=token("hunter2"))
    for name, text in (("url", accounts.url), ("key", f"{OLD_KEY.decode()}\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    adopt.variables = {"OLD_URL_FILE": str(tmp_path / "url"), "OLD_ENCRYPTION_KEY_FILE": str(tmp_path / "key")}
    adopt.hidden.append(OLD_KEY.decode())
    result = adopt(MAPPING)
    assert (result.exit_code, secrets_here(app)) == (0, ["hunter2"])


@only_sqlite
def test_all_that_is_wrong_with_the_tables_is_told_at_once(app, adopt, accounts):
    accounts.all("CREATE TABLE pairs (a INTEGER, b INTEGER, secret TEXT, PRIMARY KEY (a, b))")
    other = '[api_credentials.{0}]\ntable = "{1}"\ntenant = "acme"\nname = "{{nome}}"\nprovider = "p"\n'
    other += 'secret = {{ column = "Secret", encoding = "plaintext" }}\n'
    result = adopt(MAPPING + other.format("one", "pairs") + other.format("two", "none"))
    assert (result.exit_code, result.stdout) == (78, "")
    assert result.stderr.splitlines()[1:] == [
        "  - The table pairs has no primary key of one column, by which its rows could be told apart.",
        "  - The table pairs has no column nome.",
        "  - The table pairs has no column Secret.",
        "  - There is no table none.",
    ]


def test_our_own_database_is_no_source(app, adopt, settings):
    mapping = TO_ACME.replace('"accounts"', '"tenants"')
    result = adopt(mapping, OLD_URL=settings.database_url)
    assert (result.exit_code, result.stdout) == (78, "")
    assert "The table tenants is of a database of AudiaPro, and not of another application." in result.stderr


@only_sqlite
def test_a_key_that_is_ours_too_is_warned_of(app, adopt, accounts, settings):
    ours = base64.urlsafe_b64encode(settings.keyring.secrets()[0]).decode()
    result = adopt(MAPPING, OLD_ENCRYPTION_KEY=f"{OLD_KEY.decode()},{ours}")
    assert "warning: OLD_ENCRYPTION_KEY is a key of AudiaPro too, which others know" in result.stderr


@only_sqlite
@pytest.mark.parametrize("gone", ["row", "value"])
def test_what_is_changed_in_the_source_meanwhile_is_not_blanked(app, adopt, accounts, gone, monkeypatch):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    create = type(api_credentials).create

    def change_meanwhile(*args, **options):
        made = create(*args, **options)
        accounts.all("DELETE FROM accounts" if gone == "row" else "UPDATE accounts SET secret = 'changed'")
        return made

    monkeypatch.setattr(type(api_credentials), "create", change_meanwhile)
    result = adopt(MAPPING, "--blank-source")
    assert result.exit_code == 1
    assert "was changed or removed in this very moment: run the command again" in result.stderr
    assert secrets_here(app) == ["hunter2"]
    assert accounts.all("SELECT secret FROM accounts") == ([] if gone == "row" else [("changed",)])


@only_sqlite
def test_a_row_that_goes_before_its_turn_is_passed_over(app, adopt, accounts, monkeypatch):
    for key, name in enumerate(["acme", "others"], start=1):
        accounts.insert("accounts", id=key, subdomain=name, name="n", secret=f"hunter2 of {key}")
    create = type(api_credentials).create

    def remove_the_next(*args, **options):
        accounts.all("DELETE FROM accounts WHERE id = 2")
        return create(*args, **options)

    monkeypatch.setattr(type(api_credentials), "create", remove_the_next)
    told = adopt.counts(MAPPING)
    assert (told["rows"], told["adopted"], told["gone"]) == (2, 1, 1)


@only_sqlite
@postgresql_source
def test_a_row_that_somebody_holds_is_told_and_can_be_blanked_later(app, adopt, accounts, monkeypatch):
    for key, name in enumerate(["acme", "others"], start=1):
        accounts.insert("accounts", id=key, subdomain=name, name="n", secret=f"hunter2 of {key}")
    monkeypatch.setattr(tables, "_BLANKING", tables._BLANKING.replace("lock_timeout = '5s'", "lock_timeout = '50ms'"))
    with psycopg.connect(accounts.url) as holder:
        holder.execute("SELECT * FROM accounts WHERE id = 1 FOR UPDATE")
        held = adopt(MAPPING, "--blank-source")
    assert held.exit_code == 1
    assert "1 rows blanked in the source, 1 not." in held.stdout
    assert "row 1 of accounts: is stored here, but is held by somebody else: run the command again" in held.stderr
    assert adopt(MAPPING, "--blank-source").exit_code == 0
    assert accounts.all("SELECT DISTINCT secret FROM accounts") == [(None,)]
    assert secrets_here(app) == ["hunter2 of 1", "hunter2 of 2"]


@only_sqlite
@sqlite_source
def test_a_locked_sqlite_source_ends_the_command_with_a_sentence(app, adopt, accounts, monkeypatch):
    monkeypatch.setattr("app.adoption.tables.SQLITE_BUSY_SECONDS", 0.1)
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    with closing(sqlite3.connect(accounts.path)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        result = adopt(MAPPING)
    assert result.exit_code == 1
    assert result.stderr == (
        "Broken off by the source (OperationalError SQLITE_BUSY). Nothing is lost; run the command again to go on.\n"
    )


@only_sqlite
@postgresql_source
def test_a_login_that_does_not_see_or_may_not_do_everything_is_refused(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    name = f"reader_{uuid4().hex}"
    accounts.all(f"CREATE ROLE {name} LOGIN PASSWORD 'reader'")
    accounts.all(f"GRANT USAGE ON SCHEMA public TO {name}")
    accounts.all(f"GRANT SELECT ON accounts TO {name}")
    reader = accounts.url.replace(accounts.url.split("/")[2].split("@")[0], f"{name}:reader")
    told = "The source's login may not do that, or does not see every row: use the tables' owner.\n"
    try:
        blanking = adopt(MAPPING, "--blank-source", OLD_URL=reader)
        assert (blanking.exit_code, told in blanking.stderr) == (1, True)
        assert secrets_here(app) == ["hunter2"]
        accounts.all("ALTER TABLE accounts ENABLE ROW LEVEL SECURITY")
        hidden = adopt(MAPPING, OLD_URL=reader)
        assert (hidden.exit_code, hidden.stderr) == (1, told)
    finally:
        accounts.all(f"DROP OWNED BY {name}")
        accounts.all(f"DROP ROLE {name}")


@only_sqlite
def test_a_row_is_not_given_to_another_tenant_than_the_first_time(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    assert adopt(TO_ACME).exit_code == 0
    moved = adopt(TO_ACME.replace('"acme"', '"others"', 1))
    assert moved.exit_code == 1
    assert "the row was adopted before, for another tenant" in moved.stderr
    assert secrets_here(app) == ["hunter2"]


@sqlite_source
def test_a_row_that_another_run_makes_in_that_moment_is_made_once(app, adopt, accounts, monkeypatch):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    create = type(api_credentials).create

    def be_late(self, session, *args):
        create(self, session, *args)
        session.expunge_all()
        return create(self, session, *args)

    monkeypatch.setattr(type(api_credentials), "create", be_late)
    assert adopt(MAPPING).exit_code == 0
    assert secrets_here(app) == ["hunter2"]


def test_ids_are_the_same_in_every_run_and_sort_before_all_others():
    found = {
        row_id_of(*args) for args in (("a", "b", 1), ("a", "b", 2), ("a", "c", 1), ("b", "b", 1), ("a", "b", b"1"))
    }
    assert len(found) == 5
    assert row_id_of("a", "b", 1) in found
    assert {(made.int >> 80, made.version, made.variant) for made in found} == {(0, 8, "specified in RFC 4122")}


@only_sqlite
def test_an_owner_who_has_an_account_keeps_it(app, adopt, accounts, alice):
    accounts.insert("accounts", id=1, subdomain="initech", name="Initech")
    accounts.insert("accounts", id=2, subdomain="www", name="Reserved")
    accounts.insert("accounts", id=3, subdomain="x", name="")
    accounts.insert("accounts", id=4, subdomain="acme", name="Acme", secret="no address")
    mapping = 'source = "old"\ndatabase = "OLD_URL"\n[tenants.all]\ntable = "accounts"\nname = "{name}"\n'
    mapping += 'subdomain = "{subdomain}"\nowner_email = "{expires}"\n'
    accounts.all("UPDATE accounts SET expires = ?", alice.email)
    accounts.all("UPDATE accounts SET expires = secret WHERE id = 4")
    told = adopt.counts(mapping, "--dry-run")
    done = adopt.counts(mapping)
    assert [(each["adopted"], each["failed"]) for each in (told, done)] == [(1, 3)] * 2
    assert {failure["reason"] for failure in done["failures"]} == {
        "is reserved",
        "is empty in the source",
        "must be an e-mail address",
    }
    with in_database(app):
        assert len(db.session.scalars(select(User).where(User.email == alice.email)).all()) == 1
    answer = app.test_client().post(
        "/api/login", json={"email": alice.email, "password": "correct horse battery staple", "tenant": "initech"}
    )
    assert answer.status_code == 200


@only_sqlite
def test_what_belongs_to_another_company_of_the_same_subdomain_is_refused(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="Acme of elsewhere", secret="hunter2 of theirs")
    accounts.insert("accounts", id=2, subdomain="others", name="Others", secret="hunter2 of the same")
    tenants = (
        '[tenants.all]\ntable = "accounts"\nname = "{name}"\nsubdomain = "{subdomain}"\nowner_email = "z@z.example"\n'
    )
    for options in (["--dry-run"], []):
        result = adopt(MAPPING + tenants, *options)
        assert result.exit_code == 1
        assert "another tenant has it here, with another name and without this owner" in result.stderr
        assert "row 1 of accounts, tenant (column subdomain): this tenant was not taken over" in result.stderr
    assert secrets_here(app) == ["hunter2 of the same"]


@only_sqlite
@sqlite_source
def test_bytes_that_are_no_text_are_told_wherever_they_are(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    accounts.all("INSERT INTO accounts VALUES (2, CAST(x'ff' AS TEXT), 'n', NULL, 'hunter2')")
    result = adopt(MAPPING)
    assert failures(result) == [
        "api_credentials.maps, row 2 of accounts, tenant (column subdomain): has text in subdomain that is not UTF-8"
    ]
    accounts.all("CREATE TABLE odd (id TEXT PRIMARY KEY, secret TEXT)")
    accounts.all("INSERT INTO odd VALUES (CAST(x'ff' AS TEXT), 'hunter2')")
    result = adopt(
        TO_ACME.replace('"accounts"', '"odd"').replace("{name}", "x").replace('expires_at = "{expires}"', "")
    )
    assert (result.exit_code, result.stderr) == (
        1,
        "A primary key of the table odd is not UTF-8 text: mend it there.\n",
    )


@only_sqlite
def test_a_key_that_is_retired_meanwhile_is_told(app, adopt, accounts, monkeypatch):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    create = type(api_credentials).create

    def retire_meanwhile(self, session, *args):
        session.rollback()
        with system_scope(), db.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM encryption_keys")
        return create(self, session, *args)

    monkeypatch.setattr(type(api_credentials), "create", retire_meanwhile)
    result = adopt(MAPPING)
    assert failures(result) == [
        "api_credentials.maps, row 1 of accounts: the database refuses it: was the encryption key retired? See flask "
        "encryption status"
    ]


@only_sqlite
def test_keys_that_do_not_fit_are_told_before_anything_is_done(app, adopt, accounts):
    accounts.insert("accounts", id=1, subdomain="acme", name="n", secret="hunter2")
    with in_database(app), db.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE encryption_keys SET id = '0123abcd'")
    for options in (["--dry-run"], []):
        result = adopt(MAPPING, *options)
        assert result.exit_code == 78
        assert "0123abcd" in result.stderr


@only_sqlite
@sqlite_source
def test_a_secret_that_no_phone_system_can_have_made_fails_its_row_alone(app, adopt, accounts):
    accounts.insert("accounts", id=1, name="Short", secret="hunter2")
    accounts.insert("accounts", id=2, name="Right", secret="0123456789abcdefABCDEF0123456789")
    mapping = 'source = "old"\ndatabase = "OLD_URL"\n[phone_systems.pbx]\ntable = "accounts"\ntenant = "acme"\n'
    mapping += 'name = "{name}"\nvendor = "yeastar"\nwebhook_password = { column = "secret", encoding = "plaintext" }\n'
    done = adopt.counts(mapping)
    assert (done["adopted"], done["failed"]) == (1, 1)
    assert [(failure["field"], failure["reason"]) for failure in done["failures"]] == [
        ("webhook_password", "must be the 32 characters that the phone system shows as its secret")
    ]
