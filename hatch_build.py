"""Build hook: compiles the fast path, the quick way of taking BSON apart, and what sealing hashes.

With the machine's C compiler, or, where there is none, with that of the package `ziglang` from PyPI, which is fetched
for this build and thrown away after it (some 80 MB). Either needs Python's headers (`Python.h`), which come with most
builds of Python; on Debian and Ubuntu they are in `python3-dev`. Where that fails, the package is the same and slower:
recording takes over ten times the CPU. `make`, the daemon's log and `watcher doctor` say so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from Cython.Build import cythonize
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.errors import BaseError, CCompilerError

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = ("watcher.events._fast_path", "watcher.events._folding")
"""What is compiled from the files of their folder."""
SINGLE = {
    "change_history.bson._quick": "QUICK_SOURCE",
    "change_history.seals._hashing": "HASHING_SOURCE",
    "watcher.words._event_text": "EVENT_TEXT_SOURCE",
}
"""What is compiled from one file, and the macro that says of which; `change_history.bson.quick` compares it."""
COMPILERS = ("cc", "gcc", "clang")
ZIG = "ziglang>=0.13"
FETCHING_S = 600


class NoCompilerError(Exception):
    """The fast path cannot be compiled here; the message says what is missing."""


class FastPath(BuildHookInterface[Any]):
    """Compiles what is in Cython: into the wheel, or for an editable installation beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile.

        Args:
            version: `standard` or `editable`.
            build_data: is told of the compiled file.
        """
        self._scratch = TemporaryDirectory()
        try:
            compiled = _compile(Path(self.root), Path(self._scratch.name), self.app.display_info)
        except (BaseError, CCompilerError, NoCompilerError, OSError) as error:
            self.app.display_warning(f"without the fast path, recording takes over ten times the CPU: {error}")
            return
        for file in compiled:
            name = str(file.relative_to(self._scratch.name))
            if version == "editable":
                # Whole or not at all: a daemon may be starting from this checkout.
                beside = Path(self.root, f"{name}.new")
                beside.write_bytes(file.read_bytes())
                beside.replace(Path(self.root, name))
            else:
                build_data["force_include"][str(file)] = name
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Let go of the scratch folder."""
        del version, build_data, artifact_path
        self._scratch.cleanup()


def _compile(root: Path, scratch: Path, say: Callable[[str], None]) -> list[Path]:
    """Compile in a scratch folder; the files, each where it belongs below that."""
    headers = Path(sysconfig.get_path("include"))
    if not (headers / "Python.h").exists():
        raise NoCompilerError(
            f"there is no {headers}/Python.h. On Debian and Ubuntu: apt-get install -y python3-dev, then install again"
        )
    sys.path.insert(0, str(root))
    from watcher.events._sources import digest

    made_from = dict.fromkeys(EVENTS, ("FAST_PATH_SOURCES", f'"{digest(root / "watcher" / "events")}"'))
    for name, macro in SINGLE.items():
        made_from[name] = (macro, f'"{blake2b(_source(root, name).read_bytes(), digest_size=16).hexdigest()}"')
    extensions = [Extension(name, [str(_source(root, name))], define_macros=[made_from[name]]) for name in made_from]
    modules = cythonize(extensions, include_path=[str(root)], build_dir=str(scratch), nthreads=os.cpu_count() or 1)
    if os.environ.get("CC") is None and not any(map(shutil.which, COMPILERS)):
        say(f"there is no C compiler: fetching one for this build, the package {ZIG}")
        return _compile_with_zig(modules, headers, scratch)
    command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = str(scratch)
    command.parallel = True  # a thread for each processor
    command.ensure_finalized()
    command.run()
    return [scratch / str(command.get_ext_filename(module.name)) for module in modules]


def _source(root: Path, module: str) -> Path:
    return root / f"{module.replace('.', '/')}.pyx"


def _compile_with_zig(extensions: list[Extension], headers: Path, scratch: Path) -> list[Path]:
    """Compile for any processor of this kind, as the machine's own compiler would by default."""
    tools = scratch / "tools"
    # -I: out of the build's own environment, which has no pip.
    _run([sys.executable, "-I", "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tools), ZIG])
    found = []
    for extension in extensions:
        target = scratch / f"{extension.name.replace('.', '/')}{sysconfig.get_config_var('EXT_SUFFIX')}"
        target.parent.mkdir(parents=True, exist_ok=True)
        macros = [f"-D{name}={value}" for name, value in extension.define_macros]
        options = ["-mcpu=baseline", "-O2", "-g0", "-shared", "-fPIC", "-fwrapv", "-fno-sanitize=undefined", "-DNDEBUG"]
        options += [f"-I{headers}", *macros, *extension.sources, "-o", str(target)]
        _run(
            [sys.executable, "-m", "ziglang", "cc", *options],
            PYTHONPATH=str(tools),
            ZIG_GLOBAL_CACHE_DIR=str(scratch / "cache"),
            ZIG_LOCAL_CACHE_DIR=str(scratch / "cache"),
        )
        found.append(target)
    return found


def _run(command: list[str], **environment: str) -> None:
    try:
        subprocess.run(  # noqa: S603 - our own words
            command, env={**os.environ, **environment}, check=True, capture_output=True, text=True, timeout=FETCHING_S
        )
    except subprocess.CalledProcessError as error:
        last = (error.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise NoCompilerError(
            f"no C compiler, and none could be fetched ({last}). On Debian and Ubuntu: apt-get install -y gcc"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise NoCompilerError("no C compiler, and fetching one took too long") from error
