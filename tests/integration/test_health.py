"""Health over real sockets: what operators and their machines are told about a daemon."""

import json
import socket
import threading
import time

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from tests.support.daemon import eventually
from tests.support.health import ask, samples_of, write
from watcher.cli.main import watcher
from watcher.health.http import HealthServer, PortInUseError
from watcher.health.progress import Progress
from watcher.health.readiness import Bounds
from watcher.steps import Step

SECRET = "the-name-of-a-patient"


def health(server: HealthServer, *options: str, **environment: str) -> Result:
    """Run `watcher health` against a server."""
    host, port = server.address
    told = {"WATCHER_HTTP_HOST": host, "WATCHER_HTTP_PORT": str(port)}
    return CliRunner().invoke(watcher, ["health", *options], env=told | environment)


def test_a_daemon_is_not_ready_before_its_stream_is_open(server: HealthServer, progress: Progress) -> None:
    """An application that is started after us, and writes at once, must find itself recorded."""
    response, body = ask(server, "/ready")
    assert response.status == 503
    assert json.loads(body)["reasons"] == ["the stream is not open yet"]

    write(progress, {("shop.users", "insert"): 3})

    response, body = ask(server, "/ready")
    assert (response.status, json.loads(body)) == (
        200,
        {
            "ready": True,
            "role": "leader",
            "led_by": None,
            "reasons": [],
            "stream": "orders",
            "events": 3,
            "waiting": 0,
            "lag_seconds": 0,
            "checkpoint_age_seconds": 0,
        },
    )


def test_trouble_is_no_reason_to_be_restarted(server: HealthServer, progress: Progress) -> None:
    """With MongoDB away the daemon waits for it; whoever restarts it then makes things worse."""
    write(progress, {})
    progress.retrying(Step.WRITE, ConnectionRefusedError(SECRET))

    ready, reasons = ask(server, "/ready")
    live, _ = ask(server, "/live")

    assert (live.status, ready.status) == (200, 503)
    assert json.loads(reasons)["reasons"] == [
        "history deployment: writing history failed, trying again: ConnectionRefusedError"
    ]


def test_a_stand_by_is_ready_and_says_who_leads(server: HealthServer, progress: Progress) -> None:
    """A rolling update goes on to the next pod only when this one is ready."""
    progress.standing_by("db1 (pid 4711)")

    response, body = ask(server, "/ready")
    facts = json.loads(body)

    assert response.status == 200
    assert (facts["role"], facts["led_by"], facts["reasons"]) == ("standby", "db1 (pid 4711)", [])
    assert health(server).output == "ready: standing by for db1 (pid 4711)\n"
    assert samples_of(server)["watcher_leader",] == 0


def test_a_stuck_daemon_is_neither_live_nor_ready(server: HealthServer, progress: Progress) -> None:
    """A deadlock must not look like a quiet evening."""
    write(progress, {})
    progress.bounds = Bounds(ready_s=0, live_s=0)
    with progress.at_work(Step.WRITE):
        answers = [ask(server, path) for path in ("/live", "/ready")]

        assert [response.status for response, _ in answers] == [503, 503]
        for _, body in answers:
            (reason,) = json.loads(body)["reasons"]
            assert reason.startswith("history deployment: writing history has come to no end for")
        assert (health(server, "--live").exit_code, health(server).exit_code) == (1, 1)


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/", 404, b'{"error": "not found", "paths": ["/live", "/ready", "/metrics"]}\n'),
        ("GET", "/live?verbose", 200, b'{"live": true}\n'),
        ("HEAD", "/live", 200, b""),
        ("HEAD", "/nothing", 404, b""),
        ("POST", "/ready", 405, b'{"error": "method not allowed"}\n'),
        ("<script>", "/ready", 405, b'{"error": "method not allowed"}\n'),
        ("GET", "/" + "a" * 70_000, 414, b'{"error": "request-uri too long"}\n'),
    ],
)
def test_anything_else_is_refused_in_json(
    server: HealthServer, method: str, path: str, status: int, body: bytes
) -> None:
    """And nothing that was sent comes back, nor does anything tell what the server is made of."""
    response, answer = ask(server, path, method)

    assert (response.status, answer) == (status, body)
    assert response.headers["Server"] == "watcher"
    assert response.headers["Allow"] == ("GET, HEAD" if status == 405 else None)


def test_rude_askers_neither_block_nor_fill_the_log(server: HealthServer, capfd: pytest.CaptureFixture[str]) -> None:
    """Port scanners, half-open connections and hang-ups are everyday; a probe must be answered beside them."""
    rude = [socket.create_connection(server.address) for _ in range(10)]
    rude[0].sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    rude[1].sendall(b"GET /metrics HTTP/1.0\r\n")
    for number in range(2, 6):
        rude[number].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close with a reset
        rude[number].sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        rude[number].close()

    with capture_logs() as logs:
        response, _ = ask(server, "/ready")
        for each in rude:
            each.close()
        time.sleep(0.2)

    assert response.status == 503
    assert logs == []
    assert capfd.readouterr() == ("", "")


def test_a_flood_of_askers_is_turned_away_not_stored(server: HealthServer) -> None:
    """Each costs a thread; without a bound they would be the memory's end. After them all is as before."""
    before = threading.active_count()
    flood = [socket.create_connection(server.address) for _ in range(100)]
    time.sleep(0.5)

    assert threading.active_count() - before <= 32
    for each in flood:
        each.close()
    eventually(lambda: ask(server, "/metrics")[0].status == 200, "an answer")


def test_a_taken_port_is_said_at_once_with_its_setting(progress: Progress) -> None:
    """Not by a thread that dies in the background, and not after an hour."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        said = rf"127\.0\.0\.1:{port}: something listens(?s:.*)WATCHER_HTTP_PORT"
        with pytest.raises(PortInUseError, match=said):
            HealthServer("127.0.0.1", port, progress, "default").start()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_said_too(progress: Progress, host: str) -> None:
    """The settings cannot know it."""
    with pytest.raises(PortInUseError, match=rf"{host}:8080(?s:.*)WATCHER_HTTP_HOST"):
        HealthServer(host, 8080, progress, "default").start()


def test_a_closed_server_frees_its_port_and_its_thread(progress: Progress) -> None:
    """The next start of the daemon needs the port, at once, though connections linger."""
    server = HealthServer("127.0.0.1", 0, progress, "default").start()
    address = server.address
    ask(server, "/live")

    begun = time.monotonic()
    server.close()
    server.close()

    assert time.monotonic() - begun < 1
    assert "health" not in {thread.name for thread in threading.enumerate()}
    with HealthServer(*address, progress, "default") as again:
        assert ask(again, "/live")[0].status == 200


def test_ipv6_is_served(progress: Progress) -> None:
    """A pod may have nothing else."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")

    with HealthServer("::", 0, progress, "default") as server:
        write(progress, {})

        assert health(server).exit_code == 0


def test_the_command_says_in_one_line_how_it_is(server: HealthServer, progress: Progress) -> None:
    """For a person; and the exit status for a container engine."""
    assert (health(server, "--live").exit_code, health(server, "--live").output) == (0, "live\n")
    assert (health(server).exit_code, health(server).output) == (1, "not ready: the stream is not open yet\n")

    write(progress, {("shop.users", "insert"): 3})

    assert (health(server).exit_code, health(server).output) == (0, "ready: 3 events recorded, 0 s behind\n")
    assert health(server, WATCHER_HTTP_HOST="0.0.0.0").exit_code == 0
    assert health(server, http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9").exit_code == 0


def test_the_command_tells_who_does_not_answer(server: HealthServer, free_port: int) -> None:
    """Nobody, somebody else, somebody silent, and a daemon told not to."""
    nobody = health(server, WATCHER_HTTP_PORT=str(free_port))
    off = health(server, WATCHER_HTTP_PORT="0")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def speak() -> None:
            accepted, _ = other.accept()
            with accepted:
                accepted.recv(1000)
                accepted.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n42")

        thread = threading.Thread(target=speak)
        thread.start()
        stranger = health(server, WATCHER_HTTP_PORT=str(port))
        thread.join()
        silent = health(server, WATCHER_HTTP_PORT=str(port))

    assert {nobody.exit_code, off.exit_code, stranger.exit_code, silent.exit_code} == {1}
    assert nobody.output.startswith(f"no answer from http://127.0.0.1:{free_port}/ready: Connection refused; is")
    assert off.output == "health is switched off (WATCHER_HTTP_PORT=0)\n"
    assert stranger.output.startswith(f"what answers at http://127.0.0.1:{port}/ready is not watcher")
    assert silent.output.startswith(f"no answer from http://127.0.0.1:{port}/ready: timed out")
