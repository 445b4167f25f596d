"""Logging: one chain, two renderings, and never a document's value."""

import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pymongo.errors import BulkWriteError, DuplicateKeyError, ServerSelectionTimeoutError

from config import log

SECRET = "hunter2"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave logging as it was."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield
    structlog.contextvars.clear_contextvars()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_where_no_person_looks() -> None:
    """With UTC time, level, event, what is bound and what is given."""
    stream = io.StringIO()
    log.configure("info", "auto", stream)
    structlog.contextvars.bind_contextvars(stream="default")

    structlog.get_logger().info("recorded", events=3)

    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "recorded", "level": "info", "stream": "default", "events": 3}


def test_a_terminal_gets_colours_and_a_pipe_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escape codes in a log file would spoil every search."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal, pipe = Terminal(), io.StringIO()

    log.configure("info", "auto", terminal)
    structlog.get_logger().info("recorded")
    log.configure("info", "console", pipe)
    structlog.get_logger().info("recorded")

    assert "\x1b[" in terminal.getvalue()
    assert "recorded" in pipe.getvalue()
    assert "\x1b[" not in pipe.getvalue()


def test_the_level_holds_for_ours_and_debug_does_not_open_the_driver() -> None:
    """At debug the driver logs every command with the documents in it."""
    stream = io.StringIO()
    log.configure("debug", "json", stream)

    structlog.get_logger().debug("ours")
    logging.getLogger("pymongo.command").debug(SECRET)
    logging.getLogger("pymongo.connection").warning("theirs %d", 3)

    assert [(line["event"], line["level"]) for line in lines(stream)] == [("ours", "debug"), ("theirs 3", "warning")]

    log.configure("error", "json", stream)
    structlog.get_logger().warning("not severe enough")
    assert len(lines(stream)) == 2


def fail(value: str) -> None:
    """Fail as a write does, with a value in a local variable, in two messages and in the details."""
    try:
        int(value)
    except ValueError as error:
        message = f'E11000 duplicate key error dup key: {{ email: "{value}" }}'
        raise DuplicateKeyError(message, 11000, {"codeName": "DuplicateKey", "errmsg": message}) from error


@pytest.mark.parametrize("fmt", ["json", "console"])
@pytest.mark.parametrize("by_library", [False, True])
def test_an_exception_tells_its_place_but_no_value(fmt: str, *, by_library: bool) -> None:
    """Messages of the server, of the driver and of Python quote what they stumbled on."""
    stream = io.StringIO()
    log.configure("info", fmt, stream)

    try:
        fail(SECRET)
    except DuplicateKeyError:
        (logging.getLogger("lib") if by_library else structlog.get_logger()).exception("failed")

    text = stream.getvalue()
    assert SECRET not in text
    for telling in ("test_log.py", "fail", "DuplicateKeyError", "server error 11000 DuplicateKey", "ValueError"):
        assert telling in text


def test_network_errors_keep_their_message() -> None:
    """An operator must read which host refused."""
    assert log._safe_message(ServerSelectionTimeoutError("db1:27017: refused")) == "db1:27017: refused"
    assert SECRET not in log._safe_message(BulkWriteError({"writeErrors": [{"op": {"a": SECRET}}]}))


def test_grouped_and_circular_causes_are_all_told() -> None:
    """A cause that leads back to its effect must not hang the log."""
    inner, outer = OSError("disk full"), ExceptionGroup("both", [OSError("one"), OSError("two")])
    outer.__cause__ = inner
    inner.__context__ = outer

    assert [each["message"] for each in log.structured(outer)][1:] == ["one", "two", "disk full"]


def test_warnings_and_uncaught_exceptions_go_through_the_chain() -> None:
    """Python would print them, with their values, past the log."""
    stream = io.StringIO()
    log.configure("info", "json", stream)
    log.guard_uncaught()

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("beware", stacklevel=1)
    thread = threading.Thread(target=fail, args=(SECRET,))
    thread.start()
    thread.join()

    assert [line["level"] for line in lines(stream)] == ["warning", "critical"]
    assert "beware" in stream.getvalue()
    assert SECRET not in stream.getvalue()
