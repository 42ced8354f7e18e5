"""The book's extension, on a demo book: results reach the pages, and no mistake passes silently."""

import re
from dataclasses import replace

import nbformat
import pytest
from demo import (
    CHAPTER,
    CHECKS,
    DIFFERENCES,
    DOUBTFUL,
    EXACT,
    GLUED,
    WINS,
    build,
    lay_out,
    notebook,
    page,
    record,
    write,
)
from lthbook.pages import colab_url

from lthkit.exercises.task import task


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    root = lay_out(tmp_path_factory.mktemp("book"))
    built = build(root)
    assert built.returncode == 0, built.stderr
    names = ("book/01_demo", "book/A1_traps", "book/claims", "notebooks/01_demo")
    return root, {name: page(root, name) for name in names}


def test_numbers_and_texts_appear_formatted(book):
    text = book[1]["book/01_demo"].get_text()
    assert "The gap is 13.1 points, of 10 seeds and five more; see Fig. 1." in text


def test_a_figure_has_alt_text_number_caption_and_file(book):
    root, pages = book
    figure = pages["book/01_demo"].select_one("figure#fig-line")
    image = figure.select_one("img")
    assert image["alt"] == "A line that rises from 0 to 1."
    assert (root / "_build/html/book" / image["src"]).read_bytes().startswith(b"\x89PNG")
    assert figure.select_one("figcaption").get_text().strip().startswith("Fig. 1 The line rises.")
    assert "width: 29" in image["style"]  # about 3 inches at 100 dpi, half of the file's pixels


def test_a_drawing_stands_in_the_page_with_number_and_caption(book):
    first, second = book[1]["book/01_demo"].select("figure:has(svg)")
    assert first["id"] == "fig-rounds"
    assert first.figcaption.get_text().strip().startswith("Fig. 2 Look at the loop.") and first.figcaption.strong
    assert second.figcaption.get_text().strip().startswith("Fig. 3 Without a name.")
    assert first.svg["role"] == "img" and first.svg.find("desc").get_text() == "Boxes & <arrows>."
    ids = [part["id"] for part in book[1]["book/01_demo"].select("figure svg [id]")]
    assert f"{first.svg['aria-labelledby']} {second.svg['aria-labelledby']}".split() == ids
    assert len(set(ids)) == 4


def test_a_playground_has_a_still_for_readers_without_scripts(book):
    root, pages = book
    still = pages["book/01_demo"].select_one(".lth-playground + noscript")
    assert still.svg.desc.get_text() == "Patches & <dots>." and still.p.get_text() == "Scripts are off: 10 seeds."
    assert pages["book/01_demo"].select_one(".lth-playground").get_text() == ""
    scripts = ("digits.js", "lottery.js", "playground.js", "playground.css")
    for name, loads in (("01_demo", True), ("A1_traps", False)):
        html = (root / f"_build/html/book/{name}.html").read_text()
        assert [script in html for script in scripts] == [loads] * 4
        assert all((root / "_build/html/_static" / script).exists() for script in scripts)


def test_a_verdict_card_says_everything(book):
    card = book[1]["book/01_demo"].select_one("#verdict-rewind-wins")
    text = card.get_text(" ", strip=True)
    for part in (
        "✓ holds", "<at 3 %>", "+13.3 points (+13.", "60 seeds (interval at 99.95 %, adjusted p < 0.001).",
        "Live look: agrees, +13.1 points (+11.0 to +15.2), 10 seeds", "ested on digits", "a paper", "Look at the",
    ):  # fmt: skip
        assert part in text
    assert card.select_one("em").get_text() == "interval" and "lth-holds" in card["class"]


def test_a_card_shows_other_settings_and_their_numbers(book):
    strip = book[1]["book/01_demo"].select_one("#verdict-rewind-wins details.lth-strip")
    assert [mark.get_text() for mark in strip.select(".lth-mark")] == ["+ split", "− SGD"]
    assert "Agrees in 1 of 2 other settings; not under SGD." in strip.summary.get_text()
    split, sgd = (item.get_text() for item in strip.select("li"))
    assert split == "split: agrees, +13.1 points (+11.0 to +15.2), 60 seeds"
    assert sgd.startswith("SGD: disagrees, −2.0 points") and "the lab has changed since" in sgd


def test_a_sentence_links_the_claim_that_bears_it_out(book):
    pages = book[1]
    text = pages["book/01_demo"].get_text()
    assert "Rewinding wins by 13.3 points," in text and "but under SGD it loses by 2.0 points." in text
    links = pages["book/01_demo"].select(".lth-says a")
    assert [link.get_text() for link in links] == ["✓", "✓", "✓"]
    statuses = [link["aria-label"].removeprefix("Borne out. Claim: ") for link in links]
    assert statuses == ["holds", "disagrees", "too close to call"]
    for link in links:
        target, _, row = link["href"].partition("#")
        assert target == "claims.html" and pages["book/claims"].select_one(f"#{row}")


def test_a_chart_is_drawn_from_records(book):
    root, pages = book
    image = pages["book/01_demo"].select_one("img[alt='One lead that falls.']")
    assert (root / "_build/html/book" / image["src"]).read_bytes().startswith(b"\x89PNG")


@pytest.mark.labs
def test_a_flip_of_a_record_stops_the_build(book):
    root, _ = book
    flipped = replace(
        WINS, differences={pair: {s: -d for s, d in seeds.items()} for pair, seeds in DIFFERENCES.items()}
    )
    record(root, "01_demo", "fresh", {"rewind_wins": flipped})
    built = build(root)
    assert built.returncode != 0
    assert "claim 'rewind_wins' is contradicted, the sentence says holds" in built.stderr
    record(root, "01_demo", "fresh", {"rewind_wins": replace(WINS, differences=DIFFERENCES)})
    assert build(root).returncode == 0


def test_the_ledger_lists_all_claims_in_the_order_of_the_book(book):
    _, pages = book
    table = pages["book/claims"].select_one("table")
    assert [head["scope"] for head in table.select("thead th")] == ["col"] * 5
    rows = [row.get_text(" ", strip=True) for row in table.select("tbody tr")]
    first, second, third, fourth, fifth = rows
    assert "Rewinding beats" in first and "✓ holds" in first and "agrees, +13.1 points" in first and "SGD" in first
    assert "shape" in second and "✓ holds exact: the lab asserts it" in second and "Lab 02" in second
    assert "✗ contradicted observed: seen in each seed" in third
    assert "≈ too close to call Not decided yet" in fourth and "+13.1 points (−1.0 to +15.2), 10 seeds" in fourth
    assert "A trap" in fifth and "Appendix A1" in fifth
    assert table.select_one("caption").get_text() == "5 claims, 2 measured, 1 of these decided on fresh seeds."
    links = [link["href"] for link in table.select("tbody a")]
    assert links[:2] == ["01_demo.html#verdict-rewind-wins", "../notebooks/01_demo.html#cell-rewind-wins"]
    assert pages["notebooks/01_demo"].select_one("#cell-rewind-wins")
    assert links[-2] == "A1_traps.html#verdict-exact-trap"
    first = table.select_one("tbody tr")
    assert first["data-settings"] == "not in all settings" and first["data-chapter"] == "Chapter 01"


def test_the_lab_links_lead_to_page_colab_and_file(book):
    root, pages = book
    line = pages["book/01_demo"].select_one(".lth-lab-links")
    lab, colab, download = (link["href"] for link in line.select("a"))
    assert line.get_text().startswith("7 min read · Lab 01 · Open in Colab · Download")
    assert lab == "../notebooks/01_demo.html"
    assert colab.endswith("/blob/main/notebooks/01_demo.ipynb")
    assert (root / "_build/html/book" / download).read_bytes() == (root / "notebooks/01_demo.ipynb").read_bytes()
    assert pages["book/A1_traps"].select_one(".lth-lab-links").get_text().startswith("2 min read · Lab A1 · ")


def test_a_verdict_in_a_line_is_its_sentence(book):
    sentence = "Rewinding is more accurate than re-initialising: +13.1 points"
    assert f"In short: {sentence}" in book[1]["book/01_demo"].get_text()


def test_a_solution_stands_folded_below_the_cell_that_checks(book):
    lab = book[1]["notebooks/01_demo"]
    built, interpreted = lab.select("details")  # none for the prediction, nor for a check in a comment
    assert not built.has_attr("open") and not interpreted.has_attr("open")
    assert built.select_one("summary").get_text() == f"Solution 1.1: {task('1.1').title}"
    assert built.select_one("pre").get_text().strip() == task("1.1").solution()
    assert built.select("pre span.k")  # highlighted
    assert built.select_one("p").get_text() == task("1.1").why.replace("`", "")
    assert interpreted.select_one("pre").get_text().strip() == task("1.4").solution()
    assert "cell" in built.find_previous_sibling("div")["class"]
    assert interpreted.find_next_sibling("p").get_text() == "The end."


def test_an_answer_is_folded_with_its_figure(book):
    first, second = book[1]["book/01_demo"].select("details.lth-answer")
    assert first.summary.text == "Open <this> & look" and not first.has_attr("open")
    assert "The answer is 13." in first.text and first.select_one("figure img")["alt"].startswith("A line that rises")
    assert second.summary.text == "Made your guess? Open the answer." and "Once more." in second.text


def test_a_question_opens_an_explanation_for_each_option(book):
    (question,) = book[1]["book/01_demo"].select(".lth-question")
    label = question.select_one(f"#{question['aria-labelledby']}")
    assert question["role"] == "group"
    assert label.get_text() == "How many of four weights are left: 1, 2 or 4?"
    assert label.select_one("code") and label.select_one("strong")
    options = question.select("details")
    assert not any(option.has_attr("open") for option in options)
    assert [option.select_one("summary").get_text() for option in options] == ["1", "2", "4"]
    assert [option.select_one("p").get_text() for option in options] == [
        "Not quite: A half of 10 is not one.",
        r"Right: A half of four is two, as \(4 / 2\) shows.",
        "Not quite: Nothing would be pruned.",
    ]
    assert not question.select("script, input, button")


def test_formulas_are_drawn_by_the_books_own_mathjax(book):
    folder = book[0] / "_build/html/_static/mathjax"
    assert (folder / "tex-mml-chtml.js").stat().st_size > 500_000
    assert list((folder / "output/chtml/fonts/woff-v2").glob("*.woff"))
    assert not (folder / "sre").exists()


@pytest.mark.labs
def test_solutions_can_be_left_out_without_reading_a_lab_again(book, monkeypatch):
    root, pages = book
    folded = pages["notebooks/01_demo"].select("details")
    for wanted, expected in (("0", []), ("1", folded)):
        monkeypatch.setenv("LTHKIT_SOLUTIONS", wanted)
        built = build(root)
        assert built.returncode == 0, built.stderr
        read = re.findall(r"reading sources.*((?:book|notebooks)/\w+)", built.stdout)
        assert not [name for name in read if name.startswith("notebooks")], "pages with claims are read as always"
        assert page(root, "notebooks/01_demo").select("details") == expected


@pytest.mark.labs
def test_a_changed_lab_reaches_chapter_and_ledger(book):
    root, _ = book
    notebook(root / "notebooks/02_other.ipynb", {"other": "six", "exact": EXACT, "sooner": DOUBTFUL})
    built = build(root)
    assert built.returncode == 0, built.stderr
    assert "and six more" in page(root, "book/01_demo").get_text()
    assert len(page(root, "book/claims").select("tbody tr")) == 4


@pytest.mark.labs
def test_mistakes_stop_the_build_also_the_second_time(tmp_path):
    root = lay_out(tmp_path)
    wrong = "\n{glued}`gone` {glued}`gap@02_other` {glued}`gap:.1q` {glued}`Gap!`\n"
    wrong += "\n```{glued-figure} line\nNo alt text.\n```\n"
    wrong += "\n{says}`rewind_wins contradicted` {says}`rewind_wins mnist agrees` {says}`rewind_wins` {decided}`gone`\n"
    wrong += "\n{decided}`rewind_wins mnist`\n"
    wrong += "\n```{chart} gone\n:alt: None.\nNo chart.\n```\n"
    wrong += "\n```{drawing} rounds\nNo alt text.\n```\n\n```{drawing} gone\n:alt: None.\nNo drawing.\n```\n"
    wrong += "\n```{playground}\nNo alt text.\n```\n\n```{playground}\n:alt: A second one.\n\nNo.\n```\n"
    for options in (
        "- [x] a :: b",
        "- [x] a :: b\n- [x] c :: d",
        "- [ ] a :: b\n- [ ] c :: d",
        "- [x] a\n- [ ] b :: c",
    ):
        wrong += f"\n:::{{question}} What?\n{options}\n:::\n"
    (root / "book/01_demo.md").write_text(CHAPTER + wrong)
    notebook(root / "notebooks/01_demo.ipynb", GLUED, CHECKS.replace("1.4", "1.99"))
    notebook(root / "notebooks/02_other.ipynb", {"other": "five", "rewind_wins": EXACT})
    for attempt in ("first", "second"):
        built = build(root)
        assert built.returncode != 0, attempt
        for message in (
            "'gone' of notebooks/01_demo is missing",
            "'gap' of notebooks/02_other is missing",
            "'gap' of notebooks/01_demo: ",
            "'Gap!' is not of the form",
            "claim 'rewind_wins' is holds, the sentence says contradicted",
            "claim 'rewind_wins' in setting mnist is unknown: no record, the sentence says agrees",
            "'rewind_wins' is not of the form `key status`",
            "claim 'gone' has no record on fresh seeds",
            "claim 'rewind_wins' has no record in setting mnist",
            "unknown chart 'gone': known are leads",
            "figure 'line' has no :alt: text",
            "drawing 'rounds' has no :alt: text",
            "playground has no :alt: text",
            "a page holds one playground",
            "unknown drawing 'gone': known are rounds, ",
            "claim 'rewind_wins' is glued by notebooks/01_demo and notebooks/02_other",
            "unknown task '1.99'",
            "a question has 2 to 5 options, not 1",
            "marked '- [x]', not 2",
            "marked '- [x]', not 0",
            "'- [x] a' is not of the form '- [ ] text :: explanation'",
        ):
            assert message in built.stderr, (attempt, message)


@pytest.mark.labs
def test_a_change_of_the_package_runs_the_labs_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    root = lay_out(tmp_path, execute="cache")
    glue = """import os, pathlib
from IPython.display import display
seen = [os.environ[name] for name in ("LTHKIT_BOOK", "TQDM_DISABLE", "MPLBACKEND")]
text = repr([pathlib.Path("../lthkit/value.py").read_text(), *seen])
prefix = "application/papermill.record/"
for key in ("gap", "seeds", "other"):
    display({prefix + "text/plain": text}, raw=True, metadata={"scrapbook": {"name": key, "mime_prefix": prefix}})
"""
    cells = [nbformat.v4.new_markdown_cell("# Lab"), nbformat.v4.new_code_cell(glue)]
    write(root / "notebooks/01_demo.ipynb", cells)
    write(root / "notebooks/02_other.ipynb", cells)
    (root / "book/01_demo.md").write_text("# Demo\n\nThe value is {glued}`gap`.\n")
    (root / "book/A1_traps.md").write_text("# Nothing quoted\n")
    (root / "lthkit").mkdir()
    for value in ("41", "42"):
        (root / "lthkit/value.py").write_text(value)
        built = build(root)
        assert built.returncode == 0, built.stderr
        assert (
            f"The value is [{value!r}, '1', '1', 'module://matplotlib_inline" in page(root, "book/01_demo").get_text()
        )


def test_colab_opens_the_notebook_of_the_configured_repository():
    options = {
        "repository_url": "https://github.com/someone/course/",
        "repository_branch": "main",
        "launch_buttons": {"colab_url": "https://colab.research.google.com"},
    }
    expected = "https://colab.research.google.com/github/someone/course/blob/main/notebooks/01_x.ipynb"
    assert colab_url(options, "notebooks/01_x") == expected
