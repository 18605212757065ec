"""A generator of tokens: a class with a header and blocks. The container's writer does the rest.

python examples/generator.py song.ecdc endless.ecdc

This one repeats the second half of a file again and again, a tenth of a second at a time. To offer a generator as
`ecdc generate --generator NAME`, name a function that returns such an object in an entry point of the group
`ecdc.generators`.
"""

import dataclasses
import sys

import ecdc
from ecdc.plugins.generators import write

REPEATS = 4


class Repeater:
    """Tokens of a file, then its second half REPEATS times."""

    def __init__(self, path):
        with ecdc.open(path) as file:
            self.codes, self._header = file.codes(0, file.frames), file.header  # uint16 [K, T]

    def header(self):
        """The file's header without its lengths: they are not known yet."""
        return dataclasses.replace(self._header, n_samples=None, original_n_samples=None)

    def blocks(self):
        """Codes as they are finished: uint16 [K, t]."""
        yield self.codes
        half = self.codes[:, self.codes.shape[1] // 2 :]
        for _ in range(REPEATS):
            for start in range(0, half.shape[1], 8):
                yield half[:, start : start + 8]


def main(source, target):
    with open(target, "wb") as file:
        write(Repeater(source), file)


if __name__ == "__main__":
    main(*sys.argv[1:])
