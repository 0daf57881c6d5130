"""Guided diffusion: the schedule and its closed forms, what each stage trains, and what steers a sample."""

import functools
import json
import math

import numpy as np
import pytest
import torch

from eegviz import fitting, models, runs
from eegviz.errors import ParameterError
from eegviz.models import _dit, diffusion
from tests.test_cli import eegviz
from tests.test_gan import Windows

FLOAT32 = fitting.Compute.choose("cpu", "float32")
IN, OUT, GROUPS = (40, 6), (11, 8), (2, 2)
SMALL = {"width": 16, "heads": 2, "blocks": 4, "steps": 5, "batch_size": 8, "epochs": 4}


def build(**settings):
    torch.manual_seed(0)
    return diffusion.build(models.config("diffusion", "fast", **SMALL | settings), IN, OUT, GROUPS).eval()


@functools.cache
def statistics():
    """What is fitted on some windows, which are noise; once for all tests."""
    net = build()
    fitting.fit_statistics(net, MusicWindows().view(), classes=["song0", "song1"])
    return {name: value for name, value in net.state_dict().items() if not name.startswith(("backbone.", "control."))}


def fitted(**settings):
    """A network with the statistics of the windows."""
    net = build(**settings)
    net.load_state_dict(statistics(), strict=False)
    return net, MusicWindows()


class MusicWindows(Windows):
    """The windows of two listeners and two songs, and a spectrogram for every second of both."""

    def __init__(self, n=80):
        super().__init__(n)
        pictures = np.random.default_rng(1).random((n, *OUT)).astype(np.float32)
        pictures *= np.linspace(1, 0.2, OUT[1], dtype=np.float32)
        self.target = lambda rows: pictures[rows]

    def batches(self, rows):
        return self.pictures(rows), self.target(rows), np.asarray(rows) % 2


def fit(net, windows, *, seed=0, folder=None):
    rows = np.arange(len(windows.table))
    return fitting.fit(
        net, windows.batches, rows[:64], validation=rows[64:], settings=net.config, seed=seed, folder=folder,
        compute=FLOAT32, progress=False,
    )  # fmt: skip


def shaken(net, scale=0.1, seed=0):
    """Every parameter moved a little, so that no gate and no joint is closed any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return net


def eeg(n=6, seed=0):
    return torch.randn(n, *IN, generator=torch.Generator().manual_seed(seed))


def told(net, n=6, seed=0):
    return net.condition(eeg(n, seed))


# --- the schedule and the sampler --------------------------------------------------------------------------------


def test_the_schedule_is_the_cosine_that_diffusers_gives_ddpm():
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    ours = diffusion.scheduler(models.config("diffusion"))
    theirs = DDPMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")
    assert torch.equal(ours.alphas_cumprod, theirs.alphas_cumprod)
    t = np.arange(1, 1001) / 1000
    cosine = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / math.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(ours.alphas_cumprod.numpy()[:-1], cosine[:-1], rtol=1e-3)
    assert ours.alphas_cumprod[-1] < 1e-8  # the first step knows nothing of the sample


@pytest.mark.parametrize("steps", [1, 5, 50, 1000])
def test_the_steps_go_from_the_noise_to_the_sample(steps):
    sampler = diffusion.scheduler(models.config("diffusion", steps=steps))
    assert len(sampler.timesteps) == steps
    assert sampler.timesteps[0] == 999
    assert sampler.timesteps[-1] == 1000 // steps - 1
    assert len({int(a - b) for a, b in zip(sampler.timesteps, sampler.timesteps[1:], strict=False)}) <= 1


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_a_denoiser_that_knows_the_answer_is_led_to_it(prediction, monkeypatch):
    net = build(space="mel", prediction=prediction)
    wanted = 0.3 * torch.randn(6, *net.shape, generator=torch.Generator().manual_seed(1))

    def knows(z, t, control, condition):
        a = net.scheduler.alphas_cumprod[t][:, None, None]
        noise = (z - a.sqrt() * wanted) / (1 - a).sqrt()
        return wanted if prediction == "sample" else a.sqrt() * noise - (1 - a).sqrt() * wanted

    monkeypatch.setattr(net.backbone, "forward", knows)
    monkeypatch.setattr(net, "decode", lambda z: z)
    torch.testing.assert_close(net.draw(told(net), guidance=1), wanted, atol=1e-4, rtol=0)


def test_what_is_learned_in_each_prediction_is_its_definition(monkeypatch):
    for prediction in ("velocity", "sample"):
        net, windows = fitted(space="mel", prediction=prediction)
        seen = []
        monkeypatch.setattr(net.backbone, "forward", lambda z, t, *_, seen=seen: seen.append((z, t)) or 0 * z)
        y = torch.from_numpy(windows.target(np.arange(4)))
        loss = net(eeg(4), y)["denoising"]
        z, t = seen[0]
        clean, a = net.encode(y).repeat(len(diffusion.CHECKED), 1, 1), net.scheduler.alphas_cumprod[t][:, None, None]
        noise = (z - a.sqrt() * clean) / (1 - a).sqrt()
        wanted = clean if prediction == "sample" else a.sqrt() * noise - (1 - a).sqrt() * clean
        assert loss.item() == pytest.approx((wanted**2).mean().item(), rel=1e-4)


# --- the ControlNet ----------------------------------------------------------------------------------------------


def test_a_new_control_net_changes_nothing_to_the_bit():
    net = build()
    shaken(net.backbone)
    net.control = _dit.ControlNet(net.backbone, net.alignment.shared, net.alignment.frame_dim, GROUPS[1])
    z, t = torch.randn(6, *net.shape), torch.tensor([0, 10, 200, 500, 900, 999])
    with torch.no_grad():
        alone, steered = net.backbone(z, t), net.backbone(z, t, net.control, told(net))
        assert torch.equal(alone, steered)
        assert alone.abs().mean() > 0.01
        shaken(net.control)
        assert not torch.allclose(alone, net.backbone(z, t, net.control, told(net)), atol=1e-3)


def test_it_copies_the_first_half_of_the_blocks():
    config = models.config("diffusion")
    assert config == models.config("diffusion", "echoes")
    assert (config.blocks, config.seconds) == (24, 5)
    backbone = _dit.Backbone(3, 4, width=8, heads=2, blocks=config.blocks)
    assert len(_dit.ControlNet(backbone, 4, 4, 2).blocks) == 12
    net = build()
    assert (len(net.backbone.blocks), len(net.control.blocks), len(net.control.joints)) == (4, 2, 2)


def test_parameters_are_those_of_the_closed_form():
    n, dim, width, blocks = 5, 7, 16, 4
    backbone = _dit.Backbone(n, dim, width=width, heads=2, blocks=blocks)
    block = 18 * width**2 + 19 * width  # attention 4w² + 4w, two norms 4w, hidden 8w² + 5w, told 6w² + 6w
    rest = (dim + 1) * width + 2 * (width**2 + width) + 2 * width + 2 * width * (width + 1) + (width + 1) * dim
    assert sum(p.numel() for p in backbone.parameters()) == blocks * block + rest
    control = _dit.ControlNet(backbone, 6, 6, 3)
    own = 2 * (width**2 + width) + 7 * width + 7 * width + 4 * width + 3 * width
    assert sum(p.numel() for p in control.parameters()) == 2 * block + own


@pytest.mark.parametrize("space", ["latent", "mel"])
@pytest.mark.parametrize("shapes", [((125, 8), (44, 128)), ((64, 5), (87, 80)), ((250, 8), (88, 128))])
def test_shapes(space, shapes):
    net = diffusion.build(models.config("diffusion", "fast", **SMALL | {"space": space}), *shapes, (3, 5)).eval()
    with torch.inference_mode():
        made = net(torch.rand(3, *shapes[0]))
    assert made.shape == (3, *shapes[1])
    assert made.min() >= 0
    assert made.max() <= 1


# --- what steers a sample ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lively():
    """A network that was fitted on noise and whose every gate and joint is open."""
    net, windows = fitted()
    for part in (net.backbone, net.control):
        shaken(part)
    return net, windows


def test_guidance_0_hears_nothing_and_1_needs_no_second_look(lively, monkeypatch):
    net, windows = lively
    x = torch.from_numpy(windows.pictures(np.arange(8)))
    with torch.no_grad():
        deaf = net.sample(x, guidance=0)
        assert all(torch.allclose(deaf[0], other, atol=1e-6) for other in deaf)
        torch.testing.assert_close(deaf, net.draw(net.condition(x).nothing(), guidance=1), atol=1e-6, rtol=0)
        plain = net.sample(x, guidance=1)
        assert not torch.allclose(plain[0], plain[1], atol=1e-3)
        torch.testing.assert_close(net.sample(x, guidance=1 + 1e-6), plain, atol=1e-4, rtol=0)
        looks = []
        forward = net.backbone.forward
        monkeypatch.setattr(net.backbone, "forward", lambda z, *rest: looks.append(len(z)) or forward(z, *rest))
        for guidance, n in ((0, 8), (1, 8), (3, 16)):
            looks.clear()
            net.sample(x, guidance=guidance)
            assert looks == [n] * net.config.steps


def test_guidance_is_the_extrapolation_that_its_paper_gives(lively):
    net, windows = lively
    condition = net.condition(torch.from_numpy(windows.pictures(np.arange(4))))
    z, t = net.noise(0).expand(4, -1, -1), torch.full((4,), 999)
    with torch.no_grad():
        told, untold = (net.backbone(z, t, net.control, c) for c in (condition, condition.nothing()))
        sampler = diffusion.scheduler(net.config, steps=1)
        by_hand = net.decode(sampler.step(untold + 3 * (told - untold), sampler.timesteps[0], z).prev_sample)
        torch.testing.assert_close(net.draw(condition, guidance=3, steps=1), by_hand, atol=1e-6, rtol=0)


def test_all_windows_begin_from_the_noise_of_the_seed(lively):
    net, windows = lively
    x = torch.from_numpy(windows.pictures(np.arange(6)))
    before = torch.random.get_rng_state()
    with torch.no_grad():
        first = net.sample(x)
        torch.testing.assert_close(net.sample(x[[3, 3, 0]]), first[[3, 3, 0]], atol=1e-5, rtol=0)
        assert torch.equal(net.sample(x), first)
        assert torch.equal(net.sample(x, seed=net.config.sample_seed), first)
        assert not torch.allclose(net.sample(x, seed=1), first, atol=1e-3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert net.noise(3).shape == (1, *net.shape)
    assert torch.equal(net.noise(3), net.noise(3))


def test_the_oracle_hears_the_music_and_of_the_eeg_the_listener_only(lively):
    net, windows = lively
    rows = np.arange(0, 12, 2)  # of one listener
    x, y = torch.from_numpy(windows.pictures(rows)), torch.from_numpy(windows.target(rows))
    x = x[net.listener(x) == net.listener(x)[0]]
    y = y[: len(x)]
    with torch.no_grad():
        oracle = net.oracle(x, y)
        torch.testing.assert_close(net.oracle(x.flip(0), y), oracle, atol=1e-5, rtol=0)
        assert not torch.allclose(net.oracle(x, y.flip(0)), oracle, atol=1e-3)
    with pytest.raises(ParameterError, match="never met in training .music_share=0."):
        build(music_share=0).oracle(x, y)


def test_the_listener_is_the_one_whose_covariance_is_nearest(lively):
    net, windows = lively
    found = net.listener(torch.from_numpy(windows.x)).numpy()
    known = found != 2  # the last token stands for all others
    assert known.mean() > 0.7
    assert (found == np.arange(len(found)) % 2)[known].mean() > 0.95
    net, one = build(), MusicWindows()
    fitting.fit_statistics(net, one.view(np.flatnonzero(one.table["subject"] == "S0")), classes=["song0", "song1"])
    assert set(net.listener(torch.from_numpy(one.x)).tolist()) <= {0, 2}  # the second never trained: nobody's token


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 2000}, "cannot take 2000 steps of a schedule of 1000"),
        ({"steps": 7}, "7 steps do not divide the schedule's 1000"),
        ({"guidance": -1}, "guidance: input should be greater than or equal to 0, found -1"),
        ({"width": 30, "heads": 4}, "the width 30 must be an even multiple of the 4 heads"),
        ({"epochs": 4, "control_epochs": 4}, "control_epochs=4 of 4 epochs leave the first stage none"),
        ({"space": "sound"}, "space: input should be 'latent' or 'mel'"),
        ({"patience": 3}, "patience: input should be 0"),
        ({"condition": "oracle"}, "has no setting 'condition'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ParameterError, match=message):
        models.config("diffusion", **settings)


def test_bad_requests_are_refused(lively):
    net, windows = lively
    x = torch.from_numpy(windows.pictures(np.arange(2)))
    with pytest.raises(ParameterError, match="guidance=-1: expected a number, 0 or more"):
        net.sample(x, guidance=-1)
    with pytest.raises(ParameterError, match="steps=7: expected a whole number that divides the 1000 steps"):
        net.sample(x, steps=7)
    with pytest.raises(ParameterError, match="diffusion aligns raw EEG; found eeg='welch'"):
        diffusion.for_features(net.config, "welch")
    with pytest.raises(ParameterError, match="expected a TrainingView"):
        net.fit_view(windows, ["song0", "song1"])


# --- the stages --------------------------------------------------------------------------------------------------


def weights(part):
    return {name: value.clone() for name, value in part.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_each_stage_trains_what_is_its_own():
    net, windows = fitted()
    seen, begin = [], net.begin_epoch

    def watched(epoch):
        begins = begin(epoch)
        seen.append((begins, weights(net.alignment), weights(net.backbone), weights(net.control)))
        return begins

    net.begin_epoch = watched
    rows = fit(net, windows)
    assert [begins for begins, *_ in seen] == [False, False, True, False]
    first, second, third, fourth = seen
    last = (True, weights(net.alignment), weights(net.backbone), weights(net.control))
    assert not same(first[1], third[1])
    assert not same(first[2], third[2])
    assert same(first[3], second[3])  # the ControlNet waits
    blocks = [name for name in third[2] if name.startswith(("blocks.0.", "blocks.1."))]
    assert all(torch.equal(third[2][name], third[3][name]) for name in blocks)  # and begins as a copy
    assert same(third[1], last[1])  # frozen from here on, to the bit
    assert same(third[2], last[2])
    assert not same(third[3], fourth[3])
    assert all("contrastive" in row and "denoising" in row for row in rows[:2])
    assert all("contrastive" not in row and "denoising" in row for row in rows[2:])
    counts = net.facts()
    assert counts["n_parameters"] == sum(p.numel() for p in net.parameters())
    assert counts["n_parameters_control"] == sum(p.numel() for p in net.control.parameters())


def test_the_best_epoch_is_one_of_the_second_stage():
    net, windows = fitted(epochs=2)
    rows = fit(net, windows)
    assert rows[0]["validation_loss"] != rows[1]["validation_loss"]
    assert not same(weights(net.control.joints), weights(build().control.joints))  # not those of the first stage: zero


def test_validation_is_the_same_each_time_and_samples_nothing(lively, monkeypatch):
    net, windows = lively
    monkeypatch.setattr(net, "draw", lambda *_: pytest.fail("validation sampled"))
    losses = [fitting.mean_loss(net, net, windows.batches, np.arange(10)) for _ in range(2)]
    assert losses[0] == losses[1]
    assert np.isfinite(losses[0])


def test_frozen_parts_answer_without_dropout_in_the_second_stage():
    net = build()
    net.begin_epoch(0)
    net.train()
    assert net.alignment.training
    assert not net.alignment.autoencoder.training
    net.begin_epoch(2)
    net.train()
    assert net.control.training
    assert not any(module.training for module in net.alignment.modules())


# --- by command line ---------------------------------------------------------------------------------------------

TINY = ("--preset", "fast", "--set", "width=16", "--set", "blocks=2", "--set", "steps=5")


def test_train_evaluate_reconstruct(tiny_store, tmp_path):
    import soundfile

    asked = ("train", tiny_store.path, "--model", "diffusion", "--split", "repeat", *TINY, "--epochs", 2)
    folder = eegviz(*asked, "--out", tmp_path).stdout.strip().splitlines()[-1]
    run = runs.open(folder)
    assert run.config["features"]["eeg"] == "raw"
    assert run.provenance["condition"] == "embedding predicted from EEG"
    assert "oracle" not in run.name
    result = json.loads(eegviz("evaluate", folder, "--json").stdout)
    assert result["metrics"][0]["metric"] == "retrieval"
    assert {control["name"] for control in result["controls"]} >= {"zero EEG", "noise EEG", "shuffled"}
    file = tmp_path / "x.flac"
    eegviz("reconstruct", folder, "--recording", "S01_song21_r2", "--duration", 2, "--out", file)
    assert soundfile.info(file).frames == 2 * 22050
    said = eegviz(*asked, "--set", "steps=3000", "--out", tmp_path, ok=False)
    assert said.returncode == 2
    assert "cannot take 3000 steps of a schedule of 1000" in said.stderr
