"""Files on servers: only the necessary parts are loaded, and what a server does wrong is one sentence."""

import numpy as np
from cases import make_header
from ecdc.format import Writer


def test_servers_good_and_bad(bare_node, tmp_path):
    path = tmp_path / "long.ecdc"
    codes = np.random.default_rng(0).integers(0, 1024, (8, 60_000))
    with path.open("wb") as stream, Writer(stream, make_header()) as writer:
        writer.append(codes)
    lines = {line.pop("name"): line for line in bare_node("sources.mjs", path)}
    size = path.stat().st_size
    wanted = {"nFrames": 60_000, "first": 30_000}
    assert size > 500_000 and lines["/ranges"].pop("asked") <= 4 * 65_536
    assert lines.pop("/ranges") == wanted and lines.pop("/whole") == {**wanted, "asked": 0}
    texts = {
        "/changes": "changed on the server", "/short": "fewer bytes", "/huge": "no range requests",
        "/breaks": "connection ended", "/missing": "answered 404",
    }  # fmt: skip
    assert lines.keys() == texts.keys()
    for name, text in texts.items():
        assert lines[name]["kind"] == "Unavailable" and text in lines[name]["sentence"], lines[name]
