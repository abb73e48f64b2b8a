"""The checker of a site's pages finds what a reader would stumble over."""

import pytest

from slmlab.notebooks.pages import faults

GOOD = """<link rel="stylesheet" href="_static/style.css?v=1"><h1 id="top">Title</h1>
<a href="#top">up</a> <a href="labs/one%20lab.html#step">a lab</a> <a href="https://example.org">out</a>
<a href="mailto:a@example.org">write</a>
<img src="data:image/png;base64,AA==" alt="a picture of a fox">
<img src="_static/logo.svg" alt="A logo">"""


@pytest.fixture
def site(tmp_path):
    """Write a site whose first page has `more` on it, beside what is good."""

    def write(more=""):
        for name, text in {
            "index.html": GOOD + more,
            "labs/one lab.html": '<h2 id="step">Step</h2><a href="../index.html">back</a>',
            "_static/style.css": "",
            "_static/logo.svg": "",
            "_images/fox.png": "",
            "_static/part.html": '<img src="{{ nowhere }}">',
        }.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        return tmp_path

    return write


def test_a_good_site_has_no_faults(site):
    assert faults(site()) == []


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ('<a href="labs/two.html">x</a>', "labs/two.html leads nowhere."),
        ('<a href="labs">x</a>', "labs leads nowhere."),
        ('<a href="#bottom">x</a>', "#bottom leads nowhere."),
        ('<a href="labs/one lab.html#end">x</a>', "labs/one lab.html#end leads nowhere."),
        ('<script src="_static/x.js"></script>', "_static/x.js leads nowhere."),
        ('<script src="//cdn.example/x.js"></script>', "it fetches //cdn.example/x.js."),
    ],
)
def test_a_fault_is_named_with_its_page(site, more, fault):
    assert faults(site(more)) == [f"index.html: {fault}"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("_images/fox.png", ""),
        ("_images/fox.png", "a red fox"),
        ("_images/fox.png", "_images/fox.png"),
        ("_images/fox.png", "a folder with spaces/fox.png"),
        ("data:image/png;base64,AA==", "A red fox."),
        ("_static/logo.svg", " "),
    ],
)
def test_a_picture_whose_words_do_not_tell_it_is_a_fault(site, source, words):
    fault = f"the words {words!r} do not say what a picture shows."
    assert faults(site(f'<img src="{source}" alt="{words}">')) == [f"index.html: {fault}"]


def test_a_picture_without_words_is_a_fault(site):
    assert faults(site('<img src="_images/fox.png">')) == [
        "index.html: the words '' do not say what a picture shows."
    ]
