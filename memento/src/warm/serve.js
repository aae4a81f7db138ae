'use strict';
// Serves a handler over the Lambda Runtime API: node serve.js FILE FUNCTION.
const http = require('http');
const path = require('path');
const { pathToFileURL } = require('url');

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

/** One request; resolves to its headers and body. */
function call(method, name, body) {
  return new Promise((resolve, reject) => {
    const options = { host, port, method, agent, path: `/2018-06-01/runtime/${name}` };
    const request = http.request(options, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => resolve({ headers: response.headers, body: Buffer.concat(parts).toString() }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** What gives free memory back after a response, where memento serves: its addon lies beside what is preloaded. */
function givingBack() {
  for (const object of (process.env.LD_PRELOAD || '').split(/[ :]+/)) {
    if (!path.basename(object).startsWith('libmemento')) continue;
    try {
      return require(path.join(path.dirname(object), 'memento.node')).invocationEnd;
    } catch (error) {
      // There is none, or it is for another Node: then nothing is given back.
    }
  }
  return () => {};
}

const failure = (error) => JSON.stringify({ errorMessage: String(error && error.message), errorType: error && error.name });

async function main() {
  const [file, name] = process.argv.slice(2);
  let handler;
  try {
    const module = await import(pathToFileURL(path.resolve(file)));
    handler = module[name] || (module.default && module.default[name]);
    if (typeof handler !== 'function') throw new Error(`${file} has no function ${name}`);
  } catch (error) {
    await call('POST', 'init/error', failure(error));
    process.exit(1);
  }
  const giveBack = givingBack();
  for (;;) {
    const { headers, body } = await call('GET', 'invocation/next');
    const id = headers['lambda-runtime-aws-request-id'];
    try {
      const context = { awsRequestId: id, functionName: 'function', getRemainingTimeInMillis: () => 60000 };
      const answer = await handler(JSON.parse(body), context);
      await call('POST', `invocation/${id}/response`, JSON.stringify(answer === undefined ? null : answer));
    } catch (error) {
      await call('POST', `invocation/${id}/error`, failure(error));
    }
    giveBack();
  }
}

main().catch(() => process.exit(0));
