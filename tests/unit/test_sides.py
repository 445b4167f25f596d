"""Every step that is tried again is known to be a step with one deployment, the other, or both."""

from __future__ import annotations

import ast
from pathlib import Path

from watcher.health import sides

ROOT = Path(__file__).parents[2]
_CALLERS = {"call": 0, "_call": 0, "at_work": 0}


def steps() -> set[str]:
    """What is given as `doing` anywhere in the daemon."""
    found = set()
    for file in (ROOT / "watcher").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CALLERS:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
    return found


def test_no_step_is_left_out_of_the_table() -> None:
    """Trouble with a new step would be of neither deployment, and the wrong people be called."""
    assert {"listening to the change stream", "recording", "saving the checkpoint"} <= steps()
    assert steps() == sides._SIDE_OF.keys()


def test_a_side_reads_well() -> None:
    """It stands at the beginning of a reason."""
    assert sides.words(sides.side_of("writing history")) == "history deployment"
    assert sides.words(sides.side_of("something new")) == "watched or history deployment"
