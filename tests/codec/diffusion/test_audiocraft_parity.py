"""The published decoder, exactly: audiocraft's on the same random weights and the same random numbers.

Errors of samples are absolute. Those of what is equalised are relative to the peak where that
exceeds full scale, as the codec's untrained decoder makes it.
"""

import pytest
import torch
from click import ClickException
from ecdc.bench.peers import audiocraft_diffusion
from ecdc.codec.diffusion.bands import MultiBandProcessor, SplitBands, mel_cutoffs, re_eq
from ecdc.codec.diffusion.config import ProcessorConfig, ScheduleConfig
from ecdc.codec.diffusion.decoder import MultiBandDiffusion
from ecdc.codec.diffusion.noise import BatchNoise
from ecdc.codec.diffusion.sampler import ancestral
from ecdc.codec.diffusion.schedule import NoiseSchedule
from mbd_models import cfg, codes_for, small_codec

TOLERANCE = 1e-5
ON = {"processor__use": True}
ATTENTION = {"unet__transformer": True, "unet__hidden": 16, "unet__growth": 1.0}
LSTM = {"unet__bilstm": True}

# name: sample rate in Hz, items, the configuration of each band
CASES = {
    "24 kHz, no bottleneck, processors, 1 item": (24_000, 1, [cfg(**ON), cfg(processor__power_std=0.4, **ON)]),
    "24 kHz, no bottleneck, no processors, 3 items": (24_000, 3, [cfg(), cfg(unet__res_blocks=2)]),
    "24 kHz, transformer, processors, 3 items": (24_000, 3, [cfg(**ATTENTION, **ON)]),
    "24 kHz, cross attention, no processors, 1 item": (24_000, 1, [cfg(unet__cross_attention=True, **ATTENTION)]),
    "24 kHz, LSTM, time at the outermost level, 1 item": (24_000, 1, [cfg(unet__emb_all_layers=False, **LSTM)]),
    "32 kHz, four bands of all kinds, 1 item": (
        32_000,
        1,
        [cfg(), cfg(**ATTENTION), cfg(processor__power_std=0.4, **ON), cfg(processor__power_std=0.75, **LSTM, **ON)],
    ),
    "32 kHz, cross attention, processors, 3 items": (32_000, 3, [cfg(unet__cross_attention=True, **ATTENTION, **ON)]),
    "32 kHz, LSTM, other schedule and shapes, 3 items": (
        32_000,
        3,
        [
            cfg(
                schedule__beta_t0=1e-4, schedule__beta_t1=0.02, schedule__beta_exp=1.0, schedule__noise_scale=0.9,
                schedule__clip=2.0, unet__kernel=6, unet__stride=2, unet__growth=1.5, unet__norm_groups=2,
                unet__max_channels=14, **LSTM,
            )
        ],
    ),
    "32 kHz, LSTM, unconditional, 1 item": (32_000, 1, [cfg(unet__codec_dim=None, **LSTM)]),
}  # fmt: skip


def worst(found, wanted):
    """The largest error, in units of full scale or of what is louder."""
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1))


@pytest.fixture(scope="module")
def peer():
    try:
        return audiocraft_diffusion()
    except ClickException as error:
        pytest.skip(error.message)


class PeerCodec(torch.nn.Module):
    """A codec of ours with the interface of audiocraft's."""

    def __init__(self, codec):
        super().__init__()
        self.codec, self.sample_rate, self.channels = codec, codec.sample_rate, 1
        self.frame_rate = float(codec.config.frame_rate)

    def decode(self, codes):
        return self.codec.decode(codes)

    def decode_latent(self, codes):
        return self.codec.quantizer.decode(codes)


def build(peer, cfgs, sample_rate, path):
    """audiocraft's processes with random weights, and ours from a file of the published layout."""
    torch.manual_seed(1)
    processes, package = [], {"sample_rate": sample_rate, "n_bands": len(cfgs)}
    for i, values in enumerate(cfgs):
        unet = peer.unet.DiffusionUnet(
            chin=values["channels"], num_steps=values["schedule"]["num_steps"], **values["diffusion_unet"]
        ).eval()
        for name, parameter in unet.named_parameters():
            if "norm" in name:
                torch.nn.init.normal_(parameter, mean=1.0 if name.endswith("weight") else 0.0, std=0.2)
        processor = peer.schedule.SampleProcessor()
        if values["processor"]["use"]:
            options = {k: v for k, v in values["processor"].items() if k not in ("use", "name")}
            processor = peer.schedule.MultiBandProcessor(sample_rate=sample_rate, **options)
            processor.project_sample(0.2 * torch.randn(5, 1, 4000))
        schedule = peer.schedule.NoiseSchedule(**values["schedule"], sample_processor=processor, device="cpu")
        processes.append(peer.decoder.DiffusionProcess(unet, schedule))
        package[i] = {"cfg": values, "model_state": unet.state_dict(), "processor_state": processor.state_dict()}
    torch.save(package, path)
    return processes, MultiBandDiffusion.load(path)


@pytest.mark.parametrize(("sample_rate", "n_items", "cfgs"), CASES.values(), ids=CASES)
def test_samples_are_audiocrafts(peer, sample_rate, n_items, cfgs, tmp_path):
    codec = small_codec(sample_rate)
    codes = codes_for(codec, n_items, 13)
    processes, ours = build(peer, cfgs, sample_rate, tmp_path / "mbd.th")
    theirs = peer.decoder.MultiBandDiffusion(processes, PeerCodec(codec))
    raw = []
    generate = theirs.generate
    theirs.generate = lambda **options: raw.append(generate(**options)) or raw[0]
    torch.manual_seed(2)
    wanted = theirs.tokens_to_wav(codes)  # the whole published path; its generate is overheard
    torch.manual_seed(2)
    found = ours.decode(codes, codec, seed=BatchNoise(), equaliser=None)
    error = float((found - raw[0]).abs().max())
    assert float(found.std()) > 0.05 and error <= TOLERANCE
    equalised = re_eq(found, codec.decode(codes), sample_rate)
    assert worst(equalised, wanted) <= TOLERANCE
    print(f"raw {error:.1e}, equalised {worst(equalised, wanted):.1e}, peak {float(raw[0].abs().max()):.1f}")


def test_other_lengths_and_steps_without_a_limit_are_audiocrafts(peer, tmp_path):
    codec = small_codec()
    codes = codes_for(codec, 2, 9)
    processes, ours = build(peer, [cfg(schedule__clip=0, **ON, **LSTM)], 24_000, tmp_path / "mbd.th")
    theirs = peer.decoder.MultiBandDiffusion(processes, PeerCodec(codec))
    for n_samples, steps in [(9 * 320, [999, 500, 2]), (2700, [700, 699, 12, 5, 1]), (2561, [999])]:
        torch.manual_seed(4)
        raw = theirs.generate(theirs.get_emb(codes), torch.Size([2, 1, n_samples]), step_list=[*steps, 0])
        torch.manual_seed(4)
        found = ours.decode(codes, codec, n_samples, steps=steps, seed=BatchNoise(), equaliser=None)
        assert worst(found, raw) <= TOLERANCE


def test_the_network_is_audiocrafts_at_every_time_of_a_batch(peer, tmp_path):
    """One call, where items are at different times, as in training."""
    (process,), ours = build(peer, [cfg(**ATTENTION)], 24_000, tmp_path / "mbd.th")
    x, times, condition = torch.randn(3, 1, 1001), torch.tensor([0, 500, 999]), torch.randn(3, 8, 20)
    with torch.no_grad():
        wanted = process.model(x, times, condition).sample
    assert torch.allclose(ours.bands[0].unet(x, times, condition), wanted, rtol=0, atol=1e-6)


def test_schedules_are_audiocrafts(peer):
    for options, config in [
        ({"beta_t0": 1e-5, "beta_t1": 2.9e-2, "beta_exp": 7.5}, ScheduleConfig()),
        ({}, ScheduleConfig(first_beta=1e-4, last_beta=0.02, power=1.0)),
    ]:
        theirs, ours = peer.schedule.NoiseSchedule(**options, device="cpu"), NoiseSchedule(config)
        assert torch.equal(ours.betas, theirs.betas)
        for time in (0, 1, 49, 500, 999):
            assert torch.equal(ours.signal_at(time), theirs.get_alpha_bar(time))
    assert len(ancestral(ours, ours.times(20))) == 20


@pytest.mark.parametrize("sample_rate", [24_000, 32_000])
@pytest.mark.parametrize("n_bands", [2, 4, 8, 32])
def test_bands_are_those_of_julius(sample_rate, n_bands):
    julius = pytest.importorskip("julius")
    wav = torch.randn(2, 1, 3001)
    theirs, ours = julius.SplitBands(sample_rate, n_bands=n_bands), SplitBands(sample_rate, n_bands)
    assert mel_cutoffs(sample_rate, n_bands) == pytest.approx([float(c) for c in theirs.cutoffs], rel=1e-5)
    assert ours.lowpass.filters.shape == theirs.lowpass.filters.shape
    assert torch.allclose(ours.lowpass.filters, theirs.lowpass.filters, rtol=0, atol=2e-6)
    ours.load_state_dict(theirs.state_dict())
    assert torch.allclose(torch.stack(list(ours(wav))), theirs(wav), rtol=0, atol=5e-6)


def test_processor_statistics_and_projections_are_audiocrafts(peer):
    theirs = peer.schedule.MultiBandProcessor(n_bands=8, sample_rate=24_000, power_std=0.6)
    ours = MultiBandProcessor(ProcessorConfig(power=0.6), 24_000)
    wavs = [0.2 * torch.randn(3, 1, 5000).cumsum(dim=-1).sin() for _ in range(3)]
    for wav in wavs:
        torch.manual_seed(7)
        projected = theirs.project_sample(wav)
        ours.observe(wav, torch.Generator().manual_seed(7))
        assert torch.allclose(ours.project(wav), projected, rtol=1e-5, atol=TOLERANCE)
    for name, tensor in theirs.state_dict().items():
        assert torch.allclose(ours.state_dict()[name], tensor, rtol=1e-5, atol=1e-6), name
    assert torch.allclose(ours.restore(wavs[0]), theirs.return_sample(wavs[0]), rtol=0, atol=TOLERANCE)
