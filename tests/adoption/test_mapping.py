"""The mapping: everything that is wrong with it is told at once, and never what a variable holds."""

import re
from pathlib import Path

import pytest

from app.adoption.kinds import KINDS
from app.adoption.mapping import MappingRefused, Text, read_mapping, taken_twice
from app.encryption.adoption import NotAdoptable
from tests.adoption.conftest import ROOT

GOOD = """
source = "old"
database = "OLD_URL"
[phone_systems.pbx]
table = "tenants"
tenant = "{subdomain}"
name = "PBX"
vendor = "asterisk"
password = { column = "pbx_password", encoding = "fernet", key = "OLD_KEY" }
"""
WRONG = """
sorce = "old"
database = "postgresql://ada:hunter2@db/old"
[phone_systems.pbx]
table = "tenants"
files = "*.cred"
tenant = "{subdomain"
name = "PBX"
vendor = { text = "{type}", value = {} }
passwrd = { column = "a", encoding = "plaintext" }
password = { column = "a", encoding = "rot13" }
webhook_password = { column = "a", encoding = "fernet" }
[phone_systems."a b"]
[payment_accounts.paypal]
table = "payments"
key = "OLD_KEY"
tenant = 7
provider = "paypal"
client_secret = "hunter2"
[api_credentials.one]
files = "*.cred"
tenant = "acme"
name = "n"
provider = "p"
secret = { column = "a", encoding = "plaintext", key = "ENCRYPTION_KEY" }
[users.all]
table = "users"
"""


def problems(folder: Path, text: str) -> list[str]:
    path = folder / "mapping.toml"
    path.write_text(text)
    with pytest.raises(MappingRefused) as refusal:
        read_mapping(path)
    return refusal.value.problems


def test_a_good_mapping_is_read_tenants_first(tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text(f'{GOOD}[tenants.all]\ntable = "t"\nname = "{{n}}"\nsubdomain = "{{s}}"\nowner_email = "{{e}}"\n')
    mapping = read_mapping(path)
    assert [(kind, name) for kind, name, _ in mapping.sections()] == [("tenants", "all"), ("phone_systems", "pbx")]
    assert mapping.key_names() == ["OLD_KEY"]


def test_everything_that_is_wrong_is_told_at_once_and_no_value_with_it(tmp_path):
    found = problems(tmp_path, WRONG)
    told = "\n".join(found)
    assert "hunter2" not in told
    for expected in (
        "sorce is not known here.",
        "source is missing.",
        "database is to be the NAME of a variable, such as OLD_ENCRYPTION_KEY, and never what that holds.",
        "phone_systems.pbx.tenant has a brace that does not belong to the name of a column.",
        "phone_systems.pbx.vendor.value is not known here.",
        "phone_systems.pbx.passwrd is not known here.",
        "phone_systems.pbx.password.encoding is to be one of: plaintext, base64, fernet, fernet or plaintext",
        "phone_systems.pbx.webhook_password needs `key` where the encoding has `fernet` in it, and only there.",
        "phone_systems.a b is to be a name of letters, digits and _ . -.",
        "payment_accounts.paypal.mode is missing.",
        "payment_accounts.paypal.tenant is to be a table; { column, encoding } for a secret",
        "payment_accounts.paypal.client_secret is to be a table; { column, encoding } for a secret",
        "api_credentials.one.secret.key is a variable of AudiaPro itself",
        "users is not known here.",
    ):
        assert expected in told, expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "source is missing."),
        ('source = "old"\n', "There is nothing to take over: it has no section such as [phone_systems.pbx]."),
        ("source = hunter2", "is not TOML (at line 1, column 10)."),
        (GOOD.replace('database = "OLD_URL"', ""), "database is missing: the NAME of the variable that has the source"),
        (GOOD.replace('"PBX"', '"{pbx_password}"'), "phone_systems.pbx.name has a column in it that is a secret"),
        (
            f'{GOOD}[tenants.all]\ntable = "tenants"\nname = "{{pbx_password}}"\nsubdomain = "s"\nowner_email = "e"',
            "tenants.all.name has a column in it that is a secret",
        ),
        (
            'source = "old"\n[api_credentials.one]\nfiles = "*"\nkey = "K"\ntenant = "a"\nprovider = "p"\n'
            'name = "{data}"',
            "api_credentials.one.name has a column in it that is a secret",
        ),
        (GOOD.replace('table = "tenants"', ""), "phone_systems.pbx needs either `table` or `files`."),
        (GOOD.replace("table =", "files ="), "phone_systems.pbx needs `key` with `files`, and only there"),
        (f'{GOOD}join = {{ table = "t", column = "c" }}', "phone_systems.pbx.join.matches is missing."),
    ],
)
def test_what_is_wrong_is_told(text, told, tmp_path):
    (found,) = problems(tmp_path, text)
    assert told in found
    assert "hunter2" not in found


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(MappingRefused, match=r"none\.toml cannot be read \(No such file or directory\)"):
        read_mapping(tmp_path / "none.toml")
    (tmp_path / "mapping.toml").write_bytes(b"\xff")
    with pytest.raises(MappingRefused, match="is not UTF-8 text"):
        read_mapping(tmp_path / "mapping.toml")


def test_a_column_that_two_secrets_are_made_of_cannot_be_blanked(tmp_path):
    path = tmp_path / "mapping.toml"
    path.write_text(GOOD)
    assert taken_twice(read_mapping(path)) == []
    path.write_text(f'{GOOD}webhook_password = {{ column = "pbx_password", encoding = "plaintext" }}')
    assert taken_twice(read_mapping(path)) == [
        "tenants.pbx_password is taken over twice, for phone_systems.pbx.password and "
        "phone_systems.pbx.webhook_password: it cannot be blanked."
    ]


def test_a_text_is_put_together_of_columns():
    text = Text(text="https://{ip}:{port}")
    assert text.render({"ip": b"192.0.2.1", "port": 8089}) == "https://192.0.2.1:8089"
    assert text.render({"ip": None, "port": 8089}) is None
    assert text.render({"ip": "", "port": 8089}) is None
    assert Text(text="{a}", values={"1": "one"}).render({"a": 1}) == "one"
    for value, told in ((1.5, "needs a as text"), (True, "needs a as text"), (b"\xff", "has bytes in a that are not")):
        with pytest.raises(NotAdoptable, match=told):
            Text(text="{a}").render({"a": value})
    with pytest.raises(NotAdoptable, match="is something that the mapping has no value for"):
        Text(text="{a}", values={"1": "one"}).render({"a": 2})


def test_the_page_names_every_field():
    page = (ROOT / "docs/adoption.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \|(.*)\|$", page, re.MULTILINE)
    named = {kind: [{*re.findall(r"`(\w+)`", cell)} for cell in cells] for kind, *cells in rows if kind in KINDS}
    assert named == {
        name: [{*kind.fields} | ({"tenant"} if kind.integrations else set()), {*kind.secrets}]
        for name, kind in KINDS.items()
    }
