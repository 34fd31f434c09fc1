r"""Exponential: a filter for e-mail addresses with a repeated group in a repeated group, `(\w+)*@`.

Each character of a word that is no address doubles the time; the words of ordinary text are too short to show it. Thirty
characters hold the interpreter for ever, so a watchdog kills the server after four seconds and starts it again, as gunicorn
does. The twin looks for the sign first.
"""

from __future__ import annotations

import re

from tests.zoo.manifest import Manifest
from tests.zoo.program import main
from tests.zoo.service import Embeddings
from tests.zoo.work import Stop

MANIFEST = Manifest(
    name="exponential",
    defect="a filter before the tokenizer doubles its time with each character of a word",
    twin="the filter is linear",
    cases=("T18", "T03"),
    oracles=("slope", "twin", "stall", "liveness"),
    cwe=(1333,),
    pattern="F6",
    may_crash=True,
)
ADDRESS = re.compile(r"^(\w+)*@\w+\.\w+$")


class Filtered(Embeddings):
    """Replaces addresses before tokenising."""

    def tokenise(self, text: str, stop: Stop) -> int:
        """Tokens of the text without addresses."""
        return super().tokenise(" ".join("[ADDRESS]" if self.is_address(word) else word for word in text.split()), stop)

    def is_address(self, word: str) -> bool:
        """True for an e-mail address."""
        before, sign, after = word.partition("@")
        return bool(sign) and before.isalnum() and after.partition(".")[2].isalnum()


class Exponential(Filtered):
    """Asks the expression."""

    def is_address(self, word: str) -> bool:
        """True for an e-mail address."""
        return ADDRESS.match(word) is not None


def make(sound: bool) -> Embeddings:
    """The server."""
    return Filtered() if sound else Exponential()


if __name__ == "__main__":
    main(make, supervised=True)
