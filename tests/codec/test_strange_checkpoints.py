"""Checkpoints from strangers: bounded by their own files; and the layouts that others save EnCodec in."""

import json
import struct
import zipfile

import pytest
import torch
from ecdc.codec import pickles
from ecdc.codec.checkpoints import CheckpointError, load
from ecdc.codec.compat.lm import load_language_model
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.diffusion.choose_decoder import with_decoder
from ecdc.codec.errors import CheckpointError as Refused
from ecdc.codec.model import Codec
from encodec_models import CONFIGS, hugging_face, narrow, original, write_hugging_face, write_original
from safetensors.torch import save_file

SMALL = narrow(CONFIGS["24 kHz"], codebook_size=64)
NEW_NAMES = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}


def refused(path, message, read=load):
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def tiny(name):
    architecture = SeanetConfig(strides=(2,), n_filters=2)
    return Codec(CodecConfig(name, architecture, dimension=2, n_codebooks=1, codebook_size=4))


def renamed(state):
    for old, new in NEW_NAMES.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    return state


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def peer():
    torch.manual_seed(0)
    return original(SMALL)


def test_original_files_with_new_names_of_weight_norm(peer, tmp_path):
    old = load(write_original(peer, tmp_path / "old.th"), SMALL)
    torch.save(renamed(peer.state_dict()), tmp_path / "new.th")
    assert same(load(tmp_path / "new.th", SMALL), old)
    refused(tmp_path / "new.th", "must be")  # known as the 24 kHz model, of another width


@pytest.mark.parametrize("layout", ["sharded", "bin", "sharded bin"])
def test_hugging_face_folders_in_other_layouts(tmp_path, layout):
    torch.manual_seed(0)
    model = hugging_face(narrow(CONFIGS["24 kHz"]))
    whole = load(write_hugging_face(model, tmp_path / "whole"))
    folder = tmp_path / "other"
    if layout == "sharded":
        model.save_pretrained(folder, max_shard_size="20KB")
        assert len(list(folder.glob("*.safetensors"))) > 1
    else:
        model.config.save_pretrained(folder)
        items = list(model.state_dict().items())
        if layout == "bin":
            torch.save(dict(items), folder / "pytorch_model.bin")
        else:
            for i in range(2):
                torch.save(dict(items[i::2]), folder / f"pytorch_model-{i}.bin")
            index = {name: f"pytorch_model-{j % 2}.bin" for j, (name, _) in enumerate(items)}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert same(load(folder), whole)
    for path in folder.iterdir():
        if path.suffix == ".json" and "index" in path.name:
            assert same(load(path), whole)


@pytest.mark.parametrize(
    "weight_map",
    [{"a": "../a.bin"}, {"a": "/etc/passwd"}, {"a": 5}, {}, [], {"a": "model.safetensors.index.json"}, {"a": "gone.bin"}],
)
def test_an_index_does_not_lead_elsewhere(tmp_path, weight_map):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "encodec"}')
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(folder, "")


@pytest.mark.parametrize(
    "values",
    [
        {"num_residual_layers": 10_000_000}, {"num_filters": 10**9}, {"num_filters": 4096, "hidden_size": 8192},
        {"sampling_rate": 0}, {"sampling_rate": -1}, {"target_bandwidths": [float("inf")]},
        {"target_bandwidths": [float("nan")]}, {"target_bandwidths": []}, {"target_bandwidths": [1e300]},
        {"codebook_size": 1}, {"codebook_size": 2**40},
        {"upsampling_ratios": []}, {"upsampling_ratios": [0]}, {"upsampling_ratios": [2] * 10_000},
        {"upsampling_ratios": [1024, 1024]}, {"num_lstm_layers": 10**7}, {"kernel_size": 2**31}, {"compress": 0},
        {"compress": 64}, {"dilation_growth_rate": 64, "num_residual_layers": 64}, {"chunk_length_s": 1e-9},
        {"chunk_length_s": float("inf")}, {"overlap": 1.0, "chunk_length_s": 1.0}, {"audio_channels": 0},
        {"hidden_size": 10**12}, {"trim_right_ratio": float("nan")}, {"num_filters": True},
    ],
    ids=str,
)  # fmt: skip
def test_sizes_are_bounded_before_they_are_used(tmp_path, values):
    """A tiny file asks for a huge model: refused by the bounds, or because it does not hold that model."""
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "encodec"} | values))
    refused(tmp_path, "")


@pytest.mark.parametrize(
    "change",
    [
        {"hop_length": 2**20}, {"hop_length": 3}, {"encoder_width": 10**9}, {"decoder_depth": 10**9}, {"low_bins": 4000},
        {"kernel_size": 10**9}, {"expand": 10**9}, {"encoder_width": 16_384, "encoder_depth": 256, "expand": 64},
    ],
    ids=str,
)  # fmt: skip
def test_sizes_of_our_own_kind_too(tmp_path, change):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    about = {"name": "big", "architecture": {"kind": "hybrid"} | change, "bitrates_kbps": [6.0]}
    (tmp_path / "config.json").write_text(json.dumps(about))
    refused(tmp_path, "")


def test_deeply_nested_json(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("[" * 100_000)
    refused(tmp_path, "nested too deeply")


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """A file of torch.save with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, change(name, data))


def test_compressed_tensors_are_refused(tmp_path):
    path = tmp_path / "a.th"
    torch.save({"a": torch.zeros(1000)}, path)
    rewritten(path, lambda name, data: bytes(1 << 24) if name.endswith("data/0") else data, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 18
    refused(path, "compressed")


@pytest.mark.parametrize("claim", [5, 1 << 20, 2**31 - 1])
def test_a_storage_is_not_larger_than_its_bytes(tmp_path, claim):
    """torch reads beyond the memory of such a file."""
    path = tmp_path / "a.th"
    torch.save({"a": torch.zeros(4, dtype=torch.uint8)}, path)
    number = b"J" + struct.pack("<i", claim)
    rewritten(path, lambda name, data: data.replace(b"K\x04tq", number + b"tq", 1) if name.endswith("data.pkl") else data)
    refused(path, "missing or shorter than")
    refused(path, "missing or shorter than", lambda path: pickles.read_pickle(path, mmap=True))


def test_overlapping_parts_are_refused(tmp_path):
    path = tmp_path / "a.th"
    torch.save({"a": torch.zeros(1000)}, path)
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")  # the first of the central directory, once more for each other one
    size = 46 + sum(struct.unpack_from("<HHH", data, entry + 28))
    end = data.index(b"PK\x05\x06")
    path.write_bytes(data[:entry] + data[entry : entry + size] + data[entry:end] + data[end:])
    refused(path, "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.zeros(1, dtype=torch.float16).expand(2**38)}, "larger than the file"),
        ({str(i): t for t in [torch.zeros(1 << 16)] for i in range(64)}, "larger than the file"),
        ({"a": torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), (2**40,))}, "not a PyTorch"),
        ({"encoder.model.0.conv.conv.weight_g": torch.zeros(1), 1: torch.zeros(1)}, "keys must be names"),
        ({"best_state": {"model": 5}}, "no state dict"),
        ({"best_state": 5}, "xp.cfg"),
        ([torch.zeros(1)], "holds no state dict"),
        ({"encoder.model.0.conv.conv.weight_g": torch.zeros(32, 1, 1, dtype=torch.int64)}, "lacks"),
    ],
    ids=["stride 0", "shared", "sparse", "int key", "model: 5", "best_state: 5", "list", "few"],
)
def test_packages_that_would_unfold_or_are_none(tmp_path, content, message):
    torch.save(content, tmp_path / "a.th")
    refused(tmp_path / "a.th", message)
    with pytest.raises(Refused):
        load_language_model(tmp_path / "a.th")


def test_a_name_in_a_configuration_is_no_path(tmp_path):
    """The diffusion decoder that is bundled with a codec is not looked for elsewhere."""
    (tmp_path / "mbd.safetensors").write_bytes(b"never read")
    made = tiny(str(tmp_path))
    with pytest.raises(CheckpointError, match="no diffusion decoder is bundled"):
        with_decoder(made, "mbd")


def test_integer_weights_are_refused(tmp_path):
    made = tiny("tiny")
    state = {name: tensor.to(torch.int32) for name, tensor in made.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(made.config.to_dict()))
    refused(tmp_path, "floating-point")
