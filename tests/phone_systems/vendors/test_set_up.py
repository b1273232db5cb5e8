"""What people are told to enter at their PBX."""

from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from app.phone_systems.vendors import PASSWORD_HERE, VENDORS

URL = "https://audiapro.example/hooks/acme/0199b2c4-7d1e-7c3a-9f58-2b6f0c1d4e5a/cdr"


def everything(set_up):
    parts = [set_up.hint]
    for step in set_up.steps:
        parts += [step.text, step.code, *(f"{entry.field}: {entry.value}" for entry in step.entries)]
    return "\n".join(parts)


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_vendor_tells_with_the_tenants_own_values(vendor):
    told = everything(VENDORS[vendor].set_up(URL, "pbx", "a-new_password"))
    assert URL.removeprefix("https://") in told
    is_told = not VENDORS[vendor].AUTHENTICATION.made_by_pbx
    assert ("pbx" in told) == is_told
    assert ("a-new_password" in told) == is_told
    assert PASSWORD_HERE not in told


@pytest.mark.parametrize("vendor", [name for name, one in VENDORS.items() if not one.AUTHENTICATION.made_by_pbx])
def test_without_the_password_its_place_is_marked(vendor):
    assert PASSWORD_HERE in everything(VENDORS[vendor].set_up(URL, "pbx"))


def test_asterisks_dialplan_is_what_a_real_one_delivered_with():
    dialplan = VENDORS["asterisk"].set_up(URL, "pbx", "secret").steps[0].code
    assert "exten => report,1,Set(CURLOPT(userpwd)=pbx:secret)\n" in dialplan
    assert f"Set(DELIVERED=${{CURL({URL},${{RECORD}})}})\n" in dialplan
    assert dialplan.count("(") == dialplan.count(")")
    assert dialplan.count("{") == dialplan.count("}")


@pytest.mark.parametrize("username", ["a;b", "a,b)", "${SHELL(id)}", "$[1+1]", "ä b", "a\\b", "100%"])
def test_what_means_something_in_a_dialplan_does_not_there(username):
    dialplan = VENDORS["asterisk"].set_up(URL, username).steps[0].code
    assert f"userpwd)=${{URIDECODE({quote(username, safe='')})}}:{PASSWORD_HERE})\n" in dialplan


@pytest.mark.parametrize("username", ["pbx", 'a"b', "a&b<c>", "ä b"])
def test_freeswitchs_configuration_is_xml_whatever_the_user_name_is(username):
    lines = VENDORS["freeswitch"].set_up(URL, username, "secret").steps[0].code
    parameters = {one.get("name"): one.get("value") for one in ElementTree.fromstring(lines).iter("param")}
    assert (parameters["url"], parameters["cred"]) == (URL, f"{username}:secret")
    assert (parameters["encode"], parameters["enable-ssl-verifyhost"]) == ("false", "true")


def test_a_yeastar_is_told_the_address_and_asked_for_its_secret():
    set_up = VENDORS["yeastar"].set_up(URL, "pbx")
    entries = {entry.field: entry.value for entry in set_up.steps[1].entries}
    assert (entries["Webhook URL"], entries["Request Method"]) == (URL, "POST")
    assert "30012" in entries["Event"]
    assert "Copy the Secret" in set_up.steps[2].text


def test_grandstream_gets_host_path_and_port_apart():
    def entries_for(url):
        return {entry.field: entry.value for entry in VENDORS["grandstream"].set_up(url, "pbx").steps[1].entries}

    entries = entries_for("http://127.0.0.1:5000/hooks/acme/x/cdr")
    assert entries["Server Address"] == "127.0.0.1/hooks/acme/x/cdr"
    assert (entries["Port"], entries["Delivery Method"]) == ("5000", "HTTP")
    entries = entries_for(URL)
    assert (entries["Port"], entries["Delivery Method"]) == ("443", "HTTPS")
