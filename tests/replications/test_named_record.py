"""One record is computed anew: the numbers of the pages come from these files, and the files from the labs."""

from pathlib import Path

import pytest

from lthkit import replications
from lthkit.replications import moved
from lthkit.replications.execute import facts
from lthkit.report import Verdict

pytestmark = pytest.mark.labs
ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "book/results/replications"
LAB, SETTING = "08_supermasks", "live"  # on the digits, under a minute


def test_the_named_record_is_what_its_lab_gives(tmp_path):
    record = replications.find(RECORDS, LAB, SETTING)
    if record is None:
        pytest.skip(f"no record of {LAB}, {SETTING} yet: lthkit replicate --lab {LAB[:2]} --setting {SETTING}")
    assert replications.replicate([LAB[:2]], [SETTING], tmp_path, ROOT / "notebooks", workers=1) == []
    again = replications.find(tmp_path, LAB, SETTING)
    what = f"run lthkit replicate --lab {LAB[:2]} --setting {SETTING}"
    assert again["hash"] == record["hash"], f"the record is stale: {what}"
    if all(record[name] == facts()[name] for name in ("processor", "versions", "threads")):
        assert moved.differs(record["verdicts"], again["verdicts"]) == []
        return
    for key, found in again["verdicts"].items():  # elsewhere rounding differs, and a seed by some images
        new, old = Verdict.from_dict(found), Verdict.from_dict(record["verdicts"][key])
        if new.measured:
            assert old.low <= new.difference <= old.high, key
        else:
            assert new.status == old.status, key
