"""Checkpoints come back bit for bit, and nothing else comes back."""

import subprocess
from collections import OrderedDict

import pytest
import torch
from torch import nn

from convcost import records
from convcost.core import files
from convcost.core.errors import BadInputError, DamagedFileError
from convcost.training import checkpoints


def small_net(width: int = 4) -> nn.Module:
    torch.manual_seed(7)
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(1, width, 3), norm=nn.BatchNorm2d(width)))


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "small.safetensors"
    checkpoints.save(path, small_net().state_dict(), {"net": "small"})
    return path


def test_a_state_comes_back_bit_for_bit(tmp_path):
    state = {
        "nan and minus zero": torch.tensor([float("nan"), -0.0, float("inf")]),
        "not contiguous": torch.arange(6, dtype=torch.float64).view(2, 3).t(),
        "channels last": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "scalar": torch.tensor(3, dtype=torch.int64),
        "empty": torch.zeros(0, 5),
        "bf16": torch.rand(3).to(torch.bfloat16),
        "flags": torch.tensor([True, False]),
    }
    state["tied"] = state["bf16"]
    path = tmp_path / "all.safetensors"
    digest = checkpoints.save(path, state, {"net": "any", "note": "ünïcode\n"})
    found = checkpoints.load(path, net="any")
    assert found.words == {"net": "any", "note": "ünïcode\n"}
    assert found.sha256 == digest == records.sha256(path)
    assert found.state.keys() == state.keys()
    for name, tensor in state.items():
        assert found.state[name].dtype == tensor.dtype and found.state[name].shape == tensor.shape
        assert (
            found.state[name].view(torch.uint8).tolist()
            == tensor.contiguous().view(torch.uint8).tolist()
            if tensor.dim()
            else found.state[name] == tensor
        )


def test_sha256sum_reads_the_hash(saved):
    done = subprocess.run(
        ["sha256sum", "-c", checkpoints.hash_file(saved).name],
        cwd=saved.parent, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "small.safetensors: OK\n"


def test_any_flipped_bit_is_found(saved):
    whole = saved.read_bytes()
    for place in {0, 7, 8, 40, len(whole) // 2, len(whole) - 1}:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << (place % 8)
        saved.write_bytes(flipped)
        with pytest.raises(DamagedFileError, match="not the file that was written"):
            checkpoints.load(saved)
    saved.write_bytes(whole)
    checkpoints.load(saved)


@pytest.mark.parametrize("left", [0, 4, 100, -1])
def test_a_truncated_file_is_found(saved, left):
    saved.write_bytes(saved.read_bytes()[:left])
    with pytest.raises(DamagedFileError, match="not the file that was written"):
        checkpoints.load(saved)


def test_a_truncated_file_with_a_right_hash_is_found(saved):
    for content in (b"", b"123", saved.read_bytes()[:-1], b"\xff" * 200):
        saved.write_bytes(content)
        checkpoints.hash_file(saved).write_text(f"{records.sha256(saved)}  {saved.name}\n")
        with pytest.raises(DamagedFileError, match="no safetensors file"):
            checkpoints.load(saved)


def test_a_hash_that_is_missing_empty_or_no_text_is_found(saved):
    beside = checkpoints.hash_file(saved)
    for content in (b"", b"\xff\xfe\n", b"0" * 64):
        beside.write_bytes(content)
        with pytest.raises(DamagedFileError, match="not the file that was written"):
            checkpoints.load(saved)
    beside.unlink()
    with pytest.raises(DamagedFileError, match=r"no small\.safetensors\.sha256 beside it"):
        checkpoints.load(saved)
    saved.unlink()
    with pytest.raises(DamagedFileError, match="there is no checkpoint"):
        checkpoints.load(saved)


def test_another_net_is_refused_by_name(saved):
    with pytest.raises(DamagedFileError, match="holds small, not lenet_atsumi"):
        checkpoints.load(saved, net="lenet_atsumi")
    checkpoints.save(saved, small_net().state_dict(), {})
    with pytest.raises(DamagedFileError, match="holds an unnamed network, not small"):
        checkpoints.load(saved, net="small")


@pytest.mark.parametrize("completed", [0, 1])
def test_a_save_that_is_cut_short_is_never_taken_for_whole(saved, monkeypatch, completed):
    """Cut before the first file, or between the two: the old one, or a refusal."""
    before = checkpoints.load(saved)
    calls = []

    def write(path, content):
        if len(calls) == completed:
            raise OSError(28, "No space left on device")
        calls.append(path)
        real(path, content)

    real = files.write_atomically
    monkeypatch.setattr(files, "write_atomically", write)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save(saved, {"other": torch.ones(3)}, {"net": "other"})
    if completed == 0:
        assert checkpoints.load(saved).sha256 == before.sha256
    else:
        with pytest.raises(DamagedFileError):
            checkpoints.load(saved)
    assert sorted(path.name for path in saved.parent.iterdir()) == [
        "small.safetensors",
        "small.safetensors.sha256",
    ]


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r"ends in \.safetensors"):
        checkpoints.save(tmp_path / "net.pt", {}, {})
    with pytest.raises(BadInputError, match="not so: seed"):
        checkpoints.save(tmp_path / "net.safetensors", {}, {"net": "small", "seed": 3})
    assert list(tmp_path.iterdir()) == []
