"""Published files: both layouts are the same model, anything else is an error that says what is wrong."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from ecdc.codec.errors import CheckpointError
from ecdc.plugins.musicgen import GREEDY, PUBLISHED, MusicGenLM, Options, load
from ecdc.plugins.musicgen.config import MusicGenConfig, audiocraft_config, hugging_face_config
from musicgen_models import (
    V,
    audiocraft_cfg,
    audiocraft_state,
    codes_of,
    tiny,
    transformers_model,
    write_codec,
    write_package,
    write_transformers,
)  # fmt: skip
from safetensors.torch import load_file, save_file

KINDS = {
    "mono": {"text_dimension": 768},
    "stereo": {"text_dimension": 768, "delays": (0, 0, 1, 1, 2, 2, 3, 3), "channels": 2},
    "melody": {"text_dimension": 768, "cross_attention": False, "n_chroma": 12},
}


def logits(model, seed=0):
    tokens = torch.randint(0, V + 1, (2, model.config.n_codebooks, 6), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model.lm(tokens)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of transformers."""
    return write_transformers(transformers_model("mono"), tmp_path_factory.mktemp("hf"))


@pytest.fixture
def damaged(folder, tmp_path):
    """A function that copies the model with changed tensors or configuration."""

    def make(change_tensors=lambda tensors: None, **values):
        shutil.copytree(folder, tmp_path / "model")
        tensors = load_file(folder / "model.safetensors")
        change_tensors(tensors)
        save_file(tensors, tmp_path / "model" / "model.safetensors")
        config = json.loads((folder / "config.json").read_text())
        (tmp_path / "model" / "config.json").write_text(json.dumps(config | values))
        return tmp_path / "model"

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_audiocraft_is_the_model(kind, tmp_path):
    model = tiny(**KINDS[kind])
    path = write_package(model, tmp_path / "state_dict.bin")
    for where in (path, tmp_path):
        loaded = load(where)
        assert loaded.config == MusicGenConfig.from_dict(model.config.to_dict() | {"name": tmp_path.name})
        assert torch.equal(logits(loaded), logits(model))


def test_older_and_unexported_packages(tmp_path):
    model = tiny(**KINDS["mono"])
    cfg = audiocraft_cfg(model.config)
    cfg["codebooks_pattern"] = {"modeling": None}
    cfg["transformer_lm"]["q_modeling"] = "delay"
    halved = {k: v.half() for k, v in audiocraft_state(model.lm.state_dict(), model.config).items()}
    path = write_package(model, tmp_path / "state_dict.bin", **{"xp.cfg": cfg, "best_state": {"model": halved}})
    loaded = load(path)
    assert loaded.config.delays == (0, 1, 2, 3) and loaded.lm.norm.weight.dtype == torch.float32
    assert torch.allclose(logits(loaded), logits(model), atol=0.05)


def test_the_codec_beside_a_package_reads_its_codes(tmp_path):
    write_codec(tmp_path)
    write_package(tiny(**KINDS["stereo"]), tmp_path / "state_dict.bin")
    model = load(tmp_path)
    codes = model.generate([None], Options(seconds=0.2, sampling=GREEDY))
    wav = model.decode(codes)
    assert wav.shape == (1, 2, 640 * codes.shape[2])
    assert torch.equal(wav[:, :1], model.codec.decode(codes[:, 0::2]))
    again = model.encode_prompt(wav)
    assert again.shape == codes.shape and torch.equal(again[:, 1::2], model.codec.encode(wav[:, 1:]))
    assert load(tmp_path, codec=False).codec is None
    with pytest.raises(RuntimeError, match="has no codec"):
        load(tmp_path, codec=False).decode(codes)


def test_shards_are_the_whole(tmp_path):
    theirs = transformers_model("mono")
    write_transformers(theirs, tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    ours = load(tmp_path)
    ids = ours._text_encoder(True).tokenizer("sad piano", return_tensors="pt")
    expected = codes_of(theirs, 8, **ids, do_sample=False, guidance_scale=3.0)
    assert torch.equal(ours.generate(["sad piano"], Options(seconds=0.17, sampling=GREEDY)), expected)


def test_shards_that_are_missing_or_elsewhere_are_refused(tmp_path):
    write_transformers(transformers_model("mono"), tmp_path, max_shard_size="100KB")
    index = tmp_path / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    name = "decoder.lm_heads.0.weight"
    for file, wrong in (("../model.safetensors", "beside it"), ("model-9.safetensors", "model-9")):
        index.write_text(json.dumps({"weight_map": values["weight_map"] | {name: file}}))
        with pytest.raises(CheckpointError, match=wrong):
            load(tmp_path)
    other = next(file for file in values["weight_map"].values() if file != values["weight_map"][name])
    index.write_text(json.dumps({"weight_map": values["weight_map"] | {name: other}}))
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda t: t.pop("decoder.lm_heads.3.weight"), "lacks decoder.lm_heads.3.weight"),
        (lambda t: t.pop("enc_to_dec_proj.bias"), "lacks enc_to_dec_proj.bias"),
        (lambda t: t.update({"decoder.model.decoder.layers.2.fc1.weight": torch.zeros(2)}), "layers.2.fc1.weight is not part"),
        (lambda t: t.update({"decoder.model.decoder.layer_norm.bias": torch.zeros(3)}), r"bias must be \[32\], got \[3\]"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_named(damaged, change, wrong):
    with pytest.raises(CheckpointError, match=wrong):
        load(damaged(change))


def test_tables_that_older_files_hold_are_left_out(damaged, folder):
    path = damaged(lambda t: t.update({"decoder.model.decoder.embed_positions.weights": torch.zeros(9, 32)}))
    assert torch.equal(logits(load(path)), logits(load(folder)))


def test_a_text_encoder_that_does_not_fit_is_named(damaged):
    model = load(damaged(lambda t: t.pop("text_encoder.encoder.final_layer_norm.weight")))
    with pytest.raises(CheckpointError, match=r"lacks text_encoder.encoder.final_layer_norm.weight"):
        model.generate(["piano"])


def test_configurations_of_other_models_are_refused(damaged):
    with pytest.raises(CheckpointError, match="model_type must be one of musicgen"):
        load(damaged(model_type="encodec"))
    with pytest.raises(CheckpointError, match="activation_function"):
        hugging_face_config({"model_type": "musicgen_decoder", "activation_function": "relu"}, "x")
    cfg = audiocraft_cfg(tiny(**KINDS["melody"]).config)
    for table, key, value in (
        ("transformer_lm", "bias_ff", True),
        ("fuser", "sum", ["description"]),
        ("codebooks_pattern", "modeling", "unroll"),
        ("conditioners", "self_wav", {"model": "clap"}),
    ):
        with pytest.raises(CheckpointError, match="must"):
            audiocraft_config(cfg | {table: cfg[table] | {key: value}}, "x")
    with pytest.raises(CheckpointError, match=r"lacks transformer_lm.dim"):
        audiocraft_config(cfg | {"transformer_lm": {}}, "x")


def test_files_that_are_no_models_are_refused(tmp_path):
    for name, content, wrong in (
        ("state_dict.bin", b"garbage", "not a PyTorch checkpoint"),
        ("model.safetensors", b"garbage", "model.safetensors"),
    ):  # each in a folder of its own
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        (folder / "config.json").write_text('{"model_type": "musicgen"}')
        with pytest.raises(CheckpointError, match=wrong):
            load(folder)
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.bin")
    with pytest.raises(CheckpointError, match="best_state"):
        load(tmp_path / "other.bin")
    for missing, wrong in (
        (tmp_path, "holds none of"),
        (Path("nowhere"), "no such model"),
        ("no such model!", "known: musicgen-nano, musicgen-small"),
    ):
        with pytest.raises(CheckpointError, match=wrong):
            load(missing)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = write_package(tiny(**KINDS["mono"]), tmp_path / "state_dict.bin", version=Evil())
    with pytest.raises(CheckpointError, match="refused"):
        load(path)
    assert not (tmp_path / "ran").exists()


def test_tensors_stay_in_the_pages_of_their_file(tmp_path):
    """What needs no conversion is not copied: of both layouts, the feed-forward weights."""
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc")
    write_transformers(transformers_model("mono"), tmp_path / "hf")
    (tmp_path / "ac").mkdir()
    write_package(tiny(**KINDS["mono"]), tmp_path / "ac" / "state_dict.bin")
    for folder in ("hf", "ac"):
        model = load(tmp_path / folder, codec=False)
        address = model.lm.layers[1].down.weight.data_ptr()
        lines = [line.split() for line in maps.read_text().splitlines() if str(tmp_path / folder) in line]
        spans = [tuple(int(x, 16) for x in line[0].split("-")) for line in lines]
        assert any(start <= address < stop for start, stop in spans), folder


@pytest.mark.parametrize("kind", ["mono", "melody"])
def test_eight_bits_while_loading_are_those_of_the_loaded_model(kind, tmp_path):
    path = write_package(tiny(**KINDS[kind]), tmp_path / "state_dict.bin")
    assert torch.equal(logits(load(path, int8=True)), logits(load(path).to_int8()))


def test_heads_follow_from_the_width_where_they_are_not_said():
    values = {"model_type": "musicgen_decoder", "hidden_size": 1536}
    assert hugging_face_config(values, "x").n_heads == 24


@pytest.mark.parametrize(
    ("name", "n_parameters"),
    [
        ("musicgen-small", 420_371_456), ("musicgen-medium", 1_837_556_736 + 1_181_184),
        ("musicgen-large", 3_255_382_016 + 1_574_912), ("musicgen-melody", 1_384_424_448 + 1_181_184 + 13 * 1536),
        ("musicgen-melody-large", 2_449_879_040 + 1_574_912 + 13 * 2048), ("musicgen-stereo-small", 436_365_312 + 787_456),
    ],
)  # fmt: skip
def test_published_sizes(name, n_parameters):
    with torch.device("meta"):
        lm = MusicGenLM(PUBLISHED[name])
    assert sum(p.numel() for p in lm.parameters()) == n_parameters
    assert lm.config.dimension // lm.config.n_heads == 64


def test_a_package_takes_a_text_encoder_from_a_folder(folder, tmp_path):
    """A package only names its T5; a folder of one stands in for it."""
    theirs = transformers_model("mono", text_dimension=768)
    t5 = write_transformers(theirs, tmp_path / "t5")  # the tokenizer; its weights are written over
    theirs.text_encoder.save_pretrained(t5)
    package = write_package(tiny(**KINDS["mono"]), tmp_path / "state_dict.bin")
    model = load(package, text_encoder=t5)
    ids = model._text_encoder(True).tokenizer("sad piano", return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(
            model._text_encoder(True)("sad piano"), theirs.text_encoder(**ids).last_hidden_state[0], atol=1e-6
        )
    with pytest.raises(CheckpointError, match="no T5 encoder could be loaded"):
        load(package, text_encoder=tmp_path / "none").generate(["piano"])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "state_dict.bin"],
            "model.safetensors.index.json",
        ),
        (["model.safetensors", "pytorch_model.bin", "state_dict.bin"], "model.safetensors"),
        (["state_dict.bin", "compression_state_dict.bin"], "state_dict.bin"),
    ],
)
def test_of_a_repository_one_layout_is_fetched(files, expected, tmp_path, monkeypatch):
    """The hub keeps the same weights several times over."""
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def snapshot(repository, allow_patterns, local_files_only=False):
        if local_files_only:
            raise FileNotFoundError
        asked.extend([repository, *allow_patterns])
        (tmp_path / expected).write_text("{}")
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    monkeypatch.setattr(hub.HfApi, "list_repo_files", lambda self, repository: files)
    with pytest.raises(CheckpointError):
        load("musicgen-small")  # what was fetched is empty
    assert asked[0] == "facebook/musicgen-small" and expected in asked
    assert not {"model.safetensors.index.json", "model.safetensors", "state_dict.bin"} - {expected} & set(asked)
    monkeypatch.setattr(hub.HfApi, "list_repo_files", lambda self, repository: 1 / 0)
    with pytest.raises(CheckpointError, match="cannot be downloaded"):
        load("somebody/model")
