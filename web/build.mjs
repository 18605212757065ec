// Build everything that a page needs into dist/: npm run build.
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = fileURLToPath(new URL(".", import.meta.url));
const run = (tool, ...options) => execFileSync(process.execPath, [`${here}node_modules/${tool}`, ...options], { cwd: here, stdio: "inherit" });

rmSync(`${here}dist`, { recursive: true, force: true });
mkdirSync(`${here}dist/ort`, { recursive: true });
run("typescript/bin/tsc", "-p", ".");
for (const source of ["prior/prior", "kernels/nearest", "kernels/product"]) {
  for (const [suffix, option] of [["", "--enable"], ["_scalar", "--disable"]]) {
    const out = `dist/${source.split("/")[1]}${suffix}.wasm`;
    run("assemblyscript/bin/asc.js", `${source}.ts`, "-O3", "--noAssert", "--runtime", "stub", option, "simd", "-o", out);
  }
}
const ort = `${here}node_modules/onnxruntime-web/dist/`;
for (const name of ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]) copyFileSync(ort + name, `${here}dist/ort/${name}`);
// Servers that can send the compressed file do: a quarter of the bytes.
const runtime = readFileSync(`${here}dist/ort/ort-wasm-simd-threaded.wasm`);
writeFileSync(`${here}dist/ort/ort-wasm-simd-threaded.wasm.gz`, gzipSync(runtime, { level: 9 }));
cpSync(`${here}demo`, `${here}dist`, { recursive: true, filter: (name) => !name.endsWith(".ts") });
writeFileSync(`${here}dist/.built`, ""); // last: whoever finds it finds all of the rest
