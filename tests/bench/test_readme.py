"""The documents' figures are those of the results that lie in the repository."""

import pytest
from ecdc.bench import readme


@pytest.mark.parametrize("path", readme.FILES, ids=lambda path: path.name)
def test_figures_are_those_of_the_results(path):
    text = path.read_text(encoding="utf-8")
    assert readme.rendered(text) == text, "run: ecdc bench figures"


def test_all_results_are_quoted_and_a_changed_figure_is_noticed():
    texts = "".join(path.read_text(encoding="utf-8") for path in readme.FILES)
    assert {found[2] for found in readme.BLOCK.finditer(texts)} == set(readme.BLOCKS)
    block = "<!-- figures: seek -->\nsomething else\n<!-- end -->"
    assert "something else" not in readme.rendered(block) and readme.rendered(readme.rendered(block)) == readme.rendered(block)
    with pytest.raises(KeyError):
        readme.rendered("<!-- figures: nothing -->\n<!-- end -->")
