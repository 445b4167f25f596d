"""`watcher verify` and `watcher seal`: what is said, the exit status, seals kept elsewhere, a proof for a stranger."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bson import Binary, json_util
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pymongo import MongoClient

from change_history.bson.cluster_time import ClusterTime
from change_history.seals.seal import canonical, digest_of, load_key, read_line
from change_history.seals.verification import verify
from tests.support.daemon import ROOT
from tests.support.sealing import Original, SealedRecording, tampered
from watcher.cli import exit_codes
from watcher.cli.main import watcher
from watcher.sealing.outlet import Outlet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result
    from pymongo.database import Database


def _written(folder: Path, name: str) -> tuple[Path, Path]:
    """A key in two files: the private, and the public half."""
    private = Ed25519PrivateKey.generate()
    files = folder / f"{name}.pem", folder / f"{name}-public.pem"
    files[0].write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    files[1].write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return files


class _Case:
    """A sealed history, signed, and appended to a file."""

    def __init__(self, recording: SealedRecording, name: str, folder: Path, keys: tuple[Path, Path]) -> None:
        self.recording, self.name, self.folder = recording, name, folder
        self.history: Database[Any] = recording.history
        self.private, self.public = keys
        self.file = folder / "seals.jsonl"


@pytest.fixture(scope="module")
def case(replica_set_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Case]:
    """Four seals."""
    folder = tmp_path_factory.mktemp("seals")
    keys = _written(folder, "key")
    with MongoClient[dict[str, Any]](replica_set_uri) as client:
        name = f"commands_{os.urandom(4).hex()}"
        watched = client[name]
        watched.create_collection("a", changeStreamPreAndPostImages={"enabled": True})
        outlet = Outlet(folder / "seals.jsonl")
        with SealedRecording(client, name, key=load_key(keys[0]), outlet=outlet) as recording:
            for turn in range(4):
                watched.a.insert_many([{"_id": turn * 10 + n, "n": 1} for n in range(5)])
                watched.a.update_many({}, {"$inc": {"n": 1}})
                recording.record()
                recording.seal()
            yield _Case(recording, name, folder, keys)
        client.drop_database(name)


@pytest.fixture(autouse=True)
def _settings(case: _Case, replica_set_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHER_MONGODB_URI", replica_set_uri)
    monkeypatch.setenv("WATCHER_HISTORY_DATABASE", case.history.name)


def run(*arguments: str) -> Result:
    """Run a command of `watcher`."""
    return CliRunner().invoke(watcher, arguments, catch_exceptions=False)


def test_what_is_as_it_was_is_said_to_be(case: _Case) -> None:
    """With the key, and with the seals that the daemon appended to a file."""
    found = run("verify", "--public-key", str(case.public), "--against", str(case.file))

    assert found.exit_code == exit_codes.OK, found.output
    assert "nothing is wrong" in found.stdout
    assert "seals  4" in found.stdout
    summary = json_util.loads(run("verify", "--json").stdout.splitlines()[-1])
    assert (summary["findings"], summary["seals"], summary["unsigned_seals"]) == (0, 4, 0)
    assert summary["events_compared"] == case.history.history.count_documents({})


def test_what_was_changed_is_named_with_its_document(case: _Case) -> None:
    """One who reads the answer must know where to look."""
    target = case.history.history.find_one({"operation": "update", "document_id": 12})
    assert target is not None
    with tampered(Original(case.history)):
        case.history.history.update_one({"_id": target["_id"]}, {"$set": {"changes.0.new_value": 77}})
        found = run("verify")
        line = json_util.loads(run("verify", "--json").stdout.splitlines()[0])

    assert found.exit_code == exit_codes.DIFFERENT
    assert target["_id"].hex() in found.stdout
    assert (line["what"], line["event"], line["seal"]) == ("changed", target["_id"].hex(), 2)
    assert (line["namespace"], line["document_id"]) == (f"{case.name}.a", 12)


def test_a_tail_that_was_cut_off_is_found_by_the_seals_outside(case: _Case) -> None:
    """The database alone is in order."""
    with tampered(Original(case.history)):
        last = case.history.seals.find_one({"_id": 4})
        before = case.history.seals.find_one({"_id": 3})
        assert last is not None
        assert before is not None
        seconds, increment = map(int, json.loads(before["seal"])["streams"]["default"].split(":"))
        end = ClusterTime((seconds << 32) | increment).last_id
        case.history.history.delete_many({"_id": {"$gt": Binary(end)}})
        case.history.seals.delete_one({"_id": 4})
        case.history.seal_leaves.delete_one({"_id": Binary(bytes(last["leaves"]) + bytes(4))})
        case.history.checkpoints.delete_many({})
        alone = verify(case.history).findings
        found = run("verify", "--against", str(case.file))

    assert alone == []
    assert found.exit_code == exit_codes.DIFFERENT
    assert "seal 4, kept outside, is not there" in found.stdout


def test_a_history_that_was_set_back_and_forth_is_found_by_the_seals_outside(case: _Case, tmp_path: Path) -> None:
    """What was sealed in between is gone. The file has the seal of it, with a number that another one has now."""
    kept = tmp_path / "seals.jsonl"
    lines = case.file.read_text()
    kept.write_text(lines * 2)
    assert run("verify", "--against", str(kept)).exit_code == exit_codes.OK
    said = json.loads(lines.splitlines()[-1])
    said["seal"]["time"] = "2026-01-01T00:00:00+00:00"
    said["digest"] = digest_of(canonical(said["seal"]))
    kept.write_text(lines + canonical(said) + "\n")
    found = run("verify", "--against", str(kept))

    assert found.exit_code == exit_codes.DIFFERENT
    assert f"seal {said['seal']['number']} was kept outside twice" in found.output


def test_a_history_that_was_made_anew_is_found_by_the_seals_outside(case: _Case) -> None:
    """Even by one who has the key: what was kept elsewhere he cannot change."""
    with tampered(Original(case.history)):
        case.history.history.update_one(
            {"operation": "update", "document_id": 12}, {"$set": {"changes.0.new_value": 77}}
        )
        for name in ("seals", "seal_leaves"):
            case.history[name].delete_many({})
        assert run("seal").exit_code == exit_codes.OK
        alone = verify(case.history).findings
        found = run("verify", "--against", str(case.file))

    assert alone == []
    assert found.exit_code == exit_codes.DIFFERENT
    assert "seal 1 is not the one that was kept outside" in found.stdout


def test_seals_of_another_key_are_not_taken_for_mine(case: _Case, tmp_path: Path) -> None:
    """Else a key of his own would be all that an administrator needs."""
    _, another = _written(tmp_path, "another")

    found = run("verify", "--public-key", str(another))
    assert found.exit_code == exit_codes.DIFFERENT
    assert "signed with another key" in found.stdout


def test_what_is_exported_is_what_the_file_has(case: _Case, tmp_path: Path) -> None:
    """Line by line; each stands for itself."""
    exported = run("seal", "export").stdout

    assert exported == case.file.read_text()
    assert [read_line(line).seal.number for line in exported.splitlines()] == [1, 2, 3, 4]
    assert run("seal", "export", "--after", "3").stdout == exported.splitlines(keepends=True)[3]
    assert run("seal", "export", "-o", str(tmp_path / "out")).exit_code == exit_codes.OK
    assert (tmp_path / "out").read_text() == exported


def test_a_file_whose_last_line_is_torn_is_gone_on_with(case: _Case, tmp_path: Path) -> None:
    """The machine went down while it was written."""
    from change_history.seals.store import Store

    file = tmp_path / "torn"
    lines = case.file.read_text().splitlines(keepends=True)
    file.write_text(lines[0] + lines[1][:70])
    last = Store(case.history).last()
    assert last is not None
    Outlet(file).catch_up(Store(case.history), last)

    assert file.read_text() == lines[0] + lines[1][:70] + "\n" + "".join(lines[1:])
    assert run("verify", "--against", str(file)).exit_code == exit_codes.OK


def test_the_lines_in_the_documentation_check_a_proof(case: _Case, tmp_path: Path) -> None:
    """With nothing of ours; and they refuse every proof that was tampered with."""
    page = (ROOT / "docs/seals.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 40
    (tmp_path / "check.py").write_text(program)
    event = case.history.history.find_one({"operation": "update", "document_id": 12})
    assert event is not None
    proof = json.loads(run("seal", "prove", f"{case.name}.a", "12", event["_id"].hex()[:20]).stdout)

    def checked(changed: dict[str, Any], *key: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "proof.json").write_text(json.dumps(changed))
        command = [sys.executable, "-I", "check.py", "proof.json", *key]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    found = checked(proof, str(case.public))
    assert found.returncode == 0, found.stderr
    assert "signed with this key" in found.stdout
    assert checked(proof).returncode == 0
    other = json.loads(run("seal", "prove", f"{case.name}.a", "13", _first(case, 13)).stdout)
    wrong = [
        {**proof, "event": other["event"]},
        {**proof, "record": other["record"]},
        {**proof, "salt": other["salt"]},
        {**proof, "path": proof["path"][1:]},
        {**proof, "path": [["left", "00" * 32], *proof["path"]]},
        {**proof, "seal": {**proof["seal"], "time": "2020-01-01T00:00:00.000+00:00"}},
        {**proof, "digest": "00" * 32},
    ]
    assert [checked(each, str(case.public)).returncode for each in wrong] == [1] * len(wrong)
    assert checked({**proof, "signature": "00" * 64}, str(case.public)).returncode == 1
    assert "this seal is not signed" in checked({**proof, "signature": ""}, str(case.public)).stderr


def _first(case: _Case, document_id: int) -> str:
    event = case.history.history.find_one({"document_id": document_id}, sort=[("_id", 1)])
    assert event is not None
    return str(event["_id"].hex())


def test_a_seal_that_cannot_be_read_keeps_no_other_from_being_exported(case: _Case, tmp_path: Path) -> None:
    """The export ended in a traceback, and so did a proof."""
    with tampered(Original(case.history)):
        case.history.seals.update_one({"_id": 2}, {"$set": {"seal": "{}"}})
        for more in ([], ["--output", str(tmp_path / "seals")]):
            found = run("seal", "export", *more)
            assert found.exit_code == exit_codes.DIFFERENT
            assert "seal 2 cannot be read" in found.stderr
            lines = (tmp_path / "seals").read_text() if more else found.stdout
            assert [read_line(line).seal.number for line in lines.splitlines()][:2] == [1, 3]
        proof = run("seal", "prove", f"{case.name}.a", "12", _first(case, 12))
        assert proof.exit_code == exit_codes.NOT_FOUND
        assert "seal 2 cannot be read" in proof.stderr


def test_what_cannot_be_proved_is_said(case: _Case) -> None:
    """No event of the name, one of another document, and one that is not sealed yet."""
    assert run("seal", "prove", f"{case.name}.a", "12", "00" * 16).exit_code == exit_codes.NOT_FOUND
    assert run("seal", "prove", f"{case.name}.a", "13", _first(case, 12)).exit_code == exit_codes.NOT_FOUND
    assert run("seal", "prove", f"{case.name}.a", "12", "xyz").exit_code == exit_codes.USAGE
    with tampered(Original(case.history)):
        case.history.client[case.name].a.insert_one({"_id": 99})
        case.recording.record()
        found = run("seal", "prove", f"{case.name}.a", "99", _first(case, 99))
        assert found.exit_code == exit_codes.NOT_FOUND
        assert "watcher seal" in found.stderr
    case.recording.restart()


def test_without_a_seal_values_and_documents_are_compared(case: _Case) -> None:
    """Nothing proves them, but a slip shows all the same."""
    with tampered(Original(case.history)):
        for name in ("seals", "seal_leaves"):
            case.history[name].delete_many({})
        honest = run("verify", f"{case.name}.a")
        assert honest.exit_code == exit_codes.OK, honest.output
        assert "20 compared with their history" in honest.stdout
        target = case.history.history.find_one({"operation": "update", "document_id": 12}, sort=[("_id", -1)])
        earlier = case.history.history.find_one({"operation": "insert", "document_id": 2})
        assert target is not None
        assert earlier is not None
        case.history.history.update_one({"_id": target["_id"]}, {"$set": {"changes.0.new_value": 77}})
        case.history.history.update_one({"_id": earlier["_id"]}, {"$set": {"changes.1.new_value": 66}})
        found = [json_util.loads(line) for line in run("verify", "--json").stdout.splitlines()[:-1]]

    said = {(each["document_id"], each["what"]) for each in found}
    assert said == {(12, "document"), (2, "value")}


def test_a_poisoned_snapshot_is_found_on_request(case: _Case) -> None:
    """It would make as-of lie, though history is what it was."""
    from tests.support.recording import fill, make_index, spoil, stored

    with tampered(Original(case.history)):
        watched = case.history.client[case.name]
        for number in range(80):
            watched.a.update_one({"_id": 12}, {"$set": {"n": number + 1000}})
        case.recording.record()
        make_index(case.history)
        assert fill(case.history, f"{case.name}.a", 12)
        assert run("verify", "--snapshots").exit_code == exit_codes.OK
        spoil(case.history, stored(case.history)[0], n=5)
        found = run("verify", "--snapshots", "--json")

    assert found.exit_code == exit_codes.DIFFERENT
    assert json_util.loads(found.stdout.splitlines()[0])["what"] == "snapshot"
    case.recording.restart()


@pytest.mark.parametrize("command", ["seal", "run"])
def test_a_key_or_a_file_that_cannot_be_used_is_refused_at_the_door(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Seals that nobody signs, or that go nowhere, would be believed in for a year."""
    monkeypatch.setenv("WATCHER_SEAL", "on")
    monkeypatch.setenv("WATCHER_HTTP_PORT", "0")
    monkeypatch.setenv("WATCHER_SEAL_KEY_FILE", str(tmp_path / "missing.pem"))
    refused = subprocess.run([sys.executable, "-m", "watcher", command], capture_output=True, text=True, check=False)
    assert refused.returncode == exit_codes.USAGE, refused.stderr
    assert "missing.pem cannot be read" in refused.stderr

    monkeypatch.delenv("WATCHER_SEAL_KEY_FILE")
    monkeypatch.setenv("WATCHER_SEAL_FILE", str(tmp_path / "no folder" / "seals"))
    refused = subprocess.run([sys.executable, "-m", "watcher", command], capture_output=True, text=True, check=False)
    assert refused.returncode == exit_codes.FATAL, refused.stderr
    assert "WATCHER_SEAL_FILE" in refused.stderr
