"""Build hook: compiles the fast path. Without a C compiler the package is the same and slower, and says so at start."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from Cython.Build import cythonize
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.errors import BaseError, CCompilerError

MODULE = "watcher.events._fast_path"
SOURCE = "watcher/events/_fast_path.pyx"


class FastPath(BuildHookInterface[Any]):
    """Compiles `watcher/events/_fast_path.pyx`: into the wheel, or for an editable installation beside its source."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile.

        Args:
            version: `standard` or `editable`.
            build_data: is told of the compiled file.
        """
        self._scratch = TemporaryDirectory()
        try:
            compiled = _compile(Path(self.root), Path(self._scratch.name))
        except (BaseError, CCompilerError, OSError) as error:
            self.app.display_warning(f"without the fast path, since it cannot be compiled: {error}")
            return
        name = f"watcher/events/{compiled.name}"
        if version == "editable":
            # Whole or not at all: a daemon may be starting from this checkout.
            beside = Path(self.root, f"{name}.new")
            beside.write_bytes(compiled.read_bytes())
            beside.replace(Path(self.root, name))
        else:
            build_data["force_include"][str(compiled)] = name
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Let go of the scratch folder."""
        del version, build_data, artifact_path
        self._scratch.cleanup()


def _compile(root: Path, scratch: Path) -> Path:
    """Compile in a scratch folder; the file."""
    sys.path.insert(0, str(root))
    from watcher.events._sources import digest

    made_from = [("FAST_PATH_SOURCES", f'"{digest(root / "watcher" / "events")}"')]
    extension = Extension(MODULE, [str(root / SOURCE)], define_macros=made_from)
    modules = cythonize([extension], include_path=[str(root)], build_dir=str(scratch))
    command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib = command.build_temp = str(scratch)
    command.ensure_finalized()
    command.run()
    return scratch / str(command.get_ext_filename(MODULE))
