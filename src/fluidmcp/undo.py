"""What has to be given back when something does not end well."""

from collections.abc import Callable
from types import TracebackType


class undo_on_failure:
    """A context that calls `undo` where its block ends by an exception, a cancellation included, and lets that go on.

    `undo` is not called after a good end: what was taken belongs to somebody else by then.
    """

    __slots__ = ("_undo",)

    def __init__(self, undo: Callable[[], object]) -> None:
        self._undo = undo

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._undo()
