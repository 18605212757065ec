"""Encode a recording into a token file, and decode it again.

python examples/files.py talk.flac talk.ecdc back.wav
"""

import sys

import ecdc


def main(source, coded, target):
    codec = ecdc.load("nano-48k")  # load once, use for many files
    result = ecdc.encode_file(source, coded, codec, kbps=6)
    print(f"{coded}: {result.seconds:.1f} s, {result.n_bytes} bytes, {result.kbps:.2f} kbps")
    ecdc.decode_file(coded, target, codec)


if __name__ == "__main__":
    main(*sys.argv[1:])
