"""The README is what a newcomer believes: its tree and its commands are checked."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_lists_every_module_and_nothing_else():
    block = README.split("## The tree")[1].split("```")[1]
    listed, package = set(), ""
    for line in block.splitlines():
        if found := re.match(r"(\w+)/ ", line):
            package = found[1]
        elif found := re.match(r"  (\S+\.(?:py|c|toml)) +\S", line):
            listed.add(f"{package}/{found[1]}")
    there = {
        f"{package}/{path.name}"
        for package in ("trainer", "studies", "search")
        for path in (ROOT / package).iterdir()
        if path.suffix in (".py", ".c", ".toml") and path.name != "__init__.py"
    }
    assert listed == there


def test_every_command_of_the_program_is_in_the_readme():
    raretune = Path(sys.executable).with_name("raretune")
    shown = subprocess.run([raretune, "--help"], capture_output=True, text=True).stdout
    commands = re.findall(r"^  (\w+)  ", shown.split("Commands:")[1], flags=re.MULTILINE)
    assert len(commands) > 10
    for command in commands:
        assert re.search(rf"`?raretune {command}\b", README), command


def test_every_flag_of_the_program_that_the_readme_names_exists():
    raretune = Path(sys.executable).with_name("raretune")
    commands = re.findall(r"^raretune (\w+)(?:[^\n]|\\\n)*", README, flags=re.MULTILINE)
    for command in set(commands):
        shown = subprocess.run([raretune, command, "--help"], capture_output=True, text=True).stdout
        lines = re.findall(rf"^raretune {command}\b((?:[^\n]|\\\n)*)", README, flags=re.MULTILINE)
        for flag in re.findall(r"--[a-z_]+", " ".join(lines)):
            assert flag in shown, (command, flag)
