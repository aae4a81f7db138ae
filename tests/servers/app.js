// The same application as app.py, for Node: `node app.js PORT`.
const crypto = require('crypto');
const http = require('http');
const zlib = require('zlib');

const orders = (seed, count) =>
  Array.from({ length: count }, (_, i) => ({
    id: i, name: `<customer ${seed * 31 + i}>`, amount: (((seed + i) * 37) % 1000) / 4, tags: Array(3).fill(`t${i % 7}`),
  }));

const escape = (text) => text.replace(/[<>&]/g, (c) => `&#${c.charCodeAt(0)};`);

function answer(kind, seed, count) {
  const rows = JSON.parse(JSON.stringify(orders(seed, count)));
  if (kind === 'page') return rows.map((r) => `<tr><td>${r.id}</td><td>${escape(r.name)}</td><td>${r.amount}</td></tr>`).join('\n');
  if (kind === 'summary') {
    const byTag = new Map();
    for (const row of rows) byTag.set(row.tags[0], [...(byTag.get(row.tags[0]) ?? []), row.amount]);
    return JSON.stringify([...byTag].map(([tag, a]) => [tag, Math.min(...a), Math.max(...a), a.reduce((x, y) => x + y)]));
  }
  const packed = zlib.deflateSync(Buffer.from(JSON.stringify(rows)));
  return crypto.createHash('sha256').update(zlib.inflateSync(packed)).digest('hex');
}

http
  .createServer((request, response) => {
    const [kind, seed, count] = request.url.split('/').filter(Boolean);
    const body = Buffer.from(answer(kind, Number(seed), Number(count)));
    response.writeHead(200, { 'Content-Length': body.length });
    response.end(body);
  })
  .listen(Number(process.argv[2]), '127.0.0.1');
