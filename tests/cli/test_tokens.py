"""`ecdc tokens`: arrays out and in, without torch, through pipes, and one line for what does not fit."""

import io

import numpy as np
import pytest


@pytest.fixture(scope="module")
def coded(ecdc, speech, tmp_path_factory):
    """A clip of speech, and its codes."""
    path = tmp_path_factory.mktemp("tokens") / "a.ecdc"
    ecdc("encode", speech, "-o", path, check=True)
    return path


@pytest.mark.parametrize("form", ["npz", "safetensors"])
def test_out_and_in_is_the_same_file(ecdc, coded, tmp_path, form):
    ecdc("tokens", "export", coded, "-o", tmp_path / f"a.{form}", check=True)
    ecdc("tokens", "import", tmp_path / f"a.{form}", "-o", tmp_path / "b.ecdc", check=True)
    assert (tmp_path / "b.ecdc").read_bytes() == coded.read_bytes()


@pytest.mark.parametrize("form", ["npy", "npz", "safetensors"])
def test_pipes(ecdc_process, coded, form):
    options = ("--like", coded) if form == "npy" else ()
    out = ecdc_process("tokens", "export", "-", "--format", form, "-o", "-", stdin=coded.read_bytes(), check=True)
    back = ecdc_process("tokens", "import", "-", "--format", form, "-o", "-", *options, stdin=out.stdout, check=True)
    assert back.stdout == coded.read_bytes()


def test_stereo_decodes_from_arrays(ecdc, tone, tmp_path):
    ecdc("encode", tone, "-o", tmp_path / "a.ecdc", check=True)
    ecdc("tokens", "export", tmp_path / "a.ecdc", "--trim", "-o", tmp_path / "a.npy", check=True)
    assert np.load(tmp_path / "a.npy").ndim == 3
    ecdc("tokens", "import", tmp_path / "a.npy", "--like", tmp_path / "a.ecdc", "-o", tmp_path / "b.ecdc", check=True)
    ecdc("decode", tmp_path / "b.ecdc", check=True)


def test_fields_make_up_a_header(ecdc, tmp_path):
    np.save(tmp_path / "a.npy", np.arange(40).reshape(4, 10))
    fields = ["codec=mine", f"token_space={'ab' * 32}", "sample_rate=24000", "hop_length=320", "codebook_size=1024"]
    options = [word for field in fields for word in ("--field", field)]
    ecdc("tokens", "import", tmp_path / "a.npy", "-o", tmp_path / "a.ecdc", *options, check=True)
    assert b"mine" in ecdc("info", tmp_path / "a.ecdc", check=True).stdout
    out = ecdc("tokens", "export", tmp_path / "a.ecdc", "-o", "-", "--format", "npy", check=True).stdout
    assert np.array_equal(np.load(io.BytesIO(out)), np.arange(40).reshape(4, 10))


def test_what_does_not_fit_is_one_line(ecdc, coded, tmp_path, one_line):
    np.save(tmp_path / "a.npy", np.zeros((4, 10)))
    (tmp_path / "b.npz").write_bytes(b"PK")
    (tmp_path / "mine.npy").write_bytes(b"mine")
    out = ("-o", tmp_path / "out.ecdc")
    for args, message in [
        (("export", coded, "-o", "-"), "give --format"),
        (("export", coded, "-o", tmp_path / "a.txt"), "give --format"),
        (("export", coded, "-o", tmp_path / "mine.npy"), "use --force"),
        (("export", tmp_path / "a.npy", "-o", tmp_path / "c.npy"), "not an .ecdc stream"),
        (("import", tmp_path / "a.npy", *out), "or these fields (--field)"),
        (("import", tmp_path / "a.npy", "--like", coded, *out), "codes must be integers"),
        (("import", tmp_path / "a.npy", "--like", tmp_path / "b.npz", *out), "b.npz: byte 0: not an .ecdc stream"),
        (("import", tmp_path / "a.npy", "--like", tmp_path / "none.ecdc", *out), "none.ecdc: No such file"),
        (("import", tmp_path / "b.npz", *out), "not a whole .npz"),
        (("import", tmp_path / "none.npz", *out), "No such file"),
        (("import", tmp_path, "--format", "npz", *out), "is a folder"),
    ]:
        assert message in one_line(ecdc("tokens", *args))
    assert ecdc("tokens", "import", tmp_path / "a.npy", "--field", "x", *out).returncode == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.npz", "mine.npy"]
    assert (tmp_path / "mine.npy").read_bytes() == b"mine"


def test_tokens_need_no_torch(imports, coded, tmp_path):
    forms = "npz", "safetensors"
    out = [("tokens", "export", coded, "-o", tmp_path / f"a.{form}") for form in forms]
    back = [("tokens", "import", tmp_path / f"a.{form}", "-o", tmp_path / form) for form in forms]
    assert imports("torch soundfile", *out, *back) == [] and all((tmp_path / form).exists() for form in forms)
