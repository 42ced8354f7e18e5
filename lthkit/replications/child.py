"""A script: runs a lab or a call in a process of its own, and is a lab's kernel.  Imports nothing of lthkit itself.

`child.py run PARENT` reads a job {notebook, runs, mimes} from its input and writes {kind: [{key: text} of each
run]} or {"error": …} to its output, in JSON.  `child.py call PARENT` reads {function: "module:name", arguments} and
writes what the function returns, or {"error": …}.  `child.py kernel -f FILE` is the kernel.  All die with
their parents.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
import threading
import time


def follow(parent: int) -> None:
    """End this process within half a second of another, whatever ended that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: at once

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def run(job: dict) -> dict:
    """What each run quotes of each kind, as text, or what went wrong."""
    import nbformat
    import papermill

    found = {kind: [] for kind in job["mimes"]}
    for given in job["runs"]:
        notebook = nbformat.reads(job["notebook"], as_version=4)
        try:
            done = papermill.execute_notebook(
                notebook, None, given, kernel_name="lthkit", language="python", progress_bar=False, start_timeout=300
            )
        except papermill.PapermillExecutionError as error:
            said = f"{error.ename}: {error.evalue}".removesuffix(": ").splitlines()[0]
            return {"error": f"code cell {code_cell(notebook, error.source)} raised {said}"}
        except Exception as error:  # noqa: BLE001 (of many kinds: a dead kernel among them)
            return {"error": " ".join(f"{type(error).__name__}: {error}".split())}
        outputs = [output for cell in done.cells for output in cell.get("outputs", [])]
        for kind, mime in job["mimes"].items():
            quoted = [output for output in outputs if mime in output.get("data", {})]
            found[kind].append({out["metadata"]["scrapbook"]["name"]: out["data"][mime] for out in quoted})
    return found


def call(job: dict) -> object:
    """What a function returns, or what it raised."""
    module, _, name = job["function"].partition(":")
    try:
        return getattr(importlib.import_module(module), name)(**job["arguments"])
    except Exception as error:  # noqa: BLE001 (of whatever it does)
        return {"error": " ".join(f"{type(error).__name__}: {error}".split())}


def code_cell(notebook, source: str) -> int | str:
    """Its number among the code cells of the notebook as it stood, from 1."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return sources.index(source) + 1 if source in sources else "?"


if __name__ == "__main__":
    if sys.argv[1] == "kernel":
        follow(int(os.environ["JPY_PARENT_PID"]))
        from ipykernel.kernelapp import launch_new_instance

        launch_new_instance(argv=sys.argv[2:])
    else:
        follow(int(sys.argv[2]))
        answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)  # whatever else is printed, by a kernel too, goes the way of errors
        answer.write(json.dumps({"run": run, "call": call}[sys.argv[1]](json.load(sys.stdin))))
        answer.close()
