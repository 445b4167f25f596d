"""Build hook: compiles the fast path. Without a C compiler the package is the same and slower, and says so at start."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from Cython.Build import cythonize
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.errors import BaseError, CCompilerError

MODULE = "core._fast_path"
SOURCE = "core/_fast_path.pyx"


class FastPath(BuildHookInterface[Any]):
    """Compiles `core/_fast_path.pyx` beside its source, for a wheel as for an editable installation."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile.

        Args:
            version: `standard` or `editable`.
            build_data: is told of the compiled file.
        """
        del version
        if self.target_name != "wheel":
            return
        for former in Path(self.root, "core").glob("_fast_path.*.so"):
            former.unlink()  # it must not stay, should its source not compile
        try:
            compiled = _compile(Path(self.root))
        except (BaseError, CCompilerError, OSError) as error:
            self.app.display_warning(f"without the fast path, since it cannot be compiled: {error}")
            return
        build_data["artifacts"].append(f"/{compiled}")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _compile(root: Path) -> str:
    """Compile in place; the file, relative to the root."""
    with TemporaryDirectory() as scratch:
        modules = cythonize([Extension(MODULE, [str(root / SOURCE)])], include_path=[str(root)], build_dir=scratch)
        command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(root), scratch
        command.ensure_finalized()
        command.run()
        return str(command.get_ext_filename(MODULE))
