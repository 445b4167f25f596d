"""`watcher export` of history: whole files, nothing twice after a kill, no file made of two exports."""

from __future__ import annotations

import csv
import io
import signal
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, Int64, Timestamp, json_util
from bson.raw_bson import RawBSONDocument
from pyarrow import parquet

from change_history.bson.cluster_time import ClusterTime
from tests.support.daemon import eventually
from tests.support.export_command import START, Export, describe_part_file, environment, numbered_event
from watcher.cli import exit_codes
from watcher.gaps import gap

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database


@pytest.fixture
def run(database: Database[Any], replica_set_uri: str) -> Export:
    """Run the command."""
    return Export(environment(database, replica_set_uri))


def test_all_formats_tell_the_same_history(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """One row an event or one a change, in the order of the stream."""
    database.history.insert_many([numbered_event(number) for number in range(40)])
    files = {name: tmp_path / f"users.{name}" for name in ("ndjson", "csv", "parquet")}

    for file in files.values():
        found = run("shop.users", "--output", file)
        assert (found.returncode, found.stdout) == (exit_codes.OK, "")
        assert f"written to {file}" in found.stderr
    events = [json_util.loads(line) for line in files["ndjson"].read_text().splitlines()]
    cells = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    native = parquet.read_table(files["parquet"]).to_pylist()

    assert [event["resume_token"] for event in events] == [number.to_bytes(4, "big") for number in range(40)]
    expected = [(event["_id"].hex(), field) for event in events for field in ("a", "b")]
    assert [(row["event"], row["field"]) for row in cells] == expected
    assert [(row["event"].hex(), row["field"]) for row in native] == expected
    assert all(json_util.loads(row["new_value"]) == event["changes"][0]["new_value"]
               for row, event in zip(native[::2], events, strict=True))  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["users.csv", "users.ndjson", "users.parquet"]


def test_what_is_called_json_and_is_ndjson_is_said(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """A program that reads a JSON document fails at the second line."""
    database.history.insert_many([numbered_event(number) for number in range(3)])

    assert "NDJSON" in run("shop.users", "--output", tmp_path / "users.json").stderr
    assert "NDJSON" not in run("shop.users", "--output", tmp_path / "users.ndjson").stderr


def test_a_transaction_in_a_file_is_what_the_command_takes(
    run: Export, database: Database[Any], tmp_path: Path
) -> None:
    """Not a blob of which nobody can type a part; the whole session is kept beside it."""
    session = {"id": Binary(bytes.fromhex("a30a0536") + bytes(12), 4), "uid": b"user"}
    event = numbered_event(1) | {"transaction": {"session": session, "number": Int64(3)}}
    database.history.insert_one(event)
    run("shop.users", "--output", tmp_path / "users.csv")

    row = next(iter(csv.DictReader(io.StringIO((tmp_path / "users.csv").read_text()))))
    assert row["transaction"] == "a30a0536:3"
    assert json_util.loads(row["session"])["uid"] == b"user"


def test_standard_output_has_the_data_and_nothing_else(run: Export, database: Database[Any]) -> None:
    """Words go to the other one; of one document, within a window that includes its ends."""
    database.history.insert_many([numbered_event(number, document_id=number % 2) for number in range(40)])

    found = run("shop.users", "1", "--rows", "changes", "--since", f"{START + 1}:2", "--until", f"{START + 2}:1")
    lines = [json_util.loads(line) for line in found.stdout.splitlines()]

    assert [(line["event"][:8].hex(), line["field"]) for line in lines] == [
        (f"{START + second:08x}{increment:08x}", field)
        for second, increment, count in [(1, 2, 2), (2, 1, 1)]
        for _ in range(count)
        for field in ("a", "b")
    ]
    assert found.stderr == "ndjson: left out: resume_token, version\n"
    assert "canonical Extended JSON" in run("shop.users", "--format", "csv").stderr


def _has_grown(part: Path, size: int) -> bool:
    return part.exists() and part.stat().st_size > size


@pytest.mark.parametrize(("name", "rows"), [("x.ndjson", "events"), ("x.csv", "changes")])
def test_a_killed_export_goes_on_and_the_file_is_the_same(
    run: Export, database: Database[Any], tmp_path: Path, name: str, rows: str
) -> None:
    """No row twice, none missing, though the kill tears a row apart."""
    database.history.insert_many([numbered_event(number) for number in range(5_000)])
    asked = ("shop.users", "--rows", rows, "--since", "2020-01-01", "--output")
    assert run(*asked, tmp_path / f"whole-{name}").returncode == exit_codes.OK
    whole = (tmp_path / f"whole-{name}").read_bytes()
    part = tmp_path / f"{name}.part"

    for size in (len(whole) // 10, len(whole) // 3):
        more = ["--resume"] if part.exists() else []
        with run.start(*asked, tmp_path / name, *more) as program:
            eventually(partial(_has_grown, part, size), "some rows")
            program.kill()
        assert program.returncode == -signal.SIGKILL
        assert 0 < part.stat().st_size < len(whole)
    half = part.read_bytes()
    finished = run(*asked, tmp_path / name, "--resume")

    assert finished.returncode == exit_codes.OK, finished.stderr
    assert "more, written to" in finished.stderr
    assert (tmp_path / name).read_bytes() == whole
    assert whole.startswith(half[:1000])
    assert not list(tmp_path.glob("*.part*"))


def test_one_export_is_not_gone_on_with_by_another(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """Two kinds of rows, or two documents' history, in one file."""
    database.history.insert_many([numbered_event(number) for number in range(10)])
    done, part = tmp_path / "x.csv", tmp_path / "x.csv.part"
    assert run("shop.users", "1", "-o", done).returncode == exit_codes.OK
    lines = done.read_bytes()
    part.write_bytes(lines[:-30])
    unknown = run("shop.users", "1", "-o", done, "--resume")
    describe_part_file(done, id='{"$numberInt": "1"}', format="csv", rows="changes")

    others = [run("shop.users", *more, "-o", done, "--resume") for more in (["2"], ["1", "--rows", "events"], [])]
    assert {found.returncode for found in [unknown, *others]} == {exit_codes.USAGE}
    assert "is of another export (other form)" in unknown.stderr
    assert ["other id)" in found.stderr or "other rows)" in found.stderr for found in others] == [True] * 3
    assert part.read_bytes() == lines[:-30]
    gone = run("shop.users", "1", "-o", done, "--resume", WATCHER_HISTORY_DATABASE=f"{database.name}_other")
    assert gone.returncode == exit_codes.USAGE
    assert "not in the history that is asked for" in gone.stderr
    assert run("shop.users", "1", "-o", done, "--resume").returncode == exit_codes.OK
    assert done.read_bytes() == lines


def test_a_resumed_window_is_the_one_that_was_begun(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """`2h ago` means another moment now; and what the wall clock kept out does not come in by its cluster time."""
    late = numbered_event(35)
    late["timestamp"] = Timestamp(START, 0).as_datetime()  # a machine whose clock is behind
    database.history.insert_many([*(numbered_event(number) for number in range(30)), late, numbered_event(36)])
    file, part = tmp_path / "x.ndjson", tmp_path / "x.ndjson.part"
    since = Timestamp(START + 2, 0).as_datetime().isoformat()
    assert run("shop.users", "--since", since, "-o", file).returncode == exit_codes.OK
    whole = file.read_bytes()
    assert whole.count(b"\n") == 30 - 12 + 1
    part.write_bytes(whole[:5000])
    describe_part_file(tmp_path / "x.ndjson", since=since)

    assert run("shop.users", "-o", file, "--resume").returncode == exit_codes.OK
    assert file.read_bytes() == whole


def test_gaps_stand_in_their_places_also_on_going_on(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """Also a gap behind the last event. An export that looks whole and is not would be worse than none."""
    database.history.insert_many([numbered_event(number) for number in range(60)])
    for second in (3, 50):
        since, until = (ClusterTime.of(Timestamp(START + s, 1)) for s in (second, second + 1))
        lost = gap.Gap("default", b"%d" % second, since, until, "lost", ("shop.*",), ())
        database.history.insert_one(RawBSONDocument(gap.document(lost, bytes(8))))
    file, part = tmp_path / "x.ndjson", tmp_path / "x.ndjson.part"
    assert run("shop.users", "-o", file).returncode == exit_codes.OK
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)

    assert [b'"operation": "gap"' in line for line in lines].count(True) == 2
    assert b'"operation": "gap"' in lines[21]
    assert b'"operation": "gap"' in lines[-1]
    for kept in (20, 21, 22, 23, 61, 62):
        part.write_bytes(b"".join(lines[:kept]))
        describe_part_file(file)
        assert run("shop.users", "-o", file, "--resume").returncode == exit_codes.OK
        assert file.read_bytes() == whole, kept
