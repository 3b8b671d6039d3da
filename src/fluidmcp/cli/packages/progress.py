"""A step that is under way, on a terminal: a turning sign in front of it, and a line that stays when it is over."""

from rich.console import Console
from rich.text import Text


class Spinner:
    """Not on a terminal? Then nobody needs it: `work` prints plain lines."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, emoji=False, soft_wrap=True)
        self._status = self._console.status("")
        self._text = ""

    def begin(self, text: str) -> None:
        """The step before is over, and `text`, which is printable, is what happens now."""
        self.end()
        self._text = text
        self._status.update(Text(text))
        self._status.start()

    def end(self, *, is_good: bool = True) -> None:
        """Whatever is under way is over."""
        if not self._text:
            return
        self._status.stop()
        sign = ("✓ ", "green") if is_good else ("✗ ", "red")
        self._console.print(Text.assemble(sign, self._text))
        self._text = ""
