"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from bson import has_c
from pymongo import MongoClient

from benchmarks.debezium import engine


def about(uri: str, *, debezium: bool) -> dict[str, Any]:
    """Machine and versions.

    Args:
        uri: of a server that takes part.
        debezium: whether it takes part.
    """
    root = Path(__file__).resolve().parent.parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=root, check=False
    )
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ":")
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    packages = ("mongo-change-watcher", "pymongo", "mongoengine")
    with MongoClient[Any](uri) as client:
        server = str(client.server_info()["version"])
    return {
        "machine": {
            "cpu": cpu.partition(":")[2].strip(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gb": round(int(memory.split()[1]) / 1024 / 1024, 1),
            "kernel": platform.release(),
            "load_average": os.getloadavg(),
        },
        "versions": {
            "commit": commit.stdout.strip(),
            "python": platform.python_version(),
            "mongod": server,
            "bson_in_c": has_c(),
            **{name: metadata.version(name) for name in packages},
            **({"debezium": f"{engine.VERSION}.Final", "java": engine.java_version()} if debezium else {}),
        },
    }
