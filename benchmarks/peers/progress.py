"""What runs now, for a person who waits."""
import sys
import time


class Progress:
    """A bar of the part that runs and what runs in it, on standard error; one line that changes, on a terminal."""

    WIDTH = 20

    def __init__(self):
        self.start = time.monotonic()
        self.terminal = sys.stderr.isatty()
        self.part, self.steps, self.done = "", 1, 0

    def begin(self, part, steps):
        """`steps` is the most the part may take; it may end early."""
        self.part, self.steps, self.done = part, max(1, steps), 0

    def __call__(self, text):
        filled = min(self.WIDTH, self.WIDTH * self.done // self.steps)
        self.done += 1
        line = (f"{time.monotonic() - self.start:5.0f} s {self.part:<10} "
                f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {text}")
        print(f"\r\033[K{line}" if self.terminal else line, end="" if self.terminal else "\n", file=sys.stderr,
              flush=True)

    def note(self, text):
        print(("\r\033[K" if self.terminal else "") + f"note: {text}", file=sys.stderr, flush=True)
