"""lthkit.lab: what reaches the book, and what is refused."""

import json
from base64 import b64decode
from dataclasses import replace

import demo
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from lthkit import lab


@pytest.fixture
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def glued(value) -> tuple[dict, dict]:
    """The one output that quote leaves: its data without the prefix, and its metadata."""
    with capture_output() as captured:
        lab.quote(key=value)
    (output,) = captured.outputs
    assert captured.stdout == ""
    assert all(mime.startswith(lab.PREFIX) for mime in output.data), "a viewer would show this output"
    return {mime.removeprefix(lab.PREFIX): content for mime, content in output.data.items()}, output.metadata


def test_a_table_is_stored_by_its_columns(shell):
    bundle, _ = lab._bundle("leads", pd.DataFrame({"seed": np.arange(2), "lead": [0.5, 0.25]}))
    assert {mime: json.loads(text) for mime, text in bundle.items()} == {
        lab.TABLE: {"seed": [0, 1], "lead": [0.5, 0.25]}
    }


@pytest.mark.parametrize(
    "value, text",
    [
        (3, "3"),
        (0.25, "0.25"),
        ("a 'b'", "\"a 'b'\""),
        (True, "True"),
        (np.float64(0.5), "0.5"),
        (np.int64(7), "7"),
        (np.bool_(False), "False"),
        (np.array(2.0), "2.0"),
        (torch.tensor(4), "4"),
        (torch.tensor(0.5), "0.5"),
    ],
)
def test_scalars_are_stored_as_plain_python(shell, value, text):
    data, metadata = glued(value)
    assert data == {"text/plain": text}
    assert metadata["scrapbook"] == {"name": "key", "mime_prefix": lab.PREFIX}


def test_a_figure_is_stored_with_twice_its_pixels(shell):
    data, metadata = glued(demo.figure())
    assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert 250 < metadata["image/png"]["width"] < 350  # 3 inches at 100 dpi, less the margins


def test_a_verdict_is_stored_as_json(shell):
    data, _ = glued(replace(demo.WINS, margin=np.float32(0.5), n=np.int64(10), differences={"a − b": {7: 0.25}}))
    stored = json.loads(data[lab.VERDICT])
    assert (stored["margin"], stored["n"], stored["differences"]) == (0.5, 10, {"a − b": {"7": 0.25}})


@pytest.mark.parametrize("value", [[1], None, np.ones(1), torch.ones(2), {"a": [1]}, 1j])
def test_anything_else_is_refused_by_its_type(value):
    with pytest.raises(TypeError, match=type(value).__name__):
        lab.quote(key=value)


@pytest.mark.parametrize("key", ["", "Key", "a-b", "a b", "a\n", "é"])
def test_a_key_holds_only_small_letters_digits_and_underscores(key):
    with pytest.raises(ValueError, match="may hold only"):
        lab.quote(**{key: 1})


def test_outside_a_notebook_nothing_is_printed(capsys):
    lab.quote(key=1)
    assert capsys.readouterr() == ("", "")
