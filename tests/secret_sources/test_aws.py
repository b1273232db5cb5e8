"""References to AWS Secrets Manager and AWS KMS, over real connections, by AWS's own client."""

import base64
import json
import logging
import os
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.config import EXIT_CONFIG, EXIT_UNAVAILABLE, load_settings
from app.encryption.keyring import MasterKey
from app.secret_sources import Patience
from tests.secret_sources.conftest import HASTE, aws_variables, environ, fernet_key, refusal
from tests.servers import free_port
from tests.servers.aws import CREDENTIALS, REGION
from tests.servers.http import Answer, HttpServer, make_certificate

CANARY = "Zq7Canary"
PAGE = f"<!doctype html><title>{CANARY}</title>".encode()
SECRET = "aws-secretsmanager://audiapro"
CIPHERTEXT = base64.b64encode(b"ciphertext" * 16).decode()
KMS = f"aws-kms://{CIPHERTEXT}"
UNHURRIED = HASTE._replace(read=20, total=60)  # a moto that is asked for a service for the first time loads it


@pytest.fixture
def name() -> str:
    return f"audiapro/{uuid4()}"


def load(aws, **changes: str):
    return load_settings(environ(**aws.variables | changes), None, UNHURRIED)


def refused_by(aws, **changes: str) -> str:
    error = refusal(environ(**aws.variables | changes), patience=UNHURRIED)
    (problem,) = error.problems
    assert (error.exit_code, CANARY in f"{error} {error!r} {vars(error)}") == (EXIT_CONFIG, False)
    return problem


def encrypt(aws, plaintext: str | bytes) -> str:
    """What ``aws kms encrypt --query CiphertextBlob --output text`` prints."""
    key_id = aws.keys.create_key()["KeyMetadata"]["KeyId"]
    return base64.b64encode(aws.keys.encrypt(KeyId=key_id, Plaintext=plaintext)["CiphertextBlob"]).decode()


def test_a_key_is_read_by_the_name_and_by_the_arn_of_its_secret(aws, name):
    key = fernet_key()
    arn = aws.secrets.create_secret(Name=name, SecretString=f"{key}\n")["ARN"]
    for reference in (f"aws-secretsmanager://{name}", f"aws-secretsmanager://{arn}"):
        settings = load(aws, ENCRYPTION_KEY=reference)
        assert settings.keyring.primary == MasterKey.parse(key)
        assert settings.origins["ENCRYPTION_KEY"] == "AWS Secrets Manager"


def test_what_is_asked_without_tls_on_this_machine_is_handed_to_no_proxy(aws, name, monkeypatch):
    aws.secrets.create_secret(Name=name, SecretString=fernet_key())
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")  # where nobody answers
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert load(aws, ENCRYPTION_KEY=f"aws-secretsmanager://{name}")


def test_a_region_is_taken_from_the_reference_then_the_arn_then_the_variables(aws, name):
    arn = aws.secrets.create_secret(Name=name, SecretString=fernet_key())["ARN"]
    elsewhere = {"AWS_DEFAULT_REGION": "eu-west-1"}
    load(aws, **elsewhere, ENCRYPTION_KEY=f"aws-secretsmanager://{arn}")
    load(aws, **elsewhere, ENCRYPTION_KEY=f"aws-secretsmanager://{name}?region={REGION}")
    load(aws, **elsewhere, AWS_REGION=REGION, ENCRYPTION_KEY=f"aws-secretsmanager://{name}")
    problem = refused_by(aws, **elsewhere, ENCRYPTION_KEY=f"aws-secretsmanager://{name}")
    assert "(ResourceNotFoundException): there is no such secret in eu-west-1" in problem
    problem = refused_by(aws, AWS_DEFAULT_REGION="", ENCRYPTION_KEY=f"aws-secretsmanager://{name}")
    assert problem.endswith("no region is known: append ?region=…, or set AWS_REGION.")
    two_regions = f"aws-secretsmanager://{arn}?region=eu-west-1"
    assert "is not a reference as it must be written" in refused_by(aws, ENCRYPTION_KEY=two_regions)


def test_fields_of_one_secret_are_fetched_together(anything):
    keys = {f"key{number}": fernet_key() for number in range(3)}
    body = {"ARN": "arn", "Name": "audiapro", "SecretString": json.dumps(keys | {"port": 5432})}
    anything.planned = [Answer(body=json.dumps(body).encode())]
    variables = {"ENCRYPTION_KEY": f"{SECRET}#key0", "ENCRYPTION_KEY_FALLBACKS": f"{SECRET}#key1,{SECRET}#key2"}
    settings = load_settings(environ(**aws_variables(anything) | variables), None, HASTE)
    assert [*settings.keyring] == [MasterKey.parse(key) for key in keys.values()]
    (asked,) = anything.asked
    assert (asked.headers["X-Amz-Target"], json.loads(asked.body)) == (
        "secretsmanager.GetSecretValue",
        {"SecretId": "audiapro"},
    )
    anything.planned = [Answer(body=json.dumps(body).encode())]
    problems = refusal(
        environ(**aws_variables(anything), ENCRYPTION_KEY=f"{SECRET}#port", JWT_SECRET_KEY=f"{SECRET}#none")
    ).problems
    assert "JWT_SECRET_KEY: aws-secretsmanager://audiapro#none cannot be read: the secret is there, but" in problems[0]
    assert "but it does not hold text" in problems[1]


def test_a_secret_that_is_none_of_ours_is_refused(aws, name):
    aws.secrets.create_secret(Name=name, SecretBinary=CANARY.encode())
    reference = f"aws-secretsmanager://{name}"
    assert refused_by(aws, ENCRYPTION_KEY=reference).endswith("is not text: store it with --secret-string.")
    aws.secrets.put_secret_value(SecretId=name, SecretString=f"{CANARY} is no JSON")
    assert "is not a JSON object" in refused_by(aws, ENCRYPTION_KEY=f"{reference}#key")
    aws.secrets.put_secret_value(SecretId=name, SecretString=f'["{CANARY}"]')
    assert "is not a JSON object" in refused_by(aws, ENCRYPTION_KEY=f"{reference}#key")
    aws.secrets.delete_secret(SecretId=name)
    assert "aws secretsmanager restore-secret" in refused_by(aws, ENCRYPTION_KEY=reference)
    unknown = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:none-AbCdEf"
    assert "there is no such secret" in refused_by(aws, ENCRYPTION_KEY=f"aws-secretsmanager://{unknown}")


def test_a_key_that_kms_has_encrypted_is_opened_also_beside_others(aws, tmp_path):
    key, old = fernet_key(), fernet_key()
    path = tmp_path / "encryption_key"
    path.touch(mode=0o600)
    path.write_text(f"aws-kms://{encrypt(aws, key)}?region={REGION}\n")
    settings = load(
        aws,
        AWS_DEFAULT_REGION="",
        ENCRYPTION_KEY="",
        ENCRYPTION_KEY_FILE=str(path),
        ENCRYPTION_KEY_FALLBACKS=f"aws-kms://{encrypt(aws, old + chr(10))}?region={REGION},{fernet_key()}",
    )
    assert (settings.keyring.primary, settings.keyring.fallbacks[0]) == (MasterKey.parse(key), MasterKey.parse(old))
    assert settings.origins["ENCRYPTION_KEY"] == "AWS KMS"
    assert settings.origins["ENCRYPTION_KEY_FALLBACKS"] == "AWS KMS and literal"


def test_a_ciphertext_that_does_not_open_is_refused_without_being_repeated(aws):
    ciphertext = encrypt(aws, b"\xff\xfe" * 16)
    problem = refused_by(aws, ENCRYPTION_KEY=f"aws-kms://{ciphertext}")
    assert problem.startswith("ENCRYPTION_KEY: its aws-kms:// reference cannot be read: ")
    assert "what was encrypted is not text" in problem
    for changed in (ciphertext[:-8], ciphertext[:-3], f"{CIPHERTEXT}?region=eu-west-1"):
        problem = refused_by(aws, ENCRYPTION_KEY=f"aws-kms://{changed}")
        assert problem.startswith("ENCRYPTION_KEY: its aws-kms:// reference cannot be read: ")
        assert changed[:20] not in problem


AWS_SAYS = [
    ("AccessDeniedException", SECRET, "these credentials may not read it in eu-central-1"),
    ("AccessDeniedException", KMS, "these credentials may not read it in eu-central-1"),
    ("ExpiredTokenException", SECRET, "the credentials have expired"),
    ("UnrecognizedClientException", SECRET, "the credentials are not valid"),
    ("InvalidSignatureException", SECRET, "or the clock of this machine is wrong"),
    ("InvalidCiphertextException", KMS, "the ciphertext is incomplete, or of another region than eu-central-1"),
    ("DisabledException", KMS, "aws kms enable-key"),
    ("KMSInvalidStateException", KMS, "aws kms cancel-key-deletion"),
    ("IncorrectKeyException", KMS, "(IncorrectKeyException): see what AWS says of this"),
]


@pytest.mark.parametrize(("code", "reference", "sentence"), AWS_SAYS)
def test_what_aws_refuses_is_not_asked_for_again(anything, code, reference, sentence):
    anything.planned = [Answer(400, json.dumps({"__type": code, "message": CANARY}).encode())]
    error = refusal(environ(**aws_variables(anything), ENCRYPTION_KEY=reference))
    assert sentence in str(error)
    assert (error.exit_code, len(anything.asked)) == (EXIT_CONFIG, 1)
    assert CANARY not in f"{error} {error!r} {vars(error)}"


PASSING = [Answer(400, b'{"__type": "ThrottlingException"}'), Answer(429), Answer(500), Answer(503, PAGE, "text/html")]


@pytest.mark.parametrize("answer", PASSING)
def test_trouble_that_may_pass_is_waited_for_and_then_told_with_1(anything, answer):
    key = fernet_key()
    variables = environ(**aws_variables(anything), ENCRYPTION_KEY=SECRET)
    anything.planned = [answer, Answer(body=json.dumps({"SecretString": key}).encode())]
    assert load_settings(variables, None, HASTE).keyring.primary == MasterKey.parse(key)
    anything.planned, anything.asked = [answer] * 2, []
    error = refusal(variables)
    assert "AWS has trouble, or too much to do" in str(error)
    assert (error.exit_code, len(anything.asked), CANARY in str(error)) == (EXIT_UNAVAILABLE, 2, False)


NONSENSE = [
    Answer(200, PAGE, "text/html"),
    Answer(200, b"\xff\xfe" * 40 + CANARY.encode(), "application/octet-stream"),
    Answer(200, b""),
    Answer(204),
    Answer(200, PAGE * 50_000, "text/html"),
    Answer(200, b"[" * 100_000),
    Answer(200, json.dumps([CANARY]).encode()),
    Answer(200, json.dumps({"SecretString": [CANARY], "Plaintext": {CANARY: 1}}).encode()),
    Answer(200, json.dumps({"SecretString": CANARY * 222_222, "Plaintext": "A" * 2_000_000}).encode()),
    Answer(302, location=f"http://127.0.0.1/{CANARY}"),
    Answer(400, PAGE, "text/html"),
    Answer(403, PAGE, "text/html"),
    Answer(404),
]


@pytest.mark.parametrize(
    ("answer", "reference"),
    [*((answer, SECRET) for answer in NONSENSE), *((answer, KMS) for answer in NONSENSE[::4])],
)
def test_nonsense_is_refused_without_a_word_of_it(anything, answer, reference):
    anything.planned = [answer]
    error = refusal(environ(**aws_variables(anything), ENCRYPTION_KEY=reference))
    (problem,) = error.problems
    assert problem.startswith("ENCRYPTION_KEY: ")
    assert (error.exit_code, len(anything.asked)) == (EXIT_CONFIG, 1)
    assert CANARY not in f"{error} {error!r} {vars(error)}"


def test_an_aws_that_is_down_slow_or_never_done_may_come_back(anything):
    variables = environ(**aws_variables(anything), ENCRYPTION_KEY=SECRET)
    anything.planned = [Answer(manner="never")] * 2 + [Answer(manner="in drops")]
    slow, endless = refusal(variables), refusal(variables, patience=Patience(read=5, total=0.5))
    down = refusal(variables | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"})
    assert slow.problems[0].endswith("AWS did not answer in time.")
    assert endless.problems[0].endswith("there was no answer within 0.5 seconds.")
    assert down.problems[0].endswith("AWS cannot be reached: look at the network, and at the region.")
    assert {slow.exit_code, endless.exit_code, down.exit_code} == {EXIT_UNAVAILABLE}


def test_a_secret_travels_over_tls_that_is_verified(tmp_path, anything):
    certificate = make_certificate(tmp_path / "aws.pem")
    key = fernet_key()
    answer = Answer(body=json.dumps({"SecretString": key}).encode())
    with HttpServer(lambda asked: answer, certificate) as server:
        variables = environ(**aws_variables(server), ENCRYPTION_KEY=SECRET)
        trusting = variables | {"AWS_CA_BUNDLE": str(certificate)}
        assert load_settings(trusting, None, HASTE).keyring.primary == MasterKey.parse(key)
        server.asked.clear()
        error = refusal(variables)
        assert "is not trusted, or it speaks no TLS" in str(error)
        assert (error.exit_code, server.asked) == (EXIT_CONFIG, [])
    in_the_clear = refusal(environ(**variables | {"AWS_ENDPOINT_URL": f"http://{CANARY}.example"}))
    assert "AWS_ENDPOINT_URL must be https" in str(in_the_clear)
    assert in_the_clear.exit_code == EXIT_CONFIG


def without_credentials(server: HttpServer) -> dict[str, str]:
    """A machine that asks there what its role is."""
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    asked = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url, "AWS_ENDPOINT_URL": server.url}
    return environ(**nothing, **asked, AWS_DEFAULT_REGION=REGION, ENCRYPTION_KEY=SECRET)


def test_a_machine_may_be_let_in_by_its_role(anything):
    until = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    role = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "ASIAROLE", "SecretAccessKey": "x", "Token": "t"}
    key = fernet_key()
    answers = {
        "/latest/api/token": b"session",
        "/latest/meta-data/iam/security-credentials/": b"audiapro",
        "/latest/meta-data/iam/security-credentials/audiapro": json.dumps(role | {"Expiration": until}).encode(),
        "/": json.dumps({"SecretString": key}).encode(),
    }
    anything.answer = lambda asked: Answer(body=answers[asked.path])
    assert load_settings(without_credentials(anything), None, HASTE).keyring.primary == MasterKey.parse(key)
    assert "Credential=ASIAROLE/" in anything.asked[-1].headers["Authorization"]


def test_a_machine_without_credentials_and_role_is_told_so_and_may_be_given_one(anything):
    error = refusal(without_credentials(anything))
    assert anything.asked[0].path == "/latest/api/token"
    assert "has found no credentials: give this machine a role" in str(error)
    assert error.exit_code == EXIT_UNAVAILABLE


@pytest.mark.parametrize(
    "changes",
    [
        {"AWS_ENDPOINT_URL": CANARY},
        {"AWS_PROFILE": CANARY},
        {"AWS_CA_BUNDLE": f"/{CANARY}", "AWS_ENDPOINT_URL": "https://127.0.0.1:1"},
        {"AWS_SECRET_ACCESS_KEY": ""},
    ],
)
def test_a_client_that_cannot_be_configured_is_told_without_the_values(anything, changes):
    error = refusal(environ(**aws_variables(anything) | {"ENCRYPTION_KEY": SECRET} | changes))
    assert "ENCRYPTION_KEY: aws-secretsmanager://audiapro cannot be read: " in str(error)
    assert (error.exit_code, CANARY in f"{error} {error!r} {vars(error)}") == (EXIT_CONFIG, False)


def test_the_env_file_configures_the_client_and_the_process_is_left_as_it_was(aws, name, tmp_path, monkeypatch):
    aws.secrets.create_secret(Name=name, SecretString=fernet_key())
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the process")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    before = dict(os.environ)
    lines = environ(**aws.variables, ENCRYPTION_KEY=f"aws-secretsmanager://{name}")
    env_file = tmp_path / ".env"
    env_file.touch(mode=0o600)
    env_file.write_text("\n".join(f"{name}={value}" for name, value in lines.items()))
    assert load_settings({}, env_file, UNHURRIED).origins["ENCRYPTION_KEY"] == "AWS Secrets Manager"
    assert dict(os.environ) == before


def test_no_log_holds_what_a_store_has_sent(anything, caplog):
    caplog.set_level(logging.DEBUG)
    key = fernet_key()
    plaintext = base64.b64encode(key.encode()).decode()
    for reference, body in ((SECRET, {"SecretString": key}), (KMS, {"Plaintext": plaintext})):
        anything.planned = [Answer(body=json.dumps(body).encode())]
        load_settings(environ(**aws_variables(anything), ENCRYPTION_KEY=reference), None, HASTE)
    assert not {key, plaintext, *CREDENTIALS.values()} & {*caplog.text.split()}
    assert key not in caplog.text
    assert plaintext not in caplog.text
