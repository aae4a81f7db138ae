'use strict';
/**
 * Packs generated files into a ZIP archive in memory, reads its directory back, unpacks and compares.
 * The checksum is over names and contents that came back, since deflate's output differs by version.
 */
const zlib = require('zlib');
const shared = require('./function');

const SIZES = { tiny: 6, small: 60, full: 340 };
const [LOCAL, CENTRAL, END] = [0x04034b50, 0x02014b50, 0x06054b50];
const [STORED, DEFLATED] = [0, 8];

/** Names and contents: sources, tables, and files that do not compress. */
function files(count) {
  const { draw, pick } = shared.source('archive');
  const words = 'const let return await import export function object value index error result'.split(' ');
  return Array.from({ length: count }, (_, i) => {
    const length = 200 + draw(10) ** 4;
    if (i % 10 === 9) {
      const noise = Buffer.from(Array.from({ length: 200 + draw(2000) }, () => draw(256)));
      return { name: `assets/${i}.bin`, data: noise };
    }
    const lines = [];
    for (let size = 0; size < length;) size += lines.push(`${pick(words)} ${pick(words)}${draw(50)} = ${draw(9999)};`) && 24;
    return { name: `src/part-${i % 7}/module-${i}.js`, data: Buffer.from(lines.join('\n')) };
  });
}

/** The fields that both headers of an entry have. */
function fields(header, at, entry) {
  header.writeUInt16LE(20, at);
  header.writeUInt16LE(entry.method, at + 4);
  header.writeUInt32LE(0x5b760000, at + 6); // midnight of 2025-11-22
  header.writeUInt32LE(entry.crc, at + 10);
  header.writeUInt32LE(entry.packed.length, at + 14);
  header.writeUInt32LE(entry.size, at + 18);
  header.writeUInt16LE(entry.name.length, at + 22);
}

function packed(list) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const { name, data } of list) {
    const deflated = zlib.deflateRawSync(data, { level: 6 });
    const method = deflated.length < data.length ? DEFLATED : STORED;
    const entry = {
      name: Buffer.from(name), method, crc: shared.crc32(data), size: data.length,
      packed: method === DEFLATED ? deflated : data,
    };
    const local = Buffer.alloc(30);
    local.writeUInt32LE(LOCAL, 0);
    fields(local, 4, entry);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(CENTRAL, 0);
    central.writeUInt16LE(20, 4);
    fields(central, 6, entry);
    central.writeUInt32LE(offset, 42);
    parts.push(local, entry.name, entry.packed);
    directory.push(central, entry.name);
    offset += 30 + entry.name.length + entry.packed.length;
  }
  const index = Buffer.concat(directory);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(END, 0);
  end.writeUInt16LE(list.length, 8);
  end.writeUInt16LE(list.length, 10);
  end.writeUInt32LE(index.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, index, end]);
}

function* unpacked(archive) {
  const end = archive.length - 22;
  if (archive.readUInt32LE(end) !== END) throw new Error('no end of directory');
  let at = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left--) {
    if (archive.readUInt32LE(at) !== CENTRAL) throw new Error('damaged directory');
    const length = archive.readUInt16LE(at + 28);
    const name = archive.toString('utf8', at + 46, at + 46 + length);
    const from = archive.readUInt32LE(at + 42) + 30 + length;
    const bytes = archive.subarray(from, from + archive.readUInt32LE(at + 20));
    const data = archive.readUInt16LE(at + 10) === DEFLATED ? zlib.inflateRawSync(bytes) : bytes;
    if (shared.crc32(data) !== archive.readUInt32LE(at + 16)) throw new Error(`${name} is damaged`);
    yield { name, data };
    at += 46 + length;
  }
}

exports.handler = async (event, context) => {
  const list = files(SIZES[event.size]);
  const back = [...unpacked(packed(list))];
  const parts = back.flatMap(({ name, data }) => [Buffer.from(`${name}\0`), data]);
  return shared.answer(Buffer.concat(parts), { files: back.length });
};

if (require.main === module) shared.main('zip_archive', SIZES, exports.handler);
