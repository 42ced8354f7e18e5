"""Running one lab: here, or wherever a Dask worker is."""

import importlib.metadata
import json
import os
import platform
import signal
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import lthkit
from lthkit import files
from lthkit.lab import PREFIX, TABLE, VERDICT

LIMIT = 60  # minutes of a task
CHILD = Path(__file__).with_name("child.py")
THREADS = 1
MIMES = {"verdicts": VERDICT, "tables": TABLE}  # what a record takes of what a lab quotes
_running: set[subprocess.Popen] = set()


def execute(notebook: str, runs: list[dict], limit: float = LIMIT) -> dict:
    """Run a lab, given as text, once with each of `runs`, in a process of its own, for at most `limit` minutes.

    Its home is an empty temporary folder: nothing that a reader stored counts.
    Returns {"verdicts": [{key: Verdict.to_dict()} of each run], "tables": [{key: {column: values}} of each run], …}
    with facts about the machine, or {"error": a line}.
    """
    began = time.monotonic()
    job = {"notebook": notebook, "runs": runs, "mimes": {kind: PREFIX + mime for kind, mime in MIMES.items()}}
    try:
        with tempfile.TemporaryDirectory(prefix="lthkit-", ignore_cleanup_errors=True) as home:
            outcome = _answer(job, Path(home), limit)
    except OSError as error:  # no room for the folder
        outcome = {"error": str(error)}
    if "error" in outcome:
        return outcome
    found = {k: [{key: json.loads(text) for key, text in run.items()} for run in outcome[k]] for k in MIMES}
    return {**found, "seconds": round(time.monotonic() - began, 1), **facts()}


def stop() -> None:
    """Kill what `execute` has running in other threads."""
    for process in tuple(_running):
        _kill(process)


def in_child(what: str, job: Mapping, limit: float, env: Mapping[str, str], folder: Path | None = None) -> dict:
    """What `child.py` answers to a job, in a process of its own, for at most `limit` minutes; or {"error": a line}."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(CHILD), what, str(os.getpid())], cwd=folder, env=env,
        start_new_session=True, text=True, encoding="utf-8",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    _running.add(process)
    try:
        said, problem = process.communicate(json.dumps(job), timeout=60 * limit)
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {limit:g} minutes"}
    finally:
        _kill(process)  # its kernel follows it
        process.communicate()
        _running.discard(process)
    if process.returncode == 0:
        return json.loads(said)
    last = [line.strip() for line in problem.splitlines() if line.strip()]
    return {"error": last[-1] if last else f"its process ended with status {process.returncode}"}


def environment() -> dict[str, str]:
    """That of a child: this lthkit and no other, and one thread."""
    path = [str(Path(lthkit.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    threads = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    own = dict.fromkeys(threads, str(THREADS)) | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    return os.environ | own | {"MPLBACKEND": "agg", "TQDM_DISABLE": "1"}


def facts() -> dict:
    """Of this machine and its software."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    versions |= {"python": platform.python_version(), "lthkit": lthkit.__version__}
    return {"versions": versions, "commit": _commit(), "processor": _processor(), "threads": THREADS}


def _answer(job: Mapping, home: Path, limit: float) -> dict:
    spec = {"argv": [sys.executable, "-P", str(CHILD), "kernel", "-f", "{connection_file}"]}
    spec |= {"display_name": "lthkit", "language": "python"}
    for folder in ("work", "data/kernels/lthkit"):
        (home / folder).mkdir(parents=True)
    files.write_text(home / "data/kernels/lthkit/kernel.json", json.dumps(spec))
    return in_child("run", job, limit, _environment(home), home / "work")


def _kill(process: subprocess.Popen) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _environment(home: Path) -> dict[str, str]:
    ours = ("LTHKIT_", "JUPYTER", "IPYTHON")
    kept = {name: value for name, value in environment().items() if not name.startswith(ours)}
    kept["PYTHONUSERBASE"] = site.getuserbase()  # packages in the true home stay in reach
    folders = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "run"}
    folders |= {"IPYTHONDIR": "ipython", "HOME": "."}
    return kept | {name: str(home / folder) for name, folder in folders.items()}


def _commit() -> str | None:
    """Of the git checkout that lthkit was imported from: the last that touched it."""
    command = ["git", "-C", Path(lthkit.__file__).parent, "log", "-1", "--format=%H", "--", "."]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
