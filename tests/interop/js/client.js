// A grpc-js client on xds:///, which knows nothing of meshlib.
//
// Usage: node client.js TARGET; the bootstrap stands in GRPC_XDS_BOOTSTRAP_CONFIG. For each number
// read, that many calls are made, a few at a time, and what came of them is printed.
"use strict";

const readline = require("node:readline");
const grpc = require("@grpc/grpc-js");
const xds = require("@grpc/grpc-js-xds");

const METHOD = "/test.Who/Are";
const TIMEOUT = 20_000;
const CONCURRENCY = 4;

xds.register();
const metadata = new grpc.Metadata();
metadata.set("x-who", "judge");
const clients = [];
const client = made(process.argv[2]);
const same = (bytes) => bytes;

function made(target) {
  const one = new grpc.Client(target, grpc.credentials.createInsecure());
  clients.push(one);
  return one;
}

function call() {
  const options = { deadline: Date.now() + TIMEOUT };
  return new Promise((resolve) => {
    const question = Buffer.alloc(0);
    client.makeUnaryRequest(METHOD, same, same, question, metadata, options, (error, answer) => {
      resolve(error ? `failed: ${grpc.status[error.code]} ${error.details}` : answer.toString());
    });
  });
}

async function calls(times) {
  const counts = {};
  let left = times;
  async function work() {
    while (left-- > 0) {
      const answer = await call();
      counts[answer] = (counts[answer] ?? 0) + 1;
    }
  }
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return counts;
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (/^\d+$/.test(line)) {
      console.log(JSON.stringify(await calls(Number(line))));
    } else {
      made(line).getChannel().getConnectivityState(true);
      console.log("{}");
    }
  }
  for (const one of clients) {
    one.close();
  }
  process.exit(0);
}

main();
