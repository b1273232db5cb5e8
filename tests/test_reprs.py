"""What is sent, and what is shown by who delivers, may hold passwords: nothing that happens to print them tells any."""

import pytest

from app.outbound.exchange import Request
from app.outbound.urls import target_of
from app.phone_systems.unreadable import Delivered
from app.phone_systems.vendors.authentication import Proof

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "held",
    [
        Request("GET", target_of("https://pbx.example/"), {"Authorization": SECRET}, SECRET.encode()),
        Proof("pbx", SECRET, SECRET, SECRET.encode()),
        Delivered("text/plain", SECRET.encode(), 1, "it is of another kind", [{"field": SECRET, "message": ""}]),
    ],
    ids=["request", "proof", "delivered"],
)
def test_nothing_that_holds_a_secret_prints_it(held):
    assert SECRET not in repr(held)
    assert SECRET not in f"{held} {[held]}"
