// A cluster's workers answer requests; a forked child answers messages.
const cluster = require('cluster');
const http = require('http');
const { fork } = require('child_process');

if (process.argv[2] === 'child') {
  process.on('message', (n) => process.send({ answer: JSON.stringify(Array(n).fill(n)).length }, () => process.exit(3)));
} else if (cluster.isPrimary) {
  const get = (port, path) =>
    new Promise((resolve, reject) => {
      http.get({ port, path, agent: false }, (response) => {
        let text = '';
        response.on('data', (chunk) => (text += chunk));
        response.on('end', () => resolve(text));
      }).on('error', reject);
    });
  let listening = 0;
  for (let i = 0; i < 2; i++) cluster.fork();
  cluster.on('listening', async (worker, address) => {
    if (++listening < 2) return;
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => get(address.port, `/${i}`)));
    console.log(answers.join(' '));
    let ended = 0;
    cluster.on('exit', (worker, code) => {
      console.log('worker ended', code);
      if (++ended < 2) return;
      const child = fork(__filename, ['child']);
      child.on('message', ({ answer }) => console.log('child answers', answer));
      child.on('exit', (code) => console.log('child ended', code));
      child.send(500);
    });
    for (const id in cluster.workers) cluster.workers[id].send('end');
  });
} else {
  const server = http.createServer((request, response) => {
    const n = Number(request.url.slice(1));
    const rows = Array.from({ length: 200 + n }, (_, i) => ({ i, text: 'x'.repeat(i) }));
    response.end(String(JSON.stringify(rows).length));
  });
  server.listen(0, '127.0.0.1');
  process.on('message', () => server.close(() => process.exit(0)));
}
