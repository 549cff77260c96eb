// Many requests of all kinds over one connection, with Node's own HTTP/2 client; prints what came back as JSON.
'use strict';
const http2 = require('http2');

const session = http2.connect(process.argv[2]);
const problems = [];
session.on('error', (error) => problems.push(String(error)));
session.on('goaway', (code) => problems.push(`goaway ${code}`));

function ask(headers, body) {
  return new Promise((resolve) => {
    const answer = { status: 0, size: 0, trailers: {} };
    const stream = session.request(headers, { endStream: body === undefined });
    stream.on('response', (got) => { answer.status = got[':status']; answer.echo = got['x-echo']; });
    stream.on('trailers', (got) => { answer.trailers = { ...got }; });
    stream.on('data', (piece) => { answer.size += piece.length; });
    stream.on('error', (error) => { answer.error = String(error); });
    stream.on('close', () => resolve(answer));
    if (body !== undefined) stream.end(body);
  });
}

async function main() {
  const results = {};
  results.gets = await Promise.all(Array.from({ length: 200 }, () => ask({ ':path': '/' })));
  results.head = await ask({ ':path': '/', ':method': 'HEAD' });
  results.big = await Promise.all(Array.from({ length: 5 }, () => ask({ ':path': '/big' })));
  results.post = await ask({ ':path': '/echo', ':method': 'POST' }, Buffer.alloc(1000000, 'x'));
  results.early = await ask({ ':path': '/missing', ':method': 'POST' }, Buffer.alloc(300000, 'x'));
  const cancelled = session.request({ ':path': '/big' });
  await new Promise((resolve) => { cancelled.on('close', resolve); cancelled.on('response', () => cancelled.close(8)); });
  results.after = await ask({ ':path': '/' });
  await new Promise((resolve) => session.ping(() => resolve()));
  results.problems = problems;
  session.close(() => console.log(JSON.stringify(results)));
}

main();
