"""The prose rules of the course: short sentences, and no word that says nothing."""

import math
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

from lthkit.exercises.task import tasks

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")])
PROSE_DIRECTIVE = re.compile(
    r"\{(answer|glued-figure|drawing|verdict|note|tip|important|warning|caution|hint|seealso|admonition|dropdown|margin|"
    r"sidebar|card|exercise|question|solution|glossary|grid|grid-item|grid-item-card|tab-set|tab-item|div|epigraph|"
    r"playground)\}"
)
FORBIDDEN = re.compile(
    r"\b(crucial\w*|powerful\w*|delv(?:e|es|ed|ing)|leverag\w+|simply|obviously|let[’']s|in this chapter"
    r"|not just\b[^.!?]*\bbut)\b",
    re.IGNORECASE,
)
FOLDED = re.compile(
    r"\{(answer|question|glued-figure|drawing|playground|lab-links)\}"
)  # read when opened, or no running text
NUMBER = re.compile(r"(?<![\w^-])(?<![Vv]ariant )\d+(?:[.,]\d+)*")  # not in fc1, LeNet-300-100, variant 1 or a square
QUOTED = re.compile(r"\{(?:glued|glued-figure|verdict|says|decided)\}(?:`| +)([a-z0-9_]+)(?:@(\w+))?")
ABBREVIATION = re.compile(r"\b(e\.g|i\.e|vs|et al|cf|sec|eq|fig|no)\.", re.IGNORECASE)

parser = MarkdownIt("commonmark").enable("table")
for plugin in (
    front_matter_plugin, colon_fence_plugin, deflist_plugin, dollarmath_plugin, myst_block_plugin, myst_role_plugin,
):  # fmt: skip
    parser.use(plugin)


def paragraphs(markdown: str) -> list[str]:
    """The running text: no headings, tables, code or addresses; code, formula or role but `says` counts as a word."""
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
    if token.type == "myst_role" and token.meta["name"] == "says":
        return ""  # a mark after the full stop, no word
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
One `two` $x + y$ {glued}`a:.1f` [five](https://example.org/a.b?c).{says}`no holds` Six.

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


def plain(markdown: str) -> tuple[int, int, int]:
    """(words, numbers, tables) that a chapter shows before anything is opened.

    Left out are folds, questions, figures with their captions, options of directives, and code.  A code, formula or
    role in a line is a word.  A quoted value is a number, and so is each one in a table, a label at its top aside,
    and in a formula.
    """
    count, numbers, tables, label = 0, 0, 0, False
    for token in parser.parse(markdown):
        label = token.type == "th_open" or label and token.type != "th_close"
        tables += token.type == "table_open"
        if token.type in ("fence", "colon_fence"):
            if re.match(r"\{", info := token.info.strip()) and not FOLDED.match(info):
                inside = plain(re.sub(r"\A(\s*:[\w-]+:.*\n)+", "", token.content))
                count, numbers, tables = count + inside[0], numbers + inside[1], tables + inside[2]
        elif token.type == "math_block":
            count, numbers = count + 1, numbers + len(NUMBER.findall(token.content))
        elif token.type == "inline":
            count += length("".join(words(child) for child in token.children))
            for child in token.children if not label else ():
                if child.type in ("text", "math_inline", "math_single"):
                    numbers += len(NUMBER.findall(child.content))
                numbers += child.type == "myst_role" and child.meta["name"] in ("glued", "decided")
    return count, numbers, tables


def minutes(markdown: str) -> int:
    """How long a chapter takes: 200 words a minute, 3 seconds a number, 30 seconds a table; rounded up.

    Folds, questions and figures are not counted, as in `plain`.
    """
    count, numbers, tables = plain(markdown)
    return math.ceil(count / 200 + numbers / 20 + tables / 2)


def above_the_fold(markdown: str) -> str:
    """What stands before the first answer, which comes before the first heading of level 2."""
    head = re.split(r"^## ", markdown, maxsplit=1, flags=re.MULTILINE)[0]
    above, *fold = re.split(r"^[`:]{3,}\{answer\}", head, maxsplit=1, flags=re.MULTILINE)
    assert fold, "no answer is folded before the first heading"
    return above


CHAPTERS = [path for path in PAGES if re.match(r"\d\d_.*md", path.name)]
APPENDICES = [path for path in PAGES if re.match(r"A\d_.*md", path.name)]  # to look things up: as long as need be
of_every_chapter = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


@of_every_chapter
def test_a_chapter_is_short(path):
    count, numbers, _ = plain(path.read_text())
    least = 400 if path.name.startswith("00") else 800  # chapter 00 is a first look
    assert least <= count <= 1200 and numbers <= 40, f"{count} words, {numbers} numbers"


@pytest.mark.parametrize("path", [*CHAPTERS, *APPENDICES], ids=lambda path: path.stem)
def test_a_chapter_says_how_long_it_takes(path):
    (said,) = re.findall(r"^```\{lab-links\} (\d+)", path.read_text(), re.MULTILINE)
    assert int(said) == minutes(path.read_text())


@of_every_chapter
def test_a_chapter_shows_at_most_four_verdicts(path):
    assert len(re.findall(r"^[`:]{3,}\{verdict\}", path.read_text(), re.MULTILINE)) <= 4


@of_every_chapter
def test_a_chapter_asks_before_it_tells(path):
    (prediction,) = [task for task in tasks().values() if task.kind == "predict" and task.chapter == int(path.name[:2])]
    quoted = {key for key, lab in QUOTED.findall(above_the_fold(path.read_text())) if lab in ("", path.stem)}
    for page in [ROOT / "book/index.md", *ROOT.glob("book/[0-9][0-9]_*.md")]:
        if page.stem == "index" or page.stem < path.stem:
            quoted |= {key for key, lab in QUOTED.findall(page.read_text()) if lab == path.stem}
    assert not quoted & set(prediction.reveals)


PLAIN = """# 1 Title of four words

```{lab-links} 9
```

Two words, {glued}`a:.1f` of 1,197.5 in LeNet-300-100 and `x = 3`, $2w_1^2$ or {doc}`02_two`.

````{answer} Five words that are folded
Ten.
```{glued-figure} lead
:alt: no 1
No 2.
```
````

## Four

| first 1 | second 2 |
|---|---|
| −3 | {glued}`b` |

$$0.5 + s_2 = 1$$

```{verdict} claim
:option: 4
Two words.
```

:::{question} None of 5?
- [x] 5 :: None.
:::

```python
x = 6
```
"""


def test_what_a_chapter_shows_before_anything_is_opened():
    words_of = {"title": 5, "paragraph": 12, "heading": 1, "table": 6, "formula": 1, "verdict": 2}
    numbers_of = {"title": 1, "paragraph": 3, "table": 2, "formula": 2}
    assert plain(PLAIN) == (sum(words_of.values()), sum(numbers_of.values()), 1)
    assert minutes(PLAIN) == 2  # 0.14 + 0.4 + 0.5
    assert minutes("word " * 400) == 2 and minutes("word " * 401) == 3
    assert above_the_fold(PLAIN).endswith("`02_two`.\n\n")
    with pytest.raises(AssertionError, match="no answer"):
        above_the_fold(PLAIN.replace("{answer}", "{note}"))


def test_what_a_page_quotes():
    page = "{glued}`a:.1f` {glued}`b@02_two` {doc}`c`\n```{glued-figure} d\n```\n:::{verdict} e@02_two\n:::\n`f`"
    page += "{says}`g@02_two holds`"
    assert QUOTED.findall(page) == [("a", ""), ("b", "02_two"), ("d", ""), ("e", "02_two"), ("g", "02_two")]
