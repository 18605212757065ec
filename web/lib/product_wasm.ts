/** Products of matrices in WebAssembly (kernels/product.ts), in float64. */

interface Exports {
  memory: WebAssembly.Memory;
  product(out: number, x: number, w: number, bias: number, nRows: number, k: number, n: number): void;
}

/** A matrix [n, k] in float32, with or without a bias [n], in the memory of WebAssembly. */
export interface Matrix {
  at: number;
  bias: number; // place, or 0
  n: number; // even
  k: number; // even
}

/** An array [rows, width] in the memory of WebAssembly. */
export class Rows {
  private view = new Float64Array(0);

  constructor(
    private readonly memory: WebAssembly.Memory,
    readonly at: number,
    private readonly n: number,
    readonly width: number, // even
  ) {}

  /** The numbers as the memory holds them now: take them again after anything was placed in it. */
  get values(): Float64Array {
    if (this.view.buffer !== this.memory.buffer) this.view = new Float64Array(this.memory.buffer, this.at, this.n * this.width);
    return this.view;
  }
}

const PAGE = 65536;

export class Products {
  private free: number;

  private constructor(private readonly wasm: Exports) {
    this.free = wasm.memory.buffer.byteLength;
  }

  /** `bytes` are those of product.wasm or product_scalar.wasm. */
  static async create(bytes: BufferSource): Promise<Products> {
    const { instance } = await WebAssembly.instantiate(bytes, {});
    return new Products(instance.exports as unknown as Exports);
  }

  /** Place weights [n, k], side by side, and a bias. */
  matrix(weights: readonly { values: Float32Array; k: number }[], bias: Float32Array | null): Matrix {
    const n = weights[0].values.length / weights[0].k;
    const k = weights.reduce((sum, part) => sum + part.k, 0);
    const width = k + (k & 1);
    const height = n + (n & 1);
    const at = this.alloc(4 * width * height);
    const place = bias ? this.alloc(8 * height) : 0;
    const all = new Float32Array(this.wasm.memory.buffer, at, width * height);
    let first = 0;
    for (const part of weights) {
      for (let row = 0; row < n; row++) all.set(part.values.subarray(row * part.k, (row + 1) * part.k), row * width + first);
      first += part.k;
    }
    if (bias) new Float64Array(this.wasm.memory.buffer, place, n).set(bias);
    return { at, bias: place, n: height, k: width };
  }

  /** Make an array of zeros. */
  rows(n: number, width: number): Rows {
    const even = width + (width & 1);
    return new Rows(this.wasm.memory, this.alloc(8 * n * even), n, even);
  }

  /** Write the first rows of x times a matrix to `out`. */
  run(out: Rows, x: Rows, matrix: Matrix, nRows: number): void {
    this.wasm.product(out.at, x.at, matrix.at, matrix.bias, nRows, matrix.k, matrix.n);
  }

  private alloc(size: number): number {
    const at = this.free;
    this.free += (size + 15) & ~15;
    const missing = this.free - this.wasm.memory.buffer.byteLength;
    if (missing > 0) this.wasm.memory.grow(Math.ceil(missing / PAGE));
    return at;
  }
}
