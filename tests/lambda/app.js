// A function that leaves nothing behind but what its allocators keep: in V8's heap, in buffers, and 32 MiB in OpenSSL.
const { scryptSync } = require('crypto');
const fs = require('fs');
exports.handler = async (event) => {
  let rows = Array.from({ length: 60000 }, (_, i) => ({ id: i, text: `row ${i}` }));
  rows = JSON.parse(JSON.stringify(rows));
  const packed = Buffer.concat(Array.from({ length: 200 }, (_, i) => Buffer.alloc(50000, i)));
  const hashed = scryptSync(String(event.number), 'salt', 4, { N: 32768, maxmem: 1 << 26 }).readUInt32LE();
  const total = rows.reduce((sum, row) => sum + row.text.length, 0) + packed.length + hashed + event.number;
  return { total, served: fs.readFileSync('/proc/self/maps', 'latin1').includes('libmemento_all.so') };
};
