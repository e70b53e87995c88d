"""One worker as its supervisor sees it: a process that was started by exec, and the post to it."""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Callable, Sequence

import msgspec

from teahouse.cli.doors import Doors
from teahouse.cli.post import Place, Post

_STDERR = 2
_ENDS_WITHIN_SECONDS = 5.0
# -P: a file in the working directory must not stand in for a library of the same name.
_START = "import sys; from teahouse.cli import main; sys.exit(main(prog_name='teahouse'))"
_COMMAND = (sys.executable, "-P", "-c", _START)


class WorkerProcess:
    """``ready_at`` and ``deadline`` are moments of ``time.monotonic``, None until it serves and until it is to end."""

    def __init__(self, process: subprocess.Popen[bytes], post: Post) -> None:
        self.post = post
        self.pid = process.pid
        self.ready_at: float | None = None
        self.deadline: float | None = None
        self._process = process

    def kill(self) -> None:
        """At once; nothing where it has ended."""
        self._process.kill()

    def reap(self) -> int:
        """Its exit status, negative for a signal. It has closed its post, so it has ended or never will."""
        self.post.close()
        try:
            return self._process.wait(_ENDS_WITHIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


# The worker's number, and the doors of all.
Start = Callable[[int, Sequence[Doors]], WorkerProcess]


def start(words: Sequence[str], index: int, doors: Sequence[Doors]) -> WorkerProcess:
    """``teahouse WORDS`` as a worker. Raises ``OSError`` where there is no room for another process."""
    post, theirs = Post.pair()
    with theirs:
        numbers = tuple(tuple(door.fileno() for door in each) for each in doors)
        place = Place(index, theirs.fileno(), numbers)
        inherited = [theirs.fileno(), *(number for each in numbers for number in each)]
        try:
            process = subprocess.Popen(  # noqa: S603  # this same command
                [*_COMMAND, *words, "--as-worker", msgspec.json.encode(place).decode()],
                stdin=subprocess.DEVNULL,
                pass_fds=inherited,
                # Ctrl-C reaches the supervisor alone, which stops them in order.
                start_new_session=True,
            )
        except OSError:
            post.close()
            raise
    return WorkerProcess(process, post)


def say(line: str) -> None:
    """A line to standard error, or nobody: a reader who does not read must not hold up the supervisor."""
    _, writable, _ = select.select([], [_STDERR], [], 0)
    if writable:
        sys.stderr.write(f"teahouse: {line}\n")
        sys.stderr.flush()
