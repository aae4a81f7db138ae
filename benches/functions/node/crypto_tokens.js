'use strict';
/**
 * A login service's cryptography: passwords derived, signed tokens made and verified, records
 * encrypted and decrypted. All keys and nonces are drawn from the input's random source, so that the
 * result is known.
 */
const crypto = require('crypto');
const shared = require('./function');

const SIZES = { tiny: 20, small: 350, full: 2000 };
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

const part = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

/** A JSON web token, HS256. */
function signed(claims, key) {
  const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${text}.${crypto.createHmac('sha256', key).update(text).digest('base64url')}`;
}

/** Its claims, if the signature holds. */
function verified(token, key) {
  const [head, claims, signature] = token.split('.');
  const good = crypto.createHmac('sha256', key).update(`${head}.${claims}`).digest();
  if (!crypto.timingSafeEqual(good, Buffer.from(signature, 'base64url'))) throw new Error('bad signature');
  return JSON.parse(Buffer.from(claims, 'base64url').toString());
}

/** AES-256-GCM: ciphertext and tag. */
function sealed(plain, key, nonce) {
  const cipher = crypto.createCipheriv('aes-256-gcm', key, nonce);
  return Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
}

function opened(secret, key, nonce) {
  const decipher = crypto.createDecipheriv('aes-256-gcm', key, nonce);
  decipher.setAuthTag(secret.subarray(-16));
  return Buffer.concat([decipher.update(secret.subarray(0, -16)), decipher.final()]);
}

exports.handler = async (event, context) => {
  const { draw } = shared.source('tokens');
  const random = (length) => Buffer.from(Array.from({ length }, () => draw(256)));
  const key = crypto.pbkdf2Sync('correct horse', random(16), 500, 32, 'sha256');
  const pair = crypto.createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, random(32)]), format: 'der', type: 'pkcs8' });
  const digest = crypto.createHash('sha512');
  for (let i = 0; i < SIZES[event.size]; i++) {
    const claims = { sub: `user-${draw(10 ** 6)}`, iat: 1795000000 + i, scope: ['read', 'write'].slice(draw(2)), n: i };
    const token = signed(claims, key);
    if (verified(token, key).n !== i) throw new Error('the token does not come back');
    const nonce = random(12);
    const record = Buffer.from(`${JSON.stringify(claims)}${'.'.repeat(draw(800))}`);
    const secret = sealed(record, key, nonce);
    if (!opened(secret, key, nonce).equals(record)) throw new Error('the record does not come back');
    digest.update(token).update(secret);
    if (i % 20 === 0) digest.update(crypto.sign(null, secret, pair));
  }
  return shared.answer(digest.digest(), { tokens: SIZES[event.size] });
};

if (require.main === module) shared.main('crypto_tokens', SIZES, exports.handler);
