"""The sealer of a daemon, if the settings enable it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from pymongo.errors import OperationFailure

from change_history.seals.seal import SealKeyError, load_key
from change_history.seals.store import Store
from config.settings import Seal
from watcher.errors import UNAUTHORIZED, FatalError
from watcher.sealing.notes import forget_unasked
from watcher.sealing.outlet import Outlet
from watcher.sealing.sealer import Sealer, Terms
from watcher.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from pymongo.database import Database

    from change_history.bson.cluster_time import ClusterTime
    from config.settings import Settings
    from watcher.leadership.fence import Fence
    from watcher.retry import Retry
    from watcher.stream.batch import SharedProgress
    from watcher.stream.writer import Stored

log = structlog.get_logger(__name__)

_FORGET_EVERY_S = 3600.0
_ON = "set WATCHER_SEAL=on for every daemon that records into this history"
_KEY = (
    "Let WATCHER_SEAL_KEY_FILE name the private key (`openssl genpkey -algorithm ed25519 -out seal-key.pem`), or leave "
    "it out: then seals are not signed."
)


class SealKeyRefusedError(FatalError):
    """The key for signing seals cannot be used."""


def terms_of(settings: Settings) -> Terms:
    """The settings for making seals.

    Raises:
        watcher.errors.FatalError: the key cannot be used, or the file cannot be written.
    """
    try:
        key = load_key(settings.seal_key_file) if settings.seal_key_file is not None else None
    except SealKeyError as error:
        raise SealKeyRefusedError(f"WATCHER_SEAL_KEY_FILE: {error}.", _KEY) from error
    outlet = Outlet(settings.seal_file) if settings.seal_file is not None else None
    return Terms(settings.seal_interval_s, key, outlet)


def check(settings: Settings) -> None:
    """Check that seals can be made with the settings; raises as `terms_of` does."""
    if settings.seal is Seal.ON:
        terms_of(settings)


def look(settings: Settings, history: Database[Any]) -> None:
    """Warn if history is sealed, but this daemon does not seal what it records."""
    if settings.seal is Seal.OFF and Store(history).last_number():
        log.warning("history is sealed, but not by this daemon: `watcher verify` names what it records", remedy=_ON)


class Seals:
    """The sealer of a stream, or nothing."""

    def __init__(
        self,
        settings: Settings,
        history: Database[Any],
        fence: Fence,
        shared: SharedProgress,
        retry: Retry,
        stop: Event,
    ) -> None:
        self._sealer: Sealer | None = None
        self._retry, self._history, self._stop = retry, history, stop
        if settings.seal is Seal.ON:
            self._sealer = Sealer(history, fence.stream, terms_of(settings), shared.recorded_until, fence.run, stop)

    @property
    def stored(self) -> Stored | None:
        """The writer's `on_stored` callback; None: nothing is sealed. See `watcher.stream.writer.Writer`."""
        return self._sealer.stored if self._sealer is not None else None

    def beside(self, begins: ClusterTime) -> dict[str, Callable[[], None]]:
        """The functions to run beside the stages; the stages hand over all entries after the cluster time `begins`."""
        if self._sealer is None:
            return {"notes": partial(self._retry.keep_up, Step.SEAL, self._forget_notes)}
        self._retry.call(Step.SEAL, partial(self._sealer.begin, begins))
        return {"seals": partial(self._retry.keep_up, Step.SEAL, self._sealer.run)}

    def _forget_notes(self) -> None:
        while not self._stop.is_set():
            try:
                forget_unasked(self._history)
            except OperationFailure as error:
                if error.code not in UNAUTHORIZED:
                    raise
                return  # recording works without this right; `watcher doctor` reports it
            self._stop.wait(_FORGET_EVERY_S)

    def finish(self) -> None:
        """Seal the remaining entries after the stages have ended in order."""
        if self._sealer is not None:
            self._sealer.finish()
