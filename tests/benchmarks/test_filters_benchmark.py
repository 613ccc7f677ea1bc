"""The figures of filters, ensembles and stereo: what they measure gets better, and by more than chance."""

import pytest

from benchmarks.ensembles import measure_ensembles
from benchmarks.filters import score_chains, time_chains
from benchmarks.picture_filters import SPOILED, score_spoiled
from benchmarks.stereo import measure
from dacli.filters.table import parse_filters


def test_edges_of_rendered_scenes_are_found_with_filters() -> None:
    chains = [parse_filters(text) for text in ("", "guided,sharpen")]
    plain, *filtered = (scores[0] for scores in score_chains(chains, 1, (480, 640)).values())
    assert all(f1 > 1.3 * plain > 0 for f1 in filtered)


def test_all_filters_are_timed() -> None:
    assert set(time_chains([parse_filters("median:3")], (96, 128))) == {"median:3"}


def test_the_exact_right_view_is_nearest_to_that_of_exact_depth() -> None:
    rows, holes, _ = measure(1, (96, 128))
    assert rows["exact depth"] > rows["the left view"] + 3
    assert 0 < holes < 0.2


@pytest.mark.slow
def test_an_ensemble_gets_worst_where_its_members_differ() -> None:
    found = measure_ensembles(2, (96, 128), ("flip",))["flip"]
    assert found.unsure > 1.2
    assert found.ordinal > 0.6


def test_depth_of_spoiled_pictures_is_scored_with_and_without_their_filter() -> None:
    found = score_spoiled(1, (96, 128))
    assert {fault for fault, text in found if text == ""} == set(SPOILED)
    assert found["none", ""] != found["noise", ""] != found["noise", "denoise"]
