"""YAML itself: what is understood, and what is refused with its place."""

import pytest

from meshlib.controlplane.manifests.reader import Unreadable, read


def values(text):
    return [node.value for node in read(text, "a.yaml")]


def refusal(text):
    with pytest.raises(Unreadable) as refused:
        list(read(text, "a.yaml"))
    return str(refused.value)


def test_scalars_mean_what_yaml_1_2_says():
    text = "{a: on, b: NO, c: 12:30:45, d: 010, e: 1_000, f: 0x10, g: 2001-01-01, h: True}"
    assert values(text) == [
        {"a": "on", "b": "NO", "c": "12:30:45", "d": "010", "e": "1_000", "f": "0x10"}
        | {"g": "2001-01-01", "h": "True"}
    ]


def test_words_and_numbers_are_read():
    text = "{a: true, b: false, c: null, d: ~, e: -3, f: 1.5, g: 1e3, h: '1', i: .inf}"
    assert values(text) == [
        {"a": True, "b": False, "c": None, "d": None, "e": -3, "f": 1.5, "g": 1000.0}
        | {"h": "1", "i": ".inf"}
    ]


def test_numbers_that_no_computer_likes_stay_text():
    digits = "9" * 5000
    assert values(f"{{a: {digits}, b: 1e999}}") == [{"a": digits, "b": "1e999"}]


def test_keys_are_always_text():
    assert values("{80: a, on: b, true: c}") == [{"80": "a", "on": "b", "true": "c"}]


def test_empty_documents_are_skipped():
    assert values("---\n---\na: 1\n---\n# nothing\n") == [{"a": 1}]


def test_json_is_yaml():
    assert values('{"a": [1, {"b": "x"}],\n\t"c": null}') == [{"a": [1, {"b": "x"}], "c": None}]


@pytest.mark.parametrize(
    "text, place, why",
    [
        ("a: &x 1\n", "a.yaml:1:4", "anchors are refused"),
        ("a: 1\nb: *a\n", "a.yaml:2:4", "aliases are refused"),
        ("a: 1\n<<: {b: 1}\n", "a.yaml:2:1", "merge keys are refused"),
        ("a: !!python/object:os.system x\n", "a.yaml:1:4", "tags are refused"),
        ("a: !x y\n", "a.yaml:1:4", "tags are refused"),
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3:1", "duplicate key 'a', first seen on line 1"),
        ("[a]: 1\n", "a.yaml:1:1", "a key must be a plain text"),
        ("a: [1, 2\nb: 3\n", "a.yaml:2:2", "expected ',' or ']'"),
        ("a: b: c\n", "a.yaml:1:5", "not allowed"),
        ("a: \t1\nb:\n\t- 1\n", "a.yaml:3:1", "cannot start any token"),
        ("ok: 1\nbad: \x07\n", "a.yaml:2:6", "control characters"),
    ],
)
def test_bad_yaml_is_refused_with_its_place(text, place, why):
    said = refusal(text)
    assert said.startswith(f"{place}: ")
    assert why in said


def test_a_quoted_merge_key_is_a_key():
    assert values("{'<<': 1}") == [{"<<": 1}]


def test_an_alias_bomb_never_unfolds():
    bomb = "a: &a [x,x]\n" + "".join(
        f"{new}: &{new} [*{old},*{old}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    assert "anchors are refused" in refusal(bomb)


@pytest.mark.parametrize("depth", [65, 100_000])
def test_deep_nesting_is_refused_before_it_is_followed(depth):
    assert refusal("[" * depth) == "a.yaml:1:65: nested deeper than 64 levels"


def test_64_levels_are_allowed():
    assert values("[" * 64 + "]" * 64)


def test_a_document_beyond_a_megabyte_is_refused():
    text = "a: 1\n---\n" + "".join(f"k{i}: {'x' * 100}\n" for i in range(10_000))
    assert "larger than 1,000,000 characters" in refusal(text)


def test_many_documents_of_less_than_a_megabyte_are_fine():
    text = "---\n".join(f"a: {'x' * 600_000}\n" for _ in range(3))
    assert len(values(text)) == 3


def test_the_document_after_the_thousandth_is_refused():
    assert "more than 1000 documents" in refusal("--- {a: 1}\n" * 1001)
