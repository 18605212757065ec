"""Training audio: fetch it, pack it into memory maps, and draw windows from them."""
