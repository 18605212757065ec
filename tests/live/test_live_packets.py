"""Live packets: the codes and the audio are those of the codec, losses are concealed, and nothing on a network raises."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from ecdc.codec.runtime import shared
from ecdc.format import WrongModel
from ecdc.format.errors import ArgumentError, ClosedError, EcdcError
from ecdc.format.packets import FRAME_NUMBERS, End, decode_end, decode_packet, encode_end, encode_packet
from ecdc.live import Decoder, Encoder, JitterBuffer, Playout, describe
from ecdc.live.concealment import FADE_END, METHODS
from ecdc.live.decoder import MAX_GAP
from ecdc.live.udp import Faults
from sounds import RATE, sound

HOP = 320


def packets_of(wav, blocks=(1000,), **settings):
    encoder = Encoder("nano-24k", channels=len(wav), **settings)
    found, at, i = [], 0, 0
    while at < wav.shape[1]:
        size = blocks[i % len(blocks)]
        found += encoder.push(wav[:, at : at + size])
        at, i = at + size, i + 1
    return encoder, found + encoder.push(wav[:, :0], last=True)


def decoded(packets, **settings):
    decoder = Decoder("nano-24k", **settings)
    parts = [decoder.push(packet) for packet in packets]
    return decoder, np.concatenate([*parts, decoder.finish()], axis=1)


@pytest.mark.parametrize(("frames", "blocks"), [(1, (320,)), (2, (7, 1000, 0)), (6, (5000,))])
def test_codes_and_audio_are_those_of_the_codec(frames, blocks):
    wav, codec = sound(5000), shared("nano-24k")
    encoder, packets = packets_of(wav, blocks, frames_per_packet=frames)
    codes = np.concatenate([decode_packet(packet, encoder.header).codes for packet in packets], axis=1)
    np.testing.assert_array_equal(codes, codec.encode(wav[None], kbps=6)[0])
    assert decode_end(encoder.end) == End(codes.shape[1], 5000)
    decoder, audio = decoded(packets)
    np.testing.assert_allclose(audio, codec.decode(codes[None])[0], atol=2e-5)
    assert decoder.statistics.received == codes.shape[1] and decoder.statistics.concealed == 0


def test_stereo_is_mid_and_side():
    wav = sound(4000, channels=2)
    encoder, packets = packets_of(wav, kbps=8, copied_frames=3)
    _, audio = decoded(packets, header=encoder.header)
    assert audio.shape == (2, -(-4000 // HOP) * HOP)
    assert decode_packet(packets[2], encoder.header).copied.shape == (4, 3)
    assert np.corrcoef(audio[0, 1000:3500], wav[0, 1000:3500])[0, 1] > 0.9


def test_a_copy_is_the_coarse_code_of_the_frames_before():
    encoder, packets = packets_of(sound(6000), copied_frames=5, copied_codebooks=3)
    read = [decode_packet(packet, encoder.header) for packet in packets]
    codes = np.concatenate([packet.codes for packet in read], axis=1)
    assert not read[0].copied.size
    for packet in read[1:]:
        first = packet.first_frame
        np.testing.assert_array_equal(packet.copied, codes[:3, max(0, first - 5) : first])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("asks", [False, True], ids=["gap", "None"])
def test_the_length_is_kept_whatever_is_lost(method, asks):
    wav = sound(16_000)
    _, packets = packets_of(wav)
    rng = np.random.default_rng(1)
    kept = [packet if rng.random() > 0.3 or i in (0, len(packets) - 1) else None for i, packet in enumerate(packets)]
    decoder, audio = decoded([p for p in kept if asks or p is not None], concealment=method)
    assert audio.shape[1] == 50 * HOP
    assert decoder.statistics.concealed == 2 * kept.count(None)
    whole = decoded(packets)[1]
    steepest = 4 if method == "likely" else 3  # likely frames are noise, which is steeper than the tones of `sound`
    assert np.abs(np.diff(audio)).max() < steepest * np.abs(np.diff(whole)).max(), "no clicks"


def test_a_copy_fills_the_gap():
    wav = sound(16_000)
    _, plain = packets_of(wav)
    _, copied = packets_of(wav, copied_frames=4, copied_codebooks=4)
    whole, errors = decoded(plain)[1], []
    for packets in (plain, copied):
        decoder, audio = decoded([packet for i, packet in enumerate(packets) if i % 5 != 3])
        errors.append(np.square(audio - whole).sum())
    assert decoder.statistics.copied == 10 and decoder.statistics.concealed == 0
    assert errors[1] < errors[0]


def test_a_long_gap_fades_to_silence_and_the_sound_comes_back():
    _, packets = packets_of(sound(24_000))
    decoder = Decoder("nano-24k")
    before = np.concatenate([decoder.push(packet) for packet in packets[:15]], axis=1)
    gap = np.concatenate([decoder.push(None) for _ in range(15)], axis=1)
    after = np.concatenate([decoder.push(packet) for packet in packets[30:]], axis=1)
    silent = gap[:, round(FADE_END * RATE) + 2 * HOP :]
    assert silent.shape[1] > HOP and not silent.any()
    assert np.sqrt(np.square(after[:, 2 * HOP :]).mean()) > 0.5 * np.sqrt(np.square(before).mean())


def test_late_repeated_and_reordered_packets_give_no_sound_twice():
    _, packets = packets_of(sound(16_000))
    order = list(range(len(packets)))
    order[5], order[6] = order[6], order[5]
    order.insert(12, 10)
    decoder, audio = decoded([packets[i] for i in order])
    assert audio.shape[1] == 50 * HOP
    assert decoder.statistics.late == 2 and decoder.statistics.concealed == 2


def test_numbers_wrap_around():
    encoder, packets = packets_of(sound(9600))
    read = [decode_packet(packet, encoder.header) for packet in packets]
    start = FRAME_NUMBERS - 11
    moved = [encode_packet(type(p)((start + p.first_frame) % FRAME_NUMBERS, p.codes, p.n_codebooks, p.copied), encoder.header)
             for p in read]  # fmt: skip
    moved.pop(6)
    decoder, audio = decoded(moved)
    assert audio.shape[1] == 30 * HOP and decoder.statistics.concealed == 2


def test_a_sender_that_starts_anew_is_followed():
    _, packets = packets_of(sound(16_000))
    decoder, _ = decoded([*packets, *packets])
    assert decoder.statistics.jumps == 1 and decoder.statistics.received > 90


def test_a_far_jump_costs_a_bounded_time():
    encoder, packets = packets_of(sound(3200))
    far = decode_packet(packets[-1], encoder.header)
    far = encode_packet(type(far)(20_000, far.codes, far.n_codebooks, far.copied), encoder.header)
    decoder, audio = decoded([packets[0], far, encode_end(End(40_000, 1 << 40))])
    assert audio.shape[1] <= (MAX_GAP + 10) * HOP and decoder.statistics.jumps == 1


def test_the_end_fills_the_gap_before_it():
    encoder, packets = packets_of(sound(6400))
    decoder, audio = decoded([*packets[:-2], encoder.end])
    assert audio.shape[1] == 20 * HOP and decoder.statistics.concealed == 4


def test_the_bitrate_may_change_between_blocks():
    wav, encoder = sound(8000), Encoder("nano-24k", kbps=6)
    packets = encoder.push(wav[:, :4000])
    encoder.kbps = 1.5
    packets += encoder.push(wav[:, 4000:], last=True)
    assert len(packets[-2]) < len(packets[0]) / 2
    assert decoded(packets)[1].shape[1] == 25 * HOP


@pytest.mark.parametrize("seed", range(30))
def test_no_packet_raises(seed):
    rng = np.random.default_rng(seed)
    encoder, packets = packets_of(sound(4000, seed=seed), copied_frames=seed % 3)
    decoder = Decoder("nano-24k")
    for packet in [*packets, encoder.description, encoder.end]:
        damaged = bytearray(packet)
        for _ in range(rng.integers(0, 4)):
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        cut = bytes(damaged[: rng.integers(0, len(damaged) + 1)]) if rng.random() < 0.3 else bytes(damaged)
        audio = decoder.push(cut if rng.random() < 0.9 else None)
        assert audio.shape[1] <= (MAX_GAP + 80) * HOP and np.isfinite(audio).all()


def test_before_the_first_packet_there_is_silence():
    decoder = Decoder("nano-24k")
    assert decoder.push(None).shape == (1, HOP) and not decoder.push(b"").any()
    assert decoder.finish().shape == (1, 0)


@pytest.mark.parametrize("samples", [np.full(960, 9000, np.int16), [1, 2, 3], np.zeros(960, bool)])
def test_integers_are_no_samples(samples):
    """Sixteen-bit samples taken as floats would be coded as noise far beyond full scale."""
    with pytest.raises(ArgumentError, match="floats with full scale at 1"):
        Encoder("nano-24k").push(samples)


def test_bad_arguments_are_one_line():
    for settings in ({"frames_per_packet": 7}, {"copied_frames": 65}, {"copied_codebooks": 0}, {"entropy": "best"},
                     {"kbps": 0.1}, {"channels": 3}):  # fmt: skip
        with pytest.raises(ArgumentError):
            Encoder("nano-24k", **settings)
    with pytest.raises(ArgumentError, match="samples must be"):
        Encoder("nano-24k").push(np.zeros((2, 5)))
    with pytest.raises(ArgumentError, match="concealment"):
        Decoder("nano-24k", concealment="magic")
    header = dataclasses.replace(describe(shared("nano-24k"), entropy="none"), token_space=bytes(32))
    with pytest.raises(WrongModel):
        Decoder("nano-24k", header)


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 1), (0.2, 1), (0.1, 4)])
def test_faults_are_as_frequent_and_as_long_as_asked(loss, burst):
    faults = Faults(loss, burst, seed=3)
    lost = np.array([faults.loses() for _ in range(40_000)])
    assert abs(lost.mean() - loss) < 0.15 * loss
    starts = (lost & ~np.r_[False, lost[:-1]]).sum()
    assert abs(lost.sum() / starts - (burst if burst > 1 else 1 / (1 - loss))) < 0.15 * burst


def test_a_jitter_buffer_puts_packets_in_order_and_holds_them():
    buffer = JitterBuffer(0.02, delay=0.1)
    for number, now in [(0, 0.0), (2, 0.05), (1, 0.06), (65_535, 0.07)]:
        buffer.put(number, bytes([number % 256]), now)
    assert buffer.take(0.05) is None
    taken = [buffer.take(0.145) for _ in range(4)]
    assert taken == [b"\xff", b"\0", b"\1", b"\2"] and buffer.wait(1.0) is None


def test_an_adaptive_buffer_waits_as_long_as_packets_are_late():
    rng, buffer = np.random.default_rng(0), JitterBuffer(0.02)
    for number in range(300):
        buffer.put(number, b"", 0.02 * number + 0.05 * rng.random())
        while buffer.take(0.02 * number) is not None:
            pass
    assert 0.04 < buffer.delay < 0.055


def test_a_buffer_is_bounded():
    buffer = JitterBuffer(0.02, delay=10.0)
    for number in range(5000):
        buffer.put(number % FRAME_NUMBERS, b"", 0.0)
    assert len(buffer) <= 512


def test_a_refused_block_counts_as_not_pushed():
    """The end would otherwise promise samples that were never coded."""
    wav = sound(4000)
    encoder, plain = Encoder("nano-24k"), Encoder("nano-24k")
    found, wanted = encoder.push(wav[:, :1500]), plain.push(wav[:, :1500])
    bad = [np.full(700, np.nan), np.full((1, 700), 1e39), np.zeros(700, np.int16), np.zeros((2, 700)), [[0.1], [0.2, 0.3]]]
    for block in bad:
        with pytest.raises(ArgumentError, match="samples must be"):
            encoder.push(block)
    for kbps in (0.01, "6", None, float("nan")):
        encoder.kbps = kbps
        with pytest.raises(ArgumentError, match="kbps"):
            encoder.push(wav[:, 1500:])
    encoder.kbps = 6.0
    assert encoder.n_samples == 1500
    assert found + encoder.push(wav[:, 1500:]) + encoder.finish() == wanted + plain.push(wav[:, 1500:]) + plain.finish()
    for call in (encoder.finish, lambda: encoder.push(wav)):
        with pytest.raises(ClosedError):
            call()
    assert decode_end(encoder.end).n_samples == 4000


def test_what_is_no_setting_is_refused_in_one_line():
    """Two frames and a half would never be sent: the packet would wait for them, and grow."""
    decoder = Decoder("nano-24k")
    names = "frames_per_packet", "copied_frames", "copied_codebooks", "first_frame", "channels"
    calls = [partial(Encoder, "nano-24k", **{name: value}) for name in names for value in (2.5, "2", None, [], 1j)]
    calls += [partial(Encoder, "nano-24k", kbps=value) for value in ("6", None, float("nan"), [6])]
    calls += [partial(kind, value) for kind in (Encoder, Decoder, describe) for value in (3, None)]
    calls += [partial(Decoder, "nano-24k", 3), partial(describe, "nano-24k", 1, "x")]
    calls += [partial(decoder.push, value) for value in ("x", 3, np.zeros(3, np.uint8), [1, 2])]
    calls += [partial(decoder.conceal, value) for value in (-1, 1.5, "x")]
    calls += [partial(JitterBuffer, *value) for value in ((float("nan"),), (0.02, float("nan")), ("x",), (float("inf"),))]
    calls += [partial(Playout, *value) for value in ((3,), (decoder, float("nan")), (decoder, None, 0), (decoder, None, "x"))]
    playout = Playout(decoder)
    calls += [partial(playout.put, b"x", value) for value in (float("nan"), "x", None)]
    calls += [lambda value=value: list(playout.play(value)) for value in (float("nan"), "x", None)]
    for call in calls:
        with pytest.raises(EcdcError) as caught:
            call()
        assert "\n" not in str(caught.value), call
    assert decoder.push(bytearray(b"x")).shape == (1, 0) and decoder.statistics.damaged == 1


def test_a_decoder_that_is_finished_says_so():
    _, packets = packets_of(sound(2000))
    decoder = Decoder("nano-24k")
    for packet in packets:
        decoder.push(packet)
    decoder.finish()
    for call in (decoder.finish, lambda: decoder.push(None)):
        with pytest.raises(ClosedError):
            call()
