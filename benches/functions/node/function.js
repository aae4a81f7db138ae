'use strict';
/**
 * What the Node functions share: sizes, random input, checksum and command line.
 *
 * A function is a module with `SIZES` (what `tiny`, `small` and `full` mean to it) and an
 * asynchronous `handler(event, context)`, which takes the size from `event.size` and returns a
 * JSON-able object made by `answer`. Nothing here loads a module: start-up belongs to what is measured.
 */

const POLYNOMIAL = 0xedb88320;
const TABLE = new Uint32Array(256).map((_, i) => {
  for (let bit = 0; bit < 8; bit++) i = i & 1 ? (i >>> 1) ^ POLYNOMIAL : i >>> 1;
  return i;
});

/** CRC-32 as in ZIP, PNG and Python's zlib; `zlib.crc32` is not in Node 18. */
function crc32(data) {
  let crc = -1;
  for (let i = 0; i < data.length; i++) crc = TABLE[(crc ^ data[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** A random source that gives the same numbers in every process: a 32-bit mixing counter. */
function source(name) {
  let state = crc32(Buffer.from(name));
  const draw = (bound) => {
    state = (state + 0x6d2b79f5) | 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) % bound;
  };
  return { draw, pick: (list) => list[draw(list.length)] };
}

/** The handler's answer about its output: CRC-32 and length of its bytes, and some facts. */
function answer(output, facts) {
  const data = typeof output === 'string' ? Buffer.from(output) : output;
  return { ...facts, checksum: crc32(data).toString(16).padStart(8, '0'), bytes: data.length };
}

function quit(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** Loads what does not come with Node, or says in one line how to install it. */
function need(name) {
  try {
    return require(name);
  } catch (error) {
    if (error.code !== 'MODULE_NOT_FOUND') throw error;
    return quit(`${name} is not installed: npm install --prefix ${__dirname} (it is pinned in package.json)`);
  }
}

/**
 * Runs `node NAME.js [tiny|small|full] [--repeat N]`: N invocations in one process. Prints
 * `NAME SIZE CHECKSUM BYTES` once; all invocations must agree on it.
 */
async function main(name, sizes, handler) {
  const usage = () => quit(`usage: ${name}.js [${Object.keys(sizes).join('|')}] [--repeat N]`);
  const words = process.argv.slice(2);
  let size = 'full';
  let repeat = 1;
  while (words.length) {
    const word = words.shift();
    if (word === '--repeat') repeat = /^[1-9][0-9]*$/.test(words[0]) ? Number(words.shift()) : usage();
    else if (Object.hasOwn(sizes, word)) size = word;
    else usage();
  }
  const lines = new Set();
  for (let i = 0; i < repeat; i++) {
    const { checksum, bytes } = await handler({ size }, null);
    lines.add(`${name} ${size} ${checksum} ${bytes}`);
  }
  if (lines.size !== 1) quit(`${name}: invocations disagree: ${[...lines].join(', ')}`);
  process.stdout.write(`${[...lines][0]}\n`);
}

module.exports = { answer, crc32, main, need, source };
