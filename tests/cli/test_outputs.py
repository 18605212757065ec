"""One rule for what every command writes: links, modes, races, spellings, signals, full disks, closed streams."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from ecdc.cli.terminal_text import counted
from ecdc.codec.wave_out import wave_header
from ecdc.format import files
from safetensors.numpy import save_file

WRITERS = {
    "encode": (["encode", "{}/tone.wav"], "ecdc"),
    "decode": (["decode", "{}/tone.ecdc"], "wav"),
    "decode flac": (["decode", "{}/tone.ecdc"], "flac"),
    "decode m4a": (["decode", "{}/tone.ecdc"], "m4a"),
    "tag": (["tag", "{}/tone.ecdc", "--set", "a=b"], "ecdc"),
    "peel": (["peel", "{}/tone.ecdc", "--kbps", "3"], "ecdc"),
    "cut": (["cut", "{}/tone.ecdc", "--duration", "0.1"], "ecdc"),
    "cat": (["cat", "{}/tone.ecdc", "{}/tone.ecdc"], "ecdc"),
    "repair": (["repair", "{}/tone.ecdc"], "ecdc"),
    "export": (["tokens", "export", "{}/tone.ecdc"], "npz"),
    "import": (["tokens", "import", "{}/tone.npz"], "ecdc"),
}
writers = pytest.mark.parametrize("writer", list(WRITERS))


@pytest.fixture(scope="module")
def inputs(ecdc, tmp_path_factory):
    """A folder with tone.wav, tone.ecdc and tone.npz: half a second in stereo."""
    folder = tmp_path_factory.mktemp("inputs")
    time = np.arange(12_000) / 24_000
    soundfile.write(folder / "tone.wav", 0.3 * np.stack([np.sin(2e3 * time), np.sin(3e3 * time)], axis=1), 24_000)
    ecdc("encode", folder / "tone.wav", "--quiet", check=True)
    ecdc("tag", folder / "tone.ecdc", "--set", "title=x", "-o", folder / "tagged.ecdc", check=True)
    ecdc("tokens", "export", folder / "tone.ecdc", "-o", folder / "tone.npz", check=True)
    return folder


@pytest.fixture
def run(ecdc, inputs):
    """Run a writer of the table with an output and more options."""

    def call(writer, output, *more, **options):
        return ecdc(*(part.format(inputs) for part in WRITERS[writer][0]), "-o", output, *more, **options)

    return call


def files_in(folder):
    return sorted(p.name for p in folder.iterdir())


def name_for(writer, stem="out"):
    return f"{stem}.{WRITERS[writer][1]}"


@writers
def test_a_link_stays_and_its_file_is_replaced(run, tmp_path, writer):
    real, link = tmp_path / name_for(writer, "real"), tmp_path / name_for(writer, "link")
    real.write_bytes(b"old")
    link.symlink_to(real.name)
    assert b"exists already" in run(writer, link).stderr and real.read_bytes() == b"old"
    run(writer, link, "--force", check=True)
    assert link.is_symlink() and real.read_bytes() != b"old" and len(files_in(tmp_path)) == 2
    real.unlink()
    run(writer, link, check=True)  # a link to nothing yet
    assert link.is_symlink() and real.stat().st_size > 3


@pytest.mark.parametrize("writer", [*WRITERS, "repair --like", "convert"])
def test_an_output_that_exists_is_the_only_name_in_the_line(ecdc, inputs, tmp_path, monkeypatch, one_line, writer):
    others = {"repair --like": "repair {0}/tone.ecdc --like {0}/tagged.ecdc", "convert": "convert {0}/tone.ecdc"}
    command = others[writer].split() if writer in others else WRITERS[writer][0]
    monkeypatch.chdir(tmp_path)
    name = name_for(writer, "h") if writer in WRITERS else "h.ecdc"
    for start, reason in (
        ("", "exists already; use --force to overwrite it"),
        ("d", "is a folder; give an output file"),
        ("new/", "is a folder; give an output file"),
    ):
        (tmp_path / "d").mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"old")
        more = ["--format", "npz"] if writer == "export" and start else []
        line = one_line(ecdc(*(part.format(inputs) for part in command), "-o", start or name, *more))
        assert line.startswith(f"ecdc: {start or name}: {reason}"), line


@writers
def test_force_keeps_the_mode(run, tmp_path, writer):
    path = tmp_path / name_for(writer)
    for mode in (0o600, 0o640, 0o777):
        path.write_bytes(b"old")
        path.chmod(mode)
        run(writer, path, "--force", check=True)
        assert path.stat().st_mode & 0o7777 == mode and path.read_bytes() != b"old"
    path.unlink()
    run(writer, path, check=True)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o7777 == 0o666 & ~mask


@writers
def test_of_two_writers_without_force_the_first_wins(run, tmp_path, writer, monkeypatch, one_line):
    """The other one creates the file after the check and before the end."""
    path, real = tmp_path / name_for(writer), files.partial_path

    def beaten(target):
        target.write_bytes(b"the other's")
        return real(target)

    monkeypatch.setattr(files, "partial_path", beaten)
    line = one_line(run(writer, path, *(["--quiet"] if writer in ("encode", "decode") else [])))
    assert "exists already" in line and path.name in line
    assert path.read_bytes() == b"the other's" and files_in(tmp_path) == [path.name]


@writers
def test_a_full_disk_is_named(run, writer, one_line):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    more = ["--format", WRITERS[writer][1]] if writer in ("decode flac", "decode m4a", "export") else []
    assert one_line(run(writer, "/dev/full", *more)) == "ecdc: /dev/full: no space left on the disk"


@writers
def test_a_folder_that_cannot_be_written_is_named_by_the_output(run, tmp_path, writer, one_line, monkeypatch):
    """Root may write anywhere, so that the system's answer is made up, and on such disks even removing nothing fails."""
    path = tmp_path / name_for(writer)

    def refused(name, *more, **options):
        if "partial" in str(name):
            raise OSError(errno.EROFS, "Read-only file system", str(name))
        return open(name, *more, **options)

    monkeypatch.setattr(files.Path, "unlink", refused)
    monkeypatch.setattr(files, "open", refused, raising=False)
    line = one_line(run(writer, path))
    assert line == f"ecdc: {path}: Read-only file system"


@pytest.mark.parametrize("library", ["python", "safetensors", "publish"])
def test_what_a_library_cannot_write_is_named_by_the_output(tmp_path, library, monkeypatch):
    """A limit on the size of files stands for a full disk; the file that was there stays."""
    path = tmp_path / "out.bin"
    path.write_bytes(b"old")
    if library == "publish":
        monkeypatch.setattr(files.Path, "replace", lambda self, to: (_ for _ in ()).throw(OSError(errno.EIO, "x", str(self))))
    limits, heed = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError) as caught, files.atomic_path(path) as partial:
            if library == "safetensors":
                save_file({"a": np.zeros(10_000)}, partial)
            else:
                partial.write_bytes(bytes(10_000 if library == "python" else 10))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heed)
    assert caught.value.filename == str(path) and caught.value.errno == (errno.EIO if library == "publish" else errno.EFBIG)
    assert files_in(tmp_path) == [path.name] and path.read_bytes() == b"old"


@writers
def test_a_named_pipe_is_written_to(run, tmp_path, writer):
    pipe, got = tmp_path / name_for(writer, "pipe"), []
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE) as reader:
        run(writer, pipe, check=True)
        got.append(reader.stdout.read())
    run(writer, tmp_path / name_for(writer), check=True)
    assert pipe.is_fifo()
    if writer != "export":  # zip archives differ when they cannot be seeked in
        assert got[0] == (tmp_path / name_for(writer)).read_bytes()


@pytest.mark.parametrize("letters", ["a" * 250, "あ" * 83])
def test_names_as_long_as_the_disk_takes(run, tmp_path, letters):
    path = tmp_path / f"{letters}.ecdc"
    run("tag", path, check=True)
    assert files_in(tmp_path) == [path.name]


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_two_spellings_of_one_output_are_one(ecdc, inputs, tmp_path, monkeypatch, one_line, command):
    suffix = "wav" if command == "encode" else "ecdc"
    for stem in ("a", "link"):
        (tmp_path / f"{stem}.{suffix}").write_bytes((inputs / f"tone.{suffix}").read_bytes())
    (tmp_path / "d").mkdir()
    monkeypatch.chdir(tmp_path)
    output = "a.wav" if command == "decode" else "a.ecdc"
    other = {"encode": "link.ecdc", "decode": "link.wav"}[command]
    (tmp_path / other).symlink_to(output)
    before = files_in(tmp_path)
    for second in (tmp_path / f"a.{suffix}", f"d/../a.{suffix}", f"./a.{suffix}", f"link.{suffix}"):
        assert "two inputs" in one_line(ecdc(command, f"a.{suffix}", second)), second
    assert files_in(tmp_path) == before


def test_no_input_is_written_over(ecdc, inputs, tmp_path, one_line):
    """Neither the second of several nor one under another spelling."""
    for name in ("a.ecdc", "b.ecdc"):
        (tmp_path / name).write_bytes((inputs / "tone.ecdc").read_bytes())
    (tmp_path / "link.ecdc").symlink_to("b.ecdc")
    before = (tmp_path / "b.ecdc").read_bytes()
    for output in ("b.ecdc", "link.ecdc"):
        line = one_line(ecdc("cat", tmp_path / "a.ecdc", tmp_path / "b.ecdc", "-o", tmp_path / output, "--force"))
        assert "is the input itself" in line
    assert (tmp_path / "b.ecdc").read_bytes() == before


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["info", "info --json", "tag", "decode --json -o {}/a.wav", "tag --set a=b -o -"])
def test_results_that_cannot_be_printed_are_a_failure(inputs, tmp_path, command):
    name, *options = command.format(tmp_path).split()
    with open("/dev/full", "wb") as full:
        run = [sys.executable, "-m", "ecdc.cli", name, str(inputs / "tagged.ecdc"), *options]
        done = subprocess.run(run, stdout=full, stderr=subprocess.PIPE, env=os.environ)
    assert done.returncode == 1 and done.stderr == b"ecdc: standard output: no space left on the disk\n"


def started(*args, **options):
    """The command in a process of its own that heeds signals, whoever started the tests."""

    def heed():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)

    command = [sys.executable, "-m", "ecdc.cli", *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ, preexec_fn=heed, **options)


@pytest.mark.parametrize(
    ("writer", "number"),
    [*((writer, signal.SIGTERM) for writer in ("encode", "decode", "decode mp3", "tag", "cat")), ("tag", signal.SIGHUP)],
)
def test_termination_is_an_interrupt_and_leaves_nothing(inputs, tmp_path, writer, number):
    """Input that does not end, on stdin; the signal comes while the output is being written."""
    command = {"tag": ["tag", "-", "--set", "a=b"], "cat": ["cat", "-"]}.get(writer, [writer.split()[0], "-"])
    suffix = {"decode": "wav", "decode mp3": "mp3"}.get(writer, "ecdc")
    target = tmp_path / f"a.{suffix}"
    target.write_bytes(b"old")
    child = started(*command, "-o", target, "--force")
    endless = wave_header(24_000, 1, None) + bytes(2 * 24_000 * 20)
    child.stdin.write(endless if writer == "encode" else (inputs / "tone.ecdc").read_bytes()[:-20])
    child.stdin.flush()
    deadline = time.monotonic() + 120
    while not any(p.name.endswith(".partial") for p in tmp_path.iterdir()) and time.monotonic() < deadline:
        assert child.poll() is None, child.stderr.read()
        time.sleep(0.02)
    child.send_signal(number)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130 and stderr.strip() == b"ecdc: interrupted; nothing partial was left behind"
    assert files_in(tmp_path) == [target.name] and target.read_bytes() == b"old"


def test_termination_during_imports_is_one_line(tmp_path):
    script = (
        "import signal, sys, importlib; import ecdc.cli.main as m\n"
        "m.import_module = lambda *a: signal.raise_signal(signal.SIGTERM)\n"
        "m.main(['encode', 'a.wav'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=os.environ)
    assert done.returncode == 130 and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_closed_standard_streams_are_named(inputs, closed):
    source, redirect = ("-", "<&-") if closed == "stdin" else (inputs / "tone.ecdc", ">&-")
    run = f"'{sys.executable}' -m ecdc.cli tag '{source}' --set a=b -o - {redirect}"
    done = subprocess.run(run, shell=True, stdin=subprocess.DEVNULL, capture_output=True, env=os.environ)
    name = {"stdin": "standard input", "stdout": "standard output"}[closed]
    assert done.returncode == 1 and done.stderr.decode().strip() == f"ecdc: {name}: is closed"


def test_no_file_takes_the_place_of_a_closed_stream(inputs, tmp_path):
    """What a library prints must not end up in an output that got the number of a stream."""
    script = (
        "import os, sys; from ecdc.cli.main import main\n"
        "from ecdc.format import files; real = files.publish\n"
        "def loud(*args, **more): os.write(1, b'noise'); os.write(2, b'noise'); real(*args, **more)\n"
        "files.publish = loud; main(sys.argv[1:])"
    )
    command = f"'{sys.executable}' -c \"$SCRIPT\" tag '{inputs}/tone.ecdc' --set a=b -o '{tmp_path}/a.ecdc' <&- >&- 2>&-"
    done = subprocess.run(command, shell=True, env=os.environ | {"SCRIPT": script})
    assert done.returncode == 0 and b"noise" not in (tmp_path / "a.ecdc").read_bytes()


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("option", ["peel --kbps", "encode --kbps", "encode --quality", "encode --chunk-seconds"])
def test_numbers_that_are_not_finite_are_wrong_usage(ecdc, inputs, tmp_path, option, value):
    command, name = option.split()
    done = ecdc(command, inputs / "tone.ecdc", f"{name}={value}", "-o", tmp_path / "a.ecdc")
    assert done.returncode == 2 and b"Traceback" not in done.stderr and not files_in(tmp_path)


def test_a_file_that_a_library_wrote_for_its_owner_alone_gets_the_usual_mode(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    with files.atomic_path(tmp_path / "a") as partial:
        partial.touch(mode=0o600)
    assert (tmp_path / "a").stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize(("n", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files")])
def test_a_noun_agrees_with_its_number(n, said):
    assert counted(n, "file") == said
