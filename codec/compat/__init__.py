"""What only the original EnCodec's files need."""
