"""Names as text that any program can read, and back."""

import json

import pytest

from hgad_jax.inference.plain_names import original, plain, plain_json

NAMES = {
    "a.png": "a.png",
    "ü ß 良品,\"'.png": "ü ß 良品,\"'.png",
    "two\nlines\r\n\t.png": "two\\nlines\\r\\n\\t.png",
    "back\\slash\\n.png": "back\\\\slash\\\\n.png",
    "\udcff\udc80.png": "\\xff\\x80.png",  # bytes that are not UTF-8
    "bell\x07 next\x85 line\u2028.png": "bell\\x07 next\\u0085 line\\u2028.png",
    "\ud800": "\\ud800",
    "": "",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_readable_text_and_come_back(name):
    text = plain(name)
    assert text == NAMES[name]
    assert len(text.encode("utf-8").splitlines()) <= 1
    assert original(text) == name


def test_different_names_stay_different():
    assert len({plain(name) for name in (*NAMES, *NAMES.values())}) == len({*NAMES, *NAMES.values()})


def test_all_texts_of_json_are_plain():
    value = {"\udcff": [1, None, ("\n", {"a": "\\"})], "b": True}
    assert plain_json(value) == {"\\xff": [1, None, ["\\n", {"a": "\\\\"}]], "b": True}
    json.dumps(plain_json(value), ensure_ascii=False).encode("utf-8")
