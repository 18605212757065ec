"""The vocabulary of captions, and words that no caption uses."""

from __future__ import annotations

MOODS = {
    "happy": ("happy", "happy", "cheerful", "joyful", "upbeat", "merry"),
    "sad": ("sad", "sad", "melancholic", "sorrowful", "gloomy", "melancholy"),
    "calm": ("calm", "calm", "peaceful", "relaxing", "gentle", "soothing"),
    "energetic": ("energetic", "energetic", "powerful", "driving", "exciting", "high-energy"),
    "tense": ("tense", "tense", "suspenseful", "nervous", "anxious", "uneasy"),
    "dreamy": ("dreamy", "dreamy", "floating", "ethereal", "atmospheric"),
    "playful": ("playful", "playful", "funny", "bouncy", "cute", "light-hearted"),
    "dark": ("dark", "dark", "ominous", "sinister", "brooding"),
    "epic": ("epic", "epic", "heroic", "majestic", "triumphant", "stirring"),
    "romantic": ("romantic", "romantic", "tender", "loving", "warm"),
}
TEMPI = (  # words for tempi below that many beats per minute
    (76, ("very slow", "slow", "slow", "slow-paced")),
    (96, ("slow", "slow", "moderately slow", "down-tempo")),
    (116, ("mid-tempo", "moderate", "medium tempo", "medium-paced")),
    (136, ("fast", "swift", "up-tempo", "quick")),
    (999, ("very fast", "fast", "fast", "rapid", "fast-paced")),
)
DENSITIES = {"sparse": ("sparse", "minimal", "simple"), "medium": (), "busy": ("busy", "dense", "intricate")}
# (as a noun, as an adjective before another noun)
GENRES = {
    "ballad": (("ballad",), ("ballad",)),
    "waltz": (("waltz",), ("waltz",)),
    "lo-fi": (("lo-fi beat", "lo-fi track", "lofi music"), ("lo-fi", "lofi", "chillhop")),
    "ambient": (("ambient piece", "ambient music", "soundscape"), ("ambient",)),
    "folk": (("folk tune", "folk song", "folk music"), ("folk", "acoustic folk")),
    "jazz": (("jazz tune", "jazz piece", "swing"), ("jazz", "jazzy", "swinging")),
    "blues": (("blues",), ("blues", "bluesy")),
    "classical": (("classical piece", "classical music"), ("classical",)),
    "lullaby": (("lullaby", "cradle song"), ("lullaby",)),
    "march": (("march",), ("march", "marching", "military")),
    "pop": (("pop song", "pop track", "pop music"), ("pop",)),
    "rock": (("rock song", "rock track", "rock music"), ("rock",)),
    "techno": (("techno track", "techno", "club track"), ("techno", "electronic dance")),
    "disco": (("disco track", "disco"), ("disco", "dance")),
    "funk": (("funk track", "funk groove"), ("funk", "funky")),
    "cinematic": (("film score", "soundtrack", "cinematic piece"), ("cinematic", "film music", "orchestral")),
    "chiptune": (("chiptune", "video game music"), ("chiptune", "8-bit", "retro game")),
}
INSTRUMENTS = {
    "piano": ("piano", "piano", "piano", "grand piano", "keys"),
    "electric piano": ("electric piano", "electric piano", "rhodes", "keys"),
    "harpsichord": ("harpsichord",),
    "organ": ("organ", "organ", "hammond organ"),
    "church organ": ("church organ", "pipe organ", "organ"),
    "accordion": ("accordion",),
    "classical guitar": ("classical guitar", "nylon guitar", "guitar", "guitar"),
    "acoustic guitar": ("acoustic guitar", "steel guitar", "guitar", "guitar"),
    "electric guitar": ("electric guitar", "clean electric guitar", "guitar"),
    "distorted guitar": ("distorted guitar", "distorted electric guitar", "heavy guitar", "electric guitar"),
    "double bass": ("double bass", "acoustic bass", "bass"),
    "bass guitar": ("bass guitar", "electric bass", "bass"),
    "synth bass": ("synth bass", "bass synth", "bass"),
    "violin": ("violin", "violin", "fiddle"),
    "cello": ("cello",),
    "strings": ("strings", "string ensemble", "string section", "string orchestra"),
    "pizzicato strings": ("pizzicato strings", "plucked strings", "pizzicato"),
    "trumpet": ("trumpet", "trumpet", "brass"),
    "trombone": ("trombone", "trombone", "brass"),
    "french horn": ("french horn", "horn", "brass"),
    "brass section": ("brass section", "brass", "brass ensemble", "horns"),
    "saxophone": ("saxophone", "sax", "alto sax"),
    "oboe": ("oboe", "oboe", "woodwind"),
    "clarinet": ("clarinet", "clarinet", "woodwind"),
    "flute": ("flute", "flute", "woodwind"),
    "pan flute": ("pan flute", "pan pipes", "flute"),
    "square synth": ("square wave synth", "synth", "synth lead", "chip synth"),
    "saw synth": ("saw synth", "synth", "synth lead", "synthesizer"),
    "synth pad": ("synth pad", "pad", "synthesizer pad"),
    "choir": ("choir", "choir voices", "vocal choir"),
    "vibraphone": ("vibraphone", "vibes", "mallets"),
    "marimba": ("marimba", "mallets"),
    "music box": ("music box",),
    "harp": ("harp",),
    "koto": ("koto", "japanese koto"),
    "drums": ("drums", "drum kit", "percussion"),
    "drum machine": ("drum machine", "electronic drums", "drums", "beats"),
    "brushed drums": ("brushed drums", "soft drums", "drums"),
}
ROLES = {
    "melody": ("melody", "lead", "tune", "theme"),
    "chords": ("chords", "accompaniment", "harmonies"),
    "harmony": ("second voice", "accompaniment"),
    "bass": ("bass line", "bass"),
    "drums": ("beat", "rhythm"),
    "arpeggio": ("arpeggios", "arpeggio"),
    "pad": ("background", "pad", "long chords"),
}
NOUNS = ("piece", "music", "tune", "track", "instrumental")
DRUM_NOUNS = ("beat", "groove", "loop", "pattern")
# Words that take no article.
UNCOUNTABLE = {
    "music", "drums", "strings", "beats", "keys", "horns", "vibes", "mallets", "percussion", "techno", "blues", "brass",
    "voices", "pipes", "chords", "harmonies", "arpeggios",
}  # fmt: skip
# Synonyms that no template uses but that users may write, reserved for evaluation.
HELD_OUT = {
    "happy": ("jubilant", "sunny", "gleeful"),
    "sad": ("mournful", "wistful", "heartbroken"),
    "calm": ("tranquil", "serene", "laid-back"),
    "energetic": ("vigorous", "adrenaline"),
    "tense": ("nerve-racking", "edgy"),
    "dreamy": ("otherworldly", "hazy"),
    "playful": ("mischievous", "whimsical"),
    "dark": ("menacing", "sombre"),
    "epic": ("monumental", "glorious"),
    "romantic": ("amorous", "affectionate"),
    "slow": ("unhurried", "leisurely", "sluggish"),
    "fast": ("brisk", "speedy", "hurried"),
    "piano": ("pianoforte", "steinway"),
    "guitar": ("strummed six-string",),
    "strings": ("violas", "string quartet"),
    "drums": ("drumming", "drum set"),
    "flute": ("piccolo", "recorder"),
    "brass": ("bugle", "tuba"),
    "synth": ("moog", "electronic keyboard"),
    "saxophone": ("tenor horn",),
}
