"""Located loading: what comes out, what is refused, where, and with which remedy."""

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from executor.documents import MAX_DEPTH, Document, load_data, load_file, load_text
from executor.documents.places import format_path
from executor.model.errors import Problem, StrategyInvalid
from executor.model.strategy import MAX_BYTES


def refused(text: str, name: str = "s.yaml") -> Problem:
    with pytest.raises(StrategyInvalid) as caught:
        load_text(text, name)
    (problem,) = caught.value.problems
    return problem


def refused_file(path: Path) -> Problem:
    with pytest.raises(StrategyInvalid) as caught:
        load_file(path)
    (problem,) = caught.value.problems
    assert problem.file == str(path)
    return problem


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("0640", "0640"), ("0o640", "0o640"), ("640", 640), ("-3", -3), ("0x1F", 31), ("1_000", "1_000"),
        ("12:30", "12:30"), ("12:30:45", "12:30:45"), ("2026-11-21", "2026-11-21"), ("1.5", 1.5), ("1e3", 1000.0),
        (".5", 0.5), ("'5'", "5"), ('"true"', "true"), ("1.2.3", "1.2.3"), ("+", "+"),
        ("${{ a }}", "${{ a }}"),
    ],
)  # fmt: skip
def test_scalars_are_read_by_the_core_schema_of_yaml_1_2(written: str, read: object) -> None:
    """No `on` that is true, no octal, no sexagesimal, no dates."""
    value = load_text(f"key: {written}\n", "s.yaml").data["key"]
    assert value == read
    assert type(value) is type(read)


@pytest.mark.parametrize(
    ("text", "line", "column", "said", "remedy"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, 1, "'a' stands twice in one map, first on line 1", "remove one"),
        ("a: !x y", 1, 4, "the tag '!x' is not read here", "put it in quotes"),
        ("when: !actions.b.done", 1, 7, "the tag '!actions.b.done'", "put it in quotes"),
        ("a: !!python/object:os.system x", 1, 4, "the tag", "put it in quotes"),
        ("run: echo a: b", 1, 12, "a ': ' stands where no key is expected", "put text that holds ': ' in quotes"),
        ("a:\n\tb: 1", 2, 1, "a tab is used for indentation", "indent with spaces"),
        ("a: {b: ${{ inputs.x }}}", 1, 9, "braces break a map or list in flow style", "put it in quotes"),
        ("a: {{ x }}", 1, 5, "a key is text", "put it in quotes"),
        ("a: *x", 1, 4, "'*x' is an alias of nothing", "put it in quotes"),
        ("a: &x [*x]", 1, 8, "the alias '*x' stands inside what it repeats", "write it out"),
        ("1: x", 1, 1, "the key '1' is not text", "put it in quotes"),
        ("a: @b", 1, 4, "a value begins with a character that YAML keeps for itself", "put it in quotes"),
        ("a: 1\nb: .nan", 2, 4, ".nan is no JSON", "put it in quotes"),
        ("a: 99999999999999999999", 1, 4, "does not fit into 64 bits", "put it in quotes"),
        ("a: 9223372036854775808", 1, 4, "does not fit into 64 bits", "put it in quotes"),
        ("a: 1e999", 1, 4, "is too large for a number", "put it in quotes"),
        ("a: 1\n---\nb: 2", 2, 1, "a second YAML document begins", "keep one strategy per file"),
        ("a: 1\nb: 'c", 2, 4, "a quote is opened and never closed", "close it"),
        ("a: [1, 2\nb: 3", 2, 2, "flow style is broken", "in quotes"),
        ("<<: {a: 1}", 1, 1, "'<<' merges maps in YAML 1.1 only", "use `defaults`"),
        ("a: \x07", 1, 4, "a control character", "remove it"),
        ('a: "\\ud800"', 1, 7, "an unknown escape", "single quotes"),
        ("- a\nb: c", 2, 1, "the indentation does not fit", "bring it in line"),
    ],
)
def test_what_yaml_gets_wrong_is_refused_with_place_and_remedy(
    text: str, line: int, column: int, said: str, remedy: str
) -> None:
    """A person is shown where to put the cursor, and what to type."""
    problem = refused(text)
    assert said in problem.message
    assert remedy in problem.remedy
    assert (problem.file, problem.line, problem.column) == ("s.yaml", line, column)


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ('{"a": 1,\n "a": 2}', 2, 2, "'a' stands twice in one map, first on line 1"),
        ('{"a": NaN}', 1, 7, "NaN is no JSON"),
        ('{"a": -Infinity}', 1, 7, "-Infinity is no JSON"),
        ('{"a": 1,}', 1, 9, "a ',' before '}'"),
        ('{"a" 1}', 1, 6, "a ':' is expected after 'a'"),
        ("{'a': 1}", 1, 2, "a key in double quotes"),
        ('{"a": [1 2]}', 1, 10, "',' or ']' is expected here, not '2'"),
        ('{"a": 1', 1, 8, "not the end of the file"),
        ('{"a": 012}', 1, 7, "'012' is no JSON value"),
        ('{"a": 1e999}', 1, 7, "is too large for a number"),
        ('{"a": 123456789012345678901}', 1, 7, "does not fit into 64 bits"),
        ('{"a": "\\ud800"}', 1, 7, "half of a surrogate pair"),
        ('{"a": "x\n"}', 1, 9, "not valid text in JSON"),
        ('{"a": 1} 2', 1, 10, "something follows the end"),
    ],
)
def test_what_is_no_json_is_refused_with_its_place(text: str, line: int, column: int, said: str) -> None:
    """JSON is as strict as its standard, and two equal keys are a mistake."""
    problem = refused(text, "s.json")
    assert said in problem.message
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize("name", ["s.yaml", "s.json"])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused_and_allowed_nesting_is_read(name: str, opened: str, closed: str) -> None:
    """Neither a thousand nor a million levels reach the recursion of anything."""
    assert load_text(opened * MAX_DEPTH + "1" + closed * MAX_DEPTH, name).data
    for depth in (MAX_DEPTH + 1, 5_000, 500_000):
        assert f"nested deeper than {MAX_DEPTH}" in refused(opened * depth, name).message


def test_aliases_are_read_and_bombs_are_refused() -> None:
    """Repeating a map is fine; growing by powers is not."""
    ordinary = load_text("a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\n", "s.yaml")
    assert ordinary.data["c"] == [{"k": [1, 2]}] * 2
    assert ordinary.position(("b", "k")) == (1, 8)
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    assert "aliases repeat too much" in refused("\n".join(lines)).message
    text = "x" * 100_000
    assert "aliases repeat too much" in refused(f"a: &a {text}\nb: [{','.join(['*a'] * 100)}]").message


@pytest.mark.parametrize("name", ["s.yaml", "s.json"])
def test_every_path_has_its_place(name: str) -> None:
    """The entry of a map is shown at its key, an element of a list at itself, and what is missing at its parent."""
    text = '{"a": 1,\n "b": {"c": [10,\n  {"d": true}]}}'
    document = load_text(text, name)
    at = (2, 2) if name == "s.yaml" else (2, 7)
    assert document.position(("b",)) == at
    assert document.position(("b", "c", 1)) == (3, 3)
    assert document.position(("b", "c", 1, "missing", 5)) == (3, 3)
    assert document.position(("b", "c", 7)) == document.position(("b", "c"))
    assert document.position(()) == (1, 1)


@pytest.mark.parametrize(
    ("name", "is_json"),
    [("s.json", True), ("s.JSON", True), ("<stdin>", True), ("s.yaml", False), ("s.yml", False)],
)
def test_json_is_told_from_yaml_by_name_then_by_content(name: str, is_json: bool) -> None:
    """A YAML file may begin with a brace; a text without a name that does is JSON."""
    if is_json:
        refused("{a: 1}", name)
    else:
        assert load_text("{a: 1}", name).data == {"a": 1}


def test_files_that_are_none(tmp_path: Path) -> None:
    """Each way in which a file cannot be read has its own words."""
    assert "no such file" in refused_file(tmp_path / "missing.yaml").message
    assert "directory" in refused_file(tmp_path).message
    assert "cannot be read" in refused_file(Path("a\0b")).message

    def written(content: bytes) -> Path:
        path = tmp_path / "s.yaml"
        path.write_bytes(content)
        return path

    assert "empty" in refused_file(written(b"")).message
    assert "empty" in refused_file(written(b" \n\n")).message
    assert "empty" in refused_file(written(b"# only a comment\n")).message
    assert "binary" in refused_file(written(b"\x7fELF\0\0")).message
    latin = refused_file(written("a: 1\nb: caf\xe9\n".encode("latin-1")))
    assert "not UTF-8" in latin.message
    assert (latin.line, latin.column, latin.remedy) == (2, 7, "save it as UTF-8")
    assert "larger than 5 MB" in refused_file(written(b"#" * (MAX_BYTES + 1))).message
    assert load_file(written(b"\xef\xbb\xbfa: 1\n")).data == {"a": 1}
    unreadable = written(b"a: 1")
    unreadable.chmod(0)
    try:
        unreadable.read_bytes()
    except PermissionError:  # not for root
        assert "may not be read" in refused_file(unreadable).message


def test_data_from_a_message_is_bounded_too() -> None:
    """What comes structured has no lines, and the same limits."""
    assert load_data({"a": [1, (2, None)]}).data == {"a": [1, [2, None]]}
    assert load_data({"a": 1}, "m").position(("a",)) == (0, 0)
    loop: dict[str, object] = {}
    loop["a"] = loop
    shared = ["x" * 1000] * 1000
    for bad, said in [
        (loop, "nested deeper"),
        ({1: 2}, "the key 1 is not text"),
        ({"a": float("nan")}, "nan is no JSON"),
        ({"a": 2**63}, "64 bits"),
        ({"a": b"x"}, "a bytes is no JSON"),
        ({"a": {1}}, "a set is no JSON"),
        ({"a": "\ud800"}, "surrogate"),
        ({"\ud800": 1}, "surrogate"),
        ([[shared] * 1000] * 1000, "larger than 5 MB"),
    ]:
        with pytest.raises(StrategyInvalid) as caught:
            load_data(bad)
        assert said in str(caught.value)


@pytest.mark.parametrize(
    ("path", "text"),
    [(("actions", 2, "with", "url"), "actions[2].with.url"), (("a b", "x-y"), "['a b'].x-y"), ((), "")],
)
def test_paths_are_written_as_people_write_them(path: tuple[str | int, ...], text: str) -> None:
    """A key that is no plain word stands in brackets."""
    assert format_path(path) == text


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON)
def test_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    """And every place in it is known."""
    document = load_text(json.dumps(value), "s.json") if json.dumps(value).strip() else None
    assert document is not None
    assert document.data == value
    assert document.position(()) == (1, 1)


@given(JSON)
def test_yaml_that_a_program_wrote_is_read_as_meant(value: object) -> None:
    """The library's own output, which quotes what it takes for something else, comes back."""
    text = yaml.safe_dump({"key": value}, allow_unicode=False)
    assert load_text(text, "s.yaml").data == {"key": value}


FRAGMENTS = st.lists(
    st.sampled_from(
        ["a", "b: ", "- ", "\n", "  ", "\t", "{", "}", "[", "]", ",", '"', "'", "&x ", "*x", "!t ", "? ", "|", ">", "#",
         "${{ ", " }}", "%", "@",
         "---\n", "...", "<<: ", "\\u", "1", "1.", ".inf", ":", "\x07", "\ufeff", "é", "\u2028", "\r"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@settings(max_examples=300)
@given(FRAGMENTS | st.text(), st.sampled_from(["s.yaml", "s.json", "-"]))
def test_a_loader_never_raises_anything_else(text: str, name: str) -> None:
    """Whatever stands in a file: a document, or a located problem."""
    with contextlib.suppress(StrategyInvalid):
        assert isinstance(load_text(text, name), Document)


@given(st.binary(max_size=200))
def test_bytes_never_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Files are not always text."""
    path = tmp_path_factory.mktemp("f") / "s.yaml"
    path.write_bytes(content)
    with contextlib.suppress(StrategyInvalid):
        assert isinstance(load_file(path), Document)
