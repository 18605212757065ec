"""Published files of diffusion decoders, and everything that is none of them; nothing in a file is run."""

import copy
import io
import os
import pickle
import sys
import zipfile

import pytest
import torch
from ecdc.codec.diffusion.config import UnetConfig
from ecdc.codec.diffusion.decoder import MultiBandDiffusion
from ecdc.codec.diffusion.unet import DiffusionUnet
from ecdc.codec.errors import CheckpointError
from mbd_models import cfg, small_model
from safetensors.torch import save_file

LSTM = {"unet__bilstm": True}


def refused(path, message):
    """Loading fails with one line that contains `message`."""
    with pytest.raises(CheckpointError) as caught:
        MultiBandDiffusion.load(path)
    assert message in str(caught.value) and str(path.name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def band():
    """The three parts of one band in the published layout."""
    model = small_model(n_bands=1, processor=True, bottleneck="transformer", hidden=16, growth=1.0, depth=3)
    values = cfg(unet__hidden=16, unet__growth=1.0, unet__transformer=True, processor__use=True)
    return {
        "cfg": values,
        "model_state": model.bands[0].unet.state_dict(),
        "processor_state": model.bands[0].processor.state_dict(),
    }


@pytest.fixture
def package(band):
    return {"sample_rate": 24_000, "n_bands": 1, 0: copy.copy(band)}


@pytest.fixture
def write(tmp_path):
    def to_file(package, name="mbd_comp_8.pt"):
        torch.save(package, tmp_path / name)
        return tmp_path / name

    return to_file


def assert_same(model, band):
    for part, key in ((model.bands[0].unet, "model_state"), (model.bands[0].processor, "processor_state")):
        assert part.state_dict().keys() == band[key].keys()
        assert all(torch.equal(tensor, band[key][name]) for name, tensor in part.state_dict().items())


def test_published_files_load_to_their_tensors(package, band, write):
    for name in ("mbd_musicgen_32khz.th", "mbd_comp_2.pt"):
        model = MultiBandDiffusion.load(write(package, name))
        assert_same(model, band)
        assert model.sample_rate == 24_000 and model.config.bands[0].schedule.power == 7.5
        assert not model.training and not any(p.requires_grad for p in model.parameters())


def test_configurations_may_be_objects_of_omegaconf_with_references(package, band, write):
    """They are read without that library, which is gone by then."""
    omegaconf = pytest.importorskip("omegaconf")
    values = copy.deepcopy(band["cfg"]) | {"width": 16}
    values["diffusion_unet"]["hidden"] = "${width}"
    package[0]["cfg"] = omegaconf.OmegaConf.create(values)
    path = write(package)
    for name in [name for name in sys.modules if name.split(".")[0] == "omegaconf"]:
        del sys.modules[name]
    assert_same(MultiBandDiffusion.load(path), band)
    assert "omegaconf" not in sys.modules


def test_the_oldest_names_of_attention_are_understood(package, band, write):
    package[0]["model_state"] = {k.replace(".mha.", "."): v for k, v in band["model_state"].items()}
    assert package[0]["model_state"].keys() != band["model_state"].keys()
    assert_same(MultiBandDiffusion.load(write(package)), band)


def test_half_precision_is_read_as_single(package, band, write):
    package[0]["model_state"] = {k: v.half() for k, v in band["model_state"].items()}
    model = MultiBandDiffusion.load(write(package))
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    ("bottleneck", "n_parameters"), [("none", 165_591_936), ("transformer", 467_655_552), ("bilstm", 562_055_040)]
)
def test_the_published_recipes_widths_have_as_many_parameters_here(bottleneck, n_parameters):
    """Counted with audiocraft 1.3.0; only shapes are made."""
    with torch.device("meta"):
        unet = DiffusionUnet(UnetConfig(bottleneck=bottleneck))
    assert sum(p.numel() for p in unet.parameters()) == n_parameters


class Runs:
    """Calls something when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def payloads(target):
    shell = f"touch {target}"
    code = f"open({str(target)!r}, 'w').close()"
    return {
        "os.system": Runs(os.system, shell),
        "eval": Runs(eval, code),
        "exec": Runs(exec, code),
        "nested": Runs(Runs, Runs(os.system, shell)),
        "getattr": Runs(getattr, "text", "upper"),
        "a nested call's argument": Runs(list, [Runs(os.system, shell)]),
        "a class of ours": Runs(MultiBandDiffusion.load, "x"),
    }


@pytest.mark.parametrize("payload", payloads("x"))
@pytest.mark.parametrize("place", ["top", "cfg", "inside cfg", "model_state", "a tensor", "a key"])
def test_files_that_run_something_are_refused_before_they_do(payload, place, package, write, tmp_path):
    bad = payloads(tmp_path / "ran")[payload]
    if place == "top":
        package["extra"] = bad
    elif place == "a key":
        package[(bad,)] = 1
    elif place == "inside cfg":
        package[0]["cfg"] = {**package[0]["cfg"], "schedule": bad}
    elif place == "a tensor":
        package[0]["model_state"] = {**package[0]["model_state"], "embedding.weight": bad}
    else:
        package[0][place] = bad
    refused(write(package), "refused, because it asks for ")
    assert not (tmp_path / "ran").exists()


def hand_made(data):
    """A file of torch's container around pickle opcodes of one's own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in (("data.pkl", data), ("version", b"3\n"), ("byteorder", b"little")):
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"cos\nsystem\n(S'touch %s'\ntR.",
        b"cposix\nsystem\n(X\x04\x00\x00\x00truetR.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93(S'touch %s'\ntR.",
        b"(S'touch %s'\nios\nsystem\n.",
        b"cbuiltins\n__import__\n(S'os'\ntR.",
        b"comegaconf.dictconfig\nDictConfig.__init__.__globals__\n.",
        b"\x80\x04\x8c\x0aomegaconf.x\x8c\x0aDictConfig.\x93.",
        b"(dS'a'\ncos\nsystem\ns.",
        b"\x82\x01.",
        b"P1\n.",
        b"(((((",
    ],
)
def test_opcodes_by_hand_are_refused(opcodes, tmp_path):
    path = tmp_path / "mbd.pt"
    opcodes = opcodes.replace(b"%s", str(tmp_path / "ran").encode())
    for data in (hand_made(opcodes), opcodes, pickle.dumps({"a": 1}) + opcodes):
        path.write_bytes(data)
        refused(path, "mbd.pt: ")
        assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("place", ["n_bands", "sample_rate", "extra"])
def test_lists_that_unfold_without_end_are_refused(place, package, write):
    many = [0]
    for _ in range(60):
        many = [many, many]
    refused(write(package | {place: many}), "not a PyTorch checkpoint")
    circle = {}
    circle["cfg"] = circle
    refused(write(package | {place: circle}), "not a PyTorch checkpoint")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_bands": None}, "n_bands must be 1..64, got None"),
        ({"n_bands": 2}, "band 1: lacks its configuration"),
        ({"n_bands": 10**9}, "n_bands must be 1..64"),
        ({"sample_rate": "fast"}, "sample_rate: expected int, got 'fast'"),
        ({"sample_rate": 0}, "sample_rate: must lie in [1000, 768000], got 0"),
        ({0: {"cfg": cfg()}}, "band 0: model_state must be a state dict"),
        ({0: {"cfg": cfg(), "model_state": {"a": 1}, "processor_state": {}}}, "model_state must be a state dict"),
    ],
)
def test_packages_that_describe_no_model_are_refused(change, message, package, write):
    refused(write(package | change), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unet__hidden": "wide"}, "UnetConfig.hidden: expected int, got 'wide'"),
        ({"unet__depth": 1000}, "depth: must lie in [1, 12], got 1000"),
        ({"unet__hidden": 10**12}, "hidden: must lie in"),
        ({"unet__growth": float("nan")}, "growth: must lie in"),
        ({"unet__growth": float("inf")}, "growth: must lie in"),
        ({"unet__norm_groups": 3}, "norm_groups: must divide"),
        ({"unet__activation": "ELU"}, "diffusion_unet.activation is not known"),
        ({"unet__bilstm": True}, "transformer and bilstm exclude each other"),
        ({"unet__kernel": 2}, "kernel_size: at least the stride"),
        ({"schedule__num_steps": 10**12}, "n_steps: must lie in"),
        ({"schedule__beta_t1": 2.0}, "last_beta: must lie in"),
        ({"schedule__repartition": "cosine"}, "schedule.repartition must be 'power', got 'cosine'"),
        ({"schedule__n_bands": 4}, "schedule.n_bands must be None, got 4"),
        ({"processor__power_std": [0.4] * 8}, "power: expected float, got"),
        ({"channels": "${schedule.a}"}, "lacks schedule.a"),
        ({"channels": "${channels}"}, "refers in circles"),
        ({"schedule": 3}, "schedule must be a table"),
        ({"diffusion_unet": [1]}, "diffusion_unet must be a table"),
    ],
)
def test_configurations_of_no_network_are_refused(change, message, package, write):
    values = {"unet__hidden": 16, "unet__growth": 1.0, "unet__transformer": True, "processor__use": True}
    package[0]["cfg"] = cfg(**(values | change))
    refused(write(package), message)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("model_state", {"embedding.weight": None}, "lacks bands.0.unet.embedding.weight"),
        ("model_state", {"lm.weight": torch.ones(1)}, "bands.0.unet.lm.weight is not part of this model"),
        ("model_state", {"conv_codec.bias": torch.ones(3)}, "bands.0.unet.conv_codec.bias must be [16], got [3]"),
        ("model_state", {"conv_codec.bias": torch.ones(1).expand(16)}, "bias is not a plain array"),
        ("model_state", {"conv_codec.bias": torch.ones(16, dtype=torch.int64)}, "bias is not a plain array"),
        ("processor_state", {"counts": None}, "lacks bands.0.processor.counts"),
        ("processor_state", {"split_bands.lowpass.filters": torch.ones(7, 1, 751)}, "must be [7, 1, 629], got [7, 1, 751]"),
    ],
)  # fmt: skip
def test_tensors_must_be_those_of_the_network(key, change, message, package, band, write):
    package[0][key] = {k: v for k, v in ({**band[key], **change}).items() if v is not None}
    refused(write(package), message)


def test_an_unused_processor_has_no_tensors(package, write):
    package[0]["cfg"] = cfg(unet__hidden=16, unet__growth=1.0, unet__transformer=True)
    refused(write(package), "bands.0.processor.counts is not part of this model")
    package[0]["processor_state"] = {}
    assert MultiBandDiffusion.load(write(package)).bands[0].processor is None


def test_foreign_files_are_refused(tmp_path):
    for name, data in [("a.th", b"RIFF" + bytes(100)), ("b.pt", b""), ("c.pt", os.urandom(1000))]:
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "not a PyTorch checkpoint")
    torch.save([1, 2], tmp_path / "d.th")
    refused(tmp_path / "d.th", "not a multi-band diffusion model")
    refused(tmp_path / "none.th", "No such file")


def test_damaged_files_of_ours_are_refused(tmp_path):
    path = tmp_path / "mbd.safetensors"
    model = small_model(n_bands=1)
    model.save(path)
    data = path.read_bytes()
    for cut in (0, 7, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        refused(path, "mbd.safetensors: ")
    state = dict(model.state_dict())
    for metadata in (
        None,
        {"config": "{"},
        {"config": "[]"},
        {"config": "{}"},
        {"config": '{"sample_rate": 24000, "bands": []}'},
    ):
        save_file(state, path, metadata)
        refused(path, "mbd.safetensors: ")
    path.unlink()
    refused(path, "No such file")


def test_no_file_makes_networks_larger_than_itself(package, write):
    """Tensors are compared before anything is allocated: this one would need terabytes."""
    package[0]["cfg"] = cfg(
        unet__hidden=1 << 16, unet__growth=1.0, unet__max_channels=1 << 16, unet__depth=12, processor__use=True, **LSTM
    )
    refused(write(package), "lacks bands.0.unet.bilstm")
