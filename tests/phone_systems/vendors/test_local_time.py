"""The two nights of the year on which the PBX's clock does not tell everything."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from app.phone_systems.vendors.local_time import read_local_time, resolve

BERLIN = ZoneInfo("Europe/Berlin")  # forward at 2 on 29 March 2026, back at 3 on 25 October 2026
FORWARD, BACK = "2026-03-29", "2026-10-25"


def resolved(
    day: str, start: str, end: str | None, duration: int, answer: str | None = None, talk: int = 0
) -> list[str]:
    texts = [f"{day} {time}" if time else "" for time in (start, answer, end)]
    local_start, local_answer, local_end = map(read_local_time, texts)
    assert local_start is not None
    moments = resolve(local_start, local_answer, local_end, duration, talk, BERLIN)
    return [f"{moment:%H:%M:%S}" if moment else "" for moment in moments]


def test_ordinary_times_have_one_reading():
    assert resolved("2026-11-20", "18:32:10", "18:32:12", 2) == ["17:32:10", "", "17:32:12"]


@pytest.mark.parametrize(
    ("start", "end", "minutes", "expected"),
    [
        ("02:10:00", "02:20:00", 10, ["00:10:00", "", "00:20:00"]),  # either hour: the first
        ("02:50:00", "02:20:00", 30, ["00:50:00", "", "01:20:00"]),  # across the change
        ("02:10:00", "02:20:00", 70, ["00:10:00", "", "01:20:00"]),  # across the change, by the duration
        ("02:50:00", "03:10:00", 20, ["01:50:00", "", "02:10:00"]),  # the second hour, by the duration
        ("02:50:00", "03:10:00", 80, ["00:50:00", "", "02:10:00"]),
        ("01:50:00", "02:10:00", 20, ["23:50:00", "", "00:10:00"]),
        ("02:50:00", None, 20, ["00:50:00", "", ""]),
    ],
)
def test_an_hour_that_happens_twice(start, end, minutes, expected):
    assert resolved(BACK, start, end, minutes * 60) == expected


def test_the_answer_is_read_to_fit_as_well():
    assert resolved(BACK, "02:50:00", "02:20:00", 1800, answer="02:05:00", talk=900) == [
        "00:50:00",
        "01:05:00",
        "01:20:00",
    ]


@pytest.mark.parametrize(
    ("start", "end", "minutes", "expected"),
    [
        ("02:30:00", "02:40:00", 10, ["01:30:00", "", "01:40:00"]),  # by the offset before the change
        ("01:50:00", "03:10:00", 20, ["00:50:00", "", "01:10:00"]),  # across the change
        ("02:50:00", "03:10:00", 20, ["00:50:00", "", "01:10:00"]),  # by the duration
    ],
)
def test_an_hour_that_never_happens(start, end, minutes, expected):
    assert resolved(FORWARD, start, end, minutes * 60) == expected


def test_every_call_around_a_change_is_read_to_fit_its_duration():
    for day in (FORWARD, BACK):
        begin = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(minutes=30)
        for offset in range(0, 180, 7):
            for duration in (0, 60, 1800, 3600, 5400):
                start = begin + timedelta(minutes=offset)
                end = start + timedelta(seconds=duration)
                local = [moment.astimezone(BERLIN).replace(tzinfo=None, fold=0) for moment in (start, end)]
                moments = resolve(local[0], None, local[1], duration, 0, BERLIN)
                assert moments.end is not None
                assert moments.end - moments.start == timedelta(seconds=duration)
                assert moments.start.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "0000-00-00 00:00:00"])
def test_no_time(text):
    assert read_local_time(text) is None


@pytest.mark.parametrize(
    "text", ["2026-11-20T18:32:10", "2026-11-20", "1969-12-31 23:59:59", "2026-13-01 00:00:00", "x"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="is not a time"):
        read_local_time(text)
