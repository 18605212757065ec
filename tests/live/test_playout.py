"""Playing on a clock: what is missing when it is due is concealed at once, and the sound keeps its pace and its length.

The clock is simulated: each test tells when packets arrive, and asks every 5 ms for the audio that is due.
"""

import numpy as np
import pytest
from ecdc.format.packets import FRAME_NUMBERS, End, decode_end
from ecdc.live import Decoder, Encoder, Playout
from ecdc.live.concealment import FADE_END
from sounds import RATE, sound

HOP = 320
FRAME = HOP / RATE  # seconds
STEP = 0.005  # seconds


def packets_of(seconds, **settings):
    """(when it is sent, packet) of a stream, and its end."""
    wav = sound(round(seconds * RATE))
    encoder = Encoder("nano-24k", **settings)
    packets = encoder.push(wav, last=True)
    return [(i * encoder.frames_per_packet * FRAME, packet) for i, packet in enumerate(packets)], decode_end(encoder.end)


def simulate(arrivals, end=None, seconds=None, **settings):
    """Let (when, packet) arrive and `end` after them; the playout, and the number of samples and the audio after every step."""
    playout = Playout(Decoder("nano-24k"), **settings)
    waiting, parts, times = sorted(arrivals), [np.zeros((1, 0), np.float32)], []
    last = waiting[-1][0] + 0.01
    for step in range(round((seconds or last + 2) / STEP)):
        now = step * STEP
        while waiting and waiting[0][0] <= now:
            playout.put(waiting.pop(0)[1], now)
        if end and now >= last:
            playout.end(end, now)
            end = None
        parts += playout.play(now)
        times.append(sum(part.shape[1] for part in parts))
    return playout, np.array(times), np.concatenate([*parts, playout.decoder.finish()], axis=1)


def test_frames_that_do_not_come_are_concealed_when_they_are_due():
    packets, _ = packets_of(1.0)
    playout, times, audio = simulate(packets[:20], seconds=1.4, delay=0.05)
    began = int(np.argmax(times > 0)) * STEP
    played = times / RATE
    expected = np.arange(len(times)) * STEP - began
    after = expected > 0.1
    assert np.abs(played - expected)[after].max() < 0.1, "the sound keeps its pace, also without packets"
    assert playout.decoder.statistics.concealed > 30
    fade = 20 * 2 * HOP + round((FADE_END + 3 * FRAME) * RATE)
    assert not audio[:, fade:].any() and audio[:, : 40 * HOP].any()


@pytest.mark.parametrize("first_frame", [0, FRAME_NUMBERS - 31])
@pytest.mark.parametrize("delay", [None, 0.1])
def test_losses_jitter_and_repetitions_change_no_length(delay, first_frame):
    packets, end = packets_of(2.0, first_frame=first_frame, copied_frames=2)
    rng = np.random.default_rng(3)
    kept = [packets[0]] + [(at + 0.08 * rng.random(), p) for at, p in packets[1:] if rng.random() > 0.2]
    twice = [(at + 0.03, packet) for at, packet in kept[::4]]
    playout, _, audio = simulate([*kept, *twice], end, delay=delay)
    found = playout.decoder.statistics
    assert playout.is_over and audio.shape[1] == 48_000
    assert found.received + found.copied + found.concealed == 150
    assert found.played + found.late + found.repeated == len(kept) + len(twice)
    assert found.copied > 5 and found.jumps == 0 and found.damaged == 0


def test_a_copy_is_used_if_it_comes_in_time():
    packets, end = packets_of(1.0, copied_frames=2)
    some = [packet for i, packet in enumerate(packets) if i % 4 != 2]
    for delay, is_copied in [(0.0, False), (2 * FRAME + 2 * STEP, True), (None, True)]:
        found = simulate(some, end, delay=delay)[0].decoder.statistics
        assert (found.copied > 15, found.concealed > 15) == (is_copied, not is_copied)


def test_late_packets_are_counted_and_not_played():
    packets, end = packets_of(1.0)
    late = [(at + (0.2 if i == 10 else 0), packet) for i, (at, packet) in enumerate(packets)]
    found = simulate(late, end, delay=0.05)[0].decoder.statistics
    assert (found.late, found.concealed, found.received) == (1, 2, 73)


@pytest.mark.parametrize(("pause", "delay"), [(0.2, 0.02), (0.2, None), (1.5, 0.02), (1.5, None)])
def test_a_sender_that_pauses_is_heard_again(pause, delay):
    packets, end = packets_of(1.6)
    paused = [(at + (pause if i > 15 else 0), packet) for i, (at, packet) in enumerate(packets)]
    playout, _, _ = simulate(paused, end, delay=delay)
    assert playout.is_over, "the end is recognised"
    assert playout.decoder.statistics.received > 60


@pytest.mark.parametrize("speed", [2, 3, 50])
def test_a_sender_that_catches_up_after_a_pause_changes_no_length(speed):
    packets, end = packets_of(5.0)
    paused = [(at if at < 0.5 or at > 4 else max(at, 2 + (at - 0.5) / speed), packet) for at, packet in packets]
    playout, _, audio = simulate(paused, end, delay=0.05)
    assert playout.is_over and audio.shape[1] == 5 * RATE
    assert playout.decoder.statistics.jumps == 0 and playout.decoder.statistics.late > 20


def test_a_sender_that_starts_anew_is_followed():
    packets, _ = packets_of(2.0)
    again = [(at + 2.5, packet) for at, packet in packets]
    found = simulate([*packets, *again], delay=0.05)[0].decoder.statistics
    assert found.jumps == 1 and found.received > 225


@pytest.mark.parametrize("slower", [2.0, 8.0])
def test_a_sender_that_stays_too_slow_is_heard_in_parts(slower):
    packets, _ = packets_of(4.0)
    late = [(at if at < 0.5 else 0.5 + slower * (at - 0.5), packet) for at, packet in packets]
    found = simulate(late, delay=0.05)[0].decoder.statistics
    assert found.jumps >= 8 and found.played > 35, "packets that come later and later count as a stream of their own"


def test_a_hole_in_the_network_is_silence_as_long_as_it_lasts():
    packets, end = packets_of(4.0)
    kept = packets[:30] + packets[-30:]
    playout, _, audio = simulate(kept, end, delay=0.05)
    assert playout.is_over and audio.shape[1] == 4 * RATE
    assert np.square(audio[:, -20 * HOP :]).mean() > 0.3 * np.square(audio[:, 2000 : 20 * HOP]).mean()


def test_packets_from_nowhere_cost_no_time_and_no_memory():
    packets, end = packets_of(1.0)
    far, _ = packets_of(0.05, first_frame=30_000)
    playout, _, audio = simulate([*packets, (0.4, far[0][1])], end, delay=0.05)
    assert audio.shape[1] == RATE and playout.decoder.statistics.late == 1
    assert not playout.end(End(20_000, 1 << 40), 1.0) or playout.is_over
    playout = Playout(Decoder("nano-24k"), delay=10.0)
    for _, packet in packets * 40:
        playout.put(packet, 0.0)
    assert len(playout.buffer) <= len(packets)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_raises(seed):
    rng = np.random.default_rng(seed)
    packets, _ = packets_of(0.6, copied_frames=seed % 3)
    playout, total = Playout(Decoder("nano-24k"), [None, 0.05][seed % 2]), 0
    for at, packet in packets:
        now = at + 0.5 * rng.random()
        data = bytearray(packet)
        for _ in range(rng.integers(0, 4)):
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        playout.put(bytes(data[: rng.integers(0, len(data) + 1)]) if rng.random() < 0.2 else bytes(data), now)
        if rng.random() < 0.1:
            playout.end(End(int(rng.integers(FRAME_NUMBERS)), int(rng.integers(1 << 40))), now)
        for audio in playout.play(now):
            total += audio.shape[1]
            assert np.isfinite(audio).all()
    assert total < 10 * RATE
