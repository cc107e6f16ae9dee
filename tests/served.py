"""`raretune dashboard` as a process that serves, and a study for it to show."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from trainer.config import TrainConfig

RARETUNE = Path(sys.executable).with_name("raretune")
CONFIG = TrainConfig().model_dump(mode="json")
NESTED = {"config": CONFIG, "stack": [1, 2], "owner": "c104/pid 8972"}
FLAT = {"seconds": 2.5, "recall": 0.5, "zeal": "a", "macro_f1": 0.25}


@contextmanager
def running(*arguments):
    """Run the command until the block ends; hand out the process and its address."""
    command = [RARETUNE, "dashboard", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def fetched(address):
    with urlopen(address, timeout=30) as answer:
        return answer.read().decode()
