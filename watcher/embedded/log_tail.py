"""What a `mongod` log says about its end."""

import json
from contextlib import suppress
from pathlib import Path

_LINES = 5
_MAX_LINE = 300  # characters


def telling_lines(log_file: Path) -> list[str]:
    """Find the lines that say why the server ended: errors and fatal ones, else the last ones.

    Args:
        log_file: JSON lines as of https://www.mongodb.com/docs/manual/reference/log-messages/.

    Returns:
        At most five, each the message and its attributes; none where there is no log.
    """
    if not log_file.is_file():
        return []
    entries = []
    for line in log_file.read_text(errors="replace").splitlines():
        with suppress(ValueError):
            entry = json.loads(line)
            attributes = json.dumps(entry["attr"]) if entry.get("attr") else ""
            entries.append((entry.get("s", ""), f"{entry.get('msg', '')} {attributes}".strip()[:_MAX_LINE]))
    grave = [text for severity, text in entries if severity in {"E", "F"}]
    return (grave or [text for _, text in entries])[-_LINES:]
