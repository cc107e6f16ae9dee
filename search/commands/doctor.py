"""`raretune doctor`: what is wrong with a workspace, printed."""

from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from search.doctor import examine
from search.workspace import Workspace
from trainer.checkpoint import json_text
from trainer.commands.device import one_thread
from trainer.commands.terminal import result_console
from trainer.errors import RaretuneError


@one_thread()
def doctor(
    workspace: Workspace,
    storage: str | None,
    *,
    repair: bool,
    table: Path | None,
    as_json: bool,
) -> None:
    """Print what was found; an error among it is exit status 2."""
    found = examine(storage or workspace.url, workspace.folder, repair=repair, table=table)
    if as_json:
        print(json_text([asdict(finding) for finding in found]))
    else:
        lines = [
            f"{one.level:8}{one.what}" + (f"; {one.remedy}" if one.remedy else "") for one in found
        ]
        result_console().print(Text("\n".join(lines)), soft_wrap=True)
    errors = sum(finding.level == "error" for finding in found)
    if errors:
        raise RaretuneError(f"{errors} of {len(found)} findings are errors; see the remedies above")
