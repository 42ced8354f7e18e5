"""A killed `lthkit replicate` leaves no process, and the next call ends with the records of an undisturbed one."""

import os
import random
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from .course import command, comparable, course, lab

LIMIT = 900  # seconds
pytestmark = [pytest.mark.labs, pytest.mark.skipif(sys.platform != "linux", reason="reads other processes' variables")]
LABS = {f"_0{n}_x": lab(f"time.sleep({n / 10})") for n in (1, 2, 3, 4)}
SETTINGS = [f"--setting={name}" for name in ("live", "fresh", "long")]
MARK = "REPLICATED_BY"  # every process below inherits it


def alive(mark: str) -> list[psutil.Process]:
    """Processes with the mark, other than zombies."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def gone(mark: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while left := alive(mark):
        if time.monotonic() > deadline:
            print(*(process.cmdline() for process in left), sep="\n")
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = course(tmp_path_factory.mktemp("undisturbed"), **LABS)
    done = command(folder, "replicate", *SETTINGS, "--out", "found")
    assert done.wait(LIMIT) == 0, done.stderr.read()
    found = comparable(folder / "found")
    assert len(found) == 12
    return found


def test_killed_at_five_moments_the_records_are_the_same_and_no_process_is_left(undisturbed, tmp_path):
    course(tmp_path, **LABS)
    seed = int(os.environ.get("LTHKIT_KILL_SEED", random.randrange(10**6)))
    print(f"moments drawn from {seed}")
    rng, killed = random.Random(seed), []
    while len(killed) < 5:
        runner = command(tmp_path, "replicate", *SETTINGS, "--out", "found", "--workers", "2", **{MARK: str(tmp_path)})
        while len(alive(str(tmp_path))) < 2 and runner.poll() is None:  # before its first task nothing is at stake
            time.sleep(0.05)
        try:
            runner.wait(rng.uniform(0, 5))
        except subprocess.TimeoutExpired:
            killed.append(len(alive(str(tmp_path))))
            os.kill(runner.pid, signal.SIGKILL)
            runner.wait()
            assert gone(str(tmp_path), 2)
        for number, path in enumerate(sorted((tmp_path / "found").glob("*.json"))):
            assert comparable(tmp_path / "found")[path.name] == undisturbed[path.name]
            if number > 8:
                path.unlink()  # so that there is something to do for the next
    assert max(killed) > 2, "no lab was running at any of the moments"
    runner = command(tmp_path, "replicate", *SETTINGS, "--out", "found")
    assert runner.wait(LIMIT) == 0
    assert comparable(tmp_path / "found") == undisturbed


def test_an_interrupted_call_leaves_no_process(tmp_path):
    course(tmp_path, _01_x=lab("time.sleep(600)"))
    runner = command(tmp_path, "replicate", "--setting=live", "--out", "found", **{MARK: str(tmp_path)})
    while len(alive(str(tmp_path))) < 3:
        assert runner.poll() is None
        time.sleep(0.05)
    runner.send_signal(signal.SIGINT)
    assert runner.wait(20) != 0
    assert gone(str(tmp_path), 2)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_one_of_two_dask_workers_killed(undisturbed, tmp_path):
    course(tmp_path, **LABS)
    address = f"tcp://127.0.0.1:{free_port()}"
    silent = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]

    def started(mark: str, *arguments: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), MARK: mark}
        return subprocess.Popen([*dask, *arguments], env=environment, **silent)

    marks = [f"{tmp_path} {n}" for n in range(3)]
    worker = ("worker", address, "--nthreads", "1", "--no-dashboard")
    cluster = [
        started(marks[0], "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")
    ]
    cluster += [started(mark, *worker) for mark in marks[1:]]
    try:
        connect(address)
        runner = command(tmp_path, "replicate", *SETTINGS, "--out", "found", "--scheduler", address)
        while len(alive(marks[1])) < 4:  # nanny, worker, lab, kernel
            assert runner.poll() is None, runner.stderr.read()
            time.sleep(0.05)
        for process in alive(marks[1])[:2]:
            process.kill()
        assert gone(marks[1], 2)
        assert runner.wait(LIMIT) == 0, runner.stderr.read()
        assert comparable(tmp_path / "found") == undisturbed
    finally:
        for process in cluster:
            process.terminate()
            process.wait(30)
    assert all(gone(mark, 5) for mark in marks)


def connect(address: str) -> None:
    """Wait for scheduler and workers."""
    import distributed

    deadline = time.monotonic() + 60
    while True:
        try:
            with distributed.Client(address, timeout=5, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
