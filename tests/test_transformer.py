import numpy as np
import pytest
import torch

from eegviz import fitting, models
from eegviz.errors import ParameterError
from eegviz.models import transformer
from eegviz.models.attention import sinusoids

IN, OUT = (9, 10), (7, 8)
FLOAT32 = fitting.Compute.choose("cpu", "float32")


def build(in_shape=IN, out_shape=OUT, **settings):
    torch.manual_seed(0)
    settings = {"width": 16, "feed_forward": 16, "heads": 2} | settings
    return transformer.build(models.config("transformer", "fast", **settings), in_shape, out_shape)


def data(n=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, *IN, generator=generator), torch.rand(n, *OUT, generator=generator)


def test_what_the_study_lists_is_pinned():
    config = models.config("transformer", "usc")
    assert config == models.config("transformer")
    assert (config.positions, config.causal_mask, config.decoding) == ("sinusoidal", True, "autoregressive")
    assert (config.interpolate, config.start) == (True, "zeros")
    # scheduled sampling: from teacher forcing to the decoder's own output
    assert (config.teacher_forcing, config.teacher_forcing_end, config.schedule) == (1, 0, "linear")
    forced = models.config("transformer", "usc-forced")
    assert {transformer.truth_share(forced, epoch) for epoch in range(200)} == {1.0}


@pytest.mark.parametrize("in_shape", [(63, 125), (125, 125), (33, 64)])
@pytest.mark.parametrize("out_shape", [(44, 128), (44, 1025)])
def test_shapes(in_shape, out_shape):
    net = build(in_shape, out_shape).eval()
    x, y = torch.rand(2, *in_shape), torch.rand(2, *out_shape)
    assert net(x).shape == net.forced(x, y).shape == y.shape


def test_a_later_target_frame_never_changes_an_earlier_output():
    net, (x, y) = build().eval(), data()
    before = net.forced(x, y)
    for t in range(OUT[0]):
        changed = y.clone()
        changed[:, t:] += 1
        after = net.forced(x, changed)
        assert torch.equal(after[:, : t + 1], before[:, : t + 1])  # frame t is decoded from the frames before it
        if t < OUT[0] - 1:
            assert not torch.allclose(after[:, t + 1], before[:, t + 1])


def test_without_the_mask_a_forced_frame_sees_its_own_truth():
    net, (x, y) = build(causal_mask=False).eval(), data()
    changed = y.clone()
    changed[:, 3] += 1
    assert not torch.allclose(net.forced(x, changed)[:, 3], net.forced(x, y)[:, 3])


def test_forced_and_free_agree_on_the_first_frame_and_not_after():
    net, (x, y) = build().eval(), data()
    free, forced = net(x), net.forced(x, y)
    assert torch.allclose(free[:, 0], forced[:, 0], atol=1e-6)
    assert not torch.allclose(free[:, 1], forced[:, 1], atol=1e-4)


def test_free_decoding_is_forced_decoding_of_its_own_output():
    # the step by step decoder with kept keys and the masked one at once are the same function
    net, (x, _) = build(decoder_layers=2, encoder_layers=2).eval(), data()
    free = net(x)
    assert torch.allclose(net.forced(x, free), free, atol=1e-5)


def test_free_decoding_uses_no_target():
    net, (x, y) = build().eval(), data()
    free = net(x)
    assert torch.equal(net(x, teacher=y, share=0.0), net(x, teacher=y + 9, share=0.0))
    assert torch.allclose(net(x, teacher=y, share=0.0), free, atol=1e-5)
    net(x, teacher=y)
    assert torch.equal(net(x), free)  # and no call before has left anything behind


def test_scheduled_sampling_mixes_true_frames_and_own_ones():
    net, (x, y) = build().eval(), data(64)
    free, forced = net(x), net.forced(x, y)
    mixed = net(x, teacher=y, share=0.5)
    like_forced = torch.isclose(mixed, forced, atol=1e-5).all(2)[:, 1].float().mean()  # fed the true first frame
    like_free = torch.isclose(mixed, free, atol=1e-5).all(2)[:, 1].float().mean()
    assert 0.3 < like_forced < 0.7
    assert like_forced + like_free == pytest.approx(1)
    torch.manual_seed(3)
    first = net(x, teacher=y, share=0.5)
    torch.manual_seed(3)
    assert torch.equal(net(x, teacher=y, share=0.5), first)


@pytest.mark.parametrize("schedule", ["linear", "exponential", "sigmoid"])
def test_schedules_fall_from_first_to_last(schedule):
    config = models.config("transformer", schedule=schedule, epochs=20, teacher_forcing=0.9, teacher_forcing_end=0.2)
    shares = [transformer.truth_share(config, epoch) for epoch in range(25)]
    assert shares[0] == pytest.approx(0.9)
    assert shares[19:] == pytest.approx([0.2] * 6)
    assert (np.diff(shares) <= 0).all()


def test_the_loop_tells_the_epoch():
    net, shares = build(epochs=3, batch_size=4), []
    training_loss = net.training_loss
    net.training_loss = lambda run, x, y, part: shares.append(net.share) or training_loss(run, x, y)
    x, y = (a.numpy() for a in data(8))
    fitting.fit(
        net, lambda i: (x[i], y[i]), np.arange(8), validation=np.arange(0), settings=net.config, seed=0,
        compute=FLOAT32, progress=False,
    )  # fmt: skip
    assert shares == [1, 1, 0.5, 0.5, 0, 0]


def test_positions_make_order_matter():
    x, _ = data()
    shuffled = x[:, torch.randperm(IN[0], generator=torch.Generator().manual_seed(0))]
    with_positions, without = build().eval(), build(positions="none", interpolate=False).eval()
    assert not torch.allclose(with_positions(x), with_positions(shuffled), atol=1e-5)
    assert torch.allclose(without(x), without(shuffled), atol=1e-5)  # attention alone sees a set


def test_sinusoids_are_the_papers():
    table = sinusoids(50, 6)
    for t, i in ((0, 0), (7, 1), (49, 2)):
        angle = t / 10_000 ** (2 * i / 6)
        assert table[t, 2 * i].item() == pytest.approx(np.sin(angle), abs=1e-5)
        assert table[t, 2 * i + 1].item() == pytest.approx(np.cos(angle), abs=1e-5)


def test_the_encoders_output_is_interpolated_to_the_frames():
    x, _ = data()
    plain, stretched = build(interpolate=False).eval(), build().eval()
    rows, frames = plain.encode(x), stretched.encode(x)
    assert rows.shape[1:] == (IN[0], 16)
    assert frames.shape[1:] == (OUT[0], 16)
    assert torch.allclose(frames[:, [0, -1]], rows[:, [0, -1]], atol=1e-6)  # the ends stay where they are
    assert torch.allclose(frames[:, 3], rows[:, 4], atol=1e-6)  # and the middle, of 7 frames and 9 rows


def test_decoding_starts_at_zero_or_at_the_mean():
    mean = torch.rand(*OUT)
    zeros, from_mean = build(), build(start="mean")
    for net in (zeros, from_mean):
        net.fit_output(mean)
    assert not zeros.first.any()
    assert torch.allclose(from_mean.first, mean.mean(0))


def test_parallel_decoding_is_fed_nothing():
    net, (x, y) = build(decoding="parallel", teacher_forcing=0).eval(), data()
    assert net(x).shape == y.shape
    with pytest.raises(ParameterError, match="no teacher-forced output"):
        net.forced(x, y)
    with pytest.raises(ParameterError, match="teacher_forcing must be 0"):
        build(decoding="parallel")


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ParameterError, match="3 heads do not divide the width 16"):
        build(heads=3)
    with pytest.raises(ParameterError, match="even width"):
        build(width=15, heads=1)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.0])
def test_gradient_reaches_every_parameter(share, precision):
    # drawing the fed frames without gradient must not hide the weights from the pass that learns (autocast keeps copies)
    net, (x, y) = build(encoder_layers=2, decoder_layers=2), data()
    net.share = share
    with torch.autocast("cpu", precision, enabled=precision is not None):
        loss = net.training_loss(net, x, y)
    loss.backward()
    assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_training_starts_at_the_mean_spectrum():
    net, (x, _) = build().eval(), data()
    mean = torch.rand(8).expand(7, 8)
    net.fit_output(mean)
    assert (net(x) - mean).abs().mean() < 0.1


def test_overfits_a_few_windows_forced_first_and_free_in_the_end():
    x, y = (a.numpy() for a in data(6))
    net = build(dropout=0, batch_size=6, epochs=150, lr=1e-2, scaling="none")
    net.fit_output(torch.from_numpy(y.mean(0)))
    fitting.fit(
        net, lambda i: (x[i], y[i]), np.arange(6), validation=np.arange(0), settings=net.config, seed=0,
        compute=FLOAT32, progress=False,
    )  # fmt: skip
    table = transformer.frame_errors(net, [(x, y)])
    assert table["free"].mean() < 0.2 * y.var(0).mean()


def test_a_decoder_that_was_always_forced_fails_when_it_decodes_freely():
    # targets that the EEG says nothing about, and that continue themselves: the trap of the study, in small
    rng = np.random.default_rng(0)
    x = rng.random((64, *IN), np.float32)
    y = np.cumsum(rng.standard_normal((64, *OUT)).astype(np.float32) * 0.2, axis=1)
    net = build(schedule="constant", dropout=0, epochs=60, lr=5e-3, batch_size=32, scaling="none")
    fitting.fit(
        net, lambda i: (x[i], y[i]), np.arange(48), validation=np.arange(0), settings=net.config, seed=0,
        compute=FLOAT32, progress=False,
    )  # fmt: skip
    table = transformer.frame_errors(net, [(x[48:], y[48:])])
    assert table["free"].iloc[-1] > 2 * table["forced"].iloc[-1]
    assert table["free"].iloc[-1] > 2 * table["free"].iloc[0]  # the error grows


def test_errors_per_frame_need_windows():
    with pytest.raises(ParameterError, match="one window or more"):
        transformer.frame_errors(build(), [])
