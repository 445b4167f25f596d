from typing import final

MADE_FROM: str

@final
class Folded:
    ids: list[bytes]
    base: bytes
    wall: int
    is_odd: bool

    def __init__(self, before: int) -> None: ...
    def document(self) -> bytes | None: ...
    def take(self, stored: bytes) -> bool: ...
