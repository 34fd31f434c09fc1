"""A server that gets slow under load: each answer leaves work behind that ordinary requests have to wait for, without a bound.

As when every text is indexed, logged or scored once more after it was answered, by the workers that answer. Health stays quick.
The twin leaves nothing behind.

`python -m tests.e2e.backlog --port P [--sound]`
"""

from __future__ import annotations

from tests.zoo.program import main
from tests.zoo.service import Embeddings, Job, Result
from tests.zoo.wire import Server
from tests.zoo.work import Stop, burn

# Tokens of later work for each token of a request.
LATER = 20_000


class Backlog(Embeddings):
    """The sound server of the zoo, with something to do afterwards."""

    def __init__(self, *, sound: bool) -> None:
        super().__init__()
        self.sound = sound
        self.long = self.short
        self.waiting = {self.short: 0}
        self.queue = 1000

    async def run(self, job: Job) -> Result:
        """The result; the work that it leaves behind stands in the same queue as other requests."""
        result = await super().run(job)
        if not self.sound and result.tokens > 200:
            for _ in range(2):
                self.short.submit(burn, LATER * result.tokens, Stop())
        return result


def make(sound: bool) -> Server:
    """The server."""
    return Server(Backlog(sound=sound))


if __name__ == "__main__":
    main(make)
