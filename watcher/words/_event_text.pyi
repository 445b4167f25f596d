from collections.abc import Callable

MADE_FROM: str

def event_text(
    stored: bytes, other: Callable[[int, bytes], str], with_id: bool
) -> tuple[bool, bytes, int, bytes, str | None, str, int, int] | None: ...
