'use strict';
/**
 * Decodes a PNG, scales and blurs it, and encodes a thumbnail, in JavaScript over typed arrays with
 * zlib's inflate and deflate. The checksum is over pixels, since deflate's output differs by version.
 */
const zlib = require('zlib');
const shared = require('./function');

const SIZES = { tiny: [64, 48], small: [400, 300], full: [1200, 840] };
const CHANNELS = 3;
const SIGNATURE = Buffer.from('89504e470d0a1a0a', 'hex');

/** A photo's stand-in: gradients, shapes, noise. */
function photo(width, height) {
  const { draw } = shared.source('photo');
  const pixels = Buffer.alloc(width * height * CHANNELS);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const shape = (((x * 7) / width) | 0) + (((y * 5) / height) | 0) & 1 ? 60 : 0;
      pixels[at++] = 40 + (x * 120) / width + shape;
      pixels[at++] = 50 + (y * 120) / height;
      pixels[at++] = 30 + shape + draw(16);
    }
  }
  return { width, height, pixels };
}

function chunk(type, data) {
  const out = Buffer.alloc(data.length + 12);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, 'latin1');
  data.copy(out, 8);
  out.writeUInt32BE(shared.crc32(out.subarray(4, -4)), data.length + 8);
  return out;
}

/** 8-bit RGB, every row as its difference to the one above. */
function encoded({ width, height, pixels }) {
  const stride = width * CHANNELS;
  const raw = Buffer.alloc(height * (stride + 1));
  for (let y = 0; y < height; y++) {
    raw[y * (stride + 1)] = 2;
    for (let x = 0; x < stride; x++) {
      const above = y ? pixels[(y - 1) * stride + x] : 0;
      raw[y * (stride + 1) + 1 + x] = pixels[y * stride + x] - above;
    }
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2], 8);
  const data = zlib.deflateSync(raw, { level: 1 });
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', Buffer.alloc(0))]);
}

function decoded(file) {
  if (!file.subarray(0, 8).equals(SIGNATURE)) throw new Error('no PNG');
  const parts = [];
  let width = 0;
  let height = 0;
  for (let at = 8; at < file.length;) {
    const length = file.readUInt32BE(at);
    const data = file.subarray(at + 8, at + 8 + length);
    const type = file.toString('latin1', at + 4, at + 8);
    if (shared.crc32(file.subarray(at + 4, at + 8 + length)) !== file.readUInt32BE(at + 8 + length)) {
      throw new Error(`chunk ${type} is damaged`);
    }
    if (type === 'IHDR') [width, height] = [data.readUInt32BE(0), data.readUInt32BE(4)];
    if (type === 'IDAT') parts.push(data);
    at += length + 12;
  }
  const raw = zlib.inflateSync(Buffer.concat(parts));
  const stride = width * CHANNELS;
  const pixels = Buffer.alloc(height * stride);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < stride; x++) {
      const above = y ? pixels[(y - 1) * stride + x] : 0;
      pixels[y * stride + x] = raw[y * (stride + 1) + 1 + x] + above;
    }
  }
  return { width, height, pixels };
}

/** Half the size, by averaging four pixels. */
function halved({ width, height, pixels }) {
  const [w, h, stride] = [width >> 1, height >> 1, width * CHANNELS];
  const out = Buffer.alloc(w * h * CHANNELS);
  for (let y = 0, to = 0; y < h; y++) {
    for (let x = 0; x < w * CHANNELS; x++) {
      const from = 2 * y * stride + 2 * x - (x % CHANNELS);
      const [right, below] = [from + CHANNELS, from + stride];
      out[to++] = (pixels[from] + pixels[right] + pixels[below] + pixels[below + CHANNELS]) >> 2;
    }
  }
  return { width: w, height: h, pixels: out };
}

/** Blurred along rows, with sums in an array of their own. */
function blurred({ width, height, pixels }) {
  const stride = width * CHANNELS;
  const sums = new Uint32Array(pixels.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x < CHANNELS ? at : at - CHANNELS;
      const right = x >= stride - CHANNELS ? at : at + CHANNELS;
      sums[at] = pixels[left] + 2 * pixels[at] + pixels[right];
    }
  }
  return { width, height, pixels: Buffer.from(sums.map((sum) => sum >> 2)) };
}

exports.handler = async (event, context) => {
  const original = photo(...SIZES[event.size]);
  let picture = decoded(encoded(original));
  if (!picture.pixels.equals(original.pixels)) throw new Error('the picture does not come back');
  while (picture.width > 60) picture = blurred(halved(picture));
  const { width, height, pixels } = decoded(encoded(picture));
  return shared.answer(pixels, { width, height });
};

if (require.main === module) shared.main('image_png', SIZES, exports.handler);
