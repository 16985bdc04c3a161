import errno
import re

import numpy as np
import pytest

from srpu.errors import WorkspaceError
from srpu.report import Card, Cards, Cell, Legend, Picture, Section, Table, Text, write_report


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def page(tmp_path) -> str:
    path = tmp_path / "结果 1" / "report.html"
    blocks = [
        Text(["Two < three & more.", "第二段"], kind="note"),
        Text(["Careful."], kind="warning"),
        Cards([Card("Mean Dice", "0.912", "0.9 [0.8, 1.0]"), Card("n", "3")]),
        Table(
            ["Class", "Dice"],
            [[Cell("碳", colour=(0, 0, 255)), Cell("0.5", "n/a", bar=0.5)], ["SE", "n/a"]],
            "Caption.",
        ),
        Legend({"碳": (0, 0, 255)}),
        Picture(noise(40, 50), 'A "picture"', link="panels/%E7%A2%B3.png", chart=True),
    ]
    large = Section("More", [Picture(noise(400, 400))], folded=True)
    write_report(path, "Report <1>", [Section("First", blocks), large], subtitle="Sub.", facts={"Model": "a & b"})
    return path.read_text(encoding="utf-8")


def test_everything_is_said(page):
    for text in (
        "第二段",
        "0.912",
        "0.9 [0.8, 1.0]",
        "Caption.",
        "碳",
        "Sub.",
        "Careful.",
        "width: 50.0%",
        "<details>",
    ):
        assert text in page
    assert "rgb(0, 0, 255)" in page
    assert 'href="panels/%E7%A2%B3.png"' in page


def test_names_cannot_break_the_page(page):
    assert "Report &lt;1&gt;" in page
    assert "Two &lt; three &amp; more." in page
    assert "a &amp; b" in page
    assert "&#34;picture&#34;" in page


def test_the_page_needs_nothing_but_itself(page):
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert all(source.startswith("data:image/") for source in re.findall(r'src="(.{11})', page))
    assert "default-src 'none'" in page


def test_charts_are_png_and_photographs_jpeg(page):
    assert page.count("data:image/png") == 1
    assert page.count("data:image/jpeg") == 1


def test_a_bar_of_nothing_is_drawn_but_a_missing_one_is_not(tmp_path):
    path = tmp_path / "r.html"
    write_report(path, "t", [Section("s", [Table(["a"], [[Cell("0", bar=0.0)], [Cell("n/a")]])])])
    assert path.read_text(encoding="utf-8").count('class="bar"') == 1


def test_a_read_only_disk_is_one_sentence(tmp_path, monkeypatch):
    def refuse(**_):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(WorkspaceError, match="that disk is read-only"):
        write_report(tmp_path / "r.html", "t", [])


def test_a_file_in_the_way_of_the_folder_is_one_sentence(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(WorkspaceError, match="a file stands where a folder is needed"):
        write_report(tmp_path / "results" / "r.html", "t", [])
