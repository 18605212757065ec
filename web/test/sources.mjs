// node sources.mjs FILE: read a file from servers with and without range requests, and print what goes wrong with bad ones.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { Reader } from "../dist/lib/reader.js";
import { sentence } from "../dist/lib/errors.js";
import { RangeSource } from "../dist/lib/sources.js";

const [path] = process.argv.slice(2);
const data = readFileSync(path);
let asked = 0; // bytes sent
const answers = {
  "/ranges": (request, response) => {
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range);
    const part = data.subarray(Number(first), Number(last) + 1);
    asked += part.length;
    response.writeHead(206, { "Content-Range": `bytes ${first}-${Number(first) + part.length - 1}/${data.length}`, ETag: '"1"' }).end(part);
  },
  "/whole": (_, response) => response.end(data),
  "/changes": (request, response) => {
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range);
    const part = data.subarray(Number(first), Number(last) + 1);
    response.writeHead(206, { "Content-Range": `bytes ${first}-${Number(first) + part.length - 1}/${data.length}`, ETag: `"${first}"` }).end(part);
  },
  "/short": (request, response) => {
    const [, first, last] = /bytes=(\d+)-(\d+)/.exec(request.headers.range);
    const part = first === "0" ? data.subarray(0, Number(last) + 1) : data.subarray(Number(first), Number(first) + 5);
    response.writeHead(206, { "Content-Range": `bytes ${first}-${last}/${data.length}` }).end(part);
  },
  "/huge": (_, response) => response.writeHead(200, { "Content-Length": String(2 ** 40) }).write("ECDC"),
  "/breaks": (_, response) => {
    response.writeHead(200, { "Content-Length": "1000" }).write("ECDC");
    setTimeout(() => response.destroy(), 50);
  },
  "/missing": (_, response) => response.writeHead(404).end(),
};
const server = createServer((request, response) => answers[request.url](request, response));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${server.address().port}`;

async function read(name) {
  const reader = await Reader.open(await RangeSource.open(base + name), async () => null);
  const { nFrames } = await reader.index();
  let first = null;
  for await (const chunk of reader.chunks(nFrames >> 1, (nFrames >> 1) + 1)) first = chunk.firstFrame;
  return { nFrames, first };
}

for (const name of Object.keys(answers)) {
  asked = 0;
  const found = await read(name).catch((error) => ({ kind: error.name, sentence: sentence(error) }));
  console.log(JSON.stringify({ name, ...found, asked }));
}
server.closeAllConnections();
server.close();
