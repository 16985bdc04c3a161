from __future__ import annotations

from srpu.data.groups import Labelled, file_id, grouped, specimen


def images(*ids: str) -> list[Labelled]:
    def one(id_: str) -> Labelled:
        page = int(id_.split("#")[1]) - 1 if "#" in id_ else None
        return Labelled(id_, id_, f"data/raw/{file_id(id_)}", page, "raw")

    return [one(id_) for id_ in ids]


def groups(
    *ids: str, pattern: str | None = None, alike: bool | set[frozenset[str]] = True
) -> dict[str, tuple[str, int | None]]:
    def likeness(one: Labelled, other: Labelled) -> float:
        return float(alike if isinstance(alike, bool) else frozenset((one.id, other.id)) in alike)

    return {image.id: (image.group, image.place) for image in grouped(images(*ids), pattern, likeness)}


def test_images_without_number_are_groups_of_their_own() -> None:
    assert groups("b.tif", "a.tif") == {"a.tif": ("a.tif", None), "b.tif": ("b.tif", None)}


def test_numbered_neighbours_that_look_alike_are_a_series_in_the_order_of_their_numbers() -> None:
    assert groups("z10_SE.tif", "z9_SE.tif", "z8_SE.tif") == {
        "z8_SE.tif": ("z8_SE.tif", 0),
        "z9_SE.tif": ("z8_SE.tif", 1),
        "z10_SE.tif": ("z8_SE.tif", 2),
    }


def test_numbered_neighbours_that_look_different_are_no_series() -> None:
    assert groups("a1.tif", "a2.tif", alike=False) == {"a1.tif": ("a1.tif", None), "a2.tif": ("a2.tif", None)}


def test_a_series_is_cut_where_neighbours_look_different() -> None:
    alike = {frozenset(("a1.tif", "a2.tif")), frozenset(("a3.tif", "a5.tif"))}
    assert {id_: group for id_, (group, _) in groups("a1.tif", "a2.tif", "a3.tif", "a5.tif", alike=alike).items()} == {
        "a1.tif": "a1.tif",
        "a2.tif": "a1.tif",
        "a3.tif": "a3.tif",
        "a5.tif": "a3.tif",
    }


def test_series_do_not_cross_folders_or_names() -> None:
    found = groups("b1/z1.tif", "b2/z2.tif", "b1/y2.tif", "b1/z2b.tif", "b1/z2.png")
    assert len({group for group, _ in found.values()}) == 5


def test_pages_of_a_file_are_a_stack_whatever_they_look_like() -> None:
    found = groups("b/s.tif#0002", "b/s.tif#0001", "b/s.tif#0010", "b/t.tif#0001", alike=False)
    assert found["b/s.tif#0001"] == ("b/s.tif", 0)
    assert found["b/s.tif#0010"] == ("b/s.tif", 2)
    assert found["b/t.tif#0001"] == ("b/t.tif", None)


def test_the_pattern_names_specimens_and_what_it_misses_is_grouped_as_without_it() -> None:
    found = groups("s1_a1.tif", "s1_a2.tif", "s2_a.tif", "x1.tif", "x2.tif", pattern="(s[0-9]+)_")
    assert found == {
        "s1_a1.tif": ("s1", None),
        "s1_a2.tif": ("s1", None),
        "s2_a.tif": ("s2", None),
        "x1.tif": ("x1.tif", 0),
        "x2.tif": ("x1.tif", 1),
    }


def test_the_pattern_looks_at_the_id_and_then_at_the_whole_path() -> None:
    assert specimen("^(s1)_", "s1_a.tif", "data/raw/s1_a.tif") == "s1"
    assert specimen("(raw)", "s1_a.tif", "data/raw/s1_a.tif") == "raw"
    assert specimen("(x)?s1", "s1_a.tif", "data/raw/s1_a.tif") is None
