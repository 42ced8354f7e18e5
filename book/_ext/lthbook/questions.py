"""Questions to check oneself: each option opens to say whether it is right, and why.  Plain HTML, no script."""

import re

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

OPTION = re.compile(r"- \[(?P<mark>[ x])\] +(?P<text>\S.*?) +:: +(?P<why>\S.*)")
FEWEST, MOST = 2, 5


class Question(SphinxDirective):
    """The argument is the question, the content a list of options.

    `- [x] text :: explanation` is the right one, `- [ ] text :: explanation` any other.  An indented line continues
    the one before.
    """

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self):
        options = self.options_of_the_list()
        name = f"question-{self.env.new_serialno('lthbook-question') + 1}"
        return [
            raw(f'<div class="lth-question" role="group" aria-labelledby="{name}"><p id="{name}">'),
            self.inline(" ".join(self.arguments[0].split())),
            raw("</p>"),
            *(node for option in options for node in self.folded(*option)),
            raw("</div>"),
        ]

    def options_of_the_list(self) -> list[tuple[bool, str, str]]:
        """(right, text, explanation) of each option.  A mistake in the list is an error of the build."""
        lines = re.sub(r"\n[ \t]+(?=\S)", " ", "\n".join(self.content)).splitlines()
        options = []
        for line in filter(str.strip, lines):
            if not (match := OPTION.fullmatch(line.rstrip())):
                raise self.error(f"{line!r} is not of the form '- [ ] text :: explanation' ('- [x]' where it is right)")
            options.append((match["mark"] == "x", match["text"], match["why"]))
        if not FEWEST <= len(options) <= MOST:
            raise self.error(f"a question has {FEWEST} to {MOST} options, not {len(options)}")
        if (right := sum(option[0] for option in options)) != 1:
            raise self.error(f"exactly one option of a question is right, marked '- [x]', not {right}")
        return options

    def folded(self, right: bool, text: str, why: str) -> list[nodes.Node]:
        kind, verdict = ("right", "Right:") if right else ("wrong", "Not quite:")
        return [
            raw(f'<details class="lth-{kind}"><summary>'),
            self.inline(text),
            raw(f"</summary><p><strong>{verdict}</strong> "),
            self.inline(why),
            raw("</p></details>"),
        ]

    def inline(self, text: str) -> nodes.Node:
        children, messages = self.parse_inline(text)
        return nodes.inline("", "", *children, *messages)


def raw(html: str) -> nodes.raw:
    return nodes.raw("", html, format="html")
