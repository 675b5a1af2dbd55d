"""The growth of training: cited numbers, and lines through them that can be drawn by hand."""

import math

import pandas as pd
import pytest

from convcost.chapters.accuracy_and_run_time.findings import training_compute as found
from convcost.core import paths
from convcost.core.errors import BadInputError, DamagedFileError


@pytest.fixture
def cited(tmp_path, monkeypatch):
    """A folder of cited files of the test's own."""
    monkeypatch.setattr(paths, "CITED", tmp_path)
    found._systems.cache_clear()
    yield tmp_path
    found._systems.cache_clear()


def table(*rows):
    frame = pd.DataFrame(rows, columns=["system", "date", "petaflop_s_days"])
    return frame.assign(year=[int(date[:4]) for date in frame["date"]])


def test_what_grows_fourfold_a_year_doubles_in_six_months():
    months, low, high = found.doubling_time([2010, 2011, 2012, 2013], [3, 12, 48, 192])
    assert (months, low, high) == pytest.approx((6, 6, 6))


def test_what_does_not_grow_never_doubles():
    assert found.doubling_time([2010, 2011, 2012], [8, 4, 2])[0] == math.inf
    for years in ([2010, 2011], [2010, 2010, 2010]):
        with pytest.raises(BadInputError, match="three systems"):
            found.doubling_time(years, range(1, len(years) + 1))


def test_the_interval_holds_the_line_and_is_wider_for_fewer_points():
    years = [2010, 2011, 2012, 2013, 2014, 2015] * 3
    work = [1, 3, 20, 50, 300, 900] * 2 + [2, 6, 10, 100, 150, 1800]
    months, low, high = found.doubling_time(years, work)
    _, lower, higher = found.doubling_time(years[:6], [1, 9, 10, 200, 150, 1800])
    assert low < months < high
    assert higher - lower > high - low


def test_records_are_what_took_more_than_all_before():
    rows = table(("a", "2012-01-01", 1), ("b", "2013-01-01", 1), ("c", "2014-01-01", 5),
                 ("d", "2015-01-01", 2), ("e", "2016-01-01", 6))  # fmt: skip
    assert list(found.records_of(rows)["system"]) == ["a", "c", "e"]


def test_the_choices_of_systems():
    rows = table(
        ("small", "2012-01-01", 1e-4), ("a", "2013-01-01", 1.0), ("b", "2014-01-01", 2.0),
        ("c", "2015-01-01", 4.0), ("AlphaGo Zero", "2017-01-01", 1024.0), ("d", "2018-01-01", 2.0),
        ("e", "2019-01-01", 4096.0), ("f", "2020-01-01", 4096.0 * 2),
    )  # fmt: skip
    got = found.doubling_times(rows).set_index("systems")
    assert dict(got["number"]) == {
        "all, 2012 to 2017": 5, "without AlphaGo Zero and AlphaZero": 4,
        "without those below 0.001": 4, "without either": 3, "only those that set a record": 5,
        "all, 2012 to 2024": 8, "records from AlphaGo Zero on": 3,
    }  # fmt: skip
    # 1, 2, 4 in three years running: a doubling a year
    assert got.loc["without either", "months"] == pytest.approx(12)
    # 2**10 in 2017, 2**12 in 2019, 2**13 in 2020: a doubling a year, too
    assert got.loc["records from AlphaGo Zero on", "months"] == pytest.approx(12)
    assert (got.loc["without either", "begin"], got.loc["without either", "end"]) == (2013, 2015)


def test_the_cited_numbers():
    systems = found.systems().set_index("system")
    past = systems[systems["date"] < found.UNTIL]
    assert len(past) == 20 and len(systems) == 27
    assert systems["date"].is_monotonic_increasing
    assert systems.loc["AlphaGo Zero", "petaflop_s_days"] == 1862
    # 3.14e23 operations, as the same table has it in its next column
    assert systems.loc["GPT-3", "petaflop_s_days"] * 8.64e19 == pytest.approx(3.14e23, rel=0.002)
    assert systems.loc["AlexNet", "year"] == pytest.approx(2012 + 152 / 366)
    assert systems.loc["Llama 3 405B", "petaflop_s_days"] == pytest.approx(3.8e25 / 8.64e19)
    # the factor between AlexNet and AlphaGo Zero that OpenAI's text gives as 300,000
    factor = past.loc["AlphaGo Zero", "petaflop_s_days"] / past.loc["AlexNet", "petaflop_s_days"]
    assert 300_000 < factor < 330_000


def test_the_fits_stand_beside_what_others_have_found():
    got = found.doubling_times().set_index("systems")
    trends = found.cited_trends().set_index("what")
    records = got.loc["only those that set a record"]
    assert trends.loc["the largest training runs", "months"] == 3.4
    assert records["low_months"] < 3.4 < records["high_months"]
    since = got.loc["records from AlphaGo Zero on"]
    assert since["low_months"] > records["months"]
    large = trends.loc["milestone systems of large scale", "months"]
    assert since["low_months"] < large < since["high_months"]


HEAD = ",".join(found.COLUMNS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("system,date\nA,2012-01-01\n", "the columns must be"),
        (f"{HEAD}\n", "the columns must be"),
        (f"{HEAD}\nA,2012-01-01,1,s\n", "the columns must be"),
        (f"{HEAD}\nA,2012,1,s,l,\n", "line 2"),
        (f"{HEAD}\nA,2012-01-01,much,s,l,\n", "line 2"),
        (f"{HEAD}\nA,2012-01-01,0,s,l,\n", "took no work"),
    ],
)
def test_a_damaged_file_is_named_with_the_place(text, words, cited):
    if text is not None:
        (cited / "training_compute.csv").write_text(text)
    with pytest.raises(DamagedFileError, match=words) as caught:
        found.systems()
    assert "git checkout -- data/cited/training_compute.csv" in str(caught.value)


def test_a_damaged_trend_is_named_with_its_line(cited):
    (cited / "doubling_times.csv").write_text(",".join(found.TRENDS) + "\na,b,c,x,,,s,l,n\n")
    with pytest.raises(DamagedFileError, match="line 2"):
        found.cited_trends()
