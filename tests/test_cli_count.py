"""`python -m convcost count` as a user meets it."""

import csv
import io
import json

import pytest

from convcost.application.cli import main
from convcost.counting.conventions import CONVENTIONS


def run(capsys, *argv):
    status = main(["count", *argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_text(capsys):
    status, out, _ = run(capsys, "resnet18", "--input", "3,224,224", "--by-type")
    assert status == 0
    assert "1,814,073,344" in out
    lines = out.splitlines()
    assert any(line.startswith("conv ") and "1,813,561,344" in line for line in lines)


def test_json(capsys):
    status, out, _ = run(
        capsys, "resnet18", "--batch", "2", "--convention", "thop", "--json", "--by-module"
    )
    got = json.loads(out)
    assert status == 0
    assert got["macs"] == 2 * 1_814_073_344
    assert got["total"] == 2 * 1_824_033_792
    assert (got["unit"], got["convention"]) == ("macs", "thop")
    assert got["input_shape"] == [3, 224, 224]
    assert (got["net"], got["batch"], got["params"]) == ("resnet18", 2, 11_689_512)
    assert (got["uncounted"], got["fallback"]) == ({}, "")
    assert got["training_flops"] == got["flops"] + got["backward_flops"]
    assert sum(row["macs"] for row in got["rows"]) == got["macs"]


def test_csv(capsys):
    _, out, _ = run(capsys, "lenet_atsumi", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [r["macs"] for r in rows if r["path"] == "conv1"] == ["86400"]
    assert sum(int(r["macs"]) for r in rows) == 86_400 + 153_600 + 30_720 + 10_080 + 840
    _, out, _ = run(capsys, "lenet_atsumi", "--csv", "--by-type")
    assert out.splitlines()[0].startswith("op,calls,macs")


def test_a_torchvision_net_by_any_spelling_under_the_name_asked_for(capsys):
    status, out, _ = run(capsys, "ResNet18", "--by-module")
    assert status == 0
    assert out.splitlines()[0].split() == ["model", "resnet18", "(ResNet)"]
    first = [line.split()[0] for line in out.splitlines() if line]
    assert first[-2:] == ["(root)", "fc"]  # the flattening is the root's own


def test_conventions_are_listed_with_titles(capsys):
    status, out, _ = run(capsys, "--convention", "list")
    assert status == 0
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert set(rows) == set(CONVENTIONS)
    assert rows["thop"].split()[1] == "macs" and CONVENTIONS["thop"].title in rows["thop"]
    with pytest.raises(SystemExit):
        run(capsys, "--help")
    said = capsys.readouterr().out
    assert all(key in said for key in CONVENTIONS) and "detection" in said


def test_file_and_dtype(capsys, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from torch import nn\ndef net():\n    return nn.Embedding(7, 3)\n")
    status, out, _ = run(capsys, f"{file}:net", "--input", "5", "--dtype", "int64", "--by-call")
    assert status == 0
    assert "embedding" in out
    assert run(capsys, f"{file}:net")[0] == 2


@pytest.mark.parametrize(
    "argv,text",
    [
        (["resnet19"], "did you mean resnet18"),
        (["restnet18"], "did you mean resnet18"),
        (["frobnicate"], "segmentation: deeplabv3_"),
        (["fasterrcnn_resnet50_fpn"], "as many boxes as it finds"),
        ([], "name a net"),
        (["resnet18", "--input", "-3,224,224"], "--input '-3,224,224': positive ints"),
        (["resnet18", "--input=-3,224,224"], "--input '-3,224,224': positive ints"),
        (["resnet18", "--input", "3,,224"], "positive ints"),
        (["resnet18", "--input", ""], "positive ints"),
        (["resnet18", "--input", "3,224.5,224"], "ints with commas"),
        (["resnet18", "--input", "3,x,224"], "ints with commas"),
        (["resnet18", "--input", "3,8"], "failed in"),
        (["resnet18", "--input", "3,0,224"], "positive ints"),
        (["resnet18", "--convention", "abacus"], "thop"),
        (["vit_b_16", "--input", "3,384,384"], "Wrong image height"),
        (["nowhere.py:net", "--input", "3"], "no file"),
        (["resnet18", "--by-module", "--depth", "0"], "depth"),
    ],
)
def test_bad_input_is_explained_in_one_text(capsys, argv, text):
    status, out, err = run(capsys, *argv)
    assert (status, out) == (2, "")
    assert text in err
    assert "Traceback" not in err
