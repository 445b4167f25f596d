"""What all tests share: a clean environment, and real servers to test against.

The shared replica set is, in this order: ``WATCHER_TEST_MONGODB_URI``; a container where a Docker engine answers and
has the image ``WATCHER_TEST_MONGO_IMAGE`` or can pull it; a `mongod` on the PATH or the packaged one.
``WATCHER_TEST_SERVER=docker`` or ``=mongod`` forces one of the two.
"""

import logging
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import structlog
from hypothesis import HealthCheck, settings
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from watcher.embedded.errors import MongodMissingError
from watcher.embedded.mongod import Mongod

pytest.register_assert_rewrite("tests.support")
from tests.support.servers import deployment as deployment  # noqa: E402, PLC0414 - a fixture of all tests
from tests.support.servers import free_port as _free_port  # noqa: E402 - its assertions are explained

Client: TypeAlias = MongoClient[dict[str, Any]]

IMAGE = os.environ.get("WATCHER_TEST_MONGO_IMAGE", "mongo:6.0")
FORCED = os.environ.get("WATCHER_TEST_SERVER", "")

# How long an example takes says only how busy the machine is.
settings.register_profile("by-no-clock", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("by-no-clock")


def pytest_configure() -> None:
    """Hear SIGINT, and let child processes hear it: whoever starts the tests in the background has it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings and the data of whoever runs the tests out of them, and the tests out of these."""
    for name in os.environ:
        if name.upper().startswith("WATCHER_") and not name.startswith("WATCHER_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Let no command that a test runs in this process decide what later tests can hear."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(capture=False)


@cache
def _docker(*command: str, timeout_s: float = 2) -> bool:
    """Whether a `docker` command succeeds."""
    program = shutil.which("docker")
    if program is None:
        return False
    try:
        return subprocess.run([program, *command], capture_output=True, timeout=timeout_s, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip container tests where no Docker engine answers, unless they are required."""
    if item.get_closest_marker("container") is None or _docker("info"):
        return
    reason = "no Docker engine answers `docker info`"
    if os.environ.get("WATCHER_TEST_REQUIRE_CONTAINERS") == "1":
        pytest.fail(f"{reason}, and WATCHER_TEST_REQUIRE_CONTAINERS=1", pytrace=False)
    pytest.skip(reason)


@pytest.fixture
def free_port() -> int:
    """A TCP port on 127.0.0.1 that nobody uses at the moment."""
    return _free_port()


def _initiate(uri: str, timeout_s: float = 60) -> None:
    """Make a server in a container a replica set of one and wait for its primary."""
    deadline = time.monotonic() + timeout_s
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=1000) as client:
        while True:
            try:
                hello = client.admin.command("hello")
                if hello["isWritablePrimary"] and "setName" in hello:
                    return
                members = [{"_id": 0, "host": "127.0.0.1:27017"}]
                client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
            except PyMongoError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(0.1)


def _container(stack: ExitStack) -> str:
    """Run a replica set in a container until `stack` closes; its URI."""
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(IMAGE).with_command("--replSet rs0 --bind_ip_all").with_exposed_ports(27017)
    stack.enter_context(container)
    # Direct: the set's own name for itself, 127.0.0.1:27017, holds only inside the container.
    host, port = container.get_container_host_ip(), container.get_exposed_port(27017)
    uri = f"mongodb://{host}:{port}/?directConnection=true"
    _initiate(uri)
    return uri


def _engine_has_image() -> bool:
    return _docker("info") and (_docker("image", "inspect", IMAGE) or _docker("pull", "-q", IMAGE, timeout_s=300))


@contextmanager
def _server(tmp_path_factory: pytest.TempPathFactory, name: str, **options: Any) -> Iterator[Mongod]:
    """A server of whose data nothing is left: that of a hundred of them would fill a disk."""
    folder = tmp_path_factory.mktemp(name)
    try:
        with Mongod(folder, _free_port(), **options) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def replica_set_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A connection string of a replica set that all tests share; without any it fails in CI and skips elsewhere."""
    if given := os.environ.get("WATCHER_TEST_MONGODB_URI"):
        yield given
        return
    with ExitStack() as stack:
        if FORCED != "mongod" and _engine_has_image():
            uri = _container(stack)
        elif FORCED == "docker":
            pytest.fail(f"WATCHER_TEST_SERVER=docker, but no engine answers that has {IMAGE}", pytrace=False)
        else:
            try:
                server = _server(tmp_path_factory, "shared-mongod", cache_gb=1, oplog_mb=512)
                uri = stack.enter_context(server).uri
            except MongodMissingError:
                reason = "no WATCHER_TEST_MONGODB_URI, no Docker engine and no mongod; try: make test"
                if os.environ.get("CI"):
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)
        yield uri


@pytest.fixture(scope="session")
def client(replica_set_uri: str) -> Iterator[Client]:
    """A driver's client of the shared replica set."""
    with MongoClient[dict[str, Any]](replica_set_uri) as connected:
        yield connected


@pytest.fixture
def database(client: Client) -> Iterator[Database[dict[str, Any]]]:
    """An empty database of the test's own on the shared replica set, dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield client[name]
    client.drop_database(name)


@pytest.fixture
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mongod]]:
    """A function that starts a private server, to be killed and restarted at will; stopped at the end.

    Its arguments are those of `Mongod` after the port, for example
    ``own_server(extra_args=("--setParameter", "enableTestCommands=1"))``.
    """
    with ExitStack() as stack:

        def start(**options: Any) -> Mongod:
            small: dict[str, Any] = {"cache_gb": 0.25, "oplog_mb": 256}
            return stack.enter_context(_server(tmp_path_factory, "own-mongod", **(small | options)))

        yield start
