"""The flow decoder: no steps are the convolutional decoder; blocks, batches and seeds change nothing that they should not."""

import dataclasses
import json

import pytest
import torch
from ecdc.codec.config import CodecConfig, ConfigError, HybridConfig
from ecdc.codec.diffusion.choose_decoder import with_decoder
from ecdc.codec.diffusion.flow import FlowConfig, FlowDecoder, MultiBandFlow
from ecdc.codec.diffusion.flow_file import load_flow, save_flow
from ecdc.codec.errors import CheckpointError
from ecdc.codec.model import Codec
from safetensors.torch import save_file

CONFIG = FlowConfig(hop_length=160, dimension=16, n_blocks=2, edges=(0, 30, 90, 160), width=16, depth=2, steps=3)


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    architecture = HybridConfig(
        hop_length=160, low_bins=16, encoder_width=16, encoder_depth=1, decoder_width=16, decoder_depth=1,
        fine_blocks=4, encoder_window=2, lookahead=1, random_sign_bin=8,
    )  # fmt: skip
    config = CodecConfig(
        name="tiny", architecture=architecture, dimension=16, n_codebooks=3, codebook_size=32, bitrates_kbps=(0.75, 1.5, 2.25)
    )
    return Codec(config).ready()


@pytest.fixture(scope="module")
def flow():
    torch.manual_seed(1)
    flow = MultiBandFlow(CONFIG)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return flow.eval().requires_grad_(False)


def latents(n_frames, batch_size=2):
    return torch.randn(batch_size, 16, n_frames, generator=torch.Generator().manual_seed(n_frames))


@pytest.mark.parametrize("n_frames", [1, 2, 3, 40])
def test_no_steps_are_the_convolutional_decoder(codec, flow, n_frames):
    z = latents(n_frames)
    assert torch.allclose(FlowDecoder(codec.decoder, flow, steps=0)(z), codec.decoder(z), atol=2e-5)


@pytest.mark.parametrize("sizes", [[1] * 12, [5, 0, 7], [2, 9, 1], [11, 1]])
def test_streamed_is_whole(codec, flow, sizes):
    decoder, z = FlowDecoder(codec.decoder, flow, seed=3), latents(sum(sizes))
    state = decoder.initial_state(len(z))
    parts = z.split(sizes, dim=2)
    out = [decoder(part, state, last=i == len(parts) - 1) for i, part in enumerate(parts)]
    whole = decoder(z)
    assert torch.cat(out, dim=2).shape == whole.shape == (2, 1, sum(sizes) * 160)
    assert torch.allclose(torch.cat(out, dim=2), whole, atol=1e-5)


def test_a_row_of_a_batch_is_its_single_run(codec, flow):
    decoder, z = FlowDecoder(codec.decoder, flow), latents(20, batch_size=3)
    whole = decoder(z)
    for i in range(3):
        assert torch.allclose(decoder(z[i : i + 1])[0], whole[i], atol=1e-5)


def test_seeds_decide_the_noise(codec, flow):
    z = latents(20)
    one, again, other = (FlowDecoder(codec.decoder, flow, seed=seed)(z) for seed in (1, 1, 2))
    assert torch.equal(one, again) and (one - other).abs().max() > 1e-3


def test_a_band_never_changes_another(codec, flow):
    torch.manual_seed(2)
    first = torch.randn(1, 12, 160)
    levels = flow.levels(first)
    conditions = flow.conditions(first, levels, latents(12, 1))
    x = torch.randn(1, 12, 160)
    changed = x.clone()
    changed[..., :30] += 1
    time = torch.full((1,), 0.3)
    one, two = (flow.ends(v, conditions, time, flow.initial_pasts(1))[0] for v in (x, changed))
    assert torch.equal(one[..., 30:], two[..., 30:]) and not torch.equal(one[..., :30], two[..., :30])


def test_coefficients_lead_back_to_the_signal(codec, flow):
    decoder = FlowDecoder(codec.decoder, flow, steps=0)
    z = latents(10, 1)
    audio = codec.decoder(z)
    assert torch.allclose(flow.coefficients(audio[:, 0]), flow.analyse(torch.nn.functional.pad(audio[:, 0], (40, 40))))
    assert torch.allclose(decoder(z), audio, atol=2e-5)


@pytest.mark.parametrize("edges", [(0, 160, 100), (10, 160), (0, 100), (0,), (0, 50, 50, 160)])
def test_bands_must_tile(edges):
    with pytest.raises(ConfigError, match="edges"):
        dataclasses.replace(CONFIG, edges=edges)


@pytest.mark.parametrize(
    ("key", "value"), [("spread", float("nan")), ("spread", -0.1), ("steps", -1), ("dimension", 0), ("width", 0)]
)
def test_a_number_that_cannot_be_is_named(key, value):
    with pytest.raises(ConfigError, match=key):
        dataclasses.replace(CONFIG, **{key: value})


def test_a_codec_decodes_through_a_flow_and_its_tokens_stay(codec, flow, tmp_path):
    save_flow(flow, codec.token_space, tmp_path / "a.safetensors", torch.float32)
    other = with_decoder(codec, tmp_path / "a.safetensors", seed=5)
    wav = torch.randn(1, 1, 4000)
    codes = codec.encode(wav, n_codebooks=2)
    assert torch.equal(other.encode(wav, n_codebooks=2), codes) and other.token_space == codec.token_space
    with torch.no_grad():
        wanted = FlowDecoder(codec.decoder, flow, seed=5)(codec.quantizer.decode(codes))
    assert torch.allclose(other.decode(codes), wanted, atol=1e-6) and not torch.allclose(codec.decode(codes), wanted, atol=1e-3)
    with other.streaming() as stream:
        parts = [stream.decode(codes[..., :10]), stream.decode(codes[..., 10:], last=True)]
    assert torch.allclose(torch.cat(parts, dim=2), wanted, atol=1e-5)


def test_files_that_are_no_flow_of_this_model(codec, flow, tmp_path):
    path = tmp_path / "a.safetensors"
    for content, message in ((b"nothing", "not a diffusion decoder"), (None, "No such file")):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            load_flow(path if content is not None else tmp_path / "b", codec.token_space)
    save_flow(flow, bytes(32), path)
    with pytest.raises(CheckpointError, match=f"not those of this model .{codec.token_space.hex()}"):
        load_flow(path, codec.token_space)
    state = {name: value for name, value in flow.state_dict().items() if name != "bands.0.inp.weight"}
    save_file(state, path, metadata={"flow": json.dumps(CONFIG.to_dict()), "token_space": codec.token_space.hex()})
    with pytest.raises(CheckpointError, match=r"its networks need \d+ parameters, the file holds \d+"):
        load_flow(path, codec.token_space)
    state["bands.0.inp.weights"] = flow.state_dict()["bands.0.inp.weight"]
    save_file(state, path, metadata={"flow": json.dumps(CONFIG.to_dict()), "token_space": codec.token_space.hex()})
    with pytest.raises(CheckpointError, match=r"bands\.0\.inp\.weight"):
        load_flow(path, codec.token_space)


def test_a_configuration_tells_its_number_of_parameters(flow):
    for config in (CONFIG, FlowConfig(width=24, depth=3, n_blocks=2, edges=(0, 30, 320), expand=2, kernel_size=5)):
        assert config.n_parameters == sum(p.numel() for p in MultiBandFlow(config).parameters())
