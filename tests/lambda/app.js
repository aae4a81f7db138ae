// A function that leaves nothing behind but what its allocators keep.
const fs = require('fs');
exports.handler = async (event) => {
  let rows = Array.from({ length: 60000 }, (_, i) => ({ id: i, text: `row ${i}` }));
  rows = JSON.parse(JSON.stringify(rows));
  const packed = Buffer.concat(Array.from({ length: 200 }, (_, i) => Buffer.alloc(50000, i)));
  const total = rows.reduce((sum, row) => sum + row.text.length, 0) + packed.length + event.number;
  return { total, served: fs.readFileSync('/proc/self/maps', 'latin1').includes('libmemento_all.so') };
};
