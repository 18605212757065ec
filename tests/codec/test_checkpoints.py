"""Models by name: every published layout, ours, and everything that is none of them."""

import collections
import json
import os
import pickle
import sys
import types

import pytest
import torch
from ecdc.codec import bundled, checkpoints
from ecdc.codec.checkpoints import CheckpointError, load, models, save
from ecdc.codec.config import CodecConfig, SeanetConfig
from ecdc.codec.encodec_configs import ENCODEC_24KHZ, PUBLISHED, audiocraft_config, hugging_face_config
from ecdc.codec.model import Codec
from encodec_models import (
    CONFIGS,
    audio,
    audiocraft_cfg,
    hugging_face,
    narrow,
    original,
    write_audiocraft,
    write_hugging_face,
    write_original,
)
from safetensors.torch import load_file, save_file

SMALL = narrow(CONFIGS["24 kHz"], codebook_size=64)


@pytest.fixture(scope="module")
def peer():
    torch.manual_seed(0)
    return original(SMALL)


@pytest.fixture
def ours(tmp_path):
    """A folder of ours with a small model."""
    torch.manual_seed(0)
    config = CodecConfig(
        "tiny", SeanetConfig(strides=(4, 2), n_filters=4, lstm_layers=1), dimension=8, n_codebooks=2, codebook_size=16
    )
    codec = Codec(config).ready()
    codec.quantizer.codebooks.normal_()
    save(codec, tmp_path / "tiny")
    return codec, tmp_path / "tiny"


def refused(path, message, **options):
    """Loading fails with one line that contains `message`."""
    with pytest.raises(CheckpointError) as caught:
        load(path, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_saved_models_load_to_the_same(ours):
    codec, folder = ours
    again, wav = load(folder), audio(999)
    assert again.config == codec.config and again.token_space == codec.token_space
    codes = codec.encode(wav)
    assert torch.equal(again.encode(wav), codes) and torch.equal(again.decode(codes), codec.decode(codes))
    assert torch.equal(load(folder / "model.safetensors").encode(wav), codes)
    assert not again.training and not any(p.requires_grad for p in again.parameters())


def test_all_layouts_of_one_model_give_the_same_weights(peer, tmp_path):
    """A bare state dict, audiocraft's two packages with the configuration as text and as values."""
    cfg = audiocraft_cfg(SMALL)
    files = [
        (write_original(peer, tmp_path / "a.th"), SMALL),
        (write_audiocraft(peer, SMALL, tmp_path / "b.bin"), None),
        (write_audiocraft(peer, SMALL, tmp_path / "c.bin", best_state={"model": peer.state_dict()}, **{"xp.cfg": cfg}), None),
    ]
    codecs = [load(path, config) for path, config in files]
    for codec in codecs[1:]:
        assert codec.config.architecture == SMALL.architecture
        for name, tensor in codecs[0].state_dict().items():
            assert torch.equal(codec.state_dict()[name], tensor)
    assert codecs[1].config.bitrates_kbps == (SMALL.n_codebooks * 0.45,)


@pytest.mark.parametrize("kind", CONFIGS)
def test_both_spellings_of_weight_norm_give_the_same_weights(kind, tmp_path):
    torch.manual_seed(0)
    model = hugging_face(narrow(CONFIGS[kind]))
    new = load(write_hugging_face(model, tmp_path / "new"))
    old = load(write_hugging_face(model, tmp_path / "old", legacy=True))
    assert all(torch.equal(a, b) for a, b in zip(new.state_dict().values(), old.state_dict().values(), strict=True))
    names = {"name": "narrow", "bitrates_kbps": CONFIGS[kind].bitrates_kbps}
    assert CodecConfig.from_dict(new.config.to_dict() | names) == narrow(CONFIGS[kind])


@pytest.mark.parametrize("config", PUBLISHED.values(), ids=PUBLISHED)
def test_published_configurations_are_recognised(config):
    """Whoever describes it, a published model has its own name, which files in our container carry."""
    values = hugging_face(narrow(config)).config.to_dict() | {"num_filters": config.architecture.n_filters}
    assert hugging_face_config(values, "some-folder") == config
    if config.segment_seconds is None and len(config.bitrates_kbps) == 1:
        assert audiocraft_config(audiocraft_cfg(config), "some-folder") == config


def test_the_two_original_models_are_told_apart(tmp_path):
    for kind in ("24 kHz", "48 kHz"):
        path = write_original(original(narrow(CONFIGS[kind])), tmp_path / "a.th")
        refused(path, "encoder.layers.0.conv.")  # of another width: the wrong shape is named
        assert load(path, narrow(CONFIGS[kind])).config.channels == CONFIGS[kind].channels


def test_packages_that_describe_no_model_are_refused(peer, tmp_path):
    path = tmp_path / "a.bin"
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True, "version": "1.3"}, path)
    refused(path, "only points to 'facebook/encodec_32khz'")
    refused(write_audiocraft(peer, SMALL, path, **{"xp.cfg": None}), "lacks xp.cfg")
    refused(write_audiocraft(peer, SMALL, path, **{"xp.cfg": "a: !!python/object/apply:os.getcwd []"}), "not plain YAML")
    for change, message in [
        ({"compression_model": "dac"}, "compression_model must be 'encodec', got 'dac'"),
        ({"seanet": {}}, "xp.cfg lacks seanet.ratios"),
        ({"sample_rate": "${channels}", "channels": "${sample_rate}"}, "refers in circles"),
        ({"rvq": {"n_q": 2, "bins": "many"}}, "codebook_size: expected int, got 'many'"),
        ({"seanet": audiocraft_cfg(SMALL)["seanet"] | {"norm": "spectral_norm"}}, "norm: one of"),
        ({"seanet": audiocraft_cfg(SMALL)["seanet"] | {"activation": "ReLU"}}, "seanet.activation must be 'ELU'"),
    ]:
        refused(write_audiocraft(peer, SMALL, path, **{"xp.cfg": audiocraft_cfg(SMALL) | change}), message)


def test_yaml_is_asked_for_when_it_is_missing(peer, tmp_path, monkeypatch):
    path = write_audiocraft(peer, SMALL, tmp_path / "a.bin")
    monkeypatch.setitem(sys.modules, "yaml", None)
    refused(path, "needs PyYAML")


def test_omegaconf_objects_are_read_without_omegaconf(peer, tmp_path, monkeypatch):
    """Classes of those names are pickled here, and gone when the file is read."""
    modules = {name: types.ModuleType(f"omegaconf.{name}") for name in ("dictconfig", "listconfig", "nodes", "base")}
    for module, kind in [
        ("dictconfig", "DictConfig"),
        ("listconfig", "ListConfig"),
        ("nodes", "AnyNode"),
        ("base", "ContainerMetadata"),
    ]:
        setattr(modules[module], kind, type(kind, (), {"__module__": f"omegaconf.{module}"}))

    def node(value):
        if isinstance(value, dict):
            made, content = modules["dictconfig"].DictConfig(), {"_content": {k: node(v) for k, v in value.items()}}
        elif isinstance(value, list):
            made, content = modules["listconfig"].ListConfig(), {"_content": [node(v) for v in value]}
        else:
            made, content = modules["nodes"].AnyNode(), {"_val": value}
        vars(made).update(
            content, _parent=None, _metadata=modules["base"].ContainerMetadata(), _flags_cache=collections.defaultdict(dict)
        )
        return made

    with monkeypatch.context() as patch:
        for name, module in {
            "omegaconf": types.ModuleType("omegaconf"),
            **{f"omegaconf.{k}": v for k, v in modules.items()},
        }.items():
            patch.setitem(sys.modules, name, module)
        path = write_audiocraft(peer, SMALL, tmp_path / "a.bin", **{"xp.cfg": node(audiocraft_cfg(SMALL))})
    assert "omegaconf" not in sys.modules
    assert load(path).config.architecture == SMALL.architecture


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize(
    "write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))], ids=["torch", "pickle"]
)
def test_a_pickle_that_runs_something_is_refused_before_it_runs(write, tmp_path):
    write({"best_state": Malicious(tmp_path / "ran")}, tmp_path / "a.bin")
    refused(tmp_path / "a.bin", "a.bin: ")
    assert not (tmp_path / "ran").exists()
    torch.save({"best_state": Malicious(tmp_path / "ran")}, tmp_path / "b.bin")
    refused(tmp_path / "b.bin", "it asks for posix.system, which is no data")


def test_foreign_files_are_refused(tmp_path):
    for name, data in [("a.th", b"RIFF" + bytes(100)), ("b.bin", b""), ("c.pt", os.urandom(1000))]:
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "not a PyTorch checkpoint")
    for value, message in [([1, 2], "holds no state dict"), ({"a": 1}, "neither encodec_24khz nor encodec_48khz")]:
        torch.save(value, tmp_path / "d.th")
        refused(tmp_path / "d.th", message)
    refused(tmp_path, "config.json: No such file")


def test_damaged_folders_are_refused(ours):
    _, folder = ours
    good, config = load_file(folder / "model.safetensors"), (folder / "config.json").read_text()
    for change, message in [
        ({"encoder.layers.0.bias": None}, "lacks encoder.layers.0.bias"),
        ({"extra": torch.zeros(1)}, "extra is not part of this model"),
        ({"encoder.layers.0.bias": torch.zeros(5)}, "encoder.layers.0.bias must be [4], got [5]"),
    ]:
        save_file({k: v for k, v in (good | change).items() if v is not None}, folder / "model.safetensors")
        refused(folder, message)
    (folder / "model.safetensors").write_bytes(b"not tensors")
    refused(folder, "model.safetensors: ")
    for text, message in [("{", "config.json: "), ("[]", "must hold a JSON object"), ("{}", "model_type must be 'encodec'")]:
        (folder / "config.json").write_text(text)
        refused(folder, message)
    (folder / "config.json").write_text(json.dumps(json.loads(config) | {"name": 3}))
    save_file(good, folder / "model.safetensors")
    refused(folder, "CodecConfig.name: expected str, got 3")


def test_published_tensors_must_fit(peer, tmp_path):
    state = peer.state_dict()
    for change, message in [
        ({"decoder.model.1.lstm.bias_ih_l0": None}, "lacks decoder.layers.1.lstm.bias_ih_l0"),
        ({"encoder.model.3.conv.conv.weight_g": torch.ones(8)}, "encoder.layers.3.conv.weight_g must be [8, 1, 1], got [8]"),
        ({"quantizer.vq.layers.0._codebook.embed": torch.ones(64, 100)}, "must be [64, 128], got [64, 100]"),
        ({"lm.weight": torch.ones(1)}, "lm.weight is not part of this model"),
    ]:
        torch.save({k: v for k, v in (state | change).items() if v is not None}, tmp_path / "a.th")
        refused(tmp_path / "a.th", message, config=SMALL)


def test_unknown_names_are_answered_with_the_known_ones(ours, monkeypatch):
    for module in (checkpoints, bundled):
        monkeypatch.setattr(module, "BUNDLED", ours[1].parent)
    refused("no-such-model", "known: tiny, encodec_24khz, encodec_48khz, encodec_32khz")
    assert load("tiny").config.name == "tiny"
    row = {"name": "tiny", "sample_rate": 24_000, "channels": 1, "kbps": list(ENCODEC_24KHZ.bitrates_kbps)}
    row |= {"is_default": False, "frame_rate": 3000.0, "codebooks": 2, "codebook_size": 16}
    assert [{k: v for k, v in r.items() if k != "parameters"} for r in models()] == [row]
    assert models()[0]["parameters"] == sum(t.numel() for t in ours[0].state_dict().values())


@pytest.fixture
def hub(monkeypatch):
    """A hub whose files are put into a dict: (repository, name) -> path."""
    files = {}

    def hf_hub_download(repository, name):
        if (repository, name) not in files:
            raise OSError(f"no route to {repository}/{name}\nand a long explanation")
        return str(files[repository, name])

    library = types.SimpleNamespace(hf_hub_download=hf_hub_download, try_to_load_from_cache=lambda repository, name: None)
    monkeypatch.setitem(sys.modules, "huggingface_hub", library)
    return files


def test_models_are_fetched_from_the_hub(hub, ours, peer, tmp_path):
    codec, folder = ours
    hub["someone/tiny", "config.json"], hub["someone/tiny", "model.safetensors"] = (
        folder / "config.json",
        folder / "model.safetensors",
    )
    assert load("someone/tiny").token_space == codec.token_space
    (tmp_path / "config.json").write_text('{"model_type": "musicgen"}')
    package = write_audiocraft(peer, SMALL, tmp_path / "compression_state_dict.bin")
    hub["facebook/musicgen-small", "config.json"] = tmp_path / "config.json"
    hub["facebook/musicgen-small", "compression_state_dict.bin"] = package
    assert load("facebook/musicgen-small").config.architecture == SMALL.architecture


def test_published_names_stand_for_the_hub_or_a_local_folder(hub, ours, monkeypatch, tmp_path):
    for name in PUBLISHED:
        refused(name, f"cannot be downloaded: no route to facebook/{name}/config.json")
    monkeypatch.chdir(tmp_path)
    ours[1].rename(tmp_path / "encodec_24khz")
    assert load("encodec_24khz").config.name == "tiny"


def test_a_missing_hub_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    refused("someone/model", "-e '.[hub]'")
