"""Setting keys of JSON, YAML and TOML: what is set is there, all else stays as it was."""

import json
from typing import Any

import pytest
import yaml

from executor.model.errors import ActionError
from workers.actions.documents import set_keys, split_key

YAML = """# top
server:
  port: 80  # the port
  name: "old"
  tags: [a, b]
  limits:
    cpu: 1
list:
  - host: one
    up: true
  - host: two
text: |
  several
  lines
# end
"""


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("server.port", 8080, "  port: 8080  # the port\n"),
        ("server.name", "on", '  name: "on"\n'),
        ("server.name", "plain text", "  name: plain text\n"),
        ("server.tags.1", "c", "  tags: [a, c]\n"),
        ("server.limits.memory", "1Gi", '    cpu: 1\n    memory: "1Gi"\n'),
        ("server.tls.cert", "/a/b", 'tls: {"cert": "/a/b"}\n'),
        ("list.1.host", "three", "  - host: three\n"),
        ("list.0.port", 1, "    up: true\n    port: 1\n"),
        ("fresh", None, "fresh: null\n"),
        ("server.limits", {"cpu": 2}, '  limits: {"cpu": 2}\n'),
        ("text", "one", "text: one\n"),
    ],
)
def test_yaml_is_edited_in_place(key: str, value: Any, line: str) -> None:
    edited = set_keys(YAML, "/x/a.yaml", {key: value})
    assert line in edited
    assert "# top\n" in edited
    assert "# end\n" in edited
    found: Any = yaml.safe_load(edited)
    for part in split_key(key):
        found = found[int(part) if isinstance(found, list) else part]
    assert found == value
    untouched = set(YAML.splitlines()) - set(edited.splitlines())
    assert len(untouched) <= 3


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("a: &x 1\nb: *x\n", "b", "alias"),
        ("a: &x 1\nb: *x\n", "a", "anchor"),
        ("a: 1\n---\nb: 2\n", "a", "one YAML document"),
        ("a: [1, 2", "a", "one YAML document"),
        ("a: 1\n", "a.b", "neither a map nor a list"),
        ("a: [1]\n", "a.5", "no index"),
    ],
)
def test_yaml_that_cannot_be_edited_in_place_is_refused(text: str, key: str, said: str) -> None:
    with pytest.raises(ActionError, match=said):
        set_keys(text, "/x/a.yml", {key: 3})


def test_an_empty_yaml_file_gets_its_first_key() -> None:
    assert yaml.safe_load(set_keys("# nothing\n", "/a.yaml", {"a.b": 1})) == {"a": {"b": 1}}


def test_toml_keeps_comments_and_order() -> None:
    text = '# top\nname = "x"  # the name\n\n[server]\nport = 80 # p\n'
    edited = set_keys(text, "/x/a.toml", {"server.port": 81, "server.tls.on": True})
    assert edited.startswith('# top\nname = "x"  # the name\n\n[server]\nport = 81 # p\n')
    assert "[server.tls]\non = true" in edited


def test_json_keeps_its_indentation_and_order() -> None:
    text = '{\n    "b": 1,\n    "a": {"é": [1, 2]}\n}\n'
    edited = set_keys(text, "/x/a.json", {"a.é.0": 3, 'a."x.y"': None})
    assert json.loads(edited) == {"b": 1, "a": {"é": [3, 2], "x.y": None}}
    assert edited.startswith('{\n    "b": 1,')
    assert edited.endswith("}\n")
    assert "é" in edited


@pytest.mark.parametrize(
    ("path", "text", "key", "said"),
    [
        ("/x/a.ini", "", "a", "must end in one of"),
        ("/x.d/noext", "", "a", "must end in one of"),
        ("/x/a.json", "{", "a", "cannot set 'a' in /x/a.json"),
        ("/x/a.json", '{"a": 1, "a": 2}', "a", "twice"),
        ("/x/a.toml", "a = ", "a", "cannot set"),
        ("/x/a.json", "{}", "a..b", "no dotted key"),
    ],
)
def test_what_cannot_be_set_says_why(path: str, text: str, key: str, said: str) -> None:
    with pytest.raises(ActionError, match=said):
        set_keys(text, path, {key: 1})
