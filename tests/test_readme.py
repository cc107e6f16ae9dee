"""The README is what a newcomer believes: its tree and its commands are checked."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_tree_lists_every_room_and_module_outside_a_room_and_nothing_else():
    block = README.split("## The tree")[1].split("```")[1]
    listed, package = [], ""
    for line in block.splitlines():
        if found := re.match(r"(\w+/) ", line):
            package = found[1]
            listed.append(package)
        elif found := re.match(r"  ([\w.]+/?) +\S", line):
            listed.append(package + found[1])
    assert len(block.strip().splitlines()) <= 45
    assert sorted(listed) == sorted(["studies/", *_rooms("trainer"), *_rooms("search")])


def _rooms(package: str) -> list[str]:
    """Return a package, its rooms and the modules that are in none."""
    there = [path for path in (ROOT / package).iterdir() if not path.name.startswith("__init__")]
    rooms = [f"{package}/{path.name}/" for path in there if (path / "__init__.py").exists()]
    return [f"{package}/", *rooms, *(f"{package}/{p.name}" for p in there if p.suffix == ".py")]


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


def test_every_file_that_the_documents_name_is_there():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        linked = re.findall(r"\]\(((?!http)[^)#]+)\)", text)
        named = re.findall(r"`((?:search|studies|trainer|tests|docs|benchmarks)/[\w./]*)`", text)
        assert linked or named
        for path in (*linked, *named):
            assert (ROOT / path).exists(), (document, path)


def test_the_guide_is_where_the_modules_that_cite_it_say():
    sources = [
        path
        for package in ("search", "studies", "trainer")
        for path in (ROOT / package).rglob("*.py")
        if "aggressive-training.md" in path.read_text(encoding="utf-8")
    ]
    assert len(sources) >= 4
    assert (ROOT / "docs" / "aggressive-training.md").exists()
