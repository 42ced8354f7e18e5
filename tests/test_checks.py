"""What is asked of every setting."""

import numpy as np
import pytest

from lthkit.checks import check_count, lookup


def test_a_known_name_gives_its_entry_and_any_other_lists_them():
    assert lookup("fruit", "fig", {"fig": 1, "plum": 2}) == 1
    for other in ("Fig", "", None, 1, ["fig"]):
        with pytest.raises(ValueError, match="unknown fruit .*: known are fig, plum"):
            lookup("fruit", other, {"fig": 1, "plum": 2})


def test_counts_are_whole_numbers_from_the_least_on():
    for good in (1, 7, np.int64(3)):
        check_count("rounds", good, 1)
    for bad in (0, -1, 1.0, True, "1", None, np.float32(2)):
        with pytest.raises(ValueError, match="rounds must be a whole number of at least 1, got"):
            check_count("rounds", bad, 1)
