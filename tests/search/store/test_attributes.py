import re
from pathlib import Path

from search.store import attributes

ROOT = Path(attributes.__file__).parents[1]
NAMES = {k: v for k, v in vars(attributes).items() if k.isupper()}
BARE = re.compile(
    r"""(user_attrs|system_attrs|attributes|there)(\.get\(|\[)["']"""
    r"""|set_(user|system)_attr\(["']|["'](raretune|dashboard):\w"""
)


def test_every_attribute_has_a_name_of_its_own():
    assert len(set(NAMES.values())) == len(NAMES)


def test_each_name_says_what_it_holds():
    source = (ROOT / "store" / "attributes.py").read_text(encoding="utf-8")
    for name in NAMES:
        assert re.search(rf'^{name} = "[\w:-]+"  # \S', source, re.MULTILINE), name


def test_no_attribute_is_written_or_read_by_a_bare_string():
    for path in ROOT.rglob("*.py"):
        if path.name != "attributes.py":
            source = path.read_text(encoding="utf-8")
            assert not BARE.search(source), (path, BARE.search(source))
