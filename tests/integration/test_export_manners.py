"""How `watcher export` ends: no half file under the final name, and words that say what to do."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from change_history.export.part_file import PartFile
from tests.support.daemon import PATIENCE_S, eventually
from tests.support.export_command import Export, environment, numbered_event
from tests.support.terminal import read_terminal
from watcher.cli import exit_codes

if TYPE_CHECKING:
    from pathlib import Path

    from pymongo.database import Database


@pytest.fixture
def run(database: Database[Any], replica_set_uri: str) -> Export:
    """Run the command."""
    return Export(environment(database, replica_set_uri))


def test_nothing_recorded_leaves_no_file(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """Not even an empty one, nor a header; a file of before stays."""
    database.history.insert_one(numbered_event(1))
    (tmp_path / "x.csv").write_text("before")
    for name in ("x.csv", "x.ndjson", "x.parquet"):
        found = run("shop.usres", "-o", tmp_path / name)
        assert found.returncode == exit_codes.NOT_FOUND
        assert "There is history of: shop.users" in found.stderr
    assert run("shop.usres", "--format", "csv").stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]
    assert (tmp_path / "x.csv").read_text() == "before"


def test_without_pyarrow_it_says_what_to_install(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """Not a traceback; the other formats need nothing."""
    database.history.insert_one(numbered_event(1))
    (tmp_path / "pyarrow.py").write_text("raise ImportError('no such thing')")

    found = run("shop.users", "-o", tmp_path / "x.parquet", PYTHONPATH=str(tmp_path))
    assert found.returncode == exit_codes.USAGE
    assert "-m pip install pyarrow" in found.stderr
    assert "mongo-change-watcher[export]" in found.stderr
    assert "Traceback" not in found.stderr
    assert not list(tmp_path.glob("x.*"))
    assert run("shop.users", "--format", "csv", PYTHONPATH=str(tmp_path)).returncode == exit_codes.OK


def test_a_file_that_cannot_be_written_is_said_in_a_line(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """And a server that is away."""
    database.history.insert_one(numbered_event(1))
    missing = run("shop.users", "-o", tmp_path / "missing" / "x.csv")
    unfit = run("shop.users", "-o", tmp_path / f"{'x' * 300}.csv")
    nowhere = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300"
    away = run("shop.users", "-o", tmp_path / "x.csv", WATCHER_HISTORY_URI=nowhere)

    assert missing.returncode == exit_codes.USAGE
    assert "there is no directory" in missing.stderr
    assert unfit.returncode == exit_codes.UNEXPECTED
    assert unfit.stderr.startswith("Error: cannot write: ")
    assert away.returncode == exit_codes.UNREACHABLE
    assert not list(tmp_path.iterdir())


def test_a_reader_that_has_seen_enough_is_no_error(run: Export, database: Database[Any]) -> None:
    """`watcher export … | head -1`."""
    database.history.insert_many([numbered_event(number) for number in range(3000)])
    with run.start("shop.users", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        program.stdout.readline()
        program.stdout.close()
        errors = program.stderr.read()

    assert (program.returncode, errors) == (exit_codes.OK, "")


def test_a_terminal_sees_how_far_it_is(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """On the terminal, not in the file."""
    database.history.insert_many([numbered_event(number) for number in range(2000)])
    master, slave = pty.openpty()
    with run.start("shop.users", "-o", tmp_path / "x.ndjson", stderr=slave) as program:
        os.close(slave)
        shown = read_terminal(master)

    assert program.returncode == exit_codes.OK
    assert b"exporting" in shown
    assert b"2000 rows written" in shown
    assert (tmp_path / "x.ndjson").read_bytes().count(b"\n") == 2000


def _interrupted(run: Export, file: Path) -> str:
    """Ctrl-C during an export; what it says. Nothing: it was at its end before the signal came."""
    part = file.with_name(f"{file.name}.part")
    with run.start("shop.users", "-o", file, stderr=subprocess.PIPE) as program:
        eventually(lambda: program.poll() is not None or (part.exists() and part.stat().st_size), "the first rows")
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=PATIENCE_S)
    if program.returncode == exit_codes.OK:
        file.unlink()
        return ""
    assert program.returncode == exit_codes.ABORTED
    return errors


def test_ctrl_c_leaves_what_can_be_gone_on_with(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """And says so. Of Parquet nothing could be made, so nothing is left."""
    database.history.insert_many([numbered_event(number) for number in range(14_000)])  # two portions of a Parquet file
    for name in ("x.csv", "x.parquet"):
        part = tmp_path / f"{name}.part"
        errors = eventually(partial(_interrupted, run, tmp_path / name), "an export that is caught in the middle")
        assert "Traceback" not in errors
        assert ("--resume goes on" in errors) == part.exists() == (name == "x.csv")
    assert run("shop.users", "-o", tmp_path / "x.csv", "--resume").returncode == exit_codes.OK
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_two_exports_do_not_write_into_one_file(run: Export, database: Database[Any], tmp_path: Path) -> None:
    """The second one gives way; the first one's rows stay."""
    database.history.insert_one(numbered_event(1))
    with PartFile(tmp_path / "x.csv") as part:
        part.file.write(b"rows")
        part.file.flush()
        found = run("shop.users", "-o", tmp_path / "x.csv")
        assert found.returncode == exit_codes.BUSY
        assert "another export writes to" in found.stderr
        assert part.path.read_bytes() == b"rows"


def test_what_contradicts_itself_is_refused(run: Export) -> None:
    """All of it at once, before anything is asked of a server."""
    found = run("shop.users", "--at", "2024-01-01", "--since", "2024-01-01", "--resume")
    cut = run("shop.users", "-o", "x.parquet", "--resume")

    assert {found.returncode, cut.returncode} == {exit_codes.USAGE}
    assert "--since about their history" in found.stderr
    assert "name it with --output" in found.stderr
    assert "a Parquet file is whole or nothing" in cut.stderr
