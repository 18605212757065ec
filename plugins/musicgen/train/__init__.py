"""Teaching a small MusicGen: labelled music composed and rendered here, its captions, and its tokens."""
