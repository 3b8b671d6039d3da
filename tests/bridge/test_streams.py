import asyncio
import gc
import logging
import weakref
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from fluidmcp.bridge.streams import EventReader, EventStream, SessionStreams, StreamLimits
from fluidmcp.protocol.jsonrpc import Json

LIMITS = StreamLimits(
    max_events=4, max_general_bytes=40, max_request_bytes=50, max_finished_streams=3, max_finished_bytes=70
)
SIZES = st.sampled_from([10, 10, 10, 15, 20, 30, 80])
"""Of messages, so that their sums often meet a bound exactly."""
STREAMS = st.integers(0, 4)


async def settle() -> None:
    """Let every task run until it waits for something; nothing here waits for the world outside."""
    for _ in range(5):
        await asyncio.sleep(0)


async def read_all(stream: EventStream, after: int | None = None) -> list[tuple[int, Json]]:
    """All events of a stream that ends."""
    async with asyncio.timeout(30):
        return [event async for event in stream.read(after)]


async def next_event(reader: EventReader) -> tuple[int, Json]:
    return await anext(reader)


async def test_a_message_that_waits_without_a_reader_goes_to_the_first_one_that_comes() -> None:
    general = SessionStreams().general
    general.push(b"1")
    reader = general.read()
    assert await anext(reader) == (1, b"1")
    waiting = asyncio.create_task(next_event(reader))
    await settle()
    assert not waiting.done()
    general.push(b"2")
    async with asyncio.timeout(30):
        assert await waiting == (2, b"2")


async def test_a_reader_without_an_event_id_gets_nothing_twice() -> None:
    general = SessionStreams().general
    for data in (b"1", b"2"):
        general.push(data)
    first = general.read()
    assert await anext(first) == (1, b"1")
    first.leave()
    assert await anext(general.read()) == (2, b"2")


async def test_a_stream_that_has_ended_is_resumed_after_the_event_that_came_last() -> None:
    streams = SessionStreams()
    stream, other = streams.open_stream(), streams.open_stream()
    other.push(b"of another stream")
    for data in (b"progress", b"more progress", b"answer"):
        stream.push(data)
    stream.end()
    reader = stream.read()
    sequence, _ = await anext(reader)
    reader.leave()
    found = streams.find(streams.encode_id(stream, sequence).decode())
    assert found == (stream, 1)
    assert await read_all(stream, 1) == [(2, b"more progress"), (3, b"answer")]


async def test_a_primed_stream_is_resumed_before_its_first_event() -> None:
    streams = SessionStreams()
    stream = streams.open_stream()
    found = streams.find(streams.encode_id(stream, 0).decode())
    stream.push(b"answer")
    stream.end()
    assert found is not None
    assert await read_all(*found) == [(1, b"answer")]


async def test_a_new_reader_takes_the_place_of_the_old_one_which_yields_nothing_more() -> None:
    general = SessionStreams().general
    old = general.read()
    waiting = asyncio.create_task(next_event(old))
    await settle()
    new = general.read()
    general.push(b"1")
    async with asyncio.timeout(30):
        with pytest.raises(StopAsyncIteration):
            await waiting
        assert await anext(new) == (1, b"1")
    old.leave()
    assert general.has_reader
    with pytest.raises(StopAsyncIteration):
        await anext(old)


async def test_a_reader_whose_client_left_before_it_began_finishes_at_once() -> None:
    general = SessionStreams().general
    reader = general.read()
    assert general.has_reader
    general.leave()
    assert not general.has_reader
    general.push(b"1")
    assert [event async for event in reader] == []
    assert general.last_given == 0


async def test_a_reader_that_is_cancelled_leaves_its_event_to_the_next() -> None:
    general = SessionStreams().general

    async def serve() -> None:
        async with aclosing(general.read()) as events:
            async for _ in events:
                pass

    task = asyncio.create_task(serve())
    await settle()
    general.push(b"1")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not general.has_reader
    assert await anext(general.read()) == (1, b"1")


async def test_beyond_the_bounds_the_oldest_waiting_events_go_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    stream = SessionStreams(LIMITS).open_stream()
    with caplog.at_level(logging.DEBUG, logger="fluidmcp.bridge.streams"):
        for data in (b"a", b"b", b"c", b"d", b"secret", b"f"):
            stream.push(data)
    stream.end()
    assert stream.dropped_count == 2
    assert await read_all(stream) == [(3, b"c"), (4, b"d"), (5, b"secret"), (6, b"f")]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "secret" not in record.getMessage()


@pytest.mark.parametrize(("size", "kept"), [(10, 4), (20, 2), (21, 1), (40, 1), (41, 1)])
async def test_events_stay_up_to_the_bounds_exactly(size: int, kept: int) -> None:
    general = SessionStreams(LIMITS).general
    for _ in range(8):
        general.push(b"x" * size)
    general.end()
    assert general.kept_bytes == kept * size
    assert general.dropped_count == 8 - kept
    assert len(await read_all(general)) == kept


@pytest.mark.parametrize(("size", "kept"), [(10, 3), (35, 2), (36, 1), (70, 1), (71, 0)])
async def test_streams_that_have_ended_stay_up_to_the_bounds_exactly(size: int, kept: int) -> None:
    streams = SessionStreams(LIMITS)
    for _ in range(5):
        stream = streams.open_stream()
        stream.push(b"x" * size)
        stream.end()
        await read_all(stream)
    assert [streams.find(f"{number}-1") is not None for number in range(1, 6)] == [False] * (5 - kept) + [True] * kept


async def test_reading_old_events_again_takes_back_no_id() -> None:
    streams = SessionStreams()
    for _ in range(3):
        streams.general.push(b"1")
    first = streams.general.read()
    for _ in range(3):
        await anext(first)
    assert await anext(streams.general.read(0)) == (1, b"1")
    assert streams.find("0-3") == (streams.general, 3)


async def test_what_was_read_before_it_went_is_not_counted_as_dropped() -> None:
    stream = SessionStreams(LIMITS).open_stream()
    reader = stream.read()
    for number in range(10):
        stream.push(b"%d" % number)
        await anext(reader)
    assert stream.dropped_count == 0
    stream.end()
    assert await read_all(stream, 1) == [(7, b"6"), (8, b"7"), (9, b"8"), (10, b"9")]


async def test_an_answer_larger_than_every_bound_reaches_its_reader_and_can_be_resumed_until_it_did() -> None:
    streams = SessionStreams(LIMITS)
    stream = streams.open_stream()
    stream.push(b"x" * 1000)
    stream.end()
    assert streams.find("1-0") == (stream, 0)
    assert await read_all(stream) == [(1, b"x" * 1000)]
    assert streams.find("1-0") is None


def test_a_position_that_was_never_given_cannot_be_read_from() -> None:
    general = SessionStreams().general
    general.push(b"1")
    for after in (-1, 1):
        with pytest.raises(ValueError, match="none of them"):
            general.read(after)
    assert not general.has_reader


NO_SUCH_IDS = (
    *("", "0", "0-", "-0", "0-0-0", "0-0\n", " 0-0", "00-0", "0-00", "0-+0", "0_0", "٠-0", "0-²", "0-1", "2-0"),
    *("9" * 16 + "-0", "0-" + "0" * 100_000, "0-" + "9" * 100_000),
)


@pytest.mark.parametrize("text", NO_SUCH_IDS, ids=range(len(NO_SUCH_IDS)))
def test_a_text_that_is_no_id_of_this_session_finds_nothing(text: str) -> None:
    streams = SessionStreams()
    stream = streams.open_stream()
    assert streams.find("0-0") == (streams.general, 0)
    assert streams.find("1-0") == (stream, 0)
    assert streams.find(text) is None


async def test_a_closed_session_ends_its_readers_and_resumes_nothing() -> None:
    streams = SessionStreams()
    finished, running = streams.open_stream(), streams.open_stream()
    finished.end()
    waiting = [asyncio.create_task(next_event(stream.read())) for stream in (streams.general, running)]
    await settle()
    streams.close_all()
    streams.close_all()
    async with asyncio.timeout(30):
        for task in waiting:
            with pytest.raises(StopAsyncIteration):
                await task
    assert [streams.find(text) for text in ("0-0", "1-0", "2-0")] == [None] * 3
    late = streams.open_stream()
    assert late.is_ended
    assert await read_all(late) == []
    assert streams.find("3-0") is None


async def test_a_thousand_requests_leave_nothing_but_what_can_be_resumed() -> None:
    streams = SessionStreams(LIMITS)

    async def serve() -> weakref.ref[EventStream]:
        stream = streams.open_stream()
        stream.push(b"answer")
        stream.end()
        await read_all(stream)
        return weakref.ref(stream)

    seen = [await serve() for _ in range(1000)]
    gc.collect()
    assert [reference() is not None for reference in seen] == [False] * 997 + [True] * 3


@dataclass(eq=False)
class ModelReader:
    reader: EventReader
    cursor: int
    waiting: "asyncio.Task[tuple[int, Json]] | None" = None


@dataclass(eq=False)
class ModelStream:
    """Remembers everything that was ever pushed, and derives from it what must be the case."""

    stream: EventStream
    max_bytes: int
    history: list[Json] = field(default_factory=list[Json])
    given: set[int] = field(default_factory=set[int])
    is_ended: bool = False
    is_read_to_end: bool = False
    reader: ModelReader | None = None

    @property
    def last_given(self) -> int:
        return max(self.given, default=0)

    @property
    def kept(self) -> list[int]:
        """Sequence numbers: the longest tail within the bounds, or the newest alone."""
        numbers = list(range(1, len(self.history) + 1))
        for start in range(len(numbers)):
            tail = numbers[start:]
            if len(tail) <= LIMITS.max_events and self.count_bytes(tail) <= self.max_bytes:
                return tail
        return numbers[-1:]

    def count_bytes(self, numbers: list[int]) -> int:
        return sum(len(self.history[number - 1]) for number in numbers)

    @property
    def kept_bytes(self) -> int:
        return self.count_bytes(self.kept)

    @property
    def dropped_count(self) -> int:
        return len(set(range(1, len(self.history) + 1)) - set(self.kept) - self.given)


class Streams(RuleBasedStateMachine):
    """A session's streams beside the naive model, with readers that take one event at a time, or wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()
        self.streams = SessionStreams(LIMITS)
        self.models = [ModelStream(self.streams.general, LIMITS.max_general_bytes)]
        self.ended: list[ModelStream] = []
        self.gone: list[ModelReader] = []
        self.is_closed = False
        self.pushed_count = 0

    def teardown(self) -> None:
        self.streams.close_all()
        self.runner.close()

    def pick(self, index: int) -> ModelStream:
        """The general stream (0), or one of the newest (1 is the last); the general one where there are not so many."""
        return self.models[-index] if 0 < index < len(self.models) else self.models[0]

    def settle(self) -> None:
        self.runner.run(settle())
        for model in self.models:
            self.check_waiting(model)

    def check_waiting(self, model: ModelStream) -> None:
        """The task of a reader that waits has ended if and only if there is something for it."""
        reader = model.reader
        if reader is None or reader.waiting is None:
            return
        following = [number for number in model.kept if number > reader.cursor]
        if following:
            assert reader.waiting.done()
            sequence, data = reader.waiting.result()
            assert (sequence, data) == (following[0], model.history[following[0] - 1])
            reader.cursor = sequence
            model.given.add(sequence)
            reader.waiting = None
        elif model.is_ended:
            assert isinstance(reader.waiting.exception(), StopAsyncIteration)
            model.is_read_to_end = True
            model.reader = None
        else:
            assert not reader.waiting.done()

    def end(self, model: ModelStream) -> None:
        if not model.is_ended:
            model.is_ended = True
            self.ended.append(model)

    def dismiss(self, model: ModelStream) -> None:
        """The model's reader is no longer the stream's; whatever it waited for does not come."""
        if model.reader is not None:
            self.gone.append(model.reader)
            model.reader = None

    @rule()
    def open(self) -> None:
        model = ModelStream(self.streams.open_stream(), LIMITS.max_request_bytes, is_ended=self.is_closed)
        assert model.stream.number == len(self.models)
        self.models.append(model)

    @rule(index=STREAMS, sizes=st.lists(SIZES, min_size=1, max_size=6))
    def push(self, index: int, sizes: list[int]) -> None:
        """Several at once: no reader runs in between."""
        model = self.pick(index)
        for size in sizes:
            self.pushed_count += 1
            data = b"%0*d" % (size, self.pushed_count)
            model.stream.push(data)
            if not model.is_ended:
                model.history.append(data)
        self.settle()

    @rule(index=STREAMS.filter(bool))
    def answer(self, index: int) -> None:
        model = self.pick(index)
        if model.stream is not self.streams.general:
            model.stream.end()
            self.end(model)
        self.settle()

    @rule(sizes=st.lists(SIZES, min_size=1, max_size=2), is_read=st.booleans())
    def serve(self, sizes: list[int], is_read: bool) -> None:
        """A whole request, whose client takes everything or is not there."""
        self.open()
        self.push(1, sizes)
        self.answer(1)
        if is_read:
            self.read(1, len(sizes) + 1)

    @rule(index=STREAMS, count=st.integers(0, 5))
    def read(self, index: int, count: int) -> None:
        model = self.pick(index)
        self.dismiss(model)
        model.reader = ModelReader(model.stream.read(), model.last_given)
        self.take(index, count)

    @rule(index=STREAMS, back=st.integers(0, 6), count=st.integers(0, 5))
    def resume(self, index: int, back: int, count: int) -> None:
        model = self.pick(index)
        after = max(0, model.last_given - back)
        found = self.streams.find(f"{model.stream.number}-{after}")
        assert (found is not None) == (model in self.list_resumable())
        if found is not None:
            assert found == (model.stream, after)
            self.dismiss(model)
            model.reader = ModelReader(found[0].read(found[1]), after)
            self.take(index, count)

    @rule(index=STREAMS, count=st.integers(1, 5))
    def take(self, index: int, count: int) -> None:
        model = self.pick(index)
        for _ in range(count):
            if model.reader is not None and model.reader.waiting is None:
                model.reader.waiting = self.loop.create_task(next_event(model.reader.reader))
                self.settle()

    @rule(index=STREAMS, way=st.sampled_from(["stream", "reader", "aclose"]))
    def leave(self, index: int, way: str) -> None:
        model = self.pick(index)
        if way == "stream":
            model.stream.leave()
        elif model.reader is not None and way == "reader":
            model.reader.reader.leave()
        elif model.reader is not None:
            self.runner.run(model.reader.reader.aclose())
        self.dismiss(model)
        self.settle()

    @precondition(lambda self: self.gone)
    @rule()
    def leave_again(self) -> None:
        """The late disconnect of a reader that another one has replaced."""
        for reader in self.gone:
            reader.reader.leave()

    @precondition(lambda self: len(self.models) > 15)
    @rule()
    def close(self) -> None:
        self.streams.close_all()
        for model in self.models:
            self.end(model)
        self.is_closed = True
        self.settle()

    def list_resumable(self) -> list[ModelStream]:
        if self.is_closed:
            return []
        unfinished = [model for model in self.models if not model.is_ended]
        for start in range(len(self.ended)):
            tail = self.ended[start:]
            total = sum(model.kept_bytes for model in tail)
            if len(tail) <= LIMITS.max_finished_streams and total <= LIMITS.max_finished_bytes:
                return unfinished + tail
        return unfinished + [model for model in self.ended[-1:] if not model.is_read_to_end]

    @invariant()
    def streams_are_as_the_model_says(self) -> None:
        for model in self.models:
            stream = model.stream
            assert stream.is_ended == model.is_ended
            assert stream.is_read_to_end == model.is_read_to_end
            assert stream.has_reader == (model.reader is not None)
            assert stream.last_given == model.last_given
            assert stream.kept_bytes == model.kept_bytes
            assert stream.dropped_count == model.dropped_count

    @invariant()
    def exactly_what_was_given_by_a_kept_stream_is_found(self) -> None:
        resumable = self.list_resumable()
        for model in self.models:
            is_kept = model in resumable
            for sequence in {0, model.last_given}:
                found = self.streams.find(self.streams.encode_id(model.stream, sequence).decode())
                assert found == ((model.stream, sequence) if is_kept else None)
            assert self.streams.find(f"{model.stream.number}-{model.last_given + 1}") is None

    @invariant()
    def readers_that_are_gone_yield_nothing(self) -> None:
        for reader in self.gone:
            task = reader.waiting or self.loop.create_task(next_event(reader.reader))
            self.runner.run(settle())
            assert isinstance(task.exception(), StopAsyncIteration)
        self.gone = self.gone[-3:]


def test_streams_do_what_a_naive_model_says() -> None:
    run_state_machine_as_test(Streams, settings=settings(stateful_step_count=50, max_examples=150, deadline=None))
