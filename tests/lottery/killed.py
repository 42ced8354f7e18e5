"""A process that makes the same long call again and again, each time in a child that may be killed; a script.

Reads lines of JSON {what, folder, log, out, delay} and answers each with one {status, seconds}.  what: a name from
`WORK`.  folder: the checkpoint.  log: a file that gets a line for each fit, as it begins.  out: a file that gets the
result, pickled.  delay: seconds after which the child gets SIGKILL, or null.
A fork spares each child the seconds that importing torch takes; it works as the parent never uses torch.
"""

import json
import os
import pickle
import signal
import sys
import time
import traceback
from pathlib import Path

import torch

from lthkit import checkpoints, lottery, supermask
from lthkit.data import Dataset
from lthkit.lottery import Arm
from lthkit.networks import Dense

ARMS = [Arm("rewind"), Arm("one shot", "random", mask_0="freeze", schedule="one_shot")]
ROUNDS, SEEDS, STEPS = 2, [5, 2, 11], 75


def images() -> Dataset:
    generator = torch.Generator().manual_seed(0)
    parts = [(torch.rand(n, 1, 4, 4, generator=generator), torch.arange(n) % 3) for n in (90, 20, 30)]
    return Dataset.from_tensors("small", *parts)


def search(checkpoint, log=None):
    """log: called with the name of each fit as it begins."""
    fit = lottery.fit

    def logged(*given, checkpoint=None, **named):
        if log is not None:
            log(checkpoint.prefix.rstrip("-"))
        return fit(*given, checkpoint=checkpoint, **named)

    lottery.fit = logged
    try:
        return lottery.search(
            Dense("small", [16, 12, 3]), images(), SEEDS, ROUNDS, arms=ARMS, iterations=STEPS, batch_size=15,
            eval_every=25, checkpoint=checkpoint,
        )  # fmt: skip
    finally:
        lottery.fit = fit


def learn(checkpoint, log=None):
    return supermask.learn(
        Dense("small", [16, 12, 3]), images(), SEEDS, iterations=2 * STEPS, batch_size=15, checkpoint=checkpoint
    )


WORK = {"search": search, "learn": learn}


def child(what: str, folder: str, log: str, out: str) -> None:
    torch.set_num_threads(2)
    checkpoints.EVERY = 0.01

    def append(line: str) -> None:
        with open(log, "a") as file:
            file.write(line + "\n")

    result = WORK[what](folder, append)
    Path(out).write_bytes(pickle.dumps(result))


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        delay = task.pop("delay")
        began = time.monotonic()
        pid = os.fork()
        if not pid:
            try:
                child(**task)
            finally:  # what an error says goes the way of all errors, but the rest of this script is the parent's
                error = sys.exc_info()[1]
                if error is not None:
                    traceback.print_exception(error)
                os._exit(error is not None)
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if delay is not None and time.monotonic() - began >= delay:
                os.kill(pid, signal.SIGKILL)
                ended = os.waitpid(pid, 0)
                break
            time.sleep(0.001)
        status = os.waitstatus_to_exitcode(ended[1])
        print(json.dumps({"status": status, "seconds": time.monotonic() - began}), flush=True)


if __name__ == "__main__":
    main()
