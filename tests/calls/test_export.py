"""Call records as a file, CSV or JSON: what is in it, and how it is sent."""

import csv
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from threading import Barrier

import pytest
from sqlalchemy import event, text, update

from app.calls.export import COLUMNS, PAGE_ROWS, neutralised
from app.extensions import db
from app.tenancy import current_scope
from app.tenants.models import Tenant
from tests.calls.conftest import NOON, RECORD, make_hook, store, store_legs
from tests.conftest import in_database

BEGINNINGS = ["=", "+", "-", "@", "\t", "\r"]
only_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


def export(person, **query):
    answer = person.client.get("/api/calls/export", query_string=query)
    assert answer.status_code == 200, answer.json
    return answer


def lines(answer):
    mark, written = answer.text[0], answer.text[1:]
    assert mark == "\ufeff"
    return list(csv.DictReader(io.StringIO(written, newline="")))


def many(app, owner, count, **fields):
    """Store that many records, each a second later than the one before. The hook they came from."""
    hook = make_hook(app, owner)
    found = [
        replace(RECORD, record_key=str(n), linked_id=str(n), started_at=NOON + timedelta(seconds=n), **fields)
        for n in range(count)
    ]
    if found:
        store(app, hook, found, owner)
    return hook


def test_a_record_is_a_line_with_times_local_to_the_tenant(app, hook, alice, bob):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(time_zone="Asia/Kathmandu"))
        db.session.commit()
    hook.deliver()
    (call,) = hook.stored()
    (line,) = lines(export(bob))
    assert line == {
        "started_at": "2026-11-20T23:17:10+05:45",
        "answered_at": "2026-11-20T23:17:10+05:45",
        "ended_at": "2026-11-20T23:17:12+05:45",
        "source": "'+442071234567",
        "destination": "100",
        "source_e164": "'+442071234567",
        "destination_e164": "",
        "direction": "inbound",
        "extension": "100",
        "caller_name": "Ada Lovelace",
        "disposition": "answered",
        "duration_seconds": "2",
        "talk_seconds": "2",
        "phone_system_id": str(hook.phone_system_id),
        "linked_id": "1795199530.0",
        "id": str(call.id),
        "demonstration": "no",
    }


def test_the_answer_is_a_file_that_no_cache_keeps(hook, alice):
    answer = export(alice)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="calls.csv"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.data == b"\xef\xbb\xbf" + ",".join(COLUMNS).encode() + b"\r\n", "a header, also without records"


def test_an_offset_tells_the_two_hours_apart_in_which_clocks_are_put_back(app, hook, alice):
    with in_database(app):
        db.session.execute(update(Tenant).where(Tenant.id == alice.tenant_id).values(time_zone="Europe/Berlin"))
        db.session.commit()
    first = NOON.replace(month=10, day=25, hour=0, minute=30)
    store_legs(app, hook, alice, {"started_at": first}, {"started_at": first + timedelta(hours=1)})
    assert [line["started_at"] for line in lines(export(alice))] == [
        "2026-10-25T02:30:00+01:00",
        "2026-10-25T02:30:00+02:00",
    ]


def test_whatever_is_in_a_name_stays_in_its_cell(app, hook, alice):
    names = ['Smith, "Ada"', "two\r\nlines", "semi;colon", "", "Zoë 愛", "it's", "\ufeffmark", "100%"]
    store_legs(app, hook, alice, *({"caller_name": name} for name in names))
    found = lines(export(alice))
    assert sorted(line["caller_name"] for line in found) == sorted(names)
    assert {line["destination"] for line in found} == {"101"}


@pytest.mark.parametrize("wide", ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"])
@pytest.mark.parametrize("before", ["", " ", "   ", "\u00a0", "\u3000", "\t", "\r", "\n", " \t", "\ufeff", "\u200b"])
def test_what_a_spreadsheet_may_take_for_a_formula_has_an_apostrophe_before_it(before, wide):
    cell = f"{before}{wide}1+1"
    assert neutralised(cell).startswith("'")
    assert neutralised(cell).replace("'", "") == cell
    assert neutralised(f"x{cell}".replace("\n", " ").replace("\r", " ").replace("\t", " ")).count("'") == 0


@pytest.mark.parametrize("cell", ["\tx", "\rx", "+442071234567", "-1", "@sum"])
def test_so_have_tabs_carriage_returns_and_phone_numbers(cell):
    assert neutralised(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["", "1+1", "a=b", "ada@acme.example", "2026-11-20T18:32:10+01:00", "a, b", "'=1"])
def test_nothing_else_is_changed(cell):
    assert neutralised(cell) == cell


def test_no_field_of_a_record_begins_a_formula_wherever_a_spreadsheet_splits_lines(app, hook, alice):
    hostile = [f"{sign}cmd|' /C calc'!A0" for sign in "=+-@"]
    hostile += [f"x{separator}=1+1{separator}y" for separator in ";,\t\r\n"] + [
        "\t=1",
        "\r\n@x",
        "a;  \uff1d1",
        'x;"=1&";y',
    ]
    store_legs(app, hook, alice, *({"caller_name": it, "source": it, "linked_id": f"={it}"} for it in hostile))
    written = export(alice).text.removeprefix("\ufeff")
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(written, newline=""), delimiter=separator):
            assert [cell for cell in row if re.match(r"\s*[=+\-@\uff1d]", cell)] == []
    for piece in re.split(r"[,;\t\r\n]", written):
        assert not re.match(r'[\s"]*[=+\-@\uff1d]', piece), piece


def test_filters_choose_what_is_in_it(app, hook, alice):
    _, wanted, _ = store_legs(app, hook, alice, {}, {"source": "+4420", "disposition": "answered"}, {"source": "+4420"})
    assert [line["id"] for line in lines(export(alice, number="4420", disposition="answered"))] == [wanted]
    assert lines(export(alice, until="2020-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("count", "statements"), [(0, 1), (PAGE_ROWS - 1, 1), (PAGE_ROWS, 2), (2 * PAGE_ROWS + 500, 3)]
)
def test_it_is_read_in_pages_each_in_a_transaction_of_its_own(app, alice, count, statements):
    many(app, alice, count)
    done = []
    with in_database(app):
        engine = db.engine
    event.listen(engine, "before_cursor_execute", lambda *them: done.append(them[2]))
    event.listen(engine, "commit", lambda _: done.append("COMMIT"))
    found = lines(export(alice))
    read = [done[place + 1] for place, statement in enumerate(done) if "FROM calls" in statement]
    assert read == ["COMMIT"] * statements
    moments = [line["started_at"] for line in found]
    assert len(moments) == count
    assert moments == sorted(moments, reverse=True)
    assert len({line["id"] for line in found}) == count


def test_records_that_arrive_meanwhile_put_nothing_out_of_place(app, alice):
    hook = many(app, alice, PAGE_ROWS + 5)
    answer = alice.client.get("/api/calls/export", buffered=False)
    chunks = iter(answer.response)
    first = next(chunks).decode()
    newer = [replace(RECORD, record_key=f"new {n}", started_at=NOON + timedelta(days=1)) for n in range(10)]
    store(app, hook, newer, alice)
    text_of_all = first + b"".join(chunks).decode()
    answer.close()
    assert len(list(csv.reader(io.StringIO(text_of_all, newline="")))) == 1 + PAGE_ROWS + 5


def in_use(app):
    with app.app_context():
        return db.engine.pool.checkedout()


@only_postgresql
def test_between_two_pieces_no_connection_is_held_and_none_when_the_client_has_gone(app, alice):
    many(app, alice, 2 * PAGE_ROWS)
    answer = alice.client.get("/api/calls/export", buffered=False)
    chunks = iter(answer.response)
    for _ in range(2):
        next(chunks)
        assert in_use(app) == 0
    answer.close()
    assert (in_use(app), current_scope()) == (0, None)
    assert list(chunks) == []
    assert alice.client.get("/api/calls").status_code == 200


@only_postgresql
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_is_left_behind_when_nobody_reads_the_answer(app, alice, method):
    many(app, alice, 10)
    answer = alice.client.open("/api/calls/export", method=method, buffered=False)
    answer.close()
    assert (answer.status_code, in_use(app), current_scope()) == (200, 0, None)


@only_postgresql
def test_two_tenants_who_export_at_once_get_their_own_records(app, alice, charlie):
    """Piece by piece in turns, so that each reads while the other one's stream is open."""
    for person, name in ((alice, "Alice's"), (charlie, "Charlie's")):
        many(app, person, 3 * PAGE_ROWS + 1, caller_name=name)
    turns = Barrier(2, timeout=60)

    def read(person):
        answer = person.client.get("/api/calls/export", buffered=False)
        pieces = []
        for piece in answer.response:
            turns.wait()
            pieces.append(piece.decode())
        answer.close()
        return list(csv.DictReader(io.StringIO("".join(pieces)[1:], newline=""))), current_scope()

    with ThreadPoolExecutor(2) as pool:
        (ours, our_scope), (theirs, their_scope) = pool.map(read, (alice, charlie))
    assert ([line["caller_name"] for line in ours], our_scope) == (["Alice's"] * (3 * PAGE_ROWS + 1), None)
    assert ([line["caller_name"] for line in theirs], their_scope) == (["Charlie's"] * (3 * PAGE_ROWS + 1), None)
    assert in_use(app) == 0


@only_postgresql
def test_streams_in_one_thread_keep_to_their_own_tenant_too(app, alice, charlie):
    """As where one thread looks after several clients in turns."""
    for person, name in ((alice, "Alice's"), (charlie, "Charlie's")):
        many(app, person, PAGE_ROWS + 1, caller_name=name)
    streams = [person.client.get("/api/calls/export", buffered=False) for person in (alice, charlie)]
    pieces = [[], []]
    for found, stream in zip(pieces, streams, strict=True):
        found.append(next(iter(stream.response)).decode())
    assert "Charlie's" not in pieces[0][0]
    assert "Alice's" not in pieces[1][0]


@only_postgresql
def test_what_fails_before_anything_is_sent_is_an_error_and_afterwards_the_end_of_the_connection(app, alice):
    many(app, alice, 2 * PAGE_ROWS)
    answer = alice.client.get("/api/calls/export", buffered=False)
    chunks = iter(answer.response)
    next(chunks)
    with in_database(app):
        db.session.execute(text("ALTER TABLE calls RENAME TO calls_elsewhere"))
        db.session.commit()
        try:
            with pytest.raises(Exception, match="does not exist"):
                next(chunks)
            answer.close()
            assert alice.client.get("/api/calls/export").status_code == 503
        finally:
            db.session.rollback()
            db.session.execute(text("ALTER TABLE calls_elsewhere RENAME TO calls"))
            db.session.commit()
    assert (in_use(app), current_scope()) == (0, None)


def test_a_stranger_gets_nothing_and_another_tenant_its_own(hook, client, charlie):
    hook.deliver()
    assert client.get("/api/calls/export").status_code == 401
    assert lines(export(charlie)) == []


def test_the_audit_trail_says_who_exported(hook, alice, bob):
    bob.client.get("/api/calls/export").close()
    events = alice.client.get("/api/audit-events?action=calls.exported").json["items"]
    assert [(event["actor"]["name"], event["outcome"], event["count"]) for event in events] == [
        (bob.email, "success", 1)
    ]


def test_as_json_it_has_what_the_list_has_one_record_a_line(app, hook, alice, bob):
    hook.deliver()
    store_legs(app, hook, alice, {"caller_name": 'two\r\nlines, "quoted" \u2028 =1+1'}, {"source": "+4420"})
    answer = export(bob, format="json")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="calls.json"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == alice.client.get("/api/calls").json["items"]
    first, *records, last, end = answer.text.split("\n")
    assert (first, last, end) == ("[", "]", "")
    assert [json.loads(record.removesuffix(",")) for record in records] == answer.json
    assert [
        call["source"] for call in export(bob, format="json", number="4420", since="2026-11-20T12:00:00Z").json
    ] == [
        "+442071234567",
        "+4420",
    ]


@pytest.mark.parametrize("count", [0, 1, PAGE_ROWS - 1, PAGE_ROWS, 2 * PAGE_ROWS, 2 * PAGE_ROWS + 500])
def test_however_many_there_are_it_is_one_array_and_read_in_pages(app, alice, count):
    many(app, alice, count)
    answer = alice.client.get("/api/calls/export?format=json", buffered=False)
    pieces = [piece.decode() for piece in answer.response]
    answer.close()
    assert max(piece.count("\n") for piece in pieces) <= PAGE_ROWS + 1
    found = json.loads("".join(pieces))
    moments = [call["started_at"] for call in found]
    assert (len(found), moments) == (count, sorted(moments, reverse=True))
    assert len({call["id"] for call in found}) == count


@only_postgresql
def test_as_json_too_no_connection_is_held_between_two_pieces_and_a_part_is_no_json(app, alice):
    many(app, alice, 2 * PAGE_ROWS)
    answer = alice.client.get("/api/calls/export?format=json", buffered=False)
    chunks = iter(answer.response)
    part = ""
    for _ in range(2):
        part += next(chunks).decode()
        assert in_use(app) == 0
        with pytest.raises(ValueError, match="delimiter"):
            json.loads(part)
    answer.close()
    assert (in_use(app), current_scope()) == (0, None)


def test_as_anything_else_it_is_not_had_and_json_is_for_members_and_their_own(hook, client, alice, charlie):
    hook.deliver()
    refused = alice.client.get("/api/calls/export?format=xml")
    assert (refused.status_code, [error["field"] for error in refused.json["errors"]]) == (422, ["format"])
    assert client.get("/api/calls/export?format=json").status_code == 401
    assert export(charlie, format="json").json == []
    events = charlie.client.get("/api/audit-events?action=calls.exported").json["items"]
    assert [event["actor"]["name"] for event in events] == [charlie.email]
