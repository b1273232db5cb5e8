"""What the host at the other end may do: be slow, endless, broken or elsewhere. Each ends soon, with its reason."""

import gzip
import logging
import socket
import threading
import traceback
import tracemalloc
import zlib

import pytest

from app.outbound.client import Outbound, basic
from app.outbound.exchange import USUAL
from app.outbound.failures import (
    NobodyAnswers,
    NotSendable,
    NotUnderstood,
    OutboundFailure,
    Redirected,
    TookTooLong,
    TooLarge,
)
from tests.outbound.conftest import NAME, OK, Host, drips, is_silent, says
from tests.servers.process import LOOPBACK, free_port

HEAD = b"HTTP/1.1 200 OK\r\n"
QUICK = USUAL._replace(connect=0.3, read=0.3, total=0.5)
SECRET = "kX4vT9qLz2"


def of(body: bytes, encoding: str = "gzip") -> bytes:
    return HEAD + f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def zeros(count: int) -> bytes:
    """So many of them, compressed, without having been in memory."""
    packer, piece = zlib.compressobj(wbits=31), bytes(1_000_000)
    return b"".join([*(packer.compress(piece) for _ in range(count // len(piece))), packer.flush()])


def asked(outbound: Outbound, talk, limits=USUAL, **request):
    with Host(talk) as host:
        return outbound.send("GET", f"http://{LOOPBACK}:{host.port}/", limits=limits, **request)


def test_an_answer_comes_with_status_headers_and_body(outbound):
    answer = asked(outbound, says(b"HTTP/1.1 401 No\r\nX-A: b\r\nContent-Length: 10\r\n\r\n", b'{"a": ', b"[1]}"))
    assert (answer.status, answer.headers["x-a"], answer.json()) == (401, "b", {"a": [1]})
    assert repr(answer) == "<Answer 401, 10 bytes>"


def test_a_body_and_headers_are_sent(outbound, host):
    url = f"http://{LOOPBACK}:{host.port}/api"
    headers = {"Authorization": basic("ünï", "pw:x"), "User-Agent": "OpenAPI", "Content-Type": "application/json"}
    outbound.send("POST", url, headers=headers, body=b'{"a": 1}')
    head, _, body = host.heads[0].partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "POST /api HTTP/1.1"
    assert {"Authorization: Basic w7xuw686cHc6eA==", "User-Agent: OpenAPI", "Content-Length: 8"} <= {*lines}
    assert body in (b'{"a": 1}', b"")  # it may come in a packet of its own


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
def test_a_redirect_is_refused_and_not_followed(outbound, status):
    with Host() as elsewhere:
        location = f"Location: http://{LOOPBACK}:{elsewhere.port}/\r\n".encode()
        with pytest.raises(Redirected, match="redirects to another address, which is not followed"):
            asked(outbound, says(b"HTTP/1.1 %d Go\r\n" % status + location + b"Content-Length: 0\r\n\r\n"))
    assert elsewhere.connections == 0


def test_proxies_and_passwords_of_the_environment_are_not_used(outbound, host, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text(f"machine {LOOPBACK} login x password {SECRET}\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with Host() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{LOOPBACK}:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://{LOOPBACK}:{proxy.port}")
        assert outbound.send("GET", f"http://{LOOPBACK}:{host.port}/").status == 200
    assert proxy.connections == 0
    assert b"uthorization" not in host.heads[0]


def test_nobody_answers(outbound):
    with pytest.raises(NobodyAnswers, match=r"^nobody answers there$"):
        outbound.send("GET", f"http://{LOOPBACK}:{free_port()}/")


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 2", HEAD, HEAD + b"Content-Length: 9\r\n\r\nab"])
def test_who_falls_silent_is_not_waited_for(outbound, start):
    def talk(connection, closing):
        connection.sendall(start)
        closing.wait()

    with pytest.raises(TookTooLong, match=r"^took longer than 0\.3 s$"):
        asked(outbound, talk, QUICK._replace(total=60))


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b"H"),
        (HEAD, b"X"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_who_sends_a_little_at_a_time_for_ever_is_left_when_the_time_is_over(outbound, start, drop):
    with pytest.raises(OutboundFailure) as caught:
        asked(outbound, drips(start, drop), QUICK._replace(read=60))
    assert str(caught.value) in ("took longer than 0.5 s", "does not answer as HTTP")


def test_a_look_up_that_takes_too_long_is_not_waited_for_and_nothing_is_sent_after_it(outbound, host, monkeypatch):
    go_on, real, waiting = threading.Event(), socket.getaddrinfo, []

    def slow(name, *args, **options):
        if name == NAME:
            waiting.append(threading.current_thread())
            go_on.wait()
            return real(LOOPBACK, *args, **options)
        return real(name, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    with pytest.raises(TookTooLong, match=r"^took longer than 0\.5 s$"):
        outbound.send("GET", f"http://{NAME}:{host.port}/", limits=QUICK)
    go_on.set()
    waiting[0].join()
    assert host.heads == []


def test_the_thread_of_a_request_that_was_given_up_ends(outbound):
    with Host(drips(HEAD + b"Content-Length: 900000\r\n\r\n", b" ")) as host:
        with pytest.raises(TookTooLong):
            outbound.send("GET", f"http://{LOOPBACK}:{host.port}/", limits=QUICK)
        for thread in threading.enumerate():
            if thread.name == "outbound":
                thread.join()


@pytest.mark.parametrize(
    "talk",
    [
        says(HEAD + b"Content-Length: 1000001\r\n\r\n"),
        drips(HEAD + b"\r\n", bytes(100_000)),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"f4240\r\n" + bytes(1_000_000) + b"\r\n"),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", bytes(100_000)),
        drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 20_000),
        drips(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"a"), bytes(100_000)),
        drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5_000),
        says(of(gzip.compress(bytes(1_000_001)))),
        says(of(zlib.compress(bytes(1_000_001)), "deflate")),
    ],
)
def test_an_answer_that_is_too_large_is_refused(outbound, talk):
    with pytest.raises(TooLarge, match=r"^answered with more than 1000 kB$"):
        asked(outbound, talk)


@pytest.mark.parametrize(
    "talk",
    [says(of(zeros(500_000_000))), drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", bytes(100_000))],
    ids=["compressed", "of a chunk without a size"],
)
def test_a_bomb_takes_no_memory(outbound, talk):
    tracemalloc.start()
    with pytest.raises(TooLarge):
        asked(outbound, talk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("pack", "encoding"),
    [(gzip.compress, "gzip"), (gzip.compress, " X-GZIP "), (zlib.compress, "deflate"), (bytes, "identity")],
)
@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 999_999, 1_000_000])
def test_an_answer_just_as_large_as_is_allowed_arrives_whole(outbound, pack, encoding, size):
    body = (b"0123456789abcdef" * 62_500)[:size]
    assert asked(outbound, says(of(pack(body), encoding))).body == body


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"", "ends the connection before"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer as HTTP"),
        (b"+OK redis\r\n" * 9, "does not answer as HTTP"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "does not answer as HTTP"),
        (HEAD + b"X: y\r\n" * 200 + b"\r\n", "does not answer as HTTP"),
        (HEAD + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "does not answer as HTTP"),
        (HEAD + b"Content-Length: 9\r\n\r\nabc", "ends the connection before"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "ends the connection before"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "ends the connection before"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 70_000, "does not answer as HTTP"),
        (of(b"no gzip at all"), "something compressed that cannot be opened"),
        (of(gzip.compress(b"abc" * 99, mtime=0)[:-9]), "ends the connection before"),
        (of(gzip.compress(b"abc" * 99, mtime=0)[:12]), "ends the connection before"),
        (of(b"abc", "br"), "an encoding that was not asked for"),
        (of(b"abc", "gzip, gzip"), "an encoding that was not asked for"),
    ],
)
def test_an_answer_that_is_none_is_told_in_plain_words(outbound, said, reason):
    with pytest.raises(NotUnderstood, match=reason):
        asked(outbound, says(said))


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000])
def test_an_answer_that_is_no_json_is_told(outbound, body):
    answer = asked(outbound, says(HEAD + b"\r\n" + body))
    with pytest.raises(NotUnderstood, match=r"^answers something else than JSON$"):
        answer.json()


@pytest.mark.parametrize("value", [f"{SECRET}\r\nX: y", f"{SECRET}\n", f"\x00{SECRET}", f"{SECRET}é"])
def test_what_no_header_can_hold_is_refused_without_being_quoted(outbound, host, value):
    with pytest.raises(NotSendable) as caught:
        outbound.send("GET", f"http://{LOOPBACK}:{host.port}/", headers={"Authorization": f"Bearer {value}"})
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert host.connections == 0


@pytest.mark.parametrize(
    "talk",
    [
        says(OK),
        says(b""),
        says(b"nonsense " + SECRET.encode() + b"\r\n\r\n"),
        says(HEAD + b"no header " + SECRET.encode() + b"\r\nContent-Length: 2\r\n\r\nok"),
        says(HEAD + b"Content-Length: 9\r\n\r\n" + SECRET.encode()[:5]),
        says(b"HTTP/1.1 302 Go\r\nLocation: http://x/" + SECRET.encode() + b"\r\n\r\n"),
        says(of(SECRET.encode())),
        is_silent,
    ],
)
def test_nothing_that_was_sent_or_answered_is_in_the_log_or_in_an_error(outbound, caplog, capfd, talk):
    caplog.set_level(logging.DEBUG)
    request = {"headers": {"Authorization": basic("pbx", SECRET), "Cookie": SECRET}, "body": SECRET.encode()}
    shown = repr(outbound)
    with Host(talk) as host:
        url = f"http://{LOOPBACK}:{host.port}/{SECRET}?token={SECRET}"
        try:
            shown += repr(outbound.send("POST", url, limits=QUICK, **request))
        except OutboundFailure as failure:
            shown += f"{failure!r} {failure.args} " + "".join(traceback.format_exception(failure))
    output = capfd.readouterr()
    assert SECRET not in shown + caplog.text + output.out + output.err
    assert basic("pbx", SECRET)[6:] not in shown + caplog.text + output.out + output.err
