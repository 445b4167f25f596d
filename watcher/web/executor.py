"""Runs a request's queries on the history: in few threads, for a bounded time, while the client waits.

The driver's calls block, so each query runs in a thread. It keeps the session of the command that is running, and those
of its open cursors. When the client disconnects, these sessions are killed, so that the server stops, too; a user may
kill its own sessions without any privilege. This is repeated until the thread has ended, since it may be between two
commands.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pymongo
from pymongo import monitoring
from pymongo.errors import PyMongoError

from change_history.reconstruct.state import UnknownStateError
from watcher.web import problems
from watcher.web.counts import EventCounter
from watcher.web.question import ClientGoneError, Question
from watcher.web.visible import VisibleHistory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Hashable, Iterator

    from pymongo import MongoClient
    from starlette.requests import Request

    from change_history.reader import Reader
    from watcher.web.access_log import AccessLog
    from watcher.web.settings import Limits
    from watcher.web.visitors import Visitor

T = TypeVar("T")

_AHEAD = 4
"""Most chunks of a streamed response that may wait for a slow client."""

_PING_S = 3.0

_AGAIN_S = 0.5
"""Seconds after which a thread that still runs is cancelled again."""

_asked = threading.local()


class CommandListener(monitoring.CommandListener):
    """Notes in a thread's query which command it waits for. For `MongoClient(event_listeners=…)`."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Note a command that was sent, and its session."""
        question: Question | None = getattr(_asked, "question", None)
        session = event.command.get("lsid")
        if question is not None and session is not None:
            known = event.command.get("getMore")
            cursors = [known] if known is not None else event.command.get("cursors", ())
            question.begins({"id": session["id"]}, cursors)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Note that the command has succeeded, and its open cursor."""
        cursor = event.reply.get("cursor")
        self._ended(int(cursor.get("id", 0)) if cursor is not None else 0)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Note that the command has failed."""
        del event
        self._ended()

    def _ended(self, cursor: int = 0) -> None:
        question: Question | None = getattr(_asked, "question", None)
        if question is not None:
            question.ends(cursor)


class _Told(NamedTuple, Generic[T]):
    """A result, and the documents that it contains data of."""

    answer: T
    documents: list[tuple[str, Any]]


class _Turn(NamedTuple):
    """The task to ask for others too.

    Attributes:
        companions: those who get the same answer.
        waiting: those who have come since the asking began, for the next one.
    """

    companions: list[asyncio.Future[Any]]
    waiting: list[asyncio.Future[Any]]


class Asker:
    """Runs queries on the history for all requests.

    Args:
        client: client of the history deployment, with a `CommandListener`.
        access_log: logs the documents that were read; None: they are not logged.
    """

    def __init__(
        self, client: MongoClient[Any], reader: Reader, limits: Limits, access_log: AccessLog | None = None
    ) -> None:
        self._client = client
        self.reader = reader
        self.limits = limits
        self._access_log = access_log
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="ask")
        self._killer = ThreadPoolExecutor(2, thread_name_prefix="stop")
        self._counts = EventCounter(reader)
        self._rounds: dict[Hashable, list[asyncio.Future[Any]]] = {}
        self._under_way = 0
        self._stopping: set[asyncio.Task[None]] = set()

    async def ask(self, request: Request, work: Callable[[VisibleHistory], T], *, slow: bool = False) -> T:
        """Run a query with the rights of the request's visitor.

        Args:
            work: receives the history that the visitor may read; runs in a thread. Its result must be complete: a
                cursor cannot leave the thread.
            slow: it may take as long as a streamed response.

        Raises:
            ClientGoneError: the client has disconnected.
            watcher.web.problems.Problem: there are too many requests, or the query takes too long.
        """
        return (await self._ask(request, Question(), work, slow=slow)).answer

    async def ask_together(
        self, request: Request, key: Hashable, work: Callable[[VisibleHistory], T], *, slow: bool = False
    ) -> T:
        """Run a query once for all requests that need the same result at the same time.

        Requests that arrive while the query runs wait for the next run, which serves all of them. It starts after each
        of them arrived, so no request gets a result that is older than itself.

        Args:
            key: identifies the query and the rights of the visitor.
        """
        waiting = self._rounds.get(key)
        if waiting is None:
            return await self._lead(request, key, work, _Turn([], []), slow=slow)
        mine: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        waiting.append(mine)
        try:
            found = await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and isinstance(turn := mine.result(), _Turn):
                turn.waiting.extend(turn.companions)
                self._hand_on(key, turn.waiting)
            raise
        if isinstance(found, _Turn):
            return await self._lead(request, key, work, found, slow=slow)
        told: _Told[T] = found
        if self._access_log is not None:
            self._access_log.note(request, told.documents)
        return told.answer

    async def _lead(
        self, request: Request, key: Hashable, work: Callable[[VisibleHistory], T], turn: _Turn, *, slow: bool
    ) -> T:
        """Ask for oneself and those who wait already; who comes meanwhile waits for the next turn."""
        self._rounds[key] = turn.waiting
        try:
            told = await self._ask(request, Question(), work, slow=slow)
        except (ClientGoneError, asyncio.CancelledError):
            turn.waiting.extend(turn.companions)  # somebody else asks for them
            raise
        except Exception as error:
            for each in turn.companions:
                if not each.done():
                    each.set_exception(error)
            raise
        else:
            for each in turn.companions:
                if not each.done():
                    each.set_result(told)
            return told.answer
        finally:
            self._hand_on(key, turn.waiting)

    def _hand_on(self, key: Hashable, waiting: list[asyncio.Future[Any]]) -> None:
        """Let the first waiting request run the query for all of them."""
        left = [each for each in waiting if not each.done()]
        if not left:
            del self._rounds[key]
            return
        turn = _Turn(left[1:], [])
        self._rounds[key] = turn.waiting
        left[0].set_result(turn)

    async def _ask(
        self, request: Request, question: Question, work: Callable[[VisibleHistory], T], *, slow: bool
    ) -> _Told[T]:
        loop = asyncio.get_running_loop()
        seconds = self.limits.stream_seconds if slow else self.limits.seconds
        self._enter()
        try:
            answer = loop.run_in_executor(self._pool, self._answer, request, question, seconds, work)
            answer.add_done_callback(self._leave)
        except BaseException:
            self._leave()
            raise
        await self._wait(request, question, answer)
        return _Told(answer.result(), question.documents)

    async def stream(
        self, request: Request, work: Callable[[VisibleHistory], Iterator[bytes]]
    ) -> AsyncGenerator[bytes]:
        """Run a query with a result of any length, in chunks; no more is read than the client receives.

        The response should begin only after the first chunk, so that errors until then become an error response.
        """
        question, loop = Question(), asyncio.get_running_loop()
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        room = threading.Semaphore(_AHEAD)

        def produce(history: VisibleHistory) -> None:
            for piece in work(history):
                self._note(request, history)
                while not room.acquire(timeout=0.5):
                    question.check()
                question.check()
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        self._enter()
        try:
            answer = loop.run_in_executor(
                self._pool, self._answer, request, question, self.limits.stream_seconds, produce
            )
            answer.add_done_callback(self._leave)
        except BaseException:
            self._leave()
            raise
        answer.add_done_callback(lambda _: pieces.put_nowait(None))
        gone = asyncio.ensure_future(_gone(request))
        gone.add_done_callback(lambda _: pieces.put_nowait(None))
        given = False
        try:
            while (piece := await pieces.get()) is not None:
                given = True
                yield piece
                room.release()
            if answer.done():
                answer.result()
            elif not given:
                raise ClientGoneError
        finally:
            gone.cancel()
            if not answer.done():
                await asyncio.shield(self._stop(question, answer))

    def visible(self, visitor: Visitor) -> VisibleHistory:
        """The history as a visitor may read it, to filter events already read; it must not be queried."""
        return VisibleHistory(self.reader, visitor, Question(), self._counts)

    async def answers(self) -> bool:
        """Whether the history deployment replies at the moment."""

        def ping() -> bool:
            try:
                with pymongo.timeout(_PING_S):
                    self._client.admin.command("ping")
            except PyMongoError:
                return False
            return True

        return await asyncio.get_running_loop().run_in_executor(self._killer, ping)

    def _enter(self) -> None:
        if self._under_way >= self.limits.threads + self.limits.waiting:
            raise problems.busy()
        self._under_way += 1

    def _leave(self, _: Any = None) -> None:
        self._under_way -= 1

    def _answer(self, request: Request, question: Question, seconds: float, work: Callable[[VisibleHistory], T]) -> T:
        question.check()  # it may have waited for its turn
        _asked.question = question
        try:
            with pymongo.timeout(seconds):
                history = VisibleHistory(self.reader, request.state.visitor, question, self._counts)
                answer = work(history)
                question.documents = self._note(request, history)
                return answer
        except UnknownStateError as error:
            error.reason = self.visible(request.state.visitor).reason(error.reason)
            raise
        except PyMongoError:
            question.check()
            raise
        finally:
            _asked.question = None

    def _note(self, request: Request, history: VisibleHistory) -> list[tuple[str, Any]]:
        documents = history.taken()
        if self._access_log is not None:
            self._access_log.note(request, documents)
        return documents

    async def _wait(self, request: Request, question: Question, answer: asyncio.Future[Any]) -> None:
        gone = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait({gone, answer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            left = not answer.done()
            if left:
                await asyncio.shield(self._stop(question, answer))
        if left:
            with suppress(Exception):
                answer.result()
            raise ClientGoneError

    def _stop(self, question: Question, answer: asyncio.Future[Any]) -> asyncio.Task[None]:
        """Cancel a query that no client waits for any more; the task ends with its thread."""

        async def until_ended() -> None:
            loop = asyncio.get_running_loop()
            while not answer.done():
                await loop.run_in_executor(self._killer, question.cancel, self._client)
                await asyncio.wait({answer}, timeout=_AGAIN_S)

        stopping = asyncio.create_task(until_ended())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)
        return stopping

    def close(self) -> None:
        """Shut down the threads; what they wait for is limited in time."""
        self._counts.close()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._killer.shutdown(wait=False, cancel_futures=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
