"""Code that only the original EnCodec's files need."""
