// V8's heap in all the ways in which it grows and shrinks; every result is printed.
const fs = require('fs');
const os = require('os');
const path = require('path');
const v8 = require('v8');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

/** Builds and drops trees, so that both generations grow, are collected and shrink. */
function churn(rounds) {
  let kept = [];
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    const rows = Array.from({ length: 4000 }, (_, i) => ({ id: i, text: `row ${i} of ${round}`, next: [i, i + 1] }));
    sum = (sum * 31 + rows.reduce((all, row) => all + row.text.length + row.next[1], 0)) % 1000003;
    kept.push(rows.slice(0, 800));
    if (kept.length > 4) kept = kept.slice(2);
  }
  return sum;
}

if (!isMainThread) {
  parentPort.postMessage(churn(workerData));
} else {
  (async () => {
    console.log('churn', churn(20));

    // Objects that have mappings of their own, of all lengths; and their collection.
    let large = [];
    for (let i = 1; i <= 12; i++) large.push(new Array(i * 40000).fill(i));
    console.log('large', large.map((each) => each[each.length - 1]).join());
    large = null;
    if (global.gc) global.gc();

    // Isolates that come and go, at the same time and one after the other.
    const worker = (options) =>
      new Promise((resolve) => {
        const made = new Worker(__filename, { workerData: 6, ...options });
        made.on('message', (sum) => resolve(`sum ${sum}`));
        made.on('error', (error) => resolve(`error ${error.code}`));
      });
    for (let round = 0; round < 2; round++) console.log(await Promise.all([worker(), worker(), worker()]));
    const limits = { maxOldGenerationSizeMb: 4, maxYoungGenerationSizeMb: 1 };
    console.log(await worker({ workerData: 400, resourceLimits: limits }));

    // WebAssembly: memories that grow, and one shared with a thread. (module (memory (export "m") 1 64))
    const grown = new WebAssembly.Memory({ initial: 1, maximum: 64 });
    for (let i = 0; i < 20; i++) grown.grow(3);
    const bytes = new Uint8Array(grown.buffer);
    bytes.fill(7);
    console.log('wasm', bytes.length, bytes[bytes.length - 1]);
    const shared = new WebAssembly.Memory({ initial: 2, maximum: 4, shared: true });
    shared.grow(1);
    console.log('shared', shared.buffer.byteLength);
    const code = Uint8Array.of(
      0, 97, 115, 109, 1, 0, 0, 0, 1, 7, 1, 96, 2, 127, 127, 1, 127, 3, 2, 1, 0, 7, 7, 1, 3, 97, 100, 100, 0, 0, 10, 9, 1, 7, 0,
      32, 0, 32, 1, 106, 11);
    const { instance } = await WebAssembly.instantiate(code);
    console.log('add', instance.exports.add(40, 2));

    // A snapshot of the heap is whole.
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'heap-'));
    const file = v8.writeHeapSnapshot(path.join(directory, 'all.heapsnapshot'));
    console.log('snapshot', JSON.parse(fs.readFileSync(file)).snapshot.node_count > 10000);
    fs.rmSync(directory, { recursive: true });
    console.log('copy', v8.deserialize(v8.serialize({ a: [1, 2, { b: 3 }] })).a[2].b);
    const buffers = Array.from({ length: 50 }, (_, i) => Buffer.alloc(i * 5000, i));
    console.log('buffers', Buffer.concat(buffers).length);
    console.log('arguments', process.execArgv.join(' '));
  })();
}
