"""Live audio in packets: encode blocks as they come, and decode packets of which some are lost, late or damaged.

>>> from ecdc.live import Decoder, Encoder
>>> encoder, decoder = Encoder("nano-48k", kbps=6, frames_per_packet=2), Decoder("nano-48k")
>>> packets = encoder.push(samples) + encoder.finish()  # doctest: +SKIP
>>> audio = [decoder.push(packet) for packet in packets]  # doctest: +SKIP

docs/live.md says how to choose the settings; SPEC.md, section 10, describes the bytes.
"""

from .decoder import Decoder as Decoder
from .decoder import Statistics as Statistics
from .encoder import Encoder as Encoder
from .encoder import describe as describe
from .jitter import JitterBuffer as JitterBuffer
from .playout import Playout as Playout
