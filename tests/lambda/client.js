// A Lambda runtime's client in small, for where aws-lambda-ric is not installed: asks for events, answers them by `http`.
const http = require('http');
const path = require('path');

const [hostname, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, end, body) {
  return new Promise((resolve, reject) => {
    const options = { hostname, port, agent, method, path: `/2018-06-01/runtime/invocation/${end}` };
    const request = http.request(options, (response) => {
      let text = '';
      response.on('data', (chunk) => (text += chunk));
      response.on('end', () => resolve({ text, id: response.headers['lambda-runtime-aws-request-id'] }));
    });
    request.on('error', reject);
    request.end(body);
  });
}

(async () => {
  const [file, name] = process.argv[2].split('.');
  const handler = require(path.join(process.cwd(), file))[name];
  for (;;) {
    const { text, id } = await call('GET', 'next');
    await call('POST', `${id}/response`, JSON.stringify(await handler(JSON.parse(text))));
  }
})();
