"""The documents' figures are those of the results that lie in the repository."""

import pytest
from ecdc.bench import figures


@pytest.mark.parametrize("path", figures.FILES, ids=lambda path: path.name)
def test_figures_are_those_of_the_results(path):
    text = path.read_text(encoding="utf-8")
    assert figures.fill_blocks(text) == text, "run: ecdc bench figures"


def test_all_results_are_quoted_and_a_changed_figure_is_noticed():
    texts = "".join(path.read_text(encoding="utf-8") for path in figures.FILES)
    assert {found[2] for found in figures.BLOCK.finditer(texts)} == set(figures.BLOCKS)
    block = "<!-- figures: seek -->\nsomething else\n<!-- end -->"
    once = figures.fill_blocks(block)
    assert "something else" not in once and figures.fill_blocks(once) == once
    with pytest.raises(KeyError):
        figures.fill_blocks("<!-- figures: nothing -->\n<!-- end -->")
