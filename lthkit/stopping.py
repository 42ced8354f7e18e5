"""How a thread of ours is told to give up its work."""

import threading


class Stopped(Exception):
    """Raised inside work that was told to stop."""


_thread = threading.local()


def stop_at(event: threading.Event) -> None:
    """From now on, `check_stop` in this thread raises once `event` is set."""
    _thread.event = event


def check_stop() -> None:
    """Called between the pieces of any long work.  Raises `Stopped` in a thread that was told to stop."""
    event = getattr(_thread, "event", None)
    if event is not None and event.is_set():
        raise Stopped
