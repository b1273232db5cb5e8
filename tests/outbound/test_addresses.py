"""Where requests to a tenant's host may go: only where they were allowed to, however the address is written."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.outbound.addresses import NEVER, may_be_reached, networks_of
from app.outbound.client import Outbound
from app.outbound.failures import AddressRefused, NameUnknown, NotPublic
from app.outbound.urls import base_url_of, target_of
from tests.outbound.conftest import NAME, Host
from tests.servers.process import LOOPBACK

# Each is an address of this machine, or of a network that is nobody's on the Internet.
NOT_PUBLIC = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7F000001",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "①②⑦.0.0.1",
    "\uff11\uff12\uff17\uff0e\uff10\uff0e\uff10\uff0e\uff11",  # as wide as ideographs
    "127。0。0。1",
    "%31%32%37.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.169.254",
    "2852039166",
    "168.63.129.16",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::127.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2001:0:7f00:1::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[100::1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fd20:ce::254]",
    "[fe80::1]",
    "[fec0::1]",
    "[ff02::1]",
]
PUBLIC = [
    "8.8.8.8",
    "1.1.1.1",
    "192.0.1.1",
    "100.128.0.1",
    "172.32.0.1",
    "223.255.255.254",
    "2606:4700::1111",
    "2a00::1",
]

REFUSED = {
    "ftp://pbx.acme.example/": "http:// or https:// URL",
    "file:///etc/passwd": "http:// or https:// URL",
    "gopher://pbx.acme.example/": "http:// or https:// URL",
    "unix:///run/x": "http:// or https:// URL",
    "javascript:alert(1)": "http:// or https:// URL",
    "//pbx.acme.example/": "http:// or https:// URL",
    "pbx.acme.example": "http:// or https:// URL",
    "": "http:// or https:// URL",
    "https:pbx.acme.example": "http:// or https:// URL",
    "https:///pbx.acme.example": "http:// or https:// URL",
    "https:\\\\pbx.acme.example": "http:// or https:// URL",
    "https://pbx.acme.example\\@other.example": "http:// or https:// URL",
    "https://pbx.acme.example/a b": "http:// or https:// URL",
    "https://pbx.acme.example/\r\nX: y": "http:// or https:// URL",
    "ht\ntp://pbx.acme.example/": "http:// or https:// URL",
    " https://pbx.acme.example/": "http:// or https:// URL",
    "https://[fe80::1%25eth0]/": "http:// or https:// URL",
    "https://[::1/": "http:// or https:// URL",
    "https://1.2.3.4.5/": "http:// or https:// URL",
    "https://pbx.acme.example:65536/": "http:// or https:// URL",
    "https://u:p@pbx.acme.example/": "user name or password",
    "https://u@pbx.acme.example/": "user name or password",
    "https://pbx.acme.example@other.example/": "user name or password",
    "https://pbx.acme.example/#x": "neither a query nor a fragment",
    "https://pbx.acme.example/#": "neither a query nor a fragment",
    "http://pbx.acme.example:22/": "port of another service",
    "http://pbx.acme.example:25/": "port of another service",
    "http://pbx.acme.example:6379/": "port of another service",
    "http://pbx.acme.example:0/": "port of another service",
}


@pytest.mark.parametrize("address", NOT_PUBLIC)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_that_is_not_public_is_refused_however_it_is_written(names, host, scheme, address):
    with pytest.raises(NotPublic, match=r"^the address is not public$"):
        Outbound().send("GET", f"{scheme}://{address}:{host.port}/")
    assert host.connections == 0
    assert names.asked == []


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_a_name_that_stands_for_such_an_address_is_refused(names, host, address):
    plain = target_of(f"http://{address}/").host
    names.set(NAME, [plain])
    with pytest.raises(NotPublic):
        Outbound().send("GET", f"http://{NAME}:{host.port}/")
    names.set(NAME, ["8.8.8.8", plain])
    with pytest.raises(NotPublic):
        Outbound().send("GET", f"http://{NAME}:{host.port}/")
    assert host.connections == 0


def test_localhost_is_no_exception(host):
    with pytest.raises(NotPublic):
        Outbound().send("GET", f"http://localhost:{host.port}/")
    assert host.connections == 0


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_reached(address):
    assert may_be_reached(ip_address(address), [])


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_what_may_be_reached_is_public_by_the_standard_library_too(address: IPv4Address | IPv6Address):
    if may_be_reached(address, []):
        assert address.is_global
        assert not any([address.is_private, address.is_multicast, address.is_reserved, address.is_link_local])


def test_an_allowed_network_may_be_reached_and_its_neighbour_not():
    allowed = networks_of("10.20.0.0/16,fd12:3456::/48,192.168.7.9")
    for address in ("10.20.0.1", "10.20.255.255", "fd12:3456::1", "192.168.7.9", "8.8.8.8"):
        assert may_be_reached(ip_address(address), allowed), address
    for address in ("10.21.0.0", "192.168.7.8", "fd12:3457::1", "127.0.0.1", "::ffff:10.20.0.1", "2002:a14:1::"):
        assert not may_be_reached(ip_address(address), allowed), address


@pytest.mark.parametrize("network", NEVER)
def test_what_is_never_reached_is_not_even_where_everything_is_allowed(network):
    allowed = networks_of("0.0.0.0/0,::/0")
    assert not may_be_reached(network[0], allowed)
    assert not may_be_reached(network[-1], allowed)
    assert may_be_reached(ip_address("127.0.0.1"), allowed)
    assert may_be_reached(ip_address("::1"), allowed)


def test_a_name_is_looked_up_once_and_what_was_judged_is_connected_to(names, host, outbound):
    names.set(NAME, [LOOPBACK], ["10.0.0.1"])
    assert outbound.send("GET", f"http://{NAME}:{host.port}/").status == 200
    assert names.asked == [NAME]
    with pytest.raises(NotPublic):
        outbound.send("GET", f"http://{NAME}:{host.port}/")
    assert host.connections == 1


def test_the_host_keeps_its_name_and_its_port(names, host, outbound):
    outbound.send("GET", f"http://{NAME}:{host.port}/a/../b%20c?d=%C3%A9&e=|", headers={"Host": "other.example"})
    outbound.send("GET", f"http://127.1:{host.port}")
    first, second = (head.decode().split("\r\n") for head in host.heads)
    assert first[0] == "GET /b%20c?d=%C3%A9&e=| HTTP/1.1"
    assert [line for line in first if line.lower().startswith("host:")] == [f"Host: {NAME}:{host.port}"]
    assert second[0] == "GET / HTTP/1.1"
    assert f"Host: {LOOPBACK}:{host.port}" in second


@pytest.mark.parametrize("name", ["Host", "host", "HOST"])
def test_nobody_says_another_host(host, outbound, name):
    outbound.send("GET", f"http://{LOOPBACK}:{host.port}/", headers={name: "other.example", "user-agent": "x"})
    lines = [line.lower() for line in host.heads[0].decode().split("\r\n")]
    assert [line for line in lines if line.startswith("host:")] == [f"host: {LOOPBACK}:{host.port}"]
    assert [line for line in lines if line.startswith("user-agent:")] == ["user-agent: x"]


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("http://PBX.acme.example:80/", NAME),
        ("https://pbx.acme.example:443/", NAME),
        ("https://pbx.acme.example:80/", f"{NAME}:80"),
        ("https://[2606:4700::1111]/", "[2606:4700::1111]"),
        ("https://[2606:4700::1111]:8089/", "[2606:4700::1111]:8089"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
    ],
)
def test_the_host_header_is_as_browsers_write_it(url, header):
    assert target_of(url).host_header == header


def test_the_next_address_of_a_name_is_tried_when_nobody_answers_at_the_first(names, host):
    names.set(NAME, ["127.0.0.2", LOOPBACK])
    outbound = Outbound(networks_of("127.0.0.0/8"))
    assert outbound.send("GET", f"http://{NAME}:{host.port}/").body == b"ok"


@pytest.mark.parametrize("name", ["nobody.example", "a" * 64 + ".example", "a..example", "*.example", "-", "a" * 300])
def test_a_name_without_an_address_is_told(outbound, names, name):
    names.known.clear()
    with pytest.raises(NameUnknown, match=r"^the name does not resolve$"):
        outbound.send("GET", f"http://{name}/")


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example"])
def test_what_the_look_up_itself_cannot_take_is_a_name_without_an_address(outbound, name):
    with pytest.raises(NameUnknown):
        outbound.send("GET", f"http://{name}/")


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_is_not_to_be_used_is_refused_where_it_is_entered_and_where_it_is_used(names, outbound, url):
    with pytest.raises(AddressRefused, match=REFUSED[url]) as caught:
        outbound.send("GET", url)
    assert str(caught.value).startswith("the address must ")
    with pytest.raises(ValueError, match=REFUSED[url]):
        base_url_of(url)
    assert names.asked == []


def test_a_tenant_cannot_store_a_url_that_is_not_to_be_used(alice):
    for url, reason in REFUSED.items():
        if url != url.strip() or not url.isprintable():
            continue  # blanks around it are cut off, and control characters refused by another rule
        answer = alice.client.post("/api/phone-systems", json={"name": "A", "vendor": "asterisk", "base_url": url})
        assert answer.status_code == 422, url
        if url:
            assert reason in answer.json["errors"][0]["message"], url


@pytest.mark.parametrize("written", ["https://PBX.acme.example:443/x/../pbx/", "http://①②⑦.1:8088"])
def test_what_is_stored_is_read_again_as_the_same(written):
    stored = base_url_of(written)
    assert base_url_of(stored) == stored
    assert target_of(stored)[:3] == target_of(written)[:3]


def test_only_an_operator_lets_requests_into_their_networks(names, app):
    with Host() as host, pytest.raises(NotPublic):
        app.extensions["outbound"].send("GET", f"http://{LOOPBACK}:{host.port}/")
