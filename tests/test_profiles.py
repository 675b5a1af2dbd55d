import pytest

from convcost.application import profiles
from convcost.core import machine
from convcost.core.errors import BadInputError


@pytest.fixture
def facts(monkeypatch):
    known = {"gpu": None, "torch": "2.15.0"}
    monkeypatch.setattr(machine, "describe", lambda: known)
    monkeypatch.delenv("CONVCOST_PROFILE", raising=False)
    return known


def test_auto_is_gpu_only_where_torch_can_use_one(facts):
    assert profiles.resolve("auto") == "quick"
    facts["gpu"] = "NVIDIA H200"
    assert profiles.resolve("auto") == "gpu"
    facts["torch"] = "2.13.0+cpu"
    assert profiles.resolve("auto") == "quick"


def test_the_environment_decides_auto_alone(facts, monkeypatch):
    monkeypatch.setenv("CONVCOST_PROFILE", "cpu")
    assert profiles.resolve("auto") == "cpu"
    assert profiles.resolve("quick") == "quick"


def test_gpu_without_one_is_refused_with_the_way_out(facts):
    with pytest.raises(BadInputError, match="PROFILE=quick"):
        profiles.resolve("gpu")


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_unknown_names_list_the_valid_ones(facts, monkeypatch, source):
    if source == "environment":
        monkeypatch.setenv("CONVCOST_PROFILE", "fast")
    with pytest.raises(BadInputError, match="auto, quick, cpu, gpu"):
        profiles.resolve("fast" if source == "argument" else "auto")
