"""Files to which anything may have happened end in a network, or in one clear line."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damaged_files import NETWORKS, TRAININGS, check, contents, damaged

CASES = int(os.environ.get("DAMAGED_FILES", "5000"))
"""How many files are damaged; DAMAGED_FILES=100000 takes an hour."""
KINDS = [*NETWORKS, *TRAININGS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("cases", [100, pytest.param(CASES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_happened_to_a_file(kind, cases, folder):
    content = contents(folder)[kind]

    @settings(
        max_examples=cases // len(KINDS),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def one(data):
        check(kind, data.draw(damaged(content)), folder)

    check(kind, content, folder)
    one()
