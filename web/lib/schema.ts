/** Limits and numbers of the container, as in SPEC.md. */

export const MAGIC = Uint8Array.of(0x45, 0x43, 0x44, 0x43);
export const SYNC = Uint8Array.of(0xec, 0xdc, 0x93, 0x6b);
export const MAJOR = 1;
export const UNKNOWN = 2n ** 64n - 1n; // a length that only the END chunk holds
export const MAX_LENGTH = 2 ** 48; // samples or frames
export const MAX_RATE = 2 ** 24; // Hz
export const MAX_HOP = 2 ** 24; // samples per frame
export const MAX_CODEBOOK_SIZE = 2 ** 16; // V
export const MAX_HEADER = 2 ** 16 - 1; // bytes
export const MAX_TAGS = 255;
export const DIGEST_SIZE = 32; // bytes
export const MAX_CHUNK_FRAMES = 2 ** 16 - 1;
export const MAX_CHUNK_CODES = 2 ** 22;
export const MAX_PRIOR_CODES = 2 ** 18;
export const MAX_BODY = 2 ** 23 + 2 ** 10; // bytes
export const HEAD_SIZE = 14; // bytes of a chunk before its body
export const CRC_SIZE = 4;
export const END_SIZE = 4;
export const SPAN_SIZE = 10; // first_frame and n_frames
export const INDEX_ENTRY = 6; // bytes

export const MONO = 0;
export const LEFT_RIGHT = 1;
export const MID_SIDE = 2;
export const JOINT = 3;
export const RAW = 0;
export const PRIOR = 1;
export const CODES = 1;
export const END = 2;
export const HAS_SCALE = 1;

/** The names of the channel codings. */
export const CODINGS = ["MONO", "LEFT_RIGHT", "MID_SIDE", "JOINT"] as const;

/** Number of token streams for each channel coding. */
export const N_STREAMS = [1, 2, 2, 1] as const;
