"""`convcost sweep`: what is given arrives at the study, and what came out is said."""

import sys
import types
from pathlib import Path

import pandas as pd
import pytest

from convcost.application import cli
from convcost.sweep import Sweep


@pytest.fixture
def study(monkeypatch):
    """In the place of the study: `calls` are (profile, arguments), `statuses` what comes out."""
    fake = types.SimpleNamespace(calls=[], statuses=["done", "diverged", "done"])

    class Study:
        def __init__(self, profile):
            self.profile = profile

        def train(self, **where):
            fake.calls.append((self.profile, where))
            units = pd.DataFrame({"status": fake.statuses, "reused": [True, False, False]})
            return Sweep(Path("folder"), pd.DataFrame(), units)

    name = "convcost.chapters.complexity_precision.study"
    monkeypatch.setitem(sys.modules, name, types.SimpleNamespace(Study=Study))
    return fake


def test_what_is_given_arrives(study, capsys):
    words = ["--scheduler", "tcp://10.0.0.5:8786", "--resources", "GPU=1 disk=0.5"]
    assert cli.main(["sweep", "--profile", "cpu", "--workers", "3", *words]) == 0
    resources = {"GPU": 1.0, "disk": 0.5}
    expected = {"scheduler": "tcp://10.0.0.5:8786", "workers": 3, "resources": resources}
    assert study.calls == [("cpu", expected)]
    said = "3 trainings (2 done, 1 diverged), 1 of them found done\nresults: folder\n"
    assert capsys.readouterr().out == said


def test_where_nothing_is_given_the_study_decides(study):
    assert cli.main(["sweep", "--profile", "quick"]) == 0
    assert study.calls == [("quick", {"scheduler": None, "workers": None, "resources": None})]


@pytest.mark.parametrize("status", ["failed", "timed out"])
def test_a_training_that_is_not_there_is_a_failure(study, status):
    study.statuses = ["done", status, "done"]
    assert cli.main(["sweep", "--profile", "quick"]) == 1


@pytest.mark.parametrize("text", ["GPU", "GPU=", "GPU=one", "=1", "GPU 1"])
def test_resources_that_make_no_sense_are_refused(study, capsys, text):
    assert cli.main(["sweep", "--profile", "quick", "--resources", text]) == 2
    assert 'NAME=AMOUNT is expected, such as "GPU=1"' in capsys.readouterr().err
    assert study.calls == []
