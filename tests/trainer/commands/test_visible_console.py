from rich.table import Table as Grid
from rich.text import Text

from trainer.commands.terminal import cell, label_grid, result_console


def test_a_name_never_commands_a_terminal(capsys):
    grid = Grid(title="a\x1b[2Jtable")
    grid.add_column("site\x9b")
    grid.add_row("dx\x1b]0;owned\x07", style="bold")
    console = result_console()
    console.print(grid)
    console.print(Text("two\nlines \u202e"), soft_wrap=True)
    console.print(cell("one\nline\r"))
    shown = capsys.readouterr().out
    for text in (r"a\x1b[2Jtable", r"site\x9b", r"dx\x1b]0;owned", "two\nlines " + r"\u202e"):
        assert text in shown
    assert r"one\nline\r" in shown
    assert not set("\x1b\x9b\x07\u202e") & set(shown)


def test_labels_in_a_table_of_scores_are_written_out(capsys):
    scores = ("threshold", "precision", "recall", "f1", "average_precision", "roc_auc")
    row = {**dict.fromkeys(scores, 0.5), "support": 3}
    console = result_console()
    console.print(label_grid("rows of a\x1b.csv", {"labels": {"dx\x1b": row}}))
    assert r"dx\x1b" in capsys.readouterr().out
