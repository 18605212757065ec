"""Train a small MusicGen: compose and render labelled music, write captions, and make tokens."""
