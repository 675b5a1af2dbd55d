"""Residual nets of one plan, and distillation."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from convcost import count, datasets, nets, training
from convcost.core.errors import BadInputError
from convcost.nets.residual import ChannelShuffle
from convcost.training import Execution, Recipe

IMAGE = (1, 28, 28)


def built(**options):
    return nets.build("residual_cnn", **options)


def test_the_plain_net_costs_what_its_docstring_says():
    macs = 3 * 3 * 1 * 32 * 14 * 14 + 6 * 3 * 3 * 32 * 32 * 14 * 14
    macs += (3 * 3 * 32 * 64 + 5 * 3 * 3 * 64 * 64 + 32 * 64) * 7 * 7
    macs += (3 * 3 * 64 * 128 + 5 * 3 * 3 * 128 * 128 + 64 * 128) * 4 * 4 + 128 * 10
    assert count(built(device="meta"), IMAGE).macs == macs


def test_other_kinds_cost_what_their_layers_say():
    # one block a stage; the first of the second and third stage halves the map
    separable = count(built(kind="separable", widths=(8, 8, 8), blocks=1, device="meta"), IMAGE)
    stage1 = 2 * (9 * 8 + 8 * 8) * 14 * 14
    later = [2 * (9 * 8 + 8 * 8) * px * px + 8 * 8 * px * px for px in (7, 4)]
    assert separable.macs == 9 * 8 * 14 * 14 + stage1 + sum(later) + 8 * 10
    shuffle = count(built(kind="shuffle", widths=(8, 8, 8), blocks=1, device="meta"), IMAGE)
    stage1 = (8 * 2 + 9 * 8 + 8 * 2) * 14 * 14
    later = [
        8 * 2 * above * above + (9 * 8 + 8 * 2 + 8 * 8) * px * px for above, px in ((14, 7), (7, 4))
    ]
    assert shuffle.macs == 9 * 8 * 14 * 14 + stage1 + sum(later) + 8 * 10


def test_blocks_may_differ_by_stage_and_any_side_works():
    net = built(blocks=(1, 2, 3)).eval()
    assert [len(net.get_submodule(f"stage{n}")) for n in (1, 2, 3)] == [1, 2, 3]
    assert net(torch.zeros(2, 1, 40, 40)).shape == (2, 10)


def test_a_shuffle_deals_the_channels_of_all_groups_out_in_turns():
    channels = torch.arange(8.0).view(1, 8, 1, 1)
    assert ChannelShuffle(4)(channels).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"widths": (8, 8)}, "widths"),
        ({"blocks": 0}, "blocks"),
        ({"kind": "dense"}, "plain, separable, shuffle"),
        ({"kind": "shuffle", "widths": (6, 8, 8)}, "multiples of 4"),
    ],
)
def test_what_it_refuses(options, word):
    with pytest.raises(BadInputError, match=word):
        built(**options)


# --- distillation ----------------------------------------------------------------------------

RECIPE = Recipe(epochs=1, batch_size=100, lr=0.01)


@pytest.fixture(scope="module")
def sets():
    return tuple(datasets.load("digits", split).first(200) for split in ("train", "test"))


def student(sets):
    torch.manual_seed(0)
    height, width = sets[0].images.shape[2:]
    return nn.Sequential(nn.Flatten(), nn.Linear(height * width, 10))


def state(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_without_weight_it_is_training_on_labels(sets):
    alone, taught = student(sets), student(sets)
    training.fit(alone, sets, RECIPE, 3, execution=Execution())
    lessons = torch.randn(200, 10)
    training.distil(taught, sets, RECIPE, 3, lessons, temperature=4, weight=0)
    torch.testing.assert_close(state(taught), state(alone), rtol=1e-5, atol=1e-6)


def test_a_teacher_without_doubt_at_temperature_one_is_the_labels(sets):
    alone, taught = student(sets), student(sets)
    training.fit(alone, sets, RECIPE, 3, execution=Execution())
    certain = 1e3 * functional.one_hot(torch.tensor(sets[0].labels), 10).float()
    training.distil(taught, sets, RECIPE, 3, certain, temperature=1, weight=1)
    torch.testing.assert_close(state(taught), state(alone), rtol=1e-4, atol=1e-5)


def test_one_step_follows_the_loss_that_its_docstring_states(sets):
    sgd = Recipe(optimiser="sgd", momentum=0.0, lr=0.1, epochs=1, batch_size=200)
    sgd = Recipe(**{**vars(sgd), "schedule": "constant"})
    model, by_hand = student(sets), student(sets)
    lessons = 5 * torch.randn(200, 10, generator=torch.Generator().manual_seed(1))
    history = training.distil(model, sets, sgd, 0, lessons, temperature=3, weight=0.7)
    images, labels = sgd.scaling(sets[0])(sets[0].images), torch.tensor(sets[0].labels)
    outputs = by_hand(images)
    p, q = functional.softmax(lessons / 3, 1), functional.softmax(outputs / 3, 1)
    divergence = (p * (p.log() - q.log())).sum(1).mean()
    loss = 0.3 * functional.cross_entropy(outputs, labels) + 0.7 * 3**2 * divergence
    loss.backward()
    expected = torch.cat([(p - 0.1 * p.grad).detach().flatten() for p in by_hand.parameters()])
    torch.testing.assert_close(state(model), expected, rtol=1e-4, atol=1e-6)
    assert history.train_loss == [pytest.approx(loss.item(), rel=1e-5)]


def test_logits_are_what_the_net_says_and_leave_its_mode(sets):
    model = student(sets).train()
    given = training.logits(model, sets[1], sets[0], RECIPE, Execution())
    with torch.no_grad():
        expected = model(RECIPE.scaling(sets[0])(sets[1].images))
    torch.testing.assert_close(given, expected)
    assert model.training and given.shape == (200, 10)


@pytest.mark.parametrize(
    ("lessons", "told", "word"),
    [
        (torch.zeros(199, 10), {}, r"\(200, 10\)"),
        (torch.full((200, 10), torch.nan), {}, "finite"),
        (torch.zeros(200, 10), {"temperature": 0}, "temperature"),
        (torch.zeros(200, 10), {"weight": 1.5}, "weight"),
    ],
)
def test_what_distillation_refuses(sets, lessons, told, word):
    model = student(sets)
    before = state(model)
    with pytest.raises(BadInputError, match=word):
        training.distil(model, sets, RECIPE, 0, lessons, **{"temperature": 4, "weight": 0.5} | told)
    assert torch.equal(state(model), before)
