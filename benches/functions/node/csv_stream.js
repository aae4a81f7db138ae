'use strict';
/**
 * A streaming transformation, as for objects of a bucket: gzipped CSV in, inflated, split to lines,
 * parsed, filtered, written as gzipped JSON lines; asynchronous, with back-pressure.
 */
const { Readable, Transform, Writable } = require('stream');
const { pipeline } = require('stream/promises');
const zlib = require('zlib');
const shared = require('./function');

const SIZES = { tiny: 120, small: 500, full: 2600 };
const CHUNK = 16 * 1024;

/** The object: a gzipped table of measurements, with quoted cells. */
function table(rows) {
  const { draw, pick } = shared.source('measurements');
  const places = ['Oslo', 'São Paulo', '"Reykjavík, north"', 'Nairobi', '"the ""old"" mill"', 'Kraków'];
  const lines = ['time,place,sensor,celsius,humidity,battery'];
  for (let i = 0; i < rows; i++) {
    lines.push(`${1795000000 + 7 * i},${pick(places)},s-${draw(400)},${draw(600) / 8 - 20},${draw(100)},${draw(2) ? 'ok' : ''}`);
  }
  return zlib.gzipSync(lines.join('\n'), { level: 1 });
}

/** Bytes to lines, over the borders of chunks and of characters. */
class Lines extends Transform {
  constructor() {
    super({ readableObjectMode: true });
    this.decoder = new TextDecoder();
    this.rest = '';
  }

  _transform(chunk, encoding, done) {
    const lines = (this.rest + this.decoder.decode(chunk, { stream: true })).split('\n');
    this.rest = lines.pop();
    for (const line of lines) this.push(line);
    done();
  }

  _flush(done) {
    if (this.rest) this.push(this.rest);
    done();
  }
}

/** A line's cells, quotes removed. */
function cells(line) {
  const found = [];
  for (const [, quoted, plain] of line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)) {
    found.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
  }
  return found;
}

exports.handler = async (event, context) => {
  const object = table(SIZES[event.size]);
  const chunks = [];
  for (let at = 0; at < object.length; at += CHUNK) chunks.push(object.subarray(at, at + CHUNK));
  let names;
  let kept = 0;
  const filter = new Transform({
    writableObjectMode: true,
    transform(line, encoding, done) {
      const row = cells(line);
      if (!names) {
        names = row;
        return done();
      }
      const record = Object.fromEntries(names.map((name, i) => [name, row[i]]));
      if (record.battery !== 'ok') return done();
      record.celsius = Number(record.celsius);
      record.time = new Date(1000 * record.time).toISOString();
      kept += 1;
      return done(null, `${JSON.stringify(record)}\n`);
    },
  });
  const out = [];
  const sink = new Writable({
    write(chunk, encoding, done) {
      out.push(chunk);
      done();
    },
  });
  await pipeline(Readable.from(chunks), zlib.createGunzip(), new Lines(), filter, zlib.createGzip({ level: 1 }), sink);
  return shared.answer(zlib.gunzipSync(Buffer.concat(out)), { kept });
};

if (require.main === module) shared.main('csv_stream', SIZES, exports.handler);
