/** CRC-32C (Castagnoli), the checksum of headers, chunks and token streams. */

const POLYNOMIAL = 0x82f63b78; // 0x1EDC6F41 with its bits reversed

const TABLES = Array.from({ length: 4 }, () => new Uint32Array(256));
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  TABLES[0][byte] = value >>> 0;
}
for (let k = 1; k < 4; k++) {
  for (let byte = 0; byte < 256; byte++) {
    const before = TABLES[k - 1][byte];
    TABLES[k][byte] = TABLES[0][before & 0xff] ^ (before >>> 8);
  }
}

/** Return the CRC-32C of `data`, continued from `crc`, that of the bytes before it. */
export function crc32c(data: Uint8Array, crc = 0): number {
  const [t0, t1, t2, t3] = TABLES;
  let value = ~crc;
  let i = 0;
  for (; i + 4 <= data.length; i += 4) {
    value ^= data[i] | (data[i + 1] << 8) | (data[i + 2] << 16) | (data[i + 3] << 24);
    value = t3[value & 0xff] ^ t2[(value >>> 8) & 0xff] ^ t1[(value >>> 16) & 0xff] ^ t0[value >>> 24];
  }
  for (; i < data.length; i++) value = t0[(value ^ data[i]) & 0xff] ^ (value >>> 8);
  return ~value >>> 0;
}
