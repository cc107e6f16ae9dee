"""What stands between optuna-dashboard and a browser: whom it answers, and how artifacts leave.

A page of any web site can make a browser ask an address of this machine, under a name of its own
that resolves to it. So only requests for a name under which this server is known are answered, and
changes only if they come from its own pages.
"""

import os
import re
import socket
import stat
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO

from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

EVERYWHERE = ("", "0.0.0.0", "::")  # addresses that mean all of this machine's
LOCAL = ("127.0.0.1", "localhost", "::1")
READING = ("GET", "HEAD", "OPTIONS")
ARTIFACT = re.compile(r"/+artifacts/(?:.*/)?([^/]*)/*")
HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::\d+)?")

Environ = dict[str, Any]
Start = Callable[..., Any]
App = Callable[[Environ, Start], Iterable[bytes]]


class PlainFiles(FileSystemArtifactStore):
    """Artifacts in a folder; what is no plain file there, as a symbolic link, is none of them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an artifact; raises ArtifactNotFound."""
        try:
            file = os.open(
                self.folder / Path(artifact_id).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            )
        except OSError:
            raise ArtifactNotFound(f"no artifact {artifact_id}") from None
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise ArtifactNotFound(f"artifact {artifact_id} is no plain file")
        return os.fdopen(file, "rb")

    def holds(self, artifact_id: str) -> bool:
        """Return whether there is such an artifact."""
        try:
            self.open_reader(artifact_id).close()
        except ArtifactNotFound:
            return False
        return True


def guarded(app: App, host: str, artifacts: PlainFiles) -> App:
    """Return an app that answers only those who ask for the host that is served."""

    def answer(environ: Environ, start_response: Start) -> Iterable[bytes]:
        refused = _refusal(environ, host)
        if refused:
            return _plain(start_response, "403 Forbidden", refused)
        artifact = ARTIFACT.fullmatch(environ.get("PATH_INFO", ""))
        if artifact and environ["REQUEST_METHOD"] in READING and not artifacts.holds(artifact[1]):
            return _plain(start_response, "404 Not Found", "There is no such artifact.")

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, _safe(headers, artifact is not None), *more)

        return app(environ, start)

    return answer


def _refusal(environ: Mapping[str, Any], host: str) -> str:
    """Return why a request is not answered, or nothing."""
    asked = str(environ.get("HTTP_HOST", ""))
    if not is_served(asked, host):
        return "This server is not known under that name: use the address that it has printed."
    origin = environ.get("HTTP_ORIGIN")
    if environ["REQUEST_METHOD"] not in READING and origin not in (None, f"http://{asked}"):
        return "Changes are taken from this server's own pages only."
    return ""


def is_served(asked: str, host: str) -> bool:
    """Return whether a request's Host header names a server at `host`, whatever the port.

    A port is no secret, and a tunnel may change it. Served everywhere, any address of the form of
    numbers is the server's, for a name that somebody else made can't look like one.
    """
    match = HOST.fullmatch(asked)
    if match is None:
        return False
    name = match[1].strip("[]").lower().removesuffix(".")
    if host in EVERYWHERE:
        own = (*LOCAL, socket.gethostname().lower(), socket.getfqdn().lower())
        return name in own or _is_address(name)
    return name == host.lower() or (host in LOCAL and name in LOCAL)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _safe(headers: list[tuple[str, str]], artifact: bool) -> list[tuple[str, str]]:
    """Return headers with which no browser takes one thing for another, or runs an artifact."""
    dropped = "access-control-allow-origin"
    kept = [(name, value) for name, value in headers if name.lower() != dropped]
    kept.append(("X-Content-Type-Options", "nosniff"))
    if artifact:
        kept = [(name, value) for name, value in kept if name.lower() != "content-disposition"]
        kept += [("Content-Disposition", "attachment"), ("Content-Security-Policy", "sandbox")]
    return kept


def _plain(start_response: Start, status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start_response(status, _safe(headers, artifact=False))
    return [body]
