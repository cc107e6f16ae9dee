"""steps.c as a library in this process, compiled for this very processor and then kept.

The compiler is what $CC names, or `cc`, or Clang as the package ziglang brings it. What it made is
kept by trainer.steps.cache, under a name that changes with the source, the compiler and the
processor.
"""

import ctypes
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from trainer.steps import cache as kept_libraries

SOURCE = Path(__file__).with_name("steps.c")
ON_ARM = platform.machine() in ("arm64", "aarch64")
FLAGS = [
    *("-O3", "-mcpu=native" if ON_ARM else "-march=native", "-std=gnu11", "-fPIC", "-shared"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"),
]
MOST_SECONDS = 120
FUNCTIONS = ("lanes", "scratch_floats", "train", "predict")


@dataclass(frozen=True)
class Build:
    """The library, None where there is none; and who compiled it for what, or why nobody did.

    `unkept` says why each process has to compile it anew, if so.
    """

    library: ctypes.CDLL | None
    how: str
    unkept: str = ""


@cache
def build() -> Build:
    """Return this process's build, made at the first call."""
    try:
        compiler = _compiler()
    except ValueError as error:
        return Build(None, f"$CC can't be read ({error})")
    try:
        macros = _run([*compiler, *FLAGS, "-dM", "-E", "-xc", os.devnull])
        library, unkept = _load(compiler, macros)
    except (OSError, subprocess.SubprocessError) as error:
        if isinstance(error, FileNotFoundError) and error.filename == compiler[0]:
            return Build(None, f"there is no C compiler {shlex.join(compiler)}")
        return Build(None, f"{shlex.join(compiler)} failed: {_first_line(error)}")
    version = re.search(r'__VERSION__ "(.*)"', macros)
    lanes = ctypes.c_int.in_dll(library, "lanes").value
    how = f"C compiler {version[1] if version else '?'}, {lanes} floats at once"
    return Build(library, how, unkept)


def without_compiler() -> tuple[str, str]:
    """Return what is wrong where there is no library, and what helps."""
    return (
        f"{build().how}, so training takes about twice as long",
        'install gcc or clang, or run: pip install "raretune[compiler]"',
    )


def _compiler() -> list[str]:
    if named := shlex.split(os.environ.get("CC", "")):
        return named
    if shutil.which("cc") is None and find_spec("ziglang") is not None:
        return [sys.executable, "-m", "ziglang", "cc"]
    return ["cc"]


def _run(command: list[str]) -> str:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        text=True,
        errors="replace",
        timeout=MOST_SECONDS,
    )
    return done.stdout


def _first_line(error: OSError | subprocess.SubprocessError) -> str:
    """Return the first line that a compiler wrote before it failed, or else what the error says."""
    written = getattr(error, "stderr", None)
    lines = written.strip().splitlines() if isinstance(written, str) else []
    return lines[0] if lines else str(error).splitlines()[0]


def _load(compiler: list[str], macros: str) -> tuple[ctypes.CDLL, str]:
    """Load what was kept, or compile anew and keep it; return also why it can't be kept, if so.

    The predefined macros tell the compiler's version and all that the processor can do.
    """
    key = hashlib.sha256(f"{SOURCE.read_text(encoding='utf-8')}{FLAGS}{macros}".encode())
    name = f"steps-{key.hexdigest()[:16]}.so"
    if (library := kept_libraries.kept(name)) is not None:
        with suppress(OSError):
            return _open(library), ""
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / name
        _run([*compiler, *FLAGS, "-o", str(made), str(SOURCE), "-lm"])
        _check_loads(made)
        return _open(made), kept_libraries.keep(name, made)


def _check_loads(library: Path) -> None:
    """Raise OSError if a library ends the process that loads it, as a torn one does."""
    load = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
    done = subprocess.run([sys.executable, "-ISc", load, library], capture_output=True)
    if done.returncode < 0:
        raise OSError("the library that it made ends the process that loads it")


def _open(path: Path) -> ctypes.CDLL:
    """Load a library; raises OSError if it is none, or lacks a function of steps.c."""
    library = ctypes.CDLL(str(path))
    absent = [name for name in FUNCTIONS if not hasattr(library, name)]
    if absent:
        raise OSError(f"the library that it made lacks {', '.join(absent)}")
    return library
