"""Against PROJ 9, by the codes of EPSG."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miss_server.importers.projections import LAMBERT_93, OVERSEAS, Projection, projection

POINTS = [
    ("59350", 50.63, 3.06, 704252.441, 7059225.875),  # EPSG:2154
    ("06088", 43.7, 7.26, 1043310.291, 6298259.446),
    ("2A004", 41.92, 8.73, 1175948.015, 6108310.224),
    ("29019", 48.39, -4.48, 147078.331, 6836175.334),
    ("97101", 16.27, -61.5, 660285.608, 1799389.566),  # EPSG:5490
    ("97209", 14.6, -61.07, 707904.647, 1614967.882),
    ("97302", 4.93, -52.33, 352535.038, 545073.719),  # EPSG:2972
    ("97411", -20.88, 55.45, 338767.167, 7690355.572),  # EPSG:2975
    ("97502", 46.78, -56.18, 562596.272, 5181043.21),  # EPSG:4467
    ("97611", -12.78, 45.23, 524963.361, 8587181.961),  # EPSG:4471
]


@pytest.mark.parametrize(("commune", "latitude", "longitude", "east", "north"), POINTS)
def test_points_are_where_proj_puts_them(
    commune: str, latitude: float, longitude: float, east: float, north: float
) -> None:
    used = projection(commune)
    assert used.metres(latitude, longitude) == pytest.approx((east, north), abs=0.002)
    assert used.degrees(east, north) == pytest.approx((latitude, longitude), abs=2e-8)


def test_the_origin_is_where_the_map_says() -> None:
    assert LAMBERT_93.metres(46.5, 3.0) == pytest.approx((700_000, 6_600_000), abs=0.001)


@given(
    st.sampled_from([LAMBERT_93, *OVERSEAS.values()]),
    st.floats(-2, 2),
    st.floats(-2, 2),
)
def test_there_and_back_again(used: Projection, up: float, across: float) -> None:
    middle = (46.5, 3.0) if used is LAMBERT_93 else used.degrees(500_000, 1_800_000)
    point = (middle[0] + up, middle[1] + across)
    assert used.degrees(*used.metres(*point)) == pytest.approx(point, abs=1e-8)
