"""Where a search's time goes: the shares of products, elementwise work, draws, metrics, storage.

    python benchmarks/shares.py [--trials 60] [--batch_size 32] [--json]

A real search of the nafld study runs in one process, one torch thread, with SQLite; with
--batch_size, all its trials train the job of the other comparisons, two hidden layers of 128, in
batches of that size. Every few milliseconds the line that it is at is looked up, innermost first: C
and torch let go of the lock while they compute, so samples fall anywhere. steps.c says itself what
it is doing; elsewhere a line that multiplies matrices counts as products, whatever else the same
function does as elementwise.
"""

import argparse
import ctypes
import json
import linecache
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import torch

if not __package__:  # run as a file: what it imports lies a folder up
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from search.run import run_search
from search.session import prepare
from search.workspace import Workspace
from studies.definition import load_definition
from trainer.steps.native import library

EVERY_SECONDS = 0.003
PARTS = {  # by file, the first that is found from the innermost call outwards
    "trainer/stack/model.py": "elementwise",
    "trainer/stack/losses.py": "elementwise",
    "trainer/stack/optimizer.py": "optimizer",
    "trainer/stack/draws.py": "draws",
    "trainer/scores/metrics.py": "metrics",
    "trainer/scores/thresholds.py": "metrics",
    "trainer/loop/validation.py": "metrics",
    "trainer/stack/tensors.py": "metrics",
    "trainer/loop/members.py": "metrics",
    "trainer/scores/promise.py": "metrics",
    "trainer/scores/evaluation.py": "metrics",
    "trainer/scores/selection.py": "correction",
    "search/waves/resampled.py": "correction",
    "search/appraisal/corrected.py": "report",
    "trainer/scores/doubts.py": "report",
    "trainer/scores/bootstrap.py": "report",
    "trainer/importance.py": "report",
    "search/evidence/evaluation.py": "report",
    "search/report/page.py": "report",
    "search/figures/study.py": "report",
    "trainer/checkpoint.py": "checkpoints",
    "search/store/artifacts.py": "checkpoints",
    "optuna/samplers": "sampler",
    "search/space/cma.py": "sampler",
    "search/space/pruning.py": "storage",
    "search/store/transactions.py": "storage",
    "optuna/": "storage",
    "sqlalchemy/": "storage",
    "trainer/steps/epoch.py": "elementwise",
    "trainer/stack/stack.py": "elementwise",
    "trainer/loop/fit.py": "bookkeeping",
    "search/": "bookkeeping",
}
IN_C = ("trainer/steps/in_c.py", "trainer/steps/inference.py")
UNDER_WAY = ("products", "elementwise", "gather", "optimizer")  # as steps.c counts them
PRODUCTS = ("bmm(", "addmm(", " @ ")
GATHER = "index_select("


def part_of(frame: FrameType | None) -> str:
    """Return which part a call belongs to."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.endswith(IN_C) and (found := library()):
            return UNDER_WAY[ctypes.c_int.in_dll(found, "under_way").value]
        for place, part in PARTS.items():
            if place in path:
                line = linecache.getline(path, frame.f_lineno or 0)
                if any(name in line for name in PRODUCTS):
                    return "products"
                return "gather" if GATHER in line else part
        frame = frame.f_back
    return "other"


@contextmanager
def sampled() -> Iterator[Counter[str]]:
    """Count where this thread is, every EVERY_SECONDS, while the block runs."""
    counts: Counter[str] = Counter()
    thread, stop = threading.get_ident(), threading.Event()

    def look() -> None:
        while not stop.wait(EVERY_SECONDS):
            counts[part_of(sys._current_frames().get(thread))] += 1

    sampler = threading.Thread(target=look)
    sampler.start()
    try:
        yield counts
    finally:
        stop.set()
        sampler.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--batch_size", type=int, help="of the job; by default as searched")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    overrides = {"budget": {"trials": arguments.trials}, "workers": 1}
    if arguments.batch_size:
        job = {"hidden_dim": [128], "num_layers": [2]}
        overrides["space"] = {"batch_size": [arguments.batch_size], **job}
    with tempfile.TemporaryDirectory() as folder:
        session = prepare(load_definition("nafld", overrides), Workspace(Path(folder)), None, "cpu")
        started, busy = time.monotonic(), time.process_time()
        with sampled() as counts:
            run_search(session, should_stop=lambda: False, on_progress=lambda progress: None)
        seconds, busy = time.monotonic() - started, time.process_time() - busy
    shares = {part: count / counts.total() for part, count in counts.most_common()}
    shares["idle"] = max(0.0, 1 - busy / seconds)
    if arguments.json:
        print(json.dumps({"seconds": seconds, "shares": shares}))
        return
    print(f"{arguments.trials} trials in {seconds:.0f} s, {counts.total()} samples")
    for part, share in shares.items():
        print(f"{part:12}{100 * share:6.1f} %")


if __name__ == "__main__":
    main()
