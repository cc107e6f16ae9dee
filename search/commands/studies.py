"""`raretune studies` and `raretune example`: what is bundled, to look at or to start from."""

from pathlib import Path

from rich.table import Table as Grid

from studies.catalogue import definition_text, describe_studies
from studies.examples import write_example
from trainer.commands.terminal import result_console
from trainer.errors import ConfigError
from trainer.writing import beside


def studies(action: str, name: str | None) -> None:
    """List the bundled studies, or print one in full."""
    if action == "show" and name is not None:
        print(definition_text(name), end="")
    elif action == "list" and name is None:
        grid = Grid.grid(padding=(0, 2))
        for study, description in describe_studies():
            grid.add_row(study, description)
        result_console().print(grid)
    else:
        raise ConfigError(
            "write `raretune studies` for the list, or `raretune studies show NAME` for one of them"
        )


def example(name: str, output: Path, *, rows: int | None, seed: int) -> None:
    """Write an example table and say what it is."""
    written = write_example(name, output, rows=rows, seed=seed)
    kind = "synthetic, no row describes a person" if name == "mesa" else "real"
    with beside(output):
        print(f"{written} rows of {name} ({kind}) written to {output}")
