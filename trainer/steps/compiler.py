"""steps.c as a library in this process, compiled for this very processor and then kept.

The compiler is what $CC names, or `cc`, or Clang as the package ziglang brings it. What it made is
kept in the user's cache folder, under a name that changes with the source, the compiler and the
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

SOURCE = Path(__file__).with_name("steps.c")
ON_ARM = platform.machine() in ("arm64", "aarch64")
FLAGS = [
    *("-O3", "-mcpu=native" if ON_ARM else "-march=native", "-std=gnu11", "-fPIC", "-shared"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd"),
]
MOST_SECONDS = 120


@dataclass(frozen=True)
class Build:
    """The library, None where there is none; and who compiled it for what, or why nobody did."""

    library: ctypes.CDLL | None
    how: str


@cache
def build() -> Build:
    """Return this process's build, made at the first call."""
    compiler = _compiler()
    try:
        macros = _run([*compiler, *FLAGS, "-dM", "-E", "-xc", os.devnull])
        library = _load(compiler, macros)
    except FileNotFoundError:
        return Build(None, f"there is no C compiler {shlex.join(compiler)}")
    except (OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or str(error)
        return Build(None, f"{shlex.join(compiler)} failed: {output.strip().splitlines()[0]}")
    version = re.search(r'__VERSION__ "(.*)"', macros)
    lanes = ctypes.c_int.in_dll(library, "lanes").value
    return Build(library, f"C compiler {version[1] if version else '?'}, {lanes} floats at once")


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
    done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=MOST_SECONDS)
    return done.stdout


def _load(compiler: list[str], macros: str) -> ctypes.CDLL:
    """Load what was kept, or compile anew and keep it if the cache folder lets us.

    The predefined macros tell the compiler's version and all that the processor can do.
    """
    key = hashlib.sha256(f"{SOURCE.read_text(encoding='utf-8')}{FLAGS}{macros}".encode())
    name = f"steps-{key.hexdigest()[:16]}.so"
    folder = _cache_folder()
    if (folder / name).exists():
        return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / name
        _run([*compiler, *FLAGS, "-o", str(made), str(SOURCE), "-lm"])
        with suppress(OSError):  # each process then compiles for itself
            folder.mkdir(parents=True, exist_ok=True)
            whole = folder / f".{name}.{os.getpid()}"
            shutil.copy(made, whole)
            whole.replace(folder / name)
        return ctypes.CDLL(str(made))


def _cache_folder() -> Path:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named) / "raretune"
    try:
        return Path.home() / ".cache" / "raretune"
    except RuntimeError:  # a user without a home, as in some containers
        return Path(os.devnull) / "raretune"  # where nothing can be kept
