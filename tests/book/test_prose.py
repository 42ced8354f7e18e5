"""The prose rules of the course: short sentences, and no word that says nothing."""

import re
from pathlib import Path
from statistics import mean

import nbformat
import pytest
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.deflist import deflist_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from mdit_py_plugins.myst_blocks import myst_block_plugin
from mdit_py_plugins.myst_role import myst_role_plugin

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")])
PROSE_DIRECTIVE = re.compile(
    r"\{(glued-figure|verdict|note|tip|important|warning|caution|hint|seealso|admonition|dropdown|margin|sidebar|card|"
    r"exercise|question|solution|glossary|grid|grid-item|grid-item-card|tab-set|tab-item|div|epigraph)\}"
)
FORBIDDEN = re.compile(
    r"\b(crucial\w*|powerful\w*|delv(?:e|es|ed|ing)|leverag\w+|simply|obviously|let[’']s|in this chapter"
    r"|not just\b[^.!?]*\bbut)\b",
    re.IGNORECASE,
)
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs|et al|cf|sec|eq|fig|no)\.", re.IGNORECASE)

parser = MarkdownIt("commonmark").enable("table")
for plugin in (
    front_matter_plugin, colon_fence_plugin, deflist_plugin, dollarmath_plugin, myst_block_plugin, myst_role_plugin,
):  # fmt: skip
    parser.use(plugin)


def paragraphs(markdown: str) -> list[str]:
    """The running text: no headings, tables, code or addresses; code, formula or role in a line counts as a word."""
    found, tokens = [], parser.parse(markdown)
    for before, token in zip([None, *tokens], tokens):
        if token.type in ("fence", "colon_fence") and PROSE_DIRECTIVE.match(token.info.strip()):
            content = re.sub(r"\A(\s*:[\w-]+:.*\n)+", "", token.content)
            found += paragraphs(content)
        elif token.type == "inline" and before.type == "paragraph_open":
            found.append("".join(words(child) for child in token.children))
    return found


def words(token) -> str:
    if token.type == "text":
        return token.content
    if token.type in ("softbreak", "hardbreak"):
        return " "
    return "x" if token.type in ("code_inline", "math_inline", "math_single", "myst_role") else ""


def sentences(paragraph: str) -> list[str]:
    parts = re.split(r"(?<=[.!?])[\"”’')\]]*\s+", ABBREVIATION.sub(r"\1", paragraph))
    return [part for part in parts if length(part)]


def length(sentence: str) -> int:
    return len(re.findall(r"\S*\w\S*", sentence))


def source(path: Path) -> str:
    if path.suffix == ".md":
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


of_every_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@of_every_page
def test_sentences_are_short(path):
    found = [sentence for paragraph in paragraphs(source(path)) for sentence in sentences(paragraph)]
    long = [f"{length(sentence)} words: {sentence}" for sentence in found if length(sentence) > 30]
    assert not long, "\n".join(long)
    assert not found or mean(map(length, found)) <= 18


@of_every_page
def test_no_word_says_nothing(path):
    prose = "\n".join(paragraphs(source(path)))
    headings = "\n".join(re.findall(r"^#+ (.*)", source(path), re.MULTILINE))
    assert not FORBIDDEN.findall(prose + "\n" + headings)


def test_what_counts_as_prose():
    page = """---
title: no
---
# No heading
(target)=
One `two` $x + y$ {glued}`a:.1f` [five](https://example.org/a.b?c). Six.

| no | table |
|---|---|
| no | no |

```python
no = "code"
```

```{glued-figure} key
:alt: no
Seven **eight**.
```

:::{admonition} No title
Nine, e.g. ten.
:::

<details><summary>No</summary>

Eleven.

</details>
"""
    found = [sentence for paragraph in paragraphs(page) for sentence in sentences(paragraph)]
    assert found == ["One x x x five.", "Six.", "Seven eight.", "Nine, e.g ten.", "Eleven."]
    assert [length(sentence) for sentence in found] == [5, 1, 2, 3, 1]


@pytest.mark.parametrize(
    "phrase", ["It is simply so.", "Let’s go", "Leveraging masks", "not just fast but good", "In this chapter we"]
)
def test_words_that_are_found(phrase):
    assert FORBIDDEN.search(phrase)


def test_words_that_are_not():
    assert not FORBIDDEN.search("The outlet's power is just. But simplicity counts, and a lever helps.")
