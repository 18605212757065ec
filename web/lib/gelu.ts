/** x times the normal distribution function, in float64, from a table, as codec/light/numpy_layers.py computes it. */

const STEPS = 512; // of the table, per unit
const RANGE = 9;

let tables: { below: Float64Array; density: Float64Array } | null = null;

/** The normal distribution function and its density at the places of the table. */
function normalTables() {
  if (tables) return tables;
  const n = 2 * RANGE * STEPS + 1;
  tables = { below: new Float64Array(n), density: new Float64Array(n) };
  for (let i = 0; i < n; i++) {
    const x = Math.abs(i / STEPS - RANGE);
    const density = Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);
    const above = x < 3 ? 0.5 - density * series(x) : density * fraction(x); // the part of the distribution beyond x
    tables.density[i] = density;
    tables.below[i] = i < RANGE * STEPS ? above : 1 - above;
  }
  return tables;
}

/** x + x^3 / 3 + x^5 / 15 + ...: the integral of the density from 0 to x, over the density. */
function series(x: number): number {
  let sum = 0;
  for (let term = x, n = 1; term > 1e-18; n += 2, term *= (x * x) / n) sum += term;
  return sum;
}

/** Mills' ratio as a continued fraction. */
function fraction(x: number): number {
  let value = x;
  for (let n = 120; n > 0; n--) value = x + n / value;
  return 1 / value;
}

/** Replace values by x P(x). */
export function gelu(values: Float64Array, n: number): void {
  const { below, density } = normalTables();
  for (let i = 0; i < n; i++) {
    const x = values[i];
    const inside = Math.min(Math.max(x, -RANGE), RANGE);
    const place = Math.round(inside * STEPS);
    const x0 = place / STEPS;
    const h = inside - x0;
    const product = x0 * h;
    const sum = h + h * ((product * product - h * h) / 6 - product / 2);
    values[i] = x * (below[place + RANGE * STEPS] + density[place + RANGE * STEPS] * sum);
  }
}
