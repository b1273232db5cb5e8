"""Whose certificate is trusted: one of the system's authorities, or what the tenant has entered; for this name, now."""

import pytest

from app.outbound.certificates import LONGEST_PEM, check_pem
from app.outbound.exchange import USUAL
from app.outbound.failures import CertificateRefused, NotUnderstood, TookTooLong
from tests.outbound.conftest import DAY, NAME, OK, Authority, Host, is_silent, says
from tests.servers.process import LOOPBACK

UNTRUSTED = "^the certificate is not trusted: "


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """The authority, as one of those that this machine trusts."""
    path = tmp_path / "authorities.pem"
    path.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    return authority


def test_what_the_system_trusts_is_trusted_for_the_name_it_is_for(names, outbound, trusted):
    names.set(f"{NAME}.", [LOOPBACK])
    with Host(context=trusted.context()) as host:
        for name in (NAME, f"{NAME}."):
            assert outbound.send("GET", f"https://{name}:{host.port}/").body == b"ok"
    assert host.indications == [NAME, NAME]
    assert f"Host: {NAME}:{host.port}\r\n".encode() in host.heads[0]


def test_what_the_tenant_has_entered_is_trusted(names, outbound, authority):
    with Host(context=authority.context()) as host:
        assert outbound.send("GET", f"https://{NAME}:{host.port}/", pem=authority.pem).body == b"ok"


def test_what_the_tenant_has_entered_may_be_the_certificate_itself(names, outbound, authority):
    with Host(context=authority.context()) as host:
        assert outbound.send("GET", f"https://{NAME}:{host.port}/", pem=authority.last_pem).body == b"ok"


def test_what_the_tenant_has_entered_replaces_what_the_system_trusts(names, outbound, trusted, tmp_path):
    other = Authority(tmp_path, "other")
    with Host(context=trusted.context()) as host, pytest.raises(CertificateRefused, match=UNTRUSTED):
        outbound.send("GET", f"https://{NAME}:{host.port}/", pem=other.pem)
    assert host.heads == []


def test_an_address_has_a_certificate_for_that_address(outbound, authority):
    with Host(context=authority.context(LOOPBACK)) as host:
        assert outbound.send("GET", f"https://{LOOPBACK}:{host.port}/", pem=authority.pem).body == b"ok"
    assert host.indications == [None]


@pytest.mark.parametrize(
    ("name", "validity", "reason"),
    [
        (NAME, {"since": -2 * DAY, "until": -DAY}, "it has expired"),
        (NAME, {"since": DAY, "until": 2 * DAY}, "it is not valid yet"),
        ("other.example", {}, "it is for another name"),
        ("*.example", {}, "it is for another name"),
        ("acme.example", {}, "it is for another name"),
        (LOOPBACK, {}, "it is for another name"),
    ],
)
@pytest.mark.parametrize("pinned", [False, True])
def test_a_certificate_that_is_not_for_this_name_now_is_refused(
    names, outbound, trusted, name, validity, reason, pinned
):
    with Host(context=trusted.context(name, **validity)) as host, pytest.raises(CertificateRefused) as caught:
        outbound.send("GET", f"https://{NAME}:{host.port}/", pem=trusted.last_pem if pinned else None)
    assert str(caught.value) == f"the certificate is not trusted: {reason}"
    assert host.heads == []


def test_a_name_in_the_certificate_is_no_address(outbound, authority):
    with Host(context=authority.context(NAME)) as host, pytest.raises(CertificateRefused, match="for another address"):
        outbound.send("GET", f"https://{LOOPBACK}:{host.port}/", pem=authority.pem)


def test_who_is_known_to_nobody_is_refused(names, outbound, authority):
    with Host(context=authority.context()) as host, pytest.raises(CertificateRefused, match="authority is not known"):
        outbound.send("GET", f"https://{NAME}:{host.port}/")
    with Host(context=authority.own_context()) as host, pytest.raises(CertificateRefused, match="signed by itself"):
        outbound.send("GET", f"https://{NAME}:{host.port}/")
    assert host.heads == []


def test_who_does_not_speak_tls_is_told(outbound, names):
    class Plain(Host):
        def _serve(self, connection):
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with Plain() as host, pytest.raises(NotUnderstood, match="does not speak TLS"):
        outbound.send("GET", f"https://{NAME}:{host.port}/")


def test_a_handshake_that_does_not_end_is_not_waited_for(outbound, names):
    class Mute(Host):
        def _serve(self, connection):
            with connection:
                self._closing.wait()

    with Mute() as host, pytest.raises(TookTooLong, match=r"^took longer than 0\.3 s$"):
        outbound.send("GET", f"https://{NAME}:{host.port}/", limits=USUAL._replace(connect=0.3))


def test_a_silent_host_behind_tls_is_left_when_the_time_is_over(names, outbound, authority):
    with Host(is_silent, authority.context()) as host, pytest.raises(TookTooLong, match=r"^took longer than 0\.5 s$"):
        outbound.send("GET", f"https://{NAME}:{host.port}/", pem=authority.pem, limits=USUAL._replace(total=0.5))


def test_an_answer_behind_tls_may_come_in_many_pieces(names, outbound, authority):
    with Host(says(*(OK[n : n + 1] for n in range(len(OK)))), authority.context()) as host:
        assert outbound.send("GET", f"https://{NAME}:{host.port}/", pem=authority.pem).body == b"ok"


def test_only_certificates_are_taken_for_certificates(authority):
    check_pem(authority.pem)
    check_pem(f"the old and the new\n{authority.pem}\n{authority.pem}")
    for text in ("", "x", "é", authority.pem[:-40], authority.pem.replace("M", "N", 1), authority.pem * LONGEST_PEM):
        with pytest.raises(CertificateRefused, match="no certificate in PEM"):
            check_pem(text)


def test_a_private_key_is_not_wanted(authority, tmp_path):
    authority.own_context()
    with pytest.raises(CertificateRefused, match="holds a private key"):
        check_pem((tmp_path / "own.pem").read_text())


def test_an_unfit_certificate_is_refused_before_anything_is_sent(names, outbound, authority):
    with Host(context=authority.context()) as host, pytest.raises(CertificateRefused, match="no certificate in PEM"):
        outbound.send("GET", f"https://{NAME}:{host.port}/", pem="")
    assert host.connections == 0
